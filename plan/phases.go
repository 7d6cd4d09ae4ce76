package plan

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fanfare"
)

// move carries out what the clock, or the end of the last claim, asks of a message. What it starts by that it goes on with at once.
func (p *Planner) move(ctx context.Context, now time.Time, m *message) error {
	for {
		moved, err := p.moveOnce(ctx, now, m)
		if err != nil || !moved {
			return err
		}
	}
}

func (p *Planner) moveOnce(ctx context.Context, now time.Time, m *message) (moved bool, err error) {
	phase := m.State.Phase
	if !m.NotAfter.IsZero() && !now.Before(m.NotAfter) && !phase.Final() && phase != fanfare.PhaseCancelling {
		return p.expire(ctx, m)
	}
	if m.State.Spreads() {
		if err := p.spread(ctx, m); err != nil {
			return false, err
		}
	}
	switch phase {
	case fanfare.PhaseScheduled:
		if m.SendAt.IsZero() || now.Before(m.SendAt) { // it has none yet if it waits for an event or another message
			return false, nil
		}
		if now.Sub(m.SendAt) > max(m.StartGrace, graceLeast) {
			return p.transition(ctx, m, fanfare.EventDueLate, nil)
		}
		return p.transition(ctx, m, fanfare.EventDue, nil)
	case fanfare.PhaseSending:
		if m.State.Reopens {
			return p.reopen(ctx, m)
		}
		return false, nil
	case fanfare.PhasePausing, fanfare.PhaseCancelling:
		return p.drain(ctx, m)
	default:
		return false, nil
	}
}

// actor is who planners are in the audit trail.
const actor = "planner"

// transition makes a move, guarded by the state that it was decided on: if somebody else moved the message first, nothing happens and
// the next look shows it.
func (p *Planner) transition(ctx context.Context, m *message, e fanfare.Event, edit func(*fanfare.Message)) (moved bool, err error) {
	err = p.Store.Update(ctx, func(tx fanfare.ControlTx) error {
		moved = false
		row, err := tx.MessageByNum(m.Num)
		if err != nil || row.State != m.State {
			return err
		}
		next, v, err := fanfare.TransitionIn(tx, row, e, edit)
		if err != nil {
			return err
		}
		if v != fanfare.Moved {
			return nil
		}
		moved = true
		m.next = next.State
		return tx.AddAudit(fanfare.Audited(actor, row.State, &next, e))
	})
	switch {
	case errors.Is(err, fanfare.ErrConflict) || errors.Is(err, fanfare.ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("%s: %w", e, err)
	case !moved:
		return false, nil
	}
	p.Logger.Info("message", "id", m.ID, "event", string(e), "from", string(m.State.Phase), "to", string(m.next.Phase), "generation", int64(m.next.Generation))
	m.Look.State = m.next
	m.changed()
	return true, nil
}

// expire ends a message whose time is over. While claims may live it has to drain first, and drain sums it up.
func (p *Planner) expire(ctx context.Context, m *message) (bool, error) {
	var sum fanfare.Outcome
	if m.State.Phase == fanfare.PhasePaused && m.State.PausedFrom == fanfare.PhaseSending {
		t, err := p.tally(ctx, m)
		if err != nil {
			return false, err
		}
		sum = t.Outcome()
	}
	return p.transition(ctx, m, fanfare.EventExpire, func(row *fanfare.Message) { row.Outcome = sum })
}

// spread brings every latch row to the message's state. Whoever moved the message does it too; this is for when they could not.
func (p *Planner) spread(ctx context.Context, m *message) error {
	if m.spread {
		return nil
	}
	rows, err := p.Store.Latches(ctx, m.Num)
	if err != nil {
		return fmt.Errorf("read its latch rows: %w", err)
	}
	phase, generation := m.State.Slot(), m.State.Generation
	carries := make([]bool, p.Store.Slots())
	if m.State.Phase.Final() && len(rows) == 0 { // it was never prepared
		m.spread = true
		return nil
	}
	for _, l := range rows {
		if int(l.Slot) < len(carries) && (l.Generation > generation || l.Generation == generation && l.Phase >= phase) {
			carries[l.Slot] = true
		}
	}
	var left []fanfare.Slot
	for s, there := range carries {
		if !there {
			left = append(left, fanfare.Slot(s)) //nolint:gosec // slots fit
		}
	}
	if len(left) > 0 {
		if err := p.Store.SpreadMany(ctx, left, m.Num, phase, generation); err != nil {
			return fmt.Errorf("tell its slots: %w", err)
		}
	}
	m.spread = true
	return nil
}

// drain waits for the last claim, after every latch row carries the generation, so that no new one starts. What dead claims left in
// flight is settled: whoever is not to be sent to again is held.
func (p *Planner) drain(ctx context.Context, m *message) (bool, error) {
	if m.drained == nil {
		m.drained = make([]bool, p.Store.Slots())
	}
	policy := m.Uncertain
	if m.State.Phase == fanfare.PhaseCancelling {
		policy = fanfare.PolicyHold
	}
	all := true
	for s := range m.drained {
		if m.drained[s] {
			continue
		}
		done, err := p.drainSlot(ctx, m, fanfare.Slot(s), policy) //nolint:gosec // slots fit
		if err != nil {
			return false, fmt.Errorf("slot %d: %w", s, err)
		}
		m.drained[s] = done
		all = all && done
	}
	if !all {
		return false, nil
	}
	if m.State.Phase != fanfare.PhaseCancelling {
		return p.transition(ctx, m, fanfare.EventDrained, nil)
	}
	t, err := p.tally(ctx, m)
	if err != nil {
		return false, err
	}
	return p.end(ctx, m, fanfare.EventDrained, &t)
}

// end makes the last move of a message that was added up. Who is settled by a receipt just then was not counted: it is added up once more.
func (p *Planner) end(ctx context.Context, m *message, e fanfare.Event, t *fanfare.Tally) (bool, error) {
	moved, err := p.transition(ctx, m, e, func(row *fanfare.Message) { row.Outcome = t.Outcome() })
	p.ended = p.ended || moved
	if err == nil && moved && t.Uncertain > 0 {
		_, err = fanfare.SumUp(ctx, p.Store, m.ID)
	}
	return moved, err
}

func (p *Planner) drainSlot(ctx context.Context, m *message, s fanfare.Slot, policy fanfare.Policy) (done bool, err error) {
	live, dead, err := p.Store.Claims(ctx, m.Num, s)
	if err != nil {
		return false, fmt.Errorf("read its claims: %w", err)
	}
	if len(dead) == 0 {
		return live == 0, nil
	}
	entries := make([]fanfare.Entry, 0, len(dead))
	for _, ref := range dead {
		entries = append(entries, fanfare.Entry{Claim: &fanfare.Claim{BatchRef: ref, Generation: m.State.Generation,
			Owner: fanfare.Owner{Node: "planner:" + p.Node}, Policy: policy, Settle: true}})
	}
	for i, a := range p.Store.Append(ctx, p.Store.ShardOf(s), entries) {
		switch a.Answer {
		case fanfare.Applied, fanfare.Over:
		case fanfare.Failed: // the store holds the batch: a person must look
			p.Logger.Error("a batch could not be settled and is held", "batch", dead[i].String(), "error", a.Err)
		default: // unknown, or the slot moves, or somebody else was quicker
			live++
		}
	}
	return live == 0, nil
}

func (p *Planner) tally(ctx context.Context, m *message) (fanfare.Tally, error) {
	var sum fanfare.Tally
	for s := range p.Store.Slots() {
		t, err := p.Store.Tally(ctx, m.Num, fanfare.Slot(s)) //nolint:gosec // slots fit
		if err != nil {
			return sum, fmt.Errorf("add up slot %d: %w", s, err)
		}
		sum.Add(t)
	}
	return sum, nil
}

// finish ends a message whose slots have no unfinished batch: with the balance checked, or paused as damaged if batches are held or the
// counts do not agree.
func (p *Planner) finish(ctx context.Context, m *message) error {
	t, err := p.tally(ctx, m)
	if err != nil {
		return err
	}
	planned := 0
	for s := range p.Store.Slots() {
		parts, err := p.Store.Parts(ctx, m.Num, fanfare.Slot(s)) //nolint:gosec // slots fit
		if err != nil {
			return fmt.Errorf("read the parts of slot %d: %w", s, err)
		}
		planned += parts[fanfare.PartSend]
	}
	switch {
	case p.Rules.CompletedWhenEmpty, t.Done == t.Batches && t.Balanced(planned):
		_, err = p.end(ctx, m, fanfare.EventAllDone, &t)
	case t.Done+t.Held == t.Batches:
		p.Logger.Error("message is damaged: run fanfare doctor", "id", m.ID, "held", t.Held, "unbalanced", fmt.Sprint(t.Unbalanced))
		_, err = p.transition(ctx, m, fanfare.EventDamaged, nil)
	default: // a slot was misread: look again
		m.slots = nil
	}
	return err
}
