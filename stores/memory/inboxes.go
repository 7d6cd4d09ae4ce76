package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"fanfare"
	"fanfare/set"
)

// InboxMessages implements fanfare.Inboxes.
func (s *Store) InboxMessages(ctx context.Context) ([]fanfare.InboxMessage, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	now := s.clock()
	var all []fanfare.InboxMessage
	for _, m := range s.control.messages {
		if m.Few || !inInboxes(m, now) {
			continue
		}
		all = append(all, inboxMessage(m))
	}
	slices.SortFunc(all, newestFirst)
	return all, nil
}

func inInboxes(m *fanfare.Message, now time.Time) bool {
	return m.Channel == fanfare.ChannelInbox && !m.StartedAt.IsZero() && m.Phase != fanfare.PhasePreparing && m.Recall != fanfare.RecallAll && !m.Test && m.ExpiresAt().After(now)
}

func inboxMessage(m *fanfare.Message) fanfare.InboxMessage {
	return fanfare.InboxMessage{Num: m.Num, ID: m.ID, Revision: m.Revision, Phase: m.Phase, Recall: m.Recall, StartedAt: m.StartedAt, ExpiresAt: m.ExpiresAt()}
}

func newestFirst(a, b fanfare.InboxMessage) int {
	return cmp.Or(b.StartedAt.Compare(a.StartedAt), cmp.Compare(b.Num, a.Num))
}

// InboxRows implements fanfare.Inboxes.
func (s *Store) InboxRows(ctx context.Context, who fanfare.Person) ([]fanfare.InboxRow, error) {
	sl, err := s.enterSlot(ctx, who.Slot)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	now := s.clock()
	var all []fanfare.InboxRow
	for num, w := range sl.messages {
		at, there := w.rows[who.Seq]
		m := s.control.messages[num]
		if !there || m == nil || !m.Few || !inInboxes(m, now) {
			continue
		}
		row := s.inboxItem(sl, num, who, at)
		row.InboxMessage = inboxMessage(m)
		all = append(all, row)
	}
	slices.SortFunc(all, func(a, b fanfare.InboxRow) int { return newestFirst(a.InboxMessage, b.InboxMessage) })
	return all, nil
}

// InboxItems implements fanfare.InboxesApart.
func (s *Store) InboxItems(ctx context.Context, who fanfare.Person) ([]fanfare.InboxRow, error) {
	sl, err := s.enterSlot(ctx, who.Slot)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var all []fanfare.InboxRow
	for _, num := range ascending(sl.messages) {
		if at, there := sl.messages[num].rows[who.Seq]; there {
			all = append(all, s.inboxItem(sl, num, who, at))
		}
	}
	return all, nil
}

// inboxItem is a row and what is known of its item.
func (s *Store) inboxItem(sl *slot, num fanfare.MessageNum, who fanfare.Person, at time.Time) fanfare.InboxRow {
	row := fanfare.InboxRow{At: at, InboxMessage: fanfare.InboxMessage{Num: num}}
	for damage := range s.damagedReceipts {
		if damage == rowOf(num, who, damage.kind) {
			row.Damaged = damagedReceipts(damage)
		}
	}
	if known := sl.receipts[num][who.Seq]; known != nil && row.Damaged == nil {
		row.Marks = *known
	}
	return row
}

// FewMessages implements fanfare.InboxesApart.
func (s *Store) FewMessages(ctx context.Context, nums []fanfare.MessageNum) ([]fanfare.InboxMessage, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var all []fanfare.InboxMessage
	for _, num := range nums {
		if m := s.control.messages[num]; m != nil && m.Few && inInboxes(m, s.clock()) {
			all = append(all, inboxMessage(m))
		}
	}
	return all, nil
}

// InboxOwners implements fanfare.Inboxes.
func (s *Store) InboxOwners(ctx context.Context, n fanfare.Slot, chunk uint16) (*set.Set, error) {
	owners := set.New()
	err := s.InboxIndex(ctx, n, func(seq fanfare.Seq, _ fanfare.MessageNum) error {
		if uint16(seq>>16) == chunk { //nolint:gosec // the high half
			owners.Add(seq)
		}
		return nil
	})
	return owners, err
}

// InboxIndex implements fanfare.Inboxes.
func (s *Store) InboxIndex(ctx context.Context, n fanfare.Slot, fn func(seq fanfare.Seq, m fanfare.MessageNum) error) error {
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	for num, w := range sl.messages {
		for seq := range w.rows {
			if err := fn(seq, num); err != nil {
				return err
			}
		}
	}
	return nil
}

// SweepInboxes implements fanfare.Inboxes: all at once.
func (s *Store) SweepInboxes(ctx context.Context) (more bool, err error) {
	_, more, err = s.SweepFew(ctx)
	return more, err
}

// SweepRows implements fanfare.InboxesApart.
func (s *Store) SweepRows(ctx context.Context, nums []fanfare.MessageNum) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for _, num := range nums {
		s.sweepRows(num)
	}
	return nil
}

func (s *Store) sweepRows(num fanfare.MessageNum) {
	for n := range s.slots {
		if w := s.slots[n].messages[num]; w != nil && s.slots[n].turn.State.Writable() {
			w.rows, w.latch.Few = nil, false
		}
	}
}

// SweepFew implements fanfare.InboxesApart.
func (s *Store) SweepFew(ctx context.Context) (swept []fanfare.MessageNum, more bool, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, false, err
	}
	defer s.mu.Unlock()
	now := s.clock()
	for _, num := range ascending(s.control.messages) {
		m := s.control.messages[num]
		if !m.Few || m.Recall != fanfare.RecallAll && m.ExpiresAt().After(now) {
			continue
		}
		row := cloneMessage(m)
		row.Few = false
		s.control.messages[num] = &row
		s.sweepRows(num)
		swept = append(swept, num)
	}
	if len(swept) > 0 {
		s.heads[0]++
	}
	return swept, false, nil
}

// InboxChunk implements fanfare.Inboxes.
func (s *Store) InboxChunk(ctx context.Context, n fanfare.Slot, chunk uint16, messages []fanfare.MessageNum) ([]fanfare.InboxPart, error) {
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	parts := make([]fanfare.InboxPart, len(messages))
	first := uint64(chunk) << 16
	for i, m := range messages {
		parts[i].Marks, parts[i].MarksDamaged = s.inboxMarks(sl, m, n, chunk)
		w := sl.messages[m]
		if w == nil || w.parts[fanfare.PartSend] == nil {
			continue
		}
		planned := w.parts[fanfare.PartSend]
		lo, hi := planned.LenRange(0, first), planned.LenRange(0, first+set.ChunkSize)
		if lo == hi {
			continue
		}
		if w.damaged[fanfare.PartSend] {
			parts[i].Damaged = damaged(m, n, fanfare.PartSend)
			continue
		}
		at := slices.IndexFunc(w.batches, func(b fanfare.Batch) bool { return int(b.First) == lo && b.N == hi-lo })
		switch {
		case at < 0 || w.unreadable[fanfare.BatchNo(at)]: //nolint:gosec // small
			parts[i].Damaged = damaged(m, n, fanfare.PartSend)
		case w.batches[at].State != fanfare.BatchDone:
			parts[i].Open = true
		default:
			parts[i].Members = set.Of(w.members(w.batches[at].First, w.batches[at].N)...)
			for seq := range parts[i].Members.Clone().All() {
				if e, there := w.exceptions[seq]; there && e.Result != fanfare.ResultSent {
					parts[i].Members.Remove(seq)
				}
			}
			for _, run := range w.batches[at].Runs {
				if run.At.After(parts[i].At) {
					parts[i].At = run.At
				}
			}
		}
	}
	return parts, nil
}

func (s *Store) inboxMarks(sl *slot, m fanfare.MessageNum, n fanfare.Slot, chunk uint16) (map[fanfare.ReceiptKind]fanfare.InboxMarks, error) {
	var marks map[fanfare.ReceiptKind]fanfare.InboxMarks
	for _, kind := range fanfare.InboxKinds() {
		if row := (receiptRow{m, n, kind, chunk}); s.damagedReceipts[row] {
			return nil, damagedReceipts(row)
		}
		var of fanfare.InboxMarks
		for seq, known := range sl.receipts[m] {
			if uint16(seq>>16) == chunk && known[kind].At != 0 { //nolint:gosec // the high half
				of.Lows = append(of.Lows, uint16(seq)) //nolint:gosec // the low half
			}
		}
		if len(of.Lows) == 0 {
			continue
		}
		slices.Sort(of.Lows)
		for _, low := range of.Lows {
			of.At = append(of.At, sl.receipts[m][fanfare.Seq(chunk)<<16|fanfare.Seq(low)][kind].At)
		}
		if marks == nil {
			marks = make(map[fanfare.ReceiptKind]fanfare.InboxMarks)
		}
		marks[kind] = of
	}
	return marks, nil
}
