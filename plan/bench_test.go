package plan_test

import (
	"testing"
	"time"

	"fanfare"
	"fanfare/plan"
)

// BenchmarkTasks takes messages of 20,000 batches from start to completed through Tick, the memory store and the memory queue, with a
// node that has 128 claims, and reports how many tasks a second of the planner's own time publishes. With the tasks' claims counted by
// the queue, as in one process, and by the batches' rows, as with a broker.
func BenchmarkTasks(b *testing.B) {
	for name, local := range map[string]bool{"queue": true, "rows": false} {
		b.Run(name, func(b *testing.B) {
			const claims = 128
			for b.Loop() {
				w := newWorldAt(b, 16, 10_000_000, time.Now)
				c := w.config("worker")
				c.BatchSize = 0
				if local {
					c.Free = func() map[string]int { return map[string]int{string(fanfare.ChannelNull): claims} }
				}
				p := plan.New(c)
				w.free(claims)
				id := w.message("m", nil, fanfare.EventStart)
				var planning, longest time.Duration
				ticks, batches := 0, 0
				for w.read(id).Phase != fanfare.PhaseCompleted {
					w.free(claims)
					began := time.Now()
					w.tick(p)
					took := time.Since(began)
					planning, longest = planning+took, max(longest, took)
					ticks++
					batches += w.work(2 * claims)
				}
				w.completed(id, 10_000_000)
				b.ReportMetric(float64(batches)/planning.Seconds(), "tasks/s")
				b.ReportMetric(float64(planning.Microseconds())/float64(ticks), "µs/tick")
				b.ReportMetric(float64(longest.Microseconds()), "µs/longest")
			}
		})
	}
}
