package set

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// The portable Roaring format: https://github.com/RoaringBitmap/RoaringFormatSpec.
const (
	cookiePlain  = 12346 // no container is of runs
	cookieRuns   = 12347 // some are; a bit for each container says which
	arrayMax     = 4096  // an array holds at most so many members
	bitmapBytes  = ChunkSize / 8
	offsetsFrom  = 4 // with cookieRuns, offsets are written from so many containers on
	bitmapWords  = bitmapBytes / 8
	maxContainer = 1 << 16
)

// container is the members of one block as the portable format holds them: by key, in one of three kinds of payload.
type container struct {
	key     uint16
	n       int  // 1 … ChunkSize
	runs    bool // payload: number of runs, then (start, length-1) of each
	payload []byte
}

// parse reads the portable format strictly: keys ascend, offsets are right, nothing is left over and runs are announced only when
// there are some. The payloads are parts of b and are not looked at.
func parse(b []byte) ([]container, error) {
	cs, err := parseAny(b)
	if err != nil {
		return nil, err
	}
	some := false
	for _, c := range cs {
		some = some || c.runs
	}
	if announced := binary.LittleEndian.Uint16(b) == cookieRuns; announced != some {
		return nil, errors.New("runs announced, but there are none")
	}
	return cs, nil
}

// parseAny is parse for what may announce runs without need.
func parseAny(b []byte) ([]container, error) {
	r := reader{b: b}
	var flags []byte
	n := 0
	switch cookie := r.u32(); {
	case cookie == cookiePlain:
		n = int(r.u32())
	case cookie&0xffff == cookieRuns:
		n = int(cookie>>16) + 1
		flags = r.take((n + 7) / 8)
	default:
		return nil, errors.New("no Roaring bitmap")
	}
	if n > maxContainer {
		return nil, fmt.Errorf("%d containers, more than there can be", n)
	}
	head := r.take(4 * n)
	var offsets []byte
	if flags == nil || n >= offsetsFrom {
		offsets = r.take(4 * n)
	}
	if r.short {
		return nil, errors.New("ends in its header")
	}
	if flags != nil && n%8 != 0 && flags[n/8]>>(n%8) != 0 {
		return nil, errors.New("flags of containers that do not exist")
	}
	cs := make([]container, 0, n)
	for i := range n {
		c := container{key: uint16(u16(head, 2*i)), n: u16(head, 2*i+1) + 1, runs: flags != nil && flags[i/8]>>(i%8)&1 != 0} //nolint:gosec // two bytes
		if i > 0 && cs[i-1].key >= c.key {
			return nil, errors.New("keys do not ascend")
		}
		if offsets != nil && uint64(binary.LittleEndian.Uint32(offsets[4*i:])) != uint64(r.at) { //nolint:gosec // at is positive
			return nil, fmt.Errorf("wrong offset of chunk %d", c.key)
		}
		c.payload = r.payload(c)
		cs = append(cs, c)
	}
	if r.short {
		return nil, errors.New("ends too early")
	}
	if r.at != len(b) {
		return nil, fmt.Errorf("%d bytes too many", len(b)-r.at)
	}
	return cs, nil
}

// reader takes bytes from the front; short is set, for good, when there were too few.
type reader struct {
	b     []byte
	at    int
	short bool
}

func (r *reader) take(n int) []byte {
	if r.short || n > len(r.b)-r.at {
		r.short = true
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at : r.at]
}

func (r *reader) u32() uint32 {
	if p := r.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (r *reader) payload(c container) []byte {
	if !c.runs {
		return r.take(flatSize(c.n))
	}
	if r.short || len(r.b)-r.at < 2 {
		r.short = true
		return nil
	}
	return r.take(runSize(u16(r.b[r.at:], 0)))
}

func flatSize(n int) int {
	if n > arrayMax {
		return bitmapBytes
	}
	return 2 * n
}

func runSize(runs int) int { return 2 + 4*runs }

// check says whether the payload is the canonical one of some n members: in order, none twice, touching runs joined, and in the
// kind that takes fewest bytes, runs only where they take fewer than the other kind.
func (c container) check() error {
	n, runs := 0, 0
	var err error
	switch {
	case c.runs:
		n, runs, err = countRuns(c.payload)
	case c.n > arrayMax:
		n, runs = countBitmap(c.payload)
	default:
		n, runs, err = countArray(c.payload)
	}
	if err != nil {
		return err
	}
	if n != c.n {
		return fmt.Errorf("%d members, announced %d", n, c.n)
	}
	if c.runs != (runSize(runs) < flatSize(n)) {
		return errors.New("not in the shortest form")
	}
	return nil
}

func countRuns(p []byte) (n, runs int, err error) {
	runs = u16(p, 0)
	next := 0 // the smallest start that neither touches nor crosses the run before
	for i := range runs {
		start, last := u16(p, 1+2*i), u16(p, 1+2*i)+u16(p, 2+2*i)
		if start < next || last >= ChunkSize {
			return 0, 0, errors.New("runs cross, touch or go beyond the end")
		}
		n += last - start + 1
		next = last + 2
	}
	return n, runs, nil
}

func countArray(p []byte) (n, runs int, err error) {
	last := -2
	for i := range len(p) / 2 {
		x := u16(p, i)
		if x <= last {
			return 0, 0, errors.New("members do not ascend")
		}
		if x != last+1 {
			runs++
		}
		last = x
	}
	return len(p) / 2, runs, nil
}

func countBitmap(p []byte) (n, runs int) {
	before := uint64(0) // 1 when the last bit of the word before is set
	for i := range bitmapWords {
		w := binary.LittleEndian.Uint64(p[8*i:])
		n += bits.OnesCount64(w)
		runs += bits.OnesCount64(w &^ (w<<1 | before))
		before = w >> 63
	}
	return n, runs
}

// canonical gives the same members in the canonical kind. c must be valid, touching runs excepted.
func (c container) canonical() container {
	if c.check() == nil {
		return c
	}
	var flat [bitmapBytes]byte
	c.flatten(&flat)
	n, runs := countBitmap(flat[:])
	out := container{key: c.key, n: n}
	switch {
	case runSize(runs) < flatSize(n):
		out.runs = true
		out.payload = runsOf(&flat, runs)
	case n > arrayMax:
		out.payload = flat[:]
	default:
		out.payload = arrayOf(&flat, n)
	}
	return out
}

func (c container) flatten(flat *[bitmapBytes]byte) {
	switch {
	case c.runs:
		for i := range u16(c.payload, 0) {
			start := u16(c.payload, 1+2*i)
			for x := start; x <= start+u16(c.payload, 2+2*i); x++ {
				flat[x/8] |= 1 << (x % 8)
			}
		}
	case c.n > arrayMax:
		copy(flat[:], c.payload)
	default:
		for i := range len(c.payload) / 2 {
			x := u16(c.payload, i)
			flat[x/8] |= 1 << (x % 8)
		}
	}
}

func runsOf(flat *[bitmapBytes]byte, runs int) []byte {
	p := binary.LittleEndian.AppendUint16(make([]byte, 0, runSize(runs)), uint16(runs)) //nolint:gosec // fewer than 2,048
	start := -1
	for x := range ChunkSize + 1 {
		in := x < ChunkSize && flat[x/8]>>(x%8)&1 != 0
		switch {
		case in && start < 0:
			start = x
		case !in && start >= 0:
			p = binary.LittleEndian.AppendUint16(p, uint16(start))     //nolint:gosec // less than ChunkSize
			p = binary.LittleEndian.AppendUint16(p, uint16(x-1-start)) //nolint:gosec // less than ChunkSize
			start = -1
		}
	}
	return p
}

func arrayOf(flat *[bitmapBytes]byte, n int) []byte {
	p := make([]byte, 0, 2*n)
	for i := range bitmapWords {
		for w := binary.LittleEndian.Uint64(flat[8*i:]); w != 0; w &= w - 1 {
			p = binary.LittleEndian.AppendUint16(p, uint16(64*i+bits.TrailingZeros64(w))) //nolint:gosec // less than ChunkSize
		}
	}
	return p
}

// appendPortable writes containers with ascending keys.
func appendPortable(dst []byte, cs []container) []byte {
	from := len(dst)
	flags := make([]byte, (len(cs)+7)/8)
	some := false
	for i, c := range cs {
		if c.runs {
			flags[i/8] |= 1 << (i % 8)
			some = true
		}
	}
	if some {
		dst = binary.LittleEndian.AppendUint32(dst, cookieRuns|uint32(len(cs)-1)<<16) //nolint:gosec // at most maxContainer
		dst = append(dst, flags...)
	} else {
		dst = binary.LittleEndian.AppendUint32(dst, cookiePlain)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(cs))) //nolint:gosec // at most maxContainer
	}
	for _, c := range cs {
		dst = binary.LittleEndian.AppendUint16(dst, c.key)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(c.n-1)) //nolint:gosec // n is 1 … ChunkSize
	}
	if !some || len(cs) >= offsetsFrom {
		at := len(dst) - from + 4*len(cs)
		for _, c := range cs {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(at)) //nolint:gosec // at most 512 MB
			at += len(c.payload)
		}
	}
	for _, c := range cs {
		dst = append(dst, c.payload...)
	}
	return dst
}
