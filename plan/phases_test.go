package plan_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/plan"
	"fanfare/set"
)

// TestDue: a message starts when its time has come, and waits for a person when it passed longer ago than start_grace.
func TestDue(t *testing.T) {
	for _, c := range []struct {
		name  string
		grace time.Duration
		wait  time.Duration // from the message's making to the planner's look; its time is after a minute
		after *fanfare.Trigger
		want  fanfare.Phase
	}{
		{"before", time.Hour, 59 * time.Second, nil, fanfare.PhaseScheduled},
		{"on time", time.Hour, time.Minute, nil, fanfare.PhaseSending},
		{"within the grace", time.Hour, time.Minute + time.Hour, nil, fanfare.PhaseSending},
		{"later", time.Hour, time.Minute + time.Hour + 1, nil, fanfare.PhasePaused},
		{"no grace, the planner was busy", 0, time.Minute + 5*time.Second, nil, fanfare.PhaseSending},
		{"no grace", 0, time.Minute + 6*time.Second, nil, fanfare.PhasePaused},
		{"an event", time.Hour, 24 * time.Hour, &fanfare.Trigger{Event: "launch"}, fanfare.PhaseScheduled},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 2, 6)
			p := w.planner("a")
			id := w.message("m", func(m *fanfare.Message) {
				if m.StartGrace, m.Trigger = c.grace, c.after; c.after == nil {
					m.SendAt = w.clock.Now().Add(time.Minute)
				}
			}, fanfare.EventSchedule)
			w.clock.advance(c.wait)
			w.settle(p)
			w.phase(id, c.want)
			if c.want != fanfare.PhasePaused {
				return
			}
			w.phase(id, c.want, fanfare.PauseLate)
			w.event(id, fanfare.EventResumeDue)
			w.finish(p, id)
			w.completed(id, 6)
		})
	}
}

// TestScheduledWithoutTime: neither a time nor an event is waited for by a message without them: a person starts it.
func TestScheduledWithoutTime(t *testing.T) {
	w := newWorld(t, 1, 2)
	p := w.planner("a")
	id := w.message("m", nil, fanfare.EventSchedule)
	w.clock.advance(time.Hour)
	w.settle(p)
	w.phase(id, fanfare.PhaseScheduled)
	w.event(id, fanfare.EventStart)
	w.settle(p)
	w.phase(id, fanfare.PhaseSending)
}

// TestExpiry: not_after ends a message in every phase but the final ones and a cancelling one; a claim that lives is waited for.
func TestExpiry(t *testing.T) {
	type at struct {
		phase  fanfare.Phase
		events []fanfare.Event
		claim  bool
		want   fanfare.Phase // after the claim's end
	}
	for _, c := range []at{
		{fanfare.PhaseScheduled, []fanfare.Event{fanfare.EventSchedule}, false, fanfare.PhaseExpired},
		{fanfare.PhasePaused, []fanfare.Event{fanfare.EventSchedule, fanfare.EventPause}, false, fanfare.PhaseExpired},
		{fanfare.PhasePaused, []fanfare.Event{fanfare.EventStart, fanfare.EventPause}, false, fanfare.PhaseExpired},
		{fanfare.PhasePreparing, []fanfare.Event{fanfare.EventStart}, false, fanfare.PhaseExpired},
		{fanfare.PhaseSending, []fanfare.Event{fanfare.EventStart, ""}, false, fanfare.PhaseExpired},
		{fanfare.PhaseSending, []fanfare.Event{fanfare.EventStart, ""}, true, fanfare.PhaseExpired},
		{fanfare.PhasePausing, []fanfare.Event{fanfare.EventStart, "", fanfare.EventPause}, true, fanfare.PhaseExpired},
		{fanfare.PhaseCancelling, []fanfare.Event{fanfare.EventStart, "", fanfare.EventCancel}, true, fanfare.PhaseCancelled},
	} {
		t.Run(fmt.Sprint(c.phase, c.events, c.claim), func(t *testing.T) {
			w := newWorld(t, 2, 6)
			p := w.planner("a")
			w.free(5)
			id := w.message("m", func(m *fanfare.Message) { m.NotAfter = w.clock.Now().Add(10 * time.Second) })
			var held fanfare.Batch
			var task fanfare.Task
			for _, e := range c.events {
				if e != "" {
					w.event(id, e)
					continue
				}
				w.settle(p)
				if c.claim {
					task = w.receive(1)[0]
					held, _ = w.claim(task)
				}
			}
			w.phase(id, c.phase)
			if c.phase != fanfare.PhasePreparing { // a tick would freeze it
				w.clock.advance(10*time.Second - 1)
				w.tick(p)
				w.phase(id, c.phase)
			}
			w.clock.advance(10 * time.Second)
			w.settle(p)
			if c.claim {
				w.phase(id, fanfare.PhaseCancelling)
				w.record(task, held, func(r *fanfare.Record) { r.Next.Sent, r.Next.Pending = 1, set.FullBits(2); r.Next.Pending.Clear(0) })
				w.settle(p)
			}
			w.phase(id, c.want)
			if n := len(w.receiveStale(p)); n > 0 {
				t.Errorf("%d tasks could still be claimed", n)
			}
			if tally, planned := w.tally(id); !tally.Balanced(planned) {
				t.Errorf("%+v", tally)
			}
			rows, err := w.store.Latches(w.ctx, w.read(id).Num)
			w.ok(err)
			if prepared := !w.read(id).StartedAt.IsZero(); prepared != (len(rows) > 0) {
				t.Errorf("prepared: %v, latch rows %+v", prepared, rows)
			}
			for _, l := range rows {
				if l.Phase != fanfare.SlotStopped {
					t.Errorf("slot %d: %+v", l.Slot, l)
				}
			}
		})
	}
}

// receiveStale gives the waiting tasks that can be claimed.
func (w *world) receiveStale(p *plan.Planner) (claimed []fanfare.Task) {
	w.Helper()
	w.tick(p)
	for _, t := range w.receive(1000) {
		if _, ok := w.claim(t); ok {
			claimed = append(claimed, t)
		}
	}
	return claimed
}

// TestPauseDrains: paused is shown when no claim lives; what a dead one left in flight is settled by the message's policy, in a
// cancelled one by holding.
func TestPauseDrains(t *testing.T) {
	for _, c := range []struct {
		stop      fanfare.Event
		policy    fanfare.Policy
		during    fanfare.Phase
		after     fanfare.Phase
		uncertain int
	}{
		{fanfare.EventPause, fanfare.PolicyResend, fanfare.PhasePausing, fanfare.PhasePaused, 0},
		{fanfare.EventPause, fanfare.PolicyHold, fanfare.PhasePausing, fanfare.PhasePaused, 1},
		{fanfare.EventCancel, fanfare.PolicyResend, fanfare.PhaseCancelling, fanfare.PhaseCancelled, 1},
	} {
		w := newWorld(t, 2, 8)
		p := w.planner("a")
		w.free(5)
		id := w.message("m", func(m *fanfare.Message) { m.Uncertain = c.policy }, fanfare.EventStart)
		w.settle(p)
		tasks := w.receive(2)
		dead, _ := w.claim(tasks[0])
		w.record(tasks[0], dead, func(r *fanfare.Record) {
			r.Lease, r.Intent = fanfare.LeaseTime, &fanfare.Intent{Members: []fanfare.Member{{Rank: 1, Seq: dead.First + 1}}}
		})
		live, _ := w.claim(tasks[1])
		w.event(id, c.stop)
		w.settle(p)
		w.phase(id, c.during)
		w.record(tasks[1], live, allSent)
		w.settle(p)
		w.phase(id, c.during)
		w.clock.advance(fanfare.LeaseTime)
		w.settle(p)
		w.phase(id, c.after)
		tally, planned := w.tally(id)
		if tally.Uncertain != c.uncertain || tally.Doubted != 1 || tally.InFlight != 0 || !tally.Balanced(planned) {
			t.Errorf("%s, %s: %+v", c.stop, c.policy, tally)
		}
		if c.stop == fanfare.EventCancel {
			if w.read(id).Outcome != fanfare.WithUncertain {
				t.Errorf("outcome %q", w.read(id).Outcome)
			}
			continue
		}
		w.event(id, fanfare.EventResume)
		w.finish(p, id)
		w.phase(id, fanfare.PhaseCompleted)
		if tally, _ := w.tally(id); tally.Sent != 8-c.uncertain {
			t.Errorf("%+v", tally)
		}
	}
}

// TestPauseSpreads: whoever pauses may die after the message's row: the planner tells the slots.
func TestPauseSpreads(t *testing.T) {
	w := newWorld(t, 3, 12)
	p := w.planner("a")
	w.free(5)
	id := w.message("m", nil, fanfare.EventStart)
	w.settle(p)
	task := w.receive(1)[0]
	row, _ := w.claim(task)
	if _, _, err := fanfare.Transition(w.ctx, w.store, id, fanfare.EventPause, nil); err != nil {
		t.Fatal(err)
	}
	w.tick(p)
	w.phase(id, fanfare.PhasePausing)
	m := w.read(id)
	rows, err := w.store.Latches(w.ctx, m.Num)
	w.ok(err)
	for _, l := range rows {
		if l.Phase != fanfare.SlotStopped || l.Generation != m.Generation {
			t.Errorf("slot %d: %+v", l.Slot, l)
		}
	}
	w.record(task, row, func(*fanfare.Record) {})
	w.tick(p)
	w.phase(id, fanfare.PhasePaused, fanfare.PauseOperator)
}

// TestHeldBatches: when only held batches are left a person must look.
func TestHeldBatches(t *testing.T) {
	w := newWorld(t, 2, 12)
	p := w.planner("a")
	w.free(50)
	id := w.message("m", nil, fanfare.EventStart)
	w.settle(p)
	task := w.receive(1)[0]
	row, _ := w.claim(task)
	w.record(task, row, func(r *fanfare.Record) { r.Next.State, r.Next.Held = fanfare.BatchHeld, "damaged" })
	w.finish(p, id)
	w.settle(p)
	w.phase(id, fanfare.PhasePaused, fanfare.PauseDamaged)
	w.event(id, fanfare.EventResume)
	w.settle(p)
	w.settle(p)
	w.phase(id, fanfare.PhasePaused, fanfare.PauseDamaged)
	if tally, planned := w.tally(id); tally.Sent != 10 || tally.Held != 1 || !tally.Balanced(planned) {
		t.Errorf("%+v", tally)
	}
}

// unbalanced is a store whose counters do not agree with the rows of exceptions.
type unbalanced struct{ plan.Store }

func (u unbalanced) Tally(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot) (fanfare.Tally, error) {
	t, err := u.Store.Tally(ctx, m, s)
	t.Exceptions[fanfare.ResultFailed]++
	return t, err
}

// TestUnbalanced: a message whose counts do not agree is never completed.
func TestUnbalanced(t *testing.T) {
	w := newWorld(t, 2, 12)
	c := w.config("a")
	c.Store = unbalanced{Store: c.Store}
	p := plan.New(c)
	id := w.message("m", nil, fanfare.EventStart)
	w.finish(p, id)
	w.settle(p)
	w.phase(id, fanfare.PhasePaused, fanfare.PauseDamaged)
}

// TestRun: Run starts, freezes, publishes and completes by its own clock; completion is noticed soon, and the lease is given back.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldAt(t, 4, 40, time.Now)
		c := w.config("a")
		nudge := make(chan struct{}, 1)
		c.Nudge, c.Logger = nudge, logged(t)
		c.Free = func() map[string]int { return map[string]int{string(fanfare.ChannelNull): 4} }
		p := plan.New(c)
		running := make(chan error, 1)
		ctx, stop := context.WithCancel(t.Context())
		go func() { running <- p.Run(ctx) }()
		started := time.Now()
		id := w.message("m", nil, fanfare.EventStart)
		p.Wake()
		for w.read(id).Phase == fanfare.PhasePreparing {
			time.Sleep(time.Millisecond) // in the bubble
		}
		if d := time.Since(started); d > 10*time.Millisecond {
			t.Errorf("a message that was started is sending after %v", d)
		}
		last := time.Now()
		for done := 0; done < 20; {
			if n := w.work(4); n > 0 {
				done, last = done+n, time.Now()
				select {
				case nudge <- struct{}{}:
				default:
				}
			}
			time.Sleep(time.Millisecond)
		}
		if d := last.Sub(started); d > 100*time.Millisecond {
			t.Errorf("20 batches through a window of 8 took %v", d)
		}
		for w.read(id).Phase == fanfare.PhaseSending {
			time.Sleep(time.Millisecond)
		}
		if d := time.Since(last); d > 10*time.Millisecond {
			t.Errorf("completion is noticed after %v", d)
		}
		w.completed(id, 40)
		due := time.Now().Add(3*time.Second + 517*time.Millisecond)
		w.message("later", func(m *fanfare.Message) { m.SendAt = due }, fanfare.EventSchedule)
		time.Sleep(5 * time.Second)
		if late := w.read("later").StartedAt.Sub(due); late < 0 || late > 110*time.Millisecond {
			t.Errorf("started %v after its time", late)
		}
		stop()
		if err := <-running; err != nil {
			t.Error(err)
		}
		next := w.planner("b")
		w.message("n", nil, fanfare.EventStart)
		w.settle(next)
		w.settle(next)                     // while another one is sending, a slot at a time is frozen
		w.phase("n", fanfare.PhaseSending) // the lease was given back
	})
}

// TestDamagedBatch: of a message with a batch that cannot be read everybody else is sent to, then it is paused as damaged, and a cancel
// ends it.
func TestDamagedBatch(t *testing.T) {
	for _, c := range []struct {
		name    string
		claimed bool          // when it is damaged
		during  fanfare.Event // while it is sending; none: a cancel once it is paused
		want    fanfare.Phase
	}{
		{"before its claim", false, "", fanfare.PhaseCancelled},
		{"while it is claimed", true, "", fanfare.PhaseCancelled},
		{"cancelled at once", true, fanfare.EventCancel, fanfare.PhaseCancelled},
		{"paused at once", true, fanfare.EventPause, fanfare.PhasePaused},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 2, 12)
			p := w.planner("a")
			w.free(50)
			id := w.message("m", nil, fanfare.EventStart)
			w.settle(p)
			task := w.receive(1)[0]
			if c.claimed {
				row, _ := w.claim(task)
				w.record(task, row, func(r *fanfare.Record) {
					r.Lease, r.Intent = fanfare.LeaseTime, &fanfare.Intent{Members: []fanfare.Member{{Rank: 1, Seq: row.First + 1}}}
				})
			}
			w.store.DamageBatch(task.BatchRef)
			work := func() { // as w.work, but a claim may fail
				for _, task := range w.receive(100) {
					a := w.store.Append(w.ctx, 0, []fanfare.Entry{{Claim: &fanfare.Claim{BatchRef: task.BatchRef, Generation: task.Generation,
						Owner: worker, Lease: fanfare.LeaseTime}}})[0]
					if a.Answer == fanfare.Applied {
						w.record(task, a.Row, allSent)
					}
				}
			}
			if c.during != "" {
				w.event(id, c.during)
				w.clock.advance(fanfare.LeaseTime)
				w.settle(p)
				w.phase(id, c.want)
			} else {
				for n := 0; w.read(id).Phase == fanfare.PhaseSending; n++ {
					if n == 1000 {
						t.Fatal("it does not end")
					}
					w.free(50)
					w.tick(p)
					work()
					w.clock.advance(100 * time.Millisecond)
				}
				w.settle(p)
				w.phase(id, fanfare.PhasePaused, fanfare.PauseDamaged)
				if tally, _ := w.tally(id); tally.Sent != 10 || tally.Held != 1 || len(tally.Unbalanced) != 1 {
					t.Errorf("%+v", tally)
				}
				w.event(id, fanfare.EventResume) // as often as a person likes
				w.settle(p)
				w.settle(p)
				w.phase(id, fanfare.PhasePaused, fanfare.PauseDamaged)
				w.event(id, fanfare.EventCancel)
				w.settle(p)
				w.phase(id, c.want)
			}
			if w.read(id).Outcome == fanfare.AllSent {
				t.Error("nobody knows that")
			}
		})
	}
}
