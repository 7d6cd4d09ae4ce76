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
