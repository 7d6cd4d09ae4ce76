package sqlstore

import (
	"container/list"
	"sync"

	"fanfare"
	"fanfare/set"
)

// setCache keeps sets by slot, each slot in one state: what slots.changed was. Whoever reads another state than the cache's reads the
// rows. The writer moves a slot's state on when a commit is known, so a set that did not change stays.
type setCache struct {
	mu    sync.Mutex // guards what follows
	limit int
	bytes int
	slots map[fanfare.Slot]*cachedSlot
	used  list.List // of *cachedSet, the last used first
}

type cachedSlot struct {
	changed int64
	sets    map[fanfare.SetName]*list.Element
	names   map[fanfare.SetName][]fanfare.SetName // by what they begin with, in this very state; any change of a set ends them
}

type cachedSet struct {
	slot  fanfare.Slot
	name  fanfare.SetName
	bytes int
	loaded
}

// fixedBytes is what an entry takes beside its members.
const fixedBytes = 200

func (c *setCache) get(n fanfare.Slot, name fanfare.SetName, changed int64) (loaded, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.slots[n]
	if in == nil || in.changed != changed {
		return loaded{}, false
	}
	e := in.sets[name]
	if e == nil {
		return loaded{}, false
	}
	c.used.MoveToFront(e)
	return e.Value.(*cachedSet).loaded, true
}

// mostNames is how many names with one beginning are kept, and for how many beginnings.
const mostNames = 200

func (c *setCache) names(n fanfare.Slot, prefix fanfare.SetName, changed int64) (names []fanfare.SetName, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if in := c.slots[n]; in != nil && in.changed == changed {
		names, ok = in.names[prefix]
	}
	return names, ok
}

func (c *setCache) putNames(n fanfare.Slot, prefix fanfare.SetName, changed int64, names []fanfare.SetName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.slots[n]
	if in == nil || in.changed != changed || len(names) > mostNames {
		return
	}
	if in.names == nil || len(in.names) >= mostNames {
		in.names = make(map[fanfare.SetName][]fanfare.SetName)
	}
	in.names[prefix] = names
}

// put keeps a set that was read in a state, unless the slot has moved on.
func (c *setCache) put(n fanfare.Slot, name fanfare.SetName, changed int64, l loaded) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.slots[n]
	if in == nil {
		in = c.start(n, changed)
	}
	if in.changed == changed {
		c.keep(in, n, name, l)
	}
}

func (c *setCache) start(n fanfare.Slot, changed int64) *cachedSlot {
	if c.slots == nil {
		c.slots = make(map[fanfare.Slot]*cachedSlot)
	}
	in := &cachedSlot{changed: changed, sets: make(map[fanfare.SetName]*list.Element)}
	c.slots[n] = in
	return in
}

func (c *setCache) keep(in *cachedSlot, n fanfare.Slot, name fanfare.SetName, l loaded) {
	if e := in.sets[name]; e != nil {
		c.drop(e)
	}
	entry := &cachedSet{slot: n, name: name, bytes: l.members.Bytes() + len(name) + fixedBytes, loaded: l}
	in.sets[name] = c.used.PushFront(entry)
	c.bytes += entry.bytes
	for c.bytes > c.limit && c.used.Len() > 1 {
		c.drop(c.used.Back())
	}
}

func (c *setCache) drop(e *list.Element) {
	entry := e.Value.(*cachedSet)
	c.used.Remove(e)
	c.bytes -= entry.bytes
	delete(c.slots[entry.slot].sets, entry.name)
}

// sync forgets a slot whose rows are in another state than the cache's: somebody else wrote.
func (c *setCache) sync(n fanfare.Slot, changed int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.slots[n]
	if in == nil {
		c.start(n, changed)
		return
	}
	if in.changed == changed {
		return
	}
	for _, e := range in.sets {
		c.drop(e)
	}
	in.changed, in.names = changed, nil
}

// publish moves the slots of a committed transaction to their new state.
func (t *tx) publish() {
	c := &t.s.sets
	c.mu.Lock()
	for _, change := range t.changes {
		in := c.slots[change.slot]
		if in == nil {
			in = c.start(change.slot, t.bases[change.slot])
		}
		in.names = nil
		if change.bump {
			in.changed++
		}
		if name := change.name; name.OfAttribute() {
			if e := in.sets[name]; e != nil { // tens of thousands are written at once, and few are asked for
				c.drop(e)
			}
			continue
		}
		c.keep(in, change.slot, change.name, loaded{members: change.members})
	}
	c.mu.Unlock()
	t.publishReceipts()
	for _, fn := range t.after {
		fn()
	}
}

// audienceCache keeps containers of frozen audiences, which never change, by message and slot.
type audienceCache struct {
	mu    sync.Mutex // guards what follows
	limit int
	bytes int
	epoch int64 // rises when something is forgotten: what was read before is not kept
	parts map[audienceKey]*audience
	used  list.List // of audienceChunk, the last used first
}

type audienceKey struct {
	message fanfare.MessageNum
	slot    fanfare.Slot
}

// audience is where the planned of one slot lie, and those of its chunks that are in memory.
type audience struct {
	rows   []audienceRow
	chunks map[uint16]*list.Element
}

type audienceRow struct {
	chunk    uint16
	first, n uint32
}

type audienceChunk struct {
	key     audienceKey
	chunk   uint16
	bytes   int
	members *set.Set
}

func (c *audienceCache) rows(k audienceKey) (rows []audienceRow, epoch int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.parts[k]; a != nil {
		rows = a.rows
	}
	return rows, c.epoch
}

func (c *audienceCache) putRows(k audienceKey, rows []audienceRow, epoch int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch || len(rows) == 0 || c.parts[k] != nil {
		return
	}
	if c.parts == nil {
		c.parts = make(map[audienceKey]*audience)
	}
	c.parts[k] = &audience{rows: rows, chunks: make(map[uint16]*list.Element)}
}

func (c *audienceCache) chunk(k audienceKey, index uint16) *set.Set {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.parts[k]
	if a == nil || a.chunks[index] == nil {
		return nil
	}
	c.used.MoveToFront(a.chunks[index])
	return a.chunks[index].Value.(*audienceChunk).members
}

func (c *audienceCache) putChunk(k audienceKey, index uint16, members *set.Set, epoch int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.parts[k]
	if c.epoch != epoch || a == nil || a.chunks[index] != nil {
		return
	}
	entry := &audienceChunk{key: k, chunk: index, bytes: members.Bytes() + fixedBytes, members: members}
	a.chunks[index] = c.used.PushFront(entry)
	c.bytes += entry.bytes
	for c.bytes > c.limit && c.used.Len() > 1 {
		c.drop(c.used.Back())
	}
}

func (c *audienceCache) drop(e *list.Element) {
	entry := e.Value.(*audienceChunk)
	c.used.Remove(e)
	c.bytes -= entry.bytes
	a := c.parts[entry.key]
	if delete(a.chunks, entry.chunk); len(a.chunks) == 0 {
		delete(c.parts, entry.key)
	}
}

// forget drops what is kept of a message in a slot.
func (c *audienceCache) forget(k audienceKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	a := c.parts[k]
	if a == nil {
		return
	}
	for _, e := range a.chunks {
		c.drop(e)
	}
	delete(c.parts, k)
}
