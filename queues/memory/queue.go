// Package memory is the queue of one process: tasks are kept in memory and nowhere else. The database is the truth, so there is
// nothing to lose: after a restart the planner publishes again. Priorities are served 6 : 3 : 1, tasks of one priority in the
// order of publishing; what a subscription held when it was closed comes first again. It starts no goroutines.
package memory

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"fanfare"
	"fanfare/queues/lane"
)

// Queue is a fanfare.Queue within this process.
type Queue struct {
	mu     sync.Mutex // guards all below, and the lanes
	lanes  map[string]*line
	closed chan struct{}
}

// New makes an empty queue.
func New() *Queue {
	return &Queue{lanes: make(map[string]*line), closed: make(chan struct{})}
}

// Features implements fanfare.Queue.
func (q *Queue) Features() fanfare.QueueFeatures {
	return fanfare.QueueFeatures{Name: "memory", Redelivers: true, Ordered: true, Exact: true, Delays: true, Priorities: true}
}

// Publish implements fanfare.Queue.
func (q *Queue) Publish(ctx context.Context, tasks []fanfare.Task) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.isClosed() {
		return fmt.Errorf("publish: %w", fanfare.ErrClosed)
	}
	for _, t := range tasks {
		l := q.laneLocked(t.Provider)
		l.ready[t.Priority.Level()].push(t)
		l.ring()
	}
	return nil
}

// Subscribe implements fanfare.Queue.
func (q *Queue) Subscribe(ctx context.Context, provider string) (fanfare.Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.isClosed() {
		return nil, fmt.Errorf("subscribe to %q: %w", provider, fanfare.ErrClosed)
	}
	return &subscription{q: q, lane: q.laneLocked(provider), held: make(map[*delivery]struct{}), done: make(chan struct{})}, nil
}

// Depth implements fanfare.Queue. Tasks whose delay is not over count, tasks that somebody holds do not.
func (q *Queue) Depth(_ context.Context, provider string) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.isClosed() {
		return 0, fmt.Errorf("depth of %q: %w", provider, fanfare.ErrClosed)
	}
	l := q.lanes[provider]
	if l == nil {
		return 0, nil
	}
	n := len(l.later)
	for i := range l.ready {
		n += l.ready[i].len()
	}
	return n, nil
}

// Ping implements fanfare.Queue.
func (q *Queue) Ping(context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.isClosed() {
		return fmt.Errorf("ping: %w", fanfare.ErrClosed)
	}
	return nil
}

// Close ends every subscription. What waits is forgotten.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.isClosed() {
		close(q.closed)
		clear(q.lanes)
	}
	return nil
}

func (q *Queue) isClosed() bool {
	select {
	case <-q.closed:
		return true
	default:
		return false
	}
}

func (q *Queue) laneLocked(provider string) *line {
	l := q.lanes[provider]
	if l == nil {
		l = &line{bell: make(chan struct{})}
		q.lanes[provider] = l
	}
	return l
}

// line holds what waits for one provider. The queue's mutex guards it.
type line struct {
	ready [fanfare.Levels]fifo
	mix   lane.Mix
	later delayed
	bell  chan struct{} // closed when something came; made anew by whoever waits
	waits bool          // somebody waits at the bell
}

// ring wakes whoever waits.
func (l *line) ring() {
	if l.waits {
		l.waits = false
		close(l.bell)
	}
}

// next takes the task that comes next, by the shares of the priorities.
func (l *line) next() (fanfare.Task, bool) {
	level, ok := l.mix.Next(func(i int) bool { return l.ready[i].len() > 0 })
	if !ok {
		return fanfare.Task{}, false
	}
	return l.ready[level].pop(), true
}

// ripen makes ready what is due, and tells how long until the next is.
func (l *line) ripen(now time.Time) (wait time.Duration, some bool) {
	for len(l.later) > 0 {
		if wait := l.later[0].due.Sub(now); wait > 0 {
			return wait, true
		}
		t, _ := heap.Pop(&l.later).(waiting)
		l.ready[t.task.Priority.Level()].push(t.task)
	}
	return 0, false
}

type subscription struct {
	q    *Queue
	lane *line
	held map[*delivery]struct{} // guarded by q.mu; nil after Close
	last int64                  // number of the last delivery
	done chan struct{}
}

// Receive implements fanfare.Subscription.
func (s *subscription) Receive(ctx context.Context, most int) ([]fanfare.Delivery, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		got, bell, wait, err := s.take(max(most, 1))
		if err != nil || len(got) > 0 {
			return got, err
		}
		var due <-chan time.Time
		var timer *time.Timer
		if wait > 0 {
			timer = time.NewTimer(wait)
			due = timer.C
		}
		select {
		case <-bell:
		case <-due:
		case <-ctx.Done():
		case <-s.done:
		case <-s.q.closed:
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// take gives what is there, or the bell to wait at and the longest time to do so (0: for ever).
func (s *subscription) take(most int) (got []fanfare.Delivery, bell <-chan struct{}, wait time.Duration, err error) {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	if s.held == nil || s.q.isClosed() {
		return nil, nil, 0, fmt.Errorf("receive: %w", fanfare.ErrClosed)
	}
	wait, _ = s.lane.ripen(time.Now())
	for len(got) < most {
		t, ok := s.lane.next()
		if !ok {
			break
		}
		s.last++
		d := &delivery{s: s, task: t, number: s.last}
		s.held[d] = struct{}{}
		got = append(got, d)
	}
	if len(got) == 0 && !s.lane.waits {
		s.lane.waits = true
		s.lane.bell = make(chan struct{})
	}
	return got, s.lane.bell, wait, nil
}

// Close implements fanfare.Subscription: what is held goes back to the front.
func (s *subscription) Close() error {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	if s.held == nil {
		return nil
	}
	close(s.done)
	back := slices.SortedFunc(maps.Keys(s.held), func(a, b *delivery) int { return cmp.Compare(b.number, a.number) })
	for _, d := range back {
		s.lane.ready[d.task.Priority.Level()].pushFront(d.task)
	}
	if len(back) > 0 {
		s.lane.ring()
	}
	s.held = nil
	return nil
}

type delivery struct {
	s      *subscription
	task   fanfare.Task
	number int64 // in the order of delivery
}

func (d *delivery) Task() fanfare.Task { return d.task }

// Ack implements fanfare.Delivery. It answers ErrClosed when the subscription has ended: the task went back then.
func (d *delivery) Ack(context.Context) error {
	d.s.q.mu.Lock()
	defer d.s.q.mu.Unlock()
	return d.letGoLocked("acknowledge")
}

// Return implements fanfare.Delivery.
func (d *delivery) Return(_ context.Context, delay time.Duration) error {
	d.s.q.mu.Lock()
	defer d.s.q.mu.Unlock()
	if err := d.letGoLocked("return"); err != nil {
		return err
	}
	if delay > 0 {
		heap.Push(&d.s.lane.later, waiting{task: d.task, due: time.Now().Add(delay)})
	} else {
		d.s.lane.ready[d.task.Priority.Level()].push(d.task)
	}
	d.s.lane.ring()
	return nil
}

func (d *delivery) letGoLocked(what string) error {
	if d.s.held == nil || d.s.q.isClosed() {
		return fmt.Errorf("%s the task of %v: %w", what, d.task.BatchRef, fanfare.ErrClosed)
	}
	if _, held := d.s.held[d]; !held {
		return fmt.Errorf("%s the task of %v: given away already: %w", what, d.task.BatchRef, fanfare.ErrUsage)
	}
	delete(d.s.held, d)
	return nil
}
