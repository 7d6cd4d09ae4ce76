package memory

import (
	"context"
	"slices"
	"strings"

	"fanfare"
	"fanfare/set"
)

// SetNames implements fanfare.SlotView.
func (v frozenView) SetNames(prefix fanfare.SetName) ([]fanfare.SetName, error) {
	var names []fanfare.SetName
	for name, members := range v.slot.sets {
		if strings.HasPrefix(string(name), string(prefix)) && !members.Empty() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// LoadSets implements fanfare.SlotView.
func (v frozenView) LoadSets(prefix fanfare.SetName) ([]fanfare.SetName, []*set.Set, error) {
	names, err := v.SetNames(prefix)
	sets := make([]*set.Set, len(names))
	for i, name := range names {
		sets[i] = v.slot.set(name)
	}
	return names, sets, err
}

// Attributes implements fanfare.SlotView.
func (v frozenView) Attributes(members *set.Set, fn func(seq fanfare.Seq, attributes map[string]any) error) error {
	for seq := range members.All() {
		if p := v.slot.people[seq]; p != nil {
			if err := fn(seq, p.Attributes); err != nil { // what is kept is never changed, only replaced
				return err
			}
		}
	}
	return nil
}

// ReadSlot implements fanfare.SlotSets.
func (s *Store) ReadSlot(ctx context.Context, n fanfare.Slot, fn func(fanfare.SlotView) error) error {
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	return fn(frozenView{sl})
}

// Edit implements fanfare.SlotSets.
func (s *Store) Edit(ctx context.Context, n fanfare.Slot, fn func(fanfare.SlotView) ([]fanfare.SetChange, error)) error {
	sl, err := s.enterOpen(ctx, n)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	changes, err := fn(frozenView{sl})
	if err != nil {
		return err
	}
	changed := false
	for _, c := range changes {
		was := sl.set(c.Name)
		next := was.Clone()
		if c.Add != nil {
			next.Union(c.Add)
		}
		if c.Remove != nil {
			next.Subtract(c.Remove)
		}
		if !next.Equal(was) {
			sl.putSet(c.Name, next)
			changed = true
		}
	}
	if changed {
		s.wrote(n)
	}
	return nil
}
