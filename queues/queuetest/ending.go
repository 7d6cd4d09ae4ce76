package queuetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"fanfare"
)

func acknowledgedIsGone(b *bench) {
	s := b.subscribe(mail)
	b.arrive(s, tasks(fanfare.PriorityNormal, 0, 20)...)
	b.quiet(s, 900)
	if err := s.Close(); err != nil {
		b.Fatalf("close the subscription: %v", err)
	}
	b.quiet(b.subscribe(mail), 901)
}

func returnedComesAgain(b *bench) {
	s := b.subscribe(mail)
	want := tasks(fanfare.PriorityNormal, 0, 20)
	b.publish(want...)
	b.giveBack(s, want, 0)
	b.sameTasks(b.collect(s, want), want)
	b.quiet(s, 900)
}

// giveBack returns every one of want once.
func (b *bench) giveBack(s fanfare.Subscription, want []fanfare.Task, delay time.Duration) {
	b.Helper()
	missing := make(map[fanfare.Task]struct{}, len(want))
	for _, t := range want {
		missing[t] = struct{}{}
	}
	for len(missing) > 0 {
		for _, d := range b.some(s, len(missing), missing) {
			if _, first := missing[d.Task()]; first && slices.Contains(want, d.Task()) {
				delete(missing, d.Task())
			}
			if err := d.Return(b.ctx, delay); err != nil {
				b.Fatalf("return %v: %v", d.Task(), err)
			}
		}
	}
}

// returnedWithDelay compares with the time before the task was returned only, so that a slow machine cannot fail it.
func returnedWithDelay(b *bench) {
	s := b.subscribe(mail)
	want := tasks(fanfare.PriorityNormal, 0, 1)
	if b.can.Lossy || b.can.Doubles { // another copy may come at any time
		b.arrive(s, want...)
		return
	}
	const delay = 150 * time.Millisecond
	b.publish(want...)
	d := b.receive(s, 1)[0]
	before := time.Now()
	if err := d.Return(b.ctx, delay); err != nil {
		b.Fatalf("return: %v", err)
	}
	// Others are not held up by the one that waits.
	others := tasks(fanfare.PriorityNormal, 10, 5)
	b.publish(others...)
	var came []fanfare.Task
	var waited time.Duration
	for len(came) < 6 {
		for _, d := range b.receive(s, 6) {
			if d.Task() == want[0] {
				waited = time.Since(before)
			}
			came = append(came, d.Task())
			b.ack(d)
		}
	}
	b.sameTasks(came, slices.Concat(others, want))
	// Servers count in whole milliseconds of their own.
	if b.can.Delays && waited < delay-5*time.Millisecond {
		b.Fatalf("came again after %v, wanted %v", waited, delay)
	}
}

func heldComesAgain(b *bench) {
	s := b.subscribe(mail)
	want := tasks(fanfare.PriorityNormal, 0, 20)
	b.publish(want...)
	held := make(map[fanfare.Task]struct{})
	for _, t := range want {
		held[t] = struct{}{}
	}
	var deliveries []fanfare.Delivery
	for len(held) > 0 {
		for _, d := range b.some(s, 20, held) {
			if _, first := held[d.Task()]; first {
				deliveries = append(deliveries, d)
			} else {
				b.ack(d)
			}
			delete(held, d.Task())
		}
	}
	left := make([]fanfare.Task, 0, 15)
	for i, d := range deliveries {
		if i < 5 {
			b.ack(d)
		} else {
			left = append(left, d.Task())
		}
	}
	if err := s.Close(); err != nil {
		b.Fatalf("close the subscription: %v", err)
	}
	next := b.subscribe(mail)
	if !b.can.Redelivers {
		b.publish(left...)
	}
	b.sameTasks(b.collect(next, left), left)
	b.quiet(next, 900)
}

func receiveEndsWithContext(b *bench) {
	s := b.subscribe(mail)
	ctx, cancel := context.WithCancel(b.ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := s.Receive(ctx, 1)
		ended <- err
	}()
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			b.Fatalf("Receive answered %v when its context ended", err)
		}
	case <-b.ctx.Done():
		b.Fatal("Receive goes on although its context has ended")
	}
	want := tasks(fanfare.PriorityNormal, 0, 3)
	b.sameTasks(b.arrive(s, want...), want)
}

// cancelledReceive: a task that arrives just as its receiver gives up is not lost with it.
func cancelledReceive(b *bench) {
	s := b.subscribe(mail)
	want := tasks(fanfare.PriorityNormal, 0, 60)
	var came []fanfare.Task
	for _, t := range want {
		ctx, cancel := context.WithCancel(b.ctx)
		published := make(chan error, 1)
		go func() {
			published <- b.Queue.Publish(b.ctx, []fanfare.Task{t})
			cancel()
		}()
		got, err := s.Receive(ctx, 1)
		if err != nil && !errors.Is(err, context.Canceled) {
			b.Fatalf("receive: %v", err)
		}
		if err := <-published; err != nil {
			b.Fatalf("publish: %v", err)
		}
		for _, d := range got {
			came = append(came, d.Task())
			b.ack(d)
		}
	}
	rest := slices.DeleteFunc(slices.Clone(want), func(t fanfare.Task) bool { return slices.Contains(came, t) })
	came = append(came, b.collect(s, rest)...)
	if !b.can.Doubles {
		b.sameTasks(came, want)
	}
}

func closeEndsReceive(b *bench) {
	s := b.subscribe(mail)
	ended := make(chan error, 1)
	go func() {
		_, err := s.Receive(b.ctx, 1)
		ended <- err
	}()
	if err := b.Queue.Close(); err != nil {
		b.Fatalf("close: %v", err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, fanfare.ErrClosed) {
			b.Fatalf("Receive answered %v when the queue was closed", err)
		}
	case <-b.ctx.Done():
		b.Fatal("Receive goes on although the queue is closed")
	}
	if err := b.Queue.Publish(b.ctx, tasks(fanfare.PriorityNormal, 0, 1)); !errors.Is(err, fanfare.ErrClosed) {
		b.Errorf("publish on a closed queue: %v", err)
	}
	if _, err := b.Queue.Subscribe(b.ctx, mail); !errors.Is(err, fanfare.ErrClosed) {
		b.Errorf("subscribe on a closed queue: %v", err)
	}
	if err := b.Queue.Close(); err != nil {
		b.Errorf("close it twice: %v", err)
	}
}

func closedSubscription(b *bench) {
	s := b.subscribe(mail)
	for range 2 {
		if err := s.Close(); err != nil {
			b.Fatalf("close the subscription: %v", err)
		}
	}
	if _, err := s.Receive(b.ctx, 1); !errors.Is(err, fanfare.ErrClosed) {
		b.Fatalf("Receive on a closed subscription answered %v", err)
	}
}

// receiveInto has each subscription taken by a goroutine of its own, which acknowledges and passes on; stop ends them.
func (b *bench) receiveInto(came chan<- fanfare.Task, all ...fanfare.Subscription) (stop func()) {
	ctx, cancel := context.WithCancel(b.ctx)
	var running sync.WaitGroup
	for _, s := range all {
		running.Go(func() {
			for {
				got, err := s.Receive(ctx, 7)
				if err != nil {
					if ctx.Err() == nil {
						b.Errorf("receive: %v", err)
					}
					return
				}
				for _, d := range got {
					if err := d.Ack(b.ctx); err != nil {
						b.Errorf("acknowledge: %v", err)
					}
					select {
					case came <- d.Task():
					case <-ctx.Done():
						return
					}
				}
			}
		})
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// await waits for one to come; of a queue that loses it publishes the missing again after a while and answers false.
func (b *bench) await(came <-chan fanfare.Task, missing map[fanfare.Task]struct{}) (fanfare.Task, bool) {
	b.Helper()
	var again <-chan time.Time
	if b.can.Lossy {
		again = time.After(5 * time.Millisecond)
	}
	select {
	case t := <-came:
		return t, true
	case <-again:
		for t := range missing {
			b.publish(t)
		}
	case <-b.ctx.Done():
		b.Fatalf("%d tasks never came", len(missing))
	}
	return fanfare.Task{}, false
}
