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
	purgeLease = time.Minute // only saves work
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
		more, err := n.purgeOnce(ctx)
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

func (n *node) purgeOnce(ctx context.Context) (more bool, err error) {
	mine := false
	if err := n.store.Update(ctx, func(tx fanfare.ControlTx) (err error) {
		mine, err = tx.TakeLease("purge", n.presence.self.Name, purgeLease)
		return err
	}); err != nil || !mine {
		return false, err
	}
	return n.store.Purge(ctx)
}
