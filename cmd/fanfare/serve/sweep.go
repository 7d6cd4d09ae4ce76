package serve

import (
	"context"
	"errors"
	"time"

	"fanfare"
)

// What is in no inbox any more takes room only: nobody waits for its rows to go.
const (
	sweepEvery = time.Minute
	sweepAgain = 100 * time.Millisecond
)

// sweep takes out the rows of inbox messages that have expired or were recalled, again and again. Two nodes that do it do no harm.
func (n *node) sweep(ctx context.Context) error {
	return n.repeat(ctx, sweepEvery, sweepAgain, n.store.SweepInboxes, "rows of inbox messages that are over could not be taken out; it is tried again")
}

// repeat does a piece of work every so often, and soon again as long as more is left; failed is logged when it fails.
func (n *node) repeat(ctx context.Context, every, again time.Duration, work func(context.Context) (more bool, err error), failed string) error {
	tick := time.NewTimer(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		more, err := work(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, fanfare.ErrClosed) {
			n.Log.Error(failed, "error", err)
		}
		next := every
		if more {
			next = again
		}
		tick.Reset(next)
	}
}
