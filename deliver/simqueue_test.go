package deliver

import (
	"context"
	"slices"
	"time"

	"fanfare"
)

// queue carries tasks on the virtual clock, as badly as a queue may.
type queue struct {
	*world
	tasks   []fanfare.Task
	waiters []waiter
}

type waiter struct {
	n    *node
	lane string
	most int
}

// delivery is a task in a node's hands.
type delivery struct {
	n        *node
	task     fanfare.Task
	received uint64 // the world's order then
	ended    bool
	why      string // why it may be acknowledged
}

func (d *delivery) Task() fanfare.Task { return d.task }

// Ack and Return are the shell's business; the simulator's goes round them.
func (d *delivery) Ack(context.Context) error                   { panic("not in the simulator") }
func (d *delivery) Return(context.Context, time.Duration) error { panic("not in the simulator") }

func (d *delivery) end() {
	if d.ended {
		d.n.violated("task", "%v is given away twice", d.task)
	}
	d.ended = true
	d.n.held = slices.DeleteFunc(d.n.held, func(o *delivery) bool { return o == d })
}

func (q *queue) Features() fanfare.QueueFeatures {
	return fanfare.QueueFeatures{Name: "simulated", Shared: true, Redelivers: true, Lossy: true, Doubles: true}
}

func (q *queue) Publish(_ context.Context, tasks []fanfare.Task) error {
	for _, t := range tasks {
		if q.happens(q.odds.publishing) {
			q.saw("publish failed")
			return errStore
		}
		q.saw("task published")
		if q.happens(q.odds.lose) {
			q.saw("task lost")
			continue
		}
		q.offer(t, q.late())
		if q.happens(q.odds.double) {
			q.saw("task doubled")
			q.offer(t, q.late())
		}
	}
	return nil
}

func (q *queue) late() time.Duration {
	if q.happens(q.odds.delay) {
		q.saw("task delayed")
		return q.between(0, 20*time.Second)
	}
	return q.short()
}

// offer has a task wait after a delay. What waits is handed out in any order.
func (q *queue) offer(t fanfare.Task, d time.Duration) {
	q.at(d, func() {
		q.tasks = append(q.tasks, t)
		q.hand()
	})
}

func (q *queue) wait(w waiter) {
	q.waiters = append(q.waiters, w)
	q.hand()
}

// leave takes a node's waiting places away.
func (q *queue) leave(n *node) {
	q.waiters = slices.DeleteFunc(q.waiters, func(w waiter) bool { return w.n == n })
}

func (q *queue) hand() {
	for i := 0; i < len(q.waiters); i++ {
		w := q.waiters[i]
		var got []fanfare.Delivery
		for j := 0; j < len(q.tasks) && len(got) < w.most; {
			if q.tasks[j].Provider != w.lane {
				j++
				continue
			}
			d := &delivery{n: w.n, task: q.tasks[j], received: q.order}
			w.n.held = append(w.n.held, d)
			got = append(got, d)
			q.tasks = slices.Delete(q.tasks, j, j+1)
		}
		if len(got) == 0 {
			continue
		}
		q.Shuffle(len(got), func(a, b int) { got[a], got[b] = got[b], got[a] })
		q.waiters = slices.Delete(q.waiters, i, i+1)
		i--
		w.n.self(q.short(), func() { w.n.event(Received{Lane: w.lane, Deliveries: got}) })
	}
}

// forget loses everything that waits.
func (q *queue) forget() {
	if len(q.tasks) > 0 {
		q.saw("queue forgot everything")
	}
	q.tasks = nil
}

func (q *queue) Depth(_ context.Context, provider string) (n int, err error) {
	for _, t := range q.tasks {
		if t.Provider == provider {
			n++
		}
	}
	return n, nil
}

func (q *queue) Subscribe(context.Context, string) (fanfare.Subscription, error) {
	panic("not in the simulator")
}
func (q *queue) Ping(context.Context) error { return nil }
func (q *queue) Close() error               { return nil }
