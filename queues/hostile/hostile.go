// Package hostile wraps a queue so that it misbehaves as a queue may: by a seed it loses, doubles, delays and reorders tasks.
// It says so in its Features and otherwise keeps the contract; publishing again what has not come still brings everything at
// least once.
package hostile

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"fanfare"
)

// Faults says how often each happens, from 0 (never) to below 1.
type Faults struct {
	Lose    float64       // a task is dropped: half of these when it is published, half when it would be received
	Double  float64       // a task is published twice
	Delay   float64       // a task is held back
	Most    time.Duration // for this long at most
	Reorder float64       // a publish, or what is received at once, is shuffled
}

// Queue is the wrapper.
type Queue struct {
	fanfare.Queue
	faults Faults

	mu  sync.Mutex // guards rng
	rng *rand.Rand
}

// New wraps a queue. Closing the wrapper closes it.
func New(q fanfare.Queue, f Faults, seed uint64) *Queue {
	return &Queue{Queue: q, faults: f, rng: rand.New(rand.NewPCG(seed, 0x9E3779B97F4A7C15))} //nolint:gosec // faults, not secrets
}

// Features implements fanfare.Queue.
func (q *Queue) Features() fanfare.QueueFeatures {
	f := q.Queue.Features()
	f.Name = "hostile " + f.Name
	f.Lossy = f.Lossy || q.faults.Lose > 0
	f.Doubles = f.Doubles || q.faults.Double > 0
	if q.faults != (Faults{}) {
		f.Exact, f.Priorities, f.Ordered = false, false, false
	}
	return f
}

// Publish implements fanfare.Queue.
func (q *Queue) Publish(ctx context.Context, tasks []fanfare.Task) error {
	sent := make([]fanfare.Task, 0, len(tasks)+1)
	q.mu.Lock()
	for _, t := range tasks {
		if q.happensLocked(q.faults.Lose / 2) {
			continue
		}
		sent = append(sent, t)
		if q.happensLocked(q.faults.Double) {
			sent = append(sent, t)
		}
	}
	if q.happensLocked(q.faults.Reorder) {
		q.rng.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
	}
	q.mu.Unlock()
	return q.Queue.Publish(ctx, sent)
}

func (q *Queue) happensLocked(share float64) bool { return share > 0 && q.rng.Float64() < share }

// Subscribe implements fanfare.Queue.
func (q *Queue) Subscribe(ctx context.Context, provider string) (fanfare.Subscription, error) {
	s, err := q.Queue.Subscribe(ctx, provider)
	if err != nil {
		return nil, err
	}
	return &subscription{Subscription: s, q: q}, nil
}

type subscription struct {
	fanfare.Subscription
	q *Queue
}

// Receive implements fanfare.Subscription.
func (s *subscription) Receive(ctx context.Context, most int) ([]fanfare.Delivery, error) {
	for {
		got, err := s.Subscription.Receive(ctx, most)
		if err != nil {
			return nil, err
		}
		kept, lost, late := s.sort(got)
		for _, d := range lost {
			if err := d.Ack(ctx); err != nil {
				return nil, err
			}
		}
		for i, d := range late {
			if err := d.Return(ctx, s.q.faults.Most*time.Duration(i+1)/time.Duration(len(late))); err != nil {
				return nil, err
			}
		}
		if len(kept) > 0 {
			return kept, nil
		}
	}
}

// sort decides what becomes of each.
func (s *subscription) sort(got []fanfare.Delivery) (kept, lost, late []fanfare.Delivery) {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	for _, d := range got {
		switch {
		case s.q.happensLocked(s.q.faults.Lose / 2):
			lost = append(lost, d)
		case s.q.happensLocked(s.q.faults.Delay):
			late = append(late, d)
		default:
			kept = append(kept, d)
		}
	}
	if s.q.happensLocked(s.q.faults.Reorder) {
		s.q.rng.Shuffle(len(kept), func(i, j int) { kept[i], kept[j] = kept[j], kept[i] })
	}
	return kept, lost, late
}
