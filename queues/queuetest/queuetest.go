// Package queuetest says what a fanfare.Queue promises. Every driver runs all of it by default, against the real server:
//
//	func TestQueue(t *testing.T) { queuetest.Run(t, open) }
//
// What a driver cannot do is a field of its Features and changes what is expected; nothing is left out for it. The suite never
// waits for nothing to happen: that a task does not come again is seen by a later task that does come.
package queuetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"fanfare"
)

// Backend is a queue to be tried, empty, and what the test may do to it.
type Backend struct {
	Queue fanfare.Queue
	// Another opens a second connection to the same queue, as another process would. A driver that is Shared has it.
	Another func() fanfare.Queue
	// Doomed opens one more, which kill cuts off for good without a word, as a process that is killed. A driver that is Shared has it.
	Doomed func() (q fanfare.Queue, kill func())
	// Host is part of every error about the server, Secret (the password in the URL) of none. Both are empty where there is no server.
	Host, Secret string
	// Down stops the server; up starts it again with what it had on disk. nil where there is no server.
	Down func() (up func())
	// Wipes are the ways in which the server loses every task while clients are connected, by name, as a lost disk or a clumsy hand
	// would. Empty where that cannot be.
	Wipes map[string]func()
	// Mute has the connections that Queue has at this moment carry nothing any more, without closing them; new ones work. nil where there
	// is no connection.
	Mute func()
}

// patience is how long a server may take until a test calls it broken; no good run waits for it.
const patience = 90 * time.Second

// Run tries everything that a queue promises. open makes an empty queue; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) Backend) {
	for _, c := range []struct {
		name string
		try  func(*bench)
	}{
		{"Features", features}, {"EveryFieldArrives", everyField}, {"ProvidersApart", providersApart}, {"NamesOfAnyKind", namesOfAnyKind},
		{"InOrder", inOrder}, {"PrioritiesFirst", prioritiesFirst}, {"LowDoesNotStarve", lowDoesNotStarve}, {"Most", most},
		{"AcknowledgedIsGone", acknowledgedIsGone}, {"ReturnedComesAgain", returnedComesAgain}, {"ReturnedWithDelay", returnedWithDelay},
		{"HeldComesAgain", heldComesAgain}, {"ReceiveEndsWithContext", receiveEndsWithContext}, {"CancelledReceiveLosesNothing", cancelledReceive},
		{"CloseEndsReceive", closeEndsReceive}, {"ClosedSubscription", closedSubscription}, {"TwoSubscriptionsShare", twoShare}, {"ManyPublishers", manyPublishers}, {"Depth", depth},
		{"TwoConnections", twoConnections}, {"Killed", killed}, {"Outage", outage}, {"Wiped", wiped}, {"HalfOpen", halfOpen}, {"Many", many},
		{"RepublishingBringsEverything", republishing},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			b := &bench{T: t, ctx: ctx, Backend: open(t)}
			b.can = b.Queue.Features()
			t.Cleanup(func() { _ = b.Queue.Close() })
			c.try(b)
		})
	}
}

// bench is one test at work.
type bench struct {
	*testing.T
	Backend
	ctx context.Context //nolint:containedctx // lives as long as the test
	can fanfare.QueueFeatures
}

const mail = "mail"

// tasks makes n tasks with batch numbers from first on.
func tasks(p fanfare.Priority, first, n int) []fanfare.Task {
	made := make([]fanfare.Task, 0, n)
	for i := range n {
		made = append(made, fanfare.Task{BatchRef: fanfare.BatchRef{Message: 7, Slot: 3, Batch: fanfare.BatchNo(first + i)}, //nolint:gosec // small
			Generation: 2, Provider: mail, Priority: p})
	}
	return made
}

func (b *bench) publish(tasks ...fanfare.Task) {
	b.Helper()
	if err := b.Queue.Publish(b.ctx, tasks); err != nil {
		b.Fatalf("publish: %v", err)
	}
}

func (b *bench) subscribe(provider string) fanfare.Subscription {
	b.Helper()
	return b.subscribeOn(b.Queue, provider)
}

func (b *bench) subscribeOn(q fanfare.Queue, provider string) fanfare.Subscription {
	b.Helper()
	s, err := q.Subscribe(b.ctx, provider)
	if err != nil {
		b.Fatalf("subscribe to %q: %v", provider, err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func (b *bench) receive(s fanfare.Subscription, most int) []fanfare.Delivery {
	b.Helper()
	got, err := s.Receive(b.ctx, most)
	if err != nil {
		b.Fatalf("receive: %v", err)
	}
	if len(got) == 0 || len(got) > most {
		b.Fatalf("Receive of at most %d answered %d", most, len(got))
	}
	return got
}

func (b *bench) ack(d fanfare.Delivery) {
	b.Helper()
	if err := d.Ack(b.ctx); err != nil {
		b.Fatalf("acknowledge %v: %v", d.Task(), err)
	}
}

// arrive publishes the wanted and answers them in the order of their first coming, acknowledged. With a queue that loses, it
// publishes again what has not come, as the planner does; with one that doubles, later copies are acknowledged and not counted.
func (b *bench) arrive(s fanfare.Subscription, want ...fanfare.Task) []fanfare.Task {
	b.Helper()
	b.publish(want...)
	return b.collect(s, want)
}

// collect is arrive for what was published already.
func (b *bench) collect(s fanfare.Subscription, want []fanfare.Task) []fanfare.Task {
	b.Helper()
	missing := make(map[fanfare.Task]struct{}, len(want))
	for _, t := range want {
		missing[t] = struct{}{}
	}
	order := make([]fanfare.Task, 0, len(want))
	for len(missing) > 0 {
		for _, d := range b.some(s, len(want), missing) {
			t := d.Task()
			if _, wanted := missing[t]; wanted {
				order = append(order, t)
				delete(missing, t)
			} else if !b.can.Doubles && !(b.can.Lossy && slices.Contains(want, t)) {
				b.Fatalf("task %v came, which was not published or came before", t)
			}
			b.ack(d)
		}
	}
	return order
}

// some receives; of a queue that loses it publishes the missing again when nothing comes for a while.
func (b *bench) some(s fanfare.Subscription, most int, missing map[fanfare.Task]struct{}) []fanfare.Delivery {
	b.Helper()
	if !b.can.Lossy {
		return b.receive(s, most)
	}
	for {
		ctx, cancel := context.WithTimeout(b.ctx, 5*time.Millisecond)
		got, err := s.Receive(ctx, most)
		cancel()
		switch {
		case err == nil:
			return got
		case b.ctx.Err() != nil:
			b.Fatalf("%d tasks never came, however often they were published", len(missing))
		case !errors.Is(err, context.DeadlineExceeded):
			b.Fatalf("receive: %v", err)
		}
		b.publish(slices.Collect(maps.Keys(missing))...)
	}
}

// quiet makes sure that nothing but the last task is left: it publishes one more and sees nothing else come.
func (b *bench) quiet(s fanfare.Subscription, marker int) {
	b.Helper()
	b.arrive(s, tasks(fanfare.PriorityLow, marker, 1)...)
}

// sameTasks compares without regard to order.
func (b *bench) sameTasks(got, want []fanfare.Task) {
	b.Helper()
	less := func(x, y fanfare.Task) int { return int(x.Batch) - int(y.Batch) }
	g, w := slices.SortedFunc(slices.Values(got), less), slices.SortedFunc(slices.Values(want), less)
	if !slices.Equal(g, w) {
		b.Fatalf("came %v\nwanted %v", g, w)
	}
}
