package sqlstore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"slices"

	"fanfare"
)

const (
	foldRows  = 1000    // that one transaction rewrites at most
	foldBytes = 1 << 20 // about how much: others wait for so much only
)

// foldRound is a way through all rows that the log says something of when it begins. Only the writer looks at it.
type foldRound struct {
	sure    bool         // its last step is known to be committed
	was     int64        // shard.folded when it began
	target  int64        // the head when it began
	rows    []receiptRow // that are left
	damaged error        // why a row could not take its part
}

// foldStep is what one transaction of a round did.
type foldStep struct {
	rows   map[receiptRow]*stamped // nil: nobody is left in it
	folded int64                   // what shard.folded became; 0: what it was
}

// Fold implements fanfare.Receipts. What a row could take is kept, whatever another one refuses.
func (s *Store) Fold(ctx context.Context, shard int) (more bool, err error) {
	if err := s.hasShard(shard); err != nil {
		return false, err
	}
	var damaged error
	err = s.write(ctx, longWrite, func(t *tx) error {
		round, err := t.foldRound()
		if round == nil || err != nil {
			return err
		}
		t.s.writer.folding = round
		round.sure = false
		t.after = append(t.after, func() { round.sure = true })
		if err := t.fold(round); err != nil {
			return err
		}
		if more, damaged = len(round.rows) > 0, round.damaged; !more {
			t.s.writer.folding = nil
		}
		return nil
	})
	if err == nil && !more {
		err = damaged
	}
	return more && err == nil, err
}

// Unfolded implements fanfare.Receipts.
func (s *Store) Unfolded(ctx context.Context, shard int) (n int, err error) {
	if err := s.hasShard(shard); err != nil {
		return 0, err
	}
	err = s.read(ctx, func(c *conn) error {
		if _, err := s.syncReceipts(c); err != nil {
			return err
		}
		s.receipts.mu.Lock()
		defer s.receipts.mu.Unlock()
		for _, row := range s.receipts.unfolded() {
			n += len(s.receipts.items[row.audienceKey].kinds[row.kind].find(row.chunk).over)
		}
		return nil
	})
	return n, err
}

// foldRound gives the round that goes on, or a new one; nil if there is nothing to fold.
func (t *tx) foldRound() (*foldRound, error) {
	head, err := t.s.syncReceipts(t.conn)
	if err != nil {
		return nil, err
	}
	c := &t.s.receipts
	c.mu.Lock()
	defer c.mu.Unlock()
	if round := t.s.writer.folding; round != nil && round.sure && round.was == c.folded {
		return round, nil
	}
	round := &foldRound{was: c.folded, target: head, rows: c.unfolded()}
	if len(round.rows) == 0 {
		if some, err := t.one(func([]driver.Value) error { return nil }, "log.some"); !some || err != nil {
			return nil, err
		}
	}
	slices.SortFunc(round.rows, func(a, b receiptRow) int {
		return cmp.Or(cmp.Compare(a.message, b.message), cmp.Compare(a.slot, b.slot), cmp.Compare(a.kind, b.kind), cmp.Compare(a.chunk, b.chunk))
	})
	return round, nil
}

// fold rewrites the next rows of a round; the last ones end it.
func (t *tx) fold(round *foldRound) error {
	t.folded = &foldStep{rows: make(map[receiptRow]*stamped)}
	for size := 0; len(round.rows) > 0 && len(t.folded.rows) < foldRows && size < foldBytes; round.rows = round.rows[1:] {
		row := round.rows[0]
		over := t.s.receipts.overOf(row)
		if len(over) == 0 { // its message was forgotten
			continue
		}
		next, err := t.foldRow(row, over)
		switch {
		case errors.Is(err, fanfare.ErrDamaged):
			round.damaged = err
			continue
		case err != nil:
			return err
		case next != nil:
			size += next.bytes()
		}
		t.folded.rows[row] = next
	}
	if len(round.rows) > 0 || round.damaged != nil {
		return nil
	}
	t.folded.folded = round.target
	if _, err := t.exec("shard.folded", round.target); err != nil {
		return err
	}
	_, err := t.exec("log.cut", round.target)
	return err
}

func (t *tx) foldRow(row receiptRow, over map[uint16]stamp) (*stamped, error) {
	key := []driver.Value{int64(row.message), int64(row.slot), int64(row.kind), int64(row.chunk)}
	var was *stamped
	if _, err := t.one(func(r []driver.Value) error {
		found, err := scanStamped(r)
		was = &found
		return err
	}, "receipts.row", key...); err != nil {
		return nil, t.damagedRow(row.String(), err)
	}
	next := was.merged(row.chunk, over)
	var err error
	if next == nil {
		_, err = t.exec("receipts.delete", key...)
	} else {
		_, err = t.exec("receipts.put", next.values(row)...)
	}
	return next, err
}

// fold takes what was folded out of what the log says, once it is committed with that head.
func (c *receiptCache) fold(step *foldStep, head int64) {
	c.foldedHere = head
	if step.folded != 0 {
		c.folded = step.folded
	}
	for row, next := range step.rows {
		it := c.items[row.audienceKey]
		if it == nil {
			continue
		}
		chunk := it.kinds[row.kind].make(row.chunk)
		had := chunk.row
		chunk.over, chunk.row, chunk.n = nil, nil, 0
		if next != nil {
			chunk.n = next.n
			if had != nil {
				if chunk.row = next; !had.timed { // nobody asked for its times
					chunk.row = &stamped{members: next.members, n: next.n}
				}
			}
		}
		chunk.recount()
		c.grew(it)
	}
}
