package people_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

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
	const rows, slots = 3000, 4
	for kill := range 6 {
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
				killed, err := people.NewImporter(dying, dir, quiet())
				if err != nil {
					t.Fatal(err)
				}
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
