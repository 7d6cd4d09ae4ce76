package plan_test

import (
	"testing"
	"time"

	"fanfare"
	"fanfare/plan"
)

func after(id fanfare.MessageID, delay int) func(*fanfare.Message) {
	return func(m *fanfare.Message) {
		m.Trigger = &fanfare.Trigger{After: &fanfare.TriggerAfter{Message: id, Phase: fanfare.PhaseCompleted, DelaySeconds: delay}}
	}
}

// TestTriggerAfter: whoever waits for another message gets its time when that is completed, on whatever planner, and starts by it.
func TestTriggerAfter(t *testing.T) {
	w := newWorld(t, 2, 8)
	p := w.planner("a")
	w.message("second", after("first", 60), fanfare.EventSchedule)
	w.message("first", nil, fanfare.EventStart)
	w.message("paused", after("first", 0), fanfare.EventSchedule, fanfare.EventPause)
	w.message("event", func(m *fanfare.Message) { m.Trigger = &fanfare.Trigger{Event: "e"} }, fanfare.EventSchedule)
	w.message("ghost", after("nobody", 0), fanfare.EventSchedule)
	w.finish(p, "first")
	w.phase("first", fanfare.PhaseCompleted)
	w.tick(p) // it is known at once
	due := w.read("first").FinishedAt.Add(time.Minute)
	if got := w.read("second").SendAt; !got.Equal(due) {
		t.Fatalf("due at %v, want %v", got, due)
	}
	if m := w.read("paused"); m.Phase != fanfare.PhasePaused || !m.SendAt.Equal(w.read("first").FinishedAt) {
		t.Errorf("the paused one: %+v, %v", m.State, m.SendAt)
	}
	w.clock.advance(due.Sub(w.clock.Now()) - time.Millisecond)
	b := w.planner("b") // the first one is gone
	w.settle(b)
	w.clock.advance(10 * time.Second)
	w.settle(b)
	w.finish(b, "second")
	w.completed("second", 8)
	w.phase("event", fanfare.PhaseScheduled)
	w.phase("ghost", fanfare.PhaseScheduled)
}

// TestTriggerLate: when nobody planned for longer than the grace, it waits for a person, like a time that was missed.
func TestTriggerLate(t *testing.T) {
	for _, late := range []bool{false, true} {
		w := newWorld(t, 1, 4)
		p := w.planner("a")
		w.message("second", after("first", 60), fanfare.EventSchedule)
		w.message("first", nil, fanfare.EventStart)
		w.finish(p, "first")
		d := time.Hour
		if late {
			d += 2 * time.Minute
		}
		w.clock.advance(d)
		w.free(1)
		b := w.planner("b")
		w.settle(b)
		if late {
			w.phase("second", fanfare.PhasePaused, fanfare.PauseLate)
		} else {
			w.phase("second", fanfare.PhaseSending)
		}
	}
}

// TestTriggerFails: a planner that dies before or after it writes the time down leaves the same end.
func TestTriggerFails(t *testing.T) {
	for _, late := range []bool{false, true} {
		for at, over := 0, false; !over; at++ {
			w := newWorld(t, 1, 4)
			w.message("second", after("first", 0), fanfare.EventSchedule)
			w.message("first", nil, fanfare.EventStart)
			w.finish(w.planner("a"), "first")
			f := &failing{Store: w.store}
			hit := func(call int, _ string) error {
				if call == at {
					return errInjected
				}
				return nil
			}
			if f.before = hit; late {
				f.before, f.after = nil, hit
			}
			c := w.config("a")
			c.Store = f
			p := plan.New(c)
			for range 3 {
				_ = p.Tick(w.ctx)
			}
			over = f.calls <= at
			w.clock.advance(10 * time.Second)
			w.finishing("second")
		}
	}
}

// finishing has a fresh planner go on until a message is sent to all four.
func (w *world) finishing(id fanfare.MessageID) {
	w.Helper()
	b := w.planner("b")
	for range 3 {
		w.tick(b)
	}
	w.finish(b, id)
	w.completed(id, 4)
}
