package set_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"fanfare/set"

	"github.com/RoaringBitmap/roaring/v2"
)

// shapes are sets whose chunks are of every kind: arrays, bitmaps, runs, and those on the edge between two kinds.
func shapes() map[string]*set.Set {
	every := func(step, n uint32) *set.Set {
		s := set.New()
		for i := range n {
			s.Add(i * step)
		}
		return s
	}
	runs := func(n, length, gap uint32) *set.Set {
		s := set.New()
		for i := range n {
			s.AddRange(uint64(i*(length+gap)), uint64(i*(length+gap)+length))
		}
		return s
	}
	r := rand.New(rand.NewPCG(7, 7))
	random := set.New()
	for range 300_000 {
		random.Add(r.Uint32N(1_000_000))
	}
	cut := set.Range(0, 100) // a run container in memory whose two runs take as many bytes as its five members
	cut.RemoveRange(3, 98)
	return map[string]*set.Set{
		"one": set.Of(65_536), "last": set.Of(1<<32 - 1), "pair": set.Of(4, 5), "triple": set.Of(4, 5, 6), "range of three": set.Range(4, 7), "cut to a tie": cut, "four": set.Of(4, 5, 6, 7),
		"full": set.Range(0, 1<<16), "full but one": set.AndNot(set.Range(0, 1<<16), set.Of(777)), "full blocks": set.Range(5, 1<<20),
		"4096": every(2, 4096), "4097": every(2, 4097), "alternating": every(2, 1<<15),
		"2047 runs": runs(2047, 20, 12), "2048 runs": runs(2048, 20, 12), "2046 runs": runs(2046, 20, 12), "runs of 2": runs(900, 2, 3), "runs of 3": runs(900, 3, 3),
		"random": random, "sparse": every(65_537, 300), "mixed": set.Or(set.Or(random, set.Range(1<<22, 1<<23)), set.Of(1<<31)),
	}
}

func TestChunksRoundTrip(t *testing.T) {
	for name, s := range shapes() {
		t.Run(name, func(t *testing.T) {
			back, n, last := set.New(), 0, -1
			for c := range s.Chunks() {
				if int(c.Index) <= last {
					t.Errorf("chunk %d after %d", c.Index, last)
				}
				last = int(c.Index)
				one, err := set.DecodeChunk(c)
				if err != nil {
					t.Fatal(err)
				}
				lo := uint64(c.Index) << 16
				if !one.Equal(set.And(s, set.Range(lo, lo+set.ChunkSize))) || one.Len() != int(c.N) {
					t.Errorf("chunk %d has other members than the set", c.Index)
				}
				if err := back.AddChunk(c); err != nil {
					t.Fatal(err)
				}
				n += int(c.N)
				single, ok := s.Chunk(c.Index)
				if !ok || !bytes.Equal(single.Members, c.Members) || single.CRC != c.CRC || single.N != c.N {
					t.Errorf("Chunk(%d) differs from Chunks", c.Index)
				}
				if len(c.Members) > set.MaxChunkBytes {
					t.Errorf("%d bytes", len(c.Members))
				}
			}
			if !back.Equal(s) || n != s.Len() {
				t.Errorf("%d members came back as %d", s.Len(), back.Len())
			}
		})
	}
	if _, ok := set.Of(1).Chunk(1); ok {
		t.Error("a chunk without members")
	}
	for range set.New().Chunks() {
		t.Error("the empty set has a chunk")
	}
}

func TestChunkIsOneStandardRoaringContainer(t *testing.T) {
	for name, s := range shapes() {
		for c := range s.Chunks() {
			b := roaring.New()
			if err := b.UnmarshalBinary(c.Members); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := b.Validate(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if st := b.Stats(); st.Containers != 1 || st.Cardinality != uint64(c.N) {
				t.Errorf("%s: %d containers, %d members", name, st.Containers, st.Cardinality)
			}
		}
	}
}

func TestEqualSetsGiveEqualBytesHoweverMade(t *testing.T) {
	for name, s := range shapes() {
		want := s.Encode()
		backwards := set.New()
		all := s.ToArray()
		for _, x := range slices.Backward(all) {
			backwards.Add(x)
		}
		cut := set.Range(0, 1<<23)
		cut.Union(s)
		cut.Subtract(s.Complement(set.Range(0, 1<<23)))
		cut.Intersect(s)
		library := roaring.BitmapOf(all...)
		library.RunOptimize()
		raw, err := library.ToBytes()
		if err != nil {
			t.Fatal(err)
		}
		other := set.New()
		if decoded, err := set.Decode(raw); err == nil {
			other = decoded
		} else {
			other.AddMany(all)
		}
		for how, same := range map[string]*set.Set{"one by one": backwards, "cut out": cut, "by the library": other, "cloned": s.Clone()} {
			if !bytes.Equal(same.Encode(), want) {
				t.Errorf("%s, made %s: other bytes", name, how)
			}
		}
	}
}

func TestEncodeRoundTrip(t *testing.T) {
	for name, s := range shapes() {
		b := s.Encode()
		kept := bytes.Clone(b)
		back, err := set.Decode(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		clear(b) // what was decoded keeps nothing of the bytes
		if !back.Equal(s) || !bytes.Equal(back.Encode(), kept) {
			t.Errorf("%s: came back different", name)
		}
	}
}

// seal gives a chunk whose checksum is right, whatever its bytes are.
func seal(index uint16, n uint32, members []byte) set.Chunk {
	return set.Chunk{Index: index, N: n, CRC: set.Checksum(members), Members: members}
}

func first(s *set.Set) set.Chunk {
	for c := range s.Chunks() {
		return c
	}
	panic("an empty set has no chunk")
}

func TestDamagedChunksAreRefused(t *testing.T) {
	c := first(set.Of(1, 5, 9))
	edit := func(at int, b ...byte) []byte {
		m := bytes.Clone(c.Members)
		copy(m[at:], b)
		return m
	}
	runs := func(n uint32, p ...uint16) set.Chunk {
		m := []byte{0x3b, 0x30, 0, 0, 1, 0, 0}
		for _, x := range append([]uint16{uint16(n - 1), uint16(len(p) / 2)}, p...) {
			m = binary.LittleEndian.AppendUint16(m, x)
		}
		return seal(0, n, m)
	}
	if _, err := set.DecodeChunk(runs(100, 7, 99)); err != nil {
		t.Fatalf("the test's own run chunk: %v", err)
	}
	wrongCRC := c
	wrongCRC.CRC++
	// As many runs as fit into the format: an overlap of all with all must be refused before anything compares them in pairs.
	many := make([]uint16, 2*65_535)
	cases := map[string]set.Chunk{
		"checksum": wrongCRC, "nothing": seal(0, 0, nil), "cut": seal(0, 3, c.Members[:len(c.Members)-1]), "header only": seal(0, 3, c.Members[:9]),
		"too long": seal(0, 3, append(bytes.Clone(c.Members), 0)), "count": seal(0, 4, c.Members), "index": seal(1, 3, c.Members),
		"cookie": seal(0, 3, edit(0, 0)), "size": seal(0, 3, edit(4, 2)), "offset": seal(0, 3, edit(12, 17)), "order": seal(0, 3, edit(16, 7)), "twice": seal(0, 3, edit(16, 5)),
		"huge size": seal(0, 3, edit(4, 0xff, 0xff, 0xff, 0xff)), "empty set": seal(0, 0, set.New().Encode()), "two containers": seal(0, 1, set.Of(1, 70_000).Encode()),
		"runs of one": runs(3, 1, 0, 5, 0, 9, 0), "touching runs": runs(100, 7, 49, 57, 49), "crossing runs": runs(100, 7, 59, 40, 39), "runs out of order": runs(100, 90, 49, 7, 49),
		"run beyond the end": runs(100, 65_500, 99), "run one beyond the end": runs(37, 65_500, 36), "no runs": runs(1), "sum of runs": runs(101, 7, 99), "too many runs": runs(1<<16, many...),
		"too large": seal(0, 3, append(bytes.Clone(c.Members), make([]byte, 1<<20)...)),
		"flags":     seal(0, 100, append([]byte{0x3b, 0x30, 0, 0, 3}, runs(100, 7, 99).Members[5:]...)),
		"no flag":   seal(0, 3, append([]byte{0x3b, 0x30, 0, 0, 0}, append(bytes.Clone(c.Members[8:12]), c.Members[16:]...)...)),
		"array that should be runs": seal(0, 10, func() []byte {
			b, _ := roaring.BitmapOf(0, 1, 2, 3, 4, 5, 6, 7, 8, 9).ToBytes()
			return b
		}()),
	}
	for name, c := range cases {
		s := set.Of(42)
		err := s.AddChunk(c)
		if !errors.Is(err, set.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if !s.Equal(set.Of(42)) {
			t.Errorf("%s: the set was changed", name)
		}
		if _, err := set.DecodeChunk(c); !errors.Is(err, set.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDamagedEncodingsAreRefused(t *testing.T) {
	good := set.Of(1, 70_000).Encode() // cookie, size, two of (key, n-1), two offsets, two members
	edit := func(at int, b ...byte) []byte {
		m := bytes.Clone(good)
		copy(m[at:], b)
		return m
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "cut": good[:len(good)-1], "too long": append(bytes.Clone(good), 0), "a key twice": edit(12, 0), "keys descend": edit(8, 2),
		"count": edit(14, 1), "second offset": edit(20, 27), "one container less": edit(4, 1), "one more": edit(4, 3), "runs announced": edit(0, 0x3b),
	} {
		if s, err := set.Decode(b); !errors.Is(err, set.ErrDamaged) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	if _, err := set.Decode(edit(12, 2)); err != nil {
		t.Errorf("another key is no damage: %v", err)
	}
}

func TestEveryFlippedBitIsRefused(t *testing.T) {
	for name, s := range map[string]*set.Set{"array": set.Of(1, 5, 900), "runs": set.Range(10, 5000)} {
		c := first(s)
		for i := range 8 * len(c.Members) {
			bad := c
			bad.Members = bytes.Clone(c.Members)
			bad.Members[i/8] ^= 1 << (i % 8)
			if _, err := set.DecodeChunk(bad); !errors.Is(err, set.ErrDamaged) {
				t.Errorf("%s, bit %d: %v", name, i, err)
			}
		}
	}
}

func FuzzDecodeChunk(f *testing.F) {
	for _, s := range shapes() {
		c := first(s)
		f.Add(c.Index, c.N, c.Members)
	}
	f.Add(uint16(0), uint32(0), []byte{})
	f.Fuzz(func(t *testing.T, index uint16, n uint32, members []byte) {
		c := seal(index, n, members)
		s, err := set.DecodeChunk(c)
		if err != nil {
			if !errors.Is(err, set.ErrDamaged) {
				t.Fatalf("another error: %v", err)
			}
			if s != nil {
				t.Fatal("a set beside an error")
			}
			return
		}
		var again []set.Chunk
		for c := range s.Chunks() {
			again = append(again, c)
		}
		if len(again) != 1 || again[0].Index != index || again[0].N != n || !bytes.Equal(again[0].Members, members) {
			t.Fatal("accepted what it would not write")
		}
		oracle(t, members, s)
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range shapes() {
		if b := s.Encode(); len(b) < 1<<16 {
			f.Add(b)
		}
	}
	f.Add(set.New().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := set.Decode(b)
		if err != nil {
			if !errors.Is(err, set.ErrDamaged) {
				t.Fatalf("another error: %v", err)
			}
			return
		}
		if !bytes.Equal(s.Encode(), b) {
			t.Fatal("accepted what it would not write")
		}
		oracle(t, b, s)
	})
}

// oracle is the library itself: what was accepted must be valid there and mean the same.
func oracle(t *testing.T, b []byte, s *set.Set) {
	t.Helper()
	lib := roaring.New()
	if err := lib.UnmarshalBinary(b); err != nil {
		t.Fatalf("the library cannot read it: %v", err)
	}
	if err := lib.Validate(); err != nil {
		t.Fatalf("the library finds it invalid: %v", err)
	}
	if !slices.Equal(lib.ToArray(), s.ToArray()) {
		t.Fatal("the library reads other members")
	}
}
