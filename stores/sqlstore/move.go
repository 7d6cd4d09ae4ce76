package sqlstore

import (
	"context"
	"database/sql/driver"
	"fmt"

	"fanfare"
)

// slotTable is a table whose rows belong to slots, with the statements that read, add and remove them. kinds says of each column what it is: i, t
// or b.
type slotTable struct{ name, kinds, read, add, remove string }

// recipients is the table of which each slot has one of its own.
const recipients = "recipients"

// slotTables lists them all. A new one has to be here, and in sql/move.sql.
func slotTables() []slotTable {
	return []slotTable{
		{"message_slots", "iiiiii", "move.message_slots", "take.message_slots", "clear.message_slots"},
		{"recipients", "iiitttttt", "move.recipients", "recipients.insert", "clear.recipients"},
		{"sets", "tiiib", "move.sets", "take.sets", "clear.sets"},
		{"audiences", "itiiiib", "move.audiences", "take.audiences", "clear.audiences"},
		{"batches", "iiiiiiiiiiitiiibbbtt", "move.batches", "take.batches", "clear.batches"},
		{"exceptions", "iittttiiii", "move.exceptions", "take.exceptions", "clear.exceptions"},
		{"marks", "tib", "move.marks", "take.marks", "clear.marks"},
		{"receipt_sets", "iiiiiiibbb", "move.receipt_sets", "take.receipt_sets", "clear.receipt_sets"},
		{"inbox_rows", "iii", "move.inbox_rows", "take.inbox_rows", "clear.inbox_rows"},
	}
}

// column gives a value by its kind, whatever type the driver has for it.
func column(kind byte, v driver.Value) any {
	switch {
	case v == nil:
		return nil
	case kind == 'i':
		return integer(v)
	case kind == 't':
		return text(v)
	}
	b := blob(v)
	if b == nil {
		return nil
	}
	return b
}

// ExportSlot implements fanfare.Moving.
func (s *Store) ExportSlot(ctx context.Context, n fanfare.Slot, fn func(fanfare.SlotRow) error) error {
	if err := s.has(n); err != nil {
		return err
	}
	return s.read(ctx, func(c *conn) error {
		for _, table := range slotTables() {
			name, values := table.read, []driver.Value{int64(n)}
			if table.name == recipients {
				name, values = inSlot(n, name), nil
			}
			if err := c.query(func(r []driver.Value) error {
				if err := ctx.Err(); err != nil {
					return err
				}
				row := fanfare.SlotRow{Table: table.name, Values: make([]any, len(r))}
				for i := range r {
					row.Values[i] = column(table.kinds[i], r[i])
				}
				return fn(row)
			}, name, values...); err != nil {
				return err
			}
		}
		return c.query(func(r []driver.Value) error {
			return fn(fanfare.SlotRow{Table: fanfare.TableErased, Values: []any{integer(r[0]), integer(r[1])}})
		}, "erased.all")
	})
}

// ImportSlot implements fanfare.Moving.
func (s *Store) ImportSlot(ctx context.Context, n fanfare.Slot, rows []fanfare.SlotRow) error {
	tables := make(map[string]slotTable)
	for _, table := range slotTables() {
		tables[table.name] = table
	}
	return s.writeAway(ctx, n, func(t *tx) error {
		for len(rows) > 0 {
			table, same := rows[0].Table, 1
			for same < len(rows) && rows[same].Table == table {
				same++
			}
			if err := t.takeRows(n, tables[table], rows[:same]); err != nil {
				return err
			}
			rows = rows[same:]
		}
		return nil
	})
}

// takeRows adds rows of one table.
func (t *tx) takeRows(n fanfare.Slot, table slotTable, rows []fanfare.SlotRow) error {
	if rows[0].Table == fanfare.TableErased {
		for _, r := range rows {
			if len(r.Values) != 2 {
				return fmt.Errorf("slot %d: a row of %s with %d values is of another kind of store: %w", n, r.Table, len(r.Values), fanfare.ErrUsage)
			}
			hash, is := r.Values[0].(int64)
			at, also := r.Values[1].(int64)
			if !is || !also {
				return fmt.Errorf("slot %d: a row of %s is of another kind of store: %w", n, r.Table, fanfare.ErrUsage)
			}
			if _, err := t.exec("erased.take", hash, at); err != nil {
				return err
			}
		}
		return nil
	}
	width := len(table.kinds)
	values := make([]driver.Value, 0, len(rows)*(width+1))
	for _, r := range rows {
		if width == 0 || len(r.Values) != width {
			return fmt.Errorf("slot %d: a row of %s with %d values is of another kind of store: %w", n, r.Table, len(r.Values), fanfare.ErrUsage)
		}
		if table.name != recipients {
			values = append(values, int64(n))
		}
		for _, v := range r.Values {
			values = append(values, v)
		}
	}
	if table.name == recipients {
		return t.execRows(inSlot(n, table.add), width, values)
	}
	return t.execRows(table.add, width+1, values)
}

// writeAway is a long write of rows of a slot that is away.
func (s *Store) writeAway(ctx context.Context, n fanfare.Slot, fn func(t *tx) error) error {
	if err := s.has(n); err != nil {
		return err
	}
	return s.writeLocked(ctx, longWrite, locks{exclusive: []fanfare.Slot{n}}, func(t *tx) error {
		found, err := t.turns([]fanfare.Slot{n})
		if err == nil && found[n] != fanfare.SlotAway {
			err = fmt.Errorf("%s: slot %d lies here: %w", s.db.Name(), n, fanfare.ErrConflict)
		}
		if err != nil {
			return err
		}
		return fn(t)
	})
}

// clearPeople is how many numbers of recipients one transaction removes.
const clearPeople = 20_000

// ClearSlot implements fanfare.Moving. Where rows were their bytes stay until the next purge.
func (s *Store) ClearSlot(ctx context.Context, n fanfare.Slot) error {
	some := false
	wipe := func(name string, values ...driver.Value) error {
		return s.writeAway(ctx, n, func(t *tx) error {
			gone, err := t.exec(name, values...)
			some = some || gone > 0
			return err
		})
	}
	counters, err := s.SlotCounters(ctx, n)
	if err != nil {
		return err
	}
	for from := int64(0); from < counters.Next; from += clearPeople {
		if err := wipe(inSlot(n, "clear.recipients"), from, from+clearPeople); err != nil {
			return err
		}
	}
	if err := wipe(inSlot(n, "clear.recipients"), counters.Next, int64(1)<<32); err != nil { // of a copy that was not finished
		return err
	}
	for _, table := range slotTables() {
		if table.name == recipients {
			continue
		}
		if err := wipe(table.remove, int64(n)); err != nil {
			return err
		}
	}
	if !some {
		return nil
	}
	return s.write(ctx, smallWrite, func(t *tx) error {
		_, err := t.exec("erased.note")
		return err
	})
}

// SlotCounters implements fanfare.Moving.
func (s *Store) SlotCounters(ctx context.Context, n fanfare.Slot) (k fanfare.SlotCounters, err error) {
	if err := s.has(n); err != nil {
		return k, err
	}
	err = s.read(ctx, func(c *conn) error {
		r, err := c.slot(n)
		k = fanfare.SlotCounters{Next: int64(r.next), Rev: r.latch.Rev, Changed: r.changed} //nolint:gosec // below Universe
		return err
	})
	return k, err
}

// TakeSlot implements fanfare.Moving.
func (s *Store) TakeSlot(ctx context.Context, was, now fanfare.SlotTurn, k fanfare.SlotCounters) error {
	return s.writeAway(ctx, was.Slot, func(t *tx) error {
		r, err := t.slot(was.Slot)
		if err != nil {
			return err
		}
		delete(t.states, was.Slot)
		changed, err := t.exec("slots.take", now.Epoch, int64(now.State), max(k.Next, int64(r.next)), max(k.Rev, r.latch.Rev)+1, max(k.Changed, r.changed)+1, //nolint:gosec // below Universe
			int64(was.Slot), was.Epoch, int64(was.State))
		if err == nil && changed == 0 {
			err = fmt.Errorf("%s: how slot %d lies here: %w", s.db.Name(), was.Slot, fanfare.ErrConflict)
		}
		t.tell(fanfare.News{Kind: fanfare.NewsMoved, Slot: now.Slot})
		return err
	})
}
