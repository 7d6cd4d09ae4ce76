package set_test

import (
	"math/rand/v2"
	"testing"

	"fanfare/set"
)

// half gives a random half of the first n numbers: the densest and slowest kind of block.
func half(n int, seed uint64) *set.Set {
	r := rand.New(rand.NewPCG(seed, seed))
	all := make([]uint32, 0, n/2)
	for i := range n {
		if r.Uint32()&1 == 0 {
			all = append(all, uint32(i))
		}
	}
	return set.Of(all...)
}

func BenchmarkAnd10M(b *testing.B) {
	x, y := half(10_000_000, 1), half(10_000_000, 2)
	b.ReportAllocs()
	for b.Loop() {
		set.And(x, y)
	}
}

func BenchmarkAndLen10M(b *testing.B) {
	x, y := half(10_000_000, 1), half(10_000_000, 2)
	b.ReportAllocs()
	for b.Loop() {
		set.AndLen(x, y)
	}
}

// BenchmarkSelectRange500 asks for a batch near the end of a slot of a ten-million installation, and of a hundred-million one.
func BenchmarkSelectRange500(b *testing.B) {
	for name, n := range map[string]int{"slot of 600k": 600_000, "slot of 6M": 6_000_000} {
		b.Run(name, func(b *testing.B) {
			s := half(n, 3)
			from := s.Len() - 700
			buf := make([]uint32, 0, 500)
			b.ReportAllocs()
			for b.Loop() {
				buf = s.SelectRange(buf[:0], from, from+500)
			}
		})
	}
}

func BenchmarkChunksOf10M(b *testing.B) {
	s := half(10_000_000, 4)
	b.ReportAllocs()
	for b.Loop() {
		for range s.Chunks() {
		}
	}
}

func BenchmarkAddChunksOf10M(b *testing.B) {
	var cs []set.Chunk
	for c := range half(10_000_000, 4).Chunks() {
		cs = append(cs, c)
	}
	b.ReportAllocs()
	for b.Loop() {
		s := set.New()
		for _, c := range cs {
			if err := s.AddChunk(c); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkBits500(b *testing.B) {
	b.ReportAllocs()
	pending, sent := set.FullBits(500), set.NewBits(500)
	sent.Set(499)
	sum := 0
	for b.Loop() {
		flight := set.NewBits(500)
		for i := range 8 {
			flight.Set(100 + i)
		}
		pending.Subtract(flight)
		sum += pending.Len() + len(flight.Bytes())
		pending.Union(flight)
	}
}
