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
	tick := time.NewTimer(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		more, err := n.store.SweepInboxes(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, fanfare.ErrClosed) {
			n.Log.Error("rows of inbox messages that are over could not be taken out; it is tried again", "error", err)
		}
		next := sweepEvery
		if more {
			next = sweepAgain
		}
		tick.Reset(next)
	}
}
