package sharded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fanfare"
)

// The control tables lie on the first shard.

// View implements fanfare.Control.
func (s *Store) View(ctx context.Context, fn func(fanfare.ControlView) error) error {
	return s.first().View(ctx, fn)
}

// Update implements fanfare.Control.
func (s *Store) Update(ctx context.Context, fn func(fanfare.ControlTx) error) error {
	return s.first().Update(ctx, fn)
}

// Look implements fanfare.Control.
func (s *Store) Look(ctx context.Context) ([]fanfare.Look, error) { return s.first().Look(ctx) }

// InboxMessages implements fanfare.Inboxes.
func (s *Store) InboxMessages(ctx context.Context) ([]fanfare.InboxMessage, error) {
	return s.first().InboxMessages(ctx)
}

// Features implements fanfare.Upkeep: what all shards can do.
func (s *Store) Features() fanfare.StoreFeatures {
	f := fanfare.StoreFeatures{Durable: true, Shared: true, Files: true}
	var names []string
	for _, sh := range s.shards {
		one := sh.Features()
		if !slices.Contains(names, one.Name) {
			names = append(names, one.Name)
		}
		f.Durable, f.Shared, f.Files = f.Durable && one.Durable, f.Shared && one.Shared, f.Files && one.Files
	}
	f.Name = fmt.Sprintf("%d shards (%s)", len(s.shards), strings.Join(names, ", "))
	return f
}

// Identity implements fanfare.Upkeep: of all shards together. AliveAt is that of the shard that was served least recently.
func (s *Store) Identity(ctx context.Context) (all fanfare.Identity, err error) {
	ids := make([]fanfare.Identity, len(s.shards))
	if err := s.every(ctx, func(i int, sh fanfare.Shard) (err error) {
		ids[i], err = sh.Identity(ctx)
		return err
	}); err != nil {
		return fanfare.Identity{}, err
	}
	stored, found := make([]string, len(ids)), make([]string, len(ids))
	all.AliveAt = ids[0].AliveAt
	for i, id := range ids {
		stored[i], found[i] = id.Stored, id.Found
		all.Head += id.Head
		if id.AliveAt.Before(all.AliveAt) {
			all.AliveAt = id.AliveAt
		}
	}
	all.Stored, all.Found = strings.Join(stored, "; "), strings.Join(found, "; ")
	return all, nil
}

// Adopt implements fanfare.Upkeep.
func (s *Store) Adopt(ctx context.Context) error {
	return s.every(ctx, func(_ int, sh fanfare.Shard) error { return sh.Adopt(ctx) })
}

// Alive implements fanfare.Upkeep.
func (s *Store) Alive(ctx context.Context) error {
	return s.every(ctx, func(_ int, sh fanfare.Shard) error { return sh.Alive(ctx) })
}

// Backup implements fanfare.Upkeep: there is no copy of several databases of one moment.
func (s *Store) Backup(ctx context.Context, _ string) error {
	if _, err := s.first().Identity(ctx); err != nil { // closed, or ended
		return err
	}
	return fmt.Errorf("%w: %d shards are not backed up as one file; back each of them up with the means of its database", fanfare.ErrUsage, len(s.shards))
}

// Check implements fanfare.Upkeep.
func (s *Store) Check(ctx context.Context) ([]string, error) {
	found := make([][]string, len(s.shards))
	if err := s.every(ctx, func(i int, sh fanfare.Shard) error {
		list, err := sh.Check(ctx)
		for _, line := range list {
			found[i] = append(found[i], s.name(i)+": "+line)
		}
		return err
	}); err != nil {
		return nil, err
	}
	lost, err := s.checkSlots(ctx)
	return append(slices.Concat(found...), lost...), err
}

// checkSlots lists the slots at rest that are not open where the map says, or open elsewhere too.
func (s *Store) checkSlots(ctx context.Context) (found []string, err error) {
	if err := s.reload(ctx); err != nil {
		return nil, err
	}
	before := *s.places.Load()
	turns := make([][]fanfare.SlotTurn, len(s.shards))
	if err := s.every(ctx, func(i int, sh fanfare.Shard) (err error) {
		turns[i], err = sh.SlotTurns(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	if err := s.reload(ctx); err != nil {
		return nil, err
	}
	for n, p := range *s.places.Load() {
		if p != before[n] || p.Step != fanfare.MoveNone {
			continue // it moves at this moment
		}
		for i := range turns {
			turn := turns[i][n]
			if open := turn.State == fanfare.SlotOpen && turn.Epoch == p.Epoch; open != (i == p.Shard) || i != p.Shard && turn.State != fanfare.SlotAway {
				found = append(found, fmt.Sprintf("%s: slot %d: the map says shard %d, epoch %d; here its state is %d, epoch %d", s.name(i), n, p.Shard, p.Epoch, turn.State, turn.Epoch))
			}
		}
	}
	return found, nil
}

// Purge implements fanfare.Erasing.
func (s *Store) Purge(ctx context.Context) (more bool, err error) {
	each := make([]bool, len(s.shards))
	err = s.every(ctx, func(i int, sh fanfare.Shard) (err error) {
		each[i], err = sh.Purge(ctx)
		return err
	})
	return slices.Contains(each, true), err
}

// Close implements fanfare.Upkeep.
func (s *Store) Close() error {
	var errs []error
	for i, sh := range s.shards {
		errs = append(errs, s.of(i, sh.Close()))
	}
	return errors.Join(errs...)
}
