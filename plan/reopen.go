package plan

import (
	"context"
	"fmt"

	"fanfare"
)

const (
	reopenPage     = 512 // rows a reading
	reopenTogether = 16  // batches an entry group: what others wait for at most
)

// reopening is how far a scope was added to what remains. A planner that comes after another begins anew: to do it twice is to do it once.
type reopening struct {
	slot   int
	from   fanfare.BatchNo // those before are done, or left
	left   []fanfare.BatchRef
	scopes []fanfare.Scope
}

// reopen makes whoever the message's scopes mean remain again, a group of batches at a time; when all slots are through the message goes
// on. Every latch row carries SlotPreparing meanwhile, so nobody is claimed and no batch changes under its feet but by claims of the
// former generation, which it waits for.
func (p *Planner) reopen(ctx context.Context, m *message) (moved bool, err error) {
	if m.reopening == nil {
		var row fanfare.Message
		err := p.Store.View(ctx, func(v fanfare.ControlView) (err error) {
			row, err = v.MessageByNum(m.Num)
			return err
		})
		if err != nil || row.State != m.State {
			return false, err
		}
		m.reopening = &reopening{scopes: row.Scopes}
	}
	r := m.reopening
	for len(r.left) == 0 && r.slot < p.Store.Slots() {
		if err := p.findReopened(ctx, m, r); err != nil {
			return false, fmt.Errorf("slot %d: %w", r.slot, err)
		}
	}
	if len(r.left) == 0 {
		return p.transition(ctx, m, fanfare.EventReopened, nil)
	}
	n := min(len(r.left), reopenTogether)
	entries := make([]fanfare.Entry, n)
	for i, ref := range r.left[:n] {
		entries[i].Amend = &fanfare.Amend{BatchRef: ref, Generation: m.State.Generation, Reopen: r.scopes}
	}
	var again []fanfare.BatchRef
	for i, a := range p.Store.Append(ctx, p.Store.ShardOf(r.left[0].Slot), entries) {
		switch a.Answer {
		case fanfare.Applied, fanfare.Over:
		case fanfare.Failed: // the store holds the batch: a person must look
			p.Logger.Error("a batch could not be reopened and is held", "batch", r.left[i].String(), "error", a.Err)
		default: // a claim lives yet, or the slot moves, or the answer was lost
			again = append(again, r.left[i])
		}
	}
	r.left = append(again, r.left[n:]...)
	if len(again) < n {
		p.wait = 0
	}
	return false, nil
}

// findReopened reads on from where it stood and notes the batches that have somebody whom a scope may mean.
func (p *Planner) findReopened(ctx context.Context, m *message, r *reopening) error {
	rows, err := p.Store.Batches(ctx, m.Num, fanfare.Slot(r.slot), r.from, reopenPage) //nolint:gosec // slots fit
	if err != nil {
		return fmt.Errorf("read its batches: %w", err)
	}
	for i := range rows {
		b := &rows[i]
		for _, s := range r.scopes {
			if b.State != fanfare.BatchHeld && (s.Result == fanfare.ResultFailed && b.Failed > 0 || s.Result == fanfare.ResultUncertain && b.Uncertain > 0) {
				r.left = append(r.left, b.BatchRef)
				break
			}
		}
	}
	if len(rows) < reopenPage {
		r.slot, r.from = r.slot+1, 0
		return nil
	}
	r.from = rows[len(rows)-1].Batch + 1
	return nil
}
