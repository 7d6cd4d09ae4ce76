package storetest

import (
	"fmt"
	"time"

	"fanfare"
	"fanfare/set"
)

func claimScenarios() []scenario {
	return []scenario{
		{"a new batch", claimNew},
		{"a new batch with its first chunk", claimFirst},
		{"the latch decides", claimLatch},
		{"busy, void, run out", claimBusy},
		{"over", claimOver},
		{"a dead claim is settled by the policy", claimDead},
		{"settle claims", settleClaims},
		{"the exceptions of the batch come with it", claimExceptions},
		{"one group, in order", claimGroup},
		{"void claims", voidClaims},
		{"claims are counted", countClaims},
		{"backlog", backlog},
		{"peek", peek},
	}
}

func claimNew(x *fixture) {
	const s = 1
	m, _ := x.sending(s, 5, 3)
	a := x.claim(claim(ref(m, s, 1), alice))
	x.answers(a, fanfare.Applied, "claim")
	want := fanfare.Batch{BatchRef: ref(m, s, 1), First: 3, N: 2, State: fanfare.BatchOpen, Pending: set.FullBits(2), InFlight: set.NewBits(2), Doubted: set.NewBits(2),
		Fence: 1, Step: 1, Owner: alice, LeaseUntil: x.now().Add(fanfare.LeaseTime)}
	x.same(a.Row, want, "the row as answered")
	x.same(x.peek(ref(m, s, 1)), want, "the row as read")
	if x.peek(ref(m, s, 0)).State != fanfare.BatchNew {
		x.t.Error("the batch beside it was touched")
	}
}

// claimFirst: everybody of a batch that nobody touched is in flight with its claim, but for whoever is suppressed.
func claimFirst(x *fixture) {
	const s, c, topic = 1, fanfare.ChannelNull, "news"
	first := func(r fanfare.BatchRef, most int) fanfare.EntryAnswer {
		x.t.Helper()
		k := claim(r, alice)
		k.First = &fanfare.FirstChunk{Most: most, Suppressions: fanfare.Suppressions(c, topic, false)}
		return x.claim(k)
	}
	m, planned := x.sending(s, 200, 50)
	out := func(name fanfare.SetName, seq fanfare.Seq) { x.change(s, name, set.Of(seq), nil) }
	out(fanfare.SuppressionSet(c, topic, fanfare.ReasonUnsubscribed), planned[51])
	out(fanfare.SuppressionSet(c, "", fanfare.ReasonBounced), planned[52])
	x.change(s, fanfare.SetAlive, nil, set.Of(planned[53]))
	for b, skipped := range []map[int]fanfare.Reason{{}, {1: fanfare.ReasonUnsubscribed, 2: fanfare.ReasonBounced, 3: fanfare.ReasonErased}} {
		r := ref(m, s, fanfare.BatchNo(b)) //nolint:gosec // small
		a := first(r, 50)
		x.answers(a, fanfare.Applied, "claim")
		flies := set.FullBits(50)
		var want []fanfare.Exception
		for rank := range 50 {
			if why, skip := skipped[rank]; skip {
				flies.Clear(rank)
				want = append(want, fanfare.Exception{Rank: rank, Seq: planned[50*b+rank], Result: fanfare.ResultSkipped, Reason: why, At: x.now()})
			}
		}
		x.same(a.Row, fanfare.Batch{BatchRef: r, First: uint32(50 * b), N: 50, State: fanfare.BatchOpen, Pending: set.NewBits(50), InFlight: flies, Doubted: set.NewBits(50), //nolint:gosec // small
			Skipped: len(skipped), Fence: 1, Step: 1, Owner: alice, LeaseUntil: x.now().Add(fanfare.LeaseTime)}, "the row as answered")
		x.same(x.peek(r), a.Row, "the row as read")
		x.same(a.Members, planned[50*b:50*b+50], "its members")
		x.same(a.Exceptions, want, "its exceptions")
	}
	a := first(ref(m, s, 2), 49)
	x.answers(a, fanfare.Applied, "claim of more than a chunk")
	if !a.Row.InFlight.Empty() || a.Row.Pending.Len() != 50 || a.Members != nil {
		x.t.Errorf("a claim of more than a chunk: %+v", a.Row)
	}
	r := ref(m, s, 3)
	k := claim(r, bob)
	k.Lease = time.Second
	x.answers(x.claim(k), fanfare.Applied, "claim")
	x.clock.Advance(2 * time.Second)
	a = first(r, 50)
	x.answers(a, fanfare.Applied, "claim of a batch that was touched")
	if !a.Row.InFlight.Empty() || a.Row.Pending.Len() != 50 {
		x.t.Errorf("a claim of a batch that was touched: %+v", a.Row)
	}
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotStopped, 2))
	was := x.peek(ref(m, s, 0))
	x.answers(first(ref(m, s, 0), 50), fanfare.Busy, "a batch that is held")
	x.clock.Advance(time.Minute)
	x.answers(first(ref(m, s, 0), 50), fanfare.Stale, "a stopped message")
	x.same(x.peek(ref(m, s, 0)), was, "after a stop")
}

func claimLatch(x *fixture) {
	const s = 0
	m, _ := x.sending(s, 3, 3)
	r := ref(m, s, 0)
	was := x.peek(r)
	try := func(g fanfare.Generation, want fanfare.Answer, what string) {
		x.t.Helper()
		c := claim(r, alice)
		c.Generation = g
		x.answers(x.claim(c), want, what)
		if want != fanfare.Applied {
			x.same(x.peek(r), was, what)
		}
	}
	try(2, fanfare.Stale, "a newer generation")
	try(0, fanfare.Stale, "an older generation")
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotStopped, 2))
	try(1, fanfare.Stale, "stopped, the old generation")
	try(2, fanfare.Stale, "stopped, the new generation")
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotPreparing, 3))
	try(3, fanfare.Stale, "preparing")
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotSending, 3))
	try(3, fanfare.Applied, "sending again")
	for _, unknown := range []fanfare.BatchRef{ref(m, s, 7), ref(m, s+1, 0), ref(m+9, s, 0)} {
		c := claim(unknown, alice)
		c.Generation = 3
		x.answers(x.claim(c), fanfare.Stale, fmt.Sprint("no row: ", unknown))
	}
}

func claimBusy(x *fixture) {
	const s = 2
	m, _ := x.sending(s, 3, 3)
	r := ref(m, s, 0)
	x.answers(x.claim(claim(r, alice)), fanfare.Applied, "alice")
	x.answers(x.claim(claim(r, bob)), fanfare.Busy, "bob")
	x.answers(x.claim(claim(r, alice)), fanfare.Busy, "alice again")
	former, later := alice, alice
	former.Incarnation--
	later.Incarnation++
	x.answers(x.claim(claim(r, former)), fanfare.Busy, "a former alice")
	a := x.claim(claim(r, later))
	x.answers(a, fanfare.Applied, "a later alice")
	if a.Row.Fence != 2 || a.Row.Owner != later {
		x.t.Errorf("fence %d, owner %v", a.Row.Fence, a.Row.Owner)
	}
	x.clock.Advance(fanfare.LeaseTime - time.Millisecond)
	x.answers(x.claim(claim(r, bob)), fanfare.Busy, "bob before the lease runs out")
	x.clock.Advance(time.Millisecond)
	a = x.claim(claim(r, bob))
	x.answers(a, fanfare.Applied, "bob after it")
	if a.Row.Fence != 3 || a.Row.Step != 3 || a.Row.Owner != bob || !a.Row.LeaseUntil.Equal(x.now().Add(fanfare.LeaseTime)) {
		x.t.Errorf("row %+v", a.Row)
	}
}

func claimOver(x *fixture) {
	const s = 1
	m, _ := x.sending(s, 6, 2)
	h := x.take(ref(m, s, 0))
	h.send(0, 1)
	x.answers(h.record(func(r *fanfare.Record) { sent(r, 0, 1); r.Lease = 0 }), fanfare.Applied, "finish")
	x.answers(x.claim(claim(ref(m, s, 0), bob)), fanfare.Over, "a batch that is done")

	h = x.take(ref(m, s, 1))
	x.answers(h.record(func(r *fanfare.Record) { r.Next.State, r.Next.Held, r.Lease = fanfare.BatchHeld, "look at it", 0 }), fanfare.Applied, "hold")
	x.answers(x.claim(claim(ref(m, s, 1), bob)), fanfare.Over, "a batch that is held")
	if row := x.peek(ref(m, s, 1)); row.State != fanfare.BatchHeld || row.Held != "look at it" {
		x.t.Errorf("held: %+v", row)
	}

	h = x.take(ref(m, s, 2))
	x.answers(h.record(func(r *fanfare.Record) { r.Next.NotBefore, r.Lease = x.now().Add(time.Minute), 0 }), fanfare.Applied, "nothing is due")
	x.clock.Advance(time.Minute - time.Millisecond)
	x.answers(x.claim(claim(ref(m, s, 2), bob)), fanfare.Over, "too early")
	x.clock.Advance(time.Millisecond)
	a := x.claim(claim(ref(m, s, 2), bob))
	x.answers(a, fanfare.Applied, "in time")
	if !a.Row.NotBefore.IsZero() {
		x.t.Errorf("it keeps not_before %v", a.Row.NotBefore)
	}
}

func claimDead(x *fixture) {
	const s = 3
	for _, policy := range []fanfare.Policy{fanfare.PolicyResend, fanfare.PolicyHold} {
		m, planned := x.sending(s, 10, 5)
		r := ref(m, s, 1)
		x.take(r).send(1, 3, 4)
		die := func(ranks ...int) fanfare.EntryAnswer {
			x.t.Helper()
			x.clock.Advance(fanfare.LeaseTime)
			c := claim(r, bob)
			c.Policy = policy
			a := x.claim(c)
			x.answers(a, fanfare.Applied, "claim after a death")
			x.same(x.peek(r), a.Row, "the row")
			return a
		}
		a := die()
		first := fanfare.Exception{Result: fanfare.ResultUncertain, Reason: fanfare.ReasonInterrupted, Attempts: 1, Doubts: 1, At: x.now()}
		want := []fanfare.Exception(nil)
		pending, uncertain := 5, 0
		if policy == fanfare.PolicyHold {
			pending, uncertain = 2, 3
			for _, rank := range []int{1, 3, 4} {
				first.Rank, first.Seq = rank, planned[5+rank]
				want = append(want, first)
			}
		}
		x.same(a.Exceptions, want, string(policy)+": exceptions")
		if a.Row.Pending.Len() != pending || a.Row.Uncertain != uncertain || a.Row.Doubted.Len() != 3 || !a.Row.InFlight.Empty() || !a.Row.Balanced() {
			x.t.Errorf("%s: %+v", policy, a.Row)
		}
		if policy == fanfare.PolicyHold {
			continue
		}
		h := &holder{x: x, row: a.Row, members: planned[5:]}
		h.send(0, 3)
		a = die()
		x.same(a.Exceptions, []fanfare.Exception{{Rank: 3, Seq: planned[8], Result: fanfare.ResultUncertain, Reason: fanfare.ReasonInterrupted, Attempts: 2, Doubts: 2, At: x.now()}},
			"a second doubt is final")
		if a.Row.Doubted.Len() != 4 || a.Row.Uncertain != 1 || a.Row.Pending.Len() != 4 {
			x.t.Errorf("after the second death: %+v", a.Row)
		}
		if t := x.tally(m, s); !t.Balanced(10) || t.Doubted != 4 || t.Exceptions[fanfare.ResultUncertain] != 1 {
			x.t.Errorf("tally %+v", t)
		}
	}
}

func settleClaims(x *fixture) {
	const s = 0
	m, _ := x.sending(s, 4, 2)
	settle := func(b fanfare.BatchNo, p fanfare.Policy) fanfare.EntryAnswer {
		c := claim(ref(m, s, b), bob)
		c.Settle, c.Generation, c.Policy = true, 99, p
		return x.claim(c)
	}
	x.answers(settle(0, fanfare.PolicyHold), fanfare.Over, "nobody in flight in a new batch")
	x.take(ref(m, s, 0)).send(0, 1)
	x.take(ref(m, s, 1)).send(1)
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotStopped, 2))
	x.answers(settle(0, fanfare.PolicyHold), fanfare.Busy, "while the claim lives")
	x.clock.Advance(fanfare.LeaseTime)
	a := settle(0, fanfare.PolicyHold)
	x.answers(a, fanfare.Applied, "after it died, though the message is stopped")
	if a.Row.State != fanfare.BatchDone || a.Row.Uncertain != 2 || a.Row.Owner != (fanfare.Owner{}) || a.Row.Fence != 2 || !a.Row.LeaseUntil.IsZero() {
		x.t.Errorf("nobody left: %+v", a.Row)
	}
	a = settle(1, fanfare.PolicyResend)
	x.answers(a, fanfare.Applied, "the other")
	if a.Row.State != fanfare.BatchOpen || a.Row.Pending.Len() != 2 || a.Row.Doubted.Len() != 1 || a.Row.Owner != (fanfare.Owner{}) {
		x.t.Errorf("somebody left: %+v", a.Row)
	}
	x.same(x.peek(ref(m, s, 1)), a.Row, "the row as read")
	x.answers(settle(1, fanfare.PolicyResend), fanfare.Over, "nobody in flight any more")
}

func claimExceptions(x *fixture) {
	const s = 1
	m, planned := x.sending(s, 12, 4)
	for b := range fanfare.BatchNo(3) {
		h := x.take(ref(m, s, b))
		h.send(0, 1, 3)
		x.answers(h.record(func(r *fanfare.Record) {
			sent(r, 1)
			h.failed(r, 3, "550 5.1.1", fmt.Sprint("no such user ", b))
			r.Next.InFlight.Clear(0)
			r.Next.Pending.Set(0)
			e := h.exception(0, fanfare.ResultPending, fanfare.ReasonTemporary)
			r.Exceptions = append(r.Exceptions, e)
			r.Lease = 0
		}), fanfare.Applied, "results")
	}
	at := x.now()
	x.clock.Advance(time.Minute)
	a := x.claim(claim(ref(m, s, 1), bob))
	x.answers(a, fanfare.Applied, "claim")
	x.same(a.Exceptions, []fanfare.Exception{
		{Rank: 0, Seq: planned[4], Result: fanfare.ResultPending, Reason: fanfare.ReasonTemporary, Attempts: 1, At: at},
		{Rank: 3, Seq: planned[7], Result: fanfare.ResultFailed, Reason: fanfare.ReasonPermanent, Code: "550 5.1.1", Text: "no such user 1", Attempts: 1, At: at},
	}, "those of the batch and no others, by rank")
}

func claimGroup(x *fixture) {
	const s = 2
	m, _ := x.sending(s, 9, 3)
	one, two := claim(ref(m, s, 0), alice), claim(ref(m, s, 0), bob)
	third, stale := claim(ref(m, s, 2), bob), claim(ref(m, s, 1), bob)
	stale.Generation = 9
	row := x.peek(ref(m, s, 0))
	row.Owner = alice
	record := fanfare.Record{BatchRef: row.BatchRef, Generation: 1, Fence: 1, Step: 1, Next: row, Lease: fanfare.LeaseTime}
	again := record
	head := x.head()
	answers := x.append(s, fanfare.Entry{Claim: &one}, fanfare.Entry{Claim: &two}, fanfare.Entry{Record: &record}, fanfare.Entry{Claim: &stale},
		fanfare.Entry{Record: &again}, fanfare.Entry{Claim: &third})
	var got []fanfare.Answer
	for _, a := range answers {
		got = append(got, a.Answer)
	}
	x.same(got, []fanfare.Answer{fanfare.Applied, fanfare.Busy, fanfare.Applied, fanfare.Stale, fanfare.Stale, fanfare.Applied}, "answers")
	if row := x.peek(ref(m, s, 0)); row.Fence != 1 || row.Step != 2 || row.Owner != alice {
		x.t.Errorf("row %+v", row)
	}
	if now := x.head(); now <= head {
		x.t.Errorf("the head was %d, is %d", head, now)
	}
	if answers := x.append(s); len(answers) != 0 {
		x.t.Errorf("no entries, %d answers", len(answers))
	}
}

func (x *fixture) head() int64 {
	x.t.Helper()
	id, err := x.Identity(x.ctx)
	x.ok(err)
	return id.Head
}

func voidClaims(x *fixture) {
	m, _ := x.sending(0, 6, 2)
	x.freeze(m, 1, 2, map[fanfare.Part]*set.Set{fanfare.PartSend: set.Of(1, 2)})
	other, _ := x.sending(0, 2, 2)
	a, b, c := x.take(ref(m, 0, 0)), x.take(ref(m, 1, 0)), x.take(ref(other, 0, 0))
	a.send(0)
	x.answers(x.claim(claim(ref(m, 0, 1), bob)), fanfare.Applied, "bob's")
	x.ok(x.VoidClaims(x.ctx, m, alice)) // the same incarnation keeps them
	if live, _, err := x.Claims(x.ctx, m, 0); err != nil || live != 2 {
		x.t.Errorf("%d claims live (%v)", live, err)
	}
	later := alice
	later.Incarnation++
	x.ok(x.VoidClaims(x.ctx, m, later))
	for _, h := range []*holder{a, b} {
		row := x.peek(h.row.BatchRef)
		if row.Claimed(x.now()) || row.Owner != (fanfare.Owner{}) || row.State != fanfare.BatchOpen || !row.InFlight.Equal(h.row.InFlight) {
			x.t.Errorf("%v: %+v", row.BatchRef, row)
		}
		x.answers(h.record(func(*fanfare.Record) {}), fanfare.Stale, "a record of the former incarnation")
	}
	x.answers(c.record(func(*fanfare.Record) {}), fanfare.Applied, "another message's claim")
	live, dead, err := x.Claims(x.ctx, m, 0)
	x.ok(err)
	x.same([]any{live, dead}, []any{1, []fanfare.BatchRef{ref(m, 0, 0)}}, "bob's lives, alice's left somebody in flight")
}

func countClaims(x *fixture) {
	const s = 3
	m, _ := x.sending(s, 10, 2)
	check := func(wantLive int, wantDead ...fanfare.BatchNo) {
		x.t.Helper()
		live, dead, err := x.Claims(x.ctx, m, s)
		x.ok(err)
		var want []fanfare.BatchRef
		for _, b := range wantDead {
			want = append(want, ref(m, s, b))
		}
		if live != wantLive || diff(want, dead) != "" {
			x.t.Errorf("%d live, dead %v; want %d, %v", live, dead, wantLive, want)
		}
	}
	check(0)
	a, b := x.take(ref(m, s, 3)), x.take(ref(m, s, 1))
	x.take(ref(m, s, 2)) // nobody in flight
	a.send(0)
	b.send(0, 1)
	check(3)
	x.clock.Advance(fanfare.LeaseTime)
	check(0, 1, 3)
	c := claim(ref(m, s, 3), bob)
	c.Settle = true
	x.answers(x.claim(c), fanfare.Applied, "settle")
	check(0, 1)
	x.answers(x.claim(claim(ref(m, s, 1), bob)), fanfare.Applied, "claim")
	check(1)
	live, dead, err := x.Claims(x.ctx, m+9, s)
	x.ok(err)
	x.same([]any{live, dead}, []any{0, []fanfare.BatchRef(nil)}, "of an unknown message")
}

func backlog(x *fixture) {
	const s = 1
	m, _ := x.sending(s, 12, 2)
	check := func(from fanfare.BatchNo, limit int, first fanfare.BatchNo, want ...fanfare.BatchNo) {
		x.t.Helper()
		rows, got, err := x.Backlog(x.ctx, m, s, from, limit)
		x.ok(err)
		var numbers []fanfare.BatchNo
		for _, row := range rows {
			numbers = append(numbers, row.Batch)
			full := x.peek(row.BatchRef)
			row.Pending, row.InFlight, row.Doubted, row.Runs = full.Pending, full.InFlight, full.Doubted, full.Runs
			x.same(row, full, "a row of the backlog, its sets and runs apart")
		}
		if got != first || diff(want, numbers) != "" {
			x.t.Errorf("from %d: open %v, first %d; want %v, %d", from, numbers, got, want, first)
		}
	}
	finish := func(b fanfare.BatchNo) {
		h := x.take(ref(m, s, b))
		h.send(0, 1)
		x.answers(h.record(func(r *fanfare.Record) { sent(r, 0, 1); r.Lease = 0 }), fanfare.Applied, "finish")
	}
	check(0, 10, 0, 0, 1, 2, 3, 4, 5)
	check(2, 3, 0, 2, 3, 4)
	finish(0)
	finish(3)
	x.take(ref(m, s, 4)).send(1)
	h := x.take(ref(m, s, 1))
	x.answers(h.record(func(r *fanfare.Record) { r.Next.State, r.Lease = fanfare.BatchHeld, 0 }), fanfare.Applied, "hold")
	check(0, 10, 1, 2, 4, 5) // a held batch is not done
	check(3, 1, 1, 4)
	check(9, 10, 1)
	m, _ = x.sending(s, 4, 2)
	finish(1)
	check(0, 10, 0, 0)
	finish(0)
	check(0, 10, 2)
}

func peek(x *fixture) {
	const s = 0
	m, _ := x.sending(s, 4, 2)
	h := x.take(ref(m, s, 1))
	rows, err := x.Peek(x.ctx, []fanfare.BatchRef{ref(m, s, 1), ref(m, s, 0), ref(m, s, 8), ref(m, s, 1)})
	x.ok(err)
	if len(rows) != 4 {
		x.t.Fatalf("%d rows", len(rows))
	}
	x.same(rows[0], h.row, "the claimed")
	x.same(rows[1].Pending.Len(), 2, "pending of the new")
	x.same(rows[2], fanfare.Batch{BatchRef: ref(m, s, 8)}, "what is not there is its name alone")
	x.same(rows[3], h.row, "the claimed again")
}
