package serve_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"fanfare"
	"fanfare/audience"
	"fanfare/cmd/fanfare/serve"
	"fanfare/plan"
	"fanfare/queues/memory"
)

// TestAttributesOnTheEmbeddedStore changes people, takes some of them into the sets of their attributes and counts, with caches warm and in
// every state of the sets: as many as match one by one.
func TestAttributesOnTheEmbeddedStore(t *testing.T) {
	const slots, people = 2, 500
	ctx := t.Context()
	store, err := serve.OpenStore(ctx, t.TempDir(), nil, slots, false)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // at the end
	r := rand.New(rand.NewPCG(1, 2))
	known := make([]map[string]any, people)
	change := func(from, to int) {
		var changes [slots][]fanfare.RecipientChange
		for i := from; i < to; i++ {
			id := fmt.Sprint("u", i)
			known[i] = map[string]any{"city": fmt.Sprint("C", r.IntN(5)), "level": float64(r.IntN(50)) / 4, "tags": []string{"a", "b"}[:r.IntN(3)]}
			if r.IntN(4) == 0 {
				delete(known[i], "city")
			}
			s := fanfare.SlotOf(id, slots)
			changes[s] = append(changes[s], fanfare.RecipientChange{Kind: fanfare.ChangeReplace, ExternalID: id, Attributes: known[i]})
		}
		for s := range changes {
			if _, err := store.Upsert(ctx, fanfare.Slot(s), changes[s], fanfare.UpsertOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	change(0, people)
	p, x := plan.New(plan.Config{Store: store, Queue: memory.New(), Node: "a"}), &plan.Indexer{Store: store, Node: "a"}
	number := func(text string) []audience.Value { return []audience.Value{{Kind: audience.Number, Text: text}} }
	conditions := []audience.Attribute{{Name: "city", Op: audience.Eq, Values: []audience.Value{{Text: "C3"}}}, {Name: "city", Op: audience.Ne, Values: []audience.Value{{Text: "C1"}}},
		{Name: "city", Op: audience.Exists, Values: []audience.Value{{Kind: audience.Bool, Text: "false"}}}, {Name: "tags", Op: audience.Contains, Values: []audience.Value{{Text: "b"}}},
		{Name: "level", Op: audience.Eq, Values: number("3")}, {Name: "level", Op: audience.Lt, Values: number("3.25")}, {Name: "level", Op: audience.Lte, Values: number("3.25")},
		{Name: "level", Op: audience.Gt, Values: number("7")}, {Name: "level", Op: audience.Gte, Values: number("7")}}
	for round := range 25 {
		switch round % 4 {
		case 1:
			err = x.Tick(ctx)
		case 2:
			err = x.Index(ctx, fanfare.Slot(r.IntN(slots))) //nolint:gosec // few
		case 3:
			from := r.IntN(people)
			change(from, min(people, from+r.IntN(40)))
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range conditions {
			doc, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			want := 0
			for _, attributes := range known {
				if c.Matches(attributes[c.Name]) {
					want++
				}
			}
			if got, err := p.Count(ctx, plan.CountQuery{Audience: doc}); err != nil || got.Recipients != want {
				t.Fatalf("round %d, %s: counted %d (%v), want %d", round, doc, got.Recipients, err, want)
			}
		}
	}
}
