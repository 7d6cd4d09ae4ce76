package set

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"

	"github.com/RoaringBitmap/roaring/v2"
)

// ErrDamaged says that bytes are not what this package would have written.
var ErrDamaged = errors.New("damaged set")

// ChunkSize is the number of different members that one chunk can hold.
const ChunkSize = 1 << 16

// MaxChunkBytes is the size of the largest Members.
const MaxChunkBytes = 16 + bitmapBytes

// Chunk is one block of 65,536 numbers of a set, as one row of a table holds it. A block without members has no chunk.
type Chunk struct {
	Index   uint16 // the high 16 bits of its members
	N       uint32 // how many members it has: 1 … ChunkSize
	CRC     uint32 // CRC-32C of Members
	Members []byte // a Roaring bitmap of exactly one container in the portable format
}

// Checksum is the CRC-32C (Castagnoli) of b, as chunks carry it.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Chunks iterates over the chunks of s by ascending index. Each has Members of its own. Equal sets give equal chunks, however they
// were made. It works on a copy, so s may change during the loop.
func (s *Set) Chunks() iter.Seq[Chunk] {
	return func(yield func(Chunk) bool) {
		for _, c := range s.containers() {
			c = c.canonical()
			m := appendPortable(make([]byte, 0, len(c.payload)+16), []container{c})
			if !yield(Chunk{Index: c.key, N: uint32(c.n), CRC: Checksum(m), Members: m}) { //nolint:gosec // n is at most ChunkSize
				return
			}
		}
	}
}

// Chunk gives the chunk of that index; false if s has no members there.
func (s *Set) Chunk(index uint16) (Chunk, bool) {
	lo := uint64(index) << 16
	part := And(s, Range(lo, lo+ChunkSize))
	for c := range part.Chunks() {
		return c, true
	}
	return Chunk{}, false
}

// DecodeChunk gives the set of one chunk. It accepts exactly what Chunks gives; anything else is [ErrDamaged]. c is not kept.
func DecodeChunk(c Chunk) (*Set, error) {
	s := New()
	if err := s.AddChunk(c); err != nil {
		return nil, err
	}
	return s, nil
}

// AddChunk makes the members of one chunk members of s. It accepts exactly what Chunks gives; anything else is [ErrDamaged] and leaves s
// as it was. c is not kept.
func (s *Set) AddChunk(c Chunk) error {
	if err := c.check(); err != nil {
		return fmt.Errorf("chunk %d: %w: %w", c.Index, ErrDamaged, err)
	}
	b, err := load(c.Members)
	if err != nil {
		return fmt.Errorf("chunk %d: %w: %w", c.Index, ErrDamaged, err)
	}
	if s.Empty() {
		s.b = *b
		return nil
	}
	s.b.Or(b)
	return nil
}

func (c Chunk) check() error {
	if len(c.Members) > MaxChunkBytes {
		return fmt.Errorf("%d bytes, more than a chunk can have", len(c.Members))
	}
	if sum := Checksum(c.Members); sum != c.CRC {
		return fmt.Errorf("checksum is %08x, stored %08x", sum, c.CRC)
	}
	cs, err := parse(c.Members)
	if err != nil {
		return err
	}
	if len(cs) != 1 {
		return fmt.Errorf("%d containers, must be 1", len(cs))
	}
	if cs[0].key != c.Index {
		return fmt.Errorf("holds chunk %d", cs[0].key)
	}
	if uint64(cs[0].n) != uint64(c.N) { //nolint:gosec // n is positive
		return fmt.Errorf("%d members, stored %d", cs[0].n, c.N)
	}
	return cs[0].check()
}

// Encode gives s in the portable Roaring format. Equal sets give equal bytes, however they were made.
func (s *Set) Encode() []byte {
	cs := s.containers()
	size := 0
	for i, c := range cs {
		cs[i] = c.canonical()
		size += len(cs[i].payload)
	}
	return appendPortable(make([]byte, 0, size+9*len(cs)+16), cs)
}

// Decode reads what Encode wrote. It accepts exactly what Encode gives; anything else is [ErrDamaged]. b is not kept.
func Decode(b []byte) (*Set, error) {
	cs, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	for _, c := range cs {
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("chunk %d: %w: %w", c.key, ErrDamaged, err)
		}
	}
	bm, err := load(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return wrap(bm), nil
}

// load reads bytes that were checked. The bitmap has copies of them.
func load(b []byte) (*roaring.Bitmap, error) {
	bm := roaring.New()
	if err := bm.UnmarshalBinary(b); err != nil {
		return nil, err
	}
	return bm, nil
}

// containers gives the containers of s as the library encodes them: valid, but not always in the canonical kind. Their payloads
// are copies.
func (s *Set) containers() []container {
	b, err := s.b.ToBytes()
	if err != nil { // writing to memory does not fail
		panic("set: encode: " + err.Error())
	}
	cs, err := parseAny(b)
	if err != nil { // the library wrote what its own format forbids
		panic("set: encode: " + err.Error())
	}
	return cs
}

func u16(b []byte, i int) int { return int(binary.LittleEndian.Uint16(b[2*i:])) }
