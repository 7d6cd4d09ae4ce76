package storetest

import (
	"cmp"
	"fmt"
	"slices"

	"fanfare"
	"fanfare/set"
)

func reportScenarios() []scenario {
	return []scenario{
		{"a tally adds up a slot", tallies},
		{"at most a hundred unbalanced rows are named", manyUnbalanced},
		{"batches by pages", batchPages},
		{"exceptions by seq, many of them", manyExceptions},
		{"failures in groups", failures},
		{"one person", onePerson},
		{"nothing of an unknown message", unknownMessage},
	}
}

func onePerson(x *fixture) {
	const s = 3
	planned, skipped := set.Range(10, 70_000), set.Of(3, 70_000, 140_000)
	planned.Remove(65_536)
	m := x.message()
	x.freeze(m, s, 40_000, map[fanfare.Part]*set.Set{fanfare.PartSend: planned, "no_address": skipped, "invalid": set.Of(65_536)})
	for seq, want := range map[fanfare.Seq]struct {
		part fanfare.Part
		rank int
	}{10: {"send", 0}, 65_535: {"send", 65_525}, 65_537: {"send", 65_526}, 69_999: {"send", 69_988}, 3: {"no_address", 0}, 70_000: {"no_address", 1}, 140_000: {"no_address", 2}, 65_536: {"invalid", 0}, 4: {}, 70_001: {}, 1 << 31: {}} {
		part, rank, in, err := x.PartOf(x.ctx, m, s, seq)
		x.ok(err)
		if part != want.part || rank != want.rank || in != (want.part != "") {
			x.t.Errorf("%d: %s %d %v, want %+v", seq, part, rank, in, want)
		}
	}
	_, _, in, err := x.PartOf(x.ctx, m, s-1, 10)
	x.ok(err)
	x.same(in, false, "in another slot")
	m, seqs := x.sending(1, 3, 3)
	h := x.take(ref(m, 1, 0))
	h.send(0, 1)
	h.record(func(r *fanfare.Record) { h.failed(r, 1, "550", "no") })
	for i, seq := range seqs {
		e, there, err := x.Exception(x.ctx, m, 1, seq)
		x.ok(err)
		if there != (i == 1) || there && (e.Seq != seq || e.Code != "550" || e.Text != "no") {
			x.t.Errorf("exception of %d: %+v, %v", i, e, there)
		}
	}
	if x.backend.Damage == nil {
		return
	}
	x.backend.Damage(x.t, m, 1, fanfare.PartSend)
	_, _, _, err = x.PartOf(x.ctx, m, 1, seqs[0])
	x.is(err, fanfare.ErrDamaged, "a damaged part")
}

func bySeq(rows []fanfare.Exception) []fanfare.Exception {
	slices.SortFunc(rows, func(a, b fanfare.Exception) int { return cmp.Compare(a.Seq, b.Seq) })
	return rows
}

func tallies(x *fixture) {
	const s = 1
	m, _ := x.sending(s, 20, 4) // five batches
	done := x.take(ref(m, s, 0))
	done.send(0, 1, 2, 3)
	x.answers(done.record(func(r *fanfare.Record) {
		sent(r, 0, 1)
		done.failed(r, 2, "550", "no")
		r.Next.InFlight.Clear(3)
		r.Next.Uncertain++
		r.Exceptions = append(r.Exceptions, done.exception(3, fanfare.ResultUncertain, fanfare.ReasonNoAnswer))
		r.Lease = 0
	}), fanfare.Applied, "done")
	open := x.take(ref(m, s, 1))
	open.send(0, 1)
	x.answers(open.record(func(r *fanfare.Record) {
		sent(r, 0)
		r.Next.Pending.Clear(2)
		r.Next.Skipped++
		r.Exceptions = append(r.Exceptions, open.exception(2, fanfare.ResultSkipped, fanfare.ReasonMissingField))
	}), fanfare.Applied, "open")
	x.take(ref(m, s, 2)).send(0, 1, 2)
	x.clock.Advance(fanfare.LeaseTime)
	doubted := x.take(ref(m, s, 2))
	x.answers(doubted.record(func(r *fanfare.Record) { r.Next.State, r.Lease = fanfare.BatchHeld, 0 }), fanfare.Applied, "held")
	x.take(ref(m, s, 3))
	got := x.tally(m, s)
	x.same(got, fanfare.Tally{N: 20, Sent: 3, Failed: 1, Skipped: 1, Uncertain: 1, Pending: 1 + 4 + 4 + 4, InFlight: 1, Doubted: 3, Batches: 5, Done: 1, Held: 1,
		Exceptions: map[fanfare.Result]int{fanfare.ResultFailed: 1, fanfare.ResultUncertain: 1, fanfare.ResultSkipped: 1}}, "tally")
	if !got.Balanced(20) || got.Balanced(21) {
		x.t.Errorf("balanced: %+v", got)
	}
	other := x.tally(m, s+1)
	x.same(other, fanfare.Tally{}, "another slot")
}

func manyUnbalanced(x *fixture) {
	const s, n = 2, 130
	m, _ := x.sending(s, n, 1)
	var entries []fanfare.Entry
	for b := range fanfare.BatchNo(n) {
		c := claim(ref(m, s, b), alice)
		entries = append(entries, fanfare.Entry{Claim: &c})
	}
	for i, a := range x.append(s, entries...) {
		x.answers(a, fanfare.Applied, "claim")
		r := (&holder{x: x, row: a.Row}).make(func(r *fanfare.Record) { r.Next.Sent++ })
		entries[i] = fanfare.Entry{Record: &r}
	}
	for _, a := range x.append(s, entries...) {
		x.answers(a, fanfare.Applied, "record")
	}
	t := x.tally(m, s)
	var want []fanfare.BatchRef
	for b := range fanfare.BatchNo(100) {
		want = append(want, ref(m, s, b))
	}
	x.same(t.Unbalanced, want, "the first hundred")
	if t.Batches != n || t.Sent != n || t.Pending != n || t.Balanced(n) {
		x.t.Errorf("tally %+v", t)
	}
}

func batchPages(x *fixture) {
	const s = 3
	m, _ := x.sending(s, 25, 3)
	all, err := x.Batches(x.ctx, m, s, 0, 100)
	x.ok(err)
	if len(all) != 9 || all[8].N != 1 {
		x.t.Fatalf("%d rows", len(all))
	}
	for from := range 11 {
		rows, err := x.Batches(x.ctx, m, s, fanfare.BatchNo(from), 4) //nolint:gosec // small
		x.ok(err)
		x.same(rows, all[min(from, 9):min(from+4, 9)], fmt.Sprint("from ", from))
	}
}

func manyExceptions(x *fixture) {
	const s, n = 0, 2500
	m, planned := x.sending(s, n, n)
	h := x.take(ref(m, s, 0))
	var want []fanfare.Exception
	x.answers(h.record(func(r *fanfare.Record) {
		for rank := n - 1; rank >= 0; rank-- { // in any order
			e := h.exception(rank, fanfare.ResultSkipped, fanfare.ReasonFiltered)
			r.Exceptions = append(r.Exceptions, e)
			r.Next.Pending.Clear(rank)
			r.Next.Skipped++
			e.Rank, e.At = 0, x.now()
			want = append(want, e)
		}
	}), fanfare.Applied, "record")
	bySeq(want)
	x.same(x.exceptions(m, s, 0), want, "all")
	x.same(x.exceptions(m, s, planned[1700]), want[1700:], "from one on")
	x.same(x.exceptions(m, s, planned[n-1]+1), []fanfare.Exception(nil), "beyond the last")
	var few []fanfare.Exception
	for e, err := range x.Exceptions(x.ctx, m, s, 0) {
		x.ok(err)
		if few = append(few, e); len(few) == 1200 {
			break
		}
	}
	x.same(few, want[:1200], "as far as the loop goes")
	if t := x.tally(m, s); t.Exceptions[fanfare.ResultSkipped] != n || !t.Balanced(n) {
		x.t.Errorf("tally %+v", t)
	}
}

func failures(x *fixture) {
	const s = 1
	m, _ := x.sending(s, 12, 12)
	h := x.take(ref(m, s, 0))
	all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
	h.send(all...)
	x.answers(h.record(func(r *fanfare.Record) {
		for _, rank := range all {
			switch {
			case rank < 5:
				h.failed(r, rank, "550", "no such user")
			case rank < 7:
				h.failed(r, rank, "552", "too big")
			case rank < 9:
				h.failed(r, rank, "551", "moved")
			case rank == 9:
				h.failed(r, rank, "550", "another text")
				r.Exceptions[len(r.Exceptions)-1].Reason = fanfare.ReasonTechnical
			case rank == 10:
				r.Next.InFlight.Clear(rank)
				r.Next.Uncertain++
				r.Exceptions = append(r.Exceptions, h.exception(rank, fanfare.ResultUncertain, fanfare.ReasonNoAnswer))
			default:
				sent(r, rank)
			}
		}
	}), fanfare.Applied, "results")
	want := []fanfare.FailureGroup{
		{Reason: fanfare.ReasonPermanent, Code: "550", Sample: "no such user", Count: 5},
		{Reason: fanfare.ReasonPermanent, Code: "551", Sample: "moved", Count: 2},
		{Reason: fanfare.ReasonPermanent, Code: "552", Sample: "too big", Count: 2},
		{Reason: fanfare.ReasonTechnical, Code: "550", Sample: "another text", Count: 1},
	}
	for _, limit := range []int{1, 3, 4, 100} {
		got, err := x.Failures(x.ctx, m, s, limit)
		x.ok(err)
		x.same(got, want[:min(limit, 4)], fmt.Sprint("at most ", limit))
	}
}

func unknownMessage(x *fixture) {
	const m, s = 99, 1
	x.same(x.tally(m, s), fanfare.Tally{}, "tally")
	parts, err := x.Parts(x.ctx, m, s)
	x.ok(err)
	part, err := x.PartSet(x.ctx, m, s, fanfare.PartSend)
	x.ok(err)
	rows, err := x.Batches(x.ctx, m, s, 0, 10)
	x.ok(err)
	groups, err := x.Failures(x.ctx, m, s, 10)
	x.ok(err)
	open, first, err := x.Backlog(x.ctx, m, s, 0, 10)
	x.ok(err)
	latches, err := x.Latches(x.ctx, m)
	x.ok(err)
	if len(parts)+part.Len()+len(rows)+len(groups)+len(open)+int(first)+len(latches)+len(x.exceptions(m, s, 0)) != 0 {
		x.t.Errorf("%v, %v, %v, %v, %v, %d, %v", parts, part, rows, groups, open, first, latches)
	}
	x.ok(x.VoidClaims(x.ctx, m, alice))
	x.ok(x.Forget(x.ctx, s, m))
}
