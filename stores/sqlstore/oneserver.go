package sqlstore

import (
	"fmt"
	"sync"

	"fanfare"
)

// OneServer holds a driver to the server that it found first: behind one address there may be another when it connects again.
type OneServer struct {
	mu       sync.Mutex
	identity string // guarded by mu
}

// Found tells which server a connection has; a Failure that is ErrForeign if it is not the one that was found first.
func (o *OneServer) Found(identity string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch o.identity {
	case "":
		o.identity = identity
	case identity:
	default:
		return &Failure{Kind: fanfare.ErrForeign, Err: fmt.Errorf("it was %s and is %s", o.identity, identity),
			Hint: "restart fanfare: it looks what this server holds before it sends"}
	}
	return nil
}

// Identity says which server was found; empty: none yet.
func (o *OneServer) Identity() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.identity
}
