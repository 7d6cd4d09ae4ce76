package storetest

import (
	"fmt"

	"fanfare"
	"fanfare/set"
)

func setScenarios() []scenario {
	return []scenario{
		{"adding and removing tell what changed", changeCounts},
		{"borders of containers", containerBorders},
		{"a set that was lent stays as it was", lentSet},
		{"dropping", dropSet},
		{"suppressions raise the latch's rev", revRises},
		{"big sets", bigSets},
	}
}

func changeCounts(x *fixture) {
	const s = 1
	list := fanfare.ListSet(3)
	if !x.set(s, list).Empty() {
		x.t.Error("an unknown set is not empty")
	}
	for i, c := range []struct {
		add, remove     *set.Set
		added, removed  int
		want, elsewhere []fanfare.Seq
	}{
		{add: set.Of(1, 2, 3), added: 3, want: []fanfare.Seq{1, 2, 3}},
		{add: set.Of(3, 4), added: 1, want: []fanfare.Seq{1, 2, 3, 4}},
		{remove: set.Of(4, 5), removed: 1, want: []fanfare.Seq{1, 2, 3}},
		{add: set.Of(7), remove: set.Of(1, 9), added: 1, removed: 1, want: []fanfare.Seq{2, 3, 7}},
		{want: []fanfare.Seq{2, 3, 7}},
		{add: set.New(), remove: set.New(), want: []fanfare.Seq{2, 3, 7}},
		{remove: set.Of(2, 3, 7), removed: 3},
		{remove: set.Of(2, 3, 7)},
		{add: set.Of(0, set.Universe-1), added: 2, want: []fanfare.Seq{0, set.Universe - 1}},
	} {
		added, removed := x.change(s, list, c.add, c.remove)
		if added != c.added || removed != c.removed {
			x.t.Errorf("step %d: %d added, %d removed; want %d, %d", i, added, removed, c.added, c.removed)
		}
		x.members(s, list, c.want...)
		x.members(s+1, list, c.elsewhere...)
		x.members(s, fanfare.ListSet(33))
	}
}

func containerBorders(x *fixture) {
	const s = 0
	list := fanfare.ListSet(1)
	border := set.Of(0, 65_534, 65_535, 65_536, 65_537, 131_071, 131_072)
	if added, _ := x.change(s, list, border, nil); added != 7 {
		x.t.Errorf("%d added", added)
	}
	if _, removed := x.change(s, list, nil, set.Of(65_535, 131_072)); removed != 2 {
		x.t.Errorf("%d removed", removed)
	}
	x.members(s, list, 0, 65_534, 65_536, 65_537, 131_071)
	added, removed := x.change(s, list, set.Range(65_530, 65_540), set.Of(0)) // two containers, and one becomes smaller
	if added != 10-3 || removed != 1 {
		x.t.Errorf("%d added, %d removed", added, removed)
	}
	want := set.Range(65_530, 65_540)
	want.Add(131_071)
	if got := x.set(s, list); !got.Equal(want) {
		x.t.Errorf("got %v", got.ToArray())
	}
	_, removed = x.change(s, list, nil, set.Range(65_536, 131_072)) // a whole container
	if removed != 5 {
		x.t.Errorf("%d removed", removed)
	}
	x.members(s, list, 65_530, 65_531, 65_532, 65_533, 65_534, 65_535)
}

func lentSet(x *fixture) {
	const s = 2
	list := fanfare.ListSet(1)
	x.change(s, list, set.Of(1, 2), nil)
	lent := x.set(s, list)
	x.change(s, list, set.Of(3), set.Of(1))
	who := ids(s, 1)
	x.upsert(s, fanfare.UpsertOptions{Add: []fanfare.SetName{list}}, fanfare.RecipientChange{ExternalID: who[0]})
	x.ok(x.Number(x.ctx, s, 10, list))
	x.ok(x.DropSet(x.ctx, list))
	if !lent.Equal(set.Of(1, 2)) {
		x.t.Errorf("it became %v", lent.ToArray())
	}
	mine := set.Of(5)
	x.change(s, list, mine, nil)
	mine.Add(6) // a caller's set stays the caller's
	x.members(s, list, 5)
}

func dropSet(x *fixture) {
	list, other := fanfare.ListSet(1), fanfare.ListSet(11)
	for s := range fanfare.Slot(slots) {
		x.change(s, list, set.Of(1, 70_000), nil)
		x.change(s, other, set.Of(2), nil)
	}
	x.ok(x.DropSet(x.ctx, list))
	for s := range fanfare.Slot(slots) {
		x.members(s, list)
		x.members(s, other, 2)
	}
	x.ok(x.DropSet(x.ctx, list))
	x.ok(x.DropSet(x.ctx, "never seen"))
	if added, _ := x.change(0, list, set.Of(1), nil); added != 1 {
		x.t.Error("a dropped set is not empty")
	}
}

func revRises(x *fixture) {
	const s = 1
	m := x.message()
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotPreparing, 1))
	rev := func() int64 {
		x.t.Helper()
		l, err := x.Latches(x.ctx, m)
		x.ok(err)
		return l[0].Rev
	}
	last := rev()
	rises := func(what string) {
		x.t.Helper()
		if now := rev(); now <= last {
			x.t.Errorf("%s: rev was %d, is %d", what, last, now)
		}
		last = rev()
	}
	unsubscribed := fanfare.SuppressionSet(fanfare.ChannelEmail, "news", fanfare.ReasonUnsubscribed)
	x.change(s, unsubscribed, set.Of(1), nil)
	rises("an unsubscribe")
	x.change(s, unsubscribed, nil, set.Of(1))
	rises("a suppression lifted")
	x.change(s, fanfare.SetAlive, set.Of(1000), nil)
	rises("alive changed")
	x.people(s, ids(s, 1)...)
	rises("a recipient was created")
	x.ok(x.Number(x.ctx, s, 1))
	rises("a recipient was numbered")
	x.change(s, unsubscribed, set.Of(1), nil)
	last = rev()
	x.ok(x.DropSet(x.ctx, unsubscribed))
	rises("a suppression set was dropped")
}

func bigSets(x *fixture) {
	const s = 3
	model := map[fanfare.SetName]*set.Set{}
	for i := range 3 {
		name := fanfare.ListSet(int64(i))
		model[name] = set.New()
		for k, change := range []struct{ add, remove *set.Set }{
			{set.Range(0, 300_000), nil},
			{nil, set.Range(uint64(50_000*i), uint64(50_000*i+100_000))}, //nolint:gosec // small
			{every(3, 400_000), every(7, 400_000)},
			{every(2, 100), set.Range(65_536, 131_072)},
		} {
			was := model[name].Clone()
			if change.add != nil {
				model[name].Union(change.add)
			}
			if change.remove != nil {
				model[name].Subtract(change.remove)
			}
			added, removed := x.change(s, name, change.add, change.remove)
			if added != set.AndNotLen(model[name], was) || removed != set.AndNotLen(was, model[name]) {
				x.t.Errorf("set %d, step %d: %d added, %d removed, want %d, %d", i, k, added, removed, set.AndNotLen(model[name], was), set.AndNotLen(was, model[name]))
			}
			if got := x.set(s, name); !got.Equal(model[name]) {
				x.t.Fatal(fmt.Sprint("set ", i, ", step ", k, ": other members"))
			}
		}
	}
}

// every gives each n-th number below end.
func every(n, end uint32) *set.Set {
	s := set.New()
	for seq := uint32(0); seq < end; seq += n {
		s.Add(seq)
	}
	return s
}
