package set_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"fanfare/set"

	"github.com/google/go-cmp/cmp"
)

// model is the naive set that Set is compared with: its members in order, each once.
type model []uint32

func (m model) has(x uint32) bool {
	_, in := slices.BinarySearch(m, x)
	return in
}

func (m model) keep(f func(uint32) bool) model {
	out := make(model, 0, len(m))
	for _, x := range m {
		if f(x) {
			out = append(out, x)
		}
	}
	return out
}

func (m model) with(more ...uint32) model {
	out := slices.Concat(m, more)
	slices.Sort(out)
	return slices.Compact(out)
}

// pair is a Set beside its model.
type pair struct {
	s *set.Set
	m model
}

// bases are where interesting things lie: the first and last number, block edges, blocks apart.
var bases = []uint32{0, 60_000, 65_530, 131_000, 1 << 20, 1<<32 - 70_000, 1<<32 - 10}

// program reads bytes as operations on three pairs and checks each against its model: the interpreter of FuzzAlgebra.
func program(t *testing.T, code []byte) {
	t.Helper()
	ps := [3]pair{}
	for i := range ps {
		ps[i] = pair{&set.Set{}, nil}
	}
	code = code[:min(len(code), 150)] // the model is slow
	for len(code) >= 5 {
		op, who, base, arg := code[0], code[1], bases[int(code[2])%len(bases)], uint32(binary.LittleEndian.Uint16(code[3:]))
		code = code[5:]
		a, b := &ps[int(who)%3], &ps[int(who/3)%3]
		step(a, b, op, base+arg%5000, uint64(base), arg)
		if a.s.Len() != len(a.m) {
			t.Fatalf("Len %d, the model has %d", a.s.Len(), len(a.m))
		}
	}
	for i := range ps {
		queries(t, ps[i], ps[(i+1)%3])
	}
}

func step(a, b *pair, op byte, x uint32, base uint64, arg uint32) {
	switch op % 11 {
	case 0:
		a.s.Add(x)
		a.m = a.m.with(x)
	case 1:
		a.s.Remove(x)
		a.m = a.m.keep(func(y uint32) bool { return x != y })
	case 2, 3: // a range
		lo, hi := base, base+uint64(arg%6000)
		a.s.AddRange(lo, hi)
		var many []uint32
		for y := lo; y < min(hi, set.Universe); y++ {
			many = append(many, uint32(y))
		}
		a.m = a.m.with(many...)
	case 4: // every second, third, …: an array or a bitmap, as only some of them fall into one block
		var many []uint32
		for i := range uint64(4200) {
			if y := base + i*uint64(2+arg%3); y < set.Universe {
				many = append(many, uint32(y))
			}
		}
		a.s.AddMany(many)
		a.m = a.m.with(many...)
	case 5:
		lo, hi := base, base+uint64(arg)
		a.s.RemoveRange(lo, hi)
		a.m = a.m.keep(func(y uint32) bool { return uint64(y) < lo || uint64(y) >= hi })
	case 6:
		a.s.Union(b.s)
		a.m = a.m.with(b.m...)
	case 7:
		a.s.Intersect(b.s)
		a.m = a.m.keep(b.m.has)
	case 8:
		a.s.Subtract(b.s)
		a.m = a.m.keep(func(y uint32) bool { return !b.m.has(y) })
	case 9:
		*a = pair{b.s.Clone(), slices.Clone(b.m)}
	case 10: // through the encoding and back
		s, err := set.Decode(a.s.Encode())
		if err != nil {
			panic(err)
		}
		a.s = s
	}
}

func check(t *testing.T, p pair) {
	t.Helper()
	if p.s.Len() != len(p.m) || p.s.Empty() != (len(p.m) == 0) {
		t.Fatalf("Len %d, Empty %v; the model has %d", p.s.Len(), p.s.Empty(), len(p.m))
	}
	if !slices.Equal(p.s.ToArray(), p.m) {
		t.Fatal("members differ from the model")
	}
}

// queries checks everything that reads, and that nothing of it changes a set.
func queries(t *testing.T, a, b pair) {
	t.Helper()
	same := func(what string, got *set.Set, want model) {
		t.Helper()
		if !slices.Equal(got.ToArray(), want) {
			t.Fatalf("%s differs from the model", what)
		}
		got.AddRange(0, 1<<18) // and shares nothing
		got.RemoveRange(1<<17, 1<<32)
	}
	all, or, and, not := a.m, a.m.with(b.m...), a.m.keep(b.m.has), a.m.keep(func(x uint32) bool { return !b.m.has(x) })
	if set.AndLen(a.s, b.s) != len(and) || set.OrLen(a.s, b.s) != len(or) || set.AndNotLen(a.s, b.s) != len(not) ||
		set.Overlap(a.s, b.s) != (len(and) > 0) {
		t.Fatal("a count differs from the model")
	}
	same("Or", set.Or(a.s, b.s), or)
	same("And", set.And(a.s, b.s), and)
	same("AndNot", set.AndNot(a.s, b.s), not)
	same("Complement", b.s.Complement(a.s), not)
	if got := slices.Collect(a.s.All()); !slices.Equal(got, all) {
		t.Fatal("All differs from the model")
	}
	if a.s.Equal(b.s) != slices.Equal(all, b.m) {
		t.Fatal("Equal differs from the model")
	}
	lo, okLo := a.s.Min()
	hi, okHi := a.s.Max()
	if okLo != (len(all) > 0) || okHi != okLo || okLo && (lo != all[0] || hi != all[len(all)-1]) {
		t.Fatal("Min or Max differs from the model")
	}
	ranks(t, a)
	check(t, a)
	check(t, b)
}

func ranks(t *testing.T, a pair) {
	t.Helper()
	all := a.m
	for i := 0; i < len(all); i += 1 + len(all)/40 {
		x := all[i]
		if got, ok := a.s.Select(i); !ok || got != x {
			t.Fatalf("Select(%d) = %d, %v; want %d", i, got, ok, x)
		}
		if a.s.Rank(x) != i || !a.s.Contains(x) {
			t.Fatalf("Rank(%d) = %d, want %d", x, a.s.Rank(x), i)
		}
		if x > 0 && a.m.has(x-1) != a.s.Contains(x-1) {
			t.Fatalf("Contains(%d) differs from the model", x-1)
		}
		to := min(i+500, len(all))
		if got := a.s.SelectRange(nil, i, i+500); !slices.Equal(got, all[i:to]) {
			t.Fatalf("SelectRange(%d, +500) differs from the model", i)
		}
		if got := a.s.Slice(i, i+500); !slices.Equal(got.ToArray(), all[i:to]) {
			t.Fatalf("Slice(%d, +500) differs from the model", i)
		}
		if got := a.s.Slice(i/2, len(all)-i/2); !slices.Equal(got.ToArray(), all[i/2:len(all)-i/2]) {
			t.Fatalf("Slice(%d, %d) differs from the model", i/2, len(all)-i/2)
		}
		if got := a.s.LenRange(uint64(x), uint64(all[to-1])+1); got != to-i {
			t.Fatalf("LenRange = %d, want %d", got, to-i)
		}
		if got := slices.Collect(a.s.From(x)); !slices.Equal(got, all[i:]) {
			t.Fatal("From differs from the model")
		}
	}
	if _, ok := a.s.Select(len(all)); ok {
		t.Fatal("Select beyond the last member")
	}
	if _, ok := a.s.Select(-1); ok {
		t.Fatal("Select of a negative rank")
	}
	if got := a.s.SelectRange(nil, len(all), len(all)+10); got != nil {
		t.Fatal("SelectRange beyond the last member")
	}
}

func TestEveryOperationEqualsTheModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		code := make([]byte, 5*(1+r.IntN(24)))
		for i := range code {
			code[i] = byte(r.Uint32())
		}
		program(t, code)
	}
}

func FuzzAlgebra(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0xff, 0xff, 6, 1, 0, 0, 0, 8, 3, 0, 0, 0})
	f.Add([]byte{4, 0, 1, 0, 0, 4, 0, 1, 1, 0, 5, 0, 2, 9, 9, 7, 3, 0, 0, 0})
	f.Add([]byte{4, 0, 5, 0, 0, 1, 0, 5, 2, 0, 10, 0, 0, 0, 0, 9, 1, 0, 0, 0})
	f.Fuzz(program)
}

func TestEdgesOfTheUniverse(t *testing.T) {
	s := set.Range(1<<32-3, 1<<40)
	if diff := cmp.Diff([]uint32{1<<32 - 3, 1<<32 - 2, 1<<32 - 1}, s.ToArray()); diff != "" {
		t.Error(diff)
	}
	s.AddRange(7, 7)
	s.AddRange(9, 8)
	s.AddRange(1<<50, 1<<51)
	s.RemoveRange(1<<50, 1<<51)
	if s.Len() != 3 {
		t.Errorf("empty ranges added %d members", s.Len()-3)
	}
	whole := set.Range(0, set.Universe)
	if whole.Len() != set.Universe || whole.Complement(whole).Len() != 0 || set.New().Complement(whole).Len() != set.Universe {
		t.Error("the whole universe is counted wrong")
	}
	if x, ok := whole.Select(set.Universe - 1); !ok || x != 1<<32-1 {
		t.Errorf("last of all is %d, %v", x, ok)
	}
	if _, ok := whole.Select(set.Universe); ok {
		t.Error("Select beyond the universe")
	}
	if got := whole.SelectRange(nil, set.Universe-2, set.Universe+5); !slices.Equal(got, []uint32{1<<32 - 2, 1<<32 - 1}) {
		t.Errorf("last two of all are %v", got)
	}
	if whole.Slice(5, set.Universe+1).Len() != set.Universe-5 {
		t.Error("slice to the end is wrong")
	}
}

func TestSetWithItself(t *testing.T) {
	s := set.Of(3, 1, 70_000, 3)
	s.Union(s)
	s.Intersect(s)
	if !s.Equal(set.Of(1, 3, 70_000)) || !s.Equal(s) {
		t.Errorf("has %v", s.ToArray())
	}
	s.Subtract(s)
	if !s.Empty() {
		t.Errorf("minus itself has %v", s.ToArray())
	}
}

// TestManyReadersOfOneSet is for the race detector: what makes new sets must not touch the old ones, not even to mark them.
func TestManyReadersOfOneSet(t *testing.T) {
	a, b := shapes()["mixed"], shapes()["runs of 3"]
	want := set.Or(a, b).Encode()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			or := set.Or(a, b)
			or.Add(1 << 30) // in what was made, a container that might still be shared
			or.Remove(1 << 30)
			and, not := set.And(a, b), set.AndNot(a, b)
			if and.Len() != set.AndLen(a, b) || and.Len()+not.Len() != a.Len() || !bytes.Equal(or.Encode(), want) {
				t.Error("readers disturb each other")
			}
			c := a.Clone()
			c.Intersect(b)
			if !c.Equal(and) || len(a.SelectRange(nil, 10, 510)) != 500 {
				t.Error("readers disturb each other")
			}
			for range a.Chunks() {
			}
		})
	}
	wg.Wait()
}

func TestWords(t *testing.T) {
	sparse := set.Of(3, 65_535, 65_536, 70_000, 1<<32-1)
	dense := set.Range(65_500, 140_000)
	for x := uint32(65_536); x < 131_072; x += 3 {
		dense.Remove(x)
	}
	for _, s := range []*set.Set{set.New(), sparse, dense, set.Range(131_072, 196_608)} {
		for _, chunk := range []uint16{0, 1, 2, 65_535} {
			var words [set.ChunkSize / 64]uint64
			s.Words(chunk, &words)
			for low := range uint32(set.ChunkSize) {
				if got := words[low/64]>>(low%64)&1 == 1; got != s.Contains(uint32(chunk)<<16|low) {
					t.Fatalf("chunk %d: %d is %v", chunk, low, got)
				}
			}
		}
	}
}
