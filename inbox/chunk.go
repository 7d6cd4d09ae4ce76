package inbox

import (
	"math/bits"
	"sync/atomic"

	"fanfare"
	"fanfare/set"
)

// place names a chunk: 65,536 people of a slot.
type place struct {
	slot  fanfare.Slot
	chunk uint16
}

func placeOf(p fanfare.Person) (place, uint16) {
	return place{p.Slot, uint16(p.Seq >> 16)}, uint16(p.Seq) //nolint:gosec // the halves
}

// chunk is what is known of 65,536 people: all active messages that any of them got, newest start first, and their counts.
type chunk struct {
	place
	version int64 // of the list of messages
	state   int64 // as of which open cells were read
	open    bool  // some cells are
	cells   []*cell
	by      map[fanfare.MessageNum]*cell
	nobody  map[fanfare.MessageNum]bool // settled messages that none of them got
	owners  *set.Set                    // who may have messages to few; nil: not known
	counts  []counted
	bytes   int
	used    atomic.Int64
}

// apply takes over a note of the log, and tells how much memory that took. What is applied twice changes nothing.
func (c *chunk) apply(n *fanfare.Note) (grown int) {
	cell := c.by[n.Message]
	if cell == nil {
		return 0
	}
	low := uint16(n.Seq) //nolint:gosec // the low half
	was, bytes := cell.counted(low), cell.bytes(true)
	cell.note(n)
	is, at := cell.counted(low), &c.counts[low]
	at.unread += is.unread - was.unread
	at.unseen += is.unseen - was.unseen
	at.total += is.total - was.total
	return cell.bytes(true) - bytes
}

// add takes a cell into the counts, or out of them (by −1).
func (c *chunk) add(cell *cell, by uint16) {
	one := func(low uint16) {
		n, at := cell.counted(low), &c.counts[low]
		at.unread += by * n.unread
		at.unseen += by * n.unseen
		at.total += by * n.total
	}
	for _, low := range cell.to.lows {
		one(low)
	}
	if cell.to.words == nil {
		return
	}
	var in, unread, unseen [words]uint64
	cell.split(&in, &unread, &unseen)
	for w := range in {
		for left := in[w]; left != 0; left &= left - 1 {
			bit := bits.TrailingZeros64(left)
			at := &c.counts[w*64+bit]
			at.total += by
			at.unread += by * uint16(unread[w]>>bit&1)
			at.unseen += by * uint16(unseen[w]>>bit&1)
		}
	}
}

// split gives whose total, unread and unseen the message is in, of a block of many.
func (c *cell) split(in, unread, unseen *[words]uint64) {
	*in = *c.to.words
	if c.readers {
		var may [words]uint64
		for _, m := range [...]*marks{&c.read, &c.unread} {
			for _, low := range m.lows {
				may[low/64] |= 1 << (low % 64)
			}
		}
		for w := range in {
			in[w] &= may[w]
		}
	}
	without := func(of *[words]uint64, m *marks) {
		for _, low := range m.lows {
			of[low/64] &^= 1 << (low % 64)
		}
	}
	without(in, &c.archived)
	*unread, *unseen = *in, *in
	without(unread, &c.read)
	without(unseen, &c.seen)
}

// planes count for 65,536 people at once, a bit of the count in each plane: adding a set costs two steps for 64 people.
type planes [16][words]uint64

func (p *planes) add(to *[words]uint64) {
	for w, carry := range to {
		for i := 0; carry != 0 && i < len(p); i++ {
			was := p[i][w]
			p[i][w] = was ^ carry
			carry &= was
		}
	}
}

func (p *planes) each(fn func(low int, n uint16)) {
	for i := range p {
		for w, left := range p[i] {
			for ; left != 0; left &= left - 1 {
				fn(w*64+bits.TrailingZeros64(left), 1<<i)
			}
		}
	}
}

// recount makes the counts anew.
func (c *chunk) recount() {
	c.counts = make([]counted, set.ChunkSize)
	total, unread, unseen := new(planes), new(planes), new(planes)
	var a, b, d [words]uint64
	for _, cell := range c.cells {
		if cell.to.words == nil {
			c.add(cell, 1)
			continue
		}
		cell.split(&a, &b, &d)
		total.add(&a)
		unread.add(&b)
		unseen.add(&d)
	}
	total.each(func(low int, n uint16) { c.counts[low].total += n })
	unread.each(func(low int, n uint16) { c.counts[low].unread += n })
	unseen.each(func(low int, n uint16) { c.counts[low].unseen += n })
}

// size reckons the memory.
func (c *chunk) size() int {
	n := 6*set.ChunkSize + 512 + min(2*c.owners.Len(), words*8)
	seen := make(map[*[words]uint64]bool)
	for _, cell := range c.cells {
		n += cell.bytes(cell.to.words != nil && seen[cell.to.words])
		seen[cell.to.words] = true
	}
	return n
}
