package receipts

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"fanfare"
	"fanfare/set"
)

// messages finds messages by id; those that are done are remembered.
type messages struct {
	store Store

	mu   sync.Mutex
	done map[fanfare.MessageID]*fanfare.Message // guarded by mu
}

// mostMessages bounds what is remembered; none of the messages of a call is missing for that.
const mostMessages = 1000

// find gives the messages that reports name; those that are not there are missing.
func (k *messages) find(ctx context.Context, told []fanfare.ReceiptReport) (map[fanfare.MessageID]*fanfare.Message, error) {
	found := make(map[fanfare.MessageID]*fanfare.Message, 1)
	var unknown []fanfare.MessageID
	k.mu.Lock()
	for i := range told {
		id := told[i].Message
		if _, asked := found[id]; !asked {
			if found[id] = k.done[id]; found[id] == nil {
				unknown = append(unknown, id)
			}
		}
	}
	k.mu.Unlock()
	if len(unknown) == 0 {
		return found, nil
	}
	err := k.store.View(ctx, func(v fanfare.ControlView) error {
		for _, id := range unknown {
			m, err := v.Message(id)
			switch {
			case err == nil:
				m.Content, m.Audience, m.Data, m.Metadata = fanfare.Content{}, nil, nil, nil
				found[id] = &m
			case !errors.Is(err, fanfare.ErrNotFound):
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range unknown {
		if m := found[id]; m != nil && m.Phase == fanfare.PhaseCompleted {
			if len(k.done) >= mostMessages {
				clear(k.done)
			}
			k.done[id] = m
		}
	}
	return found, nil
}

// stands says how it is with an item.
type stands int

const (
	standsNot       stands = iota // nothing was handed to a provider
	standsUncertain               // something was, perhaps
	standsSent
)

// sent knows whom messages were sent to. Who was sent to stays so, and a frozen audience never changes, so both can be kept.
type sent struct {
	store Store

	mu    sync.Mutex
	bytes int                 // guarded by mu
	all   map[where]*slotSent // guarded by mu
}

// mostBytes bounds what is kept.
const mostBytes = 64 << 20

type slotSent struct {
	mu      sync.Mutex
	planned *set.Set // never changed
	sent    *set.Set // guarded by mu: as far as it is known
	whole   bool     // guarded by mu: all planned were sent to
	bytes   int      // guarded by sent's mu
}

// look is sent for one call, which reads each row once.
type look struct {
	*sent
	rows map[fanfare.BatchRef]*sentRow
}

type sentRow struct {
	fanfare.Batch
	exceptions map[fanfare.Seq]*fanfare.Exception
}

func (s *sent) look() *look { return &look{sent: s, rows: make(map[fanfare.BatchRef]*sentRow)} }

// of tells how it is with one item.
func (l *look) of(ctx context.Context, m *fanfare.Message, p fanfare.Person) (stands, error) {
	e, err := l.slot(ctx, m, p.Slot)
	if err != nil || !e.planned.Contains(p.Seq) {
		return standsNot, err
	}
	e.mu.Lock()
	known := e.whole || e.sent.Contains(p.Seq)
	e.mu.Unlock()
	if known {
		return standsSent, nil
	}
	return l.read(ctx, m, p, e)
}

// slot gives what is kept of a message's slot.
func (l *look) slot(ctx context.Context, m *fanfare.Message, slot fanfare.Slot) (*slotSent, error) {
	at := where{m.Num, slot}
	l.mu.Lock()
	e := l.all[at]
	l.mu.Unlock()
	if e != nil {
		return e, nil
	}
	planned, err := l.store.PartSet(ctx, m.Num, slot, fanfare.PartSend)
	if err != nil {
		return nil, err
	}
	e = &slotSent{planned: planned, sent: set.New()}
	if m.Phase.Status() == fanfare.NotStarted {
		return e, nil // it may not be frozen yet
	}
	if m.Phase == fanfare.PhaseCompleted {
		t, err := l.store.Tally(ctx, m.Num, slot)
		if err != nil {
			return nil, err
		}
		e.whole = t.N == planned.Len() && t.Sent == t.N && len(t.Unbalanced) == 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for other, old := range l.all {
		if l.bytes < mostBytes {
			break
		}
		l.bytes -= old.bytes
		delete(l.all, other)
	}
	e.bytes = 2*planned.Bytes() + 200
	l.bytes += e.bytes
	l.all[at] = e
	return e, nil
}

// read looks at the batch of one item.
func (l *look) read(ctx context.Context, m *fanfare.Message, p fanfare.Person, e *slotSent) (stands, error) {
	rank := e.planned.Rank(p.Seq)
	n, err := fanfare.BatchOfRank(ctx, l.store, m, p.Slot, uint32(rank)) //nolint:gosec // a rank
	if err != nil {
		return standsNot, err
	}
	row := l.rows[fanfare.BatchRef{Message: m.Num, Slot: p.Slot, Batch: n}]
	if row == nil {
		if row, err = l.row(ctx, m, p.Slot, n, e); err != nil {
			return standsNot, err
		}
	}
	in := rank - int(row.First)
	if in < 0 || in >= row.N {
		return standsNot, fmt.Errorf("batch of rank %d in slot %d of message %s: %w", rank, p.Slot, m.ID, fanfare.ErrDamaged)
	}
	it := row.Item(in, row.exceptions[p.Seq], fanfare.PhaseSending)
	switch {
	case it.Result == fanfare.ResultSent:
		e.mu.Lock()
		defer e.mu.Unlock()
		e.sent.Add(p.Seq)
		return standsSent, nil
	case row.Held != "" && row.Pending.N() != row.N: // who was sent to cannot be read
		return standsNot, fmt.Errorf("%v: its sets: %w", row.BatchRef, fanfare.ErrDamaged)
	case it.Result == fanfare.ResultUncertain:
		return standsUncertain, nil
	case it.Result == fanfare.ResultInFlight, it.Doubted > 0: // it may have come
		return standsSent, nil
	}
	return standsNot, nil
}

// row reads a batch and its exceptions; of one that is done all that were sent to are remembered.
func (l *look) row(ctx context.Context, m *fanfare.Message, slot fanfare.Slot, n fanfare.BatchNo, e *slotSent) (*sentRow, error) {
	rows, err := l.store.Batches(ctx, m.Num, slot, n, 1)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("batch %d in slot %d of message %s: %w", n, slot, m.ID, fanfare.ErrDamaged)
	}
	row := &sentRow{Batch: rows[0], exceptions: make(map[fanfare.Seq]*fanfare.Exception)}
	members := e.planned.Slice(int(row.First), int(row.First)+row.N)
	first, some := members.Min()
	last, _ := members.Max()
	if some && row.State != fanfare.BatchNew {
		for x, err := range l.store.Exceptions(ctx, m.Num, slot, first) {
			if err != nil {
				return nil, err
			}
			if x.Seq > last {
				break
			}
			row.exceptions[x.Seq] = &x
		}
	}
	l.rows[row.BatchRef] = row
	if row.State == fanfare.BatchDone {
		for seq, x := range row.exceptions {
			if x.Result != fanfare.ResultSent {
				members.Remove(seq)
			}
		}
		e.mu.Lock()
		e.sent.Union(members)
		e.mu.Unlock()
	}
	return row, nil
}
