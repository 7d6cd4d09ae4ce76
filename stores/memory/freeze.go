package memory

import (
	"context"
	"errors"
	"fmt"

	"fanfare"
	"fanfare/set"
)

// frozenView reads a slot while the mutex is held.
type frozenView struct{ slot *slot }

func (v frozenView) LoadSet(name fanfare.SetName) (*set.Set, error) { return v.slot.set(name), nil }

func (v frozenView) Resolve(ids []string) ([]int64, error) { return v.slot.resolve(ids), nil }

// Freeze implements fanfare.Freezer.
func (s *Store) Freeze(ctx context.Context, n fanfare.Slot, m fanfare.MessageNum, g fanfare.Generation, size int,
	fn func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error),
) (bool, error) {
	if size < 0 || size > set.MaxBits {
		return false, fmt.Errorf("a batch of %d: %w", size, fanfare.ErrUsage)
	}
	sl, err := s.enterOpen(ctx, n)
	if err != nil {
		return false, err
	}
	defer s.mu.Unlock()
	w := sl.messages[m]
	if w == nil || w.latch.Phase != fanfare.SlotPreparing || w.latch.Generation != g || w.latch.Frozen && !s.rules.FreezeTwice {
		return false, nil
	}
	parts, err := fn(frozenView{sl})
	if err != nil {
		return false, err
	}
	w.parts = make(map[fanfare.Part]*set.Set, len(parts))
	for p, members := range parts {
		if members != nil && !members.Empty() {
			w.parts[p] = members.Clone()
		}
	}
	first := uint32(0)
	for _, count := range batchSizes(w.parts[fanfare.PartSend], size) { // a second freeze, which only a broken rule lets through, plans everybody again
		w.batches = append(w.batches, fanfare.Batch{
			BatchRef: fanfare.BatchRef{Message: m, Slot: n, Batch: fanfare.BatchNo(len(w.batches))}, //nolint:gosec // of 2³² people at most
			First:    first, N: count, Pending: set.FullBits(count), InFlight: set.NewBits(count), Doubted: set.NewBits(count),
		})
		first += uint32(count) //nolint:gosec // as above
	}
	w.latch.Frozen = true
	if w.latch.Few = size == fanfare.WholeRows; w.latch.Few && w.parts[fanfare.PartSend] != nil {
		w.latch.Few = fanfare.IsFew(w.parts[fanfare.PartSend].Len(), int(sl.nextSeq))
	}
	s.wrote(n)
	return true, nil
}

// FreezeMany implements fanfare.Freezer.
func (s *Store) FreezeMany(ctx context.Context, slots []fanfare.Slot, m fanfare.MessageNum, g fanfare.Generation, size int,
	fn func(fanfare.Slot, fanfare.FreezeView) (map[fanfare.Part]*set.Set, error),
) (bool, error) {
	all := true
	for _, n := range slots {
		done, err := s.Freeze(ctx, n, m, g, size, func(v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) { return fn(n, v) })
		if err != nil {
			return false, err
		}
		all = all && done
	}
	return all, nil
}

// batchSizes cuts the planned into batches of at most size, or into those of each 65,536 numbers.
func batchSizes(planned *set.Set, size int) (sizes []int) {
	if planned == nil {
		return nil
	}
	if size == fanfare.WholeRows {
		for chunk := range planned.Chunks() {
			sizes = append(sizes, int(chunk.N))
		}
		return sizes
	}
	for left := planned.Len(); left > 0; left -= size {
		sizes = append(sizes, min(size, left))
	}
	return sizes
}

// Spread implements fanfare.Freezer.
func (s *Store) Spread(ctx context.Context, n fanfare.Slot, m fanfare.MessageNum, p fanfare.SlotPhase, g fanfare.Generation) error {
	sl, err := s.enterOpen(ctx, n)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	w := sl.messages[m]
	made := w == nil
	if made {
		w = &work{exceptions: make(map[fanfare.Seq]fanfare.Exception)}
		sl.messages[m] = w
	}
	if l := &w.latch; g > l.Generation || g == l.Generation && p > l.Phase || made {
		l.Generation, l.Phase = g, p
		s.wrote(n)
	}
	return nil
}

// SpreadMany implements fanfare.Freezer.
func (s *Store) SpreadMany(ctx context.Context, slots []fanfare.Slot, m fanfare.MessageNum, p fanfare.SlotPhase, g fanfare.Generation) error {
	var failed []error
	for _, n := range slots {
		failed = append(failed, s.Spread(ctx, n, m, p, g))
	}
	return errors.Join(failed...)
}

// Latches implements fanfare.Freezer.
func (s *Store) Latches(ctx context.Context, m fanfare.MessageNum) ([]fanfare.Latch, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var found []fanfare.Latch
	for n := range s.slots {
		if w := s.slots[n].messages[m]; w != nil && s.slots[n].turn.State.Readable() {
			found = append(found, s.latch(w, fanfare.Slot(n))) //nolint:gosec // slots fit
		}
	}
	return found, nil
}

// Forget implements fanfare.Freezer.
func (s *Store) Forget(ctx context.Context, n fanfare.Slot, m fanfare.MessageNum) error {
	sl, err := s.enterOpen(ctx, n)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	_, there := sl.messages[m]
	if _, marked := sl.receipts[m]; there || marked {
		delete(sl.messages, m)
		delete(sl.receipts, m)
		s.wrote(n)
	}
	return nil
}
