package plan_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanfare"
	"fanfare/audience"
	"fanfare/plan"
	"fanfare/set"
	stores "fanfare/stores/memory"
)

// who freezes an audience and gives whom it reaches, by slot.
func (w *world) who(p *plan.Planner, doc string) []*set.Set {
	w.Helper()
	id := fanfare.MessageID(fmt.Sprint("who-", w.asked))
	w.asked++
	w.message(id, func(m *fanfare.Message) { m.Audience = json.RawMessage(doc) }, fanfare.EventStart)
	for w.read(id).Phase == fanfare.PhasePreparing {
		w.tick(p)
	}
	found := make([]*set.Set, w.store.Slots())
	for s := range found {
		var err error
		found[s], err = w.store.PartSet(w.ctx, w.read(id).Num, fanfare.Slot(s), fanfare.PartSend)
		w.ok(err)
	}
	w.event(id, fanfare.EventCancel)
	return found
}

// profiles is what the model knows of people.
type profiles map[fanfare.Person]map[string]any

func (w *world) upsert(known profiles, id string, kind fanfare.ChangeKind, attributes map[string]any) {
	w.Helper()
	s := fanfare.SlotOf(id, w.store.Slots())
	done, err := w.store.Upsert(w.ctx, s, []fanfare.RecipientChange{{Kind: kind, ExternalID: id, Attributes: attributes}}, fanfare.UpsertOptions{})
	w.ok(err)
	r, err := w.store.Recipient(w.ctx, id)
	w.ok(err)
	known[done[0].Person] = r.Attributes
}

// value draws a value of any type; few of each, so that they meet.
func value(r *rand.Rand) any {
	switch r.IntN(12) {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2, 3:
		return []any{0.0, 1.0, -1.0, 5.0, 5.5, -0.25, 1e21, 1e-9, -3e300, 9007199254740993.0, 4611686018427387904.0, float64(r.IntN(100))}[r.IntN(12)]
	case 4:
		return []any{"2026-01-31T08:00:00Z", "2026-01-31T16:00:00+08:00", "2026-01-31T08:00:00.000000001Z", "1969-12-31T23:59:59.5Z", "0000-01-01T00:00:00Z"}[r.IntN(5)]
	case 5:
		return []string{"a", "b", "a", strings.Repeat("x", 100)}[:r.IntN(5)]
	default:
		return []any{"5", "true", "", "a", "A", "a:b", "a%3Ab", "ü", "5.50", strings.Repeat("x", 100), strings.Repeat("x", 101), "-0"}[r.IntN(12)]
	}
}

func condition(r *rand.Rand, name string) audience.Attribute {
	ops := audience.Ops()
	a := audience.Attribute{Name: name, Op: ops[r.IntN(len(ops))]}
	scalar := func() (v any) {
		for {
			switch v = value(r); v.(type) {
			case nil, []string:
			default:
				return v
			}
		}
	}
	of := func(v any) audience.Value {
		text, _ := audience.CanonicalText(v)
		switch v.(type) {
		case bool:
			return audience.Value{Kind: audience.Bool, Text: text}
		case float64:
			return audience.Value{Kind: audience.Number, Text: text}
		default:
			return audience.Value{Kind: audience.Text, Text: text}
		}
	}
	switch a.Op {
	case audience.Exists:
		a.Values = []audience.Value{of(r.IntN(2) == 0)}
	case audience.Contains:
		a.Values = []audience.Value{{Kind: audience.Text, Text: []string{"a", "b", strings.Repeat("x", 100), "c"}[r.IntN(4)]}}
	case audience.In:
		for range r.IntN(80) {
			a.Values = append(a.Values, of(scalar()))
		}
	case audience.Eq, audience.Ne:
		a.Values = []audience.Value{of(scalar())}
	default:
		if r.IntN(3) == 0 {
			a.Values = []audience.Value{{Kind: audience.Time, Text: []string{"2026-01-31T08:00:00Z", "1970-01-01T00:00:00Z", "2026-01-31T08:00:00.000000001Z"}[r.IntN(3)]}}
			break
		}
		text := []string{"0", "1", "-1", "5", "5.25", "50", "1e+21", "1e-300", "-4e300", "9007199254740992", "4611686018427387904", "1e400", "-1e400"}[r.IntN(13)]
		a.Values = []audience.Value{{Kind: audience.Number, Text: text}}
	}
	return a
}

// means is what a condition means, told once more and plainly.
func means(a audience.Attribute, v any) bool {
	text := func(v any) string {
		switch v := v.(type) {
		case string:
			return v
		case bool:
			return strconv.FormatBool(v)
		case float64:
			doc, _ := json.Marshal(v)
			t, _ := audience.CanonicalNumber(string(doc))
			return t
		}
		return "no text: a list"
	}
	equal := func() bool {
		return slices.ContainsFunc(a.Values, func(x audience.Value) bool { return x.Text == text(v) })
	}
	switch a.Op {
	case audience.Exists:
		return (v != nil) == (a.Values[0].Text == "true")
	case audience.Eq, audience.In:
		return v != nil && equal()
	case audience.Ne:
		return v != nil && !equal()
	case audience.Contains:
		l, _ := v.([]string)
		return slices.Contains(l, a.Values[0].Text)
	}
	order, ok := 0, false
	if f, number := v.(float64); number && a.Values[0].Kind == audience.Number {
		than, _ := strconv.ParseFloat(a.Values[0].Text, 64)
		ok = true
		switch {
		case f < than:
			order = -1
		case f > than:
			order = 1
		}
	}
	if s, isText := v.(string); isText && a.Values[0].Kind == audience.Time {
		at, err := time.Parse(time.RFC3339, s)
		than, _ := time.Parse(time.RFC3339, a.Values[0].Text)
		order, ok = at.Compare(than), err == nil
	}
	switch a.Op {
	case audience.Lt:
		return ok && order < 0
	case audience.Lte:
		return ok && order <= 0
	case audience.Gt:
		return ok && order > 0
	default:
		return ok && order >= 0
	}
}

// breaking is a store whose n-th Edit from now fails, before its effect or after it.
type breaking struct {
	*stores.Store
	left  int
	after bool
}

var errBroken = errors.New("the process died here")

func (b *breaking) Edit(ctx context.Context, s fanfare.Slot, fn func(fanfare.SlotView) ([]fanfare.SetChange, error)) error {
	b.left--
	if b.left != 0 {
		return b.Store.Edit(ctx, s, fn)
	}
	if b.after {
		_ = b.Store.Edit(ctx, s, fn)
	}
	return errBroken
}

// TestConditionsAreExactAtAnyMoment changes people, indexes some of them, lets the indexer die at any of its steps or two of them work at once,
// and asks conditions after each: the answer is that of the profiles.
func TestConditionsAreExactAtAnyMoment(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			w := newWorld(t, 2, 20) // and some without profiles
			p := w.planner("a")
			known := profiles{}
			for s := range fanfare.Slot(2) {
				for seq := range fanfare.Seq(10) {
					known[fanfare.Person{Slot: s, Seq: seq}] = nil
				}
			}
			names := []string{"a", "b", "c:d", strings.Repeat("n", 90)}
			broken := &breaking{Store: w.store}
			indexer := &plan.Indexer{Store: broken, Node: "a", Most: 20_000} // some people at a time
			for range 60 {
				for range r.IntN(20) {
					attributes := map[string]any{}
					for _, n := range names {
						if r.IntN(3) > 0 {
							attributes[n] = value(r)
						}
					}
					w.upsert(known, fmt.Sprint("p", r.IntN(60)), fanfare.ChangeKind(r.IntN(2)), attributes)
				}
				switch r.IntN(4) {
				case 0:
					broken.left = 0
					w.ok(indexer.Tick(w.ctx))
				case 1, 2:
					broken.left, broken.after = 1+r.IntN(5), r.IntN(2) == 0
					if err := indexer.Tick(w.ctx); err != nil && !errors.Is(err, errBroken) {
						t.Fatal(err)
					}
				}
				var parts []string
				asked := make([]audience.Attribute, 1+r.IntN(3))
				for i := range asked {
					asked[i] = condition(r, names[r.IntN(len(names))])
					doc, err := asked[i].MarshalJSON()
					w.ok(err)
					parts = append(parts, string(doc))
				}
				doc := `{"any":[` + strings.Join(parts, ",") + `]}`
				for s, got := range w.who(p, doc) {
					want := set.New()
					for person, attributes := range known {
						if person.Slot == fanfare.Slot(s) && slices.ContainsFunc(asked, func(a audience.Attribute) bool { return means(a, attributes[a.Name]) }) {
							want.Add(person.Seq)
						}
					}
					if !got.Equal(want) {
						t.Fatalf("%s, slot %d: got %v, want %v", doc, s, got.ToArray(), want.ToArray())
					}
				}
			}
		})
	}
}

// TestTwoIndexersVoidEachOther stops one between its reading and its writing, changes the person, and lets another take them.
func TestTwoIndexersVoidEachOther(t *testing.T) {
	w := newWorld(t, 1, 0)
	p := w.planner("a")
	known := profiles{}
	w.upsert(known, "u", fanfare.ChangeMerge, map[string]any{"a": "old"})
	other := &plan.Indexer{Store: w.store, Node: "b"}
	slow := &between{Store: w.store, at: 2, do: func() {
		w.upsert(known, "u", fanfare.ChangeMerge, map[string]any{"a": "new"})
		w.ok(other.Index(w.ctx, 0))
	}}
	w.ok((&plan.Indexer{Store: slow, Node: "a"}).Index(w.ctx, 0))
	if slow.at > 0 {
		t.Fatal("it never wrote")
	}
	w.ok(other.Tick(w.ctx))
	for value, want := range map[string]int{"old": 0, "new": 1} {
		if got := w.who(p, `{"attribute":"a","eq":"`+value+`"}`)[0].Len(); got != want {
			t.Errorf("%s: %d people, want %d", value, got, want)
		}
	}
}

// between does something before the n-th Edit.
type between struct {
	*stores.Store
	at int
	do func()
}

func (b *between) Edit(ctx context.Context, s fanfare.Slot, fn func(fanfare.SlotView) ([]fanfare.SetChange, error)) error {
	if b.at--; b.at == 0 {
		b.do()
	}
	return b.Store.Edit(ctx, s, fn)
}

// TestMoreValuesThanSets: those that most people have keep sets, the others are scanned, and a count says so.
func TestMoreValuesThanSets(t *testing.T) {
	w := newWorld(t, 1, 0)
	p := w.planner("a")
	const n = fanfare.MaxValueSets + 500
	var changes []fanfare.RecipientChange
	for i := range n {
		changes = append(changes, fanfare.RecipientChange{ExternalID: fmt.Sprint(i), Attributes: map[string]any{"name": fmt.Sprint("n", i), "tags": []string{fmt.Sprint("t", i), "all"}, "level": float64(i)}})
	}
	for i := range 20 {
		changes = append(changes, fanfare.RecipientChange{ExternalID: fmt.Sprint("more", i), Attributes: map[string]any{"name": fmt.Sprint("n", n-1-i)}})
	}
	_, err := w.store.Upsert(w.ctx, 0, changes, fanfare.UpsertOptions{})
	w.ok(err)
	x := &plan.Indexer{Store: w.store, Node: "a"}
	w.ok(x.Tick(w.ctx))
	sets := func(f fanfare.AttributeFamily, name string) (found int) {
		w.ok(w.store.ReadSlot(w.ctx, 0, func(v fanfare.SlotView) error {
			names, err := v.SetNames(fanfare.AttributeSets(f, name))
			found = len(names)
			return err
		}))
		return found
	}
	for name, family := range map[string]fanfare.AttributeFamily{"name": fanfare.AttributeText, "tags": fanfare.AttributeItem} {
		if got := sets(family, name); got != fanfare.MaxValueSets {
			t.Errorf("%s has %d sets", name, got)
		}
	}
	ask := func(doc string, want int, scanned ...string) {
		t.Helper()
		if got := w.who(p, doc)[0].Len(); got != want {
			t.Errorf("%s: %d people, want %d", doc, got, want)
		}
		c, err := p.Count(w.ctx, plan.CountQuery{Audience: json.RawMessage(doc)})
		w.ok(err)
		if c.Recipients != want || !slices.Equal(c.Scanned, scanned) {
			t.Errorf("%s: counted %d, scanned %q; want %d, %q", doc, c.Recipients, c.Scanned, want, scanned)
		}
	}
	ask(fmt.Sprintf(`{"attribute":"name","eq":"n%d"}`, n-1), 2) // many have it
	ask(`{"attribute":"tags","contains":"all"}`, n)
	rare := ""
	w.ok(w.store.ReadSlot(w.ctx, 0, func(v fanfare.SlotView) error {
		rest, err := v.LoadSet(fanfare.AttributeSet(fanfare.AttributeTextRest, "name"))
		w.ok(err)
		if rest.Len() != 500 {
			t.Errorf("%d in the rest", rest.Len())
		}
		seq, _ := rest.Max()
		return v.Attributes(set.Of(seq), func(_ fanfare.Seq, a map[string]any) error {
			rare = a["name"].(string) //nolint:forcetypeassert // as above
			return nil
		})
	}))
	ask(`{"attribute":"name","eq":"`+rare+`"}`, 1, "name")
	ask(`{"attribute":"name","eq":"nobody"}`, 0, "name")
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"n%d"`, i))
	}
	ask(`{"attribute":"name","in":[`+strings.Join(all, ",")+`]}`, n+20, "name") // a comparison each, not thousands for everybody
	ask(`{"attribute":"name","in":[`+strings.Join(all[:n-1], ",")+`,4,true]}`, n-1+19, "name")
	ask(`{"attribute":"name","ne":"`+rare+`"}`, n+20-1, "name")
	ask(`{"attribute":"level","gte":100}`, n-100) // numbers have no limit
	ask(`{"attribute":"level","eq":4500}`, 1)
	ask(`{"attribute":"name","exists":true}`, n+20)

	// The rest stays exact when values come and go: one more with a rare name, and the former one takes another.
	known := profiles{}
	w.upsert(known, "late", fanfare.ChangeMerge, map[string]any{"name": rare})
	for i := range 100 {
		w.upsert(known, fmt.Sprint(i), fanfare.ChangeMerge, map[string]any{"name": nil, "tags": nil})
	}
	w.ok(x.Tick(w.ctx))
	w.upsert(known, "later", fanfare.ChangeMerge, map[string]any{"name": rare})
	w.ok(x.Tick(w.ctx))
	ask(`{"attribute":"name","eq":"`+rare+`"}`, 3, "name")
	ask(`{"attribute":"name","in":["`+rare+`","n4500"]}`, 3+len(w.who(p, `{"attribute":"name","eq":"n4500"}`)[0].ToArray()), "name")
}

// TestSegmentsAreEvaluatedOnce: each names the one before twice, so all ways through them are 2⁶⁰.
func TestSegmentsAreEvaluatedOnce(t *testing.T) {
	w := newWorld(t, 2, 0)
	known := profiles{}
	for i := range 20 {
		w.upsert(known, fmt.Sprint("u", i), fanfare.ChangeMerge, map[string]any{"level": float64(i)})
	}
	put := func(name, doc string) {
		w.ok(w.store.Update(w.ctx, func(tx fanfare.ControlTx) error {
			return tx.PutSegment(&fanfare.Segment{Name: name, Audience: json.RawMessage(doc)})
		}))
	}
	put("0", `{"attribute":"level","gte":5}`)
	for i := range 60 {
		put(fmt.Sprint(i+1), fmt.Sprintf(`{"every":[{"segment":"%d"},{"not":{"not":{"segment":"%d"}}}]}`, i, i))
	}
	ask := func(want int) {
		t.Helper()
		n := 0
		for _, members := range w.who(w.planner("a"), `{"segment":"60"}`) {
			n += members.Len()
		}
		if n != want {
			t.Errorf("%d people, want %d", n, want)
		}
	}
	ask(15)
	put("0", `{"attribute":"level","gte":15}`) // as it is at the freeze
	ask(5)
	put("0", `{"segment":"60"}`)
	if _, err := w.planner("a").Count(w.ctx, plan.CountQuery{Audience: json.RawMessage(`{"segment":"7"}`)}); !errors.Is(err, fanfare.ErrConflict) {
		t.Errorf("a circle: %v", err)
	}
}

// TestDamagedPast: of a message whose rows cannot be read nobody can say whom a condition means, so it is refused.
func TestDamagedPast(t *testing.T) {
	w := newWorld(t, 1, 10)
	p := w.planner("a")
	w.who(p, `{"all":true}`)
	w.who(p, `{"all":true}`)
	ask := func(doc string) error {
		_, err := p.Count(w.ctx, plan.CountQuery{Audience: json.RawMessage(doc)})
		return err
	}
	if err := ask(`{"message":"who-0","read":false}`); err != nil {
		t.Fatal(err)
	}
	w.store.DamageBatch(fanfare.BatchRef{Message: w.read("who-0").Num, Batch: 3})
	w.store.Damage(w.read("who-1").Num, 0, fanfare.PartSend)
	for _, doc := range []string{`{"message":"who-0","result":"sent"}`, `{"message":"who-0","read":false}`, `{"message":"who-0","doubted":true}`, `{"message":"who-1","read":true}`} {
		if err := ask(doc); !errors.Is(err, fanfare.ErrDamaged) {
			t.Errorf("%s: %v", doc, err)
		}
	}
	if err := ask(`{"message":"who-0","read":true}`); err != nil { // the receipts can be read
		t.Error(err)
	}
}

// TestTheIndexerLetsOthersGoFirst, for a minute.
func TestTheIndexerLetsOthersGoFirst(t *testing.T) {
	w := newWorld(t, 1, 0)
	x := &plan.Indexer{Store: w.store, Node: "a"}
	known := profiles{}
	put := func(state fanfare.ImportState) {
		w.ok(w.store.Update(w.ctx, func(tx fanfare.ControlTx) error { return tx.PutImport(fanfare.Import{ID: "i", State: state}) }))
	}
	left := func() int {
		w.ok(x.Tick(w.ctx))
		members, err := w.store.LoadSet(w.ctx, 0, fanfare.SetUnindexed)
		w.ok(err)
		return members.Len()
	}
	for name, others := range map[string]func(on bool){
		"an import": func(on bool) {
			put(map[bool]fanfare.ImportState{true: fanfare.ImportRunning, false: fanfare.ImportDone}[on])
		},
		"a message": func(on bool) {
			if on {
				w.message("m", nil, fanfare.EventStart, fanfare.EventFrozen)
			} else {
				w.event("m", fanfare.EventCancel)
			}
		},
	} {
		others(true)
		w.upsert(known, "u"+name, fanfare.ChangeMerge, map[string]any{"a": "b"})
		for i := range 2 {
			if n := left(); n != 1 {
				t.Errorf("%s, look %d: %d are left", name, i, n)
			}
			w.clock.advance(30 * time.Second)
		}
		if n := left(); n != 0 {
			t.Errorf("%s, after a minute: %d are left", name, n)
		}
		w.upsert(known, "v"+name, fanfare.ChangeMerge, map[string]any{"a": "b"})
		if n := left(); n != 1 {
			t.Errorf("%s goes on: %d are left", name, n)
		}
		others(false)
		if n := left(); n != 0 {
			t.Errorf("%s is over: %d are left", name, n)
		}
	}
}

// TestErasedWhileTheyAreTaken: whoever is erased between the indexer's reading and its writing is in no set afterwards.
func TestErasedWhileTheyAreTaken(t *testing.T) {
	for at := 2; at <= 4; at++ { // before each of its writes
		w := newWorld(t, 1, 0)
		known := profiles{}
		for i := range 3 {
			attributes := map[string]any{}
			for k := range 900 { // more sets than one transaction changes
				attributes[fmt.Sprint("a", k)] = fmt.Sprint("v", i)
			}
			w.upsert(known, fmt.Sprint("u", i), fanfare.ChangeMerge, attributes)
		}
		slow := &between{Store: w.store, at: at, do: func() {
			_, err := w.store.Erase(w.ctx, 0, []string{"u1"})
			w.ok(err)
		}}
		w.ok((&plan.Indexer{Store: slow, Node: "a"}).Tick(w.ctx))
		if slow.at > 0 {
			t.Fatalf("it never wrote %d times", at)
		}
		w.ok(w.store.ReadSlot(w.ctx, 0, func(v fanfare.SlotView) error {
			names, sets, err := v.LoadSets("")
			for i, members := range sets {
				if members.Contains(1) {
					t.Errorf("before write %d: still in %s", at, names[i])
				}
				if strings.Contains(string(names[i]), "=v1") {
					t.Errorf("before write %d: %s is there", at, names[i])
				}
			}
			return err
		}))
	}
}
