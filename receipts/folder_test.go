package receipts_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/receipts"
	"fanfare/stores/memory"
)

func TestTheLogIsFoldedWithinAMinuteAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.Open(memory.Config{Slots: 4, Shards: 2})
		mark := func(seq fanfare.Seq) {
			for shard := range 2 {
				r := fanfare.Receipt{Message: 1, Person: fanfare.Person{Slot: fanfare.Slot(shard), Seq: seq}, Kind: fanfare.ReceiptRead} //nolint:gosec // small
				if _, err := s.LogReceipts(t.Context(), shard, []fanfare.Receipt{r}); err != nil {
					t.Fatal(err)
				}
			}
		}
		unfolded := func() (sum int) {
			for shard := range 2 {
				n, err := s.Unfolded(t.Context(), shard)
				if err != nil {
					t.Fatal(err)
				}
				sum += n
			}
			return sum
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- (&receipts.Folder{Store: s, Node: "n1", Logger: slog.New(slog.DiscardHandler)}).Run(ctx)
		}()
		mark(1)
		time.Sleep(time.Second)
		if n := unfolded(); n != 4 {
			t.Errorf("%d facts lie in the log", n)
		}
		time.Sleep(58 * time.Second)
		if n := unfolded(); n != 0 {
			t.Errorf("after a minute %d facts lie in the log", n)
		}
		mark(2)
		stop()
		if err := <-ended; err != nil || unfolded() != 0 {
			t.Errorf("at the end %d facts lie in the log (%v)", unfolded(), err)
		}
	})
}
