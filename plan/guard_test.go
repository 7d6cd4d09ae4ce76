package plan_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/plan"
)

// folder is a data folder's note.
type folder struct {
	mu   sync.Mutex
	head int64
	err  error
}

func (f *folder) Noted() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head, f.err
}

func (f *folder) Note(head int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.head = head
	}
	return f.err
}

// everyPhase makes a message in each phase that is unfinished.
func (w *world) everyPhase() map[fanfare.Phase]fanfare.MessageID {
	made := map[fanfare.Phase]fanfare.MessageID{}
	for phase, events := range map[fanfare.Phase][]fanfare.Event{
		fanfare.PhaseDraft:      nil,
		fanfare.PhaseScheduled:  {fanfare.EventSchedule},
		fanfare.PhasePreparing:  {fanfare.EventStart},
		fanfare.PhaseSending:    {fanfare.EventStart, fanfare.EventFrozen},
		fanfare.PhasePausing:    {fanfare.EventStart, fanfare.EventFrozen, fanfare.EventPause},
		fanfare.PhasePaused:     {fanfare.EventStart, fanfare.EventPause},
		fanfare.PhaseCancelling: {fanfare.EventStart, fanfare.EventFrozen, fanfare.EventCancel},
		fanfare.PhaseCompleted:  {fanfare.EventStart, fanfare.EventFrozen, fanfare.EventAllDone},
	} {
		made[phase] = w.message(fanfare.MessageID(phase), nil, events...)
	}
	return made
}

// TestGuard: a database that is not where it was, or not as new as it was, sends nothing by itself; one that only stood still for an
// hour does not go on with what was under way.
func TestGuard(t *testing.T) {
	restored := []fanfare.MessageID{"preparing", "scheduled", "sending"}
	for _, c := range []struct {
		name   string
		happen func(w *world, f *folder)
		why    string
		paused []fanfare.MessageID
	}{
		{"nothing", func(*world, *folder) {}, "", nil},
		{"a new data folder", func(_ *world, f *folder) { f.head = 0 }, "", nil},
		{"another node wrote", func(w *world, _ *folder) { w.write() }, "", nil},
		{"an hour", func(w *world, _ *folder) { w.clock.advance(time.Hour) }, "", nil},
		{"61 minutes", func(w *world, _ *folder) { w.clock.advance(61 * time.Minute) }, "not served for 1h1m0s", []fanfare.MessageID{"preparing", "sending"}},
		{"copied", func(w *world, _ *folder) { w.store.Relocate("elsewhere") }, "fanfare adopt", restored},
		{"rolled back", func(_ *world, f *folder) { f.head++ }, "rolled back", restored},
		{"copied long ago", func(w *world, _ *folder) { w.clock.advance(48 * time.Hour); w.store.Relocate("elsewhere") }, "fanfare adopt", restored},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 2, 4)
			f := &folder{}
			g := &plan.Guard{Store: w.store, Position: f, Logger: logged(t)}
			if found, err := g.Check(w.ctx); err != nil || found.Why != "" {
				t.Fatalf("a new database: %+v, %v", found, err)
			}
			w.write()
			w.everyPhase()
			if _, err := g.Check(w.ctx); err != nil { // notes
				t.Fatal(err)
			}
			c.happen(w, f)
			found, err := g.Check(w.ctx)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(found.Paused)
			if (found.Why == "") != (c.why == "") || !strings.Contains(found.Why, c.why) || !slices.Equal(found.Paused, c.paused) {
				t.Errorf("%+v", found)
			}
			for _, id := range c.paused {
				want := fanfare.PhasePaused
				if id == "sending" {
					want = fanfare.PhasePausing
				}
				w.phase(id, want, fanfare.PauseRestored)
			}
			w.clock.advance(time.Second)
			again, err := g.Check(w.ctx)
			if err != nil || len(again.Paused) != 0 || (again.Why != "") != strings.HasPrefix(c.name, "copied") {
				t.Errorf("the next start: %+v, %v", again, err)
			}
			if err := w.store.Adopt(w.ctx); err != nil {
				t.Fatal(err)
			}
			if again, err = g.Check(w.ctx); err != nil || again.Why != "" {
				t.Errorf("adopted: %+v, %v", again, err)
			}
		})
	}
}

// write raises the journal's position.
func (w *world) write() {
	w.Helper()
	id := w.message("written", nil, fanfare.EventStart)
	p := w.planner("writer")
	w.settle(p)
	w.store.Append(w.ctx, 0, []fanfare.Entry{{Claim: &fanfare.Claim{BatchRef: fanfare.BatchRef{Message: w.read(id).Num}, Generation: 1, Owner: worker, Lease: time.Second}}})
	w.event(id, fanfare.EventCancel)
	w.clock.advance(5 * time.Second)
	w.settle(p)
	w.ok(w.store.Update(w.ctx, func(tx fanfare.ControlTx) error { return tx.DeleteMessage(id) }))
}

// TestGuardCrashes: a start may die between any two calls of the guard: the next one ends the work.
func TestGuardCrashes(t *testing.T) {
	for k := range 100 {
		w := newWorld(t, 2, 4)
		w.everyPhase()
		w.store.Relocate("elsewhere")
		f := &folder{}
		store := &failing{Store: w.store, before: func(n int, _ string) error {
			if n == k {
				return errInjected
			}
			return nil
		}}
		if _, err := (&plan.Guard{Store: store, Position: f}).Check(w.ctx); err == nil {
			if k < 10 {
				t.Fatalf("only %d calls", k)
			}
			return
		} else if !errors.Is(err, errInjected) {
			t.Fatal(err)
		}
		if _, err := (&plan.Guard{Store: w.store, Position: f}).Check(w.ctx); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[fanfare.MessageID]fanfare.Phase{"scheduled": fanfare.PhasePaused, "preparing": fanfare.PhasePaused, "sending": fanfare.PhasePausing} {
			w.phase(id, want, fanfare.PauseRestored)
		}
		for _, id := range []fanfare.MessageID{"preparing", "sending"} {
			m := w.read(id)
			rows, err := w.store.Latches(w.ctx, m.Num)
			w.ok(err)
			for _, l := range rows {
				if l.Phase != fanfare.SlotStopped || l.Generation != m.Generation {
					t.Errorf("call %d: message %s, slot %d: %+v", k, id, l.Slot, l)
				}
			}
		}
	}
	t.Error("it does not end")
}

// TestGuardFolder: a folder that cannot be read or written stops the start.
func TestGuardFolder(t *testing.T) {
	w := newWorld(t, 1, 1)
	if _, err := (&plan.Guard{Store: w.store, Position: &folder{err: errInjected}}).Check(w.ctx); !errors.Is(err, errInjected) {
		t.Error(err)
	}
}

// TestGuardRuns: while a node serves, and once more when it stops, the position and the time are noted.
func TestGuardRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldAt(t, 1, 4, time.Now)
		f := &folder{}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- (&plan.Guard{Store: w.store, Position: f}).Run(ctx) }()
		head := func() int64 {
			id, err := w.store.Identity(w.ctx)
			w.ok(err)
			if d := time.Since(id.AliveAt); d > 3*time.Second {
				t.Errorf("alive %v ago", d)
			}
			return id.Head
		}
		time.Sleep(10 * time.Second)
		w.write()
		time.Sleep(3 * time.Second)
		if noted, _ := f.Noted(); noted != head() || noted == 0 {
			t.Errorf("noted %d, it is at %d", noted, head())
		}
		w.write()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if noted, _ := f.Noted(); noted != head() {
			t.Errorf("noted %d at the end, it is at %d", noted, head())
		}
	})
}
