package queuetest

import (
	"math"
	"slices"
	"strings"

	"fanfare"
)

func features(b *bench) {
	if b.can.Name == "" {
		b.Error("the driver has no name")
	}
	if b.can.Shared != (b.Another != nil) {
		b.Error("Shared and Another do not agree")
	}
	if err := b.Queue.Ping(b.ctx); err != nil {
		b.Errorf("ping: %v", err)
	}
	if err := b.Queue.Publish(b.ctx, nil); err != nil {
		b.Errorf("publish nothing: %v", err)
	}
}

func everyField(b *bench) {
	want := []fanfare.Task{
		{BatchRef: fanfare.BatchRef{Message: 1, Slot: 0, Batch: 0}, Generation: 1, Provider: mail, Priority: fanfare.PriorityHigh},
		{BatchRef: fanfare.BatchRef{Message: math.MaxInt64, Slot: math.MaxUint16, Batch: math.MaxUint32}, Generation: math.MaxInt64, Provider: mail, Priority: fanfare.PriorityNormal},
		{BatchRef: fanfare.BatchRef{Message: 1 << 40, Slot: 300, Batch: 70_000}, Generation: 1 << 33, Provider: mail, Priority: fanfare.PriorityLow},
	}
	b.sameTasks(b.arrive(b.subscribe(mail), want...), want)
}

func providersApart(b *bench) {
	mine, other := tasks(fanfare.PriorityNormal, 0, 10), tasks(fanfare.PriorityNormal, 100, 10)
	for i := range other {
		other[i].Provider = "other"
	}
	a, o := b.subscribe(mail), b.subscribe("other")
	b.publish(mine...)
	b.sameTasks(b.arrive(o, other...), other)
	b.sameTasks(b.collect(a, mine), mine)
}

// namesOfAnyKind: names are any Unicode, and whatever separates things on a broker may be part of them.
func namesOfAnyKind(b *bench) {
	names := []string{"邮件 主", "a.b", "a.*", "a.>", "a/b", "A", "a", "a b", "a%b", "a:b", "a-b", "a_b", "#", "é", "e\u0301", "$JS.API.>", "amq.a",
		"__consumer_offsets", "mail-high", strings.Repeat("x", 200), strings.Repeat("x", 199) + "y", strings.Repeat("邮", 66)}
	for i, name := range names {
		want := tasks(fanfare.PriorityNormal, i, 1)
		want[0].Provider = name
		b.sameTasks(b.arrive(b.subscribe(name), want...), want)
	}
}

func inOrder(b *bench) {
	s := b.subscribe(mail)
	want := tasks(fanfare.PriorityNormal, 0, 500)
	got := b.arrive(s, want...)
	if b.can.Ordered && !slices.Equal(got, want) {
		b.Fatalf("not in the order of publishing: %v", got)
	}
	b.sameTasks(got, want)
}

func prioritiesFirst(b *bench) {
	low, normal, high := tasks(fanfare.PriorityLow, 0, 20), tasks(fanfare.PriorityNormal, 100, 20), tasks(fanfare.PriorityHigh, 200, 20)
	all := slices.Concat(low, normal, high)
	b.publish(all...)
	got := b.collect(b.subscribe(mail), all)
	b.sameTasks(got, all)
	if n := count(got[:10], fanfare.PriorityHigh); b.can.Priorities && n < 5 {
		b.Fatalf("%d of the first ten are of high priority, wanted six or so: %v", n, got)
	}
}

func lowDoesNotStarve(b *bench) {
	low, high := tasks(fanfare.PriorityLow, 0, 20), tasks(fanfare.PriorityHigh, 200, 100)
	all := slices.Concat(high, low)
	b.publish(all...)
	got := b.collect(b.subscribe(mail), all)
	b.sameTasks(got, all)
	if n := count(got[:60], fanfare.PriorityLow); b.can.Priorities && n == 0 {
		b.Fatalf("none of the first sixty is of low priority: %v", got)
	}
}

func count(tasks []fanfare.Task, p fanfare.Priority) (n int) {
	for _, t := range tasks {
		if t.Priority == p {
			n++
		}
	}
	return n
}

func most(b *bench) {
	s := b.subscribe(mail)
	want := tasks(fanfare.PriorityNormal, 0, 10)
	b.publish(want...)
	missing := make(map[fanfare.Task]struct{}, len(want))
	for _, t := range want {
		missing[t] = struct{}{}
	}
	for len(missing) > 0 {
		got := b.some(s, 3, missing)
		if len(got) > 3 {
			b.Fatalf("%d came where at most 3 were wanted", len(got))
		}
		for _, d := range got {
			delete(missing, d.Task())
			b.ack(d)
		}
	}
}

func twoShare(b *bench) {
	one, two := b.subscribe(mail), b.subscribe(mail)
	b.share(one, two)
}

// share has two subscriptions take everything; each task comes to one of them.
func (b *bench) share(one, two fanfare.Subscription) {
	b.Helper()
	want := tasks(fanfare.PriorityNormal, 0, 200)
	missing := make(map[fanfare.Task]struct{}, len(want))
	for _, t := range want {
		missing[t] = struct{}{}
	}
	b.publish(want...)
	came := make(chan fanfare.Task)
	stop := b.receiveInto(came, one, two)
	for len(missing) > 0 {
		t, ok := b.await(came, missing)
		if !ok {
			continue
		}
		if _, first := missing[t]; !first && !b.can.Doubles && !b.can.Lossy {
			b.Fatalf("%v came twice", t)
		}
		delete(missing, t)
	}
	stop()
}
