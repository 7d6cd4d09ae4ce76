package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"fanfare"
	"fanfare/set"
)

// receipts is what one shard keeps of receipts beside the slots: the log that is not folded.
type receipts struct {
	log    []fanfare.LogEntry
	folded int64
}

// tailPage is how many entries a page of the log holds, foldStep how many one Fold takes.
const (
	tailPage = 1000
	foldStep = 1000
)

// receiptRow names a row of the sets that the log is folded into.
type receiptRow struct {
	message fanfare.MessageNum
	slot    fanfare.Slot
	kind    fanfare.ReceiptKind
	chunk   uint16
}

func rowOf(m fanfare.MessageNum, p fanfare.Person, k fanfare.ReceiptKind) receiptRow {
	return receiptRow{m, p.Slot, k, uint16(p.Seq >> 16)} //nolint:gosec // the high half
}

func damagedReceipts(r receiptRow) error {
	return fmt.Errorf("receipts of message %d, slot %d, %v, chunk %d: %w", r.message, r.slot, r.kind, r.chunk, fanfare.ErrDamaged)
}

// DamageReceipts makes one row of a set of receipts unreadable.
func (s *Store) DamageReceipts(m fanfare.MessageNum, n fanfare.Slot, k fanfare.ReceiptKind, chunk uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.damagedReceipts[receiptRow{m, n, k, chunk}] = true
}

func (s *Store) hasShard(shard int) error {
	if shard < 0 || shard >= s.shards {
		return fmt.Errorf("shard %d of %d: %w", shard, s.shards, fanfare.ErrUsage)
	}
	return nil
}

// LogReceipts implements fanfare.Receipts.
func (s *Store) LogReceipts(ctx context.Context, shard int, marks []fanfare.Receipt) ([]fanfare.Logged, error) {
	if err := s.hasShard(shard); err != nil {
		return nil, err
	}
	for i := range marks {
		if r := &marks[i]; int(r.Slot) >= len(s.slots) || s.ShardOf(r.Slot) != shard || !r.Kind.Valid() || r.Source > fanfare.SourceInferred || r.Message <= 0 {
			return nil, fmt.Errorf("receipt %d: %v, %v, message %d, slot %d on shard %d: %w", i, r.Kind, r.Source, r.Message, r.Slot, shard, fanfare.ErrUsage)
		}
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for i := range marks {
		if n := marks[i].Slot; !s.slots[n].turn.State.Writable() {
			return nil, moving(n)
		}
	}
	answers := make([]fanfare.Logged, len(marks))
	var notes []fanfare.Note
	for i := range marks {
		r := &marks[i]
		if s.touchesDamage(r) {
			answers[i] = fanfare.LoggedDamaged
			continue
		}
		began := r.Decide(fanfare.MinuteOf(s.clock()), func(k fanfare.ReceiptKind) fanfare.Stamp {
			if known := s.slots[r.Slot].receipts[r.Message][r.Seq]; known != nil {
				return known[k]
			}
			return fanfare.Stamp{}
		}, func(k fanfare.ReceiptKind, at fanfare.Stamp) {
			s.slots[r.Slot].note(r.Message, r.Seq, k, at)
			notes = append(notes, fanfare.Note{Message: r.Message, Person: r.Person, Kind: k, Stamp: at})
		})
		if began {
			answers[i] = fanfare.LoggedNew
		}
	}
	if len(notes) > 0 {
		s.heads[shard]++
		s.receipts[shard].log = append(s.receipts[shard].log, fanfare.LogEntry{ID: s.heads[shard], Notes: notes})
	}
	return answers, nil
}

// tell logs news of a shard, by the head that was just raised.
func (s *Store) tell(shard int, news ...fanfare.News) {
	slices.SortFunc(news, func(a, b fanfare.News) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Message, b.Message), cmp.Compare(a.Slot, b.Slot))
	})
	if news = slices.Compact(news); len(news) > 0 {
		s.receipts[shard].log = append(s.receipts[shard].log, fanfare.LogEntry{ID: s.heads[shard], News: news})
	}
}

func (s *Store) touchesDamage(r *fanfare.Receipt) bool {
	for _, k := range r.Kind.Facts() {
		for _, k := range [...]fanfare.ReceiptKind{k, k.Ends(), k.EndedBy()} {
			if s.damagedReceipts[rowOf(r.Message, r.Person, k)] {
				return true
			}
		}
	}
	return false
}

func (sl *slot) note(m fanfare.MessageNum, seq fanfare.Seq, k fanfare.ReceiptKind, at fanfare.Stamp) {
	if sl.receipts[m] == nil {
		sl.receipts[m] = make(map[fanfare.Seq]*fanfare.Receipted)
	}
	known := sl.receipts[m][seq]
	if known == nil {
		known = new(fanfare.Receipted)
		sl.receipts[m][seq] = known
	}
	known.Note(k, at)
}

// ReceiptSet implements fanfare.Receipts.
func (s *Store) ReceiptSet(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, k fanfare.ReceiptKind) (*set.Set, error) {
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for row := range s.damagedReceipts {
		if row.message == m && row.slot == n && row.kind == k {
			return nil, damagedReceipts(row)
		}
	}
	members := set.New()
	if k.Valid() {
		for seq, known := range sl.receipts[m] {
			if known[k].At != 0 {
				members.Add(seq)
			}
		}
	}
	return members, nil
}

// ReceiptCounts implements fanfare.Receipts.
func (s *Store) ReceiptCounts(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot) (map[fanfare.ReceiptKind]int, error) {
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	counts := make(map[fanfare.ReceiptKind]int)
	for _, known := range sl.receipts[m] {
		for _, k := range fanfare.ReceiptKinds() {
			if known[k].At != 0 {
				counts[k]++
			}
		}
	}
	return counts, nil
}

// ReceiptTimes implements fanfare.Receipts.
func (s *Store) ReceiptTimes(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, seqs []fanfare.Seq) ([]fanfare.Receipted, error) {
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	found := make([]fanfare.Receipted, len(seqs))
	for i, seq := range seqs {
		for _, k := range fanfare.ReceiptKinds() {
			if row := rowOf(m, fanfare.Person{Slot: n, Seq: seq}, k); s.damagedReceipts[row] {
				return nil, damagedReceipts(row)
			}
		}
		if known := sl.receipts[m][seq]; known != nil {
			found[i] = *known
		}
	}
	return found, nil
}

// Tail implements fanfare.Receipts.
func (s *Store) Tail(ctx context.Context, shard int, after int64) (fanfare.TailPage, error) {
	if err := s.hasShard(shard); err != nil {
		return fanfare.TailPage{}, err
	}
	if err := s.enter(ctx); err != nil {
		return fanfare.TailPage{}, err
	}
	defer s.mu.Unlock()
	r := &s.receipts[shard]
	p := fanfare.TailPage{Next: max(after, s.heads[shard]), Folded: r.folded}
	if after < r.folded {
		return p, nil
	}
	for _, e := range r.log {
		if e.ID <= after {
			continue
		}
		if p.More = len(p.Entries) == tailPage; p.More {
			p.Next = p.Entries[tailPage-1].ID
			break
		}
		p.Entries = append(p.Entries, fanfare.LogEntry{ID: e.ID, Notes: slices.Clone(e.Notes), News: slices.Clone(e.News)})
	}
	return p, nil
}

// Unfolded implements fanfare.Receipts.
func (s *Store) Unfolded(ctx context.Context, shard int) (n int, err error) {
	if err := s.hasShard(shard); err != nil {
		return 0, err
	}
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	for _, e := range s.receipts[shard].log {
		n += len(e.Notes) + len(e.News)
	}
	return n, nil
}

// Fold implements fanfare.Receipts: the sets are up to date already, only the log is cut.
func (s *Store) Fold(ctx context.Context, shard int) (more bool, err error) {
	if err := s.hasShard(shard); err != nil {
		return false, err
	}
	if err := s.enter(ctx); err != nil {
		return false, err
	}
	defer s.mu.Unlock()
	r := &s.receipts[shard]
	if len(r.log) == 0 {
		return false, nil
	}
	step := min(foldStep, len(r.log))
	for _, e := range r.log[:step] {
		for _, n := range e.Notes {
			if row := rowOf(n.Message, n.Person, n.Kind); s.damagedReceipts[row] {
				return false, damagedReceipts(row)
			}
		}
	}
	r.folded = r.log[step-1].ID
	r.log = slices.Clone(r.log[step:])
	s.heads[shard]++
	return len(r.log) > 0, nil
}
