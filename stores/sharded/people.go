package sharded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fanfare"
	"fanfare/set"
)

// Slots implements fanfare.People.
func (s *Store) Slots() int { return s.slots }

// Upsert implements fanfare.People.
func (s *Store) Upsert(ctx context.Context, n fanfare.Slot, changes []fanfare.RecipientChange, opt fanfare.UpsertOptions) (done []fanfare.Upserted, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		done, err = sh.Upsert(ctx, n, changes, opt)
		return err
	})
	return done, err
}

// Recipient implements fanfare.People.
func (s *Store) Recipient(ctx context.Context, externalID string) (r fanfare.Recipient, err error) {
	err = s.at(ctx, fanfare.SlotOf(externalID, s.slots), func(sh fanfare.Shard) (err error) {
		r, err = sh.Recipient(ctx, externalID)
		return err
	})
	return r, err
}

// Resolve implements fanfare.People.
func (s *Store) Resolve(ctx context.Context, n fanfare.Slot, ids []string) (seqs []int64, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		seqs, err = sh.Resolve(ctx, n, ids)
		return err
	})
	return seqs, err
}

// Known implements fanfare.Erasing.
func (s *Store) Known(ctx context.Context, externalID string) (who fanfare.Person, erased time.Time, err error) {
	err = s.at(ctx, fanfare.SlotOf(externalID, s.slots), func(sh fanfare.Shard) (err error) {
		who, erased, err = sh.Known(ctx, externalID)
		return err
	})
	return who, erased, err
}

// Profiles implements fanfare.People.
func (s *Store) Profiles(ctx context.Context, n fanfare.Slot, seqs []fanfare.Seq) (found []fanfare.Recipient, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		found, err = sh.Profiles(ctx, n, seqs)
		return err
	})
	return found, err
}

// Scan implements fanfare.People.
func (s *Store) Scan(ctx context.Context, n fanfare.Slot, from fanfare.Seq, limit int, query string) (found []fanfare.Recipient, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		found, err = sh.Scan(ctx, n, from, limit, query)
		return err
	})
	return found, err
}

// Mailboxes implements fanfare.People.
func (s *Store) Mailboxes(ctx context.Context, n fanfare.Slot, c fanfare.ChannelName, members *set.Set, fn func(seq fanfare.Seq, key uint64)) error {
	return s.at(ctx, n, func(sh fanfare.Shard) error { return sh.Mailboxes(ctx, n, c, members, fn) })
}

// LoadSet implements fanfare.People.
func (s *Store) LoadSet(ctx context.Context, n fanfare.Slot, name fanfare.SetName) (members *set.Set, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		members, err = sh.LoadSet(ctx, n, name)
		return err
	})
	return members, err
}

// ChangeSet implements fanfare.People.
func (s *Store) ChangeSet(ctx context.Context, n fanfare.Slot, name fanfare.SetName, add, remove *set.Set) (added, removed int, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		added, removed, err = sh.ChangeSet(ctx, n, name, add, remove)
		return err
	})
	return added, removed, err
}

// DropSet implements fanfare.People. A slot that moved meanwhile may have been on neither of its shards when they were asked: then once more.
func (s *Store) DropSet(ctx context.Context, name fanfare.SetName) error {
	for w := s.waiting(); ; {
		if err := s.reload(ctx); err != nil {
			return err
		}
		before := *s.places.Load()
		err := s.every(ctx, func(_ int, sh fanfare.Shard) error { return sh.DropSet(ctx, name) })
		if err != nil && !errors.Is(err, fanfare.ErrMoving) {
			return err
		}
		if e := s.reload(ctx); e != nil {
			return e
		}
		if err == nil && samePlaces(before, *s.places.Load()) {
			return nil
		}
		if !w.wait(ctx) {
			if err == nil {
				err = fmt.Errorf("set %s: %w", name, fanfare.ErrMoving)
			}
			return err
		}
	}
}

func samePlaces(a, b []fanfare.Placement) bool {
	for i := range a {
		if a[i].Epoch != b[i].Epoch {
			return false
		}
	}
	return true
}

// Number implements fanfare.People.
func (s *Store) Number(ctx context.Context, n fanfare.Slot, count int, in ...fanfare.SetName) error {
	return s.at(ctx, n, func(sh fanfare.Shard) error { return sh.Number(ctx, n, count, in...) })
}

// All entries of addresses lie on every shard, under hashes of one key. The first shard tells what there is: it is written last, so a call that
// was cut off tells the same when it is made again.

// SuppressAddresses implements fanfare.Addresses.
func (s *Store) SuppressAddresses(ctx context.Context, name fanfare.SetName, mailboxes []uint64) (added int, err error) {
	if err := s.others(ctx, func(sh fanfare.Shard) error {
		_, err := sh.SuppressAddresses(ctx, name, mailboxes)
		return err
	}); err != nil {
		return 0, err
	}
	return s.first().SuppressAddresses(ctx, name, mailboxes)
}

// others runs fn on all shards but the first.
func (s *Store) others(ctx context.Context, fn func(sh fanfare.Shard) error) error {
	if len(s.shards) == 1 {
		return nil
	}
	all := make([]int, 0, len(s.shards)-1)
	for i := 1; i < len(s.shards); i++ {
		all = append(all, i)
	}
	return s.some(ctx, all, func(_ int, sh fanfare.Shard) error { return fn(sh) })
}

// AddressEntries implements fanfare.Addresses.
func (s *Store) AddressEntries(ctx context.Context, after fanfare.AddressEntry, limit int) ([]fanfare.AddressEntry, error) {
	return s.first().AddressEntries(ctx, after, limit)
}

// EntriesOf implements fanfare.Addresses.
func (s *Store) EntriesOf(ctx context.Context, mailbox uint64) ([]fanfare.AddressEntry, error) {
	return s.first().EntriesOf(ctx, mailbox)
}

// ForgetAddress implements fanfare.Addresses.
func (s *Store) ForgetAddress(ctx context.Context, e fanfare.AddressEntry) (bool, error) {
	if err := s.others(ctx, func(sh fanfare.Shard) error {
		_, err := sh.ForgetAddress(ctx, e)
		return err
	}); err != nil {
		return false, err
	}
	return s.first().ForgetAddress(ctx, e)
}

// ReadSlot implements fanfare.SlotSets.
func (s *Store) ReadSlot(ctx context.Context, n fanfare.Slot, fn func(fanfare.SlotView) error) error {
	return s.at(ctx, n, func(sh fanfare.Shard) error { return sh.ReadSlot(ctx, n, fn) })
}

// Edit implements fanfare.SlotSets.
func (s *Store) Edit(ctx context.Context, n fanfare.Slot, fn func(fanfare.SlotView) ([]fanfare.SetChange, error)) error {
	return s.at(ctx, n, func(sh fanfare.Shard) error { return sh.Edit(ctx, n, fn) })
}

// eraseAgain is how often Erase begins anew because an address changed meanwhile.
const eraseAgain = 10

// Erase implements fanfare.Erasing: hashes of addresses on every shard first, since the slot may move, then the person, last the names on the first.
func (s *Store) Erase(ctx context.Context, n fanfare.Slot, ids []string) (done []fanfare.Erased, err error) {
	var traces fanfare.Traces
	for range eraseAgain {
		if err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
			traces, err = sh.Traces(ctx, n, ids)
			return err
		}); err != nil {
			return nil, err
		}
		if len(traces.Mailboxes)+len(traces.Phones) > 0 {
			if err = s.every(ctx, func(_ int, sh fanfare.Shard) error { return sh.NoteErased(ctx, traces) }); err != nil {
				return nil, err
			}
		}
		if err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
			done, err = sh.EraseTraced(ctx, n, ids, traces)
			return err
		}); !errors.Is(err, fanfare.ErrConflict) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if len(traces.Names) > 0 {
		if err := s.first().ForgetNames(ctx, traces.Names); err != nil {
			return nil, s.of(0, err)
		}
	}
	return done, nil
}
