package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"fanfare"
	"fanfare/set"
)

// itemView is one message for one recipient.
type itemView struct {
	Recipient    *string    `json:"recipient" doc:"null: erased."`
	Result       string     `json:"result" enum:"pending,in_flight,sent,failed,skipped,uncertain"`
	Reason       string     `json:"reason"`
	Code         string     `json:"code"`
	Text         string     `json:"text"`
	Attempts     int        `json:"attempts"`
	Doubted      int        `json:"doubted" doc:"How often the answer was in doubt: 1 or 2 may have got two."`
	Revision     *int64     `json:"revision"`
	SentAt       *time.Time `json:"sent_at"`
	DeliveredAt  *time.Time `json:"delivered_at"`
	BouncedAt    *time.Time `json:"bounced_at"`
	ComplainedAt *time.Time `json:"complained_at"`
	SeenAt       *time.Time `json:"seen_at"`
	ReadAt       *time.Time `json:"read_at"`
	ReadSource   *string    `json:"read_source"`
	ClickedAt    *time.Time `json:"clicked_at"`
	ArchivedAt   *time.Time `json:"archived_at"`
}

func viewItem(it *fanfare.Item) itemView {
	v := itemView{Recipient: text(it.Recipient), Result: string(it.Result), Reason: string(it.Reason), Code: it.Code, Text: it.Text, Attempts: it.Attempts, Doubted: it.Doubted,
		SentAt: moment(it.SentAt)}
	if it.Revision > 0 {
		n := int64(it.Revision)
		v.Revision = &n
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
		(f.Doubted == "" || (f.Doubted == "true") == (it.Doubted > 0))
}

// mayHold says whether a batch can hold an item that the filter lets through, by its counters alone.
func (f *ItemFilter) mayHold(b *fanfare.Batch, end fanfare.Phase) bool {
	if f.Doubted == "true" && b.Doubted.Empty() {
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

// batchesRead is how many batches are read together.
const batchesRead = 64

// walk goes through a message's items from a place on: slot by slot, first the planned, batch by batch, then who was skipped at the
// freeze, reason by reason. It calls yield with each item that passes and the place behind it; false ends it.
type walk struct {
	s      *Server
	m      *fanfare.Message
	filter ItemFilter
	yield  func(it fanfare.Item, behind place) bool
	began  time.Time
	limit  time.Duration // after which it ends, with the place in late; 0: never
	late   *place
}

// tired ends a walk that found too little for too long.
func (w *walk) tired(at place) bool {
	if w.limit > 0 && time.Since(w.began) > w.limit {
		w.late = &at
	}
	return w.late != nil
}

func (w *walk) from(ctx context.Context, at place) error {
	w.began = time.Now()
	for ; at.Slot < w.s.Store.Slots(); at = (place{Slot: at.Slot + 1}) {
		more := true
		var err error
		if at.Part == 0 {
			if more, err = w.planned(ctx, at); err != nil || !more {
				return err
			}
			at.Part, at.At = 1, 0
		}
		if more, err = w.skipped(ctx, at); err != nil || !more {
			return err
		}
	}
	return nil
}

// planned walks through the batches of a slot; at.At is a rank among the planned.
func (w *walk) planned(ctx context.Context, at place) (more bool, err error) {
	slot := fanfare.Slot(at.Slot) //nolint:gosec // slots fit
	var members *set.Set
	from, err := w.s.batchOf(ctx, w.m, slot, at.At)
	if err != nil {
		return false, err
	}
	for {
		rows, err := w.s.Store.Batches(ctx, w.m.Num, slot, from, batchesRead)
		if err != nil || len(rows) == 0 {
			return true, err
		}
		for i := range rows {
			b := &rows[i]
			if !w.filter.mayHold(b, w.m.Phase) {
				continue
			}
			if members == nil {
				if members, err = w.s.Store.PartSet(ctx, w.m.Num, slot, fanfare.PartSend); err != nil {
					return false, err
				}
			}
			if more, err := w.batch(ctx, at, b, members); err != nil || !more {
				return false, err
			}
		}
		last := rows[len(rows)-1]
		from = last.Batch + 1
		if w.tired(place{Slot: at.Slot, At: last.First + uint32(last.N)}) { //nolint:gosec // a batch is small
			return false, nil
		}
	}
}

// batch walks through one batch.
func (w *walk) batch(ctx context.Context, at place, b *fanfare.Batch, members *set.Set) (more bool, err error) {
	seqs := members.SelectRange(nil, int(b.First), int(b.First)+b.N)
	if len(seqs) != b.N {
		return false, fmt.Errorf("%v has %d members, its audience %d: %w", b.BatchRef, b.N, len(seqs), fanfare.ErrDamaged)
	}
	exceptions, err := w.exceptions(ctx, b, seqs)
	if err != nil {
		return false, err
	}
	var items []fanfare.Item
	for rank := range w.filter.ranks(b) {
		if uint32(rank)+b.First < at.At { //nolint:gosec // a rank in a batch
			continue
		}
		it := b.Item(rank, exceptions[seqs[rank]], w.m.Phase)
		it.Seq = seqs[rank]
		if w.filter.takes(&it) {
			items = append(items, it)
		}
	}
	return w.named(ctx, items, func(i int) place {
		rank, _ := slices.BinarySearch(seqs, items[i].Seq)
		return place{Slot: at.Slot, At: b.First + uint32(rank) + 1} //nolint:gosec // a rank in a batch
	})
}

func (w *walk) exceptions(ctx context.Context, b *fanfare.Batch, seqs []fanfare.Seq) (map[fanfare.Seq]*fanfare.Exception, error) {
	found := make(map[fanfare.Seq]*fanfare.Exception)
	if b.State == fanfare.BatchNew {
		return found, nil
	}
	for e, err := range w.s.Store.Exceptions(ctx, b.Message, b.Slot, seqs[0]) {
		if err != nil {
			return nil, err
		}
		if e.Seq > seqs[len(seqs)-1] {
			break
		}
		found[e.Seq] = &e
	}
	return found, nil
}

// named puts the external ids to items of one slot and yields them.
func (w *walk) named(ctx context.Context, items []fanfare.Item, behind func(int) place) (more bool, err error) {
	if len(items) == 0 {
		return true, nil
	}
	seqs := make([]fanfare.Seq, len(items))
	for i := range items {
		seqs[i] = items[i].Seq
	}
	people, err := w.s.Store.Profiles(ctx, items[0].Slot, seqs)
	if err != nil {
		return false, err
	}
	for i := range items {
		items[i].Recipient = people[i].ExternalID
		if !w.yield(items[i], behind(i)) {
			return false, nil
		}
	}
	return true, nil
}

// skipped walks through who was skipped when the audience was frozen; at.Part counts the reasons from 1, at.At is a seq.
func (w *walk) skipped(ctx context.Context, at place) (more bool, err error) {
	slot := fanfare.Slot(at.Slot) //nolint:gosec // slots fit
	if w.filter.Result != "" && w.filter.Result != string(fanfare.ResultSkipped) || w.filter.Doubted == "true" {
		return true, nil
	}
	sizes, err := w.s.Store.Parts(ctx, w.m.Num, slot)
	if err != nil {
		return false, err
	}
	delete(sizes, fanfare.PartSend)
	parts := make([]fanfare.Part, 0, len(sizes))
	for p := range sizes {
		parts = append(parts, p)
	}
	slices.Sort(parts)
	for ; at.Part <= len(parts); at.Part, at.At = at.Part+1, 0 {
		part := parts[at.Part-1]
		if w.filter.Reason != "" && w.filter.Reason != string(part) {
			continue
		}
		members, err := w.s.Store.PartSet(ctx, w.m.Num, slot, part)
		if err != nil {
			return false, err
		}
		var items []fanfare.Item
		for seq := range members.From(at.At) {
			items = append(items, fanfare.Item{Person: fanfare.Person{Slot: slot, Seq: seq}, Result: fanfare.ResultSkipped, Reason: fanfare.Reason(part)})
			if len(items) == scanMost {
				if more, err := w.part(ctx, at, items); err != nil || !more {
					return false, err
				}
				items = nil
			}
		}
		if more, err := w.part(ctx, at, items); err != nil || !more {
			return false, err
		}
	}
	return !w.tired(place{Slot: at.Slot + 1}), nil
}

func (w *walk) part(ctx context.Context, at place, items []fanfare.Item) (bool, error) {
	return w.named(ctx, items, func(i int) place { return place{Slot: at.Slot, Part: at.Part, At: items[i].Seq + 1} })
}

// batchOf finds the batch of a rank among a slot's planned: as a rule where the batches are of even size.
func (s *Server) batchOf(ctx context.Context, m *fanfare.Message, slot fanfare.Slot, rank uint32) (fanfare.BatchNo, error) {
	if rank == 0 {
		return 0, nil
	}
	holds := func(n fanfare.BatchNo) (where int, err error) { // < 0: the rank lies before, 0: in it, > 0: behind
		rows, err := s.Store.Batches(ctx, m.Num, slot, n, 1)
		switch {
		case err != nil:
			return 0, err
		case len(rows) == 0 || rank < rows[0].First:
			return -1, nil
		case rank >= rows[0].First+uint32(rows[0].N): //nolint:gosec // a batch is small
			return 1, nil
		}
		return 0, nil
	}
	guess := fanfare.BatchNo(int(rank) / m.BatchSize()) //nolint:gosec // fits
	where, err := holds(guess)
	if err != nil || where == 0 {
		return guess, err
	}
	var failed error
	n := sort.Search(int(rank)+1, func(i int) bool { // a batch holds somebody: its number is at most the rank
		where, err := holds(fanfare.BatchNo(i)) //nolint:gosec // fits
		if err != nil {
			failed = err
		}
		return where <= 0
	})
	return fanfare.BatchNo(n), failed //nolint:gosec // fits
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
	it.Recipient = r.ExternalID
	return ok(viewItem(&it)), nil
}

// item finds one recipient's item.
func (s *Server) item(ctx context.Context, m *fanfare.Message, r *fanfare.Recipient) (fanfare.Item, bool, error) {
	sizes, err := s.Store.Parts(ctx, m.Num, r.Slot)
	if err != nil {
		return fanfare.Item{}, false, err
	}
	for part := range sizes {
		members, err := s.Store.PartSet(ctx, m.Num, r.Slot, part)
		if err != nil {
			return fanfare.Item{}, false, err
		}
		if !members.Contains(r.Seq) {
			continue
		}
		if part != fanfare.PartSend {
			return fanfare.Item{Person: r.Person, Result: fanfare.ResultSkipped, Reason: fanfare.Reason(part)}, true, nil
		}
		it, err := s.plannedItem(ctx, m, r, members)
		return it, err == nil, err
	}
	return fanfare.Item{}, false, nil
}

func (s *Server) plannedItem(ctx context.Context, m *fanfare.Message, r *fanfare.Recipient, members *set.Set) (it fanfare.Item, err error) {
	rank := members.Rank(r.Seq)
	n, err := s.batchOf(ctx, m, r.Slot, uint32(rank)) //nolint:gosec // a rank
	if err != nil {
		return it, err
	}
	rows, err := s.Store.Batches(ctx, m.Num, r.Slot, n, 1)
	if err != nil {
		return it, err
	}
	if len(rows) == 0 || rank < int(rows[0].First) || rank >= int(rows[0].First)+rows[0].N {
		return it, fmt.Errorf("batch of rank %d in slot %d of message %s: %w", rank, r.Slot, m.ID, fanfare.ErrDamaged)
	}
	for e, err := range s.Store.Exceptions(ctx, m.Num, r.Slot, r.Seq) {
		if err != nil {
			return it, err
		}
		if e.Seq == r.Seq {
			it = rows[0].Item(rank-int(rows[0].First), &e, m.Phase)
			it.Seq = r.Seq
			return it, nil
		}
		break
	}
	it = rows[0].Item(rank-int(rows[0].First), nil, m.Phase)
	it.Seq = r.Seq
	return it, nil
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
	_ = c.Write([]string{"recipient", "result", "reason", "code", "text", "attempts", "doubted", "revision", "sent_at"}) // kept until the flush
	return func(v itemView) error {
			revision, at := "", ""
			if v.Revision != nil {
				revision = strconv.FormatInt(*v.Revision, 10)
			}
			if v.SentAt != nil {
				at = v.SentAt.Format(time.RFC3339)
			}
			return c.Write([]string{or(v.Recipient, ""), v.Result, v.Reason, cell(v.Code), cell(v.Text), strconv.Itoa(v.Attempts), strconv.Itoa(v.Doubted), revision, at})
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
