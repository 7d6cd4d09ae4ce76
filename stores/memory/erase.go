package memory

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"fanfare"
	"fanfare/set"
)

// erased keeps who was erased. What is kept in memory alone needs no hashes.
type erased map[string]bool

func erasedID(id string) string           { return "id " + id }
func erasedPhone(phone string) string     { return "phone " + phone }
func erasedMailbox(mailbox uint64) string { return "mailbox " + strconv.FormatUint(mailbox, 10) }
func (e erased) id(id string) bool        { return e[erasedID(id)] }
func (e erased) phone(phone string) bool  { return phone != "" && e[erasedPhone(phone)] }
func (e erased) mailbox(key uint64) bool  { return e[erasedMailbox(key)] }

// again says whether a change brings back somebody who was erased: as a new recipient, or by an address that old had not.
func (e erased) again(c *fanfare.RecipientChange, old, next *person) bool {
	return old == nil && e.id(c.ExternalID) ||
		next.usable && (old == nil || !old.usable || old.mailbox != next.mailbox) && e.mailbox(next.mailbox) ||
		(old == nil || old.Phone != next.Phone) && e.phone(next.Phone)
}

// traces tells what erasing ids now would have to write elsewhere.
func (s *Store) traces(sl *slot, ids []string) (t fanfare.Traces) {
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		seq, there := sl.ids[id]
		switch {
		case seen[id]:
		case there:
			p := sl.people[seq]
			t.Names = append(t.Names, id)
			if p.Email != "" {
				t.Names = append(t.Names, p.Email)
			}
			if p.Phone != "" {
				t.Names, t.Phones = append(t.Names, p.Phone), append(t.Phones, p.Phone)
			}
			if p.usable {
				t.Mailboxes = append(t.Mailboxes, p.mailbox)
			}
		case s.erased.id(id):
			t.Names = append(t.Names, id)
		}
		seen[id] = true
	}
	return t
}

// Erase implements fanfare.Erasing.
func (s *Store) Erase(ctx context.Context, n fanfare.Slot, ids []string) ([]fanfare.Erased, error) {
	return s.erase(ctx, n, ids, nil)
}

// EraseTraced implements fanfare.ErasingApart.
func (s *Store) EraseTraced(ctx context.Context, n fanfare.Slot, ids []string, t fanfare.Traces) ([]fanfare.Erased, error) {
	return s.erase(ctx, n, ids, &t)
}

func (s *Store) erase(ctx context.Context, n fanfare.Slot, ids []string, want *fanfare.Traces) ([]fanfare.Erased, error) {
	for _, id := range ids {
		if fanfare.SlotOf(id, len(s.slots)) != n {
			return nil, fmt.Errorf("recipient %q does not belong to slot %d: %w", id, n, fanfare.ErrUsage)
		}
	}
	sl, err := s.enterOpen(ctx, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	t := s.traces(sl, ids)
	if want != nil && !want.Same(&t) {
		return nil, fmt.Errorf("slot %d: whoever is to be erased: %w", n, fanfare.ErrConflict)
	}
	done := make([]fanfare.Erased, len(ids))
	gone, elsewhere := set.New(), s.noteErased(t)
	for i, id := range ids {
		seq, there := sl.ids[id]
		switch {
		case there:
			s.erased[erasedID(id)], s.erasedAt[id] = true, s.clock()
			delete(sl.ids, id)
			delete(sl.people, seq)
			gone.Add(seq)
			done[i] = fanfare.ErasedNow
		case s.erased.id(id):
			done[i] = fanfare.ErasedBefore
		}
	}
	named := s.control.forget(t.Names)
	raised := make([]bool, s.shards)
	raised[s.ShardOf(n)] = !gone.Empty()
	raised[0] = raised[0] || named
	for shard := range raised {
		if raised[shard] || elsewhere {
			s.heads[shard]++
		}
	}
	if !gone.Empty() {
		sl.forget(gone)
		s.tell(s.ShardOf(n), fanfare.News{Kind: fanfare.NewsPeople, Slot: n})
	}
	return done, nil
}

// Known implements fanfare.Erasing.
func (s *Store) Known(ctx context.Context, externalID string) (who fanfare.Person, erased time.Time, err error) {
	n := fanfare.SlotOf(externalID, len(s.slots))
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return who, erased, err
	}
	defer s.mu.Unlock()
	seq, there := sl.ids[externalID]
	if !there {
		return who, erased, missing("recipient", externalID)
	}
	return fanfare.Person{Slot: n, Seq: seq}, s.erasedAt[externalID], nil
}

// Traces implements fanfare.ErasingApart.
func (s *Store) Traces(ctx context.Context, n fanfare.Slot, ids []string) (fanfare.Traces, error) {
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return fanfare.Traces{}, err
	}
	defer s.mu.Unlock()
	return s.traces(sl, ids), nil
}

// noteErased keeps addresses; it tells whether one is new.
func (s *Store) noteErased(t fanfare.Traces) (some bool) {
	note := func(what string) {
		some = some || !s.erased[what]
		s.erased[what] = true
	}
	for _, m := range t.Mailboxes {
		note(erasedMailbox(m))
	}
	for _, p := range t.Phones {
		note(erasedPhone(p))
	}
	return some
}

// NoteErased implements fanfare.ErasingApart.
func (s *Store) NoteErased(ctx context.Context, t fanfare.Traces) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if s.noteErased(t) {
		s.heads[0]++
	}
	return nil
}

// ForgetNames implements fanfare.ErasingApart.
func (s *Store) ForgetNames(ctx context.Context, names []string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if s.control.forget(names) {
		s.heads[0]++
	}
	return nil
}

// forget takes people out of everything that the slot keeps of them by name or by what others said.
func (sl *slot) forget(gone *set.Set) {
	sl.order = slices.DeleteFunc(sl.order, gone.Contains)
	for name, members := range sl.sets {
		if set.Overlap(members, gone) {
			sl.putSet(name, set.AndNot(members, gone))
		}
	}
	for _, w := range sl.messages {
		for seq := range gone.All() {
			if e, there := w.exceptions[seq]; there {
				e.Erase()
				w.exceptions[seq] = e
			}
		}
	}
}

// forget takes names out of audiences and stored answers; it tells whether there were any.
func (c *control) forget(names []string) (changed bool) {
	for num, m := range c.messages {
		if audience, some := fanfare.WithoutRecipients(m.Audience, names); some {
			row := cloneMessage(m)
			row.Audience = audience
			c.messages[num], changed = &row, true
		}
	}
	for name, row := range c.segments {
		if audience, some := fanfare.WithoutRecipients(row.Audience, names); some {
			row.Audience = audience
			c.segments[name], changed = row, true
		}
	}
	for key, a := range c.answers {
		if body, some := fanfare.Redact(a.Body, names); some {
			a.Body = body
			c.answers[key], changed = a, true
		}
	}
	return changed
}

// Purge implements fanfare.Erasing: there are no files.
func (s *Store) Purge(ctx context.Context) (more bool, err error) {
	if err := s.enter(ctx); err != nil {
		return false, err
	}
	defer s.mu.Unlock()
	return false, nil
}
