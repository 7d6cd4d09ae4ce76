package sqlite_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"fanfare"
	"fanfare/stores/sqlite"
)

// TestWhoLooksAtOnce: many look for one recipient each while others come. Everybody finds who they look for, and whom they had created before they looked.
func TestWhoLooksAtOnce(t *testing.T) {
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "f.db"), sqlite.Options{Slots: 3})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 6 {
				id := fmt.Sprintf("u-%d-%d", g, i)
				s := fanfare.SlotOf(id, 3)
				if seqs, err := st.Resolve(t.Context(), s, []string{id}); err != nil || seqs[0] != -1 {
					t.Errorf("%s before: %v, %v", id, seqs, err)
				}
				made, err := st.Upsert(t.Context(), s, []fanfare.RecipientChange{{ExternalID: id}}, fanfare.UpsertOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				if seqs, err := st.Resolve(t.Context(), s, []string{id}); err != nil || seqs[0] != int64(made[0].Seq) {
					t.Errorf("%s: %v, %v; want %d", id, seqs, err, made[0].Seq)
				}
			}
		})
	}
	wg.Wait()
	if _, err := st.Resolve(t.Context(), 3, []string{"u"}); !errors.Is(err, fanfare.ErrUsage) {
		t.Errorf("another slot: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Resolve(t.Context(), 1, []string{"u"}); !errors.Is(err, fanfare.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
