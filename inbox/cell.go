package inbox

import (
	"hash/maphash"
	"slices"
	"time"

	"fanfare"
	"fanfare/set"
)

// block is which of a chunk's 65,536 people a message was delivered to.
type block struct {
	n     int
	lows  []uint16       // of few, ascending
	words *[words]uint64 // of many
}

const (
	words = set.ChunkSize / 64
	few   = 2048 // up to here the numbers themselves take less
)

// blocks finds those that hold the same people: most messages go to audiences that others went to, and share their block.
type blocks struct {
	seed    maphash.Seed
	by      map[uint64][]block // by a hash of their words
	scratch *[words]uint64
}

func newBlocks() *blocks {
	return &blocks{seed: maphash.MakeSeed(), by: make(map[uint64][]block), scratch: new([words]uint64)}
}

func (s *blocks) of(members *set.Set, chunk uint16) block {
	b := block{n: members.Len()}
	if b.n <= few {
		b.lows = make([]uint16, 0, b.n)
		for seq := range members.All() {
			b.lows = append(b.lows, uint16(seq)) //nolint:gosec // the low half
		}
		return b
	}
	clear(s.scratch[:])
	members.Words(chunk, s.scratch)
	hash := maphash.Comparable(s.seed, *s.scratch)
	for _, o := range s.by[hash] {
		if *o.words == *s.scratch {
			return o
		}
	}
	b.words = new([words]uint64)
	*b.words = *s.scratch
	s.by[hash] = append(s.by[hash], b)
	return b
}

func (b *block) has(low uint16) bool {
	if b.words != nil {
		return b.words[low/64]>>(low%64)&1 == 1
	}
	_, there := slices.BinarySearch(b.lows, low)
	return there
}

func (b *block) bytes() int {
	if b.words != nil {
		return words * 8
	}
	return 2 * len(b.lows)
}

// marks is when a fact of some of a chunk's people was.
type marks struct {
	lows []uint16 // ascending
	at   []fanfare.Minute
}

func (m *marks) get(low uint16) fanfare.Minute {
	if i, there := slices.BinarySearch(m.lows, low); there {
		return m.at[i]
	}
	return 0
}

func (m *marks) has(low uint16) bool {
	_, there := slices.BinarySearch(m.lows, low)
	return there
}

func (m *marks) set(low uint16, at fanfare.Minute) {
	i, there := slices.BinarySearch(m.lows, low)
	if there {
		m.at[i] = at
		return
	}
	m.lows, m.at = slices.Insert(m.lows, i, low), slices.Insert(m.at, i, at)
}

func (m *marks) clear(low uint16) {
	if i, there := slices.BinarySearch(m.lows, low); there {
		m.lows, m.at = slices.Delete(m.lows, i, i+1), slices.Delete(m.at, i, i+1)
	}
}

func (m *marks) bytes() int { return 6 * cap(m.lows) }

// cell is one message in one chunk.
type cell struct {
	entry    *entry
	to       block
	sentAt   time.Time
	seen     marks
	read     marks
	unread   marks // whoever ever took a read back
	archived marks
	readers  bool // it was recalled from all others
	settled  bool // nothing more is delivered
}

// visible says whether the message is in somebody's inbox, archived or not.
func (c *cell) visible(low uint16) bool {
	return c.to.has(low) && (!c.readers || c.read.has(low) || c.unread.has(low))
}

// counted says in which of the counts the message is.
func (c *cell) counted(low uint16) (n counted) {
	if !c.visible(low) || c.archived.has(low) {
		return n
	}
	n.total = 1
	if !c.read.has(low) {
		n.unread = 1
	}
	if !c.seen.has(low) {
		n.unseen = 1
	}
	return n
}

// kinds gives where the marks of each kind are kept.
func (c *cell) kinds() map[fanfare.ReceiptKind]*marks {
	return map[fanfare.ReceiptKind]*marks{fanfare.ReceiptSeen: &c.seen, fanfare.ReceiptRead: &c.read, fanfare.ReceiptUnread: &c.unread, fanfare.ReceiptArchived: &c.archived}
}

type counted struct{ unread, unseen, total uint16 }

// note takes over a note of the log.
func (c *cell) note(n *fanfare.Note) {
	low := uint16(n.Seq) //nolint:gosec // the low half
	switch n.Kind {
	case fanfare.ReceiptSeen:
		c.seen.set(low, n.At)
	case fanfare.ReceiptRead:
		c.read.set(low, n.At)
	case fanfare.ReceiptUnread:
		c.read.clear(low)
		c.unread.set(low, n.At)
	case fanfare.ReceiptArchived:
		c.archived.set(low, n.At)
	case fanfare.ReceiptUnarchived:
		c.archived.clear(low)
	}
}

func (c *cell) bytes(shared bool) int {
	n := 256 + c.seen.bytes() + c.read.bytes() + c.unread.bytes() + c.archived.bytes()
	if !shared {
		n += c.to.bytes()
	}
	return n
}
