package sqlstore

import (
	"context"
	"database/sql/driver"
	"iter"

	"fanfare"
	"fanfare/set"
)

// mostUnbalanced is how many rows a tally names.
const mostUnbalanced = 100

// Tally implements fanfare.Reports. Rows without sets that add up are summed by the database, the others one by one.
func (s *Store) Tally(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot) (fanfare.Tally, error) {
	t := fanfare.Tally{Exceptions: make(map[fanfare.Result]int)}
	err := s.readSlot(ctx, n, func(c *conn) error {
		if err := c.query(func(r []driver.Value) error {
			tallyPlain(&t, fanfare.BatchState(integer(r[0])), r[1:])
			return nil
		}, "batches.plain", int64(m), int64(n)); err != nil {
			return err
		}
		if err := c.query(func(r []driver.Value) error {
			b, damaged := c.scanBatch(r)
			tallyRow(&t, &b, damaged)
			return nil
		}, "batches.others", int64(m), int64(n)); err != nil {
			return err
		}
		return c.query(func(r []driver.Value) error {
			t.Exceptions[fanfare.Result(text(r[0]))] = int(integer(r[1]))
			return nil
		}, "exceptions.results", int64(m), int64(n))
	})
	if err != nil {
		return fanfare.Tally{}, err
	}
	return t, nil
}

// tallyPlain adds rows of one state: their number, then the sums of n, sent, failed, skipped and uncertain.
func tallyPlain(t *fanfare.Tally, state fanfare.BatchState, r []driver.Value) {
	rows, n := int(integer(r[0])), int(integer(r[1]))
	t.Batches += rows
	t.N += n
	t.Sent += int(integer(r[2]))
	t.Failed += int(integer(r[3]))
	t.Skipped += int(integer(r[4]))
	t.Uncertain += int(integer(r[5]))
	switch state {
	case fanfare.BatchNew:
		t.Pending += n
	case fanfare.BatchDone:
		t.Done += rows
	case fanfare.BatchHeld:
		t.Held += rows
	}
}

func tallyRow(t *fanfare.Tally, b *fanfare.Batch, damaged error) {
	t.Batches++
	t.N += b.N
	t.Sent += b.Sent
	t.Failed += b.Failed
	t.Skipped += b.Skipped
	t.Uncertain += b.Uncertain
	t.Pending += b.Pending.Len()
	t.InFlight += b.InFlight.Len()
	t.Doubted += b.Doubted.Len()
	switch b.State {
	case fanfare.BatchDone:
		t.Done++
	case fanfare.BatchHeld:
		t.Held++
	}
	if (damaged != nil || !b.Balanced()) && len(t.Unbalanced) < mostUnbalanced {
		t.Unbalanced = append(t.Unbalanced, b.BatchRef)
	}
}

// exceptionPage is how many rows one transaction reads: a slow reader keeps no snapshot.
const exceptionPage = 1000

// Exceptions implements fanfare.Reports.
func (s *Store) Exceptions(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, from fanfare.Seq) iter.Seq2[fanfare.Exception, error] {
	return func(yield func(fanfare.Exception, error) bool) {
		for next, rows := int64(from), []fanfare.Exception(nil); next < set.Universe; {
			rows = rows[:0]
			if err := s.readSlot(ctx, n, func(c *conn) error {
				return c.query(func(r []driver.Value) error {
					rows = append(rows, scanException(r))
					return nil
				}, "exceptions.page", int64(m), int64(n), next, int64(exceptionPage))
			}); err != nil {
				yield(fanfare.Exception{}, err)
				return
			}
			for _, e := range rows {
				if !yield(e, nil) {
					return
				}
			}
			if len(rows) < exceptionPage {
				return
			}
			next = int64(rows[len(rows)-1].Seq) + 1
		}
	}
}

// Exception implements fanfare.Reports.
func (s *Store) Exception(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, seq fanfare.Seq) (e fanfare.Exception, there bool, err error) {
	err = s.readSlot(ctx, n, func(c *conn) (err error) {
		there, err = c.one(func(r []driver.Value) error {
			e = scanException(r)
			return nil
		}, "exceptions.range", int64(m), int64(n), int64(seq), int64(seq), int64(1))
		return err
	})
	return e, there, err
}

// Failures implements fanfare.Reports; equal groups come by reason, code and text.
func (s *Store) Failures(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, limit int) (groups []fanfare.FailureGroup, err error) {
	err = s.readSlot(ctx, n, func(c *conn) error {
		return c.query(func(r []driver.Value) error {
			groups = append(groups, fanfare.FailureGroup{Reason: fanfare.Reason(text(r[0])), Code: text(r[1]), Sample: text(r[2]), Count: int(integer(r[3]))})
			return nil
		}, "exceptions.failures", int64(m), int64(n), max(limit, 0))
	})
	if err != nil {
		return nil, err
	}
	return groups, nil
}
