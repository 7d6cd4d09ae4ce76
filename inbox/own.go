package inbox

import (
	"context"
	"iter"
	"time"

	"fanfare"
)

// own is what is known of the messages to few in one inbox. They are nobody else's, so they cost a chunk nothing: who is in owners of the
// chunk has some, and only then they are read.
type own struct {
	cells   []*cell // newest start first
	counts  Counts
	expires time.Time // when the first of them is gone
	state   int64     // as of which they were read
	bytes   int
}

// view is somebody's inbox at one moment.
type view struct {
	*chunk
	low uint16
	own *own // nil: nothing
}

func (v view) count() Counts {
	n := v.of(v.low)
	if v.own != nil {
		n.Unread += v.own.counts.Unread
		n.Unseen += v.own.counts.Unseen
		n.Total += v.own.counts.Total
	}
	return n
}

// all gives the cells that may be in the inbox, newest start first.
func (v view) all() iter.Seq[*cell] {
	return func(yield func(*cell) bool) {
		var mine []*cell
		if v.own != nil {
			mine = v.own.cells
		}
		for _, c := range v.cells {
			for len(mine) > 0 && positionOf(&c.entry.InboxMessage).after(positionOf(&mine[0].entry.InboxMessage)) {
				if !yield(mine[0]) {
					return
				}
				mine = mine[1:]
			}
			if !yield(c) {
				return
			}
		}
		for _, c := range mine {
			if !yield(c) {
				return
			}
		}
	}
}

// goodOwn says whether own messages are those of now.
func (r *Reader) goodOwn(o *own) bool {
	return o != nil && o.state == r.state && (len(o.cells) == 0 || r.Now().Before(o.expires))
}

// loadOwn reads somebody's own messages. Whoever asked before that sees with them whatever was answered until then; they are kept for others
// only if nothing was said meanwhile.
func (r *Reader) loadOwn(ctx context.Context, who fanfare.Person) (*own, error) {
	r.mu.RLock()
	state, notes := r.state, r.notes
	r.mu.RUnlock()
	rows, err := r.Store.InboxRows(ctx, who)
	if err != nil {
		return nil, err
	}
	low := uint16(who.Seq) //nolint:gosec // the low half
	o := &own{state: state, cells: make([]*cell, len(rows)), bytes: 256}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range rows {
		row := &rows[i]
		if row.Damaged != nil {
			_ = r.damaged(row.Num, row.Damaged) // says so
		}
		c := &cell{entry: r.fewEntry(&row.InboxMessage), to: block{n: 1, lows: []uint16{low}}, sentAt: row.At, readers: row.Recall == fanfare.RecallUnread, settled: true}
		for kind, of := range c.kinds() {
			if at := row.Marks[kind].At; at != 0 {
				of.set(low, at)
			}
		}
		n := c.counted(low)
		o.counts.Unread += int(n.unread)
		o.counts.Unseen += int(n.unseen)
		o.counts.Total += int(n.total)
		if o.cells[i] = c; i == 0 || row.ExpiresAt.Before(o.expires) {
			o.expires = row.ExpiresAt
		}
		o.bytes += c.bytes(false) + 256 // its entry
	}
	if r.notes == notes && r.state == state && o.bytes <= r.CacheBytes/ownShare {
		r.forgetOwn(who)
		if r.ownBytes+o.bytes > r.CacheBytes/ownShare {
			clear(r.owns)
			r.bytes, r.ownBytes = r.bytes-r.ownBytes, 0
		}
		r.owns[who] = o
		r.bytes, r.ownBytes = r.bytes+o.bytes, r.ownBytes+o.bytes
		r.evict(r.chunks[place{who.Slot, uint16(who.Seq >> 16)}]) //nolint:gosec // the high half
	}
	return o, nil
}

// fewEntry gives the entry of a message to few. What was compiled for one of them serves the others, and the next time.
func (r *Reader) fewEntry(m *fanfare.InboxMessage) *entry {
	e := r.few[m.Num]
	if e == nil {
		if len(r.few) >= mostFew {
			clear(r.few)
		}
		e = &entry{InboxMessage: *m}
		r.few[m.Num] = e
	}
	if e.Revision != m.Revision {
		e.content = nil
	}
	e.InboxMessage = *m
	return e
}

// ownShare: a quarter of the cache is for messages to few.
const ownShare = 4

// forgetOwn forgets somebody's own messages.
func (r *Reader) forgetOwn(who fanfare.Person) {
	if o := r.owns[who]; o != nil {
		delete(r.owns, who)
		r.bytes, r.ownBytes = r.bytes-o.bytes, r.ownBytes-o.bytes
	}
}

// owners takes over who got messages to few since the last time.
func (r *Reader) owners() {
	people, next, lost := r.Store.owners.since(r.ownersAt)
	if lost {
		for _, c := range r.chunks {
			c.owners = nil // to be read again
		}
	}
	for _, who := range people {
		at, _ := placeOf(who)
		if c := r.chunks[at]; c != nil && c.owners != nil {
			c.owners.Add(who.Seq)
		}
	}
	r.ownersAt = next
}
