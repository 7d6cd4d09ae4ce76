package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"fanfare"
)

// personItem is one message to somebody, and what became of it for them.
type personItem struct {
	Message   string     `json:"message"`
	Name      string     `json:"name"`
	Channel   string     `json:"channel"`
	Topic     string     `json:"topic"`
	StartedAt *time.Time `json:"started_at"`
	ItemView
}

// ItemView is embedded by this name because the OpenAPI document has only what is exported.
type ItemView = itemView

type personIn struct {
	RecipientPath
	Page
}

func (s *Server) personRoutes() {
	const at = "/v1/recipients/{external_id}/"
	route(s, operation{method: http.MethodGet, path: at + "messages", id: "list-recipient-messages", tag: "recipients", scope: scopeRecipientsRead, summary: "List the messages to a recipient",
		doc: "Every message whose audience they are in, newest first, with what became of it for them; also where they were skipped, and why. A page may hold fewer than limit while next_cursor goes on."}, s.personMessages)
	routeStream(s, operation{method: http.MethodGet, path: at + "export", id: "export-recipient", tag: "recipients", scope: scopeRecipientsExport, summary: "Export everything that is held of a recipient",
		doc:      "A JSON object a line, its type first: recipient, then each list, each suppression, and each item, newest first, with what the provider said and all receipts.",
		produces: map[string]*huma.MediaType{"application/x-ndjson": {Schema: &huma.Schema{Type: huma.TypeString}}}}, s.exportPerson)
}

func (s *Server) personMessages(ctx context.Context, _ *call, in *personIn) (*reply[list[personItem]], error) {
	r, err := s.Store.Recipient(ctx, in.ExternalID)
	if err != nil {
		return nil, missing(err, "recipient", in.ExternalID)
	}
	var found []personItem
	next, began := in.Cursor, time.Now()
	for {
		if next, err = s.itemsOf(ctx, &r, next, in.Limit-len(found), func(it personItem) error {
			found = append(found, it)
			return nil
		}); err != nil {
			return nil, badCursor(err)
		}
		if next == "" || len(found) == in.Limit || time.Since(began) > patience {
			return ok(listOf(found, next)), nil
		}
	}
}

// itemsOf goes through some messages behind a cursor and calls fn with somebody's items; next is where to go on, empty: nowhere.
func (s *Server) itemsOf(ctx context.Context, r *fanfare.Recipient, cursor string, most int, fn func(personItem) error) (next string, err error) {
	var messages []fanfare.Message
	if err := s.Store.View(ctx, func(v fanfare.ControlView) (err error) {
		messages, next, err = v.Messages(fanfare.MessageFilter{Cursor: cursor, Limit: most})
		return err
	}); err != nil {
		return "", err
	}
	for i := range messages {
		m := &messages[i]
		if m.StartedAt.IsZero() { // it has no audience yet
			continue
		}
		it, there, err := s.item(ctx, m, r)
		if err != nil {
			return "", fmt.Errorf("message %s: %w", m.ID, err)
		}
		if !there {
			continue
		}
		if err := fn(personItem{Message: string(m.ID), Name: m.Name, Channel: string(m.Channel), Topic: m.Topic, StartedAt: moment(m.StartedAt), ItemView: viewItem(&it)}); err != nil {
			return "", err
		}
	}
	return next, nil
}

// exportTogether is how many messages an export reads at once.
const exportTogether = 100

// exportPerson is audited by the person's number, which stays when they are erased.
func (s *Server) exportPerson(ctx context.Context, c *call, in *RecipientPath) (func(http.ResponseWriter), error) {
	r, err := s.Store.Recipient(ctx, in.ExternalID)
	if err != nil {
		return nil, missing(err, "recipient", in.ExternalID)
	}
	if err := s.Store.Update(ctx, func(tx fanfare.ControlTx) error {
		return c.audit(tx, "recipient.export", fmt.Sprintf("%d/%d", r.Slot, r.Seq), "")
	}); err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		if err := s.writePerson(ctx, json.NewEncoder(w), &r); err != nil {
			c.failure = err
			panic(http.ErrAbortHandler) // the file must not look whole
		}
	}, nil
}

func (s *Server) writePerson(ctx context.Context, to *json.Encoder, r *fanfare.Recipient) error {
	to.SetEscapeHTML(false)
	if err := to.Encode(struct {
		Type string `json:"type"`
		recipientView
	}{"recipient", viewRecipient(*r)}); err != nil {
		return err
	}
	if err := s.writeLists(ctx, to, r); err != nil {
		return err
	}
	suppressed, err := s.everySuppressionOf(ctx, r)
	if err != nil {
		return err
	}
	for _, v := range suppressed {
		if err := to.Encode(struct {
			Type string `json:"type"`
			suppressionView
		}{"suppression", v}); err != nil {
			return err
		}
	}
	for next := ""; ; {
		if next, err = s.itemsOf(ctx, r, next, exportTogether, func(it personItem) error {
			return to.Encode(struct {
				Type string `json:"type"`
				personItem
			}{"item", it})
		}); err != nil || next == "" {
			return err
		}
	}
}

func (s *Server) writeLists(ctx context.Context, to *json.Encoder, r *fanfare.Recipient) error {
	for cursor := ""; ; {
		var lists []fanfare.List
		if err := s.Store.View(ctx, func(v fanfare.ControlView) (err error) {
			lists, cursor, err = v.Lists(cursor, exportTogether)
			return err
		}); err != nil {
			return err
		}
		for _, l := range lists {
			members, err := s.Store.LoadSet(ctx, r.Slot, fanfare.ListSet(l.ID))
			if err != nil {
				return err
			}
			if !members.Contains(r.Seq) {
				continue
			}
			if err := to.Encode(struct {
				Type string `json:"type"`
				Name string `json:"name"`
			}{"list", l.Name}); err != nil {
				return err
			}
		}
		if cursor == "" {
			return nil
		}
	}
}

// everySuppressionOf gives those of somebody, then those of their address.
func (s *Server) everySuppressionOf(ctx context.Context, r *fanfare.Recipient) ([]suppressionView, error) {
	all, err := s.grounds(ctx, &suppressionsIn{})
	if err != nil {
		return nil, err
	}
	own, err := s.suppressionsOf(ctx, all, r.ExternalID)
	if err != nil {
		return nil, err
	}
	found := own.Body.Items
	if r.Email == "" {
		return found, nil
	}
	address, err := s.entriesOf(ctx, all, r.Email)
	if p := (*Problem)(nil); errors.As(err, &p) && p.Status == http.StatusUnprocessableEntity { // no mail can reach it
		return found, nil
	} else if err != nil {
		return nil, err
	}
	return append(found, address.Body.Items...), nil
}
