package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fanfare"
	"fanfare/set"
	"fanfare/stores/sqlite"
)

const page = 4096

// filled is a closed file that holds people, and a message under way to them.
func filled(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fanfare.db")
	s, err := sqlite.Open(t.Context(), name, sqlite.Options{Slots: 2})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

func fill(t *testing.T, s fanfare.Store) {
	t.Helper()
	for i := range 2 {
		slot := fanfare.Slot(i) //nolint:gosec // small
		var changes []fanfare.RecipientChange
		for k := 0; len(changes) < 2000; k++ {
			if id := fmt.Sprintf("user-%06d", k); fanfare.SlotOf(id, 2) == slot {
				mail := id + "@example.com"
				changes = append(changes, fanfare.RecipientChange{ExternalID: id, Email: &mail, EmailState: fanfare.AddressUsable, Attributes: map[string]any{"city": "Berlin"}})
			}
		}
		if _, err := s.Upsert(t.Context(), slot, changes, fanfare.UpsertOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Spread(t.Context(), slot, 1, fanfare.SlotPreparing, 1); err != nil {
			t.Fatal(err)
		}
		if done, err := s.Freeze(t.Context(), slot, 1, 1, 10, func(v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
			alive, err := v.LoadSet(fanfare.SetAlive)
			return map[fanfare.Part]*set.Set{fanfare.PartSend: alive}, err
		}); err != nil || !done {
			t.Fatal(done, err)
		}
		if err := s.Spread(t.Context(), slot, 1, fanfare.SlotSending, 1); err != nil {
			t.Fatal(err)
		}
	}
}

// clear wants one line that names the file, is of a kind and says what to do.
func clear(t *testing.T, err, kind error, name, advice string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error %v, want %v", err, kind)
	}
	for _, part := range []string{name, kind.Error(), advice} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than one line", err)
	}
}

func overwrite(t *testing.T, name string, at int64, with []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(with, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDamagedFirstPage(t *testing.T) {
	for what, with := range map[string][]byte{
		"zeroes":       make([]byte, page),
		"noise":        bytes.Repeat([]byte{0xa5, 0x5a, 1}, page/3),
		"its header":   []byte("no database at all"),
		"behind it":    append([]byte("SQLite format 3\x00"), bytes.Repeat([]byte{0xff}, page-16)...),
		"schema table": nil,
	} {
		t.Run(what, func(t *testing.T) {
			name := filled(t)
			at := int64(0)
			if with == nil {
				with, at = bytes.Repeat([]byte{0xee}, page-100), 100
			}
			overwrite(t, name, at, with)
			was := content(t, name)
			s, err := sqlite.Open(t.Context(), name, sqlite.Options{})
			if err == nil {
				t.Fatal(errors.Join(errors.New("it opens"), s.Close()))
			}
			clear(t, err, fanfare.ErrDamaged, name, "restore the last backup")
			if !bytes.Equal(was, content(t, name)) {
				t.Error("the damaged file was changed")
			}
		})
	}
}

// TestDamagedMiddlePage damages each page behind the first in turn: what lies there is reported as damaged, by doctor too, and nothing that
// is read is other than what was written.
func TestDamagedMiddlePage(t *testing.T) {
	t.Parallel()
	name := filled(t)
	whole, err := sqlite.Open(t.Context(), name, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want, err := readAll(t, whole)
	if err := errors.Join(err, whole.Close()); err != nil {
		t.Fatal(err)
	}
	good := content(t, name)
	noticed, pages := 0, len(good)/page
	for n := 1; n < pages; n += max(1, pages/40) {
		damaged := filepath.Join(t.TempDir(), "damaged.db")
		if err := os.WriteFile(damaged, good, 0o600); err != nil {
			t.Fatal(err)
		}
		overwrite(t, damaged, int64(n)*page, bytes.Repeat([]byte{0xa5}, page))
		s, err := sqlite.Open(t.Context(), damaged, sqlite.Options{})
		if err != nil {
			clear(t, err, fanfare.ErrDamaged, damaged, "restore")
			noticed++
			continue
		}
		got, err := readAll(t, s)
		if err != nil {
			clear(t, err, fanfare.ErrDamaged, damaged, "restore")
			noticed++
		} else if got != want {
			t.Errorf("page %d is damaged, and reads as something else", n+1)
		}
		found, err := s.Check(t.Context())
		if err != nil {
			t.Errorf("page %d: check: %v", n+1, err)
		}
		if len(found) == 0 {
			t.Errorf("page %d is damaged, and check finds nothing", n+1)
		}
		if err := s.Close(); err != nil && !errors.Is(err, fanfare.ErrDamaged) {
			t.Errorf("page %d: close: %v", n+1, err)
		}
	}
	if noticed < 10 {
		t.Errorf("%d damaged pages were noticed by reading", noticed)
	}
}

// readAll reads all that fill wrote.
func readAll(t *testing.T, s fanfare.Store) (string, error) {
	t.Helper()
	var all strings.Builder
	for i := range 2 {
		slot := fanfare.Slot(i) //nolint:gosec // small
		people, err := s.Scan(t.Context(), slot, 0, 5000, "")
		if err != nil {
			return "", err
		}
		for _, p := range people {
			fmt.Fprintln(&all, p.Seq, p.ExternalID, p.Email, p.Attributes)
			seqs, err := s.Resolve(t.Context(), slot, []string{p.ExternalID})
			if err != nil {
				return "", err
			}
			fmt.Fprintln(&all, seqs)
		}
		for _, name := range []fanfare.SetName{fanfare.SetAlive, fanfare.AddressSet(fanfare.ChannelEmail)} {
			members, err := s.LoadSet(t.Context(), slot, name)
			if err != nil {
				return "", err
			}
			fmt.Fprintln(&all, name, members.ToArray())
		}
		rows, err := s.Batches(t.Context(), 1, slot, 0, 1000)
		if err != nil {
			return "", err
		}
		for _, row := range rows {
			members, err := s.Members(t.Context(), 1, slot, row.First, row.N)
			if err != nil {
				return "", err
			}
			fmt.Fprintln(&all, row, members)
		}
	}
	return all.String(), nil
}

// TestTruncatedLog cuts the log of a killed process at every kind of place: what is left is one former moment, whole, and the head says
// that it is a former one.
func TestTruncatedLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fanfare.db")
	s, err := sqlite.Open(t.Context(), name, sqlite.Options{Slots: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // its files are copied before
	fill(t, s)
	base, err := s.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const batches = 40
	for b := range fanfare.BatchNo(batches) {
		a := s.Append(t.Context(), 0, []fanfare.Entry{{Claim: &fanfare.Claim{BatchRef: fanfare.BatchRef{Message: 1, Batch: b}, Generation: 1,
			Owner: fanfare.Owner{Node: "n", Incarnation: 1}, Lease: fanfare.LeaseTime}}})
		if a[0].Answer != fanfare.Applied {
			t.Fatal(a[0])
		}
	}
	good, log := content(t, name), content(t, name+"-wal")
	last := int64(-1)
	for _, cut := range []int{0, 16, 32, len(log) / 3, len(log) / 2, len(log) - 9*page, len(log) - 2*page, len(log) - page - 7, len(log) - 1, len(log)} {
		copied := filepath.Join(t.TempDir(), "copied.db")
		if err := errors.Join(os.WriteFile(copied, good, 0o600), os.WriteFile(copied+"-wal", log[:cut], 0o600)); err != nil {
			t.Fatal(err)
		}
		s, err := sqlite.Open(t.Context(), copied, sqlite.Options{})
		if err != nil {
			t.Fatalf("cut at %d of %d: %v", cut, len(log), err)
		}
		id, err := s.Identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		claimed := int64(0)
		rows, err := s.Batches(t.Context(), 1, 0, 0, batches)
		for _, row := range rows {
			if row.State == fanfare.BatchOpen {
				claimed++
			}
		}
		if err != nil || claimed != max(id.Head-base.Head, 0) {
			t.Errorf("cut at %d: the head is %d, %d batches are claimed (%v)", cut, id.Head, claimed, err)
		}
		if id.Head < last || (cut == len(log)) != (id.Head == base.Head+batches) {
			t.Errorf("cut at %d of %d: the head is %d", cut, len(log), id.Head)
		}
		last = id.Head
		found, err := s.Check(t.Context())
		if err := errors.Join(err, s.Close()); err != nil || len(found) > 0 {
			t.Errorf("cut at %d: check finds %q (%v)", cut, found, err)
		}
	}
}

// TestFullDisk lets the file grow until there is no space, and goes on when there is.
func TestFullDisk(t *testing.T) {
	name := filled(t)
	pages := len(content(t, name)) / page
	s, err := sqlite.Open(t.Context(), fmt.Sprintf("%s?max_pages=%d", name, pages+20), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want, err := readAll(t, s)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	var full error
	for ; full == nil && kept < 10_000; kept++ {
		full = s.Update(t.Context(), func(tx fanfare.ControlTx) error {
			return tx.PutSetting(fmt.Sprint("n", kept), bytes.Repeat([]byte{'x'}, 1000))
		})
	}
	kept--
	clear(t, full, fanfare.ErrFull, name, "free space on the disk")
	a := s.Append(t.Context(), 0, []fanfare.Entry{{Claim: &fanfare.Claim{BatchRef: fanfare.BatchRef{Message: 1}, Generation: 1, Owner: fanfare.Owner{Node: "n", Incarnation: 1},
		Lease: fanfare.LeaseTime}}})[0]
	if a.Answer == fanfare.Unknown && !errors.Is(a.Err, fanfare.ErrFull) || a.Answer != fanfare.Unknown && a.Answer != fanfare.Applied {
		t.Errorf("a claim on the full disk: %d (%v)", a.Answer, a.Err)
	}
	claimed := a.Answer == fanfare.Applied
	_, err = s.Upsert(t.Context(), 0, many(t, 500), fanfare.UpsertOptions{Mark: &fanfare.Mark{Work: "w"}})
	clear(t, err, fanfare.ErrFull, name, "free space on the disk")
	if got, err := readAll(t, s); err != nil || got != want && !claimed {
		t.Errorf("what was there reads otherwise (%v)", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = sqlite.Open(t.Context(), name, sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // at the end
	if err := s.View(t.Context(), func(v fanfare.ControlView) error {
		for i := range kept {
			if _, err := v.Setting(fmt.Sprint("n", i)); err != nil {
				return err
			}
		}
		_, err := v.Setting(fmt.Sprint("n", kept))
		if !errors.Is(err, fanfare.ErrNotFound) {
			t.Errorf("what was refused: %v", err)
		}
		return nil
	}); err != nil {
		t.Errorf("of %d that were answered: %v", kept, err)
	}
	done, err := s.Upsert(t.Context(), 0, many(t, 500), fanfare.UpsertOptions{Mark: &fanfare.Mark{Work: "w"}})
	if err != nil || done[0].Outcome != fanfare.UpsertCreated {
		t.Errorf("with space again: %v", err)
	}
	found, err := s.Check(t.Context())
	if err != nil || len(found) > 0 {
		t.Errorf("check finds %q (%v)", found, err)
	}
}

// many are changes of slot 0 that fill does not make.
func many(t *testing.T, n int) (changes []fanfare.RecipientChange) {
	t.Helper()
	for k := 0; len(changes) < n; k++ {
		if id := fmt.Sprintf("another-%06d-%0100d", k, k); fanfare.SlotOf(id, 2) == 0 {
			changes = append(changes, fanfare.RecipientChange{ExternalID: id})
		}
	}
	return changes
}

func TestParameters(t *testing.T) {
	folder := t.TempDir()
	for _, bad := range []string{"?max_pages=0", "?max_pages=many", "?pages=1", "?max_pages=5&x=1", "?%zz"} {
		_, err := sqlite.Open(t.Context(), filepath.Join(folder, "a.db")+bad, sqlite.Options{})
		if !errors.Is(err, fanfare.ErrUsage) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	odd := filepath.Join(folder, "what?", "100%#1 ü")
	if err := os.MkdirAll(odd, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(t.Context(), filepath.Join(odd, "a b.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(content(t, filepath.Join(odd, "a b.db"))) == 0 {
		t.Error("the file lies elsewhere")
	}
}

func TestNoFile(t *testing.T) {
	folder := t.TempDir()
	_, err := sqlite.Open(t.Context(), filepath.Join(folder, "none", "a.db"), sqlite.Options{})
	clear(t, err, fanfare.ErrNotFound, "a.db", "make it first")
	_, err = sqlite.Open(t.Context(), folder, sqlite.Options{})
	clear(t, err, fanfare.ErrUsage, folder, "name another")
	plain := filepath.Join(folder, "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = sqlite.Open(t.Context(), filepath.Join(plain, "a.db"), sqlite.Options{})
	if err == nil {
		t.Error("a file within a file opens")
	}
	_, err = sqlite.Open(t.Context(), plain, sqlite.Options{})
	clear(t, err, fanfare.ErrDamaged, plain, "restore the last backup")
}

func TestForeign(t *testing.T) {
	name := filepath.Join(t.TempDir(), "another.db")
	behind(t, name, "CREATE TABLE albums (id INTEGER PRIMARY KEY)")
	was := content(t, name)
	_, err := sqlite.Open(t.Context(), name, sqlite.Options{})
	clear(t, err, fanfare.ErrForeign, name, "name another file")
	if !bytes.Equal(was, content(t, name)) {
		t.Error("somebody else's file was changed")
	}
	name = filled(t)
	behind(t, name, "INSERT INTO fanfare_schema (version, at) VALUES (99, 0)")
	_, err = sqlite.Open(t.Context(), name, sqlite.Options{})
	clear(t, err, fanfare.ErrForeign, name, "use the newer fanfare")
}

func TestSlotsNeverChange(t *testing.T) {
	name := filled(t)
	_, err := sqlite.Open(t.Context(), name, sqlite.Options{Slots: 16})
	clear(t, err, fanfare.ErrUsage, name, "leave --slots out")
}
