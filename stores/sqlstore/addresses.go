package sqlstore

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"slices"

	"fanfare"
)

// addressHash makes the hashes of mailboxes, for one goroutine. They have 63 bits, so that the database orders them as we do.
func (s *Store) addressHash() func(mailbox uint64) uint64 {
	mac := hmac.New(sha256.New, s.addressKey)
	var in [8]byte
	var sum [sha256.Size]byte
	return func(mailbox uint64) uint64 {
		binary.BigEndian.PutUint64(in[:], mailbox)
		mac.Reset()
		_, _ = mac.Write(in[:])
		return binary.BigEndian.Uint64(mac.Sum(sum[:0])) >> 1
	}
}

func entryOf(row []driver.Value) fanfare.AddressEntry {
	return fanfare.AddressEntry{Hash: uint64(integer(row[0])), Set: fanfare.SetName(text(row[1]))} //nolint:gosec // 63 bits
}

// suppressedBy gives, of the mailboxes of an upsert's changes, the sets that their owners are members of. Where there is no entry at all,
// which is one look, nothing is hashed.
func (u *upsert) suppressedBy(t *tx) (map[uint64][]fanfare.SetName, error) {
	some, err := t.one(func([]driver.Value) error { return nil }, "addresses.any")
	if err != nil || !some {
		return nil, err
	}
	hash, mailboxes := t.s.addressHash(), make(map[uint64]uint64, len(u.changes))
	values := make([]driver.Value, 0, len(u.changes))
	for i := range u.changes {
		if c := &u.changes[i]; addressState(c) == fanfare.AddressUsable {
			h := hash(c.Mailbox)
			mailboxes[h] = c.Mailbox
			values = append(values, int64(h)) //nolint:gosec // 63 bits
		}
	}
	found := make(map[uint64][]fanfare.SetName)
	err = t.queryRows(func(row []driver.Value) error {
		e := entryOf(row)
		m := mailboxes[e.Hash]
		found[m] = append(found[m], e.Set)
		return nil
	}, "addresses.find", 1, values)
	return found, err
}

// SuppressAddresses implements fanfare.Addresses.
func (s *Store) SuppressAddresses(ctx context.Context, name fanfare.SetName, mailboxes []uint64) (added int, err error) {
	kind := longWrite
	if len(mailboxes) <= fewChanges {
		kind = smallWrite
	}
	err = s.writeLocked(ctx, kind, locks{addresses: lockUpdate}, func(t *tx) error {
		hash := s.addressHash()
		added = 0
		for _, m := range mailboxes {
			n, err := t.exec("addresses.put", int64(hash(m)), string(name)) //nolint:gosec // 63 bits
			if err != nil {
				return err
			}
			added += int(n)
		}
		return nil
	})
	return added, err
}

// AddressEntries implements fanfare.Addresses.
func (s *Store) AddressEntries(ctx context.Context, after fanfare.AddressEntry, limit int) (all []fanfare.AddressEntry, err error) {
	err = s.read(ctx, func(c *conn) error {
		return c.query(func(row []driver.Value) error {
			all = append(all, entryOf(row))
			return nil
		}, "addresses.page", int64(after.Hash&(1<<63-1)), string(after.Set), max(limit, 0)) //nolint:gosec // 63 bits
	})
	return all, err
}

// EntriesOf implements fanfare.Addresses.
func (s *Store) EntriesOf(ctx context.Context, mailbox uint64) (all []fanfare.AddressEntry, err error) {
	h := int64(s.addressHash()(mailbox)) //nolint:gosec // 63 bits
	err = s.read(ctx, func(c *conn) error {
		return c.queryRows(func(row []driver.Value) error {
			all = append(all, entryOf(row))
			return nil
		}, "addresses.find", 1, []driver.Value{h})
	})
	slices.SortFunc(all, func(a, b fanfare.AddressEntry) int { return cmp.Compare(a.Set, b.Set) })
	return all, err
}

// ForgetAddress implements fanfare.Addresses.
func (s *Store) ForgetAddress(ctx context.Context, e fanfare.AddressEntry) (was bool, err error) {
	err = s.writeLocked(ctx, smallWrite, locks{addresses: lockUpdate}, func(t *tx) error {
		n, err := t.exec("addresses.delete", int64(e.Hash&(1<<63-1)), string(e.Set)) //nolint:gosec // 63 bits
		was = n > 0
		return err
	})
	return was, err
}
