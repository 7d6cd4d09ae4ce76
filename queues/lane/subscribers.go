package lane

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"fanfare"
)

// Subscribers are the subscriptions of a queue. The zero value is of one that is open; everybody may use it at once.
type Subscribers[S interface {
	comparable
	Close() error
}] struct {
	mu     sync.Mutex // guards what follows
	all    map[S]struct{}
	closed bool
}

// Open answers ErrClosed, naming what was asked, once the queue is closed.
func (x *Subscribers[S]) Open(what string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return fmt.Errorf("%s: %w", what, fanfare.ErrClosed)
	}
	return nil
}

// Join takes a subscription in and has it begin, unless the queue is closed: ErrClosed.
func (x *Subscribers[S]) Join(s S, provider string, begin func()) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return fmt.Errorf("subscribe to %q: %w", provider, fanfare.ErrClosed)
	}
	if x.all == nil {
		x.all = make(map[S]struct{})
	}
	x.all[s] = struct{}{}
	begin()
	return nil
}

// Leave takes a subscription out that has ended.
func (x *Subscribers[S]) Leave(s S) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.all, s)
}

// Each calls fn with every subscription; none joins or leaves meanwhile.
func (x *Subscribers[S]) Each(fn func(S)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for s := range x.all {
		fn(s)
	}
}

// Close lets nobody join any more and closes every subscription; false: that was done before.
func (x *Subscribers[S]) Close() bool {
	x.mu.Lock()
	subs := slices.Collect(maps.Keys(x.all))
	first := !x.closed
	x.closed = true
	x.mu.Unlock()
	if first {
		for _, s := range subs {
			_ = s.Close()
		}
	}
	return first
}
