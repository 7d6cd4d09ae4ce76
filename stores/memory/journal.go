package memory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"fanfare"
	"fanfare/set"
)

// Shards implements fanfare.Journal.
func (s *Store) Shards() int { return s.shards }

// ShardOf implements fanfare.Journal.
func (s *Store) ShardOf(n fanfare.Slot) int { return int(n) % s.shards }

// batch finds a row; nil if there is none.
func (s *Store) batch(r fanfare.BatchRef) (*work, *fanfare.Batch) {
	if int(r.Slot) >= len(s.slots) {
		return nil, nil
	}
	w := s.slots[r.Slot].messages[r.Message]
	if w == nil || int(r.Batch) >= len(w.batches) {
		return nil, nil
	}
	return w, &w.batches[r.Batch]
}

// Append implements fanfare.Journal. Nothing here fails for a whole group, so each entry is carried out alone.
func (s *Store) Append(ctx context.Context, shard int, entries []fanfare.Entry) []fanfare.EntryAnswer {
	answers := make([]fanfare.EntryAnswer, len(entries))
	if err := s.enter(ctx); err != nil {
		for i := range answers {
			answers[i].Err = err
		}
		return answers
	}
	defer s.mu.Unlock()
	now := s.clock()
	wrote := false
	var news []fanfare.News
	for i, e := range entries {
		a := &answers[i]
		ref := e.Ref()
		w, b := s.batch(ref)
		switch {
		case s.ShardOf(ref.Slot) != shard:
			a.Answer, a.Err = fanfare.Failed, fmt.Errorf("%v does not lie on shard %d: %w", ref, shard, fanfare.ErrUsage)
		case int(ref.Slot) < len(s.slots) && !s.slots[ref.Slot].turn.State.Writable():
			a.Answer, a.Row, a.Err = fanfare.Stale, fanfare.Batch{BatchRef: ref}, moving(ref.Slot)
			if e.Record != nil {
				a.Answer = fanfare.Unknown
			}
		case b == nil:
			a.Answer, a.Row = fanfare.Stale, fanfare.Batch{BatchRef: ref}
		case w.unreadable[ref.Batch] && (e.Record == nil || b.Fence != e.Record.Fence || b.Step != e.Record.Step):
			*a = hold(b, damagedBatch(ref))
			a.Row = fanfare.Batch{BatchRef: ref}
		case e.Claim != nil:
			*a = s.claim(e.Claim, w, b, now)
		case e.Amend != nil:
			*a = s.amend(e.Amend, w, b, now)
		default:
			*a = s.record(e.Record, w, b, now)
		}
		if a.Answer == fanfare.Applied && (e.Amend != nil || e.Claim != nil && e.Claim.Deliver != nil) {
			n := fanfare.News{Kind: fanfare.NewsDelivered, Message: ref.Message, Slot: ref.Slot}
			if e.Claim != nil {
				n.Kind = e.Claim.Deliver.News()
			}
			news = append(news, n)
		}
		wrote = wrote || a.Answer == fanfare.Applied || a.Answer == fanfare.Halted || a.Answer == fanfare.Failed && !errors.Is(a.Err, fanfare.ErrUsage)
	}
	if wrote {
		s.heads[shard]++
		s.tell(shard, news...)
	}
	s.remember(shard)
	return answers
}

func (s *Store) claim(c *fanfare.Claim, w *work, b *fanfare.Batch, now time.Time) fanfare.EntryAnswer {
	next, found, answer := c.Decide(s.rules, s.latch(w, c.Slot), *b, now)
	if answer != fanfare.Applied {
		return fanfare.EntryAnswer{Answer: answer, Row: b.Clone()}
	}
	if c.Delivers() {
		return s.deliver(c, w, b, next, found, now)
	}
	var members []fanfare.Seq
	begins := c.Begins(b)
	if begins || len(found) > 0 || len(w.exceptions) > 0 {
		if w.damaged[fanfare.PartSend] {
			return hold(b, damaged(c.Message, c.Slot, fanfare.PartSend))
		}
		members = w.members(b.First, b.N)
	}
	if begins {
		found = append(found, c.Begin(&next, members, s.suppressed(c.Slot, c.First.Suppressions))...)
	}
	*b = next
	for _, e := range found {
		e.Seq, e.At = members[e.Rank], now
		s.except(w, c.Slot, e)
	}
	a := fanfare.EntryAnswer{Answer: fanfare.Applied, Row: b.Clone()}
	if begins {
		a.Members = members
	}
	a.Exceptions = w.exceptionsOf(members)
	return a
}

func (s *Store) amend(d *fanfare.Amend, w *work, b *fanfare.Batch, now time.Time) fanfare.EntryAnswer {
	if err := d.Check(); err != nil {
		return fanfare.EntryAnswer{Answer: fanfare.Failed, Row: b.Clone(), Err: err}
	}
	if answer := d.May(s.rules, s.latch(w, d.Slot), b, now); answer != fanfare.Applied {
		return fanfare.EntryAnswer{Answer: answer, Row: b.Clone()}
	}
	if w.damaged[fanfare.PartSend] {
		return hold(b, damaged(d.Message, d.Slot, fanfare.PartSend))
	}
	next, changed, answer := d.Decide(b, w.exceptionsOf(w.members(b.First, b.N)), now)
	if answer == fanfare.Applied {
		*b = next
		for i, e := range changed {
			s.except(w, d.Slot, e)
			changed[i] = w.exceptions[e.Seq] // as it is kept
			changed[i].Rank = e.Rank
		}
	}
	return fanfare.EntryAnswer{Answer: answer, Row: b.Clone(), Exceptions: changed}
}

// exceptionsOf gives the rows of members of a batch, with their ranks.
func (w *work) exceptionsOf(members []fanfare.Seq) (found []fanfare.Exception) {
	for rank, seq := range members {
		if e, ok := w.exceptions[seq]; ok {
			e.Rank = rank
			found = append(found, e)
		}
	}
	return found
}

// deliver carries out a claim that delivers its batch.
func (s *Store) deliver(c *fanfare.Claim, w *work, b *fanfare.Batch, next fanfare.Batch, found []fanfare.Exception, now time.Time) fanfare.EntryAnswer {
	if w.damaged[fanfare.PartSend] {
		return hold(b, damaged(c.Message, c.Slot, fanfare.PartSend))
	}
	members := w.members(b.First, b.N)
	suppressed := s.suppressed(c.Slot, c.Deliver.Suppressions)
	var skipped []fanfare.Exception
	for rank, seq := range members {
		if why, skip := suppressed(seq); skip {
			skipped = append(skipped, fanfare.Exception{Rank: rank, Seq: seq, Reason: why})
		}
	}
	rows := c.Rows(w.latch, &next, skipped)
	found = append(found, c.Finish(&next, skipped, now)...)
	*b = next
	for _, e := range found {
		e.Seq, e.At = members[e.Rank], now
		s.except(w, c.Slot, e)
	}
	a := fanfare.EntryAnswer{Answer: fanfare.Applied, Row: b.Clone()}
	if b.State == fanfare.BatchDone {
		for _, rank := range rows {
			a.Members = append(a.Members, members[rank])
			if w.rows == nil {
				w.rows = make(map[fanfare.Seq]time.Time)
			}
			w.rows[members[rank]] = now
		}
	}
	return a
}

func (s *Store) record(r *fanfare.Record, w *work, b *fanfare.Batch, now time.Time) fanfare.EntryAnswer {
	if err := r.Check(b); err != nil {
		if b.Fence != r.Fence || b.Step != r.Step {
			return fanfare.EntryAnswer{Answer: fanfare.Stale, Row: b.Clone()}
		}
		return hold(b, err)
	}
	var suppressed func(fanfare.Seq) (fanfare.Reason, bool)
	if r.Intent != nil {
		suppressed = s.suppressed(r.Slot, r.Intent.Suppressions)
	}
	next, found, answer := r.Decide(s.rules, s.latch(w, r.Slot), b, now, suppressed)
	if answer == fanfare.Stale {
		return fanfare.EntryAnswer{Answer: answer, Row: b.Clone()}
	}
	*b = next
	delete(w.unreadable, b.Batch) // its holder wrote it anew
	for _, e := range found {
		s.except(w, r.Slot, e)
	}
	return fanfare.EntryAnswer{Answer: answer, Row: b.Clone()}
}

func hold(b *fanfare.Batch, why error) fanfare.EntryAnswer {
	*b = b.Hold(why.Error())
	return fanfare.EntryAnswer{Answer: fanfare.Failed, Row: b.Clone(), Err: why}
}

func (s *Store) latch(w *work, n fanfare.Slot) fanfare.Latch {
	l := w.latch
	sl := &s.slots[n]
	l.Slot, l.Epoch, l.Open, l.Rev = n, sl.turn.Epoch, sl.turn.State == fanfare.SlotOpen, sl.rev
	return l
}

// except keeps a row; of whoever was erased it says nothing that others said.
func (s *Store) except(w *work, n fanfare.Slot, e fanfare.Exception) {
	e.Rank = 0
	if !s.slots[n].set(fanfare.SetAlive).Contains(e.Seq) {
		e.Erase()
	}
	w.exceptions[e.Seq] = e.Over(w.exceptions[e.Seq])
}

// members are the planned of rank first to first+n, as far as there are any.
func (w *work) members(first uint32, n int) []fanfare.Seq {
	planned := w.parts[fanfare.PartSend]
	if planned == nil || n <= 0 {
		return nil
	}
	return planned.SelectRange(make([]fanfare.Seq, 0, min(n, set.ChunkSize)), int(first), int(first)+n)
}

// suppressed reads the sets of a slot once and tells who gets nothing.
func (s *Store) suppressed(n fanfare.Slot, parts []fanfare.SuppressionPart) func(fanfare.Seq) (fanfare.Reason, bool) {
	sets := s.slots[n].sets
	if s.rules.SuppressionsBefore && s.slots[n].before != nil {
		sets = s.slots[n].before
	}
	alive := sets[fanfare.SetAlive]
	return func(seq fanfare.Seq) (fanfare.Reason, bool) {
		if alive == nil || !alive.Contains(seq) {
			return fanfare.ReasonErased, true
		}
		for _, part := range parts {
			for _, name := range part.Sets {
				if members := sets[name]; members != nil && members.Contains(seq) {
					return part.Reason, true
				}
			}
		}
		return "", false
	}
}

// remember keeps what the suppressions were, for the broken rule that reads them before the transaction.
func (s *Store) remember(shard int) {
	for n := range s.slots {
		if s.rules.SuppressionsBefore && n%s.shards == shard {
			s.slots[n].before = maps.Clone(s.slots[n].sets)
		}
	}
}

// Peek implements fanfare.Journal; a row that is not there comes as its name alone.
func (s *Store) Peek(ctx context.Context, refs []fanfare.BatchRef) ([]fanfare.Batch, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	rows := make([]fanfare.Batch, len(refs))
	for i, ref := range refs {
		rows[i].BatchRef = ref
		if int(ref.Slot) < len(s.slots) && !s.slots[ref.Slot].turn.State.Readable() {
			return nil, moving(ref.Slot)
		}
		if w, b := s.batch(ref); b != nil {
			rows[i] = w.row(ref.Batch)
		}
	}
	return rows, nil
}

// Members implements fanfare.Journal.
func (s *Store) Members(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, first uint32, count int) ([]fanfare.Seq, error) {
	w, err := s.enterWork(ctx, m, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if w == nil {
		return nil, nil
	}
	if w.damaged[fanfare.PartSend] {
		return nil, damaged(m, n, fanfare.PartSend)
	}
	return w.members(first, count), nil
}

// Backlog implements fanfare.Journal.
func (s *Store) Backlog(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, from fanfare.BatchNo, limit int) (open []fanfare.Batch, first fanfare.BatchNo, err error) {
	w, err := s.enterWork(ctx, m, n)
	if err != nil {
		return nil, 0, err
	}
	defer s.mu.Unlock()
	if w == nil {
		return nil, 0, nil
	}
	first = fanfare.BatchNo(len(w.batches)) //nolint:gosec // batches are numbered with 32 bits
	for i := len(w.batches) - 1; i >= 0; i-- {
		if w.batches[i].State != fanfare.BatchDone {
			first = fanfare.BatchNo(i) //nolint:gosec // as above
		}
	}
	for i := int(from); i < len(w.batches) && len(open) < limit; i++ {
		if b := w.batches[i]; b.State != fanfare.BatchDone && b.State != fanfare.BatchHeld {
			b.Pending, b.InFlight, b.Doubted, b.Runs = set.Bits{}, set.Bits{}, set.Bits{}, nil
			open = append(open, b)
		}
	}
	return open, first, nil
}

// VoidClaims implements fanfare.Journal.
func (s *Store) VoidClaims(ctx context.Context, m fanfare.MessageNum, o fanfare.Owner) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	var changed []fanfare.Slot
	for n := range s.slots {
		w := s.slots[n].messages[m]
		if w == nil || !s.slots[n].turn.State.Writable() {
			continue
		}
		some := false
		for i := range w.batches {
			b := &w.batches[i]
			next, voided := b.Void(o)
			if voided && w.unreadable[b.Batch] {
				next = b.Hold(damagedBatch(b.BatchRef).Error())
			}
			if voided {
				*b, some = next, true
			}
		}
		if some {
			changed = append(changed, fanfare.Slot(n)) //nolint:gosec // slots fit
		}
	}
	s.wrote(changed...)
	return nil
}

// Claims implements fanfare.Journal. What is held is left to a person: no settling claim could take it.
func (s *Store) Claims(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot) (live int, dead []fanfare.BatchRef, err error) {
	w, err := s.enterWork(ctx, m, n)
	if err != nil {
		return 0, nil, err
	}
	defer s.mu.Unlock()
	if w == nil {
		return 0, nil, nil
	}
	now := s.clock()
	for i := range w.batches {
		switch b := &w.batches[i]; {
		case b.Claimed(now):
			live++
		case b.State == fanfare.BatchOpen && !b.InFlight.Empty():
			dead = append(dead, b.BatchRef)
		}
	}
	return live, dead, nil
}
