package deliver_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/channels/null"
	"fanfare/deliver"
	"fanfare/plan"
	queue "fanfare/queues/memory"
	store "fanfare/stores/memory"
)

// watchedRates counts what the store grants, by name and window, and how often it is asked.
type watchedRates struct {
	fanfare.Store
	mu      sync.Mutex
	granted map[string]map[int64]int
	asked   map[string]map[int64]int // by node and window
}

type nodesRates struct {
	*watchedRates
	name string
}

type ratesTx struct {
	fanfare.ControlTx
	of *nodesRates
}

func (n *nodesRates) Update(ctx context.Context, fn func(fanfare.ControlTx) error) error {
	return n.Store.Update(ctx, func(tx fanfare.ControlTx) error { return fn(&ratesTx{tx, n}) })
}

func (x *ratesTx) ReservePermits(name string, rate float64, want int) (int64, int, error) {
	w, n, err := x.ControlTx.ReservePermits(name, rate, want)
	r := x.of
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range []struct {
		of map[string]map[int64]int
		k  string
		by int
	}{{r.granted, name, n}, {r.asked, r.name + " " + name, 1}} {
		if m.of[m.k] == nil {
			m.of[m.k] = make(map[int64]int)
		}
		m.of[m.k][w] += m.by
	}
	return w, n, err
}

// TestNodesShareARate: nodes whose clocks are minutes apart, one of them slow, come and go: a window never grants more than it has, a node asks a few times
// a second and not for each send, and together they send as fast as the rate allows.
func TestNodesShareARate(t *testing.T) {
	for _, whose := range []string{"provider", "message"} {
		t.Run(whose, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { shareRate(t, whose) })
		})
	}
}

func shareRate(t *testing.T, whose string) {
	const rate, people = 300, 12_000
	began := time.Now()
	p := &place{t: t, store: store.Open(store.Config{Slots: 2})}
	for s := range fanfare.Slot(2) {
		if err := p.store.Number(t.Context(), s, people/2); err != nil {
			t.Fatal(err)
		}
	}
	rates := &watchedRates{Store: p.store, granted: map[string]map[int64]int{}, asked: map[string]map[int64]int{}}
	q := queue.New()
	provider := fanfare.Provider{Name: "null", URL: "null:", Chunk: 8, Connections: 4}
	if whose == "provider" {
		provider.Rate = rate
	}
	var stops []func()
	node := func(name string, ahead time.Duration) {
		n := deliver.New(deliver.Config{Store: &nodesRates{rates, name}, Queue: q, Owner: fanfare.Owner{Node: name, Incarnation: 1}, Key: []byte("key"),
			Lanes: func(context.Context) ([]deliver.Lane, error) {
				return []deliver.Lane{{Name: "null", Provider: provider, Channel: null.New()}}, nil
			}, Now: func() deliver.Instant { return deliver.Instant(time.Since(began) + ahead) }})
		p.node = n
		stops = append(stops, running(t, n.Run))
	}
	node("a", time.Hour)
	node("b", time.Hour+time.Minute)
	stopPlan := running(t, plan.New(plan.Config{Store: p.store, Queue: q, Node: "p"}).Run)
	id := p.message(func(m *fanfare.Message) {
		if whose == "message" {
			m.Rate = rate
		}
	})
	p.until("the first is sent", func() bool { return p.tally(id).Sent > 0 })
	from, sent := time.Now(), p.tally(id).Sent
	time.Sleep(5 * time.Second) // in the bubble of synctest, as below
	stops[0]()
	node("c", 2*time.Minute)
	time.Sleep(5 * time.Second)
	stops[1]()
	node("d", 24*time.Hour)
	time.Sleep(10 * time.Second)
	reached := float64(p.tally(id).Sent-sent) / time.Since(from).Seconds()
	stopPlan()
	stops[2]()
	stops[3]()
	_ = q.Close()
	if reached > rate*1.02 || reached < rate*0.9 {
		t.Errorf("%.0f a second, the rate is %d", reached, rate)
	}
	for name, windows := range rates.granted {
		for w, n := range windows {
			if n > fanfare.Permits(w, rate) {
				t.Errorf("%s: window %d granted %d", name, w, n)
			}
		}
	}
	for who, windows := range rates.asked {
		total, most := 0, 0
		for _, n := range windows {
			total, most = total+n, max(most, n)
		}
		if total > 2*len(windows) {
			t.Errorf("%s asked %d times in %d windows, %d in one", who, total, len(windows), most)
		}
	}
	if len(rates.granted) != 1 || len(rates.asked) != 4 {
		t.Errorf("%d rates were asked for by %d nodes", len(rates.granted), len(rates.asked))
	}
}

// running runs something and gives what stops it.
func running(t *testing.T, run func(context.Context) error) func() {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
