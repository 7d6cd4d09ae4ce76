package plan_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanfare"
	"fanfare/plan"
	"fanfare/set"
	"fanfare/stores/sqlite"
)

// TestRollback: the backup of a database is copied over its file. If that forgets something that was answered, though it was never
// journaled, as a cancel or an opt-out, nothing is sent until a person looked. A stop, clean or by a kill, is no rollback.
func TestRollback(t *testing.T) {
	cancel := func(s fanfare.Store) error {
		_, _, err := fanfare.Transition(t.Context(), s, "m", fanfare.EventCancel, nil)
		return err
	}
	optOut := func(s fanfare.Store) error {
		_, _, err := s.ChangeSet(t.Context(), 0, fanfare.SuppressionSet(fanfare.ChannelNull, "general", fanfare.ReasonUnsubscribed), set.Of(3), nil)
		return err
	}
	type files map[string][]byte
	read := func(file string) files {
		all := files{}
		for _, part := range []string{"", "-wal"} {
			b, err := os.ReadFile(file + part)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			all[part] = b
		}
		return all
	}
	for _, c := range []struct {
		what    string
		since   func(s fanfare.Store) error
		left    func(file, backup string) files
		stopped bool // cleanly, before left looks
		paused  bool
	}{
		{"a cancel", cancel, func(_, backup string) files { return read(backup) }, true, true},
		{"an opt-out", optOut, func(_, backup string) files { return read(backup) }, true, true},
		{"a clean stop", optOut, func(file, _ string) files { return read(file) }, true, false},
		{"a kill", optOut, func(file, _ string) files { return read(file) }, false, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			file, backup := filepath.Join(t.TempDir(), "f.db"), filepath.Join(t.TempDir(), "b.db")
			f := &folder{}
			open := func() fanfare.Store {
				s, err := sqlite.Open(t.Context(), file, sqlite.Options{Slots: 1})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = s.Close() }) // it may be closed
				return s
			}
			ok := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			check := func(s fanfare.Store) plan.Finding {
				t.Helper()
				found, err := (&plan.Guard{Store: s, Position: f}).Check(t.Context())
				ok(err)
				return found
			}
			s := open()
			check(s)
			ok(s.Number(t.Context(), 0, 10))
			m := fanfare.Message{ID: "m", Channel: fanfare.ChannelNull, Revision: 1, Topic: "general", State: fanfare.State{Phase: fanfare.PhaseDraft, Generation: 1}}
			ok(s.Update(t.Context(), func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) }))
			_, _, err := fanfare.Transition(t.Context(), s, "m", fanfare.EventSchedule, nil)
			ok(err)
			ok(s.Backup(t.Context(), backup))
			ok(c.since(s))
			if found := check(s); found.Why != "" { // notes
				t.Fatalf("%+v", found)
			}
			var left files
			if c.stopped {
				ok(s.Close())
				left = c.left(file, backup)
			} else {
				left = c.left(file, backup)
				ok(s.Close())
			}
			for part, b := range left { // over the file, so that it keeps its place
				if b != nil {
					ok(os.WriteFile(file+part, b, 0o600))
				}
			}
			found := check(open())
			if c.paused != (len(found.Paused) == 1) || c.paused != strings.Contains(found.Why, "rolled back") || !c.paused && found.Why != "" {
				t.Errorf("%+v", found)
			}
		})
	}
}
