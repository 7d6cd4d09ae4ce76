package sqlite_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"fanfare"
	"fanfare/set"
	"fanfare/stores/sqlite"
)

// TestADamagedLogKeepsNothingElseFromBeingWritten: receipts say what is damaged, whoever shares their transaction does not suffer.
func TestADamagedLogKeepsNothingElseFromBeingWritten(t *testing.T) {
	f := &file{name: filepath.Join(t.TempDir(), "fanfare.db"), o: sqlite.Options{Slots: 2}}
	s := f.open(t)
	mark := []fanfare.Receipt{{Message: 1, Person: fanfare.Person{Seq: 5}, Kind: fanfare.ReceiptRead}}
	if _, err := s.LogReceipts(t.Context(), 0, mark); err != nil {
		t.Fatal(err)
	}
	s = f.reopen(t)
	behind(t, f.name, "UPDATE log SET entries = CAST(replace(entries, x'01', x'02') AS BLOB)")
	for round := range 20 {
		done := make(chan error, 1)
		go func() {
			_, _, err := s.ChangeSet(t.Context(), 0, fanfare.ListSet(1), set.Of(uint32(round)), nil) //nolint:gosec // small
			done <- err
		}()
		if _, err := s.LogReceipts(t.Context(), 0, mark); !errors.Is(err, fanfare.ErrDamaged) || !strings.Contains(err.Error(), "log row") {
			t.Errorf("a receipt: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("a list: %v", err)
		}
	}
	_, set := s.ReceiptSet(t.Context(), 1, 0, fanfare.ReceiptRead)
	_, fold := s.Fold(t.Context(), 0)
	if !errors.Is(set, fanfare.ErrDamaged) || !errors.Is(fold, fanfare.ErrDamaged) {
		t.Errorf("the set: %v; folding: %v", set, fold)
	}
	if err := s.Forget(t.Context(), 0, 1); err != nil {
		t.Errorf("forgetting: %v", err)
	}
	found, err := s.Check(t.Context())
	if err != nil || len(found) != 1 || !strings.Contains(found[0], "log row") {
		t.Errorf("check finds %q (%v)", found, err)
	}
}

// TestWhatCannotBeFoldedStaysInTheLog: a row that is damaged takes no part; the others do, and nothing is lost of either.
func TestWhatCannotBeFoldedStaysInTheLog(t *testing.T) {
	f := &file{name: filepath.Join(t.TempDir(), "fanfare.db"), o: sqlite.Options{Slots: 2}}
	s := f.open(t)
	mark := func(slot fanfare.Slot, seq fanfare.Seq) {
		t.Helper()
		if got, err := s.LogReceipts(t.Context(), 0, []fanfare.Receipt{{Message: 1, Person: fanfare.Person{Slot: slot, Seq: seq}, Kind: fanfare.ReceiptDelivered}}); err != nil || got[0] != fanfare.LoggedNew {
			t.Fatalf("%v (%v)", got, err)
		}
	}
	fold := func() (err error) {
		for more := true; more && err == nil; {
			more, err = s.Fold(t.Context(), 0)
		}
		return err
	}
	mark(0, 5)
	mark(1, 5)
	if err := fold(); err != nil {
		t.Fatal(err)
	}
	mark(0, 6)
	mark(1, 6)
	const crc = "UPDATE receipt_sets SET crc = crc + ? WHERE slot = 0"
	behind(t, f.name, crc, 1)
	if err := fold(); !errors.Is(err, fanfare.ErrDamaged) || !strings.Contains(err.Error(), "receipt_sets row (message 1, slot 0, kind delivered, chunk 0)") {
		t.Errorf("folding: %v", err)
	}
	s = f.reopen(t)
	behind(t, f.name, crc, -1) // somebody brought the row back
	if err := fold(); err != nil {
		t.Error(err)
	}
	for slot := range fanfare.Slot(2) {
		if got, err := s.ReceiptSet(t.Context(), 1, slot, fanfare.ReceiptDelivered); err != nil || !got.Equal(set.Of(5, 6)) {
			t.Errorf("slot %d: %v (%v)", slot, got, err)
		}
	}
	if n, err := s.Unfolded(t.Context(), 0); err != nil || n != 0 {
		t.Errorf("%d facts are left in the log (%v)", n, err)
	}
}
