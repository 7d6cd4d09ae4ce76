package audience_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"fanfare/audience"
	"fanfare/set"

	"github.com/google/go-cmp/cmp"
)

// cache is a source that lends out the same sets every time, as stores do.
type cache struct {
	alive *set.Set
	lists map[string]*set.Set
	asked int
}

var errNoList = errors.New("no such list")

func (c *cache) Alive(context.Context) (*set.Set, error) { return c.alive, nil }

func (c *cache) Leaf(_ context.Context, leaf audience.Expr) (*set.Set, error) {
	c.asked++
	l, ok := leaf.(audience.List)
	if !ok {
		return nil, fmt.Errorf("asked for %s", leaf.Kind())
	}
	s, ok := c.lists[l.Name]
	if !ok {
		return nil, errNoList
	}
	return s, nil
}

// brute is the language told once more, for one person.
func brute(e audience.Expr, x uint32, c *cache) bool {
	if !c.alive.Contains(x) {
		return false
	}
	switch e := e.(type) {
	case audience.All:
		return true
	case audience.List:
		return c.lists[e.Name] != nil && c.lists[e.Name].Contains(x)
	case audience.Not:
		return !brute(e.Part, x, c)
	case audience.Any:
		for _, p := range e.Parts {
			if brute(p, x, c) {
				return true
			}
		}
		return false
	case audience.Every:
		for _, p := range e.Parts {
			if !brute(p, x, c) {
				return false
			}
		}
		return true
	default:
		panic("not in this test")
	}
}

func randomExpr(r *rand.Rand, depth int) audience.Expr {
	kind := r.IntN(8)
	if depth == 0 {
		kind = r.IntN(4)
	}
	parts := func() []audience.Expr {
		out := make([]audience.Expr, 1+r.IntN(4))
		for i := range out {
			out[i] = randomExpr(r, depth-1)
		}
		return out
	}
	switch kind {
	case 0:
		return audience.All{}
	case 1, 2, 3:
		return audience.List{Name: string(rune('a' + r.IntN(7)))}
	case 4, 5:
		return audience.Any{Parts: parts()}
	case 6:
		return audience.Every{Parts: parts()}
	default:
		return audience.Not{Part: randomExpr(r, depth-1)}
	}
}

const people = 300

func randomSet(r *rand.Rand) *set.Set {
	s := set.New()
	share := r.IntN(5)
	for x := range uint32(people) {
		if r.IntN(4) < share {
			s.Add(x * 400) // more than one chunk
		}
	}
	return s
}

func TestEvalEqualsBruteForce(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 1500 {
		c := &cache{alive: randomSet(r), lists: map[string]*set.Set{"f": nil, "g": set.New()}}
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			c.lists[name] = randomSet(r) // also people who are not alive
		}
		if round%10 == 0 {
			c.lists["a"] = c.alive
		}
		before := map[string]*set.Set{}
		for name, s := range c.lists {
			if s != nil {
				before[name] = s.Clone()
			}
		}
		alive := c.alive.Clone()
		e := randomExpr(r, 5)
		got, err := audience.Eval(t.Context(), e, c)
		if err != nil {
			t.Fatal(err)
		}
		want := set.New()
		for x := range uint32(people) {
			if brute(e, x*400, c) {
				want.Add(x * 400)
			}
		}
		if !got.Equal(want) {
			doc, _ := e.MarshalJSON()
			t.Fatalf("%s: got %v, want %v", doc, got.ToArray(), want.ToArray())
		}
		got.AddRange(0, 200_000) // the caller's own
		got.RemoveRange(0, 100_000)
		for name, s := range before {
			if !s.Equal(c.lists[name]) {
				t.Fatalf("list %s was changed", name)
			}
		}
		if !alive.Equal(c.alive) {
			t.Fatal("alive was changed")
		}
		roundTrip(t, e)
	}
}

func TestEvalNamesTheLeafThatFailed(t *testing.T) {
	c := &cache{alive: set.Of(1, 2), lists: map[string]*set.Set{"a": set.Of(1)}}
	e := audience.Every{Parts: []audience.Expr{audience.List{Name: "a"}, audience.Not{Part: audience.List{Name: "gone"}}}}
	_, err := audience.Eval(t.Context(), e, c)
	if !errors.Is(err, errNoList) || !strings.Contains(err.Error(), `list "gone"`) {
		t.Errorf("%v", err)
	}
	for _, e := range []audience.Expr{nil, audience.Any{}, audience.Every{}, audience.Not{}} { // made by hand: Parse gives none of them
		if s, err := audience.Eval(t.Context(), e, c); err == nil {
			t.Errorf("%#v gives %v", e, s.ToArray())
		}
	}
}

func TestEvalStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &cache{alive: set.Of(1), lists: map[string]*set.Set{"a": set.Of(1)}}
	if _, err := audience.Eval(ctx, audience.List{Name: "a"}, c); !errors.Is(err, context.Canceled) || c.asked != 0 {
		t.Errorf("%v after %d questions", err, c.asked)
	}
}

func TestEvalAsksNoMoreThanItMust(t *testing.T) {
	list := func(name string) audience.Expr { return audience.List{Name: name} }
	c := &cache{alive: set.Range(0, 10), lists: map[string]*set.Set{"none": set.New(), "some": set.Of(3)}}
	for _, tc := range []struct {
		e     audience.Expr
		asked int
	}{
		{audience.Every{Parts: []audience.Expr{list("none"), list("some"), list("some")}}, 1},
		{audience.Any{Parts: []audience.Expr{audience.All{}, list("some")}}, 0},
		{audience.Every{Parts: []audience.Expr{audience.Not{Part: list("some")}, list("none")}}, 1},
	} {
		c.asked = 0
		if _, err := audience.Eval(t.Context(), tc.e, c); err != nil || c.asked != tc.asked {
			t.Errorf("%#v: %d questions, want %d; %v", tc.e, c.asked, tc.asked, err)
		}
	}
	none, err := audience.Eval(t.Context(), audience.All{}, &cache{})
	if err != nil || cmp.Diff([]uint32{}, none.ToArray()) != "" {
		t.Errorf("nobody alive: %v, %v", none, err)
	}
}

// BenchmarkEval10M: two of four lists but a fifth, within 10,000,000 alive.
func BenchmarkEval10M(b *testing.B) {
	c := &cache{alive: set.Range(0, 10_000_000), lists: map[string]*set.Set{}}
	r := rand.New(rand.NewPCG(5, 6))
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		var members []uint32
		for x := range uint32(10_000_000) {
			if r.Uint32()&1 == 0 {
				members = append(members, x)
			}
		}
		c.lists[name] = set.Of(members...)
	}
	e, err := audience.Parse([]byte(`{"every":[{"any":[{"list":"a"},{"list":"b"}]},{"any":[{"list":"c"},{"list":"d"}]},{"not":{"list":"e"}}]}`))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := audience.Eval(b.Context(), e, c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseHostile(b *testing.B) {
	doc := []byte(nested(audience.MaxDepth, `{"list":[`+strings.TrimSuffix(strings.Repeat("[],", 1<<22), ",")+`]}`)) // 12 MB, read at every level
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if _, err := audience.Parse(doc); err == nil {
			b.Fatal("accepted")
		}
	}
}
