package set

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
)

// MaxBits is the largest number of bits of one [Bits]: a batch never has more members.
const MaxBits = ChunkSize

// Bits is a set of ranks 0 … n-1 within one batch, as n bits. The zero value has n = 0.
//
// A Bits is small and passed by value like a slice: an assignment shares the memory, so after one only one side may be changed, or
// Clone is called first. Or, And and AndNot never share. An empty Bits takes no memory until the first Set.
//
// As with a slice it is a mistake in the program, and panics, to Set or Clear a rank outside 0 … n-1, to combine two Bits of
// different n, or to make one of more than [MaxBits]; what comes from a database goes through [BitsFromBytes].
type Bits struct {
	n int
	w []uint64 // nil when nothing was ever set; bits from n on are 0
}

// NewBits gives an empty set of ranks below n.
func NewBits(n int) Bits {
	if n < 0 || n > MaxBits {
		panic(fmt.Sprintf("set: %d bits, must be 0 to %d", n, MaxBits))
	}
	return Bits{n: n}
}

// FullBits gives the set of all ranks below n.
func FullBits(n int) Bits {
	b := NewBits(n)
	b.grow()
	for i := range b.w {
		b.w[i] = ^uint64(0)
	}
	if r := n % 64; r != 0 {
		b.w[len(b.w)-1] = 1<<r - 1
	}
	return b
}

// BitsFromBytes reads what Bytes gave for n bits; nil is empty. It refuses with [ErrDamaged] an n that cannot be, a wrong length and
// bits from n on. p is not kept.
func BitsFromBytes(n int, p []byte) (Bits, error) {
	if n < 0 || n > MaxBits {
		return Bits{}, fmt.Errorf("%w: %d bits, must be 0 to %d", ErrDamaged, n, MaxBits)
	}
	b := Bits{n: n}
	if len(p) == 0 {
		return b, nil
	}
	if want := (n + 7) / 8; len(p) != want {
		return Bits{}, fmt.Errorf("%w: %d bytes for %d bits, must be %d", ErrDamaged, len(p), n, want)
	}
	if r := n % 8; r != 0 && p[len(p)-1]>>r != 0 {
		return Bits{}, fmt.Errorf("%w: bits beyond the first %d are set", ErrDamaged, n)
	}
	b.grow()
	i := 0
	for ; len(p) >= 8; p = p[8:] {
		b.w[i] = binary.LittleEndian.Uint64(p)
		i++
	}
	for j, x := range p {
		b.w[i] |= uint64(x) << (8 * j)
	}
	return b, nil
}

func (b *Bits) grow() {
	if b.w == nil {
		b.w = make([]uint64, (b.n+63)/64)
	}
}

// N is the number of bits: the members of the batch, in the set or not.
func (b Bits) N() int { return b.n }

// Len is the number of ranks in the set.
func (b Bits) Len() int {
	n := 0
	for _, w := range b.w {
		n += bits.OnesCount64(w)
	}
	return n
}

// Empty says whether no rank is in the set.
func (b Bits) Empty() bool {
	for _, w := range b.w {
		if w != 0 {
			return false
		}
	}
	return true
}

// Has says whether rank i is in the set; no rank outside 0 … n-1 is.
func (b Bits) Has(i int) bool {
	return b.w != nil && uint(i) < uint(b.n) && b.w[i>>6]>>(i&63)&1 != 0 //nolint:gosec // a negative i becomes too large
}

// Set puts rank i in.
func (b *Bits) Set(i int) {
	b.must(i)
	b.grow()
	b.w[i>>6] |= 1 << (i & 63)
}

// Clear takes rank i out.
func (b *Bits) Clear(i int) {
	b.must(i)
	if b.w != nil {
		b.w[i>>6] &^= 1 << (i & 63)
	}
}

// Reset takes every rank out and keeps the memory.
func (b *Bits) Reset() { clear(b.w) }

func (b *Bits) must(i int) {
	if i < 0 || i >= b.n {
		panic(fmt.Sprintf("set: rank %d of %d", i, b.n))
	}
}

func (b Bits) same(o Bits) {
	if b.n != o.n {
		panic(fmt.Sprintf("set: %d bits with %d", b.n, o.n))
	}
}

// Clone gives a copy that shares nothing with b.
func (b Bits) Clone() Bits {
	c := Bits{n: b.n}
	if b.w != nil {
		c.w = append([]uint64(nil), b.w...)
	}
	return c
}

// Equal says whether both have the same n and the same ranks.
func (b Bits) Equal(o Bits) bool {
	if b.n != o.n {
		return false
	}
	if b.w == nil || o.w == nil {
		return b.Empty() && o.Empty()
	}
	for i, w := range b.w {
		if w != o.w[i] {
			return false
		}
	}
	return true
}

// Union puts all ranks of o in.
func (b *Bits) Union(o Bits) {
	b.same(o)
	if o.w == nil {
		return
	}
	b.grow()
	for i, w := range o.w {
		b.w[i] |= w
	}
}

// Intersect leaves only what is in o too.
func (b *Bits) Intersect(o Bits) {
	b.same(o)
	if o.w == nil {
		b.Reset()
		return
	}
	for i := range b.w {
		b.w[i] &= o.w[i]
	}
}

// Subtract takes all ranks of o out.
func (b *Bits) Subtract(o Bits) {
	b.same(o)
	if o.w == nil {
		return
	}
	for i := range b.w {
		b.w[i] &^= o.w[i]
	}
}

// Or gives what is in b or o, as a new value.
func (b Bits) Or(o Bits) Bits {
	c := b.Clone()
	c.Union(o)
	return c
}

// And gives what is in b and o, as a new value.
func (b Bits) And(o Bits) Bits {
	c := b.Clone()
	c.Intersect(o)
	return c
}

// AndNot gives what is in b and not in o, as a new value.
func (b Bits) AndNot(o Bits) Bits {
	c := b.Clone()
	c.Subtract(o)
	return c
}

// Not gives the ranks below n that are not in b, as a new value.
func (b Bits) Not() Bits {
	c := FullBits(b.n)
	c.Subtract(b)
	return c
}

// Overlap says whether b and o have a rank in common.
func (b Bits) Overlap(o Bits) bool {
	b.same(o)
	if b.w == nil || o.w == nil {
		return false
	}
	for i, w := range b.w {
		if w&o.w[i] != 0 {
			return true
		}
	}
	return false
}

// Next is the smallest rank in the set that is not below i; false if there is none.
func (b Bits) Next(i int) (int, bool) {
	i = max(i, 0)
	if b.w == nil || i >= b.n {
		return 0, false
	}
	k := i >> 6
	w := b.w[k] >> (i & 63) << (i & 63)
	for w == 0 {
		if k++; k == len(b.w) {
			return 0, false
		}
		w = b.w[k]
	}
	return k<<6 + bits.TrailingZeros64(w), true
}

// All iterates over the ranks in the set, ascending. Ranks that the loop has not reached yet may be set and cleared in it, if b was not
// empty; whether it then gives them is open for those in the same 64.
func (b Bits) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for k, w := range b.w {
			for ; w != 0; w &= w - 1 {
				if !yield(k<<6 + bits.TrailingZeros64(w)) {
					return
				}
			}
		}
	}
}

// Bytes gives the n bits for the database, rank 0 the lowest bit of the first byte: (n+7)/8 bytes, or nil when the set is empty.
func (b Bits) Bytes() []byte {
	if b.Empty() {
		return nil
	}
	return b.AppendBytes(make([]byte, 0, len(b.w)*8))
}

// AppendBytes appends what Bytes gives to dst: nothing when the set is empty.
func (b Bits) AppendBytes(dst []byte) []byte {
	if b.Empty() {
		return dst
	}
	end := len(dst) + (b.n+7)/8
	for _, w := range b.w {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return dst[:end]
}
