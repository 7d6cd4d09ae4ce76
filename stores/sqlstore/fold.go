package sqlstore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"maps"
	"slices"
	"sync"

	"fanfare"
)

const (
	foldRows  = 1000    // that one transaction rewrites at most
	foldBytes = 1 << 20 // about how much: others wait for so much only
)

// folding is where the store's own folds stand. Rows are made beside the writer, which only writes them: what a row says may be older than the
// log says over it.
type folding struct {
	mu    sync.Mutex // held by the one that folds; guards what follows
	round *foldRound // nil: none is under way
}

// foldRound is a way through all rows that the log says something of when it begins.
type foldRound struct {
	was     int64        // shard.folded when it began
	folds   int64        // shard.folds as of its last step
	target  int64        // the head when it began
	rows    []receiptRow // that are left
	damaged error        // why a row could not take its part
}

// foldStep is what one transaction of a round does.
type foldStep struct {
	rows    map[receiptRow]foldedRow
	forgets int64 // how often something had been forgotten when it was made
	folded  int64 // what shard.folded becomes; 0: what it was
}

// foldedRow is a row to be written, and what of the log it was made with.
type foldedRow struct {
	next  *stamped // nil: nobody is left in it
	over  map[uint16]stamp
	notes int64
}

// Fold implements fanfare.Receipts. What a row could take is kept, whatever another one refuses.
func (s *Store) Fold(ctx context.Context, shard int) (more bool, err error) {
	if err := s.hasShard(shard); err != nil {
		return false, err
	}
	f := &s.folding
	f.mu.Lock()
	defer f.mu.Unlock()
	round := f.round
	f.round = nil // until the step is known to be there
	var step *foldStep
	for round, step, err = s.foldStep(ctx, round); errors.Is(err, errOldSnapshot); {
		round, step, err = s.foldStep(ctx, nil)
	}
	if err != nil || step == nil {
		return false, err
	}
	late := false
	if err := s.write(ctx, longWrite, func(t *tx) error {
		late, err = t.fold(round, step)
		return err
	}); err != nil {
		return false, err
	}
	switch {
	case late:
		return true, nil
	case len(round.rows) > 0:
		f.round = round
		return true, nil
	}
	return false, round.damaged
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
		if n == 0 { // news are to be cut
			_, err := c.one(func([]driver.Value) error {
				n = 1
				return nil
			}, "log.some")
			return err
		}
		return nil
	})
	return n, err
}

// foldStep makes the next rows of a round, or of a new one; no step: there is nothing to fold.
func (s *Store) foldStep(ctx context.Context, last *foldRound) (round *foldRound, step *foldStep, err error) {
	err = s.read(ctx, func(c *conn) error {
		head, err := s.syncReceipts(c)
		if err != nil {
			return err
		}
		_, _, folds, err := c.place()
		if err != nil {
			return err
		}
		if round, step, err = s.receipts.foldRound(c, head, folds, last); step == nil || err != nil {
			return err
		}
		for size := 0; len(round.rows) > 0 && len(step.rows) < foldRows && size < foldBytes; round.rows = round.rows[1:] {
			row := round.rows[0]
			over, notes := s.receipts.overOf(row)
			if len(over) == 0 { // its message was forgotten
				continue
			}
			next, err := c.merged(row, over)
			switch {
			case errors.Is(err, fanfare.ErrDamaged):
				round.damaged = err
				continue
			case err != nil:
				return err
			case next != nil:
				size += next.bytes()
			}
			step.rows[row] = foldedRow{next, over, notes}
		}
		return nil
	})
	return round, step, err
}

// foldRound gives the round that goes on, or a new one, and an empty step.
func (c *receiptCache) foldRound(conn *conn, head, folds int64, last *foldRound) (*foldRound, *foldStep, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if head < c.foldedHere {
		return nil, nil, errOldSnapshot
	}
	step := &foldStep{rows: make(map[receiptRow]foldedRow), forgets: c.forgets}
	if last != nil && last.was == c.folded && last.folds == folds {
		return last, step, nil
	}
	round := &foldRound{was: c.folded, folds: folds, target: head, rows: c.unfolded()}
	if len(round.rows) == 0 {
		if some, err := conn.one(func([]driver.Value) error { return nil }, "log.some"); !some || err != nil {
			return nil, nil, err
		}
	}
	slices.SortFunc(round.rows, func(a, b receiptRow) int {
		return cmp.Or(cmp.Compare(a.message, b.message), cmp.Compare(a.slot, b.slot), cmp.Compare(a.kind, b.kind), cmp.Compare(a.chunk, b.chunk))
	})
	return round, step, nil
}

// overOf copies what the log says over a row, and tells how often it said something.
func (c *receiptCache) overOf(r receiptRow) (over map[uint16]stamp, notes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if it := c.items[r.audienceKey]; it != nil {
		if chunk := it.kinds[r.kind].find(r.chunk); chunk != nil {
			return maps.Clone(chunk.over), chunk.notes
		}
	}
	return nil, 0
}

func (c *conn) merged(row receiptRow, over map[uint16]stamp) (*stamped, error) {
	var was *stamped
	if _, err := c.one(func(r []driver.Value) error {
		found, err := scanStamped(r)
		was = &found
		return err
	}, "receipts.row", row.values()...); err != nil {
		return nil, c.damagedRow(row.String(), err)
	}
	return was.merged(row.chunk, over), nil
}

// fold writes the rows of a step; the last one of a round ends it. late: somebody has folded or forgotten something meanwhile, and nothing was done.
func (t *tx) fold(round *foldRound, step *foldStep) (late bool, err error) {
	if err := t.lockShard(); err != nil {
		return false, err
	}
	if _, err := t.s.syncReceipts(t.conn); err != nil {
		return false, err
	}
	_, _, folds, err := t.place()
	if err != nil {
		return false, err
	}
	c := &t.s.receipts
	c.mu.Lock()
	late = c.folded != round.was || c.forgets != step.forgets || folds != round.folds
	c.mu.Unlock()
	if late {
		return true, nil
	}
	for row, folded := range step.rows {
		if folded.next == nil {
			err = t.put("receipts.delete", row.values()...)
		} else {
			err = t.put("receipts.put", folded.next.values(row)...)
		}
		if err != nil {
			return false, err
		}
	}
	t.folded = step
	if len(round.rows) > 0 || round.damaged != nil {
		t.after = append(t.after, func() { round.folds++ })
		return false, t.put("shard.folds")
	}
	step.folded = round.target
	if err := t.put("shard.folded", round.target); err != nil {
		return false, err
	}
	return false, t.put("log.cut", round.target)
}

// fold takes what was folded out of what the log says, once it is committed with that head. What was noted since the rows were made stays.
func (c *receiptCache) fold(step *foldStep, head int64) {
	c.foldedHere = head
	if step.folded != 0 {
		c.folded = step.folded
	}
	for row, folded := range step.rows {
		it := c.items[row.audienceKey]
		if it == nil {
			continue
		}
		chunk := it.kinds[row.kind].make(row.chunk)
		if chunk.notes == folded.notes {
			chunk.over = nil
		} else {
			maps.DeleteFunc(chunk.over, func(low uint16, s stamp) bool {
				was, there := folded.over[low]
				return there && was == s
			})
		}
		had := chunk.row
		chunk.row, chunk.n = nil, 0
		if next := folded.next; next != nil {
			chunk.n = next.n
			if had != nil {
				if chunk.row = next; !had.timed { // nobody asked for its times
					chunk.row = &stamped{members: next.members, n: next.n}
				}
			}
		}
		if chunk.counted = chunk.n == 0 || chunk.row != nil || len(chunk.over) == 0; chunk.counted {
			chunk.recount()
		}
		c.grew(it)
	}
}
