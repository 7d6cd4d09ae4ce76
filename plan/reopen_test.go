package plan_test

import (
	"slices"
	"testing"
	"time"

	"fanfare"
	"fanfare/plan"
)

// fail ends a claim with everybody who is pending failed.
func fail(w *world, t fanfare.Task) func(r *fanfare.Record) {
	return func(r *fanfare.Record) {
		members, err := w.store.Members(w.ctx, t.Message, t.Slot, r.Next.First, r.Next.N)
		w.ok(err)
		for rank := range r.Next.Pending.All() {
			r.Next.Pending.Clear(rank)
			r.Next.Failed++
			r.Exceptions = append(r.Exceptions, fanfare.Exception{Rank: rank, Seq: members[rank], Result: fanfare.ResultFailed, Reason: fanfare.ReasonPermanent, Attempts: 1})
		}
	}
}

// failed makes a message that is completed, every second batch of it failed.
func (w *world) failed(p *plan.Planner, id fanfare.MessageID) {
	w.Helper()
	w.message(id, nil, fanfare.EventStart)
	for n := 0; w.read(id).Phase != fanfare.PhaseCompleted; n++ {
		if n > 1000 {
			w.Fatal("it does not end")
		}
		w.free(50)
		w.tick(p)
		for _, t := range w.receive(100) {
			if row, claimed := w.claim(t); claimed {
				if t.Batch%2 == 1 {
					w.record(t, row, fail(w, t))
				} else {
					w.record(t, row, allSent)
				}
			}
		}
		w.clock.advance(100 * time.Millisecond)
	}
	if m := w.read(id); m.Outcome != fanfare.WithFailures {
		w.Fatalf("outcome %s", m.Outcome)
	}
}

func (w *world) scope(id fanfare.MessageID, scopes ...fanfare.Scope) {
	w.Helper()
	m, _, err := fanfare.Transition(w.ctx, w.store, id, fanfare.EventResumeScope, func(m *fanfare.Message) { m.Scopes = append(m.Scopes, scopes...) })
	w.ok(err)
	if !m.FinishedAt.IsZero() || m.Outcome != "" {
		w.Fatalf("it is still done: %+v", m)
	}
}

// TestReopen: who failed remains again in a message that was completed, is sent to, and the message is completed anew, with all of it in
// the audit trail.
func TestReopen(t *testing.T) {
	w := newWorld(t, 3, 120)
	p := w.planner("a")
	w.failed(p, "m")
	w.scope("m", fanfare.Scope{Result: fanfare.ResultFailed})
	w.free(0)
	for range 50 {
		w.tick(p)
		if sum, planned := w.tally("m"); !sum.Balanced(planned) {
			t.Fatalf("no balance: %+v", sum)
		}
	}
	m := w.read("m")
	if sum, _ := w.tally("m"); m.Reopens || m.Scopes != nil || m.Phase != fanfare.PhaseSending || sum.Failed != 0 || sum.Pending != 60 || sum.Sent != 60 {
		t.Fatalf("%+v of %+v", sum, m.State)
	}
	w.finish(p, "m")
	w.completed("m", 120)
	var moves []string
	w.ok(w.store.View(w.ctx, func(v fanfare.ControlView) error {
		entries, _, err := v.Audit("", "", 100)
		for _, e := range slices.Backward(entries) {
			if e.Actor != "planner" || e.Object != "m" || e.At.IsZero() {
				t.Errorf("entry %+v", e)
			}
			moves = append(moves, e.Action+" "+e.Detail)
		}
		return err
	}))
	want := []string{"message.frozen preparing → sending", "message.all_done sending → completed", "message.reopened sending → sending", "message.all_done sending → completed"}
	if !slices.Equal(moves, want) {
		t.Errorf("audit trail %q, want %q", moves, want)
	}
}

// TestReopenWhomNobodyIs: a scope that means nobody ends at once, and the message is completed again.
func TestReopenWhomNobodyIs(t *testing.T) {
	w := newWorld(t, 2, 20)
	p := w.planner("a")
	w.failed(p, "m")
	w.scope("m", fanfare.Scope{Result: fanfare.ResultUncertain}, fanfare.Scope{Result: fanfare.ResultFailed, Reasons: []fanfare.Reason{fanfare.ReasonTechnical}})
	w.finish(p, "m")
	w.phase("m", fanfare.PhaseCompleted)
	if m := w.read("m"); m.Outcome != fanfare.WithFailures {
		t.Errorf("outcome %s", m.Outcome)
	}
}

// TestReopenWaitsForAClaim: what a claim of the former generation still holds waits for its end, and nobody is sent to meanwhile.
func TestReopenWaitsForAClaim(t *testing.T) {
	w := newWorld(t, 1, 8)
	p := w.planner("a")
	w.message("m", nil, fanfare.EventStart)
	w.free(1)
	w.settle(p)
	tasks := w.receive(2)
	row, _ := w.claim(tasks[0])
	row = w.record(tasks[0], row, func(r *fanfare.Record) {
		fail(w, tasks[0])(r)
		r.Next.Pending.Set(0)
		r.Next.Failed--
		r.Exceptions, r.Lease = r.Exceptions[1:], fanfare.LeaseTime
	})
	other, _ := w.claim(tasks[1])
	w.record(tasks[1], other, fail(w, tasks[1]))
	w.event("m", fanfare.EventPause)
	w.scope("m", fanfare.Scope{Result: fanfare.ResultFailed})
	for range 5 {
		w.tick(p)
	}
	if m := w.read("m"); !m.Reopens || w.waiting() != 0 {
		t.Fatalf("it goes on while a claim lives: %+v, %d tasks", m.State, w.waiting())
	}
	w.record(tasks[0], row, func(*fanfare.Record) {}) // given up
	w.finish(p, "m")
	w.completed("m", 8)
}

// TestReopenAndPause: a pause in between keeps the scope, a cancel drops it.
func TestReopenAndPause(t *testing.T) {
	for _, cancel := range []bool{false, true} {
		w := newWorld(t, 2, 40)
		p := w.planner("a")
		w.failed(p, "m")
		w.scope("m", fanfare.Scope{Result: fanfare.ResultFailed})
		w.event("m", fanfare.EventPause)
		w.settle(p)
		w.phase("m", fanfare.PhasePaused)
		if m := w.read("m"); !m.Reopens || len(m.Scopes) != 1 {
			t.Fatalf("the scope is lost: %+v", m)
		}
		if cancel {
			w.event("m", fanfare.EventCancel)
			w.settle(p)
			w.phase("m", fanfare.PhaseCancelled)
			if sum, planned := w.tally("m"); !sum.Balanced(planned) || sum.Failed != 20 || w.read("m").Scopes != nil {
				t.Errorf("%+v", sum)
			}
			continue
		}
		w.event("m", fanfare.EventResume)
		w.finish(p, "m")
		w.completed("m", 40)
	}
}

// TestReopenCrashes fails each call of the store once, before and after its effect: another planner comes to the same end.
func TestReopenCrashes(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at, over := 0, false; !over; at++ {
			w := newWorld(t, 2, 80)
			w.failed(w.planner("a"), "m")
			w.scope("m", fanfare.Scope{Result: fanfare.ResultFailed})
			f := &failing{Store: w.store}
			hit := func(call int, _ string) error {
				if call == at {
					return errInjected
				}
				return nil
			}
			if f.before = hit; after {
				f.before, f.after = nil, hit
			}
			c := w.config("a")
			c.Store = f
			p := plan.New(c)
			for range 20 {
				_ = p.Tick(w.ctx)
			}
			over = f.calls <= at
			if w.read("m").Reopens {
				t.Fatalf("call %d: it is still reopened", at)
			}
			w.clock.advance(time.Minute)
			b := w.planner("b")
			w.finish(b, "m")
			w.completed("m", 80)
		}
	}
}
