package storetest

import (
	"fmt"
	"sync"

	"fanfare"
	"fanfare/set"
)

func slotSetScenarios() []scenario {
	return []scenario{
		{"an edit makes all its changes or none", editWhole},
		{"an edit reads what it changes", editReads},
		{"an edit raises the latch's rev", editRev},
		{"names of sets", setNames},
		{"attributes of members", attributesOfMembers},
		{"who has changed is unindexed", unindexed},
		{"a slot is read at one moment", oneMoment},
		{"edits beside other writes", editsBeside},
	}
}

func (x *fixture) edit(s fanfare.Slot, changes ...fanfare.SetChange) {
	x.t.Helper()
	x.ok(x.Edit(x.ctx, s, func(fanfare.SlotView) ([]fanfare.SetChange, error) { return changes, nil }))
}

func (x *fixture) names(s fanfare.Slot, prefix fanfare.SetName) (names []fanfare.SetName) {
	x.t.Helper()
	x.ok(x.ReadSlot(x.ctx, s, func(v fanfare.SlotView) (err error) {
		names, err = v.SetNames(prefix)
		return err
	}))
	return names
}

func editWhole(x *fixture) {
	const s = 1
	a, b := fanfare.SetName("attribute:a"), fanfare.SetName("attribute:b")
	x.edit(s, fanfare.SetChange{Name: a, Add: set.Of(1, 2, 70_000)}, fanfare.SetChange{Name: b, Add: set.Of(2, 3), Remove: set.Of(3, 9)})
	x.members(s, a, 1, 2, 70_000)
	x.members(s, b, 2)
	x.members(s+1, a)
	x.edit(s, fanfare.SetChange{Name: a, Remove: set.Of(1)}, fanfare.SetChange{Name: b}, fanfare.SetChange{Name: a, Add: set.Of(5), Remove: set.Of(2)},
		fanfare.SetChange{Name: a, Remove: set.Of(5)})
	x.members(s, a, 70_000)
	x.is(x.Edit(x.ctx, s, func(fanfare.SlotView) ([]fanfare.SetChange, error) {
		return []fanfare.SetChange{{Name: a, Add: set.Of(7)}}, errBoom
	}), errBoom, "an edit that fails")
	x.members(s, a, 70_000)
	x.edit(s)
	x.edit(s, fanfare.SetChange{Name: a, Remove: set.Of(70_000)})
	x.members(s, a)
	x.is(x.Edit(x.ctx, slots, func(fanfare.SlotView) ([]fanfare.SetChange, error) { return nil, nil }), fanfare.ErrUsage, "a slot that is not there")
	x.is(x.ReadSlot(x.ctx, slots, func(fanfare.SlotView) error { return nil }), fanfare.ErrUsage, "a slot that is not there")
	x.is(x.ReadSlot(x.ctx, s, func(fanfare.SlotView) error { return errBoom }), errBoom, "a read that fails")
}

func editReads(x *fixture) {
	const s = 2
	list := fanfare.ListSet(1)
	who := ids(s, 2)
	seqs := x.people(s, who...)
	x.change(s, list, set.Of(seqs...), nil)
	lent := x.set(s, list)
	x.ok(x.Edit(x.ctx, s, func(v fanfare.SlotView) ([]fanfare.SetChange, error) {
		members, err := v.LoadSet(list)
		x.ok(err)
		found, err := v.Resolve([]string{who[1], "nobody"})
		x.ok(err)
		x.same(found, []int64{int64(seqs[1]), -1}, "resolved")
		return []fanfare.SetChange{{Name: fanfare.ListSet(2), Add: members}, {Name: list, Remove: members}}, nil
	}))
	x.members(s, list)
	x.members(s, fanfare.ListSet(2), seqs...)
	if !lent.Equal(set.Of(seqs...)) {
		x.t.Error("a set that was lent changed")
	}
}

func editRev(x *fixture) {
	const s = 0
	m := x.message()
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotPreparing, 1))
	rev := func() int64 {
		x.t.Helper()
		l, err := x.Latches(x.ctx, m)
		x.ok(err)
		return l[0].Rev
	}
	was := rev()
	x.edit(s, fanfare.SetChange{Name: fanfare.ListSet(1), Add: set.Of(1)})
	if rev() != was {
		x.t.Error("a list raised it")
	}
	x.edit(s, fanfare.SetChange{Name: fanfare.ListSet(1), Add: set.Of(2)}, fanfare.SetChange{Name: fanfare.SetAlive, Remove: set.Of(1), Add: set.Of(2)})
	if rev() <= was {
		x.t.Error("a change of alive did not raise it")
	}
	was = rev()
	x.edit(s, fanfare.SetChange{Name: fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonBounced), Add: set.Of(2)})
	if rev() <= was {
		x.t.Error("a suppression did not raise it")
	}
}

func setNames(x *fixture) {
	const s = 3
	hostile := []string{"", "a", "a:b", "a%3Ab", "A", "ü", "\U0010ffff", "a b", `q"\'`, "a\x00b", "\xff", fmt.Sprintf("%0300d", 7), fmt.Sprintf("%0300d", 8)}
	want := map[fanfare.SetName]uint32{}
	for i, attribute := range hostile {
		for k, value := range hostile {
			seq := uint32(100*i + k) //nolint:gosec // small
			name := fanfare.AttributeValueSet(fanfare.AttributeText, attribute, value)
			if _, taken := want[name]; taken {
				x.t.Errorf("%q, %q: another value has its name %s", attribute, value, name)
			}
			want[name] = seq
			x.edit(s, fanfare.SetChange{Name: name, Add: set.Of(seq, seq+70_000)})
		}
	}
	found := 0
	for i, attribute := range hostile {
		names := x.names(s, fanfare.AttributeSets(fanfare.AttributeText, attribute))
		if len(names) != len(hostile) {
			x.t.Errorf("attribute %q has %d sets, want %d", attribute, len(names), len(hostile))
		}
		for k, name := range names {
			if k > 0 && names[k-1] >= name {
				x.t.Errorf("%q comes before %q", names[k-1], name)
			}
			if want[name]/100 != uint32(i) { //nolint:gosec // small
				x.t.Errorf("%q is of another attribute than %q", name, attribute)
			}
			found++
		}
	}
	x.edit(s, fanfare.SetChange{Name: fanfare.AttributeSet(fanfare.AttributeExists, "a"), Add: set.Of(1)}, fanfare.SetChange{Name: "indexed", Add: set.Of(1)})
	if n := len(x.names(s, fanfare.AttributeFamilySets(fanfare.AttributeText))); n != found {
		x.t.Errorf("%d sets in the family, %d of its attributes", n, found)
	}
	if n := len(x.names(s, "")); n != found+2 {
		x.t.Errorf("%d sets in all, want %d", n, found+2)
	}
	for range 2 { // also from a cache, if there is one
		x.ok(x.ReadSlot(x.ctx, s, func(v fanfare.SlotView) error {
			for _, attribute := range hostile {
				prefix := fanfare.AttributeSets(fanfare.AttributeText, attribute)
				listed, err := v.SetNames(prefix)
				x.ok(err)
				names, sets, err := v.LoadSets(prefix)
				x.ok(err)
				x.same(names, listed, "names of the sets that are read together")
				for i, members := range sets {
					if seq := want[names[i]]; !members.Equal(set.Of(seq, seq+70_000)) {
						x.t.Errorf("set %q has %v", names[i], members.ToArray())
					}
				}
			}
			return nil
		}))
	}
	for name, seq := range want {
		if got := x.set(s, name); !got.Equal(set.Of(seq, seq+70_000)) {
			x.t.Fatalf("set %q has %v", name, got.ToArray())
		}
		x.edit(s, fanfare.SetChange{Name: name, Remove: set.Of(seq, seq+70_000)})
	}
	x.ok(x.ReadSlot(x.ctx, s, func(v fanfare.SlotView) error {
		names, sets, err := v.LoadSets(fanfare.AttributeFamilySets(fanfare.AttributeText))
		if len(names)+len(sets) > 0 {
			x.t.Errorf("%d sets that are empty are listed", len(names))
		}
		return err
	}))
	x.same(x.names(s, "attribute:"), []fanfare.SetName{fanfare.AttributeSet(fanfare.AttributeExists, "a")}, "names of what is not empty")
	x.same(x.names(s-1, ""), []fanfare.SetName(nil), "names of a slot without sets")
}

func attributesOfMembers(x *fixture) {
	const s = 1
	who := ids(s, 30)
	want := map[fanfare.Seq]map[string]any{}
	x.ok(x.Number(x.ctx, s, 5)) // they have none
	for i, id := range who {
		c := fanfare.RecipientChange{ExternalID: id}
		if i%3 != 0 {
			c.Attributes = map[string]any{"n": float64(i), "t": "é\n", "l": []string{"a", "b"}, "b": true}
		}
		u := x.upsert(s, fanfare.UpsertOptions{}, c)[0]
		want[u.Seq] = c.Attributes
	}
	ask := func(members *set.Set) {
		x.t.Helper()
		got, last := map[fanfare.Seq]map[string]any{}, -1
		x.ok(x.ReadSlot(x.ctx, s, func(v fanfare.SlotView) error {
			return v.Attributes(members, func(seq fanfare.Seq, attributes map[string]any) error {
				if int(seq) <= last {
					x.t.Errorf("%d comes after %d", seq, last)
				}
				last, got[seq] = int(seq), attributes
				return nil
			})
		}))
		mine := map[fanfare.Seq]map[string]any{}
		for seq, a := range want {
			if members.Contains(seq) {
				mine[seq] = a
			}
		}
		x.same(got, mine, fmt.Sprint("attributes of ", members.Len()))
	}
	ask(set.Range(0, 100))
	ask(set.New())
	ask(set.Of(7, 33))
	ask(set.Of(0, 1, 9, 4_000_000_000))
	ask(every(2, 50))
	x.is(x.ReadSlot(x.ctx, s, func(v fanfare.SlotView) error {
		return v.Attributes(set.Range(0, 100), func(fanfare.Seq, map[string]any) error { return errBoom })
	}), errBoom, "a function that fails")
}

func unindexed(x *fixture) {
	const s = 2
	who := ids(s, 40)
	var all []fanfare.RecipientChange
	for _, id := range who {
		all = append(all, fanfare.RecipientChange{ExternalID: id})
	}
	done := x.upsert(s, fanfare.UpsertOptions{}, all[:3]...) // one by one
	done = append(done, x.upsert(s, fanfare.UpsertOptions{}, all[3:]...)...)
	x.ok(x.Number(x.ctx, s, 4))
	want := set.New()
	for _, u := range done {
		want.Add(u.Seq)
	}
	if got := x.set(s, fanfare.SetUnindexed); !got.Equal(want) {
		x.t.Errorf("%v are unindexed, want %v", got.ToArray(), want.ToArray())
	}
	x.edit(s, fanfare.SetChange{Name: fanfare.SetUnindexed, Remove: want})
	step := func(what string, c fanfare.RecipientChange, changes bool) {
		x.t.Helper()
		c.ExternalID = who[5]
		u := x.upsert(s, fanfare.UpsertOptions{}, c)[0]
		if got := x.set(s, fanfare.SetUnindexed).Contains(u.Seq); got != changes {
			x.t.Errorf("%s: unindexed %v, want %v", what, got, changes)
		}
		x.edit(s, fanfare.SetChange{Name: fanfare.SetUnindexed, Remove: set.Of(u.Seq)})
	}
	mail := "a@x"
	step("an address", fanfare.RecipientChange{Email: &mail}, false)
	step("an attribute", fanfare.RecipientChange{Attributes: map[string]any{"a": 1.0}}, true)
	step("the same once more", fanfare.RecipientChange{Attributes: map[string]any{"a": 1.0}}, false)
	step("one that is not there is removed", fanfare.RecipientChange{Attributes: map[string]any{"b": nil}}, false)
	step("another type", fanfare.RecipientChange{Attributes: map[string]any{"a": "1"}}, true)
	step("refused", fanfare.RecipientChange{Kind: fanfare.ChangeInsert, Attributes: map[string]any{"a": "2"}}, false)
	step("replaced by nothing", fanfare.RecipientChange{Kind: fanfare.ChangeReplace}, true)
	step("and again", fanfare.RecipientChange{Kind: fanfare.ChangeReplace}, false)
}

// oneMoment moves somebody between two sets while both are read.
func oneMoment(x *fixture) {
	const s, rounds = 1, 100
	a, b := fanfare.ListSet(1), fanfare.ListSet(2)
	x.edit(s, fanfare.SetChange{Name: a, Add: set.Of(1)})
	var wg sync.WaitGroup
	wg.Go(func() {
		for range rounds {
			x.edit(s, fanfare.SetChange{Name: a, Remove: set.Of(1)}, fanfare.SetChange{Name: b, Add: set.Of(1)})
			x.edit(s, fanfare.SetChange{Name: b, Remove: set.Of(1)}, fanfare.SetChange{Name: a, Add: set.Of(1)})
		}
	})
	for range rounds {
		x.ok(x.ReadSlot(x.ctx, s, func(v fanfare.SlotView) error {
			first, err := v.LoadSet(a)
			x.ok(err)
			second, err := v.LoadSet(b)
			x.ok(err)
			if first.Len()+second.Len() != 1 {
				x.t.Errorf("%d and %d at one moment", first.Len(), second.Len())
			}
			return nil
		}))
	}
	wg.Wait()
}

// editsBeside loses no change that others make of the same set.
func editsBeside(x *fixture) {
	const s, each = 1, 60
	list := fanfare.ListSet(1)
	var wg sync.WaitGroup
	for w := range uint32(4) {
		wg.Go(func() {
			for i := range uint32(each) {
				mine := set.Of(w*each + i)
				if w%2 == 0 {
					x.edit(s, fanfare.SetChange{Name: list, Add: mine})
				} else if _, _, err := x.ChangeSet(x.ctx, s, list, mine, nil); err != nil {
					x.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := x.set(s, list); !got.Equal(set.Range(0, 4*each)) {
		x.t.Errorf("%d members of %d", got.Len(), 4*each)
	}
}
