package sharded_test

import (
	"database/sql"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"fanfare"
	"fanfare/stores/memory"
	"fanfare/stores/sharded"
	"fanfare/stores/sqlite"
	"fanfare/stores/storetest"
)

const shards = 3

// files are databases under test and the store that was opened on them.
type files struct {
	names []string
	o     sqlite.Options
	now   fanfare.Store
}

func newFiles(t *testing.T, o storetest.Options) *files {
	f := &files{o: sqlite.Options{Slots: o.Slots, Clock: o.Clock}}
	dir := t.TempDir()
	for i := range shards {
		f.names = append(f.names, filepath.Join(dir, fmt.Sprintf("shard%d.db", i)))
	}
	return f
}

// template is files that were made once: to make them costs more than most of what is tried with them.
func template(t *testing.T) func(t *testing.T, o storetest.Options) *files {
	made := sync.OnceValue(func() *files {
		f := newFiles(t, storetest.Options{Slots: 4})
		if err := f.open(t).Close(); err != nil {
			t.Fatal(err)
		}
		return f
	})
	return func(t *testing.T, o storetest.Options) *files {
		f := newFiles(t, o)
		for i, name := range f.names {
			duplicate(t, made().names[i], name)
		}
		if err := f.open(t).Adopt(t.Context()); err != nil { // a copy lies elsewhere
			t.Fatal(err)
		}
		return f
	}
}

func (f *files) open(t *testing.T) fanfare.Store {
	t.Helper()
	var all []fanfare.Shard
	for _, name := range f.names {
		s, err := sqlite.Open(t.Context(), name, f.o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() }) // a test may have closed it
		all = append(all, s)
	}
	s, err := sharded.Open(t.Context(), all, sharded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f.now = s
	return s
}

func (f *files) reopen(t *testing.T) fanfare.Store {
	t.Helper()
	if err := f.now.Close(); err != nil {
		t.Fatal(err)
	}
	return f.open(t)
}

// crash opens what a killed process would leave: the files as they are now.
func (f *files) crash(t *testing.T) fanfare.Store {
	t.Helper()
	dir := t.TempDir()
	for i, name := range f.names {
		f.names[i] = filepath.Join(dir, fmt.Sprintf("shard%d.db", i))
		for _, part := range []string{"", "-wal"} {
			duplicate(t, name+part, f.names[i]+part)
		}
	}
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

// behind runs a statement in the files behind the store's back; one of them has what is meant.
func (f *files) behind(t *testing.T, statement string, args ...any) {
	t.Helper()
	sum := int64(0)
	for _, name := range f.names {
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
		sum += n
	}
	if sum == 0 {
		t.Fatal("there is nothing to damage")
	}
}

func openFiles(t *testing.T) storetest.Open {
	fresh := template(t)
	return func(t *testing.T, o storetest.Options) storetest.Backend { return fresh(t, o).backend() }
}

func (f *files) backend() storetest.Backend {
	return storetest.Backend{
		Store: f.now, Reopen: f.reopen, Crash: f.crash,
		Damage: func(t *testing.T, m fanfare.MessageNum, s fanfare.Slot, p fanfare.Part) {
			f.behind(t, "UPDATE audiences SET members = CAST(replace(members, x'01', x'02') AS BLOB), crc = crc + 1 WHERE message = ? AND slot = ? AND part = ?", int64(m), int64(s), string(p))
		},
		Another: func(t *testing.T) fanfare.Store { return (&files{names: f.names, o: f.o}).open(t) },
		DamageReceipts: func(t *testing.T, m fanfare.MessageNum, s fanfare.Slot, k fanfare.ReceiptKind, chunk uint16) {
			f.behind(t, "UPDATE receipt_sets SET crc = crc + 1 WHERE message = ? AND slot = ? AND kind = ? AND chunk = ?", int64(m), int64(s), int64(k), int64(chunk))
		},
		DamageBatch: func(t *testing.T, r fanfare.BatchRef) {
			f.behind(t, "UPDATE batches SET pending = x'ffffffffff' WHERE message = ? AND slot = ? AND batch = ?", int64(r.Message), int64(r.Slot), int64(r.Batch))
		},
	}
}

func openModels(t *testing.T, o storetest.Options) storetest.Backend {
	var all []fanfare.Shard
	for range shards {
		all = append(all, memory.Open(memory.Config{Slots: o.Slots, Now: o.Clock}))
	}
	s, err := sharded.Open(t.Context(), all, sharded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return storetest.Backend{Store: s}
}

func model(_ *testing.T, o storetest.Options) storetest.Backend {
	return storetest.Backend{Store: memory.Open(memory.Config{Slots: o.Slots, Now: o.Clock})}
}

func TestModels(t *testing.T) {
	t.Parallel()
	storetest.Run(t, openModels)
}

func TestFiles(t *testing.T) {
	t.Parallel()
	storetest.Run(t, openFiles(t))
}

// tries has rapid make fewer tries than it would.
func tries(t *testing.T, n string) {
	t.Helper()
	checks := flag.Lookup("rapid.checks").Value
	was := checks.String()
	if err := checks.Set(n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = checks.Set(was) }) // it was set to that
}

func TestCompareModels(t *testing.T) {
	tries(t, "50")
	storetest.Compare(t, model, openModels)
}

func TestCompareFiles(t *testing.T) {
	tries(t, "10") // what the wrapper does itself is tried more often on models
	storetest.Compare(t, model, openFiles(t))
}
