package doctor

import (
	"context"
	"errors"
	"fmt"

	"fanfare"
	"fanfare/set"
)

// exam is one message in one slot.
type exam struct {
	r      *Report
	store  Store
	m      fanfare.Message
	slot   fanfare.Slot
	send   *set.Set
	rows   []fanfare.Batch
	found  []Found
	whose  []counted // by batch
	stray  []Found   // exception rows of nobody
	people int       // exception rows
	moved  []bool    // by batch: written while it was read
	unsent *set.Set  // who has an exception row that is none of a sent one
}

// counted is what the exception rows of one batch say.
type counted struct {
	failed, skipped, uncertain int
	wrong                      []Found
}

// message checks a message's slots, and what its own row says of them; once more if it moved meanwhile.
func (r *Report) message(ctx context.Context, store Store, id fanfare.MessageID) error {
	for try := 1; ; try++ {
		m, err := read(ctx, store, id)
		if errors.Is(err, fanfare.ErrNotFound) { // a draft that was deleted since it was listed
			return nil
		}
		if err != nil {
			return err
		}
		before := *r
		if err := r.examine(ctx, store, m); err != nil {
			return err
		}
		if now, err := read(ctx, store, id); err != nil || now.State == m.State || try == looks {
			r.Messages++
			return err
		}
		*r = before
	}
}

func read(ctx context.Context, store Store, id fanfare.MessageID) (m fanfare.Message, err error) {
	err = store.View(ctx, func(v fanfare.ControlView) (err error) {
		m, err = v.Message(id)
		return err
	})
	return m, err
}

func (r *Report) examine(ctx context.Context, store Store, m fanfare.Message) error {
	var sum fanfare.Tally
	whole := true
	for s := range store.Slots() {
		e := exam{r: r, store: store, m: m, slot: fanfare.Slot(s)} //nolint:gosec // slots fit
		t, still, err := e.run(ctx)
		whole = whole && still && err == nil
		if err := r.damaged(err); err != nil {
			return fmt.Errorf("slot %d: %w", s, err)
		}
		r.add(e.found...)
		sum.Add(t)
	}
	if m.Phase == fanfare.PhaseCompleted && whole {
		if want := sum.Outcome(); m.Outcome != want {
			r.add(Found{Message: m.ID, What: fmt.Sprintf("its outcome is %q, its slots say %q", m.Outcome, want)})
		}
	}
	return r.latches(ctx, store, m)
}

// latches: whoever sends or has sent has every slot frozen, and no latch row is ahead of the message.
func (r *Report) latches(ctx context.Context, store Store, m fanfare.Message) error {
	rows, err := store.Latches(ctx, m.Num)
	if err != nil {
		return err
	}
	frozen := 0
	for _, l := range rows {
		if l.Frozen {
			frozen++
		}
		if l.Generation > m.Generation {
			r.add(Found{Message: m.ID, Slot: &l.Slot, What: fmt.Sprintf("its latch row has generation %d, the message %d", l.Generation, m.Generation)})
		}
	}
	if (m.Phase == fanfare.PhaseSending || m.Phase == fanfare.PhaseCompleted) && frozen != store.Slots() {
		r.add(Found{Message: m.ID, What: fmt.Sprintf("it is %s, but %d of %d slots are frozen", m.Phase, frozen, store.Slots())})
	}
	return nil
}

// batchPage is how many rows are read at once.
const batchPage = 2000

func (e *exam) batches(ctx context.Context) (rows []fanfare.Batch, err error) {
	for {
		page, err := e.store.Batches(ctx, e.m.Num, e.slot, fanfare.BatchNo(len(rows)), batchPage) //nolint:gosec // batches fit
		if err != nil {
			return nil, err
		}
		rows = append(rows, page...)
		if len(page) < batchPage {
			return rows, nil
		}
	}
}

// run reads the slot between two readings of its rows and judges those that did not move. still: none did.
func (e *exam) run(ctx context.Context) (t fanfare.Tally, still bool, err error) {
	if err := e.parts(ctx); err != nil || e.send == nil {
		return t, err == nil, err
	}
	if err := e.receipts(ctx); err != nil {
		return t, false, err
	}
	for try := 1; ; try++ {
		if t, still, err = e.read(ctx); err != nil {
			return t, still, err
		}
		if still || try == looks {
			break
		}
	}
	e.r.Batches += len(e.rows)
	e.r.Exceptions += e.people
	e.structure()
	for i := range e.rows {
		if e.moved[i] {
			e.r.Moving++
			continue
		}
		e.batch(&e.rows[i], &e.whose[i])
	}
	e.toFew(still)
	if still {
		e.found = append(e.found, e.stray...)
		e.tally(t)
	}
	return t, still, nil
}

// parts reads the frozen parts: each as large as it is said to be, and no two with a member in common.
func (e *exam) parts(ctx context.Context) error {
	sizes, err := e.store.Parts(ctx, e.m.Num, e.slot)
	if err != nil {
		return err
	}
	all := set.New()
	for name, told := range sizes {
		members, err := e.store.PartSet(ctx, e.m.Num, e.slot, name)
		if err != nil {
			return err
		}
		if members.Len() != told {
			e.differs(nil, "part %s has %d members, its rows say %d", name, members.Len(), told)
		}
		if both := set.And(all, members); !both.Empty() {
			e.differs(nil, "part %s: %d of its members are in another part too (%s)", name, both.Len(), some(both))
		}
		all.Union(members)
		if name == fanfare.PartSend {
			e.send = members
		}
	}
	if e.send == nil && len(sizes) > 0 {
		e.send = set.New()
	}
	return nil
}

func (e *exam) read(ctx context.Context) (t fanfare.Tally, still bool, err error) {
	if e.rows, err = e.batches(ctx); err != nil {
		return t, false, err
	}
	if err := e.exceptions(ctx); err != nil {
		return t, false, err
	}
	if t, err = e.store.Tally(ctx, e.m.Num, e.slot); err != nil {
		return t, false, err
	}
	after, err := e.batches(ctx)
	if err != nil {
		return t, false, err
	}
	e.moved, still = make([]bool, len(e.rows)), len(after) == len(e.rows)
	for i := range e.rows {
		if i >= len(after) || after[i].Step != e.rows[i].Step {
			e.moved[i], still = true, false
		}
	}
	return t, still, nil
}

// exceptions counts the rows by batch. They come in order of seq, as do the planned, so that ranks only rise.
func (e *exam) exceptions(ctx context.Context) error {
	e.whose, e.stray, e.people = make([]counted, len(e.rows)), nil, 0
	e.unsent = set.New()
	at := 0
	for x, err := range e.store.Exceptions(ctx, e.m.Num, e.slot, 0) {
		if err != nil {
			return err
		}
		e.people++
		if x.Result != fanfare.ResultSent {
			e.unsent.Add(x.Seq)
		}
		if !e.send.Contains(x.Seq) {
			e.stray = append(e.stray, e.of(nil, fmt.Sprintf("seq %d has an exception row, but is not planned", x.Seq)))
			continue
		}
		rank := e.send.Rank(x.Seq)
		for at < len(e.rows) && rank >= int(e.rows[at].First)+e.rows[at].N {
			at++
		}
		if at == len(e.rows) || rank < int(e.rows[at].First) {
			e.stray = append(e.stray, e.of(nil, fmt.Sprintf("seq %d has an exception row, but its rank %d is in no batch", x.Seq, rank)))
			continue
		}
		e.exception(&e.rows[at], &e.whose[at], rank-int(e.rows[at].First), &x)
	}
	return nil
}

func (e *exam) exception(b *fanfare.Batch, c *counted, rank int, x *fanfare.Exception) {
	open := b.Pending.Has(rank) || b.InFlight.Has(rank)
	wrong := func(format string, args ...any) {
		c.wrong = append(c.wrong, e.of(b, fmt.Sprintf("seq %d is %s by its exception row, ", x.Seq, x.Result)+fmt.Sprintf(format, args...)))
	}
	switch x.Result {
	case fanfare.ResultFailed:
		c.failed++
	case fanfare.ResultSkipped:
		c.skipped++
	case fanfare.ResultUncertain:
		c.uncertain++
	case fanfare.ResultSent, fanfare.ResultPending:
	default:
		wrong("which no exception row can be")
	}
	if x.Result == fanfare.ResultPending && !open {
		wrong("but neither pending nor in flight")
	}
	if x.Result != fanfare.ResultPending && open {
		wrong("but pending or in flight by the sets")
	}
	if (x.Doubts > 0 || x.Result == fanfare.ResultUncertain) && !b.Doubted.Has(rank) {
		wrong("in doubt %d times, but not among the doubted", x.Doubts)
	}
}

// structure: the batches follow one another, cover the planned exactly, and are no larger than a batch may be.
func (e *exam) structure() {
	next := 0
	for i := range e.rows {
		b := &e.rows[i]
		if int(b.Batch) != i {
			e.differs(b, "it stands at place %d", i)
		}
		if int(b.First) != next {
			e.differs(b, "it begins at rank %d, the one before ends at %d", b.First, next)
		}
		if want := e.size(next); b.N < 1 || b.N > want || e.m.BatchSize() == fanfare.WholeRows && b.N != want {
			e.differs(b, "it has %d members", b.N)
		}
		next += b.N
	}
	if next != e.send.Len() {
		e.differs(nil, "its batches have %d members together, %d are planned", next, e.send.Len())
	}
	e.r.Planned += next
}

// size is how many members a batch that begins at a rank may have, or has where batches are whole rows.
func (e *exam) size(first int) int {
	if size := e.m.BatchSize(); size != fanfare.WholeRows {
		return size
	}
	seq, there := e.send.Select(first)
	if !there {
		return 0
	}
	return e.send.LenRange(uint64(seq), (uint64(seq)>>16+1)<<16)
}

// batch compares one row's counters with its sets and its exception rows.
func (e *exam) batch(b *fanfare.Batch, c *counted) {
	e.found = append(e.found, c.wrong...)
	if b.Pending.N() != b.N || b.InFlight.N() != b.N || b.Doubted.N() != b.N {
		e.differs(b, "its sets are of %d, %d and %d members, the batch of %d", b.Pending.N(), b.InFlight.N(), b.Doubted.N(), b.N)
		return
	}
	if both := b.Pending.And(b.InFlight); !both.Empty() {
		e.differs(b, "%d members are pending and in flight at once", both.Len())
	}
	open := b.Pending.Or(b.InFlight).Len()
	if sent := b.N - open - c.failed - c.skipped - c.uncertain; b.Sent != sent {
		e.differs(b, "sent is %d, the sets leave %d (%d members − %d pending or in flight − %d failed − %d skipped − %d uncertain)",
			b.Sent, sent, b.N, open, c.failed, c.skipped, c.uncertain)
	}
	for _, k := range []struct {
		name          string
		told, counted int
	}{{"failed", b.Failed, c.failed}, {"skipped", b.Skipped, c.skipped}, {"uncertain", b.Uncertain, c.uncertain}} {
		if k.told != k.counted {
			e.differs(b, "%s is %d, %d exception rows say so", k.name, k.told, k.counted)
		}
	}
	if !b.Balanced() {
		e.differs(b, "sent %d + failed %d + skipped %d + uncertain %d + pending %d + in flight %d is not its %d members",
			b.Sent, b.Failed, b.Skipped, b.Uncertain, b.Pending.Len(), b.InFlight.Len(), b.N)
	}
	switch b.State {
	case fanfare.BatchNew:
		if b.Pending.Len() != b.N || !b.Doubted.Empty() {
			e.differs(b, "it is new, but not everybody is pending")
		}
	case fanfare.BatchDone:
		if open > 0 {
			e.differs(b, "it is done, but %d members are pending or in flight", open)
		}
	}
	if e.m.Phase == fanfare.PhaseCompleted && b.State != fanfare.BatchDone {
		e.differs(b, "its message is completed, but the batch is not done")
	}
	if e.m.Phase.Final() && b.State != fanfare.BatchHeld && !b.InFlight.Empty() {
		e.differs(b, "its message is %s, but %d members are in flight", e.m.Phase, b.InFlight.Len())
	}
}

// tally compares the store's sums with ours.
func (e *exam) tally(t fanfare.Tally) {
	var n fanfare.Tally
	exceptions := make(map[fanfare.Result]int)
	for i := range e.rows {
		b, c := &e.rows[i], &e.whose[i]
		n.N += b.N
		n.Pending += b.Pending.Len()
		n.InFlight += b.InFlight.Len()
		n.Doubted += b.Doubted.Len()
		n.Failed += c.failed
		n.Skipped += c.skipped
		n.Uncertain += c.uncertain
		switch b.State {
		case fanfare.BatchDone:
			n.Done++
		case fanfare.BatchHeld:
			n.Held++
		}
	}
	exceptions[fanfare.ResultFailed], exceptions[fanfare.ResultSkipped], exceptions[fanfare.ResultUncertain] = n.Failed, n.Skipped, n.Uncertain
	n.Sent = n.N - n.Pending - n.InFlight - n.Failed - n.Skipped - n.Uncertain
	for _, k := range []struct {
		name          string
		told, counted int
	}{
		{"members", t.N, n.N}, {"sent", t.Sent, n.Sent}, {"failed", t.Failed, n.Failed}, {"skipped", t.Skipped, n.Skipped},
		{"uncertain", t.Uncertain, n.Uncertain}, {"pending", t.Pending, n.Pending}, {"in flight", t.InFlight, n.InFlight},
		{"doubted", t.Doubted, n.Doubted}, {"batches", t.Batches, len(e.rows)}, {"done batches", t.Done, n.Done}, {"held batches", t.Held, n.Held},
		{"failed rows", t.Exceptions[fanfare.ResultFailed], exceptions[fanfare.ResultFailed]},
		{"skipped rows", t.Exceptions[fanfare.ResultSkipped], exceptions[fanfare.ResultSkipped]},
		{"uncertain rows", t.Exceptions[fanfare.ResultUncertain], exceptions[fanfare.ResultUncertain]},
	} {
		if k.told != k.counted {
			e.differs(nil, "the sum says %d %s, counted are %d", k.told, k.name, k.counted)
		}
	}
	if len(e.found) == 0 && !t.Balanced(e.send.Len()) {
		e.differs(nil, "the sum does not balance: %+v", t)
	}
}

func (e *exam) of(b *fanfare.Batch, what string) Found {
	f := Found{Message: e.m.ID, Slot: &e.slot, What: what}
	if b != nil {
		f.Batch = &b.Batch
	}
	return f
}

func (e *exam) differs(b *fanfare.Batch, format string, args ...any) {
	e.found = append(e.found, e.of(b, fmt.Sprintf(format, args...)))
}
