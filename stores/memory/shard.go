package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"fanfare"
)

// Membership implements fanfare.Shard.
func (s *Store) Membership(ctx context.Context) (fanfare.Membership, error) {
	if err := s.enter(ctx); err != nil {
		return fanfare.Membership{}, err
	}
	defer s.mu.Unlock()
	return s.member, nil
}

// Join implements fanfare.Shard. What is kept in memory alone hashes nothing; the key is kept all the same.
func (s *Store) Join(ctx context.Context, m fanfare.Membership, addressKey []byte, away []fanfare.Slot) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	switch {
	case s.member.Installation != "" && s.member != m:
		return fmt.Errorf("shard %d of %s, not shard %d of %s: %w", s.member.Number, s.member.Installation, m.Number, m.Installation, fanfare.ErrConflict)
	case s.addressKey != nil && !bytes.Equal(s.addressKey, addressKey) && len(s.addresses)+len(s.erased) > 0:
		return fmt.Errorf("it has addresses under another key: %w", fanfare.ErrConflict)
	}
	s.member, s.addressKey = m, slices.Clone(addressKey)
	for _, n := range away {
		if turn := &s.slots[n].turn; turn.Epoch == 1 && turn.State == fanfare.SlotOpen {
			turn.State = fanfare.SlotAway
		}
	}
	return nil
}

// AddressKey implements fanfare.Shard.
func (s *Store) AddressKey(ctx context.Context) ([]byte, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return slices.Clone(s.addressKey), nil
}

// SlotTurns implements fanfare.Shard.
func (s *Store) SlotTurns(ctx context.Context) ([]fanfare.SlotTurn, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	turns := make([]fanfare.SlotTurn, len(s.slots))
	for i := range s.slots {
		turns[i] = s.slots[i].turn
	}
	return turns, nil
}

// TurnSlot implements fanfare.Shard.
func (s *Store) TurnSlot(ctx context.Context, was, now fanfare.SlotTurn) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	switch {
	case int(was.Slot) >= len(s.slots) || was.Slot != now.Slot:
		return fmt.Errorf("slot %d of %d becomes slot %d: %w", was.Slot, len(s.slots), now.Slot, fanfare.ErrUsage)
	case s.slots[was.Slot].turn != was:
		return fmt.Errorf("slot %d: %w", was.Slot, fanfare.ErrConflict)
	}
	s.slots[was.Slot].turn = now
	s.wrote(now.Slot)
	if was.State.Readable() != now.State.Readable() {
		s.tell(s.ShardOf(now.Slot), fanfare.News{Kind: fanfare.NewsMoved, Slot: now.Slot})
	}
	return nil
}

// Roster implements fanfare.Roster.
func (s *Store) Roster(ctx context.Context) ([]fanfare.RosterEntry, []fanfare.Placement, error) {
	if err := s.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer s.mu.Unlock()
	return slices.Clone(s.roster), slices.Clone(s.placements), nil
}

// Found implements fanfare.Roster.
func (s *Store) Found(ctx context.Context, shards []fanfare.RosterEntry, slots []fanfare.Placement) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if len(s.roster) > 0 {
		return fmt.Errorf("the list of shards: %w", fanfare.ErrExists)
	}
	s.roster, s.placements = slices.Clone(shards), slices.Clone(slots)
	for i := range s.roster {
		s.roster[i].AddedAt = s.clock()
	}
	for i := range s.placements {
		s.placements[i].At = s.clock()
	}
	return nil
}

// Place implements fanfare.Roster.
func (s *Store) Place(ctx context.Context, was, now fanfare.Placement) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if int(was.Slot) >= len(s.placements) || was.Slot != now.Slot {
		return fmt.Errorf("slot %d of %d becomes slot %d: %w", was.Slot, len(s.placements), now.Slot, fanfare.ErrUsage)
	}
	if p := &s.placements[was.Slot]; p.Shard != was.Shard || p.Epoch != was.Epoch || p.Step != was.Step {
		return fmt.Errorf("where slot %d lies: %w", was.Slot, fanfare.ErrConflict)
	}
	now.At = s.clock()
	s.placements[was.Slot] = now
	return nil
}
