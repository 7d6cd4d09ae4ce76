package queuetest

import (
	"slices"
	"sync"

	"fanfare"
)

func manyPublishers(b *bench) {
	s := b.subscribe(mail)
	var want []fanfare.Task
	var running sync.WaitGroup
	for p := range 4 {
		mine := tasks(fanfare.PriorityNormal, 1000*p, 200)
		want = append(want, mine...)
		running.Go(func() {
			for part := range slices.Chunk(mine, 10) {
				if err := b.Queue.Publish(b.ctx, part); err != nil {
					b.Errorf("publish: %v", err)
				}
			}
		})
	}
	got := b.collect(s, want)
	running.Wait()
	b.sameTasks(got, want)
}

func depth(b *bench) {
	want := tasks(fanfare.PriorityNormal, 0, 10)
	b.expectDepth(0)
	s := b.subscribe(mail)
	got := b.arrive(s, want...)
	b.sameTasks(got, want)
	b.expectDepth(0)
	if err := s.Close(); err != nil {
		b.Fatalf("close the subscription: %v", err)
	}
	b.publish(want...)
	b.expectDepth(len(want))
	if n, err := b.Queue.Depth(b.ctx, "nobody's"); err != nil || b.can.Exact && n != 0 {
		b.Errorf("the depth of a provider without tasks is %d, %v", n, err)
	}
}

func (b *bench) expectDepth(want int) {
	b.Helper()
	n, err := b.Queue.Depth(b.ctx, mail)
	if err != nil || n < 0 || b.can.Exact && n != want {
		b.Fatalf("depth is %d (%v), wanted %d", n, err, want)
	}
}

// twoConnections: what one connection publishes another receives. A queue of one process has one connection, which does both.
func twoConnections(b *bench) {
	other := b.Queue
	if b.Another != nil {
		other = b.Another()
		b.Cleanup(func() { _ = other.Close() })
	}
	b.share(b.subscribe(mail), b.subscribeOn(other, mail))
}

// republishing is how the planner lives with any queue: what has not come is published again until everything came.
func republishing(b *bench) {
	s := b.subscribe(mail)
	var want []fanfare.Task
	for i, p := range []fanfare.Priority{fanfare.PriorityHigh, fanfare.PriorityNormal, fanfare.PriorityLow} {
		want = append(want, tasks(p, 1000*i, 300)...)
	}
	for part := range slices.Chunk(want, 50) {
		b.publish(part...)
	}
	b.sameTasks(b.collect(s, want), want)
}
