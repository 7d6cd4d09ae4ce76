package fanfare

import (
	"context"
	"fmt"
	"time"
)

// Transition carries an event out on a message: [Next] decides, one guarded statement writes. edit (nil: nothing) may change other
// fields of a message that moves, in the same transaction; it may run again after a conflict. A refused event is ErrState, a repeated
// one changes nothing and answers Same.
//
// The message comes first: whoever moved it calls [SpreadAll] next. Should it die in between, the planner does that.
func Transition(ctx context.Context, c Control, id MessageID, e Event, edit func(*Message)) (Message, Verdict, error) {
	var m Message
	var v Verdict
	err := c.Update(ctx, func(tx ControlTx) error {
		now, err := tx.Message(id)
		if err != nil {
			return err
		}
		m, v, err = TransitionIn(tx, now, e, edit)
		return err
	})
	if err != nil {
		return m, Refused, fmt.Errorf("message %s: %s: %w", id, e, err)
	}
	return m, v, nil
}

// Audited is what the audit trail says of an event that moved a message without a person.
func Audited(actor string, from State, m *Message, e Event) AuditEntry {
	return AuditEntry{Actor: actor, Action: "message." + string(e), Object: string(m.ID), Detail: string(from.Phase) + " → " + string(m.Phase)}
}

// TransitionIn is [Transition] within a transaction that has read the message.
func TransitionIn(tx ControlTx, m Message, e Event, edit func(*Message)) (Message, Verdict, error) {
	was := m.State
	next, v := Next(was, e)
	switch v {
	case Refused:
		return m, Refused, fmt.Errorf("while %s: %w", was.Phase, ErrState)
	case Same:
		return m, Same, nil
	}
	m.State = next
	m.stamp(tx.Now())
	if edit != nil {
		edit(&m)
	}
	if err := tx.SaveMessage(&m, was.Phase, was.Generation); err != nil {
		return m, Refused, err
	}
	return m, Moved, nil
}

// stamp notes the time of the move that was just made.
func (m *Message) stamp(now time.Time) {
	m.UpdatedAt = now
	if !m.Reopens {
		m.Scopes = nil
	}
	if m.Phase == PhasePreparing && m.StartedAt.IsZero() {
		m.StartedAt = now
	}
	switch {
	case m.Phase.Final():
		m.FinishedAt = now
	case !m.FinishedAt.IsZero(): // a completed message that is resumed by scope
		m.FinishedAt, m.Outcome = time.Time{}, ""
	}
}

// SpreadAll brings the latch rows of all slots to the message's phase and generation. A slot that cannot be reached keeps no other from
// it: all errors are answered together. Before a message is prepared it has no latch rows, and nothing is done.
func SpreadAll(ctx context.Context, f Freezer, slots int, m Message) error {
	if !m.State.Spreads() || m.Phase.Final() && m.StartedAt.IsZero() {
		return nil
	}
	all := make([]Slot, slots)
	for s := range all {
		all[s] = Slot(s) //nolint:gosec // slots fit
	}
	if err := f.SpreadMany(ctx, all, m.Num, m.State.Slot(), m.Generation); err != nil {
		return fmt.Errorf("message %s: tell its slots that it is %s: %w", m.ID, m.Phase, err)
	}
	return nil
}

// Spreads says whether the latch rows of a message in this state have to carry its phase and generation.
func (s State) Spreads() bool {
	switch s.Phase {
	case PhaseDraft, PhaseScheduled:
		return false
	case PhasePaused:
		return s.PausedFrom != PhaseScheduled
	default:
		return true
	}
}

// Slot gives what the latch rows carry while the message is in this state: what is reopened is prepared once more, and nobody may claim.
func (s State) Slot() SlotPhase {
	if s.Phase == PhaseSending && s.Reopens {
		return SlotPreparing
	}
	return s.Phase.Slot()
}

// Outcome sums up the counts of a message that is done; empty if somebody remained, as in a cancelled one, or if
// it is not known of all.
func (t *Tally) Outcome() Outcome {
	switch {
	case t.Uncertain > 0:
		return WithUncertain
	case t.Failed > 0:
		return WithFailures
	case t.Pending > 0 || t.InFlight > 0 || len(t.Unbalanced) > 0:
		return ""
	default:
		return AllSent
	}
}
