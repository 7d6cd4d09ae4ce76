package sqlstore

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"

	"fanfare"
	"fanfare/set"
)

// slotView reads a slot in the snapshot of a connection.
type slotView struct {
	*conn
	s       *Store
	slot    fanfare.Slot
	changed int64 // of the slot in this snapshot
	load    func(name fanfare.SetName) (loaded, error)
}

func (v slotView) LoadSet(name fanfare.SetName) (*set.Set, error) {
	l, err := v.load(name)
	if err != nil {
		return nil, err
	}
	return l.whole()
}

func (v slotView) Resolve(ids []string) ([]int64, error) { return v.resolve(v.slot, ids) }

// lastName is behind every name with a prefix, if it is added to that: what follows a prefix begins with ASCII.
const lastName = "\U0010ffff"

// SetNames implements fanfare.SlotView.
func (v slotView) SetNames(prefix fanfare.SetName) (names []fanfare.SetName, err error) {
	if names, ok := v.s.sets.names(v.slot, prefix, v.changed); ok {
		return names, nil
	}
	err = v.query(func(r []driver.Value) error {
		if name := text(r[0]); strings.HasPrefix(name, string(prefix)) {
			names = append(names, fanfare.SetName(name))
		}
		return nil
	}, "sets.names", int64(v.slot), string(prefix), string(prefix)+lastName)
	if err == nil {
		v.s.sets.putNames(v.slot, prefix, v.changed, names)
	}
	return names, err
}

// LoadSets implements fanfare.SlotView. What the cache does not hold is read by one statement: to find a place costs more than to read on.
func (v slotView) LoadSets(prefix fanfare.SetName) (names []fanfare.SetName, sets []*set.Set, err error) {
	if names, ok := v.s.sets.names(v.slot, prefix, v.changed); ok {
		for _, name := range names {
			members, err := v.LoadSet(name)
			if err != nil {
				return nil, nil, err
			}
			sets = append(sets, members)
		}
		return names, sets, nil
	}
	var all []loaded
	if err := v.query(func(r []driver.Value) error {
		name := fanfare.SetName(text(r[0]))
		if !strings.HasPrefix(string(name), string(prefix)) {
			return nil
		}
		if n := len(names); n == 0 || names[n-1] != name {
			names, all = append(names, name), append(all, loaded{members: set.New()})
		}
		v.add(&all[len(all)-1], v.slot, name, r[1:])
		return nil
	}, "sets.family", int64(v.slot), string(prefix), string(prefix)+lastName); err != nil {
		return nil, nil, err
	}
	for i, l := range all {
		v.s.sets.put(v.slot, names[i], v.changed, l)
		members, err := l.whole()
		if err != nil {
			return nil, nil, err
		}
		sets = append(sets, members)
	}
	v.s.sets.putNames(v.slot, prefix, v.changed, names)
	return names, sets, nil
}

// fewRanges is how many members a range of rows has to hold, at least one in so many, to be read as a whole.
const fewRanges = 8

// Attributes implements fanfare.SlotView. Where members lie close the rows between are read too: that is cheaper than asking for each.
func (v slotView) Attributes(members *set.Set, fn func(seq fanfare.Seq, attributes map[string]any) error) error {
	take := func(r []driver.Value) error {
		seq := fanfare.Seq(integer(r[0])) //nolint:gosec // as written
		if !members.Contains(seq) {
			return nil
		}
		attributes, err := attributesOf(text(r[1]))
		if err != nil {
			return v.damagedRow(fmt.Sprintf("recipients row (slot %d, seq %d)", v.slot, seq), fmt.Errorf("%w: %w", fanfare.ErrDamaged, err))
		}
		return fn(seq, attributes)
	}
	const piece = 8192 // of members
	var seqs []fanfare.Seq
	for at, all := 0, members.Len(); at < all; at += len(seqs) {
		seqs = members.SelectRange(seqs[:0], at, min(at+piece, all))
		first, last := seqs[0], seqs[len(seqs)-1]
		var err error
		if uint64(last)-uint64(first) < fewRanges*uint64(len(seqs)) {
			err = v.query(take, inSlot(v.slot, "attributes.range"), first, last)
		} else {
			values := make([]driver.Value, len(seqs))
			for i, seq := range seqs {
				values[i] = seq
			}
			err = v.queryRows(take, inSlot(v.slot, "attributes.rows"), 1, values)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ReadSlot implements fanfare.SlotSets.
func (s *Store) ReadSlot(ctx context.Context, n fanfare.Slot, fn func(fanfare.SlotView) error) error {
	return s.readSlot(ctx, n, func(c *conn) error {
		r, err := c.slot(n) // once: within the snapshot it stays
		if err != nil {
			return err
		}
		return fn(slotView{conn: c, s: s, slot: n, changed: r.changed, load: func(name fanfare.SetName) (loaded, error) { return s.setOf(c, n, name, r.changed) }})
	})
}

// Edit implements fanfare.SlotSets.
func (s *Store) Edit(ctx context.Context, n fanfare.Slot, fn func(fanfare.SlotView) ([]fanfare.SetChange, error)) error {
	if err := s.has(n); err != nil {
		return err
	}
	return s.lend(ctx, longWrite, locks{exclusive: []fanfare.Slot{n}}, func(t *tx) error {
		if err := t.writable(n); err != nil {
			return err
		}
		r, err := t.slot(n)
		if err != nil {
			return err
		}
		t.touch(n, r.changed)
		changes, err := fn(slotView{conn: t.conn, s: s, slot: n, changed: r.changed, load: func(name fanfare.SetName) (loaded, error) { return t.set(n, name) }})
		if err != nil {
			return err
		}
		return t.change(n, changes)
	})
}

// change makes changes of one slot's sets.
func (t *tx) change(n fanfare.Slot, changes []fanfare.SetChange) error {
	edits := make([]edit, 0, len(changes))
	at := make(map[fanfare.SetName]int, len(changes))
	for _, c := range changes {
		i, again := at[c.Name]
		if !again {
			l, err := t.set(n, c.Name)
			if err != nil {
				return err
			}
			was, err := l.whole()
			if err != nil {
				return err
			}
			i, at[c.Name] = len(edits), len(edits)
			edits = append(edits, edit{c.Name, was, was})
		}
		e := &edits[i]
		if c.Add != nil {
			e.now = set.Or(e.now, c.Add)
		}
		if c.Remove != nil {
			e.now = set.AndNot(e.now, c.Remove)
		}
	}
	slices.SortFunc(edits, func(a, b edit) int { return strings.Compare(string(a.name), string(b.name)) })
	return t.keep(n, edits)
}
