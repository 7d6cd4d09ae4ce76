package fanfare

import (
	"context"
	"sort"

	"fanfare/set"
)

// BatchOfRank finds the batch of a rank among a slot's planned: as a rule where the batches are of even size. Of a rank that nobody has it is
// one behind all of them.
func BatchOfRank(ctx context.Context, r Reports, m *Message, slot Slot, rank uint32) (BatchNo, error) {
	if rank == 0 {
		return 0, nil
	}
	holds := func(n BatchNo) (where int, err error) { // < 0: the rank lies before, 0: in it, > 0: behind
		rows, err := r.Batches(ctx, m.Num, slot, n, 1)
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
	if size == WholeRows {
		size = set.ChunkSize
	}
	guess := BatchNo(int(rank) / size) //nolint:gosec // fits
	where, err := holds(guess)
	if err != nil || where == 0 {
		return guess, err
	}
	var failed error
	n := sort.Search(int(rank)+1, func(i int) bool { // a batch holds somebody: its number is at most the rank
		where, err := holds(BatchNo(i)) //nolint:gosec // fits
		if err != nil {
			failed = err
		}
		return where <= 0
	})
	return BatchNo(n), failed //nolint:gosec // fits
}
