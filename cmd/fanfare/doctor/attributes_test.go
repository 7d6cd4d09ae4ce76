package doctor_test

import (
	"fmt"
	"strings"
	"testing"

	"fanfare"
	"fanfare/plan"
	"fanfare/set"
	"fanfare/stores/memory"
)

// TestAttributeSetsAreComparedWithTheProfiles takes people into the sets of their attributes, and then changes sets that nobody should.
func TestAttributeSetsAreComparedWithTheProfiles(t *testing.T) {
	w := &ward{t: t, store: memory.Open(memory.Config{Slots: 1})}
	var changes []fanfare.RecipientChange
	for i := range fanfare.MaxValueSets + 100 {
		changes = append(changes, fanfare.RecipientChange{ExternalID: fmt.Sprint(i), Attributes: map[string]any{"city": fmt.Sprint("c", i%7), "name": fmt.Sprint("n", i),
			"level": float64(i%100) - 0.5, "born": "2001-02-03T04:05:06.7Z", "tags": []string{"a", fmt.Sprint("t", i%3)}}})
	}
	_, err := w.store.Upsert(t.Context(), slot, changes, fanfare.UpsertOptions{})
	w.must(err)
	w.must(w.store.Number(t.Context(), slot, 10, "attribute:exists:=city"))
	if r := w.examine(w.store); !r.OK {
		t.Fatalf("before they are taken: %+v", r)
	}
	w.must((&plan.Indexer{Store: w.store, Node: "a"}).Tick(t.Context()))
	changes[5].Attributes = map[string]any{"city": "elsewhere"} // unindexed: the sets do not tell of them
	_, err = w.store.Upsert(t.Context(), slot, changes[5:6], fanfare.UpsertOptions{})
	w.must(err)
	if r := w.examine(w.store); !r.OK {
		t.Fatalf("%+v", r)
	}
	for name, c := range map[fanfare.SetName]struct {
		add, remove *set.Set
		want        string
	}{
		fanfare.AttributeValueSet(fanfare.AttributeText, "city", "c1"):   {remove: set.Of(1), want: "differ in 1 people (seq 1)"},
		fanfare.AttributeValueSet(fanfare.AttributeText, "city", "moon"): {add: set.Of(2), want: "differ in 1 people (seq 2)"},
		fanfare.AttributeSet(fanfare.AttributeTextRest, "name"):          {remove: set.Range(0, 10_000), want: "is missing: by the profiles 100 people"},
		fanfare.AttributeBitSet(fanfare.AttributeNumBit, "level", 3):     {add: set.Of(1, 2), want: "differ in 2 people"},
		fanfare.AttributeSet(fanfare.AttributeTime, "born"):              {add: set.Of(9_999), want: "1 members are not alive"},
		fanfare.AttributeValueSet(fanfare.AttributeItem, "tags", "a"):    {remove: set.Of(7), want: "differ in 1 people (seq 7)"},
	} {
		was, err := w.store.LoadSet(t.Context(), slot, name)
		w.must(err)
		_, _, err = w.store.ChangeSet(t.Context(), slot, name, c.add, c.remove)
		w.must(err)
		r := w.examine(w.store)
		if r.OK || len(r.Found) == 0 || !strings.Contains(r.Found[0].What, c.want) {
			t.Errorf("%s: %+v", name, r.Found)
		}
		now, err := w.store.LoadSet(t.Context(), slot, name)
		w.must(err)
		_, _, err = w.store.ChangeSet(t.Context(), slot, name, was, set.AndNot(now, was))
		w.must(err)
	}
	if r := w.examine(w.store); !r.OK {
		t.Fatalf("in the end: %+v", r)
	}
}
