package sharded

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"fanfare"
)

// Move asks for a slot to be moved to another shard: a Mover does it. A slot that lies there already stays. ErrConflict: it moves already.
func (s *Store) Move(ctx context.Context, n fanfare.Slot, to int) error {
	if err := errors.Join(s.has(n), s.hasShard(to)); err != nil {
		return err
	}
	if err := s.reload(ctx); err != nil {
		return err
	}
	p := s.place(n)
	switch {
	case p.Step != fanfare.MoveNone && p.Other == to && p.Step == fanfare.MoveAsked, p.Step == fanfare.MoveNone && p.Shard == to:
		return nil
	case p.Step != fanfare.MoveNone:
		return fmt.Errorf("slot %d moves already (%s): %w", n, p.Step, fanfare.ErrConflict)
	}
	next := p
	next.Step, next.Other, next.Detail = fanfare.MoveAsked, to, ""
	return s.moveOn(ctx, p, next)
}

// moveOn writes the next step of a move, and knows it.
func (s *Store) moveOn(ctx context.Context, was, now fanfare.Placement) error {
	if err := s.first().Place(ctx, was, now); err != nil {
		return s.of(0, err)
	}
	return s.reload(ctx)
}

// Roster tells which shards there are and where slots lie.
func (s *Store) Roster(ctx context.Context) ([]fanfare.RosterEntry, []fanfare.Placement, error) {
	return s.first().Roster(ctx)
}

const (
	moverLease = 15 * time.Second
	moverEvery = time.Second
	drainEvery = 50 * time.Millisecond
	// drainMost is how long claims may take to be handed back: a hanging call of a provider ends before.
	drainMost = 2 * fanfare.LeaseTime
	// moveRows and moveBytes are what one transaction of a copy takes at most.
	moveRows  = 5000
	moveBytes = 1 << 20
)

// Mover carries out the moves that were asked for, and goes on with those that another one left when it died.
type Mover struct {
	Store  *Store
	Holder string // who it is, for the lease that saves two from doing the same work
	Log    *slog.Logger

	// Before is called before each step with its name; an error ends the work there, as a crash would. For tests.
	Before func(step string) error
}

// Run works until ctx ends.
func (m *Mover) Run(ctx context.Context) error {
	tick := time.NewTicker(moverEvery)
	defer tick.Stop()
	for {
		if err := m.All(ctx); err != nil && ctx.Err() == nil {
			m.Log.Error("a slot could not be moved on; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// All brings every slot that moves to rest, one after another.
func (m *Mover) All(ctx context.Context) error {
	if err := m.Store.reload(ctx); err != nil {
		return err
	}
	var errs []error
	for _, p := range *m.Store.places.Load() {
		if p.Step != fanfare.MoveNone {
			errs = append(errs, m.slot(ctx, p.Slot))
		}
	}
	return errors.Join(errs...)
}

// mine takes or keeps the lease.
func (m *Mover) mine(ctx context.Context) (mine bool, err error) {
	err = m.Store.Update(ctx, func(tx fanfare.ControlTx) (err error) {
		mine, err = tx.TakeLease("move slots", m.Holder, moverLease)
		return err
	})
	return mine, err
}

// slot brings one slot to rest.
func (m *Mover) slot(ctx context.Context, n fanfare.Slot) error {
	for {
		mine, err := m.mine(ctx)
		if err != nil || !mine {
			return err
		}
		p := m.Store.place(n)
		switch p.Step {
		case fanfare.MoveNone:
			return nil
		case fanfare.MoveAsked:
			err = m.leave(ctx, p)
		case fanfare.MoveBack:
			err = m.back(ctx, p)
		case fanfare.MoveOpening:
			err = m.arrive(ctx, p)
		default:
			err = fmt.Errorf("slot %d: step %q: %w", n, p.Step, fanfare.ErrForeign)
		}
		if errors.Is(err, fanfare.ErrConflict) { // another one did it meanwhile
			err = m.Store.reload(ctx)
		}
		if err != nil {
			return fmt.Errorf("slot %d, %s: %w", n, p.Step, err)
		}
	}
}

func (m *Mover) before(step string) error {
	if m.Before == nil {
		return nil
	}
	return m.Before(step)
}

// turn reads how a shard has a slot.
func (m *Mover) turn(ctx context.Context, shard int, n fanfare.Slot) (fanfare.SlotTurn, error) {
	turns, err := m.Store.shards[shard].SlotTurns(ctx)
	if err != nil {
		return fanfare.SlotTurn{}, m.Store.of(shard, err)
	}
	return turns[n], nil
}

func (m *Mover) turnTo(ctx context.Context, shard int, was fanfare.SlotTurn, state fanfare.SlotState) error {
	if was.State == state {
		return nil
	}
	if err := m.before(fmt.Sprintf("shard %d: state %d", shard, state)); err != nil {
		return err
	}
	now := was
	now.State = state
	return m.Store.of(shard, m.Store.shards[shard].TurnSlot(ctx, was, now))
}

// leave is all that may still go back: drain, close, fold, copy, compare, and point the map to the other shard.
func (m *Mover) leave(ctx context.Context, p fanfare.Placement) error {
	turn, err := m.turn(ctx, p.Shard, p.Slot)
	if err != nil {
		return err
	}
	if turn.State == fanfare.SlotOpen {
		return m.turnTo(ctx, p.Shard, turn, fanfare.SlotDraining)
	}
	if turn.State == fanfare.SlotDraining {
		if drained, err := m.drained(ctx, p); err != nil || !drained {
			return err
		}
		return m.turnTo(ctx, p.Shard, turn, fanfare.SlotClosed)
	}
	if err := m.before("fold"); err != nil {
		return err
	}
	if err := m.fold(ctx, p.Shard); errors.Is(err, fanfare.ErrDamaged) {
		return m.goBack(ctx, p, err.Error())
	} else if err != nil {
		return err
	}
	if err := m.before("copy"); err != nil {
		return err
	}
	if err := m.copy(ctx, p); errors.Is(err, fanfare.ErrUsage) || errors.Is(err, fanfare.ErrDamaged) {
		return m.goBack(ctx, p, err.Error())
	} else if err != nil {
		return err
	}
	if err := m.before("the map points to the other shard"); err != nil {
		return err
	}
	next := p
	next.Shard, next.Other, next.Epoch, next.Step = p.Other, p.Shard, p.Epoch+1, fanfare.MoveOpening
	return m.Store.moveOn(ctx, p, next)
}

func (m *Mover) goBack(ctx context.Context, p fanfare.Placement, why string) error {
	next := p
	next.Step, next.Detail = fanfare.MoveBack, fanfare.CleanText(why)
	return m.Store.moveOn(ctx, p, next)
}

// drained waits for the claims of a slot to be handed back; false: the move goes back.
func (m *Mover) drained(ctx context.Context, p fanfare.Placement) (bool, error) {
	sh := m.Store.shards[p.Shard]
	for waited := time.Duration(0); ; waited += drainEvery {
		messages, err := m.Store.Look(ctx)
		if err != nil {
			return false, err
		}
		live, of := 0, fanfare.MessageID("")
		for _, l := range messages {
			n, _, err := sh.Claims(ctx, l.Num, p.Slot)
			if err != nil {
				return false, m.Store.of(p.Shard, err)
			}
			if n > 0 {
				live, of = live+n, l.ID
			}
		}
		if live == 0 {
			return true, nil
		}
		if waited >= drainMost {
			return false, m.goBack(ctx, p, fmt.Sprintf("%d claims of message %s were not handed back in %v: a provider hangs; try again later", live, of, drainMost))
		}
		if waited%moverEvery == 0 {
			if mine, err := m.mine(ctx); err != nil || !mine {
				return false, errors.Join(err, fmt.Errorf("somebody else moves slots: %w", fanfare.ErrConflict))
			}
		}
		w := waiting{left: drainEvery, next: drainEvery}
		if !w.wait(ctx) {
			return false, ctx.Err()
		}
	}
}

// fold carries the log of a shard into its sets, up to now at least.
func (m *Mover) fold(ctx context.Context, shard int) error {
	sh := m.Store.shards[shard]
	id, err := sh.Identity(ctx)
	for err == nil {
		var left int
		var page fanfare.TailPage
		if left, err = sh.Unfolded(ctx, 0); err != nil || left == 0 {
			break
		}
		if page, err = sh.Tail(ctx, 0, id.Head); err != nil || page.Folded >= id.Head {
			break
		}
		_, err = sh.Fold(ctx, 0)
	}
	return m.Store.of(shard, err)
}

// digest is how many rows of each table there are and the sum of their hashes, in whatever order they come.
type digest map[string][2]uint64

func (d digest) add(r fanfare.SlotRow) {
	if r.Table == fanfare.TableErased {
		return // those of the whole shard
	}
	var in []byte
	for _, v := range r.Values {
		switch v := v.(type) {
		case nil:
			in = append(in, 0)
		case int64:
			in = binary.BigEndian.AppendUint64(append(in, 1), uint64(v)) //nolint:gosec // all 64 bits
		case string:
			in = append(binary.BigEndian.AppendUint64(append(in, 2), uint64(len(v))), v...)
		case []byte:
			in = append(binary.BigEndian.AppendUint64(append(in, 3), uint64(len(v))), v...)
		}
	}
	sum := sha256.Sum256(in)
	was := d[r.Table]
	d[r.Table] = [2]uint64{was[0] + 1, was[1] + binary.BigEndian.Uint64(sum[:])}
}

// copy makes the target's rows those of the source, and compares them.
func (m *Mover) copy(ctx context.Context, p fanfare.Placement) error {
	from, to := m.Store.shards[p.Shard], m.Store.shards[p.Other]
	if err := to.ClearSlot(ctx, p.Slot); err != nil {
		return m.Store.of(p.Other, err)
	}
	left := make(digest)
	var rows []fanfare.SlotRow
	bytes := 0
	put := func() error {
		if mine, err := m.mine(ctx); err != nil || !mine {
			return errors.Join(err, fmt.Errorf("somebody else moves slots: %w", fanfare.ErrConflict))
		}
		err := to.ImportSlot(ctx, p.Slot, rows)
		rows, bytes = rows[:0], 0
		return m.Store.of(p.Other, err)
	}
	if err := from.ExportSlot(ctx, p.Slot, func(r fanfare.SlotRow) error {
		left.add(r)
		rows = append(rows, r)
		for _, v := range r.Values {
			switch v := v.(type) {
			case string:
				bytes += len(v)
			case []byte:
				bytes += len(v)
			}
		}
		if len(rows) < moveRows && bytes < moveBytes {
			return nil
		}
		return put()
	}); err != nil {
		return m.Store.of(p.Shard, err)
	}
	if err := put(); err != nil {
		return err
	}
	if err := m.before("compare"); err != nil {
		return err
	}
	came := make(digest)
	if err := to.ExportSlot(ctx, p.Slot, func(r fanfare.SlotRow) error {
		came.add(r)
		return nil
	}); err != nil {
		return m.Store.of(p.Other, err)
	}
	if !maps.Equal(left, came) {
		return fmt.Errorf("what came is not what left: rows and sums by table %v, not %v: %w", came, left, fanfare.ErrDamaged)
	}
	return nil
}

// arrive is what only goes on: the source is no longer read, the target opens, the source's rows go.
func (m *Mover) arrive(ctx context.Context, p fanfare.Placement) error {
	source, err := m.turn(ctx, p.Other, p.Slot)
	if err != nil {
		return err
	}
	if err := m.turnTo(ctx, p.Other, source, fanfare.SlotAway); err != nil {
		return err
	}
	target, err := m.turn(ctx, p.Shard, p.Slot)
	if err != nil {
		return err
	}
	if target.State == fanfare.SlotAway {
		k, err := m.Store.shards[p.Other].SlotCounters(ctx, p.Slot)
		if err != nil {
			return m.Store.of(p.Other, err)
		}
		if err := m.before("the other shard opens"); err != nil {
			return err
		}
		open := fanfare.SlotTurn{Slot: p.Slot, Epoch: p.Epoch, State: fanfare.SlotOpen}
		if err := m.Store.shards[p.Shard].TakeSlot(ctx, target, open, k); err != nil {
			return m.Store.of(p.Shard, err)
		}
	}
	if err := m.before("the rows go from where they were"); err != nil {
		return err
	}
	if err := m.Store.shards[p.Other].ClearSlot(ctx, p.Slot); err != nil {
		return m.Store.of(p.Other, err)
	}
	return m.rest(ctx, p)
}

// back opens the slot where it lies.
func (m *Mover) back(ctx context.Context, p fanfare.Placement) error {
	turn, err := m.turn(ctx, p.Shard, p.Slot)
	if err != nil {
		return err
	}
	if err := m.turnTo(ctx, p.Shard, turn, fanfare.SlotOpen); err != nil {
		return err
	}
	if err := m.before("the copy goes"); err != nil {
		return err
	}
	if err := m.Store.shards[p.Other].ClearSlot(ctx, p.Slot); err != nil {
		return m.Store.of(p.Other, err)
	}
	return m.rest(ctx, p)
}

func (m *Mover) rest(ctx context.Context, p fanfare.Placement) error {
	if err := m.before("at rest"); err != nil {
		return err
	}
	next := p
	next.Step, next.Other = fanfare.MoveNone, -1
	return m.Store.moveOn(ctx, p, next)
}
