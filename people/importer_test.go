package people_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/people"
	"fanfare/stores/memory"
)

// interrupted is a store whose upserts fail from the k-th on, as if the process had been killed there.
type interrupted struct {
	people.Store
	left atomic.Int64
}

// goOn says whether the process still lives.
func (s *interrupted) goOn() bool { return s.left.Load() > 0 }

var errKilled = errors.New("killed")

func (s *interrupted) Upsert(ctx context.Context, slot fanfare.Slot, c []fanfare.RecipientChange, o fanfare.UpsertOptions) ([]fanfare.Upserted, error) {
	if s.left.Add(-1) < 0 {
		return nil, errKilled
	}
	return s.Store.Upsert(ctx, slot, c, o)
}

func (s *interrupted) Update(ctx context.Context, fn func(fanfare.ControlTx) error) error {
	if !s.goOn() {
		return errKilled
	}
	return s.Store.Update(ctx, fn)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func file(rows int) string {
	var b strings.Builder
	b.WriteString("id,email,level\n")
	for i := range rows {
		fmt.Fprintf(&b, "u%d,u%d@example.com,%d\n", i, i, i%10)
		if i%100 == 0 {
			fmt.Fprintf(&b, ",bad,%d\n", i)
		}
		if i%1000 == 0 {
			fmt.Fprintf(&b, "u%d,u%d@example.com,%d\n", i, i, 77)
		}
	}
	return b.String()
}

func state(t *testing.T, s people.Store, id string) (i fanfare.Import) {
	t.Helper()
	if err := s.View(t.Context(), func(v fanfare.ControlView) (err error) {
		i, err = v.Import(id)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return i
}

// run runs the importer until nothing is left to do.
func run(t *testing.T, im *people.Importer) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		synctest.Wait()
		stop()
	}()
	if err := im.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// An import that is killed at any upsert goes on at the next start and ends with the counts of one that ran through.
func TestImportGoesOnAfterAKill(t *testing.T) {
	const rows, slots = 2000, 4
	for kill := 0; kill < 36; kill += 5 {
		t.Run(fmt.Sprint(kill), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.Open(memory.Config{Slots: slots})
				dir := t.TempDir()
				im, err := people.NewImporter(store, dir, quiet())
				if err != nil {
					t.Fatal(err)
				}
				imp, err := im.Accept(t.Context(), strings.NewReader(file(rows)), "everyone", people.Options{Format: people.CSV})
				if err != nil {
					t.Fatal(err)
				}
				dying := &interrupted{Store: store}
				dying.left.Store(int64(kill))
				im.SetBlock(500)
				killed, err := people.NewImporter(dying, dir, quiet())
				if err != nil {
					t.Fatal(err)
				}
				killed.SetBlock(500)
				ctx, stop := context.WithCancel(t.Context())
				go func() { synctest.Wait(); stop() }()
				_ = killed.Run(ctx)
				if s := state(t, store, imp.ID); kill > 1 && s.State != fanfare.ImportRunning && s.State != fanfare.ImportDone {
					t.Fatalf("after the kill it is %s: %s", s.State, s.Detail)
				}
				run(t, im)
				got := state(t, store, imp.ID)
				if got.State != fanfare.ImportDone || got.Rows != rows+rows/100+rows/1000 || got.Created != rows || got.Duplicates != rows/1000 ||
					got.Updated != rows/1000 || got.Failed != rows/100 {
					t.Errorf("%+v", got)
				}
				refused, err := os.ReadFile(im.ErrorsFile(imp.ID))
				if err != nil || bytes.Count(refused, []byte("\n")) != rows/100+1 {
					t.Errorf("file of refused rows: %d lines, %v", bytes.Count(refused, []byte("\n")), err)
				}
				if n := members(t, store, "everyone"); n != rows {
					t.Errorf("%d members", n)
				}
			})
		})
	}
}

func members(t *testing.T, s people.Store, list string) (n int) {
	t.Helper()
	var l fanfare.List
	if err := s.View(t.Context(), func(v fanfare.ControlView) (err error) {
		l, err = v.List(list)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for slot := range s.Slots() {
		m, err := s.LoadSet(t.Context(), fanfare.Slot(slot), fanfare.ListSet(l.ID))
		if err != nil {
			t.Fatal(err)
		}
		n += m.Len()
	}
	return n
}

func TestReplaceHoldsWhenManyRowsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.Open(memory.Config{Slots: 4})
		im, err := people.NewImporter(store, t.TempDir(), quiet())
		if err != nil {
			t.Fatal(err)
		}
		take := func(text string, o people.Options) fanfare.Import {
			o.Format = people.CSV
			imp, err := im.Accept(t.Context(), strings.NewReader(text), "vip", o)
			if err != nil {
				t.Fatal(err)
			}
			run(t, im)
			return state(t, store, imp.ID)
		}
		take("id\na\nb\nc\n", people.Options{})
		held := take("id\nd\n,\n\"\"\n\x01\n", people.Options{Replace: true})
		if held.State != fanfare.ImportHeld || members(t, store, "vip") != 3 {
			t.Fatalf("%+v, %d members", held, members(t, store, "vip"))
		}
		if _, err := im.Confirm(t.Context(), held.ID); err != nil {
			t.Fatal(err)
		}
		run(t, im)
		if got := state(t, store, held.ID); got.State != fanfare.ImportDone || members(t, store, "vip") != 1 {
			t.Errorf("%+v, %d members", got, members(t, store, "vip"))
		}
		if _, err := im.Confirm(t.Context(), held.ID); !errors.Is(err, fanfare.ErrState) {
			t.Errorf("confirmed twice: %v", err)
		}
		if _, err := im.Accept(t.Context(), strings.NewReader("name\nx\n"), "", people.Options{Format: people.CSV}); !errors.Is(err, fanfare.ErrUsage) {
			t.Errorf("a file without ids: %v", err)
		}
	})
}

// TestInsertGoesOn: who was refused by mode=insert before a kill is no member of the list afterwards either.
func TestInsertGoesOn(t *testing.T) {
	for kill := range 10 {
		synctest.Test(t, func(t *testing.T) {
			store := memory.Open(memory.Config{Slots: 1})
			dir := t.TempDir()
			im, err := people.NewImporter(store, dir, quiet())
			if err != nil {
				t.Fatal(err)
			}
			im.SetBlock(2)
			accept := func(text string, o people.Options) string {
				o.Format = people.CSV
				imp, err := im.Accept(t.Context(), strings.NewReader(text), "vip", o)
				if err != nil {
					t.Fatal(err)
				}
				return imp.ID
			}
			accept("id\nold\n", people.Options{})
			run(t, im)
			id := accept("id\nold\na\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\no\np\nq\nr\ns\nt\nu\nv\n", people.Options{Insert: true, Replace: true})
			dying := &interrupted{Store: store}
			dying.left.Store(int64(kill))
			killed, err := people.NewImporter(dying, dir, quiet())
			if err != nil {
				t.Fatal(err)
			}
			killed.SetBlock(2)
			run(t, killed)
			run(t, im)
			if got := state(t, store, id); got.State != fanfare.ImportDone || got.Created != 22 || got.Failed != 1 || members(t, store, "vip") != 22 {
				t.Errorf("killed at upsert %d: %+v, %d members", kill, got, members(t, store, "vip"))
			}
		})
	}
}

// lost is a store whose commits are kept, or not, without an answer.
type lost struct {
	people.Store
	kept bool
}

var errLost = errors.New("the connection broke")

func (s *lost) Update(ctx context.Context, fn func(fanfare.ControlTx) error) error {
	err := s.Store.Update(ctx, func(tx fanfare.ControlTx) error {
		if err := fn(tx); err != nil || s.kept {
			return err
		}
		return errLost
	})
	if err == nil {
		err = errLost
	}
	return err
}

func dataFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		if strings.HasSuffix(file.Name(), ".data") {
			names = append(names, file.Name())
		}
	}
	return names
}

// TestACommitWithoutAnAnswerKeepsTheFile: the import may be queued; the next start stores it, or removes its file.
func TestACommitWithoutAnAnswerKeepsTheFile(t *testing.T) {
	for _, kept := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			store, dir := memory.Open(memory.Config{Slots: 1}), t.TempDir()
			im, err := people.NewImporter(&lost{store, kept}, dir, quiet())
			if err != nil {
				t.Fatal(err)
			}
			imp, err := im.Accept(t.Context(), strings.NewReader("id\na\n"), "", people.Options{Format: people.CSV})
			if !errors.Is(err, errLost) || len(dataFiles(t, dir)) != 1 {
				t.Fatalf("%v, %v", err, dataFiles(t, dir))
			}
			if im, err = people.NewImporter(store, dir, quiet()); err != nil {
				t.Fatal(err)
			}
			run(t, im)
			if left := dataFiles(t, dir); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
			if !kept {
				return
			}
			if got := state(t, store, imp.ID); got.State != fanfare.ImportDone || got.Created != 1 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestARefusedImportLeavesNoFile: what is certainly not queued is gone at once.
func TestARefusedImportLeavesNoFile(t *testing.T) {
	store, dir := memory.Open(memory.Config{Slots: 1}), t.TempDir()
	im, err := people.NewImporter(store, dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	ended, end := context.WithCancel(t.Context())
	end()
	for _, c := range []struct {
		ctx  context.Context
		text string
		then func(fanfare.ControlTx, fanfare.Import) error
	}{{t.Context(), "name\na\n", nil}, {t.Context(), "id\na\n", func(fanfare.ControlTx, fanfare.Import) error { return refused }}, {ended, "id\na\n", nil}} {
		_, err := im.Accept(c.ctx, strings.NewReader(c.text), "", people.Options{Format: people.CSV, Then: c.then})
		if left := dataFiles(t, dir); err == nil || len(left) != 0 {
			t.Errorf("%q: %v, left: %v", c.text, err, left)
		}
	}
}

// TestAnInterruptedUploadIsRemoved at the next start, as is the file of an import that is over; what is still needed stays.
func TestAnInterruptedUploadIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, dir := memory.Open(memory.Config{Slots: 1}), filepath.Join(t.TempDir(), "[imports]")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		states := []fanfare.ImportState{fanfare.ImportHeld, fanfare.ImportDone, fanfare.ImportFailed, fanfare.ImportCancelled}
		for _, s := range append(states, "missing") {
			for _, ext := range []string{".data", ".errors.csv"} {
				if err := os.WriteFile(filepath.Join(dir, string(s)+ext), []byte("id\na\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := store.Update(t.Context(), func(tx fanfare.ControlTx) error {
			for _, s := range states {
				if err := tx.PutImport(fanfare.Import{ID: string(s), State: s}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		blind := &unreadable{Store: store, left: 3}
		im, err := people.NewImporter(blind, dir, quiet())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := im.Accept(t.Context(), strings.NewReader("id\nb\n"), "", people.Options{Format: people.CSV}); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, stop)
		if err := im.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got := dataFiles(t, dir); len(got) != 1 || got[0] != "held.data" {
			t.Errorf("left: %v", got)
		}
		if refused, _ := os.ReadDir(dir); len(refused) != 1+len(states)+1+1 {
			t.Errorf("files of refused rows: %v", refused)
		}
		all := 0
		if err := store.View(t.Context(), func(v fanfare.ControlView) error {
			done, err := v.Imports(fanfare.ImportDone)
			all = len(done)
			return err
		}); err != nil || all != 2 {
			t.Errorf("%d are done, %v", all, err)
		}
	})
}

// unreadable is a store that cannot be read at first.
type unreadable struct {
	people.Store
	left int
}

func (s *unreadable) View(ctx context.Context, fn func(fanfare.ControlView) error) error {
	if s.left--; s.left >= 0 {
		return errLost
	}
	return s.Store.View(ctx, fn)
}

// TestAFullDiskDoesNotEndAnImport: refused rows that cannot be written are tried again, and each is told once.
func TestAFullDiskDoesNotEndAnImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, dir := memory.Open(memory.Config{Slots: 1}), t.TempDir()
		im, err := people.NewImporter(store, dir, quiet())
		if err != nil {
			t.Fatal(err)
		}
		const pairs, most = 20_000, 1_000_000 // rows of each kind; bytes, too few for what is refused and enough for whatever else a test writes
		im.SetBlock(pairs / 2)
		imp, err := im.Accept(t.Context(), strings.NewReader("id,level\n"+strings.Repeat("a,1\n,2\n", pairs)), "", people.Options{Format: people.CSV})
		if err != nil {
			t.Fatal(err)
		}
		full(t, most, func() { run(t, im) })
		if got := state(t, store, imp.ID); got.State != fanfare.ImportRunning || got.Block == 0 || len(dataFiles(t, dir)) != 1 {
			t.Fatalf("%+v, %v", got, dataFiles(t, dir))
		}
		if why := im.Waiting(imp.ID); !strings.Contains(why, "file of refused rows") {
			t.Errorf("waits: %q", why)
		}
		run(t, im)
		if why := im.Waiting(imp.ID); why != "" {
			t.Errorf("waits at its end: %q", why)
		}
		got := state(t, store, imp.ID)
		refused, err := os.ReadFile(im.ErrorsFile(imp.ID))
		if err != nil || got.State != fanfare.ImportDone || got.Rows != 2*pairs || got.Failed != pairs || got.Created != 1 || got.Duplicates != pairs-1 {
			t.Errorf("%+v, %v", got, err)
		}
		lines := strings.Split(strings.TrimSpace(string(refused)), "\n")
		if len(refused) <= most || len(lines) != pairs+1 {
			t.Fatalf("%d bytes in %d lines", len(refused), len(lines))
		}
		for i, line := range lines[1:] {
			if !strings.HasPrefix(line, fmt.Sprint(2*i+3, ",")) {
				t.Fatalf("line %d: %s", i+1, line)
			}
		}
	})
}

// fullStore takes no rows.
type fullStore struct {
	people.Store
	err atomic.Pointer[error]
}

func (s *fullStore) Upsert(ctx context.Context, slot fanfare.Slot, c []fanfare.RecipientChange, o fanfare.UpsertOptions) ([]fanfare.Upserted, error) {
	if err := s.err.Load(); err != nil {
		return nil, *err
	}
	return s.Store.Upsert(ctx, slot, c, o)
}

// TestAnImportThatWaitsSaysWhy: it once stood at running, and only the log knew that the database took nothing.
func TestAnImportThatWaitsSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fullStore{Store: memory.Open(memory.Config{Slots: 1})}
		im, err := people.NewImporter(store, t.TempDir(), quiet())
		if err != nil {
			t.Fatal(err)
		}
		imp, err := im.Accept(t.Context(), strings.NewReader("id\na\n"), "", people.Options{Format: people.CSV})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			err error
			has string
		}{{fmt.Errorf("store: %w", fanfare.ErrFull), "make room"}, {fanfare.ErrReadOnly, "right to write"}, {errKilled, "database does not answer"}} {
			store.err.Store(&c.err)
			run(t, im)
			if why := im.Waiting(imp.ID); !strings.Contains(why, c.has) || strings.Contains(why, "killed") || state(t, store, imp.ID).State != fanfare.ImportRunning {
				t.Errorf("%v: waits: %q", c.err, why)
			}
		}
		store.err.Store(nil)
		run(t, im)
		if why := im.Waiting(imp.ID); why != "" || state(t, store, imp.ID).State != fanfare.ImportDone {
			t.Errorf("at its end: %q, %+v", why, state(t, store, imp.ID))
		}
		store.err.Store(&errKilled)
		other, err := im.Accept(t.Context(), strings.NewReader("id\nb\n"), "", people.Options{Format: people.CSV})
		if err != nil {
			t.Fatal(err)
		}
		run(t, im)
		if _, err := im.Cancel(t.Context(), other.ID); err != nil || im.Waiting(other.ID) != "" {
			t.Errorf("%v, cancelled, it waits: %q", err, im.Waiting(other.ID))
		}
	})
}

// full runs fn while no file may grow beyond n bytes.
func full(t *testing.T, n uint64, fn func()) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}()
	fn()
}

// cancelling is a store in which somebody cancels the import once it is read, before it is begun.
type cancelling struct {
	people.Store
	cancel func()
}

func (s *cancelling) View(ctx context.Context, fn func(fanfare.ControlView) error) error {
	err := s.Store.View(ctx, fn)
	if s.cancel != nil {
		cancel := s.cancel
		s.cancel = nil
		cancel()
	}
	return err
}

// TestCancelBeforeItBegins: an import that is cancelled between its being found and its being begun is not done.
func TestCancelBeforeItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &cancelling{Store: memory.Open(memory.Config{Slots: 1})}
		im, err := people.NewImporter(store, t.TempDir(), quiet())
		if err != nil {
			t.Fatal(err)
		}
		imp, err := im.Accept(t.Context(), strings.NewReader("id\na\n"), "vip", people.Options{Format: people.CSV})
		if err != nil {
			t.Fatal(err)
		}
		store.cancel = func() {
			if _, err := im.Cancel(t.Context(), imp.ID); err != nil {
				t.Error(err)
			}
		}
		run(t, im)
		if got := state(t, store, imp.ID); got.State != fanfare.ImportCancelled || members(t, store, "vip") != 0 {
			t.Errorf("%+v, %d members", got, members(t, store, "vip"))
		}
		if again, err := im.Cancel(t.Context(), imp.ID); err != nil || again.State != fanfare.ImportCancelled {
			t.Errorf("%+v, %v", again, err)
		}
	})
}
