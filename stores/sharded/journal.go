package sharded

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"fanfare"
	"fanfare/set"
)

// Freeze implements fanfare.Freezer.
func (s *Store) Freeze(ctx context.Context, n fanfare.Slot, m fanfare.MessageNum, g fanfare.Generation, size int,
	fn func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error),
) (done bool, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		done, err = sh.Freeze(ctx, n, m, g, size, fn)
		return err
	})
	return done, err
}

// FreezeMany implements fanfare.Freezer, one shard after the other, since fn is for one goroutine. Slots of a shard of which one moves have a turn each.
func (s *Store) FreezeMany(ctx context.Context, slots []fanfare.Slot, m fanfare.MessageNum, g fanfare.Generation, size int,
	fn func(fanfare.Slot, fanfare.FreezeView) (map[fanfare.Part]*set.Set, error),
) (all bool, err error) {
	for _, n := range slots {
		if err := s.has(n); err != nil {
			return false, err
		}
	}
	groups, shards := s.byShard(len(slots), func(i int) fanfare.Slot { return slots[i] })
	all = true
	for _, i := range shards {
		these := make([]fanfare.Slot, 0, len(groups[i]))
		for _, at := range groups[i] {
			these = append(these, slots[at])
		}
		done, err := s.shards[i].FreezeMany(ctx, these, m, g, size, fn)
		if errors.Is(err, fanfare.ErrMoving) {
			done, err = true, nil
			for _, n := range these {
				one, failed := s.Freeze(ctx, n, m, g, size, func(v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) { return fn(n, v) })
				if failed != nil {
					return false, failed
				}
				done = done && one
			}
		}
		if err != nil {
			return false, s.of(i, err)
		}
		all = all && done
	}
	return all, nil
}

// Spread implements fanfare.Freezer.
func (s *Store) Spread(ctx context.Context, n fanfare.Slot, m fanfare.MessageNum, p fanfare.SlotPhase, g fanfare.Generation) error {
	return s.at(ctx, n, func(sh fanfare.Shard) error { return sh.Spread(ctx, n, m, p, g) })
}

// SpreadMany implements fanfare.Freezer. A slot that moves has its own turn behind the others of its shard.
func (s *Store) SpreadMany(ctx context.Context, slots []fanfare.Slot, m fanfare.MessageNum, p fanfare.SlotPhase, g fanfare.Generation) error {
	for _, n := range slots {
		if err := s.has(n); err != nil {
			return err
		}
	}
	if len(slots) == 0 {
		return nil
	}
	groups, shards := s.byShard(len(slots), func(i int) fanfare.Slot { return slots[i] })
	return s.some(ctx, shards, func(i int, sh fanfare.Shard) error {
		these := make([]fanfare.Slot, 0, len(groups[i]))
		for _, at := range groups[i] {
			these = append(these, slots[at])
		}
		err := sh.SpreadMany(ctx, these, m, p, g)
		if !errors.Is(err, fanfare.ErrMoving) {
			return err
		}
		var moving []fanfare.Slot
		var errs []error
		for _, n := range these {
			if err := sh.Spread(ctx, n, m, p, g); errors.Is(err, fanfare.ErrMoving) {
				moving = append(moving, n)
			} else {
				errs = append(errs, err)
			}
		}
		for _, n := range moving {
			errs = append(errs, s.Spread(ctx, n, m, p, g))
		}
		return errors.Join(errs...)
	})
}

// Latches implements fanfare.Freezer. Of a slot that is just changing shards the one of the higher epoch counts.
func (s *Store) Latches(ctx context.Context, m fanfare.MessageNum) ([]fanfare.Latch, error) {
	each := make([][]fanfare.Latch, len(s.shards))
	if err := s.every(ctx, func(i int, sh fanfare.Shard) (err error) {
		each[i], err = sh.Latches(ctx, m)
		return err
	}); err != nil {
		return nil, err
	}
	found := make(map[fanfare.Slot]fanfare.Latch, s.slots)
	for _, latches := range each {
		for _, l := range latches {
			if was, there := found[l.Slot]; !there || was.Epoch < l.Epoch {
				found[l.Slot] = l
			}
		}
	}
	all := make([]fanfare.Latch, 0, len(found))
	for _, n := range slices.Sorted(maps.Keys(found)) {
		all = append(all, found[n])
	}
	return all, nil
}

// Forget implements fanfare.Freezer.
func (s *Store) Forget(ctx context.Context, n fanfare.Slot, m fanfare.MessageNum) error {
	return s.at(ctx, n, func(sh fanfare.Shard) error { return sh.Forget(ctx, n, m) })
}

// Shards implements fanfare.Journal.
func (s *Store) Shards() int { return len(s.shards) }

// ShardOf implements fanfare.Journal: as far as is known here. A slot that there is not is said to lie on the first.
func (s *Store) ShardOf(n fanfare.Slot) int {
	if s.has(n) != nil {
		return 0
	}
	return s.place(n).Shard
}

func (s *Store) hasShard(shard int) error {
	if shard < 0 || shard >= len(s.shards) {
		return fmt.Errorf("shard %d of %d: %w", shard, len(s.shards), fanfare.ErrUsage)
	}
	return nil
}

// Append implements fanfare.Journal. Entries of a slot that has moved since they were handed to a shard go where it lies now.
func (s *Store) Append(ctx context.Context, shard int, entries []fanfare.Entry) []fanfare.EntryAnswer {
	answers := make([]fanfare.EntryAnswer, len(entries))
	if err := s.hasShard(shard); err != nil {
		for i, e := range entries {
			answers[i] = fanfare.EntryAnswer{Answer: fanfare.Failed, Row: fanfare.Batch{BatchRef: e.Ref()}, Err: fmt.Errorf("%v: %w", e.Ref(), err)}
		}
		return answers
	}
	left := make([]int, len(entries))
	for i := range left {
		left[i] = i
	}
	const tries = 3
	for range tries {
		epochs := make(map[fanfare.Slot]int64, len(left))
		for _, i := range left {
			if n := entries[i].Ref().Slot; s.has(n) == nil {
				epochs[n] = s.place(n).Epoch
			}
		}
		s.append(ctx, entries, answers, left)
		left = slices.DeleteFunc(left, func(i int) bool { return !errors.Is(answers[i].Err, fanfare.ErrMoving) })
		if len(left) == 0 || s.reload(ctx) != nil {
			break
		}
		if !slices.ContainsFunc(left, func(i int) bool { n := entries[i].Ref().Slot; return s.place(n).Epoch != epochs[n] }) {
			break // they are closed, wherever they are: the planner tells of claims again, holders look at the row
		}
	}
	for _, i := range left {
		if answers[i].Answer == fanfare.Stale {
			answers[i].Err = nil
		}
	}
	return answers
}

// append carries out some entries, those of each shard in one call.
func (s *Store) append(ctx context.Context, entries []fanfare.Entry, answers []fanfare.EntryAnswer, which []int) {
	if len(which) == 0 {
		return
	}
	groups, shards := s.byShard(len(which), func(i int) fanfare.Slot { return entries[which[i]].Ref().Slot })
	if len(shards) == 1 && len(which) == len(entries) {
		copy(answers, s.shards[shards[0]].Append(ctx, 0, entries))
		return
	}
	if err := s.some(ctx, shards, func(shard int, sh fanfare.Shard) error {
		these := make([]fanfare.Entry, 0, len(groups[shard]))
		for _, i := range groups[shard] {
			these = append(these, entries[which[i]])
		}
		for i, a := range sh.Append(ctx, 0, these) {
			answers[which[groups[shard][i]]] = a
		}
		return nil
	}); err != nil { // ended before it began
		for _, i := range which {
			answers[i] = fanfare.EntryAnswer{Answer: fanfare.Unknown, Err: err}
		}
	}
}

// Peek implements fanfare.Journal.
func (s *Store) Peek(ctx context.Context, refs []fanfare.BatchRef) ([]fanfare.Batch, error) {
	rows := make([]fanfare.Batch, len(refs))
	if len(refs) == 0 {
		return rows, ctx.Err()
	}
	groups, shards := s.byShard(len(refs), func(i int) fanfare.Slot { return refs[i].Slot })
	err := s.some(ctx, shards, func(shard int, sh fanfare.Shard) error {
		these := make([]fanfare.BatchRef, 0, len(groups[shard]))
		for _, i := range groups[shard] {
			these = append(these, refs[i])
		}
		found, err := sh.Peek(ctx, these)
		if errors.Is(err, fanfare.ErrMoving) {
			for at, i := range groups[shard] {
				if err := s.at(ctx, these[at].Slot, func(sh fanfare.Shard) error {
					found, err := sh.Peek(ctx, these[at:at+1])
					if err == nil {
						rows[i] = found[0]
					}
					return err
				}); err != nil {
					return err
				}
			}
			return nil
		}
		for at, row := range found {
			rows[groups[shard][at]] = row
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// Members implements fanfare.Journal.
func (s *Store) Members(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, first uint32, count int) (seqs []fanfare.Seq, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		seqs, err = sh.Members(ctx, m, n, first, count)
		return err
	})
	return seqs, err
}

// Backlog implements fanfare.Journal.
func (s *Store) Backlog(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, from fanfare.BatchNo, limit int) (open []fanfare.Batch, first fanfare.BatchNo, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		open, first, err = sh.Backlog(ctx, m, n, from, limit)
		return err
	})
	return open, first, err
}

// VoidClaims implements fanfare.Journal.
func (s *Store) VoidClaims(ctx context.Context, m fanfare.MessageNum, o fanfare.Owner) error {
	return s.every(ctx, func(_ int, sh fanfare.Shard) error { return sh.VoidClaims(ctx, m, o) })
}

// Claims implements fanfare.Journal.
func (s *Store) Claims(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot) (live int, dead []fanfare.BatchRef, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		live, dead, err = sh.Claims(ctx, m, n)
		return err
	})
	return live, dead, err
}

// Tally implements fanfare.Reports.
func (s *Store) Tally(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot) (t fanfare.Tally, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		t, err = sh.Tally(ctx, m, n)
		return err
	})
	return t, err
}

// Parts implements fanfare.Reports.
func (s *Store) Parts(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot) (sizes map[fanfare.Part]int, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		sizes, err = sh.Parts(ctx, m, n)
		return err
	})
	return sizes, err
}

// PartSet implements fanfare.Reports.
func (s *Store) PartSet(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, p fanfare.Part) (members *set.Set, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		members, err = sh.PartSet(ctx, m, n, p)
		return err
	})
	return members, err
}

// PartOf implements fanfare.Reports.
func (s *Store) PartOf(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, seq fanfare.Seq) (p fanfare.Part, rank int, in bool, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		p, rank, in, err = sh.PartOf(ctx, m, n, seq)
		return err
	})
	return p, rank, in, err
}

// Batches implements fanfare.Reports.
func (s *Store) Batches(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, from fanfare.BatchNo, limit int) (rows []fanfare.Batch, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		rows, err = sh.Batches(ctx, m, n, from, limit)
		return err
	})
	return rows, err
}

// errStopped says that whoever asked wants no more.
var errStopped = errors.New("enough")

// Exceptions implements fanfare.Reports. If the slot moves on the way it goes on where the slot is then.
func (s *Store) Exceptions(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, from fanfare.Seq) iter.Seq2[fanfare.Exception, error] {
	return func(yield func(fanfare.Exception, error) bool) {
		err := s.at(ctx, n, func(sh fanfare.Shard) error {
			for e, err := range sh.Exceptions(ctx, m, n, from) {
				if err != nil {
					return err
				}
				if !yield(e, nil) {
					return errStopped
				}
				from = e.Seq + 1
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield(fanfare.Exception{}, err)
		}
	}
}

// Exception implements fanfare.Reports.
func (s *Store) Exception(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, seq fanfare.Seq) (e fanfare.Exception, there bool, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		e, there, err = sh.Exception(ctx, m, n, seq)
		return err
	})
	return e, there, err
}

// Failures implements fanfare.Reports.
func (s *Store) Failures(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, limit int) (groups []fanfare.FailureGroup, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		groups, err = sh.Failures(ctx, m, n, limit)
		return err
	})
	return groups, err
}
