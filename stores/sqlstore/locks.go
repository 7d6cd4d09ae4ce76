package sqlstore

import (
	"context"
	"database/sql/driver"
	"maps"
	"slices"

	"fanfare"
)

// locks are what a write decides on, where others write too. They are taken at the begin of the transaction, for all that share it, in one
// order: names, then slots ascending. What the journal decides on comes after them: rows of the latch, batches, last the shard's head.
type locks struct {
	control   bool // the control tables
	addresses lock // who is suppressed or erased by an address
	shared    []fanfare.Slot
	exclusive []fanfare.Slot // whose sets or people are changed
}

type lock int

const (
	lockNone lock = iota
	lockShare
	lockUpdate
)

// lockAll takes the locks of all units.
func (t *tx) lockAll(units []*unit) error {
	if !t.dialect.Locks {
		return nil
	}
	names, which := make(map[string]lock), make(map[fanfare.Slot]lock)
	for _, u := range units {
		if u.locks.control {
			names["control"] = lockUpdate
		}
		names["addresses"] = max(names["addresses"], u.locks.addresses)
		for _, n := range u.locks.shared {
			which[n] = max(which[n], lockShare)
		}
		for _, n := range u.locks.exclusive {
			which[n] = lockUpdate
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if names[name] == lockNone {
			continue
		}
		if err := t.ask(func([]driver.Value) error { return nil }, names[name].of("locks.share", "locks.update"), name); err != nil {
			return err
		}
	}
	for _, n := range slices.Sorted(maps.Keys(which)) {
		if err := t.ask(func(r []driver.Value) error {
			t.touch(n, integer(r[1]))
			t.noteState(n, fanfare.SlotState(integer(r[2])))
			return nil
		}, which[n].of("slots.share", "slots.update"), int64(n)); err != nil {
			return err
		}
	}
	return nil
}

// of picks the statement that takes such a lock.
func (l lock) of(share, update string) string {
	if l == lockShare {
		return share
	}
	return update
}

// lockShard keeps others from moving the head until the commit: what is decided on receipts is decided on all of the log. It comes last, or
// after it only rows of receipts are written.
func (t *tx) lockShard() error {
	if !t.dialect.Locks || t.shardLocked {
		return nil
	}
	t.shardLocked = true
	return t.ask(func(r []driver.Value) error {
		t.head = integer(r[0]) + 1
		return nil
	}, "shard.lock")
}

// writeLocked has the writer run fn in a transaction that holds locks.
func (s *Store) writeLocked(ctx context.Context, kind writeKind, l locks, fn func(t *tx) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	u := &unit{ctx: ctx, run: fn, long: kind != smallWrite, bulk: kind == bulkWrite, locks: l, done: make(chan struct{})}
	s.writer.submit(u)
	<-u.done
	return u.err
}
