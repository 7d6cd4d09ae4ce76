package memory

import (
	"cmp"
	"context"
	"slices"

	"fanfare"
)

// SuppressAddresses implements fanfare.Addresses. What is kept in memory alone needs no hash: it is the mailbox.
func (s *Store) SuppressAddresses(ctx context.Context, name fanfare.SetName, mailboxes []uint64) (added int, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	for _, m := range mailboxes {
		if !slices.Contains(s.addresses[m], name) {
			if s.addresses == nil {
				s.addresses = make(map[uint64][]fanfare.SetName)
			}
			s.addresses[m] = append(s.addresses[m], name)
			added++
		}
	}
	s.wroteAddresses(added > 0)
	return added, nil
}

// wroteAddresses raises the heads of all shards: each has all entries.
func (s *Store) wroteAddresses(changed bool) {
	for i := range s.heads {
		if changed {
			s.heads[i]++
		}
	}
}

// AddressEntries implements fanfare.Addresses.
func (s *Store) AddressEntries(ctx context.Context, after fanfare.AddressEntry, limit int) ([]fanfare.AddressEntry, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var all []fanfare.AddressEntry
	for m, names := range s.addresses {
		for _, name := range names {
			if e := (fanfare.AddressEntry{Hash: m, Set: name}); byEntry(after, e) < 0 {
				all = append(all, e)
			}
		}
	}
	slices.SortFunc(all, byEntry)
	return all[:min(len(all), max(limit, 0))], nil
}

func byEntry(a, b fanfare.AddressEntry) int {
	return cmp.Or(cmp.Compare(a.Hash, b.Hash), cmp.Compare(a.Set, b.Set))
}

// EntriesOf implements fanfare.Addresses.
func (s *Store) EntriesOf(ctx context.Context, mailbox uint64) ([]fanfare.AddressEntry, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var all []fanfare.AddressEntry
	for _, name := range s.addresses[mailbox] {
		all = append(all, fanfare.AddressEntry{Hash: mailbox, Set: name})
	}
	slices.SortFunc(all, byEntry)
	return all, nil
}

// ForgetAddress implements fanfare.Addresses.
func (s *Store) ForgetAddress(ctx context.Context, e fanfare.AddressEntry) (bool, error) {
	if err := s.enter(ctx); err != nil {
		return false, err
	}
	defer s.mu.Unlock()
	was := len(s.addresses[e.Hash])
	left := slices.DeleteFunc(s.addresses[e.Hash], func(name fanfare.SetName) bool { return name == e.Set })
	if s.addresses[e.Hash] = left; len(left) == 0 {
		delete(s.addresses, e.Hash)
	}
	s.wroteAddresses(len(left) < was)
	return len(left) < was, nil
}
