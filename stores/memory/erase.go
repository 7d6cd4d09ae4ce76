package memory

import (
	"context"
	"fmt"
	"slices"
	"strconv"

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
func (e erased) note(p *person)           { e[erasedID(p.ExternalID)] = true; e.addresses(p) }
func (e erased) addresses(p *person) {
	if p.usable {
		e[erasedMailbox(p.mailbox)] = true
	}
	if p.Phone != "" {
		e[erasedPhone(p.Phone)] = true
	}
}

// again says whether a change brings back somebody who was erased: as a new recipient, or by an address that old had not.
func (e erased) again(c *fanfare.RecipientChange, old, next *person) bool {
	return old == nil && e.id(c.ExternalID) ||
		next.usable && (old == nil || !old.usable || old.mailbox != next.mailbox) && e.mailbox(next.mailbox) ||
		(old == nil || old.Phone != next.Phone) && e.phone(next.Phone)
}

// Erase implements fanfare.Erasing.
func (s *Store) Erase(ctx context.Context, n fanfare.Slot, ids []string) ([]fanfare.Erased, error) {
	for _, id := range ids {
		if fanfare.SlotOf(id, len(s.slots)) != n {
			return nil, fmt.Errorf("recipient %q does not belong to slot %d: %w", id, n, fanfare.ErrUsage)
		}
	}
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	done := make([]fanfare.Erased, len(ids))
	var names []string
	gone := set.New()
	for i, id := range ids {
		seq, there := sl.ids[id]
		switch {
		case there:
			p := sl.people[seq]
			s.erased.note(p)
			names = append(names, id)
			for _, address := range []string{p.Email, p.Phone} {
				if address != "" {
					names = append(names, address)
				}
			}
			delete(sl.ids, id)
			delete(sl.people, seq)
			gone.Add(seq)
			done[i] = fanfare.ErasedNow
		case s.erased.id(id):
			names = append(names, id)
			done[i] = fanfare.ErasedBefore
		}
	}
	named := s.control.forget(names)
	switch {
	case !gone.Empty():
		sl.forget(gone)
		s.wrote(n)
		s.tell(s.ShardOf(n), fanfare.News{Kind: fanfare.NewsPeople, Slot: n})
	case named:
		s.heads[0]++
	}
	return done, nil
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
