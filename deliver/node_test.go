package deliver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"fanfare"
	"fanfare/channels/null"
	"fanfare/deliver"
	"fanfare/plan"
	queue "fanfare/queues/memory"
	"fanfare/set"
	store "fanfare/stores/memory"
)

// place is one node with its planner, over the models in memory.
type place struct {
	t     *testing.T
	store *store.Store
	node  *deliver.Node
	stop  func() error
}

func start(t *testing.T, people int, provider fanfare.Provider) *place {
	t.Helper()
	p := &place{t: t, store: store.Open(store.Config{Slots: 2})}
	for s := range 2 {
		if err := p.store.Number(t.Context(), fanfare.Slot(s), people/2); err != nil {
			t.Fatal(err)
		}
	}
	q := queue.New()
	ctx, cancel := context.WithCancel(t.Context())
	began := time.Now()
	planner := plan.New(plan.Config{Store: p.store, Queue: q, Node: "one", Free: func() map[string]int { return p.node.Free() }})
	p.node = deliver.New(deliver.Config{Store: p.store, Queue: q, Owner: fanfare.Owner{Node: "one", Incarnation: 1}, Key: []byte("key"), Nudge: planner.Wake,
		Lanes: func(context.Context) ([]deliver.Lane, error) {
			return []deliver.Lane{{Name: "null", Provider: provider, Channel: null.New()}}, nil
		},
		Now: func() deliver.Instant { return deliver.Instant(time.Since(began) + time.Hour) }})
	var wg sync.WaitGroup
	var ended error
	wg.Go(func() { _ = planner.Run(ctx) })
	wg.Go(func() { ended = p.node.Run(ctx) })
	p.stop = func() error {
		cancel()
		wg.Wait()
		_ = q.Close()
		return ended
	}
	return p
}

func (p *place) message(change func(m *fanfare.Message)) fanfare.MessageID {
	p.t.Helper()
	m := fanfare.Message{ID: "m1", Channel: fanfare.ChannelNull, Audience: json.RawMessage(`{"all":true}`), Revision: 1, Topic: "general",
		State: fanfare.State{Phase: fanfare.PhasePreparing, Generation: 1}, Uncertain: fanfare.PolicyResend, Dedupe: fanfare.DedupeRecipient}
	change(&m)
	if err := p.store.Update(p.t.Context(), func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) }); err != nil {
		p.t.Fatal(err)
	}
	p.node.LookNow()
	return m.ID
}

func (p *place) get(id fanfare.MessageID) (m fanfare.Message) {
	p.t.Helper()
	err := p.store.View(p.t.Context(), func(v fanfare.ControlView) (err error) {
		m, err = v.Message(id)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

func (p *place) tally(id fanfare.MessageID) (sum fanfare.Tally) {
	p.t.Helper()
	m := p.get(id)
	for s := range 2 {
		t, err := p.store.Tally(p.t.Context(), m.Num, fanfare.Slot(s))
		if err != nil {
			p.t.Fatal(err)
		}
		sum.Add(t)
	}
	return sum
}

// until lets the bubble's time pass until ok.
func (p *place) until(what string, ok func() bool) {
	p.t.Helper()
	for range 100_000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond) // in the bubble of synctest
	}
	p.t.Fatalf("never: %s", what)
}

func TestNodeSendsToEverybody(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, url := range []string{"null:", "null:?fail=5%&temporary=10%&unknown=5%"} {
		for _, chunk := range []int{500, 8} {
			t.Run(fmt.Sprint(url, chunk), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := start(t, 5000, fanfare.Provider{Name: "null", URL: url, Chunk: chunk, Connections: 4})
					id := p.message(func(*fanfare.Message) {})
					p.until("completed", func() bool { return p.get(id).Phase == fanfare.PhaseCompleted })
					sum := p.tally(id)
					if sum.N != 5000 || !sum.Balanced(5000) || sum.Sent+sum.Failed != 5000 || (sum.Failed > 0) != (url != "null:") || sum.Exceptions[fanfare.ResultPending] > 0 {
						t.Errorf("%+v", sum)
					}
					if err := p.stop(); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

func TestNodeStopsInTheMiddleAndNobodyIsInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 4000, fanfare.Provider{Name: "null", URL: "null:?delay=20ms", Chunk: 8, Connections: 4})
		id := p.message(func(*fanfare.Message) {})
		p.until("some are sent", func() bool { return p.tally(id).Sent > 100 })
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		sum := p.tally(id)
		if sum.Sent == 0 || sum.Sent == 4000 || sum.InFlight > 0 || sum.Doubted > 0 || !sum.Balanced(4000) {
			t.Errorf("%+v", sum)
		}
		live := 0
		for s := range 2 {
			n, _, err := p.store.Claims(t.Context(), p.get(id).Num, fanfare.Slot(s))
			if err != nil {
				t.Fatal(err)
			}
			live += n
		}
		if live > 0 {
			t.Errorf("%d claims were not given up", live)
		}
	})
}

// tardy is a store that takes its time for what it is told.
type tardy struct {
	*store.Store
	hangs *atomic.Bool
}

func (s tardy) Update(ctx context.Context, do func(fanfare.ControlTx) error) error {
	if s.hangs.Load() {
		<-ctx.Done()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(300 * time.Millisecond):
		return s.Store.Update(ctx, do)
	}
}

// TestIdleNodeThatStopsSaysThatItTakesNoMore: with nothing under way it was gone before its last row was written.
func TestIdleNodeThatStopsSaysThatItTakesNoMore(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { stopIdle(t, hangs) })
	}
}

func stopIdle(t *testing.T, hangs bool) {
	s, q, silent := store.Open(store.Config{Slots: 1}), queue.New(), new(atomic.Bool)
	began := time.Now()
	n := deliver.New(deliver.Config{Store: tardy{s, silent}, Queue: q, Owner: fanfare.Owner{Node: "one", Incarnation: 1}, Key: []byte("key"),
		Lanes: func(context.Context) ([]deliver.Lane, error) {
			return []deliver.Lane{{Name: "null", Provider: fanfare.Provider{Name: "null", URL: "null:"}, Channel: null.New()}}, nil
		}, Now: func() deliver.Instant { return deliver.Instant(time.Since(began) + time.Hour) }})
	free := func() (free int) {
		err := s.View(t.Context(), func(v fanfare.ControlView) error {
			nodes, err := v.Nodes()
			for _, n := range nodes {
				free += n.Free["null"]
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return free
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- n.Run(ctx) }()
	time.Sleep(10 * time.Second) // in the bubble of synctest
	if free() == 0 {
		t.Fatal("the node takes nothing")
	}
	stopped := time.Now()
	silent.Store(hangs)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if d := time.Since(stopped); free() != 0 && !hangs || d > 1100*time.Millisecond {
		t.Fatalf("%d claims are free on a node that stopped within %v", free(), d)
	}
	_ = q.Close()
}

func TestNodeKeepsTheRateOfAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 4000, fanfare.Provider{Name: "null", URL: "null:", Chunk: 8, Connections: 4})
		id := p.message(func(m *fanfare.Message) { m.Rate = 50 })
		p.until("the first is sent", func() bool { return p.tally(id).Sent > 0 })
		before := p.tally(id).Sent
		time.Sleep(20 * time.Second) // in the bubble of synctest
		if sent := p.tally(id).Sent - before; sent < 950 || sent > 1020 {
			t.Errorf("%d sent in 20 s at 50 a second", sent)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestNodePausesAndResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 4000, fanfare.Provider{Name: "null", URL: "null:?delay=1ms", Chunk: 8, Connections: 4})
		id := p.message(func(*fanfare.Message) {})
		p.until("some are sent", func() bool { return p.tally(id).Sent > 100 })
		move := func(e fanfare.Event) {
			m, _, err := fanfare.Transition(t.Context(), p.store, id, e, nil)
			if err == nil {
				err = fanfare.SpreadAll(t.Context(), p.store, 2, m)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		move(fanfare.EventPause)
		p.until("paused", func() bool { return p.get(id).Phase == fanfare.PhasePaused })
		sum := p.tally(id)
		if sum.InFlight > 0 || sum.Doubted > 0 || sum.Sent == 4000 || !sum.Balanced(4000) {
			t.Errorf("paused: %+v", sum)
		}
		time.Sleep(3 * time.Second) // in the bubble of synctest
		if again := p.tally(id); again.Sent != sum.Sent {
			t.Errorf("%d were sent while paused", again.Sent-sum.Sent)
		}
		move(fanfare.EventResume)
		p.until("completed", func() bool { return p.get(id).Phase == fanfare.PhaseCompleted })
		if sum := p.tally(id); sum.Sent != 4000 || sum.Doubted > 0 {
			t.Errorf("completed: %+v", sum)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestNodeLeavesOutWhoIsSuppressedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, 2000, fanfare.Provider{Name: "null", URL: "null:", Chunk: 8, Connections: 2})
		id := p.message(func(m *fanfare.Message) { m.Rate = 20 })
		p.until("some are sent", func() bool { return p.tally(id).Sent > 20 })
		for s := range 2 {
			if _, _, err := p.store.ChangeSet(t.Context(), fanfare.Slot(s), fanfare.SuppressionSet(fanfare.ChannelNull, "general", fanfare.ReasonUnsubscribed), set.Range(0, 1000), nil); err != nil {
				t.Fatal(err)
			}
		}
		sent := p.tally(id).Sent
		p.until("completed", func() bool { return p.get(id).Phase == fanfare.PhaseCompleted })
		if sum := p.tally(id); sum.Sent+sum.Skipped != 2000 || sum.Sent > sent+16 || !sum.Balanced(2000) {
			t.Errorf("%d were sent before all unsubscribed; at the end %+v", sent, sum)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}
