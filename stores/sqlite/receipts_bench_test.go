package sqlite_test

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"fanfare"
	"fanfare/stores/sqlite"
)

// BenchmarkLogReceipts: single read marks by 64 at once, of a message in 16 slots.
func BenchmarkLogReceipts(b *testing.B) {
	s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "fanfare.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // over
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range 64 {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(b.N) {
					return
				}
				r := fanfare.Receipt{Message: 1, Person: fanfare.Person{Slot: fanfare.Slot(i % 16), Seq: uint32(i * 7919 % 600_000)}, Kind: fanfare.ReceiptRead} //nolint:gosec // small
				if _, err := s.LogReceipts(b.Context(), 0, []fanfare.Receipt{r}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkFold: one mark in each of 160 rows of 65,536 who have read.
func BenchmarkFold(b *testing.B) {
	s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "fanfare.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // over
	const chunks = 10
	mark := func(slot fanfare.Slot, from, to, step uint32) {
		var these []fanfare.Receipt
		for seq := from; seq < to; seq += step {
			these = append(these, fanfare.Receipt{Message: 1, Person: fanfare.Person{Slot: slot, Seq: seq}, Kind: fanfare.ReceiptDelivered})
		}
		if _, err := s.LogReceipts(b.Context(), 0, these); err != nil {
			b.Fatal(err)
		}
	}
	fold := func() {
		for more := true; more; {
			if more, err = s.Fold(b.Context(), 0); err != nil {
				b.Fatal(err)
			}
		}
	}
	for slot := range fanfare.Slot(16) {
		for c := range uint32(chunks) {
			mark(slot, c<<16, (c+1)<<16-1000, 1)
		}
		fold()
	}
	b.ResetTimer()
	for i := range b.N {
		b.StopTimer()
		for slot := range fanfare.Slot(16) {
			mark(slot, 65_000+uint32(i%500), chunks<<16, 1<<16) //nolint:gosec // small
		}
		b.StartTimer()
		fold()
	}
}
