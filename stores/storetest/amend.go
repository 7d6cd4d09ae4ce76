package storetest

import (
	"fmt"
	"time"

	"fanfare"
)

func amendScenarios() []scenario {
	return []scenario{
		{"send again to the failed", reopenFailed},
		{"send again to the failed of a reason", reopenReason},
		{"send again to the uncertain", reopenUncertain},
		{"the latch and the claim decide", reopenGuarded},
		{"settle", settleItems},
		{"settle beside a claim", settleBusy},
		{"a message is summed up again", sumUp},
		{"nonsense", amendNonsense},
	}
}

// ended is a batch of eight: 0 sent, 1 and 2 failed, 3 failed and in doubt twice, 4 and 5 uncertain, 6 uncertain and in doubt twice, 7 skipped.
func (x *fixture) ended(s fanfare.Slot) (fanfare.MessageNum, []fanfare.Seq) {
	x.t.Helper()
	m, planned := x.sending(s, 16, 8)
	h := x.take(ref(m, s, 1))
	h.send(0, 1, 2, 3, 4, 5, 6, 7)
	x.answers(h.record(func(r *fanfare.Record) {
		sent(r, 0)
		h.failed(r, 1, "550", "no such user")
		put := func(rank int, result fanfare.Result, why fanfare.Reason, attempts, doubts int) {
			r.Next.InFlight.Clear(rank)
			switch result {
			case fanfare.ResultFailed:
				r.Next.Failed++
			case fanfare.ResultUncertain:
				r.Next.Uncertain++
			default:
				r.Next.Skipped++
			}
			if doubts > 0 {
				r.Next.Doubted.Set(rank)
			}
			e := h.exception(rank, result, why)
			e.Attempts, e.Doubts, e.Code = attempts, doubts, "451"
			r.Exceptions = append(r.Exceptions, e)
		}
		put(2, fanfare.ResultFailed, fanfare.ReasonTemporaryExhausted, 6, 1)
		put(3, fanfare.ResultFailed, fanfare.ReasonTechnical, 3, 2)
		put(4, fanfare.ResultUncertain, fanfare.ReasonNoAnswer, 1, 1)
		put(5, fanfare.ResultUncertain, fanfare.ReasonInterrupted, 1, 1)
		put(6, fanfare.ResultUncertain, fanfare.ReasonNoAnswer, 2, 2)
		put(7, fanfare.ResultSkipped, fanfare.ReasonMissingField, 0, 0)
		r.Next.Runs, r.SentNow, r.Lease = []fanfare.Run{{Revision: 3}}, true, 0
	}), fanfare.Applied, "its end")
	if h.row.State != fanfare.BatchDone {
		x.t.Fatalf("it is not done: %+v", h.row)
	}
	return m, planned[8:]
}

func (x *fixture) amend(d fanfare.Amend) fanfare.EntryAnswer {
	x.t.Helper()
	return x.append1(d.Slot, fanfare.Entry{Amend: &d})
}

// reopening makes the slot's latch as it is while a scope is added.
func (x *fixture) reopening(m fanfare.MessageNum, s fanfare.Slot, g fanfare.Generation) {
	x.t.Helper()
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotPreparing, g))
}

func reopen(r fanfare.BatchRef, g fanfare.Generation, scopes ...fanfare.Scope) fanfare.Amend {
	return fanfare.Amend{BatchRef: r, Generation: g, Reopen: scopes}
}

// amended compares a batch with what it was and is to be, and the exceptions that changed with their rows; it wants the balance.
func (x *fixture) amended(a fanfare.EntryAnswer, was fanfare.Batch, ranks []int, change func(b *fanfare.Batch)) {
	x.t.Helper()
	x.answers(a, fanfare.Applied, "amend")
	want := was.Clone()
	want.Fence++
	want.Step++
	want.Owner, want.LeaseUntil = fanfare.Owner{}, time.Time{}
	change(&want)
	x.same(a.Row, want, "the row as answered")
	x.same(x.peek(was.BatchRef), want, "the row as read")
	if !want.Balanced() {
		x.t.Errorf("no balance: %+v", want)
	}
	if t := x.tally(was.Message, was.Slot); !t.Balanced(16) {
		x.t.Errorf("no balance: %+v", t)
	}
	var got []int
	rows := x.exceptions(was.Message, was.Slot, 0)
	for _, e := range a.Exceptions {
		got = append(got, e.Rank)
		found := false
		for _, row := range rows {
			if row.Seq == e.Seq {
				row.Rank, found = e.Rank, true
				x.same(row, e, "an exception as answered")
			}
		}
		if !found {
			x.t.Errorf("no row of %d", e.Seq)
		}
	}
	x.same(got, ranks, "whom it changed")
}

func reopenFailed(x *fixture) {
	const s = 1
	m, planned := x.ended(s)
	r := ref(m, s, 1)
	was := x.peek(r)
	x.reopening(m, s, 2)
	x.clock.Advance(time.Minute)
	a := x.amend(reopen(r, 2, fanfare.Scope{Result: fanfare.ResultFailed}))
	x.amended(a, was, []int{1, 2}, func(b *fanfare.Batch) {
		b.State, b.Failed = fanfare.BatchOpen, 1
		b.Pending.Set(1)
		b.Pending.Set(2)
	})
	x.same(a.Exceptions, []fanfare.Exception{
		{Rank: 1, Seq: planned[1], Result: fanfare.ResultPending, Code: "550", Text: "no such user", Attempts: 1, Before: 1, At: x.now()},
		{Rank: 2, Seq: planned[2], Result: fanfare.ResultPending, Code: "451", Attempts: 6, Before: 6, Doubts: 1, At: x.now()},
	}, "who remains again")
	x.answers(x.amend(reopen(r, 2, fanfare.Scope{Result: fanfare.ResultFailed})), fanfare.Over, "the same again")
	x.answers(x.amend(reopen(ref(m, s, 0), 2, fanfare.Scope{Result: fanfare.ResultFailed})), fanfare.Over, "a batch that nobody touched")
	x.answers(x.amend(reopen(ref(m, s, 7), 2, fanfare.Scope{Result: fanfare.ResultFailed})), fanfare.Stale, "no batch")
	open, first, err := x.Backlog(x.ctx, m, s, 1, 5)
	x.ok(err)
	if len(open) != 1 || open[0].Batch != 1 || first != 0 {
		x.t.Errorf("backlog %+v from %d", open, first)
	}

	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotSending, 2)) // and it is sent again
	c := claim(r, alice)
	c.Generation = 2
	a = x.claim(c)
	x.answers(a, fanfare.Applied, "claim")
	for _, e := range a.Exceptions {
		if e.Rank == 2 && (e.Before != 6 || e.Attempts != 6 || e.Result != fanfare.ResultPending) {
			x.t.Errorf("of the claim: %+v", e)
		}
	}
	h := &holder{x: x, row: a.Row, members: planned}
	h2 := func(fn func(r *fanfare.Record)) {
		x.t.Helper()
		x.answers(h.record(func(r *fanfare.Record) { r.Generation = 2; fn(r) }), fanfare.Applied, "record")
	}
	h2(func(r *fanfare.Record) { r.Intent = h.intent(1, 2) })
	h2(func(r *fanfare.Record) {
		sent(r, 1)
		again := h.exception(1, fanfare.ResultSent, "")
		again.Attempts = 2
		r.Exceptions = append(r.Exceptions, again)
		h.failed(r, 2, "550", "no")
		r.Lease = 0
	})
	if h.row.State != fanfare.BatchDone || h.row.Sent != 2 || h.row.Failed != 2 {
		x.t.Errorf("sent again: %+v", h.row)
	}
	for _, e := range x.exceptions(m, s, planned[2])[:1] {
		if e.Before != 6 || e.Attempts != 6 || e.Doubts != 1 {
			x.t.Errorf("attempts, those before or doubts fell: %+v", e)
		}
	}
}

func reopenReason(x *fixture) {
	const s = 2
	m, _ := x.ended(s)
	r := ref(m, s, 1)
	was := x.peek(r)
	x.reopening(m, s, 2)
	x.answers(x.amend(reopen(r, 2, fanfare.Scope{Result: fanfare.ResultFailed, Reasons: []fanfare.Reason{fanfare.ReasonSettled}})), fanfare.Over, "a reason of nobody")
	x.amended(x.amend(reopen(r, 2, fanfare.Scope{Result: fanfare.ResultFailed, Reasons: []fanfare.Reason{fanfare.ReasonPermanent, fanfare.ReasonTechnical}})), was, []int{1, 3},
		func(b *fanfare.Batch) {
			b.State, b.Failed = fanfare.BatchOpen, 1
			b.Pending.Set(1)
			b.Pending.Set(3) // in doubt twice, and named
		})
}

func reopenUncertain(x *fixture) {
	const s = 0
	m, _ := x.ended(s)
	r := ref(m, s, 1)
	was := x.peek(r)
	x.reopening(m, s, 2)
	x.amended(x.amend(reopen(r, 2, fanfare.Scope{Result: fanfare.ResultUncertain})), was, []int{4, 5}, func(b *fanfare.Batch) {
		b.State, b.Uncertain = fanfare.BatchOpen, 1
		b.Pending.Set(4)
		b.Pending.Set(5)
	})
	was = x.peek(r)
	x.amended(x.amend(reopen(r, 2, fanfare.Scope{Result: fanfare.ResultUncertain, Again: true}, fanfare.Scope{Result: fanfare.ResultFailed, Reasons: []fanfare.Reason{fanfare.ReasonPermanent}})),
		was, []int{1, 6}, func(b *fanfare.Batch) {
			b.Uncertain, b.Failed = 0, 2
			b.Pending.Set(1)
			b.Pending.Set(6)
		})
}

func reopenGuarded(x *fixture) {
	const s = 3
	m, _ := x.ended(s)
	r := ref(m, s, 1)
	was := x.peek(r)
	try := func(g fanfare.Generation, want fanfare.Answer, what string) {
		x.t.Helper()
		x.answers(x.amend(reopen(r, g, fanfare.Scope{Result: fanfare.ResultFailed})), want, what)
	}
	try(1, fanfare.Stale, "sending")
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotStopped, 2))
	try(2, fanfare.Stale, "stopped")
	x.reopening(m, s, 3)
	try(2, fanfare.Stale, "an older generation")
	try(4, fanfare.Stale, "a newer generation")
	x.same(x.peek(r), was, "after all of them")
	x.answers(x.claim(claim(ref(m, s, 0), bob)), fanfare.Stale, "a claim meanwhile")
	try(3, fanfare.Applied, "reopening")
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotSending, 3))
	c := claim(r, alice)
	c.Generation = 3
	a := x.claim(c)
	x.answers(a, fanfare.Applied, "claim")
	h := &holder{x: x, row: a.Row}
	x.reopening(m, s, 4)
	all := fanfare.Scope{Result: fanfare.ResultUncertain, Again: true}
	x.answers(x.amend(reopen(r, 4, all)), fanfare.Busy, "while it is claimed")
	x.clock.Advance(fanfare.LeaseTime)
	x.answers(x.amend(reopen(r, 4, all)), fanfare.Applied, "when the claim is dead")
	x.answers(h.record(func(*fanfare.Record) {}), fanfare.Stale, "whoever had it, late")
	hold := x.peek(r)
	c.Generation = 5
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotSending, 5))
	a = x.claim(c)
	h.row = a.Row
	if a.Row.Fence != hold.Fence+1 {
		x.t.Errorf("fence %d after %d", a.Row.Fence, hold.Fence)
	}
	x.answers(h.record(func(r *fanfare.Record) { r.Generation, r.Next.State, r.Lease = 5, fanfare.BatchHeld, 0 }), fanfare.Applied, "hold")
	x.reopening(m, s, 6)
	x.answers(x.amend(reopen(r, 6, fanfare.Scope{Result: fanfare.ResultFailed, Reasons: []fanfare.Reason{fanfare.ReasonTechnical}})), fanfare.Over, "a batch that is held")
}

func settleItems(x *fixture) {
	const s = 1
	m, planned := x.ended(s)
	r := ref(m, s, 1)
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotStopped, 2)) // whatever the phase
	x.clock.Advance(time.Minute)
	msg := fanfare.Message{Num: m, Revision: 9}
	settle := func(as fanfare.Result, who []fanfare.Seq, want ...fanfare.Seq) {
		x.t.Helper()
		done, err := fanfare.Settle(x.ctx, x, &msg, s, as, who)
		x.ok(err)
		x.same(done, fanfare.Settled{Who: want}, fmt.Sprint("settled as ", as))
	}
	was := x.peek(r)
	// Who is not uncertain, not planned or in no such batch is left out.
	settle(fanfare.ResultSent, []fanfare.Seq{planned[0] - 1, planned[1], planned[4], 4711}, planned[4])
	want := was.Clone()
	want.Sent, want.Uncertain, want.Fence, want.Step = 2, 2, was.Fence+1, was.Step+1
	x.same(x.peek(r), want, "one settled as sent")
	settle(fanfare.ResultSent, []fanfare.Seq{planned[4]})
	settle(fanfare.ResultFailed, []fanfare.Seq{planned[0] - 1})
	settle(fanfare.ResultFailed, nil, planned[5], planned[6])
	settle(fanfare.ResultFailed, nil)
	want.Failed, want.Uncertain, want.Fence, want.Step = 5, 0, want.Fence+1, want.Step+1
	x.same(x.peek(r), want, "all settled")
	if t := x.tally(m, s); !t.Balanced(16) || t.Doubted != 5 {
		x.t.Errorf("tally %+v", t)
	}
	x.same(x.exceptions(m, s, planned[4])[:3], []fanfare.Exception{
		{Seq: planned[4], Result: fanfare.ResultSent, Attempts: 1, Doubts: 1, At: x.now()},
		{Seq: planned[5], Result: fanfare.ResultFailed, Reason: fanfare.ReasonSettled, Code: "451", Attempts: 1, Doubts: 1, At: x.now()},
		{Seq: planned[6], Result: fanfare.ResultFailed, Reason: fanfare.ReasonSettled, Code: "451", Attempts: 2, Doubts: 2, At: x.now()},
	}, "exceptions")

	m, planned = x.sending(s, 2, 2) // nobody was sent to: the batch has no run yet
	h := x.take(ref(m, s, 0))
	h.send(0)
	x.clock.Advance(fanfare.LeaseTime)
	c := claim(ref(m, s, 0), bob)
	c.Policy, c.Settle = fanfare.PolicyHold, true
	x.answers(x.claim(c), fanfare.Applied, "a dead claim")
	msg.Num = m
	settle(fanfare.ResultSent, nil, planned[0])
	row := x.peek(ref(m, s, 0))
	if row.State != fanfare.BatchOpen || row.Pending.Len() != 1 {
		x.t.Errorf("row %+v", row)
	}
	x.same(row.Runs, []fanfare.Run{{Revision: 9, At: x.now()}}, "its run")
}

func settleBusy(x *fixture) {
	const s = 2
	m, planned := x.sending(s, 3, 3)
	h := x.take(ref(m, s, 0))
	h.send(0, 1)
	x.answers(h.record(func(r *fanfare.Record) {
		r.Exceptions = r.Next.Doubt(nil, 0, fanfare.PolicyHold, fanfare.ReasonNoAnswer)
		r.Exceptions[0].Seq = planned[0]
	}), fanfare.Applied, "a doubt")
	msg := fanfare.Message{Num: m, Revision: 1}
	done, err := fanfare.Settle(x.ctx, x, &msg, s, fanfare.ResultSent, nil)
	x.ok(err)
	x.same(done, fanfare.Settled{Busy: 1}, "while a claim holds it")
	x.clock.Advance(fanfare.LeaseTime)
	done, err = fanfare.Settle(x.ctx, x, &msg, s, fanfare.ResultSent, nil)
	x.ok(err)
	x.same(done, fanfare.Settled{Who: planned[:1]}, "when the claim is dead")
	if row := x.peek(ref(m, s, 0)); row.InFlight.Len() != 1 || row.Sent != 1 || row.Uncertain != 0 {
		x.t.Errorf("who was in flight does not stay so: %+v", row)
	}
	a := x.claim(claim(ref(m, s, 0), bob))
	if a.Row.Doubted.Len() != 2 {
		x.t.Errorf("and is not doubted by the next claim: %+v", a.Row)
	}
}

func sumUp(x *fixture) {
	const s = 0
	m, _ := x.ended(s)
	var msg fanfare.Message
	save := func(change func(m *fanfare.Message)) {
		x.update(func(tx fanfare.ControlTx) (err error) {
			if msg, err = tx.MessageByNum(m); err != nil {
				return err
			}
			from, was := msg.Phase, msg.Generation
			change(&msg)
			return tx.SaveMessage(&msg, from, was)
		})
	}
	save(func(m *fanfare.Message) { m.Phase, m.Outcome = fanfare.PhaseSending, "" })
	got, err := fanfare.SumUp(x.ctx, x, msg.ID)
	x.ok(err)
	x.same(got.Outcome, fanfare.Outcome(""), "while it is sending")
	save(func(m *fanfare.Message) { m.Phase, m.Outcome = fanfare.PhaseCompleted, fanfare.WithUncertain })
	done, err := fanfare.Settle(x.ctx, x, &msg, s, fanfare.ResultSent, nil)
	x.ok(err)
	if len(done.Who) != 3 {
		x.t.Errorf("settled: %+v", done)
	}
	got, err = fanfare.SumUp(x.ctx, x, msg.ID)
	x.ok(err)
	x.view(func(v fanfare.ControlView) (err error) { msg, err = v.Message(msg.ID); return err })
	if got.Outcome != fanfare.WithFailures || msg.Outcome != fanfare.WithFailures {
		x.t.Errorf("outcome %s, as read %s", got.Outcome, msg.Outcome)
	}
}

func amendNonsense(x *fixture) {
	const s = 1
	m, _ := x.ended(s)
	r := ref(m, s, 1)
	was := x.peek(r)
	x.reopening(m, s, 2)
	for i, d := range []fanfare.Amend{
		{}, {As: fanfare.ResultSkipped}, {As: fanfare.ResultSent, Who: []fanfare.Seq{3, 1}}, {Reopen: []fanfare.Scope{{Result: fanfare.ResultSent}}},
		{As: fanfare.ResultSent, Reopen: []fanfare.Scope{{Result: fanfare.ResultFailed}}},
	} {
		d.BatchRef, d.Generation = r, 2
		a := x.amend(d)
		x.answers(a, fanfare.Failed, fmt.Sprint("nonsense ", i))
		x.is(a.Err, fanfare.ErrUsage, fmt.Sprint("nonsense ", i))
	}
	x.same(x.peek(r), was, "after all of them")
}
