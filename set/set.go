package set

import (
	"iter"

	"github.com/RoaringBitmap/roaring/v2"
)

// Universe is the number of different members that a set can have: they are 0 … Universe-1.
const Universe = 1 << 32

// Set is a mutable set of uint32. The zero value is an empty set ready to use. A Set must not be copied by assignment: see Clone.
type Set struct {
	b roaring.Bitmap
}

// New gives an empty set.
func New() *Set { return &Set{} }

// Of gives the set of these members, in any order.
func Of(members ...uint32) *Set {
	s := New()
	s.AddMany(members)
	return s
}

// Range gives the set of all x with lo <= x < hi; hi beyond [Universe] means Universe.
func Range(lo, hi uint64) *Set {
	s := New()
	s.AddRange(lo, hi)
	return s
}

func wrap(b *roaring.Bitmap) *Set { return &Set{b: *b} }

// Clone gives a copy that shares nothing with s.
func (s *Set) Clone() *Set { return wrap(s.b.Clone()) }

// Add makes x a member.
func (s *Set) Add(x uint32) { s.b.Add(x) }

// AddRange makes all x with lo <= x < hi members; hi beyond [Universe] means Universe.
func (s *Set) AddRange(lo, hi uint64) {
	s.b.AddRange(lo, min(hi, Universe))
}

// AddMany makes all of members members. It is fastest when they ascend.
func (s *Set) AddMany(members []uint32) { s.b.AddMany(members) }

// Remove makes x no member.
func (s *Set) Remove(x uint32) { s.b.Remove(x) }

// RemoveRange takes all x with lo <= x < hi out.
func (s *Set) RemoveRange(lo, hi uint64) {
	s.b.RemoveRange(lo, min(hi, Universe))
}

// Clear takes every member out.
func (s *Set) Clear() { s.b.Clear() }

// Contains says whether x is a member.
func (s *Set) Contains(x uint32) bool { return s.b.Contains(x) }

// Len is the number of members.
func (s *Set) Len() int { return int(s.b.GetCardinality()) } //nolint:gosec // at most Universe

// LenRange is the number of members x with lo <= x < hi.
func (s *Set) LenRange(lo, hi uint64) int {
	hi = min(hi, Universe)
	if lo >= hi {
		return 0
	}
	return s.below(hi) - s.below(lo)
}

// Empty says whether there is no member. It costs nothing, unlike Len.
func (s *Set) Empty() bool { return s.b.IsEmpty() }

// Equal says whether both have the same members.
func (s *Set) Equal(other *Set) bool { return s == other || s.b.Equals(&other.b) }

// Min is the smallest member; false of an empty set.
func (s *Set) Min() (uint32, bool) {
	if s.Empty() {
		return 0, false
	}
	return s.b.Minimum(), true
}

// Max is the largest member; false of an empty set.
func (s *Set) Max() (uint32, bool) {
	if s.Empty() {
		return 0, false
	}
	return s.b.Maximum(), true
}

// Rank is the number of members smaller than x, so it is the index of x in ascending order when x is a member.
func (s *Set) Rank(x uint32) int { return s.below(uint64(x)) }

// below counts the members smaller than x, x at most Universe.
func (s *Set) below(x uint64) int {
	if x == 0 {
		return 0
	}
	return int(s.b.Rank(uint32(x - 1))) //nolint:gosec // x-1 < Universe
}

// Select is the member of rank i, the smallest one having rank 0; false when there are no more than i members.
func (s *Set) Select(i int) (uint32, bool) {
	if i < 0 || uint64(i) >= Universe {
		return 0, false
	}
	x, err := s.b.Select(uint32(i)) //nolint:gosec // checked above
	return x, err == nil
}

// SelectRange appends the members of rank from <= r < to, ascending, to dst. Ranks that do not exist give nothing.
// It costs one look at each container before them and one step for each member it gives, next to none where they are neighbours.
func (s *Set) SelectRange(dst []uint32, from, to int) []uint32 {
	from = max(from, 0)
	first, ok := s.Select(from)
	if !ok || to <= from {
		return dst
	}
	if last, ok := s.Select(to - 1); ok && int64(last)-int64(first) == int64(to-1-from) {
		for n := range uint32(to - from) { //nolint:gosec // no more than there are members
			dst = append(dst, first+n)
		}
		return dst
	}
	var it roaring.IntIterator
	it.Initialize(&s.b)
	it.AdvanceIfNeeded(first)
	for n := to - from; n > 0 && it.HasNext(); n-- {
		dst = append(dst, it.Next())
	}
	return dst
}

// Slice gives the members of rank from <= r < to as a new set. Ranks that do not exist give nothing.
func (s *Set) Slice(from, to int) *Set {
	from, to = max(from, 0), max(to, 0)
	if to-from <= 4096 { // a batch: not worth a copy of the set
		return Of(s.SelectRange(nil, from, to)...)
	}
	first, ok := s.Select(from)
	if !ok {
		return New()
	}
	part := s.Clone()
	part.RemoveRange(0, uint64(first))
	if end, ok := s.Select(to); ok {
		part.RemoveRange(uint64(end), Universe)
	}
	return part
}

// All iterates over the members, ascending. The set must not change meanwhile.
func (s *Set) All() iter.Seq[uint32] { return roaring.Values(&s.b) }

// From iterates over the members that are not smaller than x, ascending. The set must not change meanwhile.
func (s *Set) From(x uint32) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		var it roaring.IntIterator
		it.Initialize(&s.b)
		it.AdvanceIfNeeded(x)
		for it.HasNext() {
			if !yield(it.Next()) {
				return
			}
		}
	}
}

// Words sets the bits of those members that lie in a chunk, by their low halves.
func (s *Set) Words(chunk uint16, to *[ChunkSize / 64]uint64) {
	lo := uint64(chunk) << 16
	b := &s.b
	first, some := s.Min()
	if last, _ := s.Max(); some && (uint64(first) < lo || uint64(last) >= lo+ChunkSize) {
		b = roaring.And(b, &Range(lo, lo+ChunkSize).b)
	}
	if b.IsEmpty() {
		return
	}
	roaring.AddOffset64(b, -int64(lo)).WriteDenseTo(to[:]) //nolint:gosec // 32 bits
}

// ToArray gives the members, ascending.
func (s *Set) ToArray() []uint32 { return s.b.ToArray() }

// Bytes is about how much memory the set takes, for caches with a limit.
func (s *Set) Bytes() int { return int(s.b.GetSizeInBytes()) } //nolint:gosec // a size in memory
