package deliver

import (
	"errors"
	"time"

	"fanfare"
)

// balance compares at the end what the database says of everybody with what the providers accepted.
func (w *world) balance() {
	for _, s := range w.messages {
		w.judgeEnd(s)
		for slot := range w.slots {
			if w.broken == nil {
				w.balanceSlot(s, fanfare.Slot(slot))
			}
		}
		if s.rated {
			w.judgeRate(string(s.id), s.begun, s.rate)
		}
		w.balanceOutcome(s)
	}
	for _, l := range w.lanes {
		if l.rated {
			w.judgeRate(l.Name, l.begun, l.rate)
		}
	}
}

// balanceOutcome: a completed message is summed up as it is.
func (w *world) balanceOutcome(s *sending) {
	if s.state.Phase != fanfare.PhaseCompleted {
		return
	}
	if s.settles { // whoever did may have died before it was summed up, and does it again
		_, err := fanfare.SumUp(w.ctx, w.store, s.id)
		w.must(err)
	}
	var sum fanfare.Tally
	for slot := range w.slots {
		t, err := w.store.Tally(w.ctx, s.num, fanfare.Slot(slot))
		w.must(err)
		sum.Add(t)
	}
	w.must(w.store.View(w.ctx, func(v fanfare.ControlView) error {
		m, err := v.Message(s.id)
		if m.Outcome != sum.Outcome() {
			w.violated("outcome", "%s is %s, its sum is %s: %+v", s.id, m.Outcome, sum.Outcome(), sum)
		}
		w.saw("completed " + string(m.Outcome))
		return err
	}))
}

func (w *world) balanceSlot(s *sending, slot fanfare.Slot) {
	tally, err := w.store.Tally(w.ctx, s.num, slot)
	w.must(err)
	rows, err := w.store.Batches(w.ctx, s.num, slot, 0, 1<<20)
	w.must(err)
	sizes, err := w.store.Parts(w.ctx, s.num, slot)
	w.must(err)
	if !tally.Balanced(sizes[fanfare.PartSend]) {
		w.violated("balance", "%s, slot %d: %+v of %d", s.id, slot, tally, sizes[fanfare.PartSend])
		return
	}
	planned, err := w.store.PartSet(w.ctx, s.num, slot, fanfare.PartSend)
	if errors.Is(err, fanfare.ErrDamaged) {
		return
	}
	w.must(err)
	exceptions := make(map[fanfare.Seq]*fanfare.Exception)
	for e, err := range w.store.Exceptions(w.ctx, s.num, slot, 0) {
		w.must(err)
		exceptions[e.Seq] = &e
	}
	for i := range rows {
		row := &rows[i]
		sent := 0
		for rank := range row.N {
			seq, _ := planned.Select(int(row.First) + rank)
			it := row.Item(rank, exceptions[seq], "")
			it.Seq = seq
			w.balanceItem(s, row, &it)
			if it.Result == fanfare.ResultSent {
				sent++
			}
		}
		if sent != row.Sent {
			w.violated("sent", "%v: %d are sent by the sets, %d answers were counted", row.BatchRef, sent, row.Sent)
		}
	}
}

// balanceItem: one result each, and the copies that go with it.
func (w *world) balanceItem(s *sending, row *fanfare.Batch, it *fanfare.Item) {
	key := item{s.num, it.Person}
	copies := w.copies[key]
	least, most := 0, 0
	switch it.Result {
	case fanfare.ResultSent:
		least, most = 1, 1
		if w.taken[key] {
			least = 0
		}
		if !w.known[key] {
			w.violated("sent", "%v %v is called sent and no answer said so", row.BatchRef, it.Person)
		}
	case fanfare.ResultUncertain:
		if it.Doubted == 0 {
			w.violated("doubted", "%v %v is uncertain and not doubted", row.BatchRef, it.Person)
		}
	case fanfare.ResultInFlight:
		most = 1
		if row.State != fanfare.BatchHeld {
			w.violated("drained", "%v %v is still in flight", row.BatchRef, it.Person)
		}
	case fanfare.ResultPending:
		if s.state.Phase == fanfare.PhaseCompleted {
			w.violated("lost", "%v %v is pending in a completed message", row.BatchRef, it.Person)
		}
	}
	if it.Doubted > 0 {
		most = 2 + w.more[key]
	}
	if copies < least || copies > most {
		w.violated("copies", "%v %v is %s (%s), doubted %d, and got %d", row.BatchRef, it.Person, it.Result, it.Reason, it.Doubted, copies)
	}
	if it.Result == fanfare.ResultSent && copies == 1 && it.Doubted == 0 {
		for i := range w.ledger {
			if w.ledger[i].item == key && w.ledger[i].revision != it.Revision {
				w.violated("revision", "%v %v was sent with revision %d and is said to have had %d", row.BatchRef, it.Person, w.ledger[i].revision, it.Revision)
			}
		}
	}
}

// judgeRate: over any ten seconds no more was begun than the rate allows, a window and what all connections had in hand apart.
func (w *world) judgeRate(what string, begun []time.Duration, rate float64) {
	const span = 10 * time.Second
	hand := w.named * 3 * 4
	most := int(rate*span.Seconds()+rate/5) + 2 + hand
	from := 0
	for i, at := range begun {
		for begun[from] <= at-span {
			from++
		}
		if i-from+1 > most {
			w.violated("rate", "%s: %d sends within ten seconds at %.1f a second", what, i-from+1, rate)
			return
		}
	}
	w.saw("rate kept")
}
