package memory

import (
	"context"
	"fmt"
	"time"

	"fanfare"
	"fanfare/set"
)

// ExportSlot implements fanfare.Moving: the slot is one row. What is kept is never changed in place once the slot is closed.
func (s *Store) ExportSlot(ctx context.Context, n fanfare.Slot, fn func(fanfare.SlotRow) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	rows := []fanfare.SlotRow{{Table: "slot", Values: []any{s.slots[n]}}}
	for _, name := range ascending(s.erased) {
		rows = append(rows, fanfare.SlotRow{Table: fanfare.TableErased, Values: []any{name}})
	}
	for id, at := range s.erasedAt {
		rows = append(rows, fanfare.SlotRow{Table: fanfare.TableErased, Values: []any{at, id}})
	}
	s.mu.Unlock()
	for _, r := range rows {
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) enterAway(ctx context.Context, n fanfare.Slot) (*slot, error) {
	if int(n) >= len(s.slots) {
		return nil, fmt.Errorf("slot %d of %d: %w", n, len(s.slots), fanfare.ErrUsage)
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	if sl := &s.slots[n]; sl.turn.State == fanfare.SlotAway {
		return sl, nil
	}
	s.mu.Unlock()
	return nil, fmt.Errorf("slot %d lies here: %w", n, fanfare.ErrConflict)
}

// ImportSlot implements fanfare.Moving.
func (s *Store) ImportSlot(ctx context.Context, n fanfare.Slot, rows []fanfare.SlotRow) error {
	sl, err := s.enterAway(ctx, n)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	for _, r := range rows {
		switch v := r.Values[0].(type) {
		case slot:
			was := *sl
			*sl = v
			sl.turn, sl.nextSeq, sl.rev = was.turn, was.nextSeq, was.rev
		case string:
			s.erased[v] = true
		case time.Time:
			if id, is := r.Values[1].(string); is && v.After(s.erasedAt[id]) {
				s.erasedAt[id] = v
			}
		default:
			return fmt.Errorf("slot %d: a row of %s is of another kind of store: %w", n, r.Table, fanfare.ErrUsage)
		}
	}
	return nil
}

// ClearSlot implements fanfare.Moving.
func (s *Store) ClearSlot(ctx context.Context, n fanfare.Slot) error {
	sl, err := s.enterAway(ctx, n)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	was := *sl
	*sl = emptySlot(n)
	sl.turn, sl.nextSeq, sl.rev = was.turn, was.nextSeq, was.rev
	return nil
}

func emptySlot(n fanfare.Slot) slot {
	return slot{turn: fanfare.SlotTurn{Slot: n, Epoch: 1, State: fanfare.SlotOpen}, ids: make(map[string]fanfare.Seq), people: make(map[fanfare.Seq]*person),
		sets: make(map[fanfare.SetName]*set.Set), messages: make(map[fanfare.MessageNum]*work), marks: make(map[fanfare.Mark][]fanfare.Upserted),
		receipts: make(map[fanfare.MessageNum]map[fanfare.Seq]*fanfare.Receipted)}
}

// SlotCounters implements fanfare.Moving.
func (s *Store) SlotCounters(ctx context.Context, n fanfare.Slot) (fanfare.SlotCounters, error) {
	if err := s.enter(ctx); err != nil {
		return fanfare.SlotCounters{}, err
	}
	defer s.mu.Unlock()
	return fanfare.SlotCounters{Next: int64(s.slots[n].nextSeq), Rev: s.slots[n].rev}, nil
}

// TakeSlot implements fanfare.Moving.
func (s *Store) TakeSlot(ctx context.Context, was, now fanfare.SlotTurn, k fanfare.SlotCounters) error {
	sl, err := s.enterAway(ctx, was.Slot)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	if sl.turn != was {
		return fmt.Errorf("slot %d: %w", was.Slot, fanfare.ErrConflict)
	}
	sl.turn, sl.nextSeq, sl.rev = now, max(sl.nextSeq, fanfare.Seq(k.Next)), max(sl.rev, k.Rev)+1 //nolint:gosec // below Universe
	s.wrote(now.Slot)
	s.tell(s.ShardOf(now.Slot), fanfare.News{Kind: fanfare.NewsMoved, Slot: now.Slot})
	return nil
}
