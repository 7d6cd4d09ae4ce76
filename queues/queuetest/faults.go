package queuetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"fanfare"
)

// tryTime is how long one try may take while something is wrong with the server.
const tryTime = 2 * time.Second

// survive publishes and takes in turn, as planner and node do together, until everything came: what has not come is published again,
// an error means that it is tried again, and the subscription is the same all the time.
func (b *bench) survive(q fanfare.Queue, s fanfare.Subscription, want []fanfare.Task) {
	b.Helper()
	missing := make(map[fanfare.Task]struct{}, len(want))
	for _, t := range want {
		missing[t] = struct{}{}
	}
	for len(missing) > 0 {
		err := b.try(func(ctx context.Context) error { return q.Publish(ctx, slices.Collect(maps.Keys(missing))) })
		for err == nil && len(missing) > 0 {
			err = b.try(func(ctx context.Context) error {
				got, err := s.Receive(ctx, 20)
				for _, d := range got {
					delete(missing, d.Task())
					_ = d.Ack(ctx) // whoever held it may be gone
				}
				return err
			})
		}
		if b.ctx.Err() != nil || errors.Is(err, fanfare.ErrClosed) {
			b.Fatalf("%d of %d tasks never came: %v", len(missing), len(want), err)
		}
	}
}

func (b *bench) try(what func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(b.ctx, tryTime)
	defer cancel()
	return what(ctx)
}

// killed: what a process held when it was killed comes to another one, where the driver says Redelivers.
func killed(b *bench) {
	if b.Doomed == nil {
		if b.can.Shared {
			b.Fatal("the driver is Shared and has no Doomed")
		}
		return
	}
	want := tasks(fanfare.PriorityNormal, 0, 40)
	doomed, kill := b.Doomed()
	b.Cleanup(func() { _ = doomed.Close() })
	theirs := b.subscribeOn(doomed, mail)
	b.publish(want...)
	var held []fanfare.Task
	for len(held) < 20 {
		for _, d := range b.receive(theirs, 20-len(held)) {
			if !slices.Contains(held, d.Task()) {
				held = append(held, d.Task())
			}
			if len(held) <= 5 {
				b.ack(d)
			}
		}
	}
	kill()
	left := slices.DeleteFunc(slices.Clone(want), func(t fanfare.Task) bool { return slices.Contains(held[:5], t) })
	if !b.can.Redelivers {
		b.publish(left...)
	}
	as := *b
	as.can.Doubles = true // an acknowledgement that was on its way is lost
	b.sameTasks(as.collect(b.subscribe(mail), left), left)
}

// outage: while the server is away everything fails in time and says so; afterwards whoever was connected, and whoever came meanwhile,
// goes on, and what was acknowledged is there where the driver says Durable.
func outage(b *bench) {
	if b.Down == nil {
		return
	}
	s, kept, after := b.subscribe(mail), tasks(fanfare.PriorityNormal, 0, 50), tasks(fanfare.PriorityHigh, 500, 50)
	for i := range kept {
		kept[i].Provider = "kept"
	}
	b.publish(kept...)
	b.arrive(s, tasks(fanfare.PriorityNormal, 0, 50)...)
	closing := b.Another()
	waits := b.subscribeOn(closing, mail)
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := waits.Receive(b.ctx, 1); errors.Is(err, fanfare.ErrClosed) || b.ctx.Err() != nil {
				ended <- err
				return
			}
		}
	}()
	up := b.Down()
	for what, try := range map[string]func(context.Context) error{
		"ping":    b.Queue.Ping,
		"publish": func(ctx context.Context) error { return b.Queue.Publish(ctx, after) },
		"depth":   func(ctx context.Context) error { _, err := b.Queue.Depth(ctx, mail); return err },
	} {
		began := time.Now()
		err := b.try(try)
		if took := time.Since(began); err == nil || took > patience/2 {
			b.Errorf("%s without a server: %v after %v", what, err, took)
		} else if b.tells(what, err); what == "ping" && !strings.Contains(err.Error(), b.Host) {
			b.Errorf("%q does not say which server: %s", err, b.Host)
		}
	}
	if err := closing.Close(); err != nil {
		b.Errorf("close without a server: %v", err)
	}
	if err := <-ended; !errors.Is(err, fanfare.ErrClosed) {
		b.Errorf("Receive answered %v when the queue was closed", err)
	}
	early := b.Another() // as a process that starts now
	b.Cleanup(func() { _ = early.Close() })
	up()
	b.survive(b.Queue, s, after)
	b.survive(early, b.subscribeOn(early, mail), tasks(fanfare.PriorityLow, 700, 50))
	if !b.can.Durable {
		b.publish(kept...)
	}
	as := *b
	as.can.Doubles = true
	b.sameTasks(as.collect(b.subscribe("kept"), kept), kept)
	if err := b.Queue.Ping(b.ctx); err != nil {
		b.Errorf("ping afterwards: %v", err)
	}
}

// tells looks for the password in what an error says.
func (b *bench) tells(what string, err error) {
	b.Helper()
	if b.Secret != "" && strings.Contains(err.Error(), b.Secret) {
		b.Errorf("%s: the error tells the password: %v", what, err)
	}
}

// wiped: the broker may lose everything, and nobody who is connected to it has to be told: publishing again brings all of it, to a
// subscription that was there before, to one that waits at that moment, and to one opened afterwards.
func wiped(b *bench) {
	s := b.subscribe(mail)
	first := tasks(fanfare.PriorityNormal, 0, 50)
	b.publish(first...)
	held := b.receive(s, 10)
	for i, name := range slices.Sorted(maps.Keys(b.Wipes)) {
		b.Logf("wiped by %s", name)
		b.Wipes[name]()
		b.survive(b.Queue, s, first)
		for _, d := range held {
			_ = d.Ack(b.ctx) // of a task that is gone: whatever it says, it must not take another one with it for good
		}
		b.survive(b.Queue, s, tasks(fanfare.PriorityHigh, 1000*(i+1), 50))
		held = nil // gone with the first wipe, if not acknowledged
		waiting := make(chan struct{})
		go func() {
			defer close(waiting)
			for b.ctx.Err() == nil {
				if got, err := s.Receive(b.ctx, 1); err == nil {
					held = got
					return
				}
			}
		}()
		b.Wipes[name]()
		for came := false; !came && b.ctx.Err() == nil; {
			_ = b.try(func(ctx context.Context) error {
				return b.Queue.Publish(ctx, tasks(fanfare.PriorityLow, 2000*(i+1), 1))
			})
			select {
			case <-waiting:
				came = true
			case <-time.After(tryTime / 4):
			}
		}
		if b.ctx.Err() != nil {
			b.Fatalf("wiped by %s while somebody waited: nothing comes any more", name)
		}
	}
	for _, d := range held {
		_ = d.Ack(b.ctx)
	}
	b.survive(b.Queue, b.subscribe(mail), tasks(fanfare.PriorityNormal, 100, 50))
}

// halfOpen: a connection that carries nothing any more, without a word, is noticed; nothing hangs on it without end.
func halfOpen(b *bench) {
	if b.Mute == nil {
		return
	}
	s := b.subscribe(mail)
	b.arrive(s, tasks(fanfare.PriorityNormal, 0, 20)...)
	b.Mute()
	began := time.Now()
	if err := b.try(b.Queue.Ping); time.Since(began) > patience/2 {
		b.Errorf("ping took %v: %v", time.Since(began), err)
	}
	b.survive(b.Queue, s, tasks(fanfare.PriorityNormal, 100, 20))
}

// many: ten thousand, published as the planner does, to two processes.
func many(b *bench) {
	n := 10_000
	if b.can.Lossy { // each is published again and again
		n = 1000
	}
	other := b.Queue
	if b.Another != nil {
		other = b.Another()
		b.Cleanup(func() { _ = other.Close() })
	}
	came := make(chan fanfare.Task, 100)
	stop := b.receiveInto(came, b.subscribe(mail), b.subscribeOn(other, mail))
	missing := make(map[fanfare.Task]struct{}, n)
	for part := range slices.Chunk(tasks(fanfare.PriorityNormal, 0, n), 128) {
		for _, t := range part {
			missing[t] = struct{}{}
		}
		b.publish(part...)
		for len(missing) > 256 { // the window
			if t, ok := b.await(came, missing); ok {
				delete(missing, t)
			}
		}
	}
	for len(missing) > 0 {
		if t, ok := b.await(came, missing); ok {
			delete(missing, t)
		}
	}
	stop()
}
