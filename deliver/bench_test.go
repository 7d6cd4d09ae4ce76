package deliver_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"fanfare"
	"fanfare/channels/null"
	"fanfare/deliver"
	"fanfare/plan"
	queue "fanfare/queues/memory"
	store "fanfare/stores/memory"
)

// BenchmarkNode sends to 200,000 people over the model in memory: what the planner, the queue and the node cost without a database.
func BenchmarkNode(b *testing.B) {
	for _, chunk := range []int{500, 8} {
		b.Run(time.Duration(chunk).String(), func(b *testing.B) {
			for b.Loop() {
				benchNode(b, chunk)
			}
			b.ReportMetric(200_000*float64(b.N)/b.Elapsed().Seconds(), "people/s")
		})
	}
}

func benchNode(b *testing.B, chunk int) {
	b.Helper()
	s := store.Open(store.Config{Slots: 4})
	for n := range 4 {
		if err := s.Number(b.Context(), fanfare.Slot(n), 50_000); err != nil {
			b.Fatal(err)
		}
	}
	q := queue.New()
	ctx, cancel := context.WithCancel(b.Context())
	var node *deliver.Node
	planner := plan.New(plan.Config{Store: s, Queue: q, Node: "one", Free: func() map[string]int { return node.Free() }})
	node = deliver.New(deliver.Config{Store: s, Queue: q, Owner: fanfare.Owner{Node: "one", Incarnation: 1}, Key: []byte("key"), Nudge: planner.Wake,
		Lanes: func(context.Context) ([]deliver.Lane, error) {
			return []deliver.Lane{{Name: "null", Provider: fanfare.Provider{Name: "null", URL: "null:", Chunk: chunk, Connections: 32}, Channel: null.New()}}, nil
		}})
	m := fanfare.Message{ID: "m1", Channel: fanfare.ChannelNull, Audience: json.RawMessage(`{"all":true}`), Revision: 1, Topic: "general",
		State: fanfare.State{Phase: fanfare.PhasePreparing, Generation: 1}, Uncertain: fanfare.PolicyResend, Dedupe: fanfare.DedupeRecipient}
	if err := s.Update(ctx, func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) }); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- planner.Run(ctx) }()
	go func() { ended <- node.Run(ctx) }()
	for m.Phase != fanfare.PhaseCompleted {
		time.Sleep(time.Millisecond) // synctest has no place in a benchmark
		if err := s.View(ctx, func(v fanfare.ControlView) (err error) {
			m, err = v.Message(m.ID)
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
	}
}
