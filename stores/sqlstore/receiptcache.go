package sqlstore

import (
	"container/list"
	"slices"
	"sync"

	"fanfare"
	"fanfare/set"
)

// receiptCache keeps all of the log that is not folded, by the rows that it will be folded into, and such rows as far as there is room. It is of
// one state: the head of the shard. The writer moves it on when its commit is known; whoever finds another head in their snapshot reads the log from
// there on. What the log says of a fact replaces what the row says, so it does not matter of which moment since shard.folded a row is.
type receiptCache struct {
	mu    sync.Mutex // guards what follows
	limit int
	bytes int
	known bool // the log was read
	head  int64
	// folded is shard.folded as of head. foldedHere is the head from which on rows have what was taken out of the overlays: one that
	// was read in an older snapshot is not kept.
	folded, foldedHere int64
	forgets            int64 // rises when something was forgotten: rows that were made before are not written
	items              map[audienceKey]*receiptItem
	used               list.List // of *receiptItem, the last used first
}

// receiptItem is what is kept of a message in a slot.
type receiptItem struct {
	key     audienceKey
	element *list.Element
	pins    int  // whoever works with it
	indexed bool // it is known which rows there are
	bytes   int
	kinds   [len(fanfare.Receipted{})]receiptKindOf
}

type receiptKindOf struct {
	chunks []*receiptChunk // ascending
	whole  *set.Set        // all members; nil: not put together
}

// receiptChunk is a row, if there is one, and what the log says over it.
type receiptChunk struct {
	index   uint16
	n       int      // members of the row, 0: there is none
	row     *stamped // nil: not in memory
	damaged error    // the row cannot be read
	over    map[uint16]stamp
	notes   int64 // how often the log said something
	counted bool  // count is right
	count   int   // members of the row with over
}

func (k *receiptKindOf) find(index uint16) *receiptChunk {
	if at, ok := k.place(index); ok {
		return k.chunks[at]
	}
	return nil
}

func (k *receiptKindOf) place(index uint16) (int, bool) {
	return slices.BinarySearchFunc(k.chunks, index, func(c *receiptChunk, index uint16) int { return int(c.index) - int(index) })
}

func (k *receiptKindOf) make(index uint16) *receiptChunk {
	at, ok := k.place(index)
	if !ok {
		k.chunks = slices.Insert(k.chunks, at, &receiptChunk{index: index, counted: true})
	}
	return k.chunks[at]
}

// is gives what is known of a seq; ok is false if the row is needed for that, with its times if it has the seq.
func (c *receiptChunk) is(seq fanfare.Seq, timed bool) (s stamp, ok bool) {
	if c == nil {
		return 0, true
	}
	if s, ok := c.over[uint16(seq)]; ok { //nolint:gosec // the low half
		return s, true
	}
	switch {
	case c.n == 0:
		return 0, true
	case c.row == nil:
		return 0, false
	case !c.row.members.Contains(seq):
		return 0, true
	case c.row.timed:
		return c.row.of(seq), true
	}
	return 1, !timed
}

// note takes over what the log says.
func (it *receiptItem) note(k fanfare.ReceiptKind, seq fanfare.Seq, s stamp) {
	kind := &it.kinds[k]
	c := kind.make(uint16(seq >> 16)) //nolint:gosec // the high half
	if c.counted {
		was, ok := c.is(seq, false)
		switch {
		case !ok, c.n == 0 && !it.indexed:
			c.counted = false
		case was == 0 && s != 0:
			c.count++
		case was != 0 && s == 0:
			c.count--
		}
	}
	if c.over == nil {
		c.over = make(map[uint16]stamp)
	}
	c.over[uint16(seq)] = s //nolint:gosec // the low half
	c.notes++
	kind.whole = nil
}

// recount counts the members, of which all that is needed is in memory.
func (c *receiptChunk) recount() {
	c.counted, c.count = true, c.n
	for low, s := range c.over {
		had := c.n > 0 && c.row.members.Contains(uint32(c.index)<<16|uint32(low))
		switch {
		case had && s == 0:
			c.count--
		case !had && s != 0:
			c.count++
		}
	}
}

// addTo adds the members to a set.
func (c *receiptChunk) addTo(to *set.Set) {
	if c.n > 0 {
		to.Union(c.row.members)
	}
	high := uint32(c.index) << 16
	for low, s := range c.over {
		if s != 0 {
			to.Add(high | uint32(low))
		} else {
			to.Remove(high | uint32(low))
		}
	}
}

func (it *receiptItem) noted() bool {
	for i := range it.kinds {
		for _, c := range it.kinds[i].chunks {
			if len(c.over) > 0 {
				return true
			}
		}
	}
	return false
}

// size counts the memory again.
func (it *receiptItem) size() int {
	n := fixedBytes + len(it.kinds)*40
	for i := range it.kinds {
		if whole := it.kinds[i].whole; whole != nil {
			n += whole.Bytes()
		}
		for _, c := range it.kinds[i].chunks {
			n += 100
			if c.row != nil {
				n += c.row.bytes()
			}
		}
	}
	return n
}

// item gives what is kept of a message in a slot, made if it is missing.
func (c *receiptCache) item(k audienceKey) *receiptItem {
	it := c.items[k]
	if it == nil {
		if c.items == nil {
			c.items = make(map[audienceKey]*receiptItem)
		}
		it = &receiptItem{key: k}
		it.element = c.used.PushFront(it)
		c.items[k] = it
	}
	return it
}

// grew counts the item's memory and makes room: what the log says stays, rows go.
func (c *receiptCache) grew(it *receiptItem) {
	c.used.MoveToFront(it.element)
	was := it.bytes
	it.bytes = it.size()
	c.bytes += it.bytes - was
	for e := c.used.Back(); e != nil && c.bytes > c.limit; {
		old := e.Value.(*receiptItem) //nolint:forcetypeassert // as put there
		e = e.Prev()
		if old.pins > 0 {
			continue
		}
		c.bytes -= old.bytes
		if old.noted() {
			old.dropRows()
			old.bytes = old.size()
			c.bytes += old.bytes
			continue
		}
		c.used.Remove(old.element)
		delete(c.items, old.key)
	}
}

func (it *receiptItem) dropRows() {
	for i := range it.kinds {
		it.kinds[i].whole = nil
		for _, c := range it.kinds[i].chunks {
			c.row = nil
		}
	}
}

// reset forgets everything: the commit that failed may be there or not, or somebody else has folded.
func (c *receiptCache) reset() {
	c.known, c.bytes, c.items = false, 0, nil
	c.forgets++
	c.used.Init()
}

// forget empties what is kept of a message in a slot.
func (c *receiptCache) forget(k audienceKey) {
	c.forgets++
	if it := c.items[k]; it != nil {
		c.bytes -= it.bytes
		c.used.Remove(it.element)
		delete(c.items, k)
	}
}

// unfolded lists the rows that the log says something of.
func (c *receiptCache) unfolded() []receiptRow {
	var rows []receiptRow
	for _, it := range c.items {
		for k := range it.kinds {
			for _, chunk := range it.kinds[k].chunks {
				if len(chunk.over) > 0 {
					rows = append(rows, receiptRow{it.key, fanfare.ReceiptKind(k), chunk.index}) //nolint:gosec // small
				}
			}
		}
	}
	return rows
}
