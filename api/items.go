package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"fanfare"
)

// itemView is one message for one recipient.
type itemView struct {
	Recipient      *string    `json:"recipient" doc:"null: erased."`
	Result         string     `json:"result" enum:"pending,in_flight,sent,failed,skipped,uncertain"`
	Reason         string     `json:"reason"`
	Code           string     `json:"code"`
	Text           string     `json:"text"`
	Attempts       int        `json:"attempts"`
	Doubted        int        `json:"doubted" doc:"How often the answer was in doubt: 1 or 2 may have got two."`
	Revision       *int64     `json:"revision"`
	SentAt         *time.Time `json:"sent_at"`
	DeliveredAt    *time.Time `json:"delivered_at"`
	BouncedAt      *time.Time `json:"bounced_at"`
	ComplainedAt   *time.Time `json:"complained_at"`
	SeenAt         *time.Time `json:"seen_at"`
	ReadAt         *time.Time `json:"read_at"`
	ReadSource     *string    `json:"read_source"`
	ClickedAt      *time.Time `json:"clicked_at"`
	ArchivedAt     *time.Time `json:"archived_at"`
	UnsubscribedAt *time.Time `json:"unsubscribed_at" doc:"By a link of this message."`
}

func viewItem(it *fanfare.Item) itemView {
	v := itemView{Recipient: text(it.Recipient), Result: string(it.Result), Reason: string(it.Reason), Code: it.Code, Text: it.Text, Attempts: it.Attempts, Doubted: it.Doubted,
		SentAt: moment(it.SentAt)}
	if it.Revision > 0 {
		n := int64(it.Revision)
		v.Revision = &n
	}
	at := func(k fanfare.ReceiptKind) *time.Time { return moment(it.Receipts.At(k)) }
	v.UnsubscribedAt = at(fanfare.ReceiptUnsubscribed)
	v.DeliveredAt, v.BouncedAt, v.ComplainedAt = at(fanfare.ReceiptDelivered), at(fanfare.ReceiptBounced), at(fanfare.ReceiptComplained)
	v.SeenAt, v.ReadAt, v.ClickedAt, v.ArchivedAt = at(fanfare.ReceiptSeen), at(fanfare.ReceiptRead), at(fanfare.ReceiptClicked), at(fanfare.ReceiptArchived)
	if v.ReadAt != nil {
		v.ReadSource = text(it.Receipts[fanfare.ReceiptRead].Source.String())
	}
	return v
}

type itemsIn struct {
	MessagePath
	Page
	ItemFilter
}

// ItemFilter picks items.
type ItemFilter struct {
	Result  string `query:"result" enum:"pending,in_flight,sent,failed,skipped,uncertain"`
	Reason  string `query:"reason"`
	Doubted string `query:"doubted" enum:"true,false"`
	Read    string `query:"read" enum:"true,false" doc:"false: sent and not read."`
}

type exportIn struct {
	MessagePath
	ItemFilter
	Format string `query:"format" enum:"ndjson,csv" default:"ndjson"`
}

type itemPath struct {
	MessagePath
	ExternalID string `path:"external_id"`
}

// takes says whether the filter lets an item through.
func (f *ItemFilter) takes(it *fanfare.Item) bool {
	return (f.Result == "" || f.Result == string(it.Result)) && (f.Reason == "" || f.Reason == string(it.Reason)) &&
		(f.Doubted == "" || (f.Doubted == "true") == (it.Doubted > 0)) && (f.Read != "false" || it.Result == fanfare.ResultSent)
}

// mayHold says whether a batch can hold an item that the filter lets through, by its counters alone.
func (f *ItemFilter) mayHold(b *fanfare.Batch, end fanfare.Phase) bool {
	if f.Doubted == "true" && b.Doubted.Empty() {
		return false
	}
	if f.Read == "false" && b.Sent == 0 {
		return false
	}
	ended := end == fanfare.PhaseCancelled || end == fanfare.PhaseExpired
	switch fanfare.Result(f.Result) {
	case fanfare.ResultSent:
		return b.Sent > 0
	case fanfare.ResultFailed:
		return b.Failed > 0
	case fanfare.ResultUncertain:
		return b.Uncertain > 0
	case fanfare.ResultInFlight:
		return !b.InFlight.Empty()
	case fanfare.ResultPending:
		return !ended && !b.Pending.Empty()
	case fanfare.ResultSkipped:
		return b.Skipped > 0 || ended && !b.Pending.Empty()
	}
	return true
}

// ranks gives, ascending, the ranks of a batch that can be let through, where its sets tell.
func (f *ItemFilter) ranks(b *fanfare.Batch) iter.Seq[int] {
	switch {
	case f.Doubted == "true":
		return b.Doubted.All()
	case f.Result == string(fanfare.ResultPending):
		return b.Pending.All()
	case f.Result == string(fanfare.ResultInFlight):
		return b.InFlight.All()
	}
	return func(yield func(int) bool) {
		for i := range b.N {
			if !yield(i) {
				return
			}
		}
	}
}

func (s *Server) listItems(ctx context.Context, _ *call, in *itemsIn) (*reply[list[itemView]], error) {
	m, _, err := s.read(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	at, err := placeOf(in.Cursor, s.Store.Slots(), 100)
	if err != nil {
		return nil, err
	}
	var found []itemView
	next := ""
	w := walk{s: s, m: &m, filter: in.ItemFilter, limit: patience}
	behind := at
	w.yield = func(it fanfare.Item, after place) bool {
		if len(found) == in.Limit {
			next = behind.String()
			return false
		}
		found, behind = append(found, viewItem(&it)), after
		return true
	}
	if err := w.from(ctx, at); err != nil {
		return nil, err
	}
	if next == "" && w.late != nil {
		next = w.late.String()
	}
	return ok(listOf(found, next)), nil
}

func (s *Server) getItem(ctx context.Context, _ *call, in *itemPath) (*reply[itemView], error) {
	m, _, err := s.read(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	r, err := s.Store.Recipient(ctx, in.ExternalID)
	if err != nil {
		return nil, missing(err, "recipient", in.ExternalID)
	}
	it, there, err := s.item(ctx, &m, &r)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, problem(http.StatusNotFound, "not_found", "This recipient is not in the message's audience; it is frozen when the message starts.")
	}
	return ok(viewItem(&it)), nil
}

// item finds one recipient's item, by some row reads.
func (s *Server) item(ctx context.Context, m *fanfare.Message, r *fanfare.Recipient) (it fanfare.Item, there bool, err error) {
	part, rank, there, err := s.Store.PartOf(ctx, m.Num, r.Slot, r.Seq)
	if err != nil || !there {
		return it, false, err
	}
	if part == fanfare.PartSend {
		it, err = s.plannedItem(ctx, m, r, uint32(rank)) //nolint:gosec // a rank
	} else {
		it.Result, it.Reason = fanfare.ResultSkipped, fanfare.Reason(part)
	}
	if err != nil {
		return it, false, err
	}
	times, err := s.Store.ReceiptTimes(ctx, m.Num, r.Slot, []fanfare.Seq{r.Seq})
	if err != nil {
		return it, false, err
	}
	it.Person, it.Recipient, it.Receipts = r.Person, r.ExternalID, times[0]
	return it, true, nil
}

// plannedItem reads the batch first: whoever has an answer since then is pending in it, and an exception says more.
func (s *Server) plannedItem(ctx context.Context, m *fanfare.Message, r *fanfare.Recipient, rank uint32) (it fanfare.Item, err error) {
	n, err := fanfare.BatchOfRank(ctx, s.Store, m, r.Slot, rank)
	if err != nil {
		return it, err
	}
	rows, err := s.Store.Batches(ctx, m.Num, r.Slot, n, 1)
	if err != nil {
		return it, err
	}
	if len(rows) == 0 || rank < rows[0].First || int(rank) >= int(rows[0].First)+rows[0].N {
		return it, fmt.Errorf("batch of rank %d in slot %d of message %s: %w", rank, r.Slot, m.ID, fanfare.ErrDamaged)
	}
	e, there, err := s.Store.Exception(ctx, m.Num, r.Slot, r.Seq)
	if err != nil {
		return it, err
	}
	if there {
		return rows[0].Item(int(rank-rows[0].First), &e, m.Phase), nil
	}
	return rows[0].Item(int(rank-rows[0].First), nil, m.Phase), nil
}

func (s *Server) exportItems(ctx context.Context, c *call, in *exportIn) (func(http.ResponseWriter), error) {
	m, _, err := s.read(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := s.Store.Update(ctx, func(tx fanfare.ControlTx) error { return c.audit(tx, "items.export", in.ID, in.Format) }); err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter) {
		write, flush := ndjsonItems(w)
		if in.Format == "csv" {
			write, flush = csvItems(w)
		}
		var failed error
		walk := walk{s: s, m: &m, filter: in.ItemFilter, yield: func(it fanfare.Item, _ place) bool {
			failed = write(viewItem(&it))
			return failed == nil
		}}
		err := walk.from(ctx, place{})
		if err == nil && failed == nil {
			failed = flush()
		}
		if err != nil {
			c.failure = err
			panic(http.ErrAbortHandler) // the file must not look whole
		}
	}, nil
}

func ndjsonItems(w http.ResponseWriter) (write func(itemView) error, flush func() error) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return func(v itemView) error { return e.Encode(v) }, func() error { return nil }
}

func csvItems(w http.ResponseWriter) (write func(itemView) error, flush func() error) {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	c := csv.NewWriter(w)
	_ = c.Write([]string{"recipient", "result", "reason", "code", "text", "attempts", "doubted", "revision", "sent_at",
		"delivered_at", "bounced_at", "complained_at", "seen_at", "read_at", "read_source", "clicked_at", "archived_at", "unsubscribed_at"}) // kept until the flush
	return func(v itemView) error {
			revision := ""
			if v.Revision != nil {
				revision = strconv.FormatInt(*v.Revision, 10)
			}
			at := func(t *time.Time) string {
				if t == nil {
					return ""
				}
				return t.Format(time.RFC3339)
			}
			return c.Write([]string{cell(or(v.Recipient, "")), v.Result, v.Reason, cell(v.Code), cell(v.Text), strconv.Itoa(v.Attempts), strconv.Itoa(v.Doubted), revision, at(v.SentAt),
				at(v.DeliveredAt), at(v.BouncedAt), at(v.ComplainedAt), at(v.SeenAt), at(v.ReadAt), or(v.ReadSource, ""), at(v.ClickedAt), at(v.ArchivedAt), at(v.UnsubscribedAt)})
		}, func() error {
			c.Flush()
			return c.Error()
		}
}

// cell keeps text from outside from being taken for a formula by a spreadsheet.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
