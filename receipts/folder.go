package receipts

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"fanfare"
)

// The times of folding.
const (
	foldEvery = 30 * time.Second // readers by SQL are behind for so long, and for as long as it takes
	foldLook  = time.Second
	foldMost  = 500_000          // facts in the log that are folded at once: they are in memory
	foldLease = time.Minute      // two who fold do no harm
	foldEnd   = 20 * time.Second // for all there is at the end
	foldLog   = "fold:"          // the lease's name, before the shard's number
)

// Folder carries the log of each shard into the sets, again and again.
type Folder struct {
	Store interface {
		fanfare.Control
		fanfare.Receipts
		Shards() int
	}
	Node   string // holds the lease
	Logger *slog.Logger
}

// Run folds until ctx ends, and once more then: who reads by SQL after a clean stop sees all there is.
func (f *Folder) Run(ctx context.Context) error {
	tick := time.NewTicker(foldLook)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return f.End(ctx)
		case now := <-tick.C:
			if now.Sub(last) >= foldEvery || f.full(ctx) {
				f.all(ctx)
				last = time.Now()
			}
		}
	}
}

// End waits for ctx to end, then folds once what nobody else folds, and lets go of the leases: the next one need not wait for them.
func (f *Folder) End(ctx context.Context) error {
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), foldEnd)
	defer cancel()
	f.all(end)
	if err := f.Store.Update(end, func(tx fanfare.ControlTx) error {
		for shard := range f.Store.Shards() {
			if _, err := tx.TakeLease(foldLog+strconv.Itoa(shard), f.Node, 0); err != nil {
				return err
			}
		}
		return nil
	}); err != nil && !errors.Is(err, fanfare.ErrClosed) {
		f.Logger.Debug("the leases of folding run out by themselves", "error", err)
	}
	return nil
}

// full says whether some log should not wait.
func (f *Folder) full(ctx context.Context) bool {
	for shard := range f.Store.Shards() {
		if n, err := f.Store.Unfolded(ctx, shard); err == nil && n > foldMost { // an error is told when it folds
			return true
		}
	}
	return false
}

func (f *Folder) all(ctx context.Context) {
	for shard := range f.Store.Shards() {
		if err := f.fold(ctx, shard); err != nil && ctx.Err() == nil && !errors.Is(err, fanfare.ErrClosed) {
			f.Logger.Error("receipts are not carried into their sets; they are kept in the log, and it is tried again", "shard", shard, "error", err)
		}
	}
}

func (f *Folder) fold(ctx context.Context, shard int) error {
	if n, err := f.Store.Unfolded(ctx, shard); err != nil || n == 0 {
		return err
	}
	mine := false
	if err := f.Store.Update(ctx, func(tx fanfare.ControlTx) (err error) {
		mine, err = tx.TakeLease(foldLog+strconv.Itoa(shard), f.Node, foldLease)
		return err
	}); err != nil || !mine {
		return err
	}
	for more := true; more; {
		var err error
		if more, err = f.Store.Fold(ctx, shard); err != nil {
			return err
		}
	}
	return nil
}
