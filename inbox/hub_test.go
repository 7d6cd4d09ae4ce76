package inbox

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/set"
	"fanfare/stores/memory"
)

// news waits until a follower is woken, and gives what it is told.
func news(t *testing.T, f *Follower) (ids []fanfare.MessageID, n News) {
	t.Helper()
	select {
	case <-f.C:
	case <-time.After(time.Minute):
		t.Fatal("nobody was woken")
	}
	n, err := f.News(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range n.Items {
		ids = append(ids, n.Items[i].Message)
	}
	return ids, n
}

// told waits until a follower is told of a message.
func told(t *testing.T, f *Follower) (ids []fanfare.MessageID, n News) {
	t.Helper()
	for len(ids) == 0 {
		ids, n = news(t, f)
	}
	return ids, n
}

// silent wants that a follower is not woken any more once what was going on is over.
func silent(t *testing.T, f *Follower) {
	t.Helper()
	time.Sleep(3 * allEvery)
	select {
	case <-f.C:
	default:
	}
	select {
	case <-f.C:
		t.Error("woken without a reason")
	case <-time.After(10 * time.Second):
	}
}

// TestFollowers: who is there is told of what comes and of their own marks alone, once, and after a break goes on where they were.
func TestFollowers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		w := &world{ctx: ctx, now: time.Now()} // on the bubble's clock, which the hub reads too
		w.store = Watch(memory.Open(memory.Config{Slots: 2}))
		w.reader = New(Config{Store: w.store, Compile: func(m *fanfare.Message) (Content, error) { return plain{m.Content.Title}, nil }})
		for s := range fanfare.Slot(2) {
			w.must(t, w.store.Number(ctx, s, people))
		}
		pass := func() {
			time.Sleep(time.Second)
			w.now = time.Now()
		}
		hub := NewHub(w.reader)
		done := make(chan struct{})
		go func() { defer close(done); _ = hub.Run(ctx) }()
		defer func() { stop(); <-done }()
		ada, bob := fanfare.Person{Slot: 0, Seq: 5}, fanfare.Person{Slot: 1, Seq: 69_000}
		send := func(to ...fanfare.Person) *mail {
			pass()
			planned := [2]*set.Set{set.New(), set.New()}
			for _, p := range to {
				planned[p.Slot].Add(p.Seq)
			}
			m := w.send(t, planned, 0)
			pass()
			for s := range fanfare.Slot(2) {
				w.deliver(t, m, s)
			}
			return m
		}
		old := send(ada, bob)
		a, b := hub.Follow(ada, ""), hub.Follow(bob, "")
		for _, f := range []*Follower{a, b} {
			if ids, n := news(t, f); len(ids) != 0 || !n.Changed || n.Counts != (Counts{1, 1, 1}) {
				t.Errorf("at first: %v %+v", ids, n)
			}
		}
		silent(t, a) // the hub's first look, apart
		silent(t, b)
		first := send(ada)
		ids, n := told(t, a)
		if !slices.Equal(ids, []fanfare.MessageID{first.ID}) || n.Counts.Unread != 2 || string(n.Items[0].Content) == "" {
			t.Errorf("%v %+v", ids, n)
		}
		last := n.Last[0]
		if ids, n := news(t, b); len(ids) != 0 || n.Changed {
			t.Errorf("of another's message: %v %+v", ids, n)
		}
		silent(t, b)
		silent(t, a)
		if err := w.reader.Mark(ctx, ada, old.ID, fanfare.ReceiptRead); err != nil {
			t.Fatal(err)
		}
		if ids, n := news(t, a); len(ids) != 0 || !n.Changed || n.Counts.Unread != 1 {
			t.Errorf("after a mark: %v %+v", ids, n)
		}
		silent(t, b)
		a.Close()
		second, third := send(ada), send(ada, bob)
		a = hub.Follow(ada, last)
		if ids, _ := told(t, a); !slices.Equal(ids, []fanfare.MessageID{second.ID, third.ID}) {
			t.Errorf("after a break: %v", ids)
		}
		late := w.send(t, [2]*set.Set{set.Of(ada.Seq), set.New()}, 0) // starts first, and comes last
		fourth := send(ada)
		ids, _ = told(t, a)
		if !slices.Equal(ids, []fanfare.MessageID{fourth.ID}) {
			t.Errorf("%v", ids)
		}
		pass()
		w.deliver(t, late, 0)
		ids, _ = told(t, a)
		if !slices.Equal(ids, []fanfare.MessageID{late.ID}) {
			t.Errorf("a late one: %v", ids)
		}
		b.Close()
		a.Close()
		a.Close()
		if hub.Followers() != 0 || hub.Of(ada) != 0 || len(hub.followers) != 0 {
			t.Errorf("%d followers are left", hub.Followers())
		}
	})
}

// TestLastIsReadAgain, and what is none begins anew.
func TestLastIsReadAgain(t *testing.T) {
	it := &Item{Message: "msg_1.x", SentAt: time.Date(2026, 5, 1, 12, 0, 0, 1000, time.UTC)}
	if since, told := parseLast(lastOf(it)); !since.Equal(it.SentAt) || len(told) != 1 || told[0] != it.Message {
		t.Errorf("%v %v", since, told)
	}
	for _, last := range []string{"", "x", ".", "-1.m", "zzzzzzzzzzzzzzzzzzzz.m", "é.m", "0.m"} {
		if since, told := parseLast(last); !since.IsZero() || told != nil {
			t.Errorf("%q: %v %v", last, since, told)
		}
	}
}
