package api

import (
	"context"
	"net/http"
	"slices"

	"fanfare"
)

type eraseIn struct {
	Body struct {
		ExternalIDs []string `json:"external_ids" minItems:"1" maxItems:"10000" nullable:"false"`
	}
}

type erasedView struct {
	Erased  int      `json:"erased" doc:"People who are erased now, also those that were before."`
	Unknown []string `json:"unknown" nullable:"false" doc:"External ids that nobody has or had."`
}

func (s *Server) eraseRoutes() {
	const doc = "Profile, lists, suppressions, what providers said of them: gone at once from all answers, and within a minute, or when the server stops, from every file. " +
		"Items, receipts and counts stay with recipient: null; whoever is still to be sent to is skipped as erased. Keyed hashes of id and addresses stay: an import refuses the id from then on, " +
		"and whoever is put again with such an id or address gets nothing (reason erased) until \"resubscribe\": true. Backups that were made before hold the person still."
	route(s, operation{method: http.MethodDelete, path: "/v1/recipients/{external_id}", id: "erase-recipient", tag: "recipients", scope: scopeRecipientsWrite, status: http.StatusAccepted,
		summary: "Erase a recipient", doc: doc}, func(ctx context.Context, c *call, in *RecipientPath) (*reply[erasedView], error) {
		v, err := s.erase(ctx, []string{in.ExternalID})
		if err == nil && v.Erased == 0 {
			err = notFound("recipient", in.ExternalID)
		}
		if err != nil {
			return nil, err
		}
		return s.erased(ctx, c, v)
	})
	route(s, operation{method: http.MethodPost, path: "/v1/recipients/erase", id: "erase-recipients", tag: "recipients", scope: scopeRecipientsWrite, status: http.StatusAccepted, keyed: true,
		summary: "Erase many recipients", doc: doc}, func(ctx context.Context, c *call, in *eraseIn) (*reply[erasedView], error) {
		v, err := s.erase(ctx, in.Body.ExternalIDs)
		if err != nil {
			return nil, err
		}
		return s.erased(ctx, c, v)
	})
}

// eraseTogether is how many people one transaction erases.
const eraseTogether = 200

// erase erases, slot by slot. What was stopped in the middle is completed by the same call again.
func (s *Server) erase(ctx context.Context, ids []string) (erasedView, error) {
	by := make([][]string, s.Store.Slots())
	for _, id := range ids {
		slot := fanfare.SlotOf(id, len(by))
		by[slot] = append(by[slot], id)
	}
	v := erasedView{Unknown: []string{}}
	for n, mine := range by {
		slices.Sort(mine)
		for some := range slices.Chunk(slices.Compact(mine), eraseTogether) {
			done, err := s.Store.Erase(ctx, fanfare.Slot(n), some) //nolint:gosec // slots fit
			if err != nil {
				return v, err
			}
			for i, one := range done {
				if one == fanfare.ErasedNobody {
					v.Unknown = append(v.Unknown, some[i])
				} else {
					v.Erased++
				}
			}
		}
	}
	slices.Sort(v.Unknown)
	return v, nil
}

// erased answers. The audit trail tells how many, not whom.
func (s *Server) erased(ctx context.Context, c *call, v erasedView) (*reply[erasedView], error) {
	return commit(ctx, c, func(tx fanfare.ControlTx) (*reply[erasedView], error) {
		return &reply[erasedView]{Status: http.StatusAccepted, Body: v}, c.audit(tx, "recipient.erase", "", itoa(v.Erased))
	})
}
