package sqlstore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"
	"maps"
	"slices"

	"fanfare"
	"fanfare/set"
)

// freezeView reads the sets of a slot within the freeze's transaction.
type freezeView struct {
	t    *tx
	slot fanfare.Slot
}

func (v freezeView) LoadSet(name fanfare.SetName) (*set.Set, error) {
	l, err := v.t.set(v.slot, name)
	if err != nil {
		return nil, err
	}
	return l.whole()
}

func (v freezeView) Resolve(ids []string) ([]int64, error) { return v.t.resolve(v.slot, ids) }

// Freeze implements fanfare.Freezer.
func (s *Store) Freeze(ctx context.Context, n fanfare.Slot, m fanfare.MessageNum, g fanfare.Generation, size int,
	fn func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error),
) (done bool, err error) {
	return s.FreezeMany(ctx, []fanfare.Slot{n}, m, g, size, func(_ fanfare.Slot, v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) { return fn(v) })
}

// FreezeMany implements fanfare.Freezer.
func (s *Store) FreezeMany(ctx context.Context, slots []fanfare.Slot, m fanfare.MessageNum, g fanfare.Generation, size int,
	fn func(fanfare.Slot, fanfare.FreezeView) (map[fanfare.Part]*set.Set, error),
) (all bool, err error) {
	if size < 0 || size > set.MaxBits {
		return false, fmt.Errorf("a batch of %d: %w", size, fanfare.ErrUsage)
	}
	for _, n := range slots {
		if err := s.has(n); err != nil {
			return false, err
		}
	}
	if len(slots) == 0 {
		return true, nil
	}
	err = s.lend(ctx, longWrite, locks{shared: slots}, func(t *tx) error {
		all = true
		for _, n := range slots {
			done, err := t.freezeOne(n, m, g, size, fn)
			if err != nil {
				return err
			}
			all = all && done
		}
		return nil
	})
	return all && err == nil, err
}

// freezeOne freezes a slot if its latch lets it.
func (t *tx) freezeOne(n fanfare.Slot, m fanfare.MessageNum, g fanfare.Generation, size int,
	fn func(fanfare.Slot, fanfare.FreezeView) (map[fanfare.Part]*set.Set, error),
) (done bool, err error) {
	if err := t.writable(n); err != nil {
		return false, err
	}
	may, err := t.one(func([]driver.Value) error { return nil }, "latch.freezable", int64(m), int64(n), int64(fanfare.SlotPreparing), int64(g))
	if err != nil || !may {
		return false, err
	}
	parts, err := fn(n, freezeView{t, n})
	if err != nil {
		return false, err
	}
	return true, t.freeze(n, m, size, parts)
}

func (t *tx) freeze(n fanfare.Slot, m fanfare.MessageNum, size int, parts map[fanfare.Part]*set.Set) error {
	people, planned := 0, 0
	var values []driver.Value
	for _, part := range slices.SortedFunc(maps.Keys(parts), cmp.Compare[fanfare.Part]) {
		if parts[part] == nil {
			continue
		}
		first := 0
		for chunk := range parts[part].Chunks() {
			if err := t.put("audiences.insert", int64(m), int64(n), string(part), int64(chunk.Index), chunk.N, int64(first), chunk.CRC, chunk.Members); err != nil {
				return err
			}
			if part == fanfare.PartSend && size == fanfare.WholeRows {
				values = append(values, int64(m), int64(n), int64(len(values)/5), int64(first), int64(chunk.N))
			}
			first += int(chunk.N)
		}
		people += first
		if part == fanfare.PartSend {
			planned = first
		}
	}
	if size > 0 {
		values = make([]driver.Value, 0, 5*(planned/size+1))
		for first, k := 0, 0; first < planned; first, k = first+size, k+1 {
			values = append(values, int64(m), int64(n), int64(k), int64(first), int64(min(size, planned-first)))
		}
	}
	if err := t.execRows("batches.insert", 5, values); err != nil {
		return err
	}
	few := false
	if size == fanfare.WholeRows {
		if _, err := t.one(func(r []driver.Value) error {
			few = fanfare.IsFew(planned, int(integer(r[2])))
			return nil
		}, "slots.get", int64(n)); err != nil {
			return err
		}
	}
	return t.put("latch.freeze", int64(people), few, int64(m), int64(n))
}

// Spread implements fanfare.Freezer.
func (s *Store) Spread(ctx context.Context, n fanfare.Slot, m fanfare.MessageNum, p fanfare.SlotPhase, g fanfare.Generation) error {
	return s.SpreadMany(ctx, []fanfare.Slot{n}, m, p, g)
}

// SpreadMany implements fanfare.Freezer.
func (s *Store) SpreadMany(ctx context.Context, slots []fanfare.Slot, m fanfare.MessageNum, p fanfare.SlotPhase, g fanfare.Generation) error {
	for _, n := range slots {
		if err := s.has(n); err != nil {
			return err
		}
	}
	return s.writeSlot(ctx, smallWrite, locks{shared: slots}, func(t *tx) error {
		for _, n := range slots {
			if _, err := t.exec("latch.spread", int64(m), int64(n), int64(p), int64(g)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Latches implements fanfare.Freezer.
func (s *Store) Latches(ctx context.Context, m fanfare.MessageNum) (found []fanfare.Latch, err error) {
	err = s.read(ctx, func(c *conn) error {
		return c.query(func(r []driver.Value) error {
			found = append(found, fanfare.Latch{Slot: fanfare.Slot(integer(r[0])), Epoch: integer(r[1]), Open: fanfare.SlotState(integer(r[2])) == fanfare.SlotOpen, Rev: integer(r[3]), //nolint:gosec // as written
				Phase: fanfare.SlotPhase(integer(r[4])), Generation: fanfare.Generation(integer(r[5])), Frozen: integer(r[6]) != 0, Few: integer(r[7]) != 0})
			return nil
		}, "latch.of_message", int64(m))
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Forget implements fanfare.Freezer.
func (s *Store) Forget(ctx context.Context, n fanfare.Slot, m fanfare.MessageNum) error {
	if err := s.has(n); err != nil {
		return err
	}
	return s.writeSlot(ctx, smallWrite, locks{shared: []fanfare.Slot{n}}, func(t *tx) error {
		if _, err := t.dropInboxRows(audienceKey{m, n}); err != nil {
			return err
		}
		for _, statement := range [...]string{"latch.forget", "audiences.forget", "batches.forget", "exceptions.forget"} {
			if _, err := t.exec(statement, int64(m), int64(n)); err != nil {
				return err
			}
		}
		if err := t.forgetReceipts(audienceKey{m, n}); err != nil {
			return err
		}
		t.after = append(t.after, func() { t.s.frozen.forget(audienceKey{m, n}) })
		return nil
	})
}
