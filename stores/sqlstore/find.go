package sqlstore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"sync"

	"fanfare"
)

// finds brings together who looks for one recipient at the same time, as each call of an inbox does: one of them reads for all that wait, on
// one connection. So the number of connections does not follow that of callers, and a snapshot is taken once.
type finds struct {
	mu      sync.Mutex // guards what follows
	waiting []*find
	busy    bool // somebody reads, and will hand over to whoever waits
}

// find is one recipient looked for.
type find struct {
	slot fanfare.Slot
	id   string
	seq  int64
	err  error
	turn chan bool // true: read for all that wait, yourself among them; false: you were read for
}

// find gives the number of a recipient, -1: nobody has the id. It looks after it was called, as if alone.
func (s *Store) find(ctx context.Context, n fanfare.Slot, id string) (int64, error) {
	if err := s.has(n); err != nil {
		return 0, err
	}
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	f := &find{slot: n, id: id, turn: make(chan bool, 1)}
	q := &s.finds
	q.mu.Lock()
	q.waiting = append(q.waiting, f)
	lead := !q.busy
	q.busy = true
	q.mu.Unlock()
	if lead || <-f.turn {
		s.findAll(context.WithoutCancel(ctx), f) // others' answers do not hang on this caller
	}
	return f.seq, f.err
}

// findAll reads for all that wait, then hands over.
func (s *Store) findAll(ctx context.Context, own *find) {
	q := &s.finds
	q.mu.Lock()
	all := q.waiting
	q.waiting = nil
	q.mu.Unlock()
	err := s.look(ctx, len(all) > 1 || s.split.Load(), func(c *conn) error {
		for _, f := range all {
			f.seq = -1
			if f.err = s.readable(c, f.slot); f.err != nil {
				if errors.Is(f.err, fanfare.ErrMoving) {
					continue
				}
				return f.err
			}
			if _, err := c.one(func(r []driver.Value) error {
				f.seq = integer(r[0])
				return nil
			}, inSlot(f.slot, "recipients.seq"), f.id); err != nil {
				return err
			}
		}
		return nil
	})
	q.mu.Lock()
	if q.busy = len(q.waiting) > 0; q.busy {
		q.waiting[0].turn <- true
	}
	q.mu.Unlock()
	for _, f := range all {
		if f.err = cmp.Or(err, f.err); f != own {
			f.turn <- false
		}
	}
}
