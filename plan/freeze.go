package plan

import (
	"context"
	"fmt"
	"time"

	"fanfare"
	"fanfare/audience"
	"fanfare/set"
)

// freezing is one message's audience on its way to being frozen.
type freezing struct {
	*answer
	size int
	left []fanfare.Slot
	next *known // of the first one left, while its people are asked about
}

// prepare freezes audiences. While others are sending it takes a slot at a time and lets them be served in between.
func (p *Planner) prepare(ctx context.Context, now time.Time, all []*message) (failed []error) {
	busy := false
	for _, m := range all {
		busy = busy || m.State.Phase == fanfare.PhaseSending
	}
	for _, m := range all {
		if m.State.Phase != fanfare.PhasePreparing || now.Before(m.notYet) {
			continue
		}
		for m.State.Phase == fanfare.PhasePreparing {
			more, err := p.freezeStep(ctx, m)
			if err != nil {
				failed = append(failed, fmt.Errorf("message %s: freeze its audience: %w", m.ID, err))
				m.job, m.notYet = nil, now.Add(freezeWait)
				break
			}
			if !more {
				break
			}
			if busy || m.job != nil && m.job.next != nil { // profiles are read: that may take long
				p.wait = 0
				break
			}
		}
		if m.State.Phase == fanfare.PhaseSending {
			p.wait = 0
		}
	}
	return failed
}

// freezeStep reads or freezes one slot, and moves the message on when all are frozen. more: the next step may follow at once.
func (p *Planner) freezeStep(ctx context.Context, m *message) (more bool, err error) {
	if err := p.spread(ctx, m); err != nil {
		return false, err
	}
	if m.job == nil {
		m.job, err = p.freezing(ctx, m)
		return err == nil && m.job != nil, err
	}
	if len(m.job.left) == 0 {
		few, err := p.few(ctx, m)
		if err != nil {
			return false, err
		}
		moved, err := p.transition(ctx, m, fanfare.EventFrozen, func(row *fanfare.Message) { row.Few = few && !row.Test })
		if err != nil || !moved {
			return false, err
		}
		return false, p.spread(ctx, m)
	}
	if !m.job.ready() {
		return true, m.job.step(ctx)
	}
	if m.job.few() && (!m.job.dedupe || p.Store.Shards() == 1) { // of several shards one may fail, and mailboxes are taken in order of the slots
		return p.freezeFew(ctx, m)
	}
	job, s := m.job, m.job.left[0]
	if job.next == nil {
		if job.next, err = job.look(ctx, s, nil); err != nil {
			return false, fmt.Errorf("slot %d: %w", s, err)
		}
	}
	k := job.next
	if more, err := job.askMore(ctx, s, k); more || err != nil {
		if err != nil {
			err = fmt.Errorf("slot %d: %w", s, err)
		}
		return more, err
	}
	job.next = nil
	done, err := p.Store.Freeze(ctx, s, m.Num, m.State.Generation, job.size, func(view fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
		return job.parts(ctx, s, view, k)
	})
	if err != nil {
		return false, fmt.Errorf("slot %d: %w", s, err)
	}
	if !done { // another planner was quicker, or the message moved
		m.job = nil
		return false, nil
	}
	job.left = job.left[1:]
	return true, nil
}

// fewNamed is how many people an audience may name that is frozen at once: nobody waits long for the writer.
const fewNamed = 500

// few says whether an audience is of named people, and not of many.
func (f *freezing) few() bool {
	named, yes := f.expr.(audience.Recipients)
	return yes && len(named.IDs) <= fewNamed
}

// freezeFew freezes all slots that are left in one transaction: a message to one person costs one commit for that, not one a slot.
func (p *Planner) freezeFew(ctx context.Context, m *message) (more bool, err error) {
	job, of := m.job, make(map[fanfare.Slot]*known, len(m.job.left))
	for _, s := range job.left {
		k, err := job.look(ctx, s, nil)
		for more := true; more && err == nil; {
			more, err = job.askMore(ctx, s, k)
		}
		if err != nil {
			return false, fmt.Errorf("slot %d: %w", s, err)
		}
		of[s] = k
	}
	all, err := p.Store.FreezeMany(ctx, job.left, m.Num, m.State.Generation, job.size, func(s fanfare.Slot, view fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
		return job.parts(ctx, s, view, of[s])
	})
	if err != nil || !all {
		m.job = nil // what is left is read anew
		return false, err
	}
	job.left = nil
	return true, nil
}

// few says whether an inbox message whose audience is frozen goes to few in every slot.
func (p *Planner) few(ctx context.Context, m *message) (bool, error) {
	if m.Channel != fanfare.ChannelInbox {
		return false, nil
	}
	rows, err := p.Store.Latches(ctx, m.Num)
	if err != nil {
		return false, fmt.Errorf("read its latch rows: %w", err)
	}
	for _, l := range rows {
		if !l.Few {
			return false, nil
		}
	}
	return true, nil
}

func (p *Planner) freezing(ctx context.Context, m *message) (*freezing, error) {
	rows, err := p.Store.Latches(ctx, m.Num)
	if err != nil {
		return nil, fmt.Errorf("read its latch rows: %w", err)
	}
	var row fanfare.Message
	err = p.Store.View(ctx, func(v fanfare.ControlView) (err error) {
		row, err = v.MessageByNum(m.Num)
		return err
	})
	if err != nil || row.State != m.State {
		return nil, err
	}
	q, err := p.ask(ctx, row.Audience, question{channel: row.Channel, topic: row.Topic, essential: row.Essential}, row.Dedupe)
	if err != nil {
		return nil, err
	}
	if p.Content != nil {
		if q.content, err = p.Content(&row); err != nil {
			return nil, fmt.Errorf("its content: %w", err)
		}
	}
	frozen := make([]bool, q.slots)
	for _, l := range rows {
		frozen[l.Slot] = l.Frozen && !p.Rules.FreezeTwice
	}
	f := &freezing{answer: p.answer(q, m.Num, frozen), size: row.BatchSize()}
	if p.BatchSize > 0 {
		f.size = p.BatchSize
	}
	for s, there := range frozen {
		if !there {
			f.left = append(f.left, fanfare.Slot(s)) //nolint:gosec // slots fit
		}
	}
	return f, nil
}
