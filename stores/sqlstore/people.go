package sqlstore

import (
	"context"
	"database/sql/driver"
	"fmt"

	"fanfare"
	"fanfare/set"
)

// personOf is the key of recipients: a slot's people lie together, in order of seq.
func personOf(n fanfare.Slot, seq fanfare.Seq) int64 { return int64(n)<<32 | int64(seq) }

func seqOf(person int64) fanfare.Seq { return fanfare.Seq(person & (set.Universe - 1)) } //nolint:gosec // the low half

// profile is a row of recipients.
type profile struct {
	fanfare.Recipient
	mailbox driver.Value // nil: no usable address
}

func (c *conn) scanProfile(r []driver.Value) (p profile, err error) {
	person := integer(r[0])
	p = profile{mailbox: r[8], Recipient: fanfare.Recipient{Person: fanfare.Person{Slot: fanfare.Slot(person >> 32), Seq: seqOf(person)}, //nolint:gosec // as written
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
	var p profile
	err := s.read(ctx, func(c *conn) error {
		found, err := c.one(func(r []driver.Value) (err error) {
			p, err = c.scanProfile(r)
			return err
		}, "recipients.by_id", int64(fanfare.SlotOf(externalID, s.slots)), externalID)
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
		known[text(r[0])] = int64(seqOf(integer(r[1])))
		return nil
	}, "recipients.find", 1, values, int64(n)); err != nil {
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
			seq := seqOf(integer(r[0]))
			for at < len(seqs) && seqs[at] < seq {
				at++
			}
			if at == len(seqs) || seqs[at] != seq {
				return nil // one of a range that nobody asked for
			}
			p, err := c.scanProfile(r)
			for ; at < len(seqs) && seqs[at] == seq; at++ {
				found[at] = p.Recipient
			}
			return err
		}
		first, last := seqs[0], seqs[len(seqs)-1]
		if dense := uint64(last)-uint64(first) < 2*uint64(len(seqs)); dense {
			return c.query(take, "recipients.range", personOf(n, first), personOf(n, last))
		}
		values := make([]driver.Value, len(seqs))
		for i, seq := range seqs {
			values[i] = personOf(n, seq)
		}
		return c.queryRows(take, "recipients.rows", 1, values)
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
			p, err := c.scanProfile(r)
			found = append(found, p.Recipient)
			return err
		}, "recipients.scan", personOf(n, from), personOf(n, set.Universe-1), query, query, query, query, max(limit, 0))
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
			if seq := seqOf(integer(r[0])); members.Contains(seq) {
				fn(seq, uint64(integer(r[1]))) //nolint:gosec // all 64 bits
			}
			return nil
		}
		if few := uint64(members.Len()); uint64(last)-uint64(first) > 8*few {
			values := make([]driver.Value, 0, few)
			for seq := range members.All() {
				values = append(values, personOf(n, seq))
			}
			return c.queryRows(take, "mailboxes.rows", 1, values)
		}
		return c.query(take, "mailboxes.range", personOf(n, first), personOf(n, last))
	})
}
