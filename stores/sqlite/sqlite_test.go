package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"fanfare"
	"fanfare/stores/memory"
	"fanfare/stores/sqlite"
	"fanfare/stores/storetest"
)

// file is one database under test and the stores that were opened on it.
type file struct {
	name string
	o    sqlite.Options
	now  fanfare.Store
}

func (f *file) open(t *testing.T) fanfare.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), f.name, f.o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // a test may have closed it
	f.now = s
	return s
}

// reopen stops cleanly and opens again.
func (f *file) reopen(t *testing.T) fanfare.Store {
	t.Helper()
	if err := f.now.Close(); err != nil {
		t.Fatal(err)
	}
	for _, beside := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(f.name + beside); !os.IsNotExist(err) {
			t.Errorf("%s%s is there after a clean stop (%v)", f.name, beside, err)
		}
	}
	return f.open(t)
}

// crash opens what a killed process would leave: the files as they are now.
func (f *file) crash(t *testing.T) fanfare.Store {
	t.Helper()
	left := &file{name: filepath.Join(t.TempDir(), "left.db"), o: f.o}
	for _, part := range []string{"", "-wal"} {
		duplicate(t, f.name+part, left.name+part)
	}
	f.name, f.now = left.name, nil
	return f.open(t)
}

func duplicate(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // only read
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// behind runs a statement in the file behind the store's back.
func behind(t *testing.T, name, statement string, args ...any) int64 {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+name+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // the statement is committed
	r, err := db.ExecContext(t.Context(), statement, args...)
	if err != nil {
		t.Fatal(err)
	}
	n, err := r.RowsAffected()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func open(t *testing.T, o storetest.Options) storetest.Backend {
	f := &file{name: filepath.Join(t.TempDir(), "fanfare.db"), o: sqlite.Options{Slots: o.Slots, Clock: o.Clock}}
	return storetest.Backend{
		Store:  f.open(t),
		Reopen: f.reopen,
		Crash:  f.crash,
		Restore: func(t *testing.T, name string) fanfare.Store {
			return (&file{name: name, o: f.o}).open(t)
		},
		Damage: func(t *testing.T, m fanfare.MessageNum, s fanfare.Slot, p fanfare.Part) {
			if n := behind(t, f.name, "UPDATE audiences SET members = CAST(replace(members, x'01', x'02') AS BLOB), crc = crc + 1 WHERE message = ? AND slot = ? AND part = ?",
				int64(m), int64(s), string(p)); n == 0 {
				t.Fatal("there is nothing to damage")
			}
		},
		Another: func(t *testing.T) fanfare.Store { return (&file{name: f.name, o: f.o}).open(t) },
		DamageReceipts: func(t *testing.T, m fanfare.MessageNum, s fanfare.Slot, k fanfare.ReceiptKind, chunk uint16) {
			if n := behind(t, f.name, "UPDATE receipt_sets SET crc = crc + 1 WHERE message = ? AND slot = ? AND kind = ? AND chunk = ?", int64(m), int64(s), int64(k), int64(chunk)); n == 0 {
				t.Fatal("there is nothing to damage")
			}
		},
		DamageBatch: func(t *testing.T, r fanfare.BatchRef) {
			if n := behind(t, f.name, "UPDATE batches SET pending = x'ffffffffff' WHERE message = ? AND slot = ? AND batch = ?", int64(r.Message), int64(r.Slot),
				int64(r.Batch)); n == 0 {
				t.Fatal("there is nothing to damage")
			}
		},
	}
}

func TestStore(t *testing.T) { storetest.Run(t, open) }

func openMemory(_ *testing.T, o storetest.Options) storetest.Backend {
	return storetest.Backend{Store: memory.Open(memory.Config{Slots: o.Slots, Now: o.Clock})}
}

func TestCompare(t *testing.T) { storetest.Compare(t, openMemory, open) }

func ExampleOpen() {
	_, err := sqlite.Open(context.Background(), "no/such/folder/fanfare.db", sqlite.Options{})
	fmt.Println(err)
	// Output: no/such/folder/fanfare.db: not found: there is no folder no/such/folder; make it first
}
