package sqlstore

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"fmt"

	"fanfare"
	"fanfare/set"
)

// What a hash of somebody who was erased is of.
const (
	hashOfID      = "erased id\x00"
	hashOfPhone   = "erased phone\x00"
	hashOfMailbox = "erased mailbox\x00"
)

// erasedHash makes hashes of who was erased, for one goroutine. They have 63 bits.
func (s *Store) erasedHash() func(kind, text string) int64 {
	mac := hmac.New(sha256.New, s.addressKey)
	var sum [sha256.Size]byte
	var in []byte
	return func(kind, text string) int64 {
		mac.Reset()
		in = append(append(in[:0], kind...), text...)
		_, _ = mac.Write(in)
		return int64(binary.BigEndian.Uint64(mac.Sum(sum[:0])) >> 1) //nolint:gosec // 63 bits
	}
}

// mailboxText is a mailbox key as it is hashed.
func mailboxText(mailbox int64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(mailbox)) //nolint:gosec // all 64 bits
	return string(b[:])
}

// comeback tells of an upsert's changes which ids and addresses were of somebody who was erased. A nil one knows nobody.
type comeback struct {
	ids       map[string]bool
	phones    map[string]bool
	mailboxes map[int64]bool
}

// comebacks looks for them. Where nobody was ever erased, which is one look, nothing is hashed.
func (u *upsert) comebacks(t *tx) (*comeback, error) {
	some, err := t.one(func([]driver.Value) error { return nil }, "erased.any")
	if err != nil || !some {
		return nil, err
	}
	b := &comeback{ids: make(map[string]bool), phones: make(map[string]bool), mailboxes: make(map[int64]bool)}
	hash, hits := t.s.erasedHash(), make(map[int64]func())
	values := make([]driver.Value, 0, 2*len(u.changes))
	ask := func(kind, text string, hit func()) {
		h := hash(kind, text)
		hits[h] = hit
		values = append(values, h)
	}
	for i := range u.changes {
		c := &u.changes[i]
		ask(hashOfID, c.ExternalID, func() { b.ids[c.ExternalID] = true })
		if phone := said(c.Phone); phone != "" {
			ask(hashOfPhone, phone, func() { b.phones[phone] = true })
		}
		if addressState(c) == fanfare.AddressUsable {
			mailbox := int64(c.Mailbox) //nolint:gosec // all 64 bits
			ask(hashOfMailbox, mailboxText(mailbox), func() { b.mailboxes[mailbox] = true })
		}
	}
	err = t.queryRows(func(row []driver.Value) error {
		hits[integer(row[0])]()
		return nil
	}, "erased.find", 1, values)
	if err == nil && len(b.ids)+len(b.phones)+len(b.mailboxes) == 0 {
		return nil, nil
	}
	return b, err
}

// refuses says whether a change may create nobody.
func (b *comeback) refuses(c *fanfare.RecipientChange, opt *fanfare.UpsertOptions) bool {
	return b != nil && opt.RefuseErased && b.ids[c.ExternalID]
}

// settle puts whoever came back into SetErased, or takes out who consented anew. was is the profile before, of nobody if fresh.
func (b *comeback) settle(e *editing, c *fanfare.RecipientChange, was, now *profile, fresh bool) error {
	if c.Resubscribe {
		return e.put(fanfare.SetErased, now.Seq, false)
	}
	if b == nil {
		return nil
	}
	again := fresh && b.ids[c.ExternalID] || (fresh || was.Phone != now.Phone) && b.phones[now.Phone]
	if mailbox, usable := now.mailbox.(int64); usable && (fresh || was.mailbox != now.mailbox) {
		again = again || b.mailboxes[mailbox]
	}
	if !again {
		return nil
	}
	return e.put(fanfare.SetErased, now.Seq, true)
}

// erasure is one call of Erase.
type erasure struct {
	slot  fanfare.Slot
	ids   []string
	done  []fanfare.Erased
	gone  *set.Set
	names []string // of them, that others may have written down
	want  *fanfare.Traces
	hash  func(kind, text string) int64
}

// Erase implements fanfare.Erasing.
func (s *Store) Erase(ctx context.Context, n fanfare.Slot, ids []string) ([]fanfare.Erased, error) {
	return s.erase(ctx, n, ids, nil)
}

func (s *Store) erase(ctx context.Context, n fanfare.Slot, ids []string, want *fanfare.Traces) ([]fanfare.Erased, error) {
	for _, id := range ids {
		if fanfare.SlotOf(id, s.slots) != n {
			return nil, fmt.Errorf("recipient %q does not belong to slot %d: %w", id, n, fanfare.ErrUsage)
		}
	}
	if err := s.has(n); err != nil {
		return nil, err
	}
	e := &erasure{slot: n, ids: ids, want: want, hash: s.erasedHash()}
	if err := s.writeSlot(ctx, longWrite, locks{control: true, addresses: lockUpdate, exclusive: []fanfare.Slot{n}}, e.run); err != nil {
		return nil, err
	}
	return e.done, nil
}

func (e *erasure) run(t *tx) error {
	e.done, e.gone, e.names = make([]fanfare.Erased, len(e.ids)), set.New(), nil
	if err := e.profiles(t); err != nil {
		return err
	}
	if !e.gone.Empty() {
		t.tell(fanfare.News{Kind: fanfare.NewsPeople, Slot: e.slot})
		if err := e.sets(t); err != nil {
			return err
		}
		if err := e.exceptions(t); err != nil {
			return err
		}
		if _, err := t.exec("erased.note"); err != nil {
			return err
		}
	}
	if len(e.names) == 0 {
		return nil
	}
	return e.control(t)
}

// look reads who is there, who was erased before, and what erasing them leaves elsewhere.
func (e *erasure) look(c *conn) (there map[string]profile, before map[int64]bool, t fanfare.Traces, err error) {
	values := make([]driver.Value, len(e.ids))
	hashes := make([]driver.Value, len(e.ids))
	for i, id := range e.ids {
		values[i], hashes[i] = id, e.hash(hashOfID, id)
	}
	before = make(map[int64]bool)
	if err := c.queryRows(func(row []driver.Value) error {
		before[integer(row[0])] = true
		return nil
	}, "erased.find", 1, hashes); err != nil {
		return nil, nil, t, err
	}
	there = make(map[string]profile)
	if err := c.queryRows(func(row []driver.Value) error {
		p := profile{mailbox: row[8]}                                                                                  // whatever its attributes are: a damaged row can be erased too
		p.Seq, p.ExternalID, p.Email, p.Phone = fanfare.Seq(integer(row[0])), text(row[1]), text(row[2]), text(row[3]) //nolint:gosec // as written
		there[p.ExternalID] = p
		return nil
	}, inSlot(e.slot, "recipients.known"), 1, values); err != nil {
		return nil, nil, t, err
	}
	named := make(map[string]bool, len(e.ids))
	for _, id := range e.ids {
		p, known := there[id]
		if named[id] || !known && !before[e.hash(hashOfID, id)] {
			continue
		}
		named[id] = true
		t.Names = append(t.Names, id)
		if p.Email != "" {
			t.Names = append(t.Names, p.Email)
		}
		if p.Phone != "" {
			t.Names, t.Phones = append(t.Names, p.Phone), append(t.Phones, p.Phone)
		}
		if mailbox, usable := p.mailbox.(int64); usable {
			t.Mailboxes = append(t.Mailboxes, uint64(mailbox)) //nolint:gosec // all 64 bits
		}
	}
	return there, before, t, nil
}

// profiles takes the rows away, and keeps the hashes.
func (e *erasure) profiles(t *tx) error {
	there, before, traces, err := e.look(t.conn)
	if err != nil {
		return err
	}
	if e.want != nil && !e.want.Same(&traces) {
		return fmt.Errorf("slot %d: whoever is to be erased: %w", e.slot, fanfare.ErrConflict)
	}
	e.names = traces.Names
	for i, id := range e.ids {
		p, known := there[id]
		switch {
		case known:
			delete(there, id)
			e.done[i] = fanfare.ErasedNow
			e.gone.Add(p.Seq)
			if err := e.profile(t, &p); err != nil {
				return err
			}
			before[e.hash(hashOfID, id)] = true // named twice
		case before[e.hash(hashOfID, id)]:
			e.done[i] = fanfare.ErasedBefore
		}
	}
	return nil
}

func (e *erasure) profile(t *tx, p *profile) error {
	var hashes []int64
	if p.Phone != "" {
		hashes = append(hashes, e.hash(hashOfPhone, p.Phone))
	}
	if mailbox, usable := p.mailbox.(int64); usable {
		hashes = append(hashes, e.hash(hashOfMailbox, mailboxText(mailbox)))
	}
	for _, h := range hashes {
		if _, err := t.exec("erased.put", h); err != nil {
			return err
		}
	}
	if _, err := t.exec("erased.put_id", e.hash(hashOfID, p.ExternalID), t.now.UnixMicro()); err != nil {
		return err
	}
	_, err := t.exec(inSlot(e.slot, "recipients.delete"), int64(p.Seq))
	return err
}

// sets takes them out of every set of the slot that holds one of them. The names of sets of values are values: an empty one goes.
func (e *erasure) sets(t *tx) error {
	r, err := t.slot(e.slot)
	if err != nil {
		return err
	}
	t.touch(e.slot, r.changed)
	with := make(map[fanfare.SetName]bool)
	for chunk := range e.gone.Chunks() {
		index := int64(chunk.Index)
		if err := t.query(func(row []driver.Value) error {
			members, err := set.DecodeChunk(chunkOf(index, row[1], row[2], row[3]))
			if err != nil {
				return t.damagedRow(rowOfSet(int64(e.slot), text(row[0]), index), err)
			}
			if set.Overlap(members, e.gone) {
				with[fanfare.SetName(text(row[0]))] = true
			}
			return nil
		}, "sets.chunk", int64(e.slot), index); err != nil {
			return err
		}
	}
	edits, nobody := editing{t: t, slot: e.slot}, set.New()
	for name := range with {
		if err := edits.assign(name, e.gone, nobody); err != nil {
			return err
		}
	}
	return t.keep(e.slot, edits.edits)
}

// exceptions blanks what providers said of them.
func (e *erasure) exceptions(t *tx) error {
	type row struct{ message, seq int64 }
	found := make(map[row]fanfare.Exception)
	for seq := range e.gone.All() {
		if err := t.query(func(r []driver.Value) error {
			x := fanfare.Exception{Code: text(r[1])}
			x.Erase()
			found[row{integer(r[0]), int64(seq)}] = x
			return nil
		}, "exceptions.said", int64(seq), int64(e.slot)); err != nil {
			return err
		}
	}
	for at, x := range found {
		if _, err := t.exec("exceptions.blank", x.Code, at.message, int64(e.slot), at.seq); err != nil {
			return err
		}
	}
	return nil
}

// control takes their names out of audiences and stored answers.
func (e *erasure) control(t *tx) error {
	for _, table := range [...]struct {
		list, save string
		without    func([]byte, []string) ([]byte, bool)
		bytes      bool
	}{
		{"messages.name_people", "messages.audience", fanfare.WithoutRecipients, false},
		{"segments.name_people", "segments.audience", fanfare.WithoutRecipients, false},
		{"idempotency.all", "idempotency.body", fanfare.Redact, true},
	} {
		var keys, values []driver.Value
		if err := t.query(func(row []driver.Value) error {
			left, some := table.without(blob(row[1]), e.names)
			if !some {
				return nil
			}
			keys = append(keys, row[0])
			if table.bytes {
				values = append(values, left)
			} else {
				values = append(values, string(left))
			}
			return nil
		}, table.list); err != nil {
			return err
		}
		for i := range keys {
			if _, err := t.exec(table.save, values[i], keys[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
