package sharded

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"fanfare"
	"fanfare/set"
)

// LogReceipts implements fanfare.Receipts. Receipts of a slot that has moved since they were handed to a shard go where it lies now.
func (s *Store) LogReceipts(ctx context.Context, shard int, receipts []fanfare.Receipt) ([]fanfare.Logged, error) {
	if err := s.hasShard(shard); err != nil {
		return nil, err
	}
	for i := range receipts {
		if err := s.has(receipts[i].Slot); err != nil {
			return nil, fmt.Errorf("receipt %d: %w", i, err)
		}
	}
	left, answers := make([]int, len(receipts)), make([]fanfare.Logged, len(receipts))
	for i := range left {
		left[i] = i
	}
	for w := s.waiting(); ; {
		groups, shards := s.byShard(len(left), func(i int) fanfare.Slot { return receipts[left[i]].Slot })
		if len(shards) == 0 {
			return s.shards[shard].LogReceipts(ctx, 0, nil)
		}
		if len(shards) > 1 { // then a bad one has to be found before any is logged
			if err := s.checkReceipts(receipts); err != nil {
				return nil, err
			}
		}
		logged := make([][]int, len(s.shards))
		before := *s.places.Load()
		err := s.some(ctx, shards, func(shard int, sh fanfare.Shard) error {
			these := make([]fanfare.Receipt, 0, len(groups[shard]))
			for _, i := range groups[shard] {
				these = append(these, receipts[left[i]])
			}
			got, err := sh.LogReceipts(ctx, 0, these)
			if err != nil {
				return err
			}
			for at, i := range groups[shard] {
				answers[left[i]] = got[at]
			}
			logged[shard] = groups[shard]
			return nil
		})
		if err == nil {
			return answers, nil
		}
		if !errors.Is(err, fanfare.ErrMoving) {
			return nil, err
		}
		left = without(left, slices.Concat(logged...))
		if e := s.reload(ctx); e != nil {
			return nil, e
		}
		if samePlaces(before, *s.places.Load()) && !w.wait(ctx) {
			return nil, err
		}
	}
}

// without leaves out the elements at some places.
func without(all, places []int) []int {
	slices.Sort(places)
	rest := make([]int, 0, len(all)-len(places))
	for i, v := range all {
		if _, gone := slices.BinarySearch(places, i); !gone {
			rest = append(rest, v)
		}
	}
	return rest
}

func (s *Store) checkReceipts(receipts []fanfare.Receipt) error {
	for i := range receipts {
		if r := &receipts[i]; !r.Kind.Valid() || r.Source > fanfare.SourceInferred || r.Message <= 0 {
			return fmt.Errorf("receipt %d: %v, %v, message %d: %w", i, r.Kind, r.Source, r.Message, fanfare.ErrUsage)
		}
	}
	return nil
}

// ReceiptSet implements fanfare.Receipts.
func (s *Store) ReceiptSet(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, k fanfare.ReceiptKind) (members *set.Set, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		members, err = sh.ReceiptSet(ctx, m, n, k)
		return err
	})
	return members, err
}

// ReceiptCounts implements fanfare.Receipts.
func (s *Store) ReceiptCounts(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot) (counts map[fanfare.ReceiptKind]int, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		counts, err = sh.ReceiptCounts(ctx, m, n)
		return err
	})
	return counts, err
}

// ReceiptTimes implements fanfare.Receipts.
func (s *Store) ReceiptTimes(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, seqs []fanfare.Seq) (times []fanfare.Receipted, err error) {
	err = s.at(ctx, n, func(sh fanfare.Shard) (err error) {
		times, err = sh.ReceiptTimes(ctx, m, n, seqs)
		return err
	})
	return times, err
}

// Tail implements fanfare.Receipts.
func (s *Store) Tail(ctx context.Context, shard int, after int64) (fanfare.TailPage, error) {
	if err := s.hasShard(shard); err != nil {
		return fanfare.TailPage{}, err
	}
	p, err := s.shards[shard].Tail(ctx, 0, after)
	return p, s.of(shard, err)
}

// Fold implements fanfare.Receipts.
func (s *Store) Fold(ctx context.Context, shard int) (more bool, err error) {
	if err := s.hasShard(shard); err != nil {
		return false, err
	}
	more, err = s.shards[shard].Fold(ctx, 0)
	return more, s.of(shard, err)
}

// Unfolded implements fanfare.Receipts.
func (s *Store) Unfolded(ctx context.Context, shard int) (int, error) {
	if err := s.hasShard(shard); err != nil {
		return 0, err
	}
	n, err := s.shards[shard].Unfolded(ctx, 0)
	return n, s.of(shard, err)
}
