package inbox

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/stores/memory"
)

// slowTail takes its time and counts the questions for the tail, and how many are under way.
type slowTail struct {
	fanfare.Store
	asked, now, most atomic.Int32
	wait             time.Duration
}

func (c *slowTail) Tail(ctx context.Context, shard int, after int64) (fanfare.TailPage, error) {
	c.asked.Add(1)
	n := c.now.Add(1)
	defer c.now.Add(-1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
	if c.wait > 0 {
		time.Sleep(c.wait) // in the bubble of synctest
	}
	return c.Store.Tail(ctx, shard, after)
}

// TestOneQuestionAtATime: however many ask, one question for the tail is under way, and everybody's begins after they came.
func TestOneQuestionAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &slowTail{Store: memory.Open(memory.Config{Slots: 2}), wait: 10 * time.Millisecond}
		if err := c.Number(t.Context(), 0, 100); err != nil {
			t.Fatal(err)
		}
		r := New(Config{Store: Among(c, &among{}), Compile: func(m *fanfare.Message) (Content, error) { return plain{}, nil }})
		var wg sync.WaitGroup
		began := time.Now()
		for i := range 200 {
			wg.Go(func() {
				time.Sleep(time.Duration(i%7) * time.Millisecond)
				if _, err := r.Count(t.Context(), fanfare.Person{Seq: fanfare.Seq(i % 100)}); err != nil { //nolint:gosec // small
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if c.most.Load() != 1 || c.asked.Load() > 3 || time.Since(began) > 40*time.Millisecond {
			t.Errorf("%d questions, %d at a time, %v", c.asked.Load(), c.most.Load(), time.Since(began))
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if _, err := r.Count(ctx, fanfare.Person{}); err == nil {
			t.Error("whoever has gone is answered")
		}
		c.asked.Store(0)
		r = New(Config{Store: Watch(c), Compile: func(m *fanfare.Message) (Content, error) { return plain{}, nil }})
		for range 10 {
			if _, err := r.Count(t.Context(), fanfare.Person{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := c.asked.Load(); n > 1 {
			t.Errorf("a process alone asked %d times", n)
		}
	})
}
