package sqlstore

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"

	"fanfare"
	"fanfare/set"
)

// loaded is a set as its rows give it. Chunks that are damaged are missing in members and named here.
type loaded struct {
	members *set.Set
	damaged map[uint16]error
}

// whole gives the set, if all of it could be read.
func (l loaded) whole() (*set.Set, error) {
	for _, err := range l.damaged {
		return nil, err
	}
	return l.members, nil
}

// at says whether the part of the set that would hold seq could be read.
func (l loaded) at(seq fanfare.Seq) error {
	if l.damaged == nil {
		return nil
	}
	return l.damaged[uint16(seq>>16)] //nolint:gosec // the high half
}

// chunkOf reads n, crc and members of a row. A count or checksum that no chunk has is refused by DecodeChunk like any other.
func chunkOf(index, n, crc, members driver.Value) set.Chunk {
	c := set.Chunk{Index: uint16(integer(index)), Members: blob(members)} //nolint:gosec // a wrong one is noticed below
	if v := integer(n); v > 0 && v <= set.ChunkSize {
		c.N = uint32(v)
	}
	if v := integer(crc); v >= 0 && v < set.Universe {
		c.CRC = uint32(v)
	}
	return c
}

func rowOfSet(slot int64, name string, chunk int64) string {
	return fmt.Sprintf("sets row (slot %d, set %s, chunk %d)", slot, name, chunk)
}

// loadRows reads the rows of a set.
func (c *conn) loadRows(n fanfare.Slot, name fanfare.SetName) (loaded, error) {
	l := loaded{members: set.New()}
	err := c.query(func(row []driver.Value) error {
		c.add(&l, n, name, row)
		return nil
	}, "sets.load", int64(n), string(name))
	return l, err
}

// add adds a row of a set: chunk, n, crc and members.
func (c *conn) add(l *loaded, n fanfare.Slot, name fanfare.SetName, row []driver.Value) {
	err := l.members.AddChunk(chunkOf(row[0], row[1], row[2], row[3]))
	if err == nil {
		return
	}
	if l.damaged == nil {
		l.damaged = make(map[uint16]error)
	}
	l.damaged[uint16(integer(row[0]))] = fmt.Errorf("%s: %s: %w; run fanfare doctor, or restore a backup", //nolint:gosec // as chunkOf
		c.db.Name(), rowOfSet(int64(n), string(name), integer(row[0])), err)
}

// slotRow is a row of slots.
type slotRow struct {
	latch    fanfare.Latch
	writable bool
	next     uint64
	changed  int64
}

func (c *conn) slot(n fanfare.Slot) (r slotRow, err error) {
	found, err := c.one(func(row []driver.Value) error {
		state := fanfare.SlotState(integer(row[1]))
		r.writable = state.Writable()
		r.latch = fanfare.Latch{Slot: n, Epoch: integer(row[0]), Open: state == fanfare.SlotOpen, Rev: integer(row[3])}
		r.next, r.changed = uint64(integer(row[2])), integer(row[4]) //nolint:gosec // never negative
		return nil
	}, "slots.get", int64(n))
	if err == nil && !found {
		err = fmt.Errorf("%s: slots row %d is missing: %w; restore a backup", c.db.Name(), n, fanfare.ErrDamaged)
	}
	return r, err
}

// loadSet reads a set in the snapshot of c, from the cache if that is of the same state.
func (s *Store) loadSet(c *conn, n fanfare.Slot, name fanfare.SetName) (loaded, error) {
	r, err := c.slot(n)
	if err != nil {
		return loaded{}, err
	}
	return s.setOf(c, n, name, r.changed)
}

// setOf is loadSet where it is known what slots.changed is in the snapshot.
func (s *Store) setOf(c *conn, n fanfare.Slot, name fanfare.SetName, changed int64) (loaded, error) {
	if l, ok := s.sets.get(n, name, changed); ok {
		return l, nil
	}
	l, err := c.loadRows(n, name)
	if err == nil {
		s.sets.put(n, name, changed, l)
	}
	return l, err
}

// LoadSet implements fanfare.People.
func (s *Store) LoadSet(ctx context.Context, n fanfare.Slot, name fanfare.SetName) (members *set.Set, err error) {
	err = s.readSlot(ctx, n, func(c *conn) error {
		l, err := s.loadSet(c, n, name)
		if err != nil {
			return err
		}
		members, err = l.whole()
		return err
	})
	return members, err
}

// setChange is a set that the transaction has changed.
type setChange struct {
	slot    fanfare.Slot
	name    fanfare.SetName
	members *set.Set
	bump    bool // slots.changed was raised with it
}

// touch notes what a slot's state was before the transaction and drops what the cache has of another one.
func (t *tx) touch(n fanfare.Slot, changed int64) {
	if _, ok := t.bases[n]; ok {
		return
	}
	if t.bases == nil {
		t.bases = make(map[fanfare.Slot]int64)
	}
	t.bases[n] = changed
	t.s.sets.sync(n, changed)
}

// set gives a set as the transaction sees it; it is not to be changed.
func (t *tx) set(n fanfare.Slot, name fanfare.SetName) (loaded, error) {
	for i := len(t.changes) - 1; i >= 0; i-- {
		if c := &t.changes[i]; c.slot == n && c.name == name {
			return loaded{members: c.members}, nil
		}
	}
	base, ok := t.bases[n]
	if !ok {
		r, err := t.slot(n)
		if err != nil {
			return loaded{}, err
		}
		t.touch(n, r.changed)
		base = r.changed
	}
	if l, ok := t.s.sets.get(n, name, base); ok {
		return l, nil
	}
	l, err := t.loadRows(n, name)
	if err == nil && !name.OfAttribute() { // as publish
		t.s.sets.put(n, name, base, l)
	}
	return l, err
}

// edit is a set that was and what is to be of it.
type edit struct {
	name     fanfare.SetName
	was, now *set.Set
}

// keep writes edited sets of one slot, the chunks that differ once each.
func (t *tx) keep(n fanfare.Slot, edits []edit) error {
	bump, rev := false, int64(0)
	for _, e := range edits {
		differ := set.Or(set.AndNot(e.was, e.now), set.AndNot(e.now, e.was))
		if differ.Empty() {
			continue
		}
		if err := t.keepChunks(n, e, differ); err != nil {
			return err
		}
		t.changes = append(t.changes, setChange{slot: n, name: e.name, members: e.now, bump: !bump})
		bump = true
		if e.name == fanfare.SetAlive || e.name.Suppresses() {
			rev = 1
		}
	}
	if !bump {
		return nil
	}
	return t.put("slots.changed", rev, int64(n))
}

func (t *tx) keepChunks(n fanfare.Slot, e edit, differ *set.Set) error {
	for x, ok := differ.Min(); ok; {
		index := uint16(x >> 16) //nolint:gosec // the high half
		if chunk, some := e.now.Chunk(index); some {
			if err := t.put("sets.put", int64(n), string(e.name), int64(index), chunk.N, chunk.CRC, chunk.Members); err != nil {
				return err
			}
		} else if err := t.put("sets.delete", int64(n), string(e.name), int64(index)); err != nil {
			return err
		}
		ok = false
		for x = range differ.From(uint32(min((uint64(index)+1)<<16, set.Universe-1))) { //nolint:gosec // below Universe
			ok = uint16(x>>16) > index //nolint:gosec // the high half
			break
		}
	}
	return nil
}

// ChangeSet implements fanfare.People.
func (s *Store) ChangeSet(ctx context.Context, n fanfare.Slot, name fanfare.SetName, add, remove *set.Set) (added, removed int, err error) {
	if err := s.has(n); err != nil {
		return 0, 0, err
	}
	err = s.writeSlot(ctx, smallWrite, locks{exclusive: []fanfare.Slot{n}}, func(t *tx) error {
		l, err := t.set(n, name)
		if err != nil {
			return err
		}
		was, err := l.whole()
		if err != nil {
			return err
		}
		now := was
		if add != nil {
			now = set.Or(now, add)
		}
		if remove != nil {
			now = set.AndNot(now, remove)
		}
		if added, removed = set.AndNotLen(now, was), set.AndNotLen(was, now); name == fanfare.SetAlive && added+removed > 0 {
			t.tell(fanfare.News{Kind: fanfare.NewsPeople, Slot: n})
		}
		return t.keep(n, []edit{{name, was, now}})
	})
	if err != nil {
		return 0, 0, err
	}
	return added, removed, nil
}

// DropSet implements fanfare.People. A damaged set can be dropped too.
func (s *Store) DropSet(ctx context.Context, name fanfare.SetName) error {
	return s.writeLocked(ctx, smallWrite, locks{exclusive: s.allSlots()}, func(t *tx) error {
		for i := range s.slots {
			n := fanfare.Slot(i) //nolint:gosec // slots fit
			gone, err := t.exec("sets.drop", int64(i), string(name))
			if err != nil {
				return err
			}
			if gone == 0 {
				continue
			}
			r, err := t.slot(n)
			if err == nil && !r.writable {
				err = moving(n)
			}
			if err != nil {
				return err
			}
			t.touch(n, r.changed)
			rev := int64(0)
			if name == fanfare.SetAlive || name.Suppresses() {
				rev = 1
			}
			if err := t.put("slots.changed", rev, int64(i)); err != nil {
				return err
			}
			t.changes = append(t.changes, setChange{slot: n, name: name, members: set.New(), bump: true})
		}
		return nil
	})
}

func (s *Store) allSlots() []fanfare.Slot {
	all := make([]fanfare.Slot, s.slots)
	for i := range all {
		all[i] = fanfare.Slot(i) //nolint:gosec // slots fit
	}
	return all
}

// Number implements fanfare.People.
func (s *Store) Number(ctx context.Context, n fanfare.Slot, count int, in ...fanfare.SetName) error {
	if err := s.has(n); err != nil {
		return err
	}
	return s.writeSlot(ctx, longWrite, locks{exclusive: []fanfare.Slot{n}}, func(t *tx) error {
		r, err := t.slot(n)
		if err != nil {
			return err
		}
		t.touch(n, r.changed)
		if count < 0 || r.next+uint64(count) >= set.Universe {
			return fmt.Errorf("slot %d cannot hold %d recipients more: %w", n, count, fanfare.ErrUsage)
		}
		fresh := set.Range(r.next, r.next+uint64(count))
		if err := t.put("slots.next_seq", int64(r.next)+int64(count), int64(n)); err != nil { //nolint:gosec // below Universe
			return err
		}
		names := append([]fanfare.SetName{fanfare.SetAlive}, in...)
		slices.Sort(names)
		var edits []edit
		for _, name := range slices.Compact(names) {
			l, err := t.set(n, name)
			if err != nil {
				return err
			}
			was, err := l.whole()
			if err != nil {
				return err
			}
			edits = append(edits, edit{name, was, set.Or(was, fresh)})
		}
		return t.keep(n, edits)
	})
}
