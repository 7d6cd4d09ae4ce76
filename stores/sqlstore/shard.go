package sqlstore

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"fanfare"
)

func moving(n fanfare.Slot) error { return fmt.Errorf("slot %d: %w", n, fanfare.ErrMoving) }

// turns reads how some slots are here.
func (c *conn) turns(slots []fanfare.Slot) (map[fanfare.Slot]fanfare.SlotState, error) {
	if len(slots) == 0 {
		return nil, nil
	}
	values := make([]driver.Value, len(slots))
	for i, n := range slots {
		values[i] = int64(n)
	}
	found := make(map[fanfare.Slot]fanfare.SlotState, len(slots))
	err := c.queryRows(func(r []driver.Value) error {
		found[fanfare.Slot(integer(r[0]))] = fanfare.SlotState(integer(r[1])) //nolint:gosec // as written
		return nil
	}, "slots.states", 1, values)
	return found, err
}

func slotsOf(refs []fanfare.BatchRef) []fanfare.Slot {
	slots := make([]fanfare.Slot, 0, len(refs))
	for _, r := range refs {
		slots = append(slots, r.Slot)
	}
	slices.Sort(slots)
	return slices.Compact(slots)
}

// readable refuses the snapshot of a database that does not have the slot.
func (s *Store) readable(c *conn, slots ...fanfare.Slot) error {
	if !s.split.Load() || len(slots) == 0 {
		return nil
	}
	found, err := c.turns(slots)
	if err != nil {
		return err
	}
	for _, n := range slots {
		if int(n) < s.slots && !found[n].Readable() {
			return moving(n)
		}
	}
	return nil
}

// writable refuses a transaction that writes in slots that are not here, or are read only. Where others write too the slots are locked.
func (t *tx) writable(slots ...fanfare.Slot) error {
	if err := t.flush(); err != nil { // what was asked with the locks
		return err
	}
	var unknown []fanfare.Slot
	for _, n := range slots {
		if _, known := t.states[n]; !known {
			unknown = append(unknown, n)
		}
	}
	found, err := t.turns(unknown)
	if err != nil {
		return err
	}
	for n, state := range found {
		t.noteState(n, state)
	}
	for _, n := range slots {
		if !t.states[n].Writable() {
			return moving(n)
		}
	}
	return nil
}

func (t *tx) noteState(n fanfare.Slot, state fanfare.SlotState) {
	if t.states == nil {
		t.states = make(map[fanfare.Slot]fanfare.SlotState)
	}
	t.states[n] = state
}

// writeSlot is writeLocked for what lies in the slots of the locks: refused where they are not, or are read only.
func (s *Store) writeSlot(ctx context.Context, kind writeKind, l locks, fn func(t *tx) error) error {
	return s.writeLocked(ctx, kind, l, func(t *tx) error {
		if err := t.writable(slices.Concat(l.shared, l.exclusive)...); err != nil {
			return err
		}
		return fn(t)
	})
}

// Membership implements fanfare.Shard.
func (s *Store) Membership(ctx context.Context) (m fanfare.Membership, err error) {
	err = s.read(ctx, func(c *conn) (err error) {
		m, err = c.member()
		return err
	})
	return m, err
}

func (c *conn) member() (m fanfare.Membership, err error) {
	_, err = c.one(func(r []driver.Value) error {
		m = fanfare.Membership{Installation: text(r[0]), Number: int(integer(r[1]))}
		return nil
	}, "shard.member")
	return m, err
}

// Join implements fanfare.Shard.
func (s *Store) Join(ctx context.Context, m fanfare.Membership, addressKey []byte, away []fanfare.Slot) error {
	err := s.writeLocked(ctx, smallWrite, locks{control: true, addresses: lockUpdate, exclusive: away}, func(t *tx) error {
		is, err := t.member()
		if err != nil {
			return err
		}
		if is.Installation != "" && is != m {
			return fmt.Errorf("%s: it is shard %d of installation %s, not shard %d of %s: %w", s.db.Name(), is.Number, is.Installation, m.Number, m.Installation, fanfare.ErrConflict)
		}
		if !bytes.Equal(addressKey, s.addressKey) {
			for _, any := range [...]string{"addresses.any", "erased.any"} {
				switch some, err := t.one(func([]driver.Value) error { return nil }, any); {
				case err != nil:
					return err
				case some:
					return fmt.Errorf("%s: it has do-not-sends under a key of its own: %w", s.db.Name(), fanfare.ErrConflict)
				}
			}
			if _, err := t.exec("shard.key", addressKey); err != nil {
				return err
			}
		}
		for _, n := range away {
			if _, err := t.exec("slots.away", int64(n)); err != nil {
				return err
			}
		}
		_, err = t.exec("shard.join", m.Installation, m.Number)
		return err
	})
	if err == nil {
		s.addressKey = slices.Clone(addressKey)
		s.split.Store(true)
	}
	return err
}

// AddressKey implements fanfare.Shard.
func (s *Store) AddressKey(ctx context.Context) ([]byte, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	return slices.Clone(s.addressKey), nil
}

// SlotTurns implements fanfare.Shard.
func (s *Store) SlotTurns(ctx context.Context) (all []fanfare.SlotTurn, err error) {
	err = s.read(ctx, func(c *conn) error {
		return c.query(func(r []driver.Value) error {
			all = append(all, fanfare.SlotTurn{Slot: fanfare.Slot(integer(r[0])), Epoch: integer(r[1]), State: fanfare.SlotState(integer(r[2]))}) //nolint:gosec // as written
			return nil
		}, "slots.turns")
	})
	return all, err
}

// TurnSlot implements fanfare.Shard.
func (s *Store) TurnSlot(ctx context.Context, was, now fanfare.SlotTurn) error {
	if err := s.has(was.Slot); err != nil || was.Slot != now.Slot {
		return fmt.Errorf("slot %d becomes slot %d: %w", was.Slot, now.Slot, errors.Join(err, fanfare.ErrUsage))
	}
	return s.writeLocked(ctx, smallWrite, locks{exclusive: []fanfare.Slot{was.Slot}}, func(t *tx) error {
		delete(t.states, was.Slot) // for the others of this transaction
		n, err := t.exec("slots.turn", now.Epoch, int64(now.State), int64(now.Slot), was.Epoch, int64(was.State))
		if err == nil && n == 0 {
			err = fmt.Errorf("%s: how slot %d lies here: %w", s.db.Name(), was.Slot, fanfare.ErrConflict)
		}
		if err == nil && was.State.Readable() != now.State.Readable() {
			t.tell(fanfare.News{Kind: fanfare.NewsMoved, Slot: now.Slot})
		}
		return err
	})
}

// Roster implements fanfare.Roster.
func (s *Store) Roster(ctx context.Context) (shards []fanfare.RosterEntry, slots []fanfare.Placement, err error) {
	err = s.read(ctx, func(c *conn) error {
		if err := c.query(func(r []driver.Value) error {
			shards = append(shards, fanfare.RosterEntry{Number: int(integer(r[0])), Name: text(r[1]), AddedAt: moment(r[2])})
			return nil
		}, "roster.shards"); err != nil {
			return err
		}
		return c.query(func(r []driver.Value) error {
			slots = append(slots, fanfare.Placement{Slot: fanfare.Slot(integer(r[0])), Shard: int(integer(r[1])), Epoch: integer(r[2]), //nolint:gosec // as written
				Step: fanfare.MoveStep(text(r[3])), Other: int(integer(r[4])), Detail: text(r[5]), At: moment(r[6])})
			return nil
		}, "roster.slots")
	})
	if err != nil {
		return nil, nil, err
	}
	return shards, slots, nil
}

// Found implements fanfare.Roster.
func (s *Store) Found(ctx context.Context, shards []fanfare.RosterEntry, slots []fanfare.Placement) error {
	return s.writeLocked(ctx, smallWrite, locks{control: true}, func(t *tx) error {
		there := false
		if err := t.query(func([]driver.Value) error { there = true; return nil }, "roster.shards"); err != nil || there {
			return errors.Join(err, fmt.Errorf("%s: the list of shards: %w", s.db.Name(), fanfare.ErrExists))
		}
		for _, e := range shards {
			if _, err := t.exec("roster.add", e.Number, e.Name, t.now); err != nil {
				return err
			}
		}
		for _, p := range slots {
			if _, err := t.exec("roster.slot", int64(p.Slot), p.Shard, p.Epoch, string(p.Step), p.Other, p.Detail, t.now); err != nil {
				return err
			}
		}
		return nil
	})
}

// Place implements fanfare.Roster.
func (s *Store) Place(ctx context.Context, was, now fanfare.Placement) error {
	if err := s.has(was.Slot); err != nil || was.Slot != now.Slot {
		return fmt.Errorf("slot %d becomes slot %d: %w", was.Slot, now.Slot, errors.Join(err, fanfare.ErrUsage))
	}
	return s.write(ctx, smallWrite, func(t *tx) error {
		n, err := t.exec("roster.place", now.Shard, now.Epoch, string(now.Step), now.Other, now.Detail, t.now, int64(was.Slot), was.Shard, was.Epoch, string(was.Step))
		if err == nil && n == 0 {
			err = fmt.Errorf("where slot %d lies: %w", was.Slot, fanfare.ErrConflict)
		}
		return err
	})
}

// EraseTraced implements fanfare.ErasingApart.
func (s *Store) EraseTraced(ctx context.Context, n fanfare.Slot, ids []string, t fanfare.Traces) ([]fanfare.Erased, error) {
	return s.erase(ctx, n, ids, &t)
}

// Traces implements fanfare.ErasingApart.
func (s *Store) Traces(ctx context.Context, n fanfare.Slot, ids []string) (t fanfare.Traces, err error) {
	e := &erasure{slot: n, ids: ids, hash: s.erasedHash()}
	err = s.readSlot(ctx, n, func(c *conn) (err error) {
		_, _, t, err = e.look(c)
		return err
	})
	return t, err
}

// NoteErased implements fanfare.ErasingApart.
func (s *Store) NoteErased(ctx context.Context, traces fanfare.Traces) error {
	return s.writeLocked(ctx, smallWrite, locks{addresses: lockUpdate}, func(t *tx) error {
		hash := s.erasedHash()
		for _, phone := range traces.Phones {
			if _, err := t.exec("erased.put", hash(hashOfPhone, phone)); err != nil {
				return err
			}
		}
		for _, mailbox := range traces.Mailboxes {
			if _, err := t.exec("erased.put", hash(hashOfMailbox, mailboxText(int64(mailbox)))); err != nil { //nolint:gosec // all 64 bits
				return err
			}
		}
		return nil
	})
}

// ForgetNames implements fanfare.ErasingApart.
func (s *Store) ForgetNames(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	return s.writeLocked(ctx, longWrite, locks{control: true}, func(t *tx) error { return (&erasure{names: names}).control(t) })
}
