package sqlstore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"fanfare"
	"fanfare/set"
)

func rowOfBatch(r fanfare.BatchRef) string {
	return fmt.Sprintf("batches row (message %d, slot %d, batch %d)", r.Message, r.Slot, r.Batch)
}

// scanBatch reads a row of the fragment batch, from column 1 on. Its error says that the row is damaged; then the row is as Batches
// shows it: held for that, by its plain columns, and with sets of nobody where they cannot be read.
func (c *conn) scanBatch(r []driver.Value) (b fanfare.Batch, err error) {
	b = fanfare.Batch{
		BatchRef: fanfare.BatchRef{Message: fanfare.MessageNum(integer(r[1])), Slot: fanfare.Slot(integer(r[2])), Batch: fanfare.BatchNo(integer(r[3]))}, //nolint:gosec // as written
		First:    uint32(integer(r[4])), N: int(integer(r[5])), State: fanfare.BatchState(integer(r[6])),                                                 //nolint:gosec // as written
		Sent: int(integer(r[7])), Failed: int(integer(r[8])), Skipped: int(integer(r[9])), Uncertain: int(integer(r[10])),
		Fence: integer(r[11]), Step: integer(r[12]), Owner: fanfare.Owner{Node: text(r[13]), Incarnation: integer(r[14])},
		LeaseUntil: moment(r[15]), NotBefore: moment(r[16]), Held: text(r[21]),
	}
	for i, to := range [...]*set.Bits{&b.Pending, &b.InFlight, &b.Doubted} {
		if *to, err = set.BitsFromBytes(b.N, blob(r[17+i])); err != nil {
			b.Pending, b.InFlight, b.Doubted = set.Bits{}, set.Bits{}, set.Bits{}
			return c.damagedBatch(b, err)
		}
	}
	if b.State == fanfare.BatchNew {
		b.Pending = set.FullBits(b.N)
	}
	if r[20] != nil {
		if b.Runs, err = runsOf(blob(r[20])); err != nil {
			return c.damagedBatch(b, fmt.Errorf("%w: %w", fanfare.ErrDamaged, err))
		}
	}
	return b, nil
}

func (c *conn) damagedBatch(b fanfare.Batch, err error) (fanfare.Batch, error) {
	err = c.damagedRow(rowOfBatch(b.BatchRef), err)
	b.State, b.Held = fanfare.BatchHeld, fanfare.CleanText(err.Error())
	b.Owner, b.LeaseUntil = fanfare.Owner{}, time.Time{}
	return b, err
}

func (c *conn) damagedRow(row string, err error) error {
	return fmt.Errorf("%s: %s: %w; run fanfare doctor, or restore a backup", c.db.Name(), row, err)
}

// appendRuns writes runs as JSON; times are microseconds.
func appendRuns(to []byte, runs []fanfare.Run) []byte {
	to = append(to, '[')
	for i, run := range runs {
		if i > 0 {
			to = append(to, ',')
		}
		to = strconv.AppendInt(append(to, `{"revision":`...), int64(run.Revision), 10)
		if run.Sent != nil {
			to = append(base64.StdEncoding.AppendEncode(append(to, `,"sent":"`...), run.Sent), '"')
		}
		to = append(strconv.AppendInt(append(to, `,"at":`...), micros(run.At), 10), '}')
	}
	return append(to, ']')
}

func runsOf(text []byte) ([]fanfare.Run, error) {
	var stored []struct {
		Revision fanfare.Revision `json:"revision"`
		Sent     []byte           `json:"sent"`
		At       int64            `json:"at"`
	}
	if err := json.Unmarshal(text, &stored); err != nil {
		return nil, err
	}
	runs := make([]fanfare.Run, len(stored))
	for i, s := range stored {
		runs[i] = fanfare.Run{Revision: s.Revision, Sent: s.Sent, At: moment(s.At)}
	}
	return runs, nil
}

func kept(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// asKept makes the row what it will be when it is read again.
func asKept(b *fanfare.Batch) {
	b.LeaseUntil, b.NotBefore = kept(b.LeaseUntil), kept(b.NotBefore)
	for i := range b.Runs {
		b.Runs[i].At = kept(b.Runs[i].At)
	}
}

// saveBatch writes a row that is touched, if it still is what it was at fence and step; it tells whether it was.
func (t *tx) saveBatch(b *fanfare.Batch, fence, step int64) (bool, error) {
	name, values := t.batchValues(b, fence, step)
	n, err := t.exec(name, values...)
	return n == 1, err
}

// saveSoon is saveBatch where it comes with the next statement that is waited for: that one answers errMoved if the row was not what it was.
func (t *tx) saveSoon(b *fanfare.Batch, fence, step int64) error {
	name, values := t.batchValues(b, fence, step)
	t.wrote = true
	return t.conn.later(name, func(changed int64) error {
		if changed != 1 {
			return errMoved
		}
		return nil
	}, values...)
}

func (t *tx) batchValues(b *fanfare.Batch, fence, step int64) (name string, values []driver.Value) {
	var owner, runs, held driver.Value
	if b.Owner.Node != "" {
		owner = b.Owner.Node
	}
	if len(b.Runs) > 0 {
		t.scratch = appendRuns(t.scratch[:0], b.Runs)
		runs = string(t.scratch)
	}
	if b.Held != "" {
		held = b.Held
	}
	if held == nil && b.Failed == 0 && b.Skipped == 0 && b.Uncertain == 0 && b.NotBefore.IsZero() && b.Doubted.Empty() {
		// As most rows are: what is empty is no argument, since each costs as much as a column.
		values = append(t.values[:0], int64(b.State), int64(b.Sent), b.Fence, b.Step, owner, b.Owner.Incarnation, micros(b.LeaseUntil),
			b.Pending.Bytes(), b.InFlight.Bytes(), runs, int64(b.Message), int64(b.Slot), int64(b.Batch), fence, step, int64(b.First), int64(b.N))
		name = "batches.save_sent"
	} else {
		values = append(t.values[:0], int64(b.State), int64(b.Sent), int64(b.Failed), int64(b.Skipped), int64(b.Uncertain), b.Fence, b.Step,
			owner, b.Owner.Incarnation, micros(b.LeaseUntil), micros(b.NotBefore), b.Pending.Bytes(), b.InFlight.Bytes(), b.Doubted.Bytes(), runs, held,
			int64(b.Message), int64(b.Slot), int64(b.Batch), fence, step, int64(b.First), int64(b.N))
		name = "batches.save"
	}
	t.values = values
	return name, values
}

// holdDamaged holds a row that cannot be read; its sets stay as they are.
func (t *tx) holdDamaged(r fanfare.BatchRef, why string) error {
	_, err := t.exec("batches.hold", fanfare.CleanText(why), int64(r.Message), int64(r.Slot), int64(r.Batch))
	return err
}

// batch reads a row; false if there is none.
func (c *conn) batch(r fanfare.BatchRef, lock bool) (b fanfare.Batch, found bool, err error) {
	name := "batches.one"
	if lock {
		name = "batches.lock_one"
	}
	found, err = c.one(func(row []driver.Value) (err error) {
		b, err = c.scanBatch(row)
		return err
	}, name, int64(r.Message), int64(r.Slot), int64(r.Batch))
	return b, found, err
}

// batches reads rows and calls fn with the index of each in refs, and with what scanBatch answers; those that are not there are left out.
func (c *conn) batches(refs []fanfare.BatchRef, fn func(i int, b fanfare.Batch, damaged error) error) error {
	return c.batchRows("batches.rows", refs, fn)
}

// claimable is batches for a transaction that may write these rows.
func (t *tx) claimable(refs []fanfare.BatchRef, fn func(i int, b fanfare.Batch, damaged error) error) error {
	if !t.dialect.Locks {
		return t.batches(refs, fn)
	}
	refs = slices.Clone(refs)
	slices.SortFunc(refs, func(a, b fanfare.BatchRef) int {
		return cmp.Or(cmp.Compare(a.Message, b.Message), cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Batch, b.Batch))
	})
	return t.batchRows("batches.lock", slices.Compact(refs), fn)
}

func (c *conn) batchRows(name string, refs []fanfare.BatchRef, fn func(i int, b fanfare.Batch, damaged error) error) error {
	values := make([]driver.Value, 0, 4*len(refs))
	for i, r := range refs {
		values = append(values, int64(i), int64(r.Message), int64(r.Slot), int64(r.Batch))
	}
	return c.queryRows(func(row []driver.Value) error {
		b, err := c.scanBatch(row)
		return fn(int(integer(row[0])), b, err)
	}, name, 4, values)
}

// Peek implements fanfare.Journal; a row that is not there comes as its name alone.
func (s *Store) Peek(ctx context.Context, refs []fanfare.BatchRef) ([]fanfare.Batch, error) {
	rows := make([]fanfare.Batch, len(refs))
	for i, r := range refs {
		rows[i].BatchRef = r
	}
	err := s.read(ctx, func(c *conn) error {
		if err := s.readable(c, slotsOf(refs)...); err != nil {
			return err
		}
		return c.batches(refs, func(i int, b fanfare.Batch, _ error) error {
			rows[i] = b
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// Batches implements fanfare.Reports.
func (s *Store) Batches(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, from fanfare.BatchNo, limit int) (rows []fanfare.Batch, err error) {
	err = s.readSlot(ctx, n, func(c *conn) error {
		return c.query(func(row []driver.Value) error {
			b, _ := c.scanBatch(row) // a damaged one is shown as held
			rows = append(rows, b)
			return nil
		}, "batches.range", int64(m), int64(n), int64(from), max(limit, 0))
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// Backlog implements fanfare.Journal.
func (s *Store) Backlog(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, from fanfare.BatchNo, limit int) (open []fanfare.Batch, first fanfare.BatchNo, err error) {
	err = s.readSlot(ctx, n, func(c *conn) error {
		err := c.query(func(r []driver.Value) error {
			open = append(open, fanfare.Batch{
				BatchRef: fanfare.BatchRef{Message: m, Slot: n, Batch: fanfare.BatchNo(integer(r[0]))},           //nolint:gosec // as written
				First:    uint32(integer(r[1])), N: int(integer(r[2])), State: fanfare.BatchState(integer(r[3])), //nolint:gosec // as written
				Sent: int(integer(r[4])), Failed: int(integer(r[5])), Skipped: int(integer(r[6])), Uncertain: int(integer(r[7])),
				Fence: integer(r[8]), Step: integer(r[9]), Owner: fanfare.Owner{Node: text(r[10]), Incarnation: integer(r[11])},
				LeaseUntil: moment(r[12]), NotBefore: moment(r[13]), Held: text(r[14]),
			})
			return nil
		}, "batches.open", int64(m), int64(n), int64(from), max(limit, 0))
		if err != nil {
			return err
		}
		some, err := c.one(func(r []driver.Value) error {
			first = fanfare.BatchNo(integer(r[0])) //nolint:gosec // as written
			return nil
		}, "batches.first", int64(m), int64(n))
		if err != nil || some {
			return err
		}
		return c.query(func(r []driver.Value) error {
			first = fanfare.BatchNo(integer(r[0]) + 1) //nolint:gosec // as written
			return nil
		}, "batches.last", int64(m), int64(n))
	})
	if err != nil {
		return nil, 0, err
	}
	return open, first, nil
}

// VoidClaims implements fanfare.Journal.
func (s *Store) VoidClaims(ctx context.Context, m fanfare.MessageNum, o fanfare.Owner) error {
	return s.write(ctx, smallWrite, func(t *tx) error {
		var rows, damaged []fanfare.Batch
		err := t.query(func(row []driver.Value) error {
			if b, err := t.scanBatch(row); err != nil {
				damaged = append(damaged, b)
			} else {
				rows = append(rows, b)
			}
			return nil
		}, "batches.owned", int64(m), o.Node, o.Incarnation)
		if err != nil {
			return err
		}
		for i := range damaged { // one row keeps no server from starting
			if err := t.holdDamaged(damaged[i].BatchRef, damaged[i].Held); err != nil {
				return err
			}
		}
		for i := range rows {
			next, voided := rows[i].Void(o)
			if !voided {
				continue
			}
			if same, err := t.saveBatch(&next, rows[i].Fence, rows[i].Step); err != nil {
				return err
			} else if !same {
				return fmt.Errorf("%v: %w", next.BatchRef, fanfare.ErrConflict)
			}
		}
		return nil
	})
}

// Claims implements fanfare.Journal. What is held is left to a person: no settling claim could take it.
func (s *Store) Claims(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot) (live int, dead []fanfare.BatchRef, err error) {
	err = s.readSlot(ctx, n, func(c *conn) error {
		at, err := s.nowOf(c)
		if err != nil {
			return err
		}
		now := micros(at)
		return c.query(func(r []driver.Value) error {
			if integer(r[1]) != 0 {
				live++
			} else {
				dead = append(dead, fanfare.BatchRef{Message: m, Slot: n, Batch: fanfare.BatchNo(integer(r[0]))}) //nolint:gosec // as written
			}
			return nil
		}, "batches.claims", now, int64(m), int64(n), now)
	})
	if err != nil {
		return 0, nil, err
	}
	return live, dead, nil
}
