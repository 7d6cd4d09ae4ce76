package storetest

import (
	"fmt"

	"fanfare"
	"fanfare/set"
)

func freezeScenarios() []scenario {
	return []scenario{
		{"spread never goes back", spread},
		{"guards", freezeGuards},
		{"a failed function keeps nothing", failedFreeze},
		{"several slots are frozen together", freezeMany},
		{"it reads the sets of its slot", freezeView},
		{"batches are rank ranges", freezeBatches},
		{"an empty slot", emptyFreeze},
		{"parts", freezeParts},
		{"members at the borders of containers", frozenMembers},
		{"forget", forget},
	}
}

func spread(x *fixture) {
	const s = 1
	m := x.message()
	latches := func() []fanfare.Latch {
		l, err := x.Latches(x.ctx, m)
		x.ok(err)
		return l
	}
	if l := latches(); len(l) != 0 {
		x.t.Errorf("latch rows before the first spread: %v", l)
	}
	preparing, sending, stopped := fanfare.SlotPreparing, fanfare.SlotSending, fanfare.SlotStopped
	for i, c := range []struct {
		phase, want      fanfare.SlotPhase
		generation, then fanfare.Generation
	}{
		{preparing, preparing, 2, 2},
		{stopped, preparing, 1, 2},
		{sending, sending, 2, 2},
		{preparing, sending, 2, 2},
		{stopped, stopped, 2, 2},
		{sending, stopped, 2, 2},
		{sending, sending, 3, 3},
		{stopped, sending, 2, 3},
		{stopped, stopped, 5, 5},
		{preparing, preparing, 6, 6},
	} {
		x.ok(x.Spread(x.ctx, s, m, c.phase, c.generation))
		l := latches()
		if len(l) != 1 || l[0].Slot != s || l[0].Phase != c.want || l[0].Generation != c.then || l[0].Frozen || !l[0].Open {
			x.t.Errorf("step %d: %+v, want phase %d, generation %d", i, l, c.want, c.then)
		}
	}
	x.ok(x.SpreadMany(x.ctx, []fanfare.Slot{3, 1, 0}, m, sending, 1)) // slot 1 is further
	x.ok(x.SpreadMany(x.ctx, nil, m, sending, 9))
	x.ok(x.Spread(x.ctx, 2, x.message(), sending, 1))
	var order []fanfare.Slot
	for _, l := range latches() {
		order = append(order, l.Slot)
		if l.Slot != 1 && (l.Phase != sending || l.Generation != 1) || l.Slot == 1 && l.Generation != 6 {
			x.t.Errorf("after a spread to many: %+v", l)
		}
	}
	x.same(order, []fanfare.Slot{0, 1, 3}, "slots of the latch rows")
}

func everybody(v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
	alive, err := v.LoadSet(fanfare.SetAlive)
	return map[fanfare.Part]*set.Set{fanfare.PartSend: alive}, err
}

func freezeGuards(x *fixture) {
	const s = 2
	x.ok(x.Number(x.ctx, s, 3))
	m := x.message()
	try := func(g fanfare.Generation, want bool, what string) {
		x.t.Helper()
		asked := false
		done, err := x.Freeze(x.ctx, s, m, g, 2, func(v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
			asked = true
			return everybody(v)
		})
		x.ok(err)
		if done != want || want && !asked {
			x.t.Errorf("%s: frozen %v, asked %v", what, done, asked)
		}
		rows, err := x.Batches(x.ctx, m, s, 0, 100)
		x.ok(err)
		latches, err := x.Latches(x.ctx, m)
		x.ok(err)
		if frozen := len(latches) == 1 && latches[0].Frozen; !want && what != "twice" && (len(rows) != 0 || frozen) {
			x.t.Errorf("%s: %d batches, frozen %v", what, len(rows), frozen)
		}
	}
	try(1, false, "no latch row")
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotStopped, 1))
	try(1, false, "stopped")
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotPreparing, 2))
	try(1, false, "an older generation")
	try(3, false, "a newer generation")
	try(2, true, "as it should be")
	x.ok(x.Number(x.ctx, s, 3))
	try(2, false, "twice")
	if t := x.tally(m, s); t.N != 3 || t.Batches != 2 || t.Pending != 3 {
		x.t.Errorf("after the second try: %+v", t)
	}
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotStopped, 3))
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotPreparing, 4))
	try(4, false, "twice")
	latches, err := x.Latches(x.ctx, m)
	x.ok(err)
	if !latches[0].Frozen {
		x.t.Error("spread thawed the slot")
	}
}

func freezeMany(x *fixture) {
	m := x.message()
	all := []fanfare.Slot{0, 1, 2, 3}
	for _, s := range all {
		x.ok(x.Number(x.ctx, s, 3+int(s)))
	}
	asked := map[fanfare.Slot]bool{}
	failing := true
	some := func(s fanfare.Slot, v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
		if s == 0 && failing {
			return nil, errBoom
		}
		asked[s] = true
		if s == 2 {
			return map[fanfare.Part]*set.Set{fanfare.PartSend: set.New()}, nil
		}
		return everybody(v)
	}
	try := func(g fanfare.Generation, slots []fanfare.Slot, want bool, what string) {
		x.t.Helper()
		done, err := x.FreezeMany(x.ctx, slots, m, g, 2, some)
		x.ok(err)
		if done != want {
			x.t.Errorf("%s: all frozen %v", what, done)
		}
	}
	try(1, nil, true, "no slots")
	x.ok(x.SpreadMany(x.ctx, all, m, fanfare.SlotPreparing, 2))
	done, err := x.FreezeMany(x.ctx, all, m, 2, 2, some)
	x.is(err, errBoom, "a freeze whose function failed")
	x.same(done, false, "all frozen")
	failing = false
	try(1, all, false, "an older generation")
	x.same(len(asked), 0, "asked")
	x.ok(x.Spread(x.ctx, 3, m, fanfare.SlotStopped, 3))
	try(2, all, false, "one was stopped")
	x.same(asked, map[fanfare.Slot]bool{0: true, 1: true, 2: true}, "asked")
	x.ok(x.Spread(x.ctx, 3, m, fanfare.SlotPreparing, 4))
	try(4, all[3:], true, "the rest")
	try(4, all[3:], false, "twice")
	latches, err := x.Latches(x.ctx, m)
	x.ok(err)
	for s, want := range []int{3, 4, 0, 6} {
		if got := x.tally(m, fanfare.Slot(s)); got.N != want || !latches[s].Frozen { //nolint:gosec // a few slots
			x.t.Errorf("slot %d: %+v, %+v", s, got, latches[s])
		}
	}
	_, err = x.FreezeMany(x.ctx, []fanfare.Slot{0, slots}, m, 4, 2, some)
	x.is(err, fanfare.ErrUsage, "a slot that is none")
}

func failedFreeze(x *fixture) {
	const s = 0
	m := x.message()
	x.ok(x.Number(x.ctx, s, 3))
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotPreparing, 1))
	done, err := x.Freeze(x.ctx, s, m, 1, 2, func(v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
		parts, _ := everybody(v)
		return parts, errBoom
	})
	x.is(err, errBoom, "a freeze whose function failed")
	parts, err := x.Parts(x.ctx, m, s)
	x.ok(err)
	if t := x.tally(m, s); done || t.Batches != 0 || len(parts) != 0 {
		x.t.Errorf("frozen %v, kept %+v, %v", done, t, parts)
	}
	done, err = x.Freeze(x.ctx, s, m, 1, 2, everybody)
	x.ok(err)
	if !done {
		x.t.Error("it cannot be frozen after the failure")
	}
}

func freezeView(x *fixture) {
	const s = 1
	who := ids(s, 4)
	seqs := x.people(s, who[:3]...)
	list := fanfare.ListSet(4)
	x.change(s, list, set.Of(seqs[1], seqs[2]), nil)
	m := x.message()
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotPreparing, 1))
	done, err := x.Freeze(x.ctx, s, m, 1, 500, func(v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
		alive, err := v.LoadSet(fanfare.SetAlive)
		x.ok(err)
		members, err := v.LoadSet(list)
		x.ok(err)
		none, err := v.LoadSet("unknown")
		x.ok(err)
		resolved, err := v.Resolve([]string{who[2], who[3], who[0]})
		x.ok(err)
		x.same([]any{alive.ToArray(), members.ToArray(), none.Len()}, []any{seqs, seqs[1:], 0}, "sets")
		x.same(resolved, []int64{int64(seqs[2]), -1, int64(seqs[0])}, "resolved")
		return map[fanfare.Part]*set.Set{fanfare.PartSend: set.And(alive, members)}, nil
	})
	x.ok(err)
	x.change(s, list, nil, set.Of(seqs[1])) // what was frozen stays
	got, err := x.PartSet(x.ctx, m, s, fanfare.PartSend)
	x.ok(err)
	x.same([]any{done, got.ToArray()}, []any{true, seqs[1:]}, "the part")
}

func freezeBatches(x *fixture) {
	for s, c := range []struct{ n, size int }{{7, 3}, {6, 3}, {1, 500}, {1200, 500}} {
		slot := fanfare.Slot(s) //nolint:gosec // small
		m, planned := x.sending(slot, c.n, c.size)
		rows, err := x.Batches(x.ctx, m, slot, 0, 100)
		x.ok(err)
		if len(rows) != (c.n+c.size-1)/c.size {
			x.t.Fatalf("%v: %d batches", c, len(rows))
		}
		for k, row := range rows {
			n := min(c.size, c.n-k*c.size)
			want := fanfare.Batch{BatchRef: fanfare.BatchRef{Message: m, Slot: slot, Batch: fanfare.BatchNo(k)}, First: uint32(k * c.size), N: n, //nolint:gosec // small
				Pending: set.FullBits(n), InFlight: set.NewBits(n), Doubted: set.NewBits(n)}
			x.same(row, want, fmt.Sprintf("%v: batch %d", c, k))
			members, err := x.Members(x.ctx, m, slot, row.First, row.N)
			x.ok(err)
			x.same(members, planned[k*c.size:k*c.size+n], fmt.Sprintf("%v: members of batch %d", c, k))
		}
		if t := x.tally(m, slot); !t.Balanced(c.n) || t.Pending != c.n || t.Batches != len(rows) || t.Done != 0 {
			x.t.Errorf("%v: %+v", c, t)
		}
	}
}

func emptyFreeze(x *fixture) {
	const s = 3
	m := x.message()
	x.freeze(m, s, 500, nil)
	latches, err := x.Latches(x.ctx, m)
	x.ok(err)
	if len(latches) != 1 || !latches[0].Frozen {
		x.t.Errorf("latches %+v", latches)
	}
	open, first, err := x.Backlog(x.ctx, m, s, 0, 10)
	x.ok(err)
	parts, err := x.Parts(x.ctx, m, s)
	x.ok(err)
	if t := x.tally(m, s); len(open) != 0 || first != 0 || len(parts) != 0 || !t.Balanced(0) {
		x.t.Errorf("backlog %v, first %d, parts %v, tally %+v", open, first, parts, t)
	}
}

func freezeParts(x *fixture) {
	const s = 0
	x.ok(x.Number(x.ctx, s, 100_000))
	m := x.message()
	want := map[fanfare.Part]*set.Set{
		fanfare.PartSend:                         every(3, 100_000),
		fanfare.Part(fanfare.ReasonNoAddress):    set.Of(1, 65_536, 65_537),
		fanfare.Part(fanfare.ReasonUnsubscribed): set.Of(2),
		fanfare.Part(fanfare.ReasonBounced):      set.New(),
	}
	want[fanfare.PartSend].Subtract(set.Of(65_537, 65_536))
	x.freeze(m, s, 65_536, want)
	sizes, err := x.Parts(x.ctx, m, s)
	x.ok(err)
	expect := map[fanfare.Part]int{}
	for p, members := range want {
		if !members.Empty() {
			expect[p] = members.Len()
		}
		got, err := x.PartSet(x.ctx, m, s, p)
		x.ok(err)
		if !got.Equal(members) {
			x.t.Errorf("part %s has %d members, want %d", p, got.Len(), members.Len())
		}
	}
	x.same(sizes, expect, "sizes, without the empty")
	for _, c := range []struct {
		slot fanfare.Slot
		part fanfare.Part
	}{{s, "unknown"}, {s + 1, fanfare.PartSend}} {
		got, err := x.PartSet(x.ctx, m, c.slot, c.part)
		x.ok(err)
		if !got.Empty() {
			x.t.Errorf("part %v is not empty", c)
		}
	}
}

func frozenMembers(x *fixture) {
	const s = 2
	x.ok(x.Number(x.ctx, s, 140_000))
	m := x.message()
	planned := every(2, 140_000) // 32,768 in a container
	planned.Subtract(set.Range(65_536, 131_072))
	planned.Union(set.Range(131_060, 131_080))
	x.freeze(m, s, 500, map[fanfare.Part]*set.Set{fanfare.PartSend: planned})
	all := planned.ToArray()
	for _, c := range [][2]int{{0, 500}, {32_767, 2}, {32_768, 1}, {32_766, 30}, {0, len(all)}, {len(all) - 1, 1}, {len(all) - 3, 500}, {len(all), 5}, {len(all) + 9, 5}, {10, 0}} {
		got, err := x.Members(x.ctx, m, s, uint32(c[0]), c[1]) //nolint:gosec // small
		x.ok(err)
		x.same(got, all[min(c[0], len(all)):min(c[0]+c[1], len(all))], fmt.Sprint("ranks ", c))
	}
	none, err := x.Members(x.ctx, m+1, s, 0, 5)
	x.ok(err)
	x.same(none, []fanfare.Seq(nil), "of an unknown message")
}

func forget(x *fixture) {
	const s = 1
	m, _ := x.sending(s, 5, 2)
	other, _ := x.sending(s, 5, 2)
	x.ok(x.Spread(x.ctx, s+1, m, fanfare.SlotStopped, 1))
	x.ok(x.Forget(x.ctx, s, m))
	x.ok(x.Forget(x.ctx, s, m))
	latches, err := x.Latches(x.ctx, m)
	x.ok(err)
	if len(latches) != 1 || latches[0].Slot != s+1 {
		x.t.Errorf("latch rows %+v", latches)
	}
	parts, err := x.Parts(x.ctx, m, s)
	x.ok(err)
	if t := x.tally(m, s); t.Batches != 0 || len(parts) != 0 {
		x.t.Errorf("kept %+v, %v", t, parts)
	}
	if t := x.tally(other, s); !t.Balanced(5) {
		x.t.Errorf("another message lost %+v", t)
	}
	a := x.append1(s, fanfare.Entry{Claim: &fanfare.Claim{BatchRef: fanfare.BatchRef{Message: m, Slot: s}, Generation: 1, Owner: alice, Lease: fanfare.LeaseTime}})
	if a.Answer != fanfare.Stale {
		x.t.Errorf("a claim on what was forgotten answers %v", a.Answer)
	}
}
