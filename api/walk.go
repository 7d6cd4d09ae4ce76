package api

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"fanfare"
	"fanfare/set"
)

// batchesRead is how many batches are read together.
const batchesRead = 64

// walk goes through a message's items from a place on: slot by slot, first the planned, batch by batch, then who was skipped at the
// freeze, reason by reason. It calls yield with each item that passes and the place behind it; false ends it.
type walk struct {
	s      *Server
	m      *fanfare.Message
	filter ItemFilter
	yield  func(it fanfare.Item, behind place) bool
	began  time.Time
	limit  time.Duration // after which it ends, with the place in late; 0: never
	late   *place
}

// tired ends a walk that found too little for too long.
func (w *walk) tired(at place) bool {
	if w.limit > 0 && time.Since(w.began) > w.limit {
		w.late = &at
	}
	return w.late != nil
}

func (w *walk) from(ctx context.Context, at place) error {
	w.began = time.Now()
	for ; at.Slot < w.s.Store.Slots(); at = (place{Slot: at.Slot + 1}) {
		more := true
		var err error
		if at.Part == 0 {
			if more, err = w.planned(ctx, at); err != nil || !more {
				return err
			}
			at.Part, at.At = 1, 0
		}
		if more, err = w.skipped(ctx, at); err != nil || !more {
			return err
		}
	}
	return nil
}

// planned walks through the batches of a slot; at.At is a rank among the planned.
func (w *walk) planned(ctx context.Context, at place) (more bool, err error) {
	slot := fanfare.Slot(at.Slot) //nolint:gosec // slots fit
	var members *set.Set
	from, err := w.s.batchOf(ctx, w.m, slot, at.At)
	if err != nil {
		return false, err
	}
	for {
		rows, err := w.s.Store.Batches(ctx, w.m.Num, slot, from, batchesRead)
		if err != nil || len(rows) == 0 {
			return true, err
		}
		for i := range rows {
			b := &rows[i]
			if !w.filter.mayHold(b, w.m.Phase) {
				continue
			}
			if members == nil {
				if members, err = w.s.Store.PartSet(ctx, w.m.Num, slot, fanfare.PartSend); err != nil {
					return false, err
				}
			}
			if more, err := w.batch(ctx, at, b, members); err != nil || !more {
				return false, err
			}
		}
		last := rows[len(rows)-1]
		from = last.Batch + 1
		if w.tired(place{Slot: at.Slot, At: last.First + uint32(last.N)}) { //nolint:gosec // a batch is small
			return false, nil
		}
	}
}

// batch walks through one batch.
func (w *walk) batch(ctx context.Context, at place, b *fanfare.Batch, members *set.Set) (more bool, err error) {
	seqs := members.SelectRange(nil, int(b.First), int(b.First)+b.N)
	if len(seqs) != b.N {
		return false, fmt.Errorf("%v has %d members, its audience %d: %w", b.BatchRef, b.N, len(seqs), fanfare.ErrDamaged)
	}
	exceptions, err := w.exceptions(ctx, b, seqs)
	if err != nil {
		return false, err
	}
	var items []fanfare.Item
	for rank := range w.filter.ranks(b) {
		if uint32(rank)+b.First < at.At { //nolint:gosec // a rank in a batch
			continue
		}
		it := b.Item(rank, exceptions[seqs[rank]], w.m.Phase)
		it.Seq = seqs[rank]
		if w.filter.takes(&it) {
			items = append(items, it)
		}
	}
	return w.named(ctx, items, func(i int) place {
		rank, _ := slices.BinarySearch(seqs, items[i].Seq)
		return place{Slot: at.Slot, At: b.First + uint32(rank) + 1} //nolint:gosec // a rank in a batch
	})
}

func (w *walk) exceptions(ctx context.Context, b *fanfare.Batch, seqs []fanfare.Seq) (map[fanfare.Seq]*fanfare.Exception, error) {
	found := make(map[fanfare.Seq]*fanfare.Exception)
	if b.State == fanfare.BatchNew {
		return found, nil
	}
	for e, err := range w.s.Store.Exceptions(ctx, b.Message, b.Slot, seqs[0]) {
		if err != nil {
			return nil, err
		}
		if e.Seq > seqs[len(seqs)-1] {
			break
		}
		found[e.Seq] = &e
	}
	return found, nil
}

// named puts the external ids to items of one slot and yields them.
func (w *walk) named(ctx context.Context, items []fanfare.Item, behind func(int) place) (more bool, err error) {
	if len(items) == 0 {
		return true, nil
	}
	seqs := make([]fanfare.Seq, len(items))
	for i := range items {
		seqs[i] = items[i].Seq
	}
	people, err := w.s.Store.Profiles(ctx, items[0].Slot, seqs)
	if err != nil {
		return false, err
	}
	for i := range items {
		items[i].Recipient = people[i].ExternalID
		if !w.yield(items[i], behind(i)) {
			return false, nil
		}
	}
	return true, nil
}

// skipped walks through who was skipped when the audience was frozen; at.Part counts the reasons from 1, at.At is a seq.
func (w *walk) skipped(ctx context.Context, at place) (more bool, err error) {
	slot := fanfare.Slot(at.Slot) //nolint:gosec // slots fit
	if w.filter.Result != "" && w.filter.Result != string(fanfare.ResultSkipped) || w.filter.Doubted == "true" {
		return true, nil
	}
	sizes, err := w.s.Store.Parts(ctx, w.m.Num, slot)
	if err != nil {
		return false, err
	}
	delete(sizes, fanfare.PartSend)
	parts := make([]fanfare.Part, 0, len(sizes))
	for p := range sizes {
		parts = append(parts, p)
	}
	slices.Sort(parts)
	for ; at.Part <= len(parts); at.Part, at.At = at.Part+1, 0 {
		part := parts[at.Part-1]
		if w.filter.Reason != "" && w.filter.Reason != string(part) {
			continue
		}
		members, err := w.s.Store.PartSet(ctx, w.m.Num, slot, part)
		if err != nil {
			return false, err
		}
		var items []fanfare.Item
		for seq := range members.From(at.At) {
			items = append(items, fanfare.Item{Person: fanfare.Person{Slot: slot, Seq: seq}, Result: fanfare.ResultSkipped, Reason: fanfare.Reason(part)})
			if len(items) == scanMost {
				if more, err := w.part(ctx, at, items); err != nil || !more {
					return false, err
				}
				items = nil
			}
		}
		if more, err := w.part(ctx, at, items); err != nil || !more {
			return false, err
		}
	}
	return !w.tired(place{Slot: at.Slot + 1}), nil
}

func (w *walk) part(ctx context.Context, at place, items []fanfare.Item) (bool, error) {
	return w.named(ctx, items, func(i int) place { return place{Slot: at.Slot, Part: at.Part, At: items[i].Seq + 1} })
}

// batchOf finds the batch of a rank among a slot's planned: as a rule where the batches are of even size.
func (s *Server) batchOf(ctx context.Context, m *fanfare.Message, slot fanfare.Slot, rank uint32) (fanfare.BatchNo, error) {
	if rank == 0 {
		return 0, nil
	}
	holds := func(n fanfare.BatchNo) (where int, err error) { // < 0: the rank lies before, 0: in it, > 0: behind
		rows, err := s.Store.Batches(ctx, m.Num, slot, n, 1)
		switch {
		case err != nil:
			return 0, err
		case len(rows) == 0 || rank < rows[0].First:
			return -1, nil
		case rank >= rows[0].First+uint32(rows[0].N): //nolint:gosec // a batch is small
			return 1, nil
		}
		return 0, nil
	}
	size := m.BatchSize()
	if size == fanfare.WholeRows {
		size = set.ChunkSize
	}
	guess := fanfare.BatchNo(int(rank) / size) //nolint:gosec // fits
	where, err := holds(guess)
	if err != nil || where == 0 {
		return guess, err
	}
	var failed error
	n := sort.Search(int(rank)+1, func(i int) bool { // a batch holds somebody: its number is at most the rank
		where, err := holds(fanfare.BatchNo(i)) //nolint:gosec // fits
		if err != nil {
			failed = err
		}
		return where <= 0
	})
	return fanfare.BatchNo(n), failed //nolint:gosec // fits
}
