package sqlstore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"sync"
	"time"

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
	slot   fanfare.Slot
	id     string
	past   bool // asks also when somebody who had the id before was erased
	erased int64

	seq  int64
	err  error
	turn chan bool // true: read for all that wait, yourself among them; false: you were read for
}

// find gives the number of a recipient, -1: nobody has the id. It looks after it was called, as if alone.
func (s *Store) find(ctx context.Context, n fanfare.Slot, id string) (int64, error) {
	f := &find{slot: n, id: id}
	err := s.await(ctx, f)
	return f.seq, err
}

// Known implements fanfare.Erasing. Where nobody was ever erased all who look together pay for one look into an empty table.
func (s *Store) Known(ctx context.Context, externalID string) (who fanfare.Person, erased time.Time, err error) {
	f := &find{slot: fanfare.SlotOf(externalID, s.slots), id: externalID, past: true}
	switch err := s.await(ctx, f); {
	case err != nil:
		return who, erased, err
	case f.seq < 0:
		return who, erased, missing("recipient", externalID)
	case f.erased != 0:
		erased = time.UnixMicro(f.erased).UTC()
	}
	return fanfare.Person{Slot: f.slot, Seq: fanfare.Seq(f.seq)}, erased, nil //nolint:gosec // as written
}

func (s *Store) await(ctx context.Context, f *find) error {
	if err := s.has(f.slot); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	f.turn = make(chan bool, 1)
	q := &s.finds
	q.mu.Lock()
	q.waiting = append(q.waiting, f)
	lead := !q.busy
	q.busy = true
	q.mu.Unlock()
	if lead || <-f.turn {
		s.findAll(context.WithoutCancel(ctx), f) // others' answers do not hang on this caller
	}
	return f.err
}

// findAll reads for all that wait, then hands over.
func (s *Store) findAll(ctx context.Context, own *find) {
	q := &s.finds
	q.mu.Lock()
	all := q.waiting
	q.waiting = nil
	q.mu.Unlock()
	err := s.look(ctx, len(all) > 1 || s.split.Load(), func(c *conn) error {
		asked, some := false, false // whether anybody was ever erased
		var hash func(kind, text string) int64
		for _, f := range all {
			f.seq = -1
			if f.err = s.readable(c, f.slot); f.err != nil {
				if errors.Is(f.err, fanfare.ErrMoving) {
					continue
				}
				return f.err
			}
			var err error
			if f.past && !asked {
				if some, err = c.one(func([]driver.Value) error { return nil }, "erased.any"); err != nil {
					return err
				}
				if asked = true; some {
					hash = s.erasedHash()
				}
			}
			if f.past && some {
				_, err = c.one(func(r []driver.Value) error {
					f.seq, f.erased = integer(r[0]), integer(r[1])
					return nil
				}, inSlot(f.slot, "recipients.seq_erased"), hash(hashOfID, f.id), f.id)
			} else {
				_, err = c.one(func(r []driver.Value) error {
					f.seq = integer(r[0])
					return nil
				}, inSlot(f.slot, "recipients.seq"), f.id)
			}
			if err != nil {
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
