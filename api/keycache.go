package api

import (
	"context"
	"sync"
	"time"

	"fanfare"
)

// keyCache remembers API keys that were found, for as long as a node takes keys of others for granted. What this process revokes is forgotten
// at once: whoever asked before the change answers what they read, and nobody keeps it. Keys that are unknown are asked for each time.
type keyCache struct {
	mu      sync.Mutex // guards what follows
	changes int64
	known   map[[32]byte]foundKey
}

type foundKey struct {
	key fanfare.Key
	at  time.Time // before it was read
}

// mostKeys is how many are remembered. An installation has a few.
const mostKeys = 1000

// keyOf finds a key by its hash; fanfare.ErrNotFound.
func (s *Server) keyOf(ctx context.Context, hash [32]byte) (k fanfare.Key, err error) {
	c, now := &s.keys, time.Now()
	c.mu.Lock()
	f, found := c.known[hash]
	changes := c.changes
	c.mu.Unlock()
	if found && now.Sub(f.at) < ringTime && s.Alone() {
		return f.key, nil
	}
	if err = s.Store.View(ctx, func(v fanfare.ControlView) (err error) {
		k, err = v.Key(hash)
		return err
	}); err != nil {
		return k, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes != changes { // it may be revoked since it was read
		return k, nil
	}
	if c.known == nil || len(c.known) >= mostKeys {
		c.known = make(map[[32]byte]foundKey)
	}
	c.known[hash] = foundKey{k, now}
	return k, nil
}

// changed forgets all. It is called after each change, kept or not.
func (c *keyCache) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.known = nil
}
