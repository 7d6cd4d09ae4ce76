package serve

import (
	"context"
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
	return n.repeat(ctx, purgeEvery, purgeAgain, n.purgeOnce, "what was erased is not out of the files yet; it is tried again")
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
