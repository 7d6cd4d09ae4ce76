package sqlstore

import (
	"context"
	"database/sql/driver"
	"fmt"

	"fanfare"
	"fanfare/set"
)

// profile is a row of its slot's recipients.
type profile struct {
	fanfare.Recipient
	mailbox driver.Value // nil: no usable address
}

func (c *conn) scanProfile(n fanfare.Slot, r []driver.Value) (p profile, err error) {
	p = profile{mailbox: r[8], Recipient: fanfare.Recipient{Person: fanfare.Person{Slot: n, Seq: fanfare.Seq(integer(r[0]))}, //nolint:gosec // as written
		ExternalID: text(r[1]), Email: text(r[2]), Phone: text(r[3]), Locale: text(r[4]), TimeZone: text(r[5]), UpdatedAt: moment(r[7])}}
	if p.Attributes, err = attributesOf(text(r[6])); err != nil {
		err = c.damagedRow(fmt.Sprintf("recipients row (slot %d, seq %d)", p.Slot, p.Seq), fmt.Errorf("%w: %w", fanfare.ErrDamaged, err))
	}
	return p, err
}

// Slots implements fanfare.People.
func (s *Store) Slots() int { return s.slots }

// Recipient implements fanfare.People.
func (s *Store) Recipient(ctx context.Context, externalID string) (fanfare.Recipient, error) {
	n := fanfare.SlotOf(externalID, s.slots)
	var p profile
	err := s.readSlot(ctx, n, func(c *conn) error {
		found, err := c.one(func(r []driver.Value) (err error) {
			p, err = c.scanProfile(n, r)
			return err
		}, inSlot(n, "recipients.by_id"), externalID)
		if err == nil && !found {
			err = missing("recipient", externalID)
		}
		return err
	})
	if err != nil {
		return fanfare.Recipient{}, err
	}
	return p.Recipient, nil
}

// Resolve implements fanfare.People.
func (s *Store) Resolve(ctx context.Context, n fanfare.Slot, ids []string) (seqs []int64, err error) {
	if len(ids) == 1 {
		seq, err := s.find(ctx, n, ids[0])
		if err != nil {
			return nil, err
		}
		return []int64{seq}, nil
	}
	err = s.readSlot(ctx, n, func(c *conn) (err error) {
		seqs, err = c.resolve(n, ids)
		return err
	})
	return seqs, err
}

func (c *conn) resolve(n fanfare.Slot, ids []string) ([]int64, error) {
	known := make(map[string]int64, len(ids))
	values := make([]driver.Value, 0, len(ids))
	for _, id := range ids {
		if _, asked := known[id]; !asked {
			known[id] = -1
			values = append(values, id)
		}
	}
	if err := c.queryRows(func(r []driver.Value) error {
		known[text(r[0])] = integer(r[1])
		return nil
	}, inSlot(n, "recipients.find"), 1, values); err != nil {
		return nil, err
	}
	seqs := make([]int64, len(ids))
	for i, id := range ids {
		seqs[i] = known[id]
	}
	return seqs, nil
}

// Profiles implements fanfare.People.
func (s *Store) Profiles(ctx context.Context, n fanfare.Slot, seqs []fanfare.Seq) ([]fanfare.Recipient, error) {
	found := make([]fanfare.Recipient, len(seqs))
	for i, seq := range seqs {
		found[i].Person = fanfare.Person{Slot: n, Seq: seq}
	}
	if len(seqs) == 0 {
		return found, nil
	}
	err := s.readSlot(ctx, n, func(c *conn) error {
		at := 0
		take := func(r []driver.Value) error {
			seq := fanfare.Seq(integer(r[0])) //nolint:gosec // as written
			for at < len(seqs) && seqs[at] < seq {
				at++
			}
			if at == len(seqs) || seqs[at] != seq {
				return nil // one of a range that nobody asked for
			}
			p, err := c.scanProfile(n, r)
			for ; at < len(seqs) && seqs[at] == seq; at++ {
				found[at] = p.Recipient
			}
			return err
		}
		first, last := seqs[0], seqs[len(seqs)-1]
		if dense := uint64(last)-uint64(first) < 2*uint64(len(seqs)); dense {
			return c.query(take, inSlot(n, "recipients.range"), first, last)
		}
		values := make([]driver.Value, len(seqs))
		for i, seq := range seqs {
			values[i] = seq
		}
		return c.queryRows(take, inSlot(n, "recipients.rows"), 1, values)
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Scan implements fanfare.People.
func (s *Store) Scan(ctx context.Context, n fanfare.Slot, from fanfare.Seq, limit int, query string) (found []fanfare.Recipient, err error) {
	err = s.readSlot(ctx, n, func(c *conn) error {
		return c.query(func(r []driver.Value) error {
			p, err := c.scanProfile(n, r)
			found = append(found, p.Recipient)
			return err
		}, inSlot(n, "recipients.scan"), from, query, query, query, query, max(limit, 0))
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Mailboxes implements fanfare.People; fn is called in order of seq.
func (s *Store) Mailboxes(ctx context.Context, n fanfare.Slot, c fanfare.ChannelName, members *set.Set, fn func(seq fanfare.Seq, key uint64)) error {
	first, some := members.Min()
	if c != fanfare.ChannelEmail || !some {
		return s.readSlot(ctx, n, func(*conn) error { return nil })
	}
	last, _ := members.Max()
	return s.readSlot(ctx, n, func(c *conn) error {
		take := func(r []driver.Value) error {
			if seq := fanfare.Seq(integer(r[0])); members.Contains(seq) { //nolint:gosec // as written
				fn(seq, uint64(integer(r[1]))) //nolint:gosec // all 64 bits
			}
			return nil
		}
		if few := uint64(members.Len()); uint64(last)-uint64(first) > 8*few {
			values := make([]driver.Value, 0, few)
			for seq := range members.All() {
				values = append(values, seq)
			}
			return c.queryRows(take, inSlot(n, "mailboxes.rows"), 1, values)
		}
		return c.query(take, inSlot(n, "mailboxes.range"), first, last)
	})
}
