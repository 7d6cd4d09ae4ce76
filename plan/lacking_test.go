package plan_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"fanfare"
	"fanfare/plan"
	"fanfare/set"
)

// wants is a content that writes out attributes.
type wants struct {
	attributes []string
	everybody  bool
	asked      *int
}

func (w wants) Needs() ([]string, bool) { return w.attributes, w.everybody }

func (w wants) Lacks(r *fanfare.Recipient) bool {
	*w.asked++
	return w.lacks(r.Attributes) || w.everybody && r.Locale == ""
}

func (w wants) lacks(attributes map[string]any) bool {
	return slices.ContainsFunc(w.attributes, func(name string) bool {
		switch v := attributes[name].(type) {
		case nil:
			return true
		case string:
			return strings.TrimSpace(v) == ""
		case []string:
			return strings.TrimSpace(strings.Join(v, "")) == ""
		}
		return false
	})
}

// TestWhoLacksWhatAContentNeeds: is skipped for it and nobody else is, whatever the values are and however many of them are in sets by now; who
// is suppressed is skipped for that.
func TestWhoLacksWhatAContentNeeds(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 5)) //nolint:gosec // the same in every run
		w := newWorld(t, 2, 0)
		known := profiles{}
		x := &plan.Indexer{Store: w.store, Node: "a"}
		draw := func() any {
			if r.IntN(4) == 0 {
				return []any{"", " ", "\t\n", "\u3000", strings.Repeat(" ", 200), []string{}, []string{" "}}[r.IntN(7)]
			}
			return value(r)
		}
		for i := range 150 {
			w.upsert(known, fmt.Sprint("p", r.IntN(120)), fanfare.ChangeMerge, map[string]any{"a": draw(), "b": draw()})
			if i == 60 || i == 100 && seed%2 == 0 {
				w.ok(x.Tick(w.ctx))
			}
		}
		if seed%3 == 0 {
			w.ok(x.Tick(w.ctx))
		}
		asked := 0
		content := wants{attributes: []string{"a", "b"}[:1+seed%2], everybody: seed == 11, asked: &asked}
		c := w.config("a")
		c.Content = func(m *fanfare.Message) (plan.Content, error) {
			if m.Name == "plain" {
				return nil, nil
			}
			return content, nil
		}
		p := plan.New(c)
		out := fanfare.SuppressionSet(fanfare.ChannelNull, "general", fanfare.ReasonUnsubscribed)
		var gone []fanfare.Person
		for who := range known {
			if r.IntN(5) == 0 {
				gone = append(gone, who)
				_, _, err := w.store.ChangeSet(w.ctx, who.Slot, out, set.Of(who.Seq), nil)
				w.ok(err)
			}
		}
		for _, name := range []fanfare.MessageID{"m", "plain"} {
			w.message(name, nil, fanfare.EventStart)
			w.settle(p)
			num := w.read(name).Num
			n := 0
			for s := range fanfare.Slot(2) {
				sizes, err := w.store.Parts(w.ctx, num, s)
				w.ok(err)
				for part := range sizes {
					members, err := w.store.PartSet(w.ctx, num, s, part)
					w.ok(err)
					for seq := range members.All() {
						n++
						who := fanfare.Person{Slot: s, Seq: seq}
						want := fanfare.PartSend
						switch {
						case slices.Contains(gone, who):
							want = fanfare.Part(fanfare.ReasonUnsubscribed)
						case name == "m" && (content.everybody || content.lacks(known[who])):
							want = fanfare.Part(fanfare.ReasonMissingField)
						}
						if part != want {
							t.Errorf("seed %d, %s: %v is in %s, wants %s: %v", seed, name, who, part, want, known[who])
						}
					}
				}
			}
			if n != len(known) {
				t.Errorf("seed %d, %s: %d of %d are in it", seed, name, n, len(known))
			}
		}
		if most := len(known) - len(gone); asked == 0 || asked > most || seed == 0 && asked > most*3/4 {
			t.Errorf("seed %d: %d of %d were asked about", seed, asked, most)
		}
	}
}

// TestManyAreAskedAboutInSteps: others are served in between, and nobody is forgotten or asked about twice.
func TestManyAreAskedAboutInSteps(t *testing.T) {
	w := newWorld(t, 1, 50_000) // without profiles: they lack everything
	asked := 0
	c := w.config("a")
	c.Content = func(m *fanfare.Message) (plan.Content, error) {
		if m.Name == "plain" {
			return nil, nil
		}
		return wants{attributes: []string{"a"}, asked: &asked}, nil
	}
	p := plan.New(c)
	w.upsert(profiles{}, "has", fanfare.ChangeMerge, map[string]any{"a": "x"})
	w.message("m", nil, fanfare.EventStart)
	w.tick(p)
	w.message("plain", func(m *fanfare.Message) { m.Audience = []byte(`{"recipients":["has"]}`) }, fanfare.EventStart)
	w.tick(p)
	if one, other := w.read("m").Phase, w.read("plain").Phase; one != fanfare.PhasePreparing || other == fanfare.PhasePreparing {
		t.Errorf("it is %s, the one that came later %s", one, other)
	}
	w.settle(p)
	sizes, err := w.store.Parts(w.ctx, w.read("m").Num, 0)
	w.ok(err)
	if sizes[fanfare.PartSend] != 1 || sizes[fanfare.Part(fanfare.ReasonMissingField)] != 50_000 || asked != 1 {
		t.Errorf("%v, %d asked", sizes, asked)
	}
}

// alwaysAsked is wants that may be asked by several at once.
type alwaysAsked struct{ wants }

func (w alwaysAsked) Lacks(r *fanfare.Recipient) bool { return w.lacks(r.Attributes) }

// TestACountTellsWhoLacksAValue: with the content it tells what the freeze does, without it nobody is asked.
func TestACountTellsWhoLacksAValue(t *testing.T) {
	w := newWorld(t, 4, 0)
	known := profiles{}
	for i := range 200 {
		attributes := map[string]any{"b": "x"}
		if i%5 > 0 {
			attributes["a"] = fmt.Sprint("v", i%3)
		}
		w.upsert(known, fmt.Sprint("p", i), fanfare.ChangeMerge, attributes)
	}
	w.ok((&plan.Indexer{Store: w.store, Node: "a"}).Tick(w.ctx))
	c := w.config("a")
	c.Content = func(*fanfare.Message) (plan.Content, error) {
		return alwaysAsked{wants{attributes: []string{"a"}}}, nil
	}
	p := plan.New(c)
	out := fanfare.SuppressionSet(fanfare.ChannelNull, "general", fanfare.ReasonUnsubscribed)
	for who, attributes := range known {
		if attributes["a"] == nil && who.Seq%2 == 0 {
			_, _, err := w.store.ChangeSet(w.ctx, who.Slot, out, set.Of(who.Seq), nil)
			w.ok(err)
		}
	}
	w.message("m", nil, fanfare.EventStart)
	m := w.read("m")
	q := plan.CountQuery{Audience: m.Audience, Channel: m.Channel, Topic: m.Topic}
	plain, err := p.Count(w.ctx, q)
	w.ok(err)
	q.Message = &m
	told, err := p.Count(w.ctx, q)
	w.ok(err)
	w.settle(p)
	frozen := plan.Counts{Skipped: map[fanfare.Reason]int{}}
	for s := range fanfare.Slot(4) {
		sizes, err := w.store.Parts(w.ctx, m.Num, s)
		w.ok(err)
		for part, n := range sizes {
			frozen.Recipients += n
			if part == fanfare.PartSend {
				frozen.Planned += n
			} else {
				frozen.Skipped[fanfare.Reason(part)] += n
			}
		}
	}
	if told.Planned != 160 || told.Skipped[fanfare.ReasonMissingField] == 0 || fmt.Sprint(told) != fmt.Sprint(frozen) {
		t.Errorf("told %+v, frozen %+v", told, frozen)
	}
	if plain.Skipped[fanfare.ReasonMissingField] != 0 || plain.Planned != 200-plain.Skipped[fanfare.ReasonUnsubscribed] {
		t.Errorf("without the content %+v", plain)
	}
}
