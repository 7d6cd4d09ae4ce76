package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fanfare"
)

const triggerEvery = time.Second // how often it is asked whether another message is completed, but for those that this planner ends

// triggers gives a time to whoever waited for another message that is completed now; move does the rest. A paused one gets it too: when it
// is resumed it goes on as any whose time has come.
func (p *Planner) triggers(ctx context.Context, now time.Time, all []*message) (failed []error) {
	if now.Sub(p.triggered) < triggerEvery && !p.ended {
		return nil
	}
	p.triggered, p.ended = now, false
	waits := func(m *message) bool {
		s := m.State
		return m.Waits && m.SendAt.IsZero() && (s.Phase == fanfare.PhaseScheduled || s.Phase == fanfare.PhasePaused && s.PausedFrom == fanfare.PhaseScheduled)
	}
	if !slices.ContainsFunc(all, waits) {
		return nil
	}
	var come []*message
	err := p.Store.View(ctx, func(v fanfare.ControlView) error {
		for _, m := range all {
			if !waits(m) {
				continue
			}
			row, err := v.MessageByNum(m.Num)
			if errors.Is(err, fanfare.ErrNotFound) {
				continue
			} else if err != nil {
				return err
			}
			due, err := fanfare.TriggerDue(v, &row)
			if err != nil {
				return err
			}
			if !due.IsZero() {
				come = append(come, m)
			}
		}
		return nil
	})
	if err != nil {
		return []error{fmt.Errorf("look at what messages wait for: %w", err)}
	}
	for _, m := range come {
		if err := p.trigger(ctx, m); err != nil && !errors.Is(err, fanfare.ErrConflict) {
			failed = append(failed, fmt.Errorf("message %s: its time has come: %w", m.ID, err))
		}
	}
	return failed
}

// trigger writes down a message's time, if it waits still.
func (p *Planner) trigger(ctx context.Context, m *message) error {
	var due time.Time
	err := p.Store.Update(ctx, func(tx fanfare.ControlTx) error {
		due = time.Time{}
		row, err := tx.MessageByNum(m.Num)
		if err != nil || row.State != m.State || !row.Waits() {
			return err
		}
		if due, err = fanfare.TriggerDue(tx, &row); err != nil || due.IsZero() {
			return err
		}
		row.SendAt, row.UpdatedAt = due, tx.Now()
		if err := tx.SaveMessage(&row, row.Phase, row.Generation); err != nil {
			return err
		}
		return tx.AddAudit(fanfare.AuditEntry{Actor: actor, Action: "message.trigger", Object: string(m.ID),
			Detail: fmt.Sprintf("message %s is completed; due %s", row.Trigger.After.Message, due.UTC().Format(time.RFC3339))})
	})
	if err == nil && !due.IsZero() {
		m.SendAt = due
	}
	return err
}
