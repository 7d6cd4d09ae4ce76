package deliver

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"fanfare"
	"fanfare/plan"
	"fanfare/set"
)

// actor is somebody whose work is many calls of the store, a planner or an operator: it may stand still, or die, between any two.
// It runs as a coroutine: only one of all goes on at a time.
type actor struct {
	fanfare.Store // the very one; the methods below stand before it
	*world
	name  string
	next  func() (time.Duration, bool)
	stop  func()
	yield func(time.Duration) bool
	dead  bool
	over  bool
}

var errDied = errors.New("the process died")

// act starts an actor.
func (w *world) act(name string, d time.Duration, do func(a *actor)) *actor {
	a := &actor{Store: w.store, world: w, name: name}
	a.next, a.stop = iter.Pull(func(yield func(time.Duration) bool) {
		a.yield = yield
		do(a)
	})
	w.actors = append(w.actors, a)
	w.at(d, a.resume)
	return a
}

func (a *actor) resume() {
	if a.over {
		return
	}
	d, more := a.next()
	if !more {
		a.end()
		return
	}
	a.at(d, a.resume)
}

// end lets the coroutine run to its end, with every further call refused.
func (a *actor) end() {
	if !a.over {
		a.dead, a.over = true, true
		a.stop()
	}
}

// sleep lets others go on for a while; false: the actor died meanwhile.
func (a *actor) sleep(d time.Duration) bool { return !a.dead && a.yield(d) && !a.dead }

// call stands before each call of the store.
func (a *actor) call() error {
	if a.dead {
		return errDied
	}
	if !a.calm && a.flip(a.odds.yields) {
		d := a.short()
		if a.flip(0.02) {
			a.saw("actor stalled between two calls")
			d = a.between(0, 20*time.Second)
		}
		if !a.sleep(d) {
			return errDied
		}
	}
	return nil
}

// control stands before each call of the control tables.
func (a *actor) control() error {
	if err := a.call(); err != nil {
		return err
	}
	if a.now < a.deaf || a.happens(a.odds.looking) {
		a.saw("control tables silent")
		return errStore
	}
	return nil
}

// slot stands before each call of a slot's tables.
func (a *actor) slot() error {
	if err := a.call(); err != nil {
		return err
	}
	if a.happens(a.odds.reading) {
		a.saw("slot tables silent")
		return errStore
	}
	return nil
}

// answered stands behind each change: it is done, but its answer may be lost, or the actor dies of it.
func (a *actor) answered() error {
	a.judgeMessages()
	if a.happens(a.odds.commitLost) {
		a.saw("answer to an actor lost")
		return errStore
	}
	return a.call()
}

func (a *actor) View(ctx context.Context, fn func(fanfare.ControlView) error) error {
	if err := a.control(); err != nil {
		return err
	}
	return a.Store.View(ctx, fn)
}

func (a *actor) Update(ctx context.Context, fn func(fanfare.ControlTx) error) error {
	if err := a.control(); err != nil {
		return err
	}
	if err := a.Store.Update(ctx, fn); err != nil {
		return err
	}
	return a.answered()
}

func (a *actor) Look(ctx context.Context) ([]fanfare.Look, error) {
	if err := a.control(); err != nil {
		return nil, err
	}
	return a.Store.Look(ctx)
}

func (a *actor) Freeze(ctx context.Context, s fanfare.Slot, m fanfare.MessageNum, g fanfare.Generation, size int,
	fn func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error),
) (bool, error) {
	if err := a.slot(); err != nil {
		return false, err
	}
	done, err := a.Store.Freeze(ctx, s, m, g, size, fn)
	if err != nil {
		return done, err
	}
	if !done {
		a.saw("freeze refused")
	}
	a.judgeFreeze(m, s)
	return done, a.answered()
}

func (a *actor) Spread(ctx context.Context, s fanfare.Slot, m fanfare.MessageNum, p fanfare.SlotPhase, g fanfare.Generation) error {
	if err := a.slot(); err != nil {
		return err
	}
	if err := a.Store.Spread(ctx, s, m, p, g); err != nil {
		return err
	}
	return a.answered()
}

// SpreadMany tells slot by slot, and may stop between any two, as with several shards.
func (a *actor) SpreadMany(ctx context.Context, slots []fanfare.Slot, m fanfare.MessageNum, p fanfare.SlotPhase, g fanfare.Generation) error {
	var failed []error
	for _, s := range slots {
		failed = append(failed, a.Spread(ctx, s, m, p, g))
	}
	return errors.Join(failed...)
}

func (a *actor) Latches(ctx context.Context, m fanfare.MessageNum) ([]fanfare.Latch, error) {
	if err := a.slot(); err != nil {
		return nil, err
	}
	return a.Store.Latches(ctx, m)
}

func (a *actor) Append(_ context.Context, shard int, entries []fanfare.Entry) []fanfare.EntryAnswer {
	answers := make([]fanfare.EntryAnswer, len(entries))
	if entries[0].Amend != nil && !a.calm && a.flip(0.1) { // whatever it was decided on may be over when it comes
		a.sleep(a.between(0, 2*time.Second))
	}
	err := a.slot()
	for i, e := range entries {
		if answers[i].Err = err; err == nil {
			answers[i] = a.land(nil, shard, e)
			if e.Claim != nil {
				a.saw("settled by a planner")
			}
		}
	}
	if err == nil && a.answered() != nil {
		for i := range answers {
			answers[i] = fanfare.EntryAnswer{Err: errStore}
		}
	}
	return answers
}

func (a *actor) Backlog(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot, from fanfare.BatchNo, limit int) ([]fanfare.Batch, fanfare.BatchNo, error) {
	if err := a.slot(); err != nil {
		return nil, 0, err
	}
	return a.Store.Backlog(ctx, m, s, from, limit)
}

func (a *actor) Claims(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot) (int, []fanfare.BatchRef, error) {
	if err := a.slot(); err != nil {
		return 0, nil, err
	}
	return a.Store.Claims(ctx, m, s)
}

func (a *actor) Tally(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot) (fanfare.Tally, error) {
	if err := a.slot(); err != nil {
		return fanfare.Tally{}, err
	}
	return a.Store.Tally(ctx, m, s)
}

func (a *actor) Parts(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot) (map[fanfare.Part]int, error) {
	if err := a.slot(); err != nil {
		return nil, err
	}
	return a.Store.Parts(ctx, m, s)
}

// newPlanner starts a planner; when it dies another one comes.
func (w *world) newPlanner() {
	w.named++
	name := fmt.Sprintf("planner%d", w.named)
	w.note("%s starts", name)
	w.act(name, w.short(), func(a *actor) {
		p := plan.New(plan.Config{Store: a, Queue: w.queue, Node: name, BatchSize: w.size, Rules: w.rules})
		for {
			err := p.Tick(w.ctx)
			if err != nil {
				w.note("%s: %v", name, err)
			}
			d := w.between(50*time.Millisecond, 400*time.Millisecond)
			if !w.calm && w.flip(0.01) {
				w.saw("planner stalled past its lease")
				d = w.between(5*time.Second, 30*time.Second)
			}
			if !a.sleep(d) {
				return
			}
		}
	})
}

// nudge has nothing to do here: planners tick at times of their own.
func (w *world) nudge() { w.saw("claims freed") }

// operate gives a message an event and tells its slots, unless the operator's node dies in between.
func (w *world) operate(s *sending, e fanfare.Event) { w.operateWith(s, e, nil) }

func (w *world) operateWith(s *sending, e fanfare.Event, edit func(*fanfare.Message)) {
	w.named++
	name := fmt.Sprintf("operator%d", w.named)
	w.act(name, 0, func(a *actor) {
		for range 20 {
			m, v, err := fanfare.Transition(w.ctx, a, s.id, e, edit)
			w.note("%s: %s %s: %s/%d %v", name, e, s.id, m.Phase, m.Generation, err)
			if errors.Is(err, fanfare.ErrState) {
				return
			}
			if err == nil {
				if v == fanfare.Moved {
					w.saw("operator: " + string(e))
				}
				for _, n := range w.nodes {
					if w.flip(0.3) {
						n.event(Nudged{})
					}
				}
				err = fanfare.SpreadAll(w.ctx, a, w.slots, m)
			}
			if err == nil || e != fanfare.EventStart && e != fanfare.EventSchedule && w.flip(0.5) || !a.sleep(w.between(0, time.Second)) {
				return
			}
		}
	})
}

// resumeScope has a person send again to some whose result stands.
func (w *world) resumeScope(s *sending) {
	scopes := []fanfare.Scope{{Result: fanfare.ResultFailed}, {Result: fanfare.ResultUncertain}}
	switch w.IntN(6) {
	case 0:
		scopes = scopes[:1]
	case 1:
		scopes = scopes[1:]
	case 2:
		scopes[0].Reasons = []fanfare.Reason{[3]fanfare.Reason{fanfare.ReasonPermanent, fanfare.ReasonTemporaryExhausted, fanfare.ReasonSettled}[w.IntN(3)]}
		scopes = scopes[:1]
	case 3, 4:
		scopes[1].Again = true
		scopes = scopes[1:]
	}
	w.operateWith(s, fanfare.EventResumeScope, func(m *fanfare.Message) { m.Scopes = append(m.Scopes, scopes...) })
}

// settle has a person say what became of the uncertain, of all or of some, rightly or not.
func (w *world) settle(s *sending) {
	w.named++
	slot := fanfare.Slot(w.IntN(w.slots))
	as := fanfare.ResultSent
	if w.flip(0.5) {
		as = fanfare.ResultFailed
	}
	some := w.flip(0.3)
	w.act(fmt.Sprintf("operator%d", w.named), 0, func(a *actor) {
		var who []fanfare.Seq
		for e, err := range w.store.Exceptions(w.ctx, s.num, slot, 0) {
			w.must(err)
			if some && e.Result == fanfare.ResultUncertain && w.flip(0.5) {
				who = append(who, e.Seq)
			}
		}
		s.settles = true
		done, err := fanfare.Settle(w.ctx, a, &fanfare.Message{ID: s.id, Num: s.num, Revision: 1}, slot, as, who)
		w.note("operator settles %s as %s: %+v %v", s.id, as, done, err)
		_, err = fanfare.SumUp(w.ctx, a, s.id)
		w.note("%s is summed up: %v", s.id, err)
	})
}

// edit changes what a person may change while a message is sent.
func (w *world) edit(s *sending, change func(m *fanfare.Message)) {
	w.must(w.store.Update(w.ctx, func(tx fanfare.ControlTx) error {
		m, err := tx.Message(s.id)
		if err != nil {
			return err
		}
		change(&m)
		return tx.SaveMessage(&m, m.Phase, m.Generation)
	}))
}
