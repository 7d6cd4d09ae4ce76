package memory

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"fanfare"
	"fanfare/set"
)

// Slots implements fanfare.People.
func (s *Store) Slots() int { return len(s.slots) }

// Upsert implements fanfare.People.
func (s *Store) Upsert(ctx context.Context, n fanfare.Slot, changes []fanfare.RecipientChange, opt fanfare.UpsertOptions) ([]fanfare.Upserted, error) {
	for i := range changes {
		if fanfare.SlotOf(changes[i].ExternalID, len(s.slots)) != n {
			return nil, fmt.Errorf("recipient %q does not belong to slot %d: %w", changes[i].ExternalID, n, fanfare.ErrUsage)
		}
	}
	sl, err := s.enterOpen(ctx, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if opt.Mark != nil {
		if first, known := sl.marks[*opt.Mark]; known {
			return slices.Clone(first), nil
		}
	}
	sets := editing{slot: sl}
	done := make([]fanfare.Upserted, 0, len(changes))
	wrote := opt.Mark != nil
	for i := range changes {
		if _, there := sl.ids[changes[i].ExternalID]; !there && opt.RefuseErased && s.erased.id(changes[i].ExternalID) {
			done = append(done, fanfare.Upserted{Outcome: fanfare.UpsertErased, Person: fanfare.Person{Slot: n}})
			continue
		}
		u, changed := s.upsert(n, &changes[i], &sets)
		wrote = wrote || changed
		if u.Outcome != fanfare.UpsertRefused {
			for _, name := range opt.Add {
				sets.add(name, u.Seq)
			}
		}
		done = append(done, u)
	}
	if sets.keep() || wrote {
		s.wrote(n)
		if slices.ContainsFunc(done, func(d fanfare.Upserted) bool { return d.Outcome == fanfare.UpsertUpdated }) {
			s.tell(s.ShardOf(n), fanfare.News{Kind: fanfare.NewsPeople, Slot: n})
		}
	}
	if opt.Mark != nil {
		sl.marks[*opt.Mark] = slices.Clone(done)
	}
	return done, nil
}

// upsert answers what became of the change, and whether the row is another one now.
func (s *Store) upsert(n fanfare.Slot, c *fanfare.RecipientChange, sets *editing) (u fanfare.Upserted, wrote bool) {
	sl, entries, now := &s.slots[n], s.addresses, s.clock()
	seq, there := sl.ids[c.ExternalID]
	var old *fanfare.Recipient
	if there {
		if c.Kind == fanfare.ChangeInsert {
			return fanfare.Upserted{Person: fanfare.Person{Slot: n, Seq: seq}, Outcome: fanfare.UpsertRefused}, false
		}
		old = &sl.people[seq].Recipient
	}
	next, changed := c.Apply(old)
	outcome := fanfare.UpsertUnchanged
	switch {
	case !there:
		outcome = fanfare.UpsertCreated
		seq = sl.nextSeq
		sl.nextSeq++
		sl.ids[c.ExternalID] = seq
		sl.order = append(sl.order, seq)
		sets.add(fanfare.SetAlive, seq)
	case changed:
		outcome = fanfare.UpsertUpdated
	}
	next.Person = fanfare.Person{Slot: n, Seq: seq}
	if changed {
		next.UpdatedAt = now
	}
	if !there || changed && !fanfare.SameAttributes(old.Attributes, next.Attributes) {
		sets.add(fanfare.SetUnindexed, seq)
	}
	row := &person{Recipient: cloneRecipient(next)}
	if there {
		row.mailbox, row.usable = sl.people[seq].mailbox, sl.people[seq].usable
	}
	if there && old.Email != "" && next.Email != old.Email { // they were said of the former address
		sets.remove(fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonBounced), seq)
		sets.remove(fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonComplained), seq)
	}
	if c.Email != nil || !there || c.Kind == fanfare.ChangeReplace {
		state := fanfare.AddressNone
		if c.Email != nil {
			state = c.EmailState
		}
		row.usable, row.mailbox = state == fanfare.AddressUsable, 0
		if row.usable {
			row.mailbox = c.Mailbox
		}
		sets.put(fanfare.AddressSet(fanfare.ChannelEmail), seq, row.usable)
		sets.put(fanfare.InvalidSet(fanfare.ChannelEmail), seq, state == fanfare.AddressInvalid)
		if row.usable {
			fresh := !there || !sl.people[seq].usable || sl.people[seq].mailbox != row.mailbox
			for _, name := range entries[row.mailbox] {
				if member, said := c.Born(name, fresh); said {
					sets.put(name, seq, member)
				}
			}
		}
	}
	var was *person
	if there {
		was = sl.people[seq]
		wrote = row.mailbox != was.mailbox || row.usable != was.usable
	}
	if c.Resubscribe {
		sets.remove(fanfare.SetErased, seq)
	} else if s.erased.again(c, was, row) {
		sets.add(fanfare.SetErased, seq)
	}
	sl.people[seq] = row
	return fanfare.Upserted{Person: next.Person, Outcome: outcome}, wrote || outcome != fanfare.UpsertUnchanged
}

// editing changes copies of sets, to be kept together: a set that was lent is never changed.
type editing struct {
	slot *slot
	sets map[fanfare.SetName]*set.Set
}

func (e *editing) put(name fanfare.SetName, seq fanfare.Seq, member bool) {
	if now, edited := e.sets[name]; edited && now.Contains(seq) == member || !edited && e.slot.set(name).Contains(seq) == member {
		return
	}
	if e.sets == nil {
		e.sets = make(map[fanfare.SetName]*set.Set)
	}
	if e.sets[name] == nil {
		e.sets[name] = e.slot.set(name).Clone()
	}
	if member {
		e.sets[name].Add(seq)
	} else {
		e.sets[name].Remove(seq)
	}
}

func (e *editing) add(name fanfare.SetName, seq fanfare.Seq)    { e.put(name, seq, true) }
func (e *editing) remove(name fanfare.SetName, seq fanfare.Seq) { e.put(name, seq, false) }

// keep tells whether a set is another one now.
func (e *editing) keep() (changed bool) {
	for name, members := range e.sets {
		changed = changed || !members.Equal(e.slot.set(name))
		e.slot.putSet(name, members)
	}
	return changed
}

// set gives a set that is not to be changed.
func (sl *slot) set(name fanfare.SetName) *set.Set {
	if members, ok := sl.sets[name]; ok {
		return members
	}
	return set.New()
}

func (sl *slot) putSet(name fanfare.SetName, members *set.Set) {
	sl.sets[name] = members
	if name == fanfare.SetAlive || name.Suppresses() {
		sl.rev++
	}
}

// Recipient implements fanfare.People.
func (s *Store) Recipient(ctx context.Context, externalID string) (fanfare.Recipient, error) {
	sl, err := s.enterSlot(ctx, fanfare.SlotOf(externalID, len(s.slots)))
	if err != nil {
		return fanfare.Recipient{}, err
	}
	defer s.mu.Unlock()
	seq, ok := sl.ids[externalID]
	if !ok {
		return fanfare.Recipient{}, missing("recipient", externalID)
	}
	return cloneRecipient(sl.people[seq].Recipient), nil
}

// Resolve implements fanfare.People.
func (s *Store) Resolve(ctx context.Context, n fanfare.Slot, ids []string) ([]int64, error) {
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return sl.resolve(ids), nil
}

func (sl *slot) resolve(ids []string) []int64 {
	seqs := make([]int64, len(ids))
	for i, id := range ids {
		seqs[i] = -1
		if seq, ok := sl.ids[id]; ok {
			seqs[i] = int64(seq)
		}
	}
	return seqs
}

// Profiles implements fanfare.People.
func (s *Store) Profiles(ctx context.Context, n fanfare.Slot, seqs []fanfare.Seq) ([]fanfare.Recipient, error) {
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := make([]fanfare.Recipient, len(seqs))
	for i, seq := range seqs {
		found[i].Person = fanfare.Person{Slot: n, Seq: seq}
		if p, ok := sl.people[seq]; ok {
			found[i] = cloneRecipient(p.Recipient)
		}
	}
	return found, nil
}

// Scan implements fanfare.People.
func (s *Store) Scan(ctx context.Context, n fanfare.Slot, from fanfare.Seq, limit int, query string) ([]fanfare.Recipient, error) {
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var found []fanfare.Recipient
	start, _ := slices.BinarySearch(sl.order, from)
	for _, seq := range sl.order[start:] {
		if len(found) >= limit {
			break
		}
		p := sl.people[seq]
		if strings.Contains(p.ExternalID, query) || strings.Contains(p.Email, query) || strings.Contains(p.Phone, query) {
			found = append(found, cloneRecipient(p.Recipient))
		}
	}
	return found, nil
}

// Mailboxes implements fanfare.People; it calls fn in order of seq, after the mutex is free again.
func (s *Store) Mailboxes(ctx context.Context, n fanfare.Slot, c fanfare.ChannelName, members *set.Set, fn func(seq fanfare.Seq, key uint64)) error {
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return err
	}
	type mailbox struct {
		seq fanfare.Seq
		key uint64
	}
	var found []mailbox
	for _, seq := range sl.order {
		if p := sl.people[seq]; c == fanfare.ChannelEmail && p.usable && members.Contains(seq) {
			found = append(found, mailbox{seq, p.mailbox})
		}
	}
	s.mu.Unlock()
	for _, m := range found {
		fn(m.seq, m.key)
	}
	return nil
}

// LoadSet implements fanfare.People.
func (s *Store) LoadSet(ctx context.Context, n fanfare.Slot, name fanfare.SetName) (*set.Set, error) {
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return sl.set(name), nil
}

// ChangeSet implements fanfare.People.
func (s *Store) ChangeSet(ctx context.Context, n fanfare.Slot, name fanfare.SetName, add, remove *set.Set) (added, removed int, err error) {
	sl, err := s.enterOpen(ctx, n)
	if err != nil {
		return 0, 0, err
	}
	defer s.mu.Unlock()
	was := sl.set(name)
	next := was.Clone()
	if add != nil {
		next.Union(add)
	}
	if remove != nil {
		next.Subtract(remove)
	}
	added, removed = set.AndNotLen(next, was), set.AndNotLen(was, next)
	if added+removed > 0 {
		sl.putSet(name, next)
		s.wrote(n)
		if name == fanfare.SetAlive {
			s.tell(s.ShardOf(n), fanfare.News{Kind: fanfare.NewsPeople, Slot: n})
		}
	}
	return added, removed, nil
}

// DropSet implements fanfare.People.
func (s *Store) DropSet(ctx context.Context, name fanfare.SetName) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	var changed []fanfare.Slot
	for i := range s.slots {
		if members, there := s.slots[i].sets[name]; there {
			if !s.slots[i].turn.State.Writable() {
				return moving(fanfare.Slot(i)) //nolint:gosec // slots fit
			}
			if !members.Empty() {
				changed = append(changed, fanfare.Slot(i)) //nolint:gosec // slots fit
			}
			s.slots[i].putSet(name, set.New())
			delete(s.slots[i].sets, name)
		}
	}
	s.wrote(changed...)
	return nil
}

// Number implements fanfare.People.
func (s *Store) Number(ctx context.Context, n fanfare.Slot, count int, in ...fanfare.SetName) error {
	sl, err := s.enterOpen(ctx, n)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	if count < 0 || int64(sl.nextSeq)+int64(count) >= set.Universe {
		return fmt.Errorf("slot %d cannot hold %d recipients more: %w", n, count, fanfare.ErrUsage)
	}
	first := uint64(sl.nextSeq)
	sl.nextSeq += fanfare.Seq(count) //nolint:gosec // checked above
	for _, name := range append([]fanfare.SetName{fanfare.SetAlive}, in...) {
		members := sl.set(name).Clone()
		members.AddRange(first, uint64(sl.nextSeq))
		sl.putSet(name, members)
	}
	s.wrote(n)
	return nil
}
