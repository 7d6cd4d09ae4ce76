package memory_test

import (
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/queues/memory"
	"fanfare/queues/queuetest"
)

func TestQueue(t *testing.T) {
	queuetest.Run(t, func(*testing.T) queuetest.Backend { return queuetest.Backend{Queue: memory.New()} })
}

func TestSharesAreSixToThreeToOne(t *testing.T) {
	q := memory.New()
	var all []fanfare.Task
	for i, p := range []fanfare.Priority{fanfare.PriorityLow, fanfare.PriorityNormal, fanfare.PriorityHigh} {
		for n := range 100 {
			all = append(all, fanfare.Task{BatchRef: fanfare.BatchRef{Message: fanfare.MessageNum(i), Batch: fanfare.BatchNo(n)}, Provider: "p", Priority: p})
		}
	}
	if err := q.Publish(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	s, err := q.Subscribe(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Receive(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	share := make(map[fanfare.Priority]int)
	for _, d := range got {
		share[d.Task().Priority]++
	}
	if share[fanfare.PriorityHigh] != 60 || share[fanfare.PriorityNormal] != 30 || share[fanfare.PriorityLow] != 10 {
		t.Errorf("of the first hundred: %v", share)
	}
}

func TestDelayIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := memory.New()
		task := fanfare.Task{Provider: "p"}
		if err := q.Publish(t.Context(), []fanfare.Task{task}); err != nil {
			t.Fatal(err)
		}
		s, err := q.Subscribe(t.Context(), "p")
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Receive(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		if err := got[0].Return(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Receive(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(before); waited != time.Hour {
			t.Errorf("came after %v", waited)
		}
	})
}

func BenchmarkTask(b *testing.B) {
	q := memory.New()
	s, err := q.Subscribe(b.Context(), "p")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := q.Publish(b.Context(), []fanfare.Task{{Provider: "p"}}); err != nil {
			b.Fatal(err)
		}
		got, err := s.Receive(b.Context(), 8)
		if err != nil {
			b.Fatal(err)
		}
		for _, d := range got {
			if err := d.Ack(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
}
