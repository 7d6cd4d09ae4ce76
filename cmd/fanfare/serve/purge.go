package serve

import (
	"context"
	"errors"
	"time"

	"fanfare"
)

// Erased people are gone from every file within a minute; the store does it when it is closed, too.
const (
	purgeEvery = 15 * time.Second
	purgeAgain = time.Second
)

// purge takes what was erased out of the files, again and again.
func (n *node) purge(ctx context.Context) error {
	tick := time.NewTimer(purgeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		more, err := n.store.Purge(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, fanfare.ErrClosed) {
			n.Log.Error("what was erased is not out of the files yet; it is tried again", "error", err)
		}
		next := purgeEvery
		if more {
			next = purgeAgain
		}
		tick.Reset(next)
	}
}
