package plan_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"fanfare"
	"fanfare/plan"
)

// TestLease: only its holder plans; it is taken over when it was given back, or ran out.
func TestLease(t *testing.T) {
	w := newWorld(t, 2, 200)
	a, b := w.planner("a"), w.planner("b")
	w.free(2)
	id := w.message("m", nil, fanfare.EventStart)
	w.settle(a)
	if w.waiting() != 4 {
		t.Fatalf("%d tasks wait", w.waiting())
	}
	w.work(4)
	w.settle(b)
	if w.waiting() != 0 {
		t.Fatal("b published without the lease")
	}
	for range 10 { // a renews it
		w.clock.advance(2 * time.Second)
		w.free(2)
		w.tick(a)
		w.tick(b)
		w.work(4)
	}
	w.phase(id, fanfare.PhaseSending)
	w.tick(a)
	n := w.waiting()
	w.clock.advance(4 * time.Second)
	w.free(2)
	w.tick(b)
	if w.waiting() != n {
		t.Error("b published while the lease lived")
	}
	w.clock.advance(2 * time.Second) // a is gone
	w.free(2)
	w.settle(b)
	if w.waiting() != 4 {
		t.Errorf("%d tasks wait, the former planner's among them: a window is 4", w.waiting())
	}
	w.finish(b, id)
	w.completed(id, 200)
}

// TestTwoFreeze: a planner that lost its lease in the middle of a freeze does no harm: one of them wins each slot.
func TestTwoFreeze(t *testing.T) {
	for at := range 4 {
		w := newWorld(t, 4, 16)
		b := w.planner("b")
		f := &failing{Store: w.store}
		c := w.config("a")
		c.Store = f
		a := plan.New(c)
		id := w.message("m", nil, fanfare.EventStart)
		freezes := 0
		f.before = func(_ int, name string) error {
			if name == "Freeze" {
				if freezes == at {
					w.clock.advance(time.Minute)
					w.settle(b)
				}
				freezes++
			}
			return nil
		}
		_ = a.Tick(w.ctx)
		_ = a.Tick(w.ctx)
		if freezes < at+1 {
			t.Fatalf("%d freezes", freezes)
		}
		w.phase(id, fanfare.PhaseSending)
		if tally, planned := w.tally(id); tally.Batches != 8 || planned != 16 {
			t.Fatalf("%d batches of %d", tally.Batches, planned)
		}
		w.finish(b, id)
		w.completed(id, 16)
	}
}

// TestLostTasks: what nobody claimed is published again after ten seconds, and not before.
func TestLostTasks(t *testing.T) {
	for _, local := range []bool{false, true} {
		w := newWorld(t, 2, 20)
		c := w.config("worker")
		if local {
			c.Free = func() map[string]int { return map[string]int{string(fanfare.ChannelNull): 3} }
		}
		p := plan.New(c)
		w.free(3)
		id := w.message("m", nil, fanfare.EventStart)
		w.settle(p)
		lost := w.receive(6)
		if len(lost) != 6 {
			t.Fatalf("%d tasks", len(lost))
		}
		published := map[fanfare.BatchRef]int{}
		take := func() (again int) {
			for _, task := range w.receive(100) {
				published[task.BatchRef]++
				if slices.Contains(lost, task) {
					again++
				}
				if row, ok := w.claim(task); ok {
					w.record(task, row, allSent)
				}
			}
			return again
		}
		for range 9 {
			w.clock.advance(time.Second)
			w.free(3)
			w.tick(p)
			if take() != 0 {
				t.Fatal("published again too early")
			}
		}
		again := 0
		for range 4 {
			w.clock.advance(time.Second)
			w.free(3)
			w.settle(p)
			again += take()
		}
		if again != 6 {
			t.Errorf("local %v: %d of 6 lost tasks were published again", local, again)
		}
		w.clock.advance(20 * time.Second)
		w.finish(p, id)
		w.completed(id, 20)
	}
}

// TestInLine: tasks that wait because no claim is free are not published again.
func TestInLine(t *testing.T) {
	w := newWorld(t, 1, 20)
	p := w.planner("a")
	w.free(3)
	w.message("m", nil, fanfare.EventStart)
	w.settle(p)
	for range 60 {
		w.clock.advance(time.Second)
		w.free(0)
		w.tick(p)
	}
	w.free(3)
	w.settle(p)
	if n := w.waiting(); n != 6 {
		t.Errorf("%d tasks wait", n)
	}
}

// TestSilentNodes: a node that was silent is not reckoned with.
func TestSilentNodes(t *testing.T) {
	w := newWorld(t, 1, 20)
	p := w.planner("a")
	w.free(3)
	w.clock.advance(5 * time.Second)
	w.message("m", nil, fanfare.EventStart)
	w.settle(p)
	if n := w.waiting(); n != 0 {
		t.Errorf("%d tasks wait for a node that is silent", n)
	}
}

// TestWindow: tasks that are published and unclaimed are never more than twice the free claims, whatever happens; no task is published
// twice while it waits, and everything ends.
func TestWindow(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t, 1+r.IntN(4), 60)
		c := w.config("worker")
		free := 0
		unclaimed := map[fanfare.BatchRef]int{}
		local := seed%2 == 1
		if local {
			c.Free = func() map[string]int { return map[string]int{string(fanfare.ChannelNull): free} }
		}
		fails := r.IntN(3) == 0
		c.Queue = publishing{w.queue, func(tasks []fanfare.Task) error {
			if fails && r.IntN(4) == 0 {
				return errInjected
			}
			for _, task := range tasks {
				unclaimed[task.BatchRef]++
				if unclaimed[task.BatchRef] > 1 {
					t.Errorf("seed %d: %v is published while it waits", seed, task.BatchRef)
				}
			}
			if len(unclaimed) > 2*free {
				t.Errorf("seed %d: %d tasks are published and unclaimed, %d claims are free", seed, len(unclaimed), free)
			}
			return nil
		}}
		p := plan.New(c)
		id := w.message("m", nil, fanfare.EventStart)
		for i := 0; w.read(id).Phase != fanfare.PhaseCompleted; i++ {
			if i > 5000 {
				t.Fatalf("seed %d: it does not end", seed)
			}
			free = r.IntN(5)
			w.free(free)
			_ = p.Tick(w.ctx)
			for _, task := range w.receive(r.IntN(6)) {
				if row, ok := w.claim(task); ok {
					w.record(task, row, allSent)
				}
				delete(unclaimed, task.BatchRef)
			}
			w.clock.advance(time.Duration(r.IntN(400)) * time.Millisecond)
		}
		w.completed(id, 60)
	}
}

// TestShares: priorities share the window 6 : 3 : 1, messages of one priority equally.
func TestShares(t *testing.T) {
	w := newWorld(t, 4, 4000)
	p := w.planner("a")
	got := map[fanfare.MessageNum]int{}
	var nums []fanfare.MessageNum
	for i, priority := range []fanfare.Priority{fanfare.PriorityHigh, fanfare.PriorityNormal, fanfare.PriorityNormal, fanfare.PriorityLow} {
		id := w.message(fanfare.MessageID(fmt.Sprint("m", i)), func(m *fanfare.Message) { m.Priority = priority }, fanfare.EventStart)
		nums = append(nums, w.read(id).Num)
	}
	w.free(10)
	w.settle(p)
	for range 50 {
		for _, task := range w.receive(20) {
			if row, ok := w.claim(task); ok {
				w.record(task, row, allSent)
				got[task.Message]++
			}
		}
		w.free(10)
		w.clock.advance(10 * time.Millisecond)
		w.tick(p)
	}
	var counts []int
	for _, n := range nums {
		counts = append(counts, got[n])
	}
	total := 50 * 20
	want := []int{total * 6 / 10, total * 3 / 20, total * 3 / 20, total / 10}
	for i := range want {
		if d := counts[i] - want[i]; d < -10 || d > 10 {
			t.Fatalf("%v tasks, want %v", counts, want)
		}
	}
}

// TestNewcomers: who comes later gets their share from then on, and not what the others had before.
func TestNewcomers(t *testing.T) {
	for _, c := range []struct {
		priority fanfare.Priority
		share    float64
	}{{fanfare.PriorityNormal, 0.5}, {fanfare.PriorityHigh, 0.667}, {fanfare.PriorityLow, 0.25}} {
		w := newWorld(t, 4, 8000)
		p := w.planner("a")
		w.message("old", nil, fanfare.EventStart)
		rounds := func(n int) (got map[fanfare.MessageNum]int) {
			got = map[fanfare.MessageNum]int{}
			for range n {
				w.free(10)
				w.clock.advance(10 * time.Millisecond)
				w.tick(p)
				for _, task := range w.receive(20) {
					if row, ok := w.claim(task); ok {
						w.record(task, row, allSent)
						got[task.Message]++
					}
				}
			}
			return got
		}
		rounds(40)
		id := w.message("new", func(m *fanfare.Message) { m.Priority = c.priority }, fanfare.EventStart)
		rounds(8) // one slot a tick is frozen
		w.phase(id, fanfare.PhaseSending)
		got := rounds(20)
		if n := float64(got[w.read(id).Num]) / 400; n < c.share-0.05 || n > c.share+0.05 {
			t.Errorf("priority %s: the newcomer has %.2f of the tasks, want %.2f", c.priority, n, c.share)
		}
	}
}

// TestNotYet: a batch that is claimed, or not due, is not published; when the claim has died, or it is due, it is.
func TestNotYet(t *testing.T) {
	w := newWorld(t, 1, 4)
	p := w.planner("a")
	w.free(5)
	w.message("m", nil, fanfare.EventStart)
	w.settle(p)
	tasks := w.receive(2)
	_, _ = w.claim(tasks[0])
	row, _ := w.claim(tasks[1])
	w.record(tasks[1], row, func(r *fanfare.Record) { r.Next.NotBefore = w.clock.Now().Add(15 * time.Second) })
	for second := 1; second <= 32; second++ {
		w.clock.advance(time.Second)
		w.free(5)
		w.tick(p)
		var want []fanfare.Task
		switch second {
		case 15:
			want = tasks[1:]
		case 30:
			want = tasks[:1]
		}
		got := w.receive(9)
		if !slices.Equal(got, want) {
			t.Errorf("second %d: %v", second, got)
		}
		for _, task := range got {
			_, _ = w.claim(task)
		}
	}
}

// TestPublishFails: what could not be published is tried again in a second.
func TestPublishFails(t *testing.T) {
	w := newWorld(t, 1, 20)
	c := w.config("a")
	fail := true
	c.Queue = publishing{w.queue, func([]fanfare.Task) error {
		if fail {
			return errInjected
		}
		return nil
	}}
	p := plan.New(c)
	w.free(3)
	w.message("m", nil, fanfare.EventStart)
	w.settleAnyhow(p)
	fail = false
	for range 2 {
		w.clock.advance(time.Second)
		w.free(3)
		w.settle(p)
	}
	if n := w.waiting(); n != 6 {
		t.Errorf("%d tasks wait", n)
	}
}

// settleAnyhow ticks whatever the answers are.
func (w *world) settleAnyhow(p *plan.Planner) {
	for range 4 {
		_ = p.Tick(w.ctx)
	}
}

// TestSlowBatch: as long as one batch is not finished nobody adds the message up.
func TestSlowBatch(t *testing.T) {
	w := newWorld(t, 1, 40)
	f := &failing{Store: w.store, before: func(_ int, name string) error {
		if name == "Tally" {
			t.Error("the message is added up")
		}
		return nil
	}}
	c := w.config("a")
	c.Store = f
	p := plan.New(c)
	w.free(3)
	id := w.message("m", nil, fanfare.EventStart)
	w.settle(p)
	task := w.receive(1)[0]
	row, _ := w.claim(task)
	for range 50 {
		w.clock.advance(100 * time.Millisecond)
		w.free(3)
		w.tick(p)
		w.work(6)
	}
	w.record(task, row, allSent)
	f.before = nil
	w.finish(p, id)
	w.completed(id, 40)
}

// TestGiant: a small message that comes while a giant one is sending is not behind it, whatever their priorities.
func TestGiant(t *testing.T) {
	for _, priority := range []fanfare.Priority{fanfare.PriorityHigh, fanfare.PriorityNormal, fanfare.PriorityLow} {
		w := newWorld(t, 4, 8000)
		w.ok(w.store.Update(w.ctx, func(tx fanfare.ControlTx) error { return tx.InsertList(&fanfare.List{Name: "few"}) }))
		_, err := w.store.Upsert(w.ctx, fanfare.SlotOf("u", 4), []fanfare.RecipientChange{{ExternalID: "u"}}, fanfare.UpsertOptions{})
		w.ok(err)
		p := w.planner("a")
		giant := w.message("giant", nil, fanfare.EventStart)
		for range 20 {
			w.free(10)
			w.settle(p)
			w.work(20)
			w.clock.advance(100 * time.Millisecond)
		}
		small := w.message("small", func(m *fanfare.Message) {
			m.Priority, m.Audience = priority, []byte(`{"recipients":["u"]}`)
		}, fanfare.EventStart)
		w.settle(p)
		rounds := 0
		for ; w.read(small).Phase != fanfare.PhaseCompleted; rounds++ {
			if rounds > 50 {
				t.Fatalf("priority %s waits behind the giant", priority)
			}
			w.work(10)
			w.free(10)
			w.clock.advance(100 * time.Millisecond)
			w.tick(p)
		}
		w.phase(giant, fanfare.PhaseSending)
	}
}

// TestCrashes: the planner may die between any two calls of the store, before or after the call's effect, at any of them: the next one
// goes on, nobody is lost and nobody is sent to twice.
func TestCrashes(t *testing.T) {
	for _, late := range []bool{false, true} {
		calls := crash(t, math.MaxInt, late)
		if calls < 80 {
			t.Errorf("only %d calls", calls)
		}
		for k := range calls {
			crash(t, k, late)
		}
	}
}

// crash lets the k-th call of the store be the planner's last one, goes on with another planner, and answers how many calls there were.
func crash(t *testing.T, k int, late bool) int {
	w := newWorld(t, 3, 12)
	f := &failing{Store: w.store}
	fail := func(n int, _ string) error {
		if n == k {
			return errInjected
		}
		return nil
	}
	if f.before = fail; late {
		f.before, f.after = nil, fail
	}
	c := w.config("a")
	c.Store = f
	p := plan.New(c)
	id := w.message("m", func(m *fanfare.Message) {
		m.Dedupe, m.SendAt = fanfare.DedupeAddress, w.clock.Now()
	}, fanfare.EventSchedule)
	crashed, sent, paused := false, 0, false
	for i := 0; w.read(id).Phase != fanfare.PhaseCompleted; i++ {
		if i > 1000 {
			t.Fatalf("call %d, late %v: it does not end: %+v", k, late, w.read(id).State)
		}
		w.free(2)
		err := p.Tick(w.ctx)
		if err != nil && crashed {
			t.Fatal(err)
		}
		if !crashed && f.calls > k {
			crashed = true
			p = w.planner("b")
			w.clock.advance(10 * time.Second) // its lease
		}
		sent += w.work(2)
		if sent >= 3 && !paused { // one claim dies while the message is pausing
			paused = true
			if tasks := w.receive(1); len(tasks) > 0 {
				_, _ = w.claim(tasks[0])
			}
			w.event(id, fanfare.EventPause)
		}
		if w.read(id).Phase == fanfare.PhasePaused {
			w.event(id, fanfare.EventResume)
		}
		w.clock.advance(time.Second)
	}
	w.completed(id, 12)
	if tally, _ := w.tally(id); sent != tally.Batches {
		t.Fatalf("call %d, late %v: %d batches were sent, there are %d", k, late, sent, tally.Batches)
	}
	return f.calls
}

// TestOneMessageDoesNotStopOthers: what is wrong with one message keeps no other waiting, and the error names it.
func TestOneMessageDoesNotStopOthers(t *testing.T) {
	w := newWorld(t, 2, 4)
	p := w.planner("a")
	w.message("broken", func(m *fanfare.Message) { m.Audience = []byte(`{"list":"gone"}`) }, fanfare.EventStart)
	w.message("sound", nil, fanfare.EventStart)
	err := p.Tick(w.ctx)
	if err == nil || !strings.Contains(err.Error(), "message broken") || !strings.Contains(err.Error(), `list "gone"`) {
		t.Errorf("%v", err)
	}
	w.phase("sound", fanfare.PhaseSending)
	if err := p.Tick(w.ctx); err != nil {
		t.Errorf("it is tried again at once: %v", err)
	}
	w.ok(w.store.Update(w.ctx, func(tx fanfare.ControlTx) error { return tx.InsertList(&fanfare.List{Name: "gone"}) }))
	w.clock.advance(time.Second)
	w.settle(p)
	w.settle(p)
	w.phase("broken", fanfare.PhaseCompleted) // nobody is in it
}

// TestPauseWhileFreezing: a pause in the middle of a freeze ends it; the resumed message freezes what is left, as it is then.
func TestPauseWhileFreezing(t *testing.T) {
	for at := range 4 {
		w := newWorld(t, 4, 16)
		f := &failing{Store: w.store}
		c := w.config("a")
		c.Store = f
		p := plan.New(c)
		freezes := 0
		f.before = func(_ int, name string) error {
			if name == "Freeze" {
				if freezes == at {
					w.event("m", fanfare.EventPause)
				}
				freezes++
			}
			return nil
		}
		id := w.message("m", nil, fanfare.EventStart)
		w.settle(p)
		w.phase(id, fanfare.PhasePaused, fanfare.PauseOperator)
		rows, err := w.store.Latches(w.ctx, w.read(id).Num)
		w.ok(err)
		frozen := 0
		for _, l := range rows {
			if l.Frozen {
				frozen++
			}
		}
		if frozen != at {
			t.Errorf("%d slots are frozen, %d were before the pause", frozen, at)
		}
		w.ok(w.store.Number(w.ctx, 3, 2))
		w.event(id, fanfare.EventResume)
		w.finish(p, id)
		w.completed(id, 18)
	}
}

// TestUrgentDoesNotWaitForAGiantsTasks: a giant whose tasks nobody claims for now, since its provider is slow, filled the window, and
// who came later had none until one was claimed.
func TestUrgentDoesNotWaitForAGiantsTasks(t *testing.T) {
	w := newWorld(t, 2, 60)
	p := plan.New(w.config("one"))
	giant := w.message("giant", func(m *fanfare.Message) { m.Priority = fanfare.PriorityLow }, fanfare.EventStart)
	w.free(2)
	for range 12 {
		w.clock.advance(time.Second)
		w.free(2)
		if err := p.Tick(w.ctx); err != nil {
			t.Fatal(err)
		}
	}
	urgent := w.message("urgent", func(m *fanfare.Message) { m.Priority = fanfare.PriorityHigh }, fanfare.EventStart)
	w.settle(p)
	w.phase(urgent, fanfare.PhaseSending)
	w.tick(p)
	count := map[fanfare.MessageNum]int{}
	for _, task := range w.receive(20) {
		count[task.Message]++
	}
	if n := count[w.read(urgent).Num]; n != 1 || count[w.read(giant).Num] < 4 {
		t.Errorf("%d tasks of the urgent message wait, %d of the giant", n, count[w.read(giant).Num])
	}
}
