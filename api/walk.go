package api

import (
	"context"
	"fmt"
	"slices"
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
	read   *set.Set // of the slot, for a filter by it
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
	w.read = nil
	from, err := fanfare.BatchOfRank(ctx, w.s.Store, w.m, slot, at.At)
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
			if w.filter.Read != "" && w.read == nil {
				if w.read, err = w.s.Store.ReceiptSet(ctx, w.m.Num, slot, fanfare.ReceiptRead); err != nil {
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
	if w.filter.Read == "true" && w.read.LenRange(uint64(seqs[0]), uint64(seqs[len(seqs)-1])+1) == 0 {
		return true, nil
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
		if w.filter.Read != "" && w.read.Contains(seqs[rank]) != (w.filter.Read == "true") {
			continue
		}
		it := b.Item(rank, exceptions[seqs[rank]], w.m.Phase)
		it.Seq = seqs[rank]
		if w.filter.takes(&it) {
			items = append(items, it)
		}
	}
	if err := w.receipts(ctx, items); err != nil {
		return false, err
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

// receipts puts what was learned later to items of one slot.
func (w *walk) receipts(ctx context.Context, items []fanfare.Item) error {
	if len(items) == 0 {
		return nil
	}
	seqs := make([]fanfare.Seq, len(items))
	for i := range items {
		seqs[i] = items[i].Seq
	}
	times, err := w.s.Store.ReceiptTimes(ctx, w.m.Num, items[0].Slot, seqs)
	if err != nil {
		return err
	}
	for i := range items {
		items[i].Receipts = times[i]
	}
	return nil
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
	if w.filter.Result != "" && w.filter.Result != string(fanfare.ResultSkipped) || w.filter.Doubted == "true" || w.filter.Read != "" {
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
