package storetest

import (
	"fmt"
	"time"

	"fanfare"
	"fanfare/set"
)

func recordScenarios() []scenario {
	return []scenario{
		{"intent, results, finish", recordLife},
		{"stale by fence and by step", recordStale},
		{"suppressed at the intent", recordSuppressed},
		{"a whole batch at once, some suppressed", recordManySuppressed},
		{"halted: results in, intent refused", recordHalted},
		{"results outlive the generation", recordLate},
		{"giving up", recordRelease},
		{"renewal", recordRenewal},
		{"finished only when balanced", recordUnbalanced},
		{"exceptions stay, attempts never fall", recordExceptions},
		{"runs", recordRuns},
		{"doubted stays", recordDoubted},
		{"texts", recordTexts},
	}
}

func recordLife(x *fixture) {
	const s = 2
	m, planned := x.sending(s, 6, 3)
	h := x.take(ref(m, s, 1))
	h.send(0, 1)
	if !h.row.InFlight.Has(0) || !h.row.InFlight.Has(1) || h.row.Pending.Len() != 1 || h.row.Step != 2 || h.row.Fence != 1 {
		x.t.Errorf("after the intent: %+v", h.row)
	}
	x.clock.Advance(5 * time.Second)
	x.answers(h.record(func(r *fanfare.Record) {
		sent(r, 0)
		h.failed(r, 1, "550 5.1.1", "no such user")
		r.Intent = h.intent(2)
	}), fanfare.Applied, "results and the next intent")
	if h.row.Sent != 1 || h.row.Failed != 1 || h.row.InFlight.Len() != 1 || !h.row.LeaseUntil.Equal(x.now().Add(fanfare.LeaseTime)) || h.row.Owner != alice {
		x.t.Errorf("after the results: %+v", h.row)
	}
	x.same(x.exceptions(m, s, 0), []fanfare.Exception{{Seq: planned[4], Result: fanfare.ResultFailed, Reason: fanfare.ReasonPermanent, Code: "550 5.1.1",
		Text: "no such user", Attempts: 1, At: x.now()}}, "exceptions")
	x.answers(h.record(func(r *fanfare.Record) { sent(r, 2); r.Lease = 0 }), fanfare.Applied, "the last result")
	if h.row.State != fanfare.BatchDone || h.row.Owner != (fanfare.Owner{}) || !h.row.LeaseUntil.IsZero() || h.row.Held != "" {
		x.t.Errorf("at the end: %+v", h.row)
	}
	if t := x.tally(m, s); !t.Balanced(6) || t.Sent != 2 || t.Failed != 1 || t.Done != 1 || t.Pending != 3 {
		x.t.Errorf("tally %+v", t)
	}
}

func recordStale(x *fixture) {
	const s = 1
	m, _ := x.sending(s, 4, 4)
	r := ref(m, s, 0)
	h := x.take(r)
	once := h.make(func(r *fanfare.Record) { r.Intent = h.intent(0) })
	x.answers(h.write(once), fanfare.Applied, "once")
	x.answers(h.write(once), fanfare.Stale, "the same record again")
	x.answers(h.record(func(r *fanfare.Record) { r.Step++ }), fanfare.Stale, "a step that was never")
	x.answers(h.record(func(r *fanfare.Record) { r.Fence++ }), fanfare.Stale, "a fence that was never")
	x.same(x.peek(r), h.row, "the row after them")
	x.clock.Advance(fanfare.LeaseTime)
	x.answers(h.record(func(r *fanfare.Record) { sent(r, 0) }), fanfare.Applied, "late, and nobody else came")
	x.clock.Advance(fanfare.LeaseTime)
	x.answers(x.claim(claim(r, bob)), fanfare.Applied, "bob")
	was := x.peek(r)
	a := h.record(func(r *fanfare.Record) {
		h.failed(r, 1, "550", "late")
		r.Intent = h.intent(2)
	})
	x.answers(a, fanfare.Stale, "late, and bob came")
	x.same(x.peek(r), was, "the row after it")
	if rows := x.exceptions(m, s, 0); len(rows) != 0 {
		x.t.Errorf("exceptions of a stale record: %v", rows)
	}
	gone := h.make(func(r *fanfare.Record) { r.Batch = 9; r.Next.Batch = 9 })
	x.answers(x.append1(s, fanfare.Entry{Record: &gone}), fanfare.Stale, "no row")
}

func recordSuppressed(x *fixture) {
	const s = 3
	const c, topic = fanfare.ChannelEmail, "news"
	m, planned := x.sending(s, 9, 9)
	h := x.take(ref(m, s, 0))
	suppress := func(seq fanfare.Seq, topic string, why fanfare.Reason) {
		x.change(s, fanfare.SuppressionSet(c, topic, why), set.Of(seq), nil)
	}
	suppress(planned[1], topic, fanfare.ReasonUnsubscribed)
	suppress(planned[2], "", fanfare.ReasonUnsubscribed)
	suppress(planned[3], "", fanfare.ReasonBounced)
	suppress(planned[4], "", fanfare.ReasonComplained)
	suppress(planned[5], topic, fanfare.ReasonSuppressed)
	suppress(planned[6], "another topic", fanfare.ReasonUnsubscribed)
	suppress(planned[7], "", fanfare.ReasonSuppressed)
	suppress(planned[7], "", fanfare.ReasonComplained) // named first
	x.change(s, fanfare.SetAlive, nil, set.Of(planned[8]))
	suppress(planned[8], "", fanfare.ReasonBounced)
	x.clock.Advance(time.Second)
	all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8}
	x.answers(h.record(func(r *fanfare.Record) {
		r.Intent = h.intent(all...)
		r.Intent.Suppressions = fanfare.Suppressions(c, topic, false)
	}), fanfare.Applied, "intent")
	if h.row.Skipped != 7 || h.row.InFlight.Len() != 2 || !h.row.InFlight.Has(0) || !h.row.InFlight.Has(6) || !h.row.Pending.Empty() || !h.row.Balanced() {
		x.t.Errorf("row %+v", h.row)
	}
	var want []fanfare.Exception
	for rank, why := range map[int]fanfare.Reason{1: "unsubscribed", 2: "unsubscribed", 3: "bounced", 4: "complained", 5: "suppressed", 7: "complained", 8: "erased"} {
		want = append(want, fanfare.Exception{Seq: planned[rank], Result: fanfare.ResultSkipped, Reason: why, At: x.now()})
	}
	x.same(x.exceptions(m, s, 0), bySeq(want), "exceptions")

	m, planned = x.sending(s, 1, 1) // an essential message goes to the unsubscribed
	h = x.take(ref(m, s, 0))
	suppress(planned[0], topic, fanfare.ReasonUnsubscribed)
	x.answers(h.record(func(r *fanfare.Record) {
		r.Intent = h.intent(0)
		r.Intent.Suppressions = fanfare.Suppressions(c, topic, true)
	}), fanfare.Applied, "essential")
	if h.row.InFlight.Len() != 1 {
		x.t.Errorf("essential: %+v", h.row)
	}
}

// recordManySuppressed journals hundreds together, in every mixture of the dead and the suppressed.
func recordManySuppressed(x *fixture) {
	const s, size = 2, 100
	for i, c := range []struct{ dead, bounced *set.Set }{
		{set.New(), set.New()},
		{set.New(), set.Of(7, 8, 99)},
		{set.Of(0), set.New()},
		{set.Of(50, 51), set.Of(50, 52)},
		{set.Range(0, size), set.Of(3)},
		{set.New(), set.Range(0, size)},
	} {
		m, planned := x.sending(s, size, size)
		shift := func(of *set.Set) *set.Set {
			moved := set.New()
			for rank := range of.All() {
				moved.Add(planned[rank])
			}
			return moved
		}
		h := x.take(ref(m, s, 0))
		bounced := fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonBounced)
		x.change(s, bounced, shift(c.bounced), nil)
		x.change(s, fanfare.SetAlive, nil, shift(c.dead))
		ranks := make([]int, size)
		for rank := range ranks {
			ranks[rank] = size - 1 - rank // in any order
		}
		x.answers(h.record(func(r *fanfare.Record) {
			r.Intent = h.intent(ranks...)
			r.Intent.Suppressions = fanfare.Suppressions(fanfare.ChannelEmail, "news", false)
		}), fanfare.Applied, "intent")
		for rank := range size {
			dead, skipped := c.dead.Contains(uint32(rank)), c.bounced.Contains(uint32(rank)) //nolint:gosec // small
			if h.row.InFlight.Has(rank) == (dead || skipped) {
				x.t.Errorf("step %d: rank %d, dead %v, bounced %v, is in flight: %v", i, rank, dead, skipped, h.row.InFlight.Has(rank))
			}
		}
		if want := set.Or(c.dead, c.bounced).Len(); h.row.Skipped != want || len(x.exceptions(m, s, 0)) != want {
			x.t.Errorf("step %d: %d skipped, %d exceptions, want %d", i, h.row.Skipped, len(x.exceptions(m, s, 0)), want)
		}
		x.change(s, bounced, nil, shift(c.bounced))
	}
}

func recordHalted(x *fixture) {
	const s = 0
	m, _ := x.sending(s, 4, 4)
	h := x.take(ref(m, s, 0))
	h.send(0, 1)
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotStopped, 2))
	was := x.head()
	x.answers(h.record(func(r *fanfare.Record) {
		sent(r, 0)
		h.failed(r, 1, "550", "no")
		r.Intent = h.intent(2, 3)
	}), fanfare.Halted, "stopped")
	if h.row.Sent != 1 || h.row.Failed != 1 || !h.row.InFlight.Empty() || h.row.Pending.Len() != 2 || h.row.State != fanfare.BatchOpen || !h.row.Balanced() {
		x.t.Errorf("row %+v", h.row)
	}
	if len(x.exceptions(m, s, 0)) != 1 || x.head() <= was {
		x.t.Error("the results are not in")
	}
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotSending, 3))
	x.answers(h.record(func(r *fanfare.Record) { r.Intent = h.intent(2) }), fanfare.Halted, "resumed, the old generation")
	x.answers(h.record(func(r *fanfare.Record) { r.Lease = 0 }), fanfare.Applied, "given up")
}

func recordLate(x *fixture) {
	const s = 1
	m, _ := x.sending(s, 2, 2)
	h := x.take(ref(m, s, 0))
	h.send(0, 1)
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotStopped, 2))
	x.answers(h.record(func(r *fanfare.Record) { sent(r, 0, 1); r.Lease = 0 }), fanfare.Applied, "results of what was in flight")
	if h.row.State != fanfare.BatchDone || h.row.Sent != 2 {
		x.t.Errorf("row %+v", h.row)
	}
}

func recordRelease(x *fixture) {
	const s = 2
	m, _ := x.sending(s, 3, 3)
	h := x.take(ref(m, s, 0))
	due := x.now().Add(time.Minute)
	x.answers(h.record(func(r *fanfare.Record) { r.Next.NotBefore, r.Lease = due, 0 }), fanfare.Applied, "give up")
	if h.row.State != fanfare.BatchOpen || h.row.Owner != (fanfare.Owner{}) || !h.row.LeaseUntil.IsZero() || !h.row.NotBefore.Equal(due) {
		x.t.Errorf("row %+v", h.row)
	}
	live, dead, err := x.Claims(x.ctx, m, s)
	x.ok(err)
	if live != 0 || len(dead) != 0 {
		x.t.Errorf("%d live, %v dead", live, dead)
	}
	m, _ = x.sending(s, 3, 3) // given up with an intent under way: whoever claims it next settles it
	h = x.take(ref(m, s, 0))
	h.send(1)
	x.answers(h.record(func(r *fanfare.Record) { r.Lease = 0 }), fanfare.Applied, "give up with one in flight")
	a := x.claim(claim(ref(m, s, 0), bob))
	x.answers(a, fanfare.Applied, "bob, at once")
	if a.Row.Doubted.Len() != 1 || a.Row.Pending.Len() != 3 || a.Row.Fence != 2 {
		x.t.Errorf("row %+v", a.Row)
	}
}

func recordRenewal(x *fixture) {
	const s = 1
	m, _ := x.sending(s, 3, 3)
	h := x.take(ref(m, s, 0))
	h.send(0)
	for range 5 {
		x.clock.Advance(20 * time.Second)
		x.answers(h.record(func(*fanfare.Record) {}), fanfare.Applied, "renew")
		x.answers(x.claim(claim(ref(m, s, 0), bob)), fanfare.Busy, "bob")
	}
	if h.row.Step != 7 || h.row.InFlight.Len() != 1 {
		x.t.Errorf("row %+v", h.row)
	}
}

func recordUnbalanced(x *fixture) {
	const s = 0
	m, _ := x.sending(s, 6, 2)
	h := x.take(ref(m, s, 0))
	h.send(0, 1)
	x.answers(h.record(func(r *fanfare.Record) { r.Next.InFlight.Clear(0); r.Lease = 0 }), fanfare.Applied, "one is lost, one in flight")
	if h.row.State != fanfare.BatchHeld || h.row.Held == "" {
		x.t.Errorf("row %+v", h.row)
	}
	h = x.take(ref(m, s, 1))
	h.send(0, 1)
	x.answers(h.record(func(r *fanfare.Record) { sent(r, 0, 1); r.Next.Sent++; r.Lease = 0 }), fanfare.Applied, "one too many")
	if h.row.State != fanfare.BatchHeld || h.row.Held == "" {
		x.t.Errorf("row %+v", h.row)
	}
	h = x.take(ref(m, s, 2))
	x.answers(h.record(func(r *fanfare.Record) { r.Next.Pending.Clear(1) }), fanfare.Applied, "one is lost while the claim lives")
	t := x.tally(m, s)
	x.same(t.Unbalanced, []fanfare.BatchRef{ref(m, s, 0), ref(m, s, 1), ref(m, s, 2)}, "unbalanced rows")
	if t.Balanced(6) || t.Held != 2 {
		x.t.Errorf("tally %+v", t)
	}
}

func recordExceptions(x *fixture) {
	const s = 3
	m, planned := x.sending(s, 2, 2)
	h := x.take(ref(m, s, 0))
	write := func(result fanfare.Result, attempts, doubts int, code string) {
		x.t.Helper()
		x.clock.Advance(time.Second)
		x.answers(h.record(func(r *fanfare.Record) {
			e := h.exception(1, result, fanfare.ReasonTemporary)
			e.Attempts, e.Doubts, e.Code = attempts, doubts, code
			r.Exceptions = []fanfare.Exception{e}
		}), fanfare.Applied, code)
	}
	check := func(result fanfare.Result, attempts, doubts int, code string) {
		x.t.Helper()
		x.same(x.exceptions(m, s, 0), []fanfare.Exception{{Seq: planned[1], Result: result, Reason: fanfare.ReasonTemporary, Code: code, Attempts: attempts, Doubts: doubts, At: x.now()}},
			"the row of "+code)
	}
	write(fanfare.ResultPending, 1, 0, "450")
	check(fanfare.ResultPending, 1, 0, "450")
	write(fanfare.ResultPending, 3, 1, "451")
	check(fanfare.ResultPending, 3, 1, "451")
	write(fanfare.ResultPending, 2, 2, "452")
	check(fanfare.ResultPending, 3, 2, "452")
	write(fanfare.ResultSent, 0, 0, "250")
	check(fanfare.ResultSent, 3, 2, "250")
	if t := x.tally(m, s); t.Exceptions[fanfare.ResultSent] != 1 || t.Exceptions[fanfare.ResultPending] != 0 {
		x.t.Errorf("tally %+v", t)
	}
}

func recordRuns(x *fixture) {
	const s = 2
	m, _ := x.sending(s, 12, 12)
	h := x.take(ref(m, s, 0))
	h.send(0, 1, 2)
	before := x.now()
	x.clock.Advance(time.Second)
	x.answers(h.record(func(r *fanfare.Record) {
		sent(r, 0, 1)
		r.Next.Runs = []fanfare.Run{{Revision: 1, Sent: []byte{3, 0}, At: before}, {Revision: 2, At: before}}
		r.SentNow = true
	}), fanfare.Applied, "two runs")
	want := []fanfare.Run{{Revision: 1, Sent: []byte{3, 0}, At: before}, {Revision: 2, At: x.now()}}
	x.same(h.row.Runs, want, "the last run has the commit's time")
	x.clock.Advance(time.Second)
	x.answers(h.record(func(*fanfare.Record) {}), fanfare.Applied, "renew")
	x.same(h.row.Runs, want, "nobody was sent to")
}

func recordDoubted(x *fixture) {
	const s = 1
	m, _ := x.sending(s, 3, 3)
	x.take(ref(m, s, 0)).send(0, 2)
	x.clock.Advance(fanfare.LeaseTime)
	h := x.take(ref(m, s, 0))
	h.send(0, 1, 2)
	x.answers(h.record(func(r *fanfare.Record) { sent(r, 0, 1, 2); r.Lease = 0 }), fanfare.Applied, "all sent")
	if h.row.State != fanfare.BatchDone || h.row.Doubted.Len() != 2 || h.row.Sent != 3 {
		x.t.Errorf("row %+v", h.row)
	}
	if t := x.tally(m, s); t.Doubted != 2 {
		x.t.Errorf("tally %+v", t)
	}
}

func recordTexts(x *fixture) {
	const s = 0
	texts := []string{"", "plain", "it's \"quoted\" \\ % _ ; --", "你好 🎉", "\u007f\t\u2028", fanfare.CleanText("é" + fmt.Sprintf("%0600d", 1))}
	m, planned := x.sending(s, len(texts), len(texts))
	h := x.take(ref(m, s, 0))
	var want []fanfare.Exception
	x.answers(h.record(func(r *fanfare.Record) {
		for rank, text := range texts {
			e := h.exception(rank, fanfare.ResultPending, fanfare.ReasonTemporary)
			e.Code, e.Text = text, text
			r.Exceptions = append(r.Exceptions, e)
			e.Rank, e.Seq, e.At = 0, planned[rank], x.now()
			want = append(want, e)
		}
	}), fanfare.Applied, "texts")
	x.same(x.exceptions(m, s, 0), want, "texts")
}
