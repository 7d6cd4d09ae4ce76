package memory

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"fanfare"
	"fanfare/set"
)

// mostUnbalanced is how many rows a tally names.
const mostUnbalanced = 100

// Tally implements fanfare.Reports.
func (s *Store) Tally(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot) (fanfare.Tally, error) {
	t := fanfare.Tally{Exceptions: make(map[fanfare.Result]int)}
	w, err := s.enterWork(ctx, m, n)
	if err != nil {
		return t, err
	}
	defer s.mu.Unlock()
	if w == nil {
		return t, nil
	}
	for i := range w.batches {
		b := w.row(fanfare.BatchNo(i)) //nolint:gosec // batches are numbered with 32 bits
		t.Batches++
		t.N += b.N
		t.Sent += b.Sent
		t.Failed += b.Failed
		t.Skipped += b.Skipped
		t.Uncertain += b.Uncertain
		t.Pending += b.Pending.Len()
		t.InFlight += b.InFlight.Len()
		t.Doubted += b.Doubted.Len()
		switch b.State {
		case fanfare.BatchDone:
			t.Done++
		case fanfare.BatchHeld:
			t.Held++
		}
		if (!b.Balanced() || w.unreadable[b.Batch]) && len(t.Unbalanced) < mostUnbalanced {
			t.Unbalanced = append(t.Unbalanced, b.BatchRef)
		}
	}
	for _, e := range w.exceptions {
		t.Exceptions[e.Result]++
	}
	return t, nil
}

// Parts implements fanfare.Reports.
func (s *Store) Parts(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot) (map[fanfare.Part]int, error) {
	w, err := s.enterWork(ctx, m, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	sizes := make(map[fanfare.Part]int)
	if w != nil {
		for p, members := range w.parts {
			sizes[p] = members.Len()
		}
	}
	return sizes, nil
}

// PartSet implements fanfare.Reports.
func (s *Store) PartSet(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, p fanfare.Part) (*set.Set, error) {
	w, err := s.enterWork(ctx, m, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if w == nil || w.parts[p] == nil {
		return set.New(), nil
	}
	if w.damaged[p] {
		return nil, damaged(m, n, p)
	}
	return w.parts[p].Clone(), nil
}

// PartOf implements fanfare.Reports.
func (s *Store) PartOf(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, seq fanfare.Seq) (p fanfare.Part, rank int, in bool, err error) {
	w, err := s.enterWork(ctx, m, n)
	if err != nil {
		return "", 0, false, err
	}
	defer s.mu.Unlock()
	if w == nil {
		return "", 0, false, nil
	}
	for _, p := range ascending(w.parts) {
		if w.damaged[p] {
			return "", 0, false, damaged(m, n, p)
		}
		if w.parts[p].Contains(seq) {
			return p, w.parts[p].Rank(seq), true, nil
		}
	}
	return "", 0, false, nil
}

// Exception implements fanfare.Reports.
func (s *Store) Exception(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, seq fanfare.Seq) (e fanfare.Exception, there bool, err error) {
	w, err := s.enterWork(ctx, m, n)
	if err != nil {
		return e, false, err
	}
	defer s.mu.Unlock()
	if w != nil {
		e, there = w.exceptions[seq]
	}
	return e, there, nil
}

// Batches implements fanfare.Reports.
func (s *Store) Batches(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, from fanfare.BatchNo, limit int) ([]fanfare.Batch, error) {
	w, err := s.enterWork(ctx, m, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var rows []fanfare.Batch
	if w != nil {
		for i := int(from); i < len(w.batches) && len(rows) < limit; i++ {
			rows = append(rows, w.row(fanfare.BatchNo(i))) //nolint:gosec // as above
		}
	}
	return rows, nil
}

// Exceptions implements fanfare.Reports: the rows are those of the moment when the loop begins.
func (s *Store) Exceptions(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, from fanfare.Seq) iter.Seq2[fanfare.Exception, error] {
	return func(yield func(fanfare.Exception, error) bool) {
		w, err := s.enterWork(ctx, m, n)
		if err != nil {
			yield(fanfare.Exception{}, err)
			return
		}
		var rows []fanfare.Exception
		if w != nil {
			for _, e := range w.exceptions {
				if e.Seq >= from {
					rows = append(rows, e)
				}
			}
		}
		s.mu.Unlock()
		slices.SortFunc(rows, func(a, b fanfare.Exception) int { return cmp.Compare(a.Seq, b.Seq) })
		for _, e := range rows {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Failures implements fanfare.Reports; equal groups come by reason, code and text.
func (s *Store) Failures(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, limit int) ([]fanfare.FailureGroup, error) {
	w, err := s.enterWork(ctx, m, n)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if w == nil {
		return nil, nil
	}
	counts := make(map[fanfare.FailureGroup]int)
	for _, e := range w.exceptions {
		if e.Result == fanfare.ResultFailed {
			counts[fanfare.FailureGroup{Reason: e.Reason, Code: e.Code, Sample: e.Text}]++
		}
	}
	groups := make([]fanfare.FailureGroup, 0, len(counts))
	for g, n := range counts {
		g.Count = n
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b fanfare.FailureGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Sample, b.Sample))
	})
	return groups[:min(limit, len(groups))], nil
}
