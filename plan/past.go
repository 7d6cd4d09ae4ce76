package plan

import (
	"context"
	"fmt"
	"slices"

	"fanfare"
	"fanfare/audience"
	"fanfare/set"
)

// ReceiptSets is what the planner asks about receipts, a part of fanfare.Receipts.
type ReceiptSets interface {
	ReceiptSet(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot, k fanfare.ReceiptKind) (*set.Set, error)
}

// former is another message that an audience names.
type former struct {
	num   fanfare.MessageNum
	phase fanfare.Phase
	asked []audience.Message
}

// batchesTogether is how many batches are read together.
const batchesTogether = 500

// past is what became of one message in one slot, as it stands. Who is in none of the results was sent to.
type past struct {
	planned *set.Set
	results map[fanfare.Result]*set.Set
	reasons map[fanfare.Reason]*set.Set // of the failed and skipped
	doubted *set.Set
}

// answer answers the conditions on a message in one slot.
func (f *former) answer(ctx context.Context, store Store, s fanfare.Slot, into map[string]*set.Set) error {
	p, err := f.read(ctx, store, s, !slices.ContainsFunc(f.asked, needsRows))
	if err != nil {
		return err
	}
	for _, leaf := range f.asked {
		var found *set.Set
		receipt, isReceipt := fanfare.ParseReceiptKind(leaf.Receipt)
		switch {
		case leaf.Result != "":
			found = p.result(fanfare.Result(leaf.Result))
		case leaf.Reason != "":
			found = p.reasons[fanfare.Reason(leaf.Reason)]
		case isReceipt:
			members, err := store.ReceiptSet(ctx, f.num, s, receipt)
			if err != nil {
				return err
			}
			if found = set.And(p.planned, members); !leaf.Is {
				found = set.AndNot(p.result(fanfare.ResultSent), members)
			}
		case leaf.Is:
			found = p.doubted
		default:
			found = set.AndNot(p.result(fanfare.ResultSent), p.doubted)
		}
		if found == nil {
			found = set.New()
		}
		into[keyOf(leaf)] = found
	}
	return nil
}

// needsRows says whether a condition cannot be answered without the message's batches and exceptions.
func needsRows(leaf audience.Message) bool {
	_, isReceipt := fanfare.ParseReceiptKind(leaf.Receipt)
	return !isReceipt || !leaf.Is
}

// result gives the members with a result.
func (p *past) result(r fanfare.Result) *set.Set {
	if r != fanfare.ResultSent {
		return p.results[r]
	}
	sent := p.planned.Clone()
	for _, members := range p.results {
		sent.Subtract(members)
	}
	return sent
}

// read reads what became of a message in a slot; short: only who was planned.
func (f *former) read(ctx context.Context, store Store, s fanfare.Slot, short bool) (*past, error) {
	planned, err := store.PartSet(ctx, f.num, s, fanfare.PartSend)
	if err != nil || short {
		return &past{planned: planned}, err
	}
	p := &past{planned: planned, results: make(map[fanfare.Result]*set.Set), reasons: make(map[fanfare.Reason]*set.Set), doubted: set.New()}
	for from := fanfare.BatchNo(0); ; {
		rows, err := store.Batches(ctx, f.num, s, from, batchesTogether)
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			break
		}
		for i := range rows {
			if err := p.batch(&rows[i]); err != nil {
				return nil, err
			}
		}
		from = rows[len(rows)-1].Batch + 1
	}
	open := set.Or(p.in(fanfare.ResultPending), p.in(fanfare.ResultInFlight))
	for e, err := range store.Exceptions(ctx, f.num, s, 0) { // after the batches: what these say of somebody holds
		if err != nil {
			return nil, err
		}
		p.exception(&e, open.Contains(e.Seq))
	}
	if err := p.skipped(ctx, store, f.num, s); err != nil {
		return nil, err
	}
	p.end(f.phase)
	return p, nil
}

// in gives the members with a result, to be added to.
func (p *past) in(r fanfare.Result) *set.Set { return memberOf(p.results, r) }

func memberOf[K comparable](of map[K]*set.Set, k K) *set.Set {
	if of[k] == nil {
		of[k] = set.New()
	}
	return of[k]
}

func (p *past) batch(b *fanfare.Batch) error {
	if b.Pending.N() != b.N {
		return fmt.Errorf("%v: its sets: %w", b.BatchRef, fanfare.ErrDamaged)
	}
	for _, bits := range []struct {
		members set.Bits
		into    *set.Set
	}{{b.Pending, p.in(fanfare.ResultPending)}, {b.InFlight, p.in(fanfare.ResultInFlight)}, {b.Doubted, p.doubted}} {
		switch bits.members.Len() {
		case 0:
			continue
		case b.N:
			bits.into.Union(p.planned.Slice(int(b.First), int(b.First)+b.N))
			continue
		}
		seqs := p.planned.SelectRange(nil, int(b.First), int(b.First)+b.N)
		if len(seqs) != b.N {
			return fmt.Errorf("%v has %d members, its audience %d: %w", b.BatchRef, b.N, len(seqs), fanfare.ErrDamaged)
		}
		for rank := range bits.members.All() {
			bits.into.Add(seqs[rank])
		}
	}
	return nil
}

func (p *past) exception(e *fanfare.Exception, open bool) {
	if e.Doubts > 0 {
		p.doubted.Add(e.Seq)
	}
	if open || e.Result == fanfare.ResultSent {
		return
	}
	p.in(e.Result).Add(e.Seq)
	if e.Result == fanfare.ResultFailed || e.Result == fanfare.ResultSkipped {
		memberOf(p.reasons, e.Reason).Add(e.Seq)
	}
}

// skipped adds who was skipped when the audience was frozen.
func (p *past) skipped(ctx context.Context, store Store, m fanfare.MessageNum, s fanfare.Slot) error {
	sizes, err := store.Parts(ctx, m, s)
	if err != nil {
		return err
	}
	for part := range sizes {
		if part == fanfare.PartSend {
			continue
		}
		members, err := store.PartSet(ctx, m, s, part)
		if err != nil {
			return err
		}
		p.in(fanfare.ResultSkipped).Union(members)
		memberOf(p.reasons, fanfare.Reason(part)).Union(members)
	}
	return nil
}

// end says of who remained in a message that was cancelled or has expired that they were skipped: no row does.
func (p *past) end(phase fanfare.Phase) {
	reason := fanfare.ReasonCancelled
	switch phase {
	case fanfare.PhaseCancelled:
	case fanfare.PhaseExpired:
		reason = fanfare.ReasonExpired
	default:
		return
	}
	memberOf(p.reasons, reason).Union(p.in(fanfare.ResultPending))
	p.in(fanfare.ResultSkipped).Union(p.in(fanfare.ResultPending))
	delete(p.results, fanfare.ResultPending)
}

// findPast notes a condition on another message.
func (q *question) findPast(v fanfare.ControlView, leaf audience.Message) error {
	f := q.past[leaf.ID]
	if f == nil {
		m, err := v.Message(fanfare.MessageID(leaf.ID))
		if err != nil {
			return fmt.Errorf("message %q: %w", leaf.ID, err)
		}
		f = &former{num: m.Num, phase: m.Phase}
		q.past[leaf.ID] = f
	}
	if !slices.Contains(f.asked, leaf) {
		f.asked = append(f.asked, leaf)
	}
	return nil
}
