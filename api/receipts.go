package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"fanfare"
)

type receiptIn struct {
	Message   string `json:"message"`
	Recipient string `json:"recipient" doc:"External id."`
	Kind      string `json:"kind" doc:"delivered, bounced, complained, seen, read, unread, clicked, archived or unarchived. Clicked is also read, read also seen."`
	At        string `json:"at,omitempty" doc:"RFC 3339, kept to the minute; absent: now."`
}

type receiptsIn struct {
	Body struct {
		Receipts []receiptIn `json:"receipts" maxItems:"10000" nullable:"false"`
	}
}

type refusedView struct {
	Index  int    `json:"index"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

type receptionView struct {
	Accepted int           `json:"accepted" doc:"What is new."`
	Known    int           `json:"known" doc:"What was known before, or has ended since."`
	Refused  []refusedView `json:"refused" nullable:"false"`
}

func (s *Server) receiptRoutes() {
	route(s, operation{method: http.MethodPost, path: "/v1/receipts", id: "create-receipts", tag: "receipts", scope: scopeReceiptsWrite, nul: true, summary: "Tell what became of items after they were sent",
		doc: "Each receipt is taken or refused by itself. The same fact twice is accepted once, the earliest time stays; so a call may be repeated. Delivered, read or clicked settles an uncertain item as sent; bounced and complained suppress the recipient until the address changes."}, s.createReceipts)
}

func (s *Server) createReceipts(ctx context.Context, c *call, in *receiptsIn) (*reply[receptionView], error) {
	c.quiet = true // some send each of them by itself
	reports := make([]fanfare.ReceiptReport, 0, len(in.Body.Receipts))
	v := receptionView{Refused: []refusedView{}}
	for i, r := range in.Body.Receipts {
		if strings.IndexByte(r.Message, 0) >= 0 || strings.IndexByte(r.Recipient, 0) >= 0 {
			v.Refused = append(v.Refused, refusedView{i, "nul", "a text holds the character NUL, which no id has"})
			continue
		}
		report := fanfare.ReceiptReport{Index: i, Message: fanfare.MessageID(r.Message), Recipient: r.Recipient}
		if kind, _ := fanfare.ParseReceiptKind(r.Kind); kind.Reportable() {
			report.Kind = kind // none is refused with the others
		}
		if r.At != "" {
			var err error
			if report.At, err = time.Parse(time.RFC3339, r.At); err != nil || report.At.IsZero() {
				v.Refused = append(v.Refused, refusedView{i, "invalid_time", "at is no time like 2026-03-01T09:30:00Z"})
				continue
			}
		}
		reports = append(reports, report)
	}
	done, err := s.Receive(ctx, reports)
	if err != nil {
		return nil, err
	}
	v.Accepted, v.Known = done.Accepted, done.Known
	for _, r := range done.Refused {
		v.Refused = append(v.Refused, refusedView(r))
	}
	slices.SortFunc(v.Refused, func(a, b refusedView) int { return cmp.Compare(a.Index, b.Index) })
	return ok(v), nil
}

// receiptCounts adds up what was learned of a message's items.
func (s *Server) receiptCounts(ctx context.Context, n fanfare.MessageNum) (map[fanfare.ReceiptKind]int, error) {
	sums := make(map[fanfare.ReceiptKind]int)
	for i := range s.Store.Slots() {
		counts, err := s.Store.ReceiptCounts(ctx, n, fanfare.Slot(i)) //nolint:gosec // slots fit
		if err != nil {
			return nil, err
		}
		for k, c := range counts {
			sums[k] += c
		}
	}
	return sums, nil
}
