package sqlite_test

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"fanfare"
	"fanfare/set"
	"fanfare/stores/sqlite"
)

// TestKilled kills a process that writes, again and again: whatever it said it had been answered is there.
func TestKilled(t *testing.T) {
	if name := os.Getenv("FANFARE_TEST_KILLED"); name != "" {
		writeForEver(t, name)
		return
	}
	name := filepath.Join(t.TempDir(), "fanfare.db")
	for round := range 6 {
		writer := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
		writer.Env = append(os.Environ(), "FANFARE_TEST_KILLED="+name)
		out, err := writer.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		var said []string
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if said = append(said, lines.Text()); len(said) == 5+7*round {
				if err := writer.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = writer.Wait() // it was killed
		s, err := sqlite.Open(t.Context(), name, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(said) < 5+7*round {
			t.Errorf("round %d: the writer ended by itself after %q", round, said)
		}
		for _, what := range said {
			if err := isThere(t, s, what); err != nil {
				t.Errorf("round %d: %q was answered: %v", round, what, err)
			}
		}
		found, err := s.Check(t.Context())
		if err := errors.Join(err, s.Close()); err != nil || len(found) > 0 {
			t.Errorf("round %d: check finds %q (%v)", round, found, err)
		}
	}
}

// writeForEver writes until it is killed, and says what was answered.
func writeForEver(t *testing.T, name string) {
	s, err := sqlite.Open(t.Context(), name, sqlite.Options{Slots: 2})
	if err != nil {
		t.Fatal(err)
	}
	fail := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	for side := range 3 {
		go func() {
			for i := 0; ; i++ {
				n := uint32(os.Getpid()%100_000*1000 + i) //nolint:gosec // small
				switch side {
				case 0:
					_, _, err := s.ChangeSet(t.Context(), 0, fanfare.ListSet(1), set.Of(n), nil)
					fail(err)
				case 1:
					fail(s.Update(t.Context(), func(tx fanfare.ControlTx) error { return tx.PutSetting(fmt.Sprint(n), []byte{1}) }))
				case 2:
					id := fmt.Sprint("user ", n)
					_, err := s.Upsert(t.Context(), fanfare.SlotOf(id, 2), []fanfare.RecipientChange{{ExternalID: id}}, fanfare.UpsertOptions{})
					fail(err)
				}
				fmt.Println(side, n)
			}
		}()
	}
	<-t.Context().Done()
}

func isThere(t *testing.T, s fanfare.Store, what string) error {
	t.Helper()
	var side int
	var n uint32
	if _, err := fmt.Sscan(what, &side, &n); err != nil {
		return err
	}
	switch side {
	case 0:
		members, err := s.LoadSet(t.Context(), 0, fanfare.ListSet(1))
		if err == nil && !members.Contains(n) {
			err = fanfare.ErrNotFound
		}
		return err
	case 1:
		return s.View(t.Context(), func(v fanfare.ControlView) error {
			_, err := v.Setting(fmt.Sprint(n))
			return err
		})
	default:
		_, err := s.Recipient(t.Context(), fmt.Sprint("user ", n))
		return err
	}
}

// TestTwoOnOneFile opens the file twice, as two processes do: neither reads from its cache what the other has changed, and no change is lost.
func TestTwoOnOneFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fanfare.db")
	var both [2]fanfare.Store
	var group sync.WaitGroup
	for i := range both {
		group.Go(func() { // at the same time, on a file that is not there yet
			s, err := sqlite.Open(t.Context(), name, sqlite.Options{Slots: 2})
			if err != nil {
				t.Error(err)
			}
			both[i] = s
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
	list := fanfare.ListSet(1)
	const n = 60
	for i, s := range both {
		group.Go(func() {
			for k := range uint32(n) {
				if _, _, err := s.ChangeSet(t.Context(), 1, list, set.Of(2*k+uint32(i)), nil); err != nil { //nolint:gosec // small
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	for i, s := range both {
		members, err := s.LoadSet(t.Context(), 1, list)
		if err != nil || !members.Equal(set.Range(0, 2*n)) {
			t.Errorf("store %d has %d members (%v)", i, members.Len(), err)
		}
	}
	if _, _, err := both[0].ChangeSet(t.Context(), 1, list, nil, set.Of(3)); err != nil {
		t.Fatal(err)
	}
	if members, err := both[1].LoadSet(t.Context(), 1, list); err != nil || members.Contains(3) {
		t.Errorf("the other store still has it (%v)", err)
	}
	fill(t, both[0]) // a message; its batch is claimed by one and recorded by the other's row
	claim := fanfare.Entry{Claim: &fanfare.Claim{BatchRef: fanfare.BatchRef{Message: 1, Slot: 1}, Generation: 1, Owner: fanfare.Owner{Node: "n", Incarnation: 1}, Lease: fanfare.LeaseTime}}
	a := both[0].Append(t.Context(), 0, []fanfare.Entry{claim})[0]
	if b := both[1].Append(t.Context(), 0, []fanfare.Entry{claim})[0]; a.Answer != fanfare.Applied || b.Answer != fanfare.Busy {
		t.Errorf("claims answer %d and %d", a.Answer, b.Answer)
	}
	members, err := both[1].Members(t.Context(), 1, 1, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	unsubscribed := fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonUnsubscribed)
	if _, err := both[0].LoadSet(t.Context(), 1, unsubscribed); err != nil {
		t.Fatal(err)
	}
	if _, _, err := both[1].ChangeSet(t.Context(), 1, unsubscribed, set.Of(members[0]), nil); err != nil {
		t.Fatal(err)
	}
	r := fanfare.Record{BatchRef: a.Row.BatchRef, Generation: 1, Fence: a.Row.Fence, Step: a.Row.Step, Next: a.Row, Lease: fanfare.LeaseTime,
		Intent: &fanfare.Intent{Members: []fanfare.Member{{Rank: 0, Seq: members[0]}, {Rank: 1, Seq: members[1]}}, Suppressions: fanfare.Suppressions(fanfare.ChannelEmail, "x", false)}}
	if a := both[0].Append(t.Context(), 0, []fanfare.Entry{{Record: &r}})[0]; a.Answer != fanfare.Applied || a.Row.InFlight.Has(0) || !a.Row.InFlight.Has(1) {
		t.Errorf("who unsubscribed by the other store: %+v", a)
	}
	if b := both[1].Append(t.Context(), 0, []fanfare.Entry{{Record: &r}})[0]; b.Answer != fanfare.Stale {
		t.Errorf("the same record by the other store answers %d", b.Answer)
	}
	for _, s := range both {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRefusedByTheDatabase has the database itself refuse one record of a group: the others are in, its batch is held.
func TestRefusedByTheDatabase(t *testing.T) {
	name := filled(t)
	behind(t, name, "CREATE TRIGGER no BEFORE INSERT ON exceptions WHEN NEW.code = '999' BEGIN SELECT RAISE(ABORT, 'never 999'); END")
	s, err := sqlite.Open(t.Context(), name, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // at the end
	var claims, records []fanfare.Entry
	for b := range fanfare.BatchNo(3) {
		claims = append(claims, fanfare.Entry{Claim: &fanfare.Claim{BatchRef: fanfare.BatchRef{Message: 1, Batch: b}, Generation: 1, Owner: fanfare.Owner{Node: "n", Incarnation: 1}, Lease: fanfare.LeaseTime}})
	}
	for i, a := range s.Append(t.Context(), 0, claims) {
		r := &fanfare.Record{BatchRef: a.Row.BatchRef, Generation: 1, Fence: a.Row.Fence, Step: a.Row.Step, Next: a.Row.Clone(), Lease: fanfare.LeaseTime}
		r.Next.Pending.Clear(0)
		r.Next.Failed++
		r.Exceptions = []fanfare.Exception{{Seq: fanfare.Seq(a.Row.First), Result: fanfare.ResultFailed, Reason: fanfare.ReasonPermanent, Code: [...]string{"550", "999", "550"}[i]}}
		records = append(records, fanfare.Entry{Record: r})
	}
	got := s.Append(t.Context(), 0, records)
	for i, want := range []fanfare.Answer{fanfare.Applied, fanfare.Failed, fanfare.Applied} {
		if got[i].Answer != want {
			t.Errorf("record %d: answer %d (%v), want %d", i, got[i].Answer, got[i].Err, want)
		}
	}
	if got[1].Err == nil || !strings.Contains(got[1].Err.Error(), "never 999") || !strings.Contains(got[1].Row.Held, "never 999") {
		t.Errorf("it does not say why: %v, held %q", got[1].Err, got[1].Row.Held)
	}
	rows, err := s.Batches(t.Context(), 1, 0, 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range rows {
		if held := row.State == fanfare.BatchHeld; held != (i == 1) || row.Failed != 1-i%2 || !row.Balanced() {
			t.Errorf("row %d: %+v", i, row)
		}
	}
	if tally, err := s.Tally(t.Context(), 1, 0); err != nil || !tally.Balanced(2000) || tally.Failed != 2 {
		t.Errorf("tally %+v (%v)", tally, err)
	}
}

// TestFirstVersion opens a database that was made by the first migration alone.
func TestFirstVersion(t *testing.T) {
	script, err := os.ReadFile("../sqlstore/migrations/sqlite/0001_spine.sql")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "old.db")
	db, err := sql.Open("sqlite", "file:"+name)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"CREATE TABLE fanfare_schema (version INTEGER PRIMARY KEY, at INTEGER NOT NULL)", string(script),
		"INSERT INTO fanfare_schema (version, at) VALUES (1, 0)", "INSERT INTO shard (id, head, alive_at, identity) VALUES (1, 7, 0, 'old')",
		"INSERT INTO slots (slot, epoch, open, next_seq, rev, changed) VALUES (0, 1, 1, 5, 0, 0), (1, 1, 1, 0, 0, 0)", "INSERT INTO settings (name, value) VALUES ('old', x'01')"} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	alive, _ := set.Range(0, 5).Chunk(0)
	if _, err := db.ExecContext(t.Context(), "INSERT INTO sets (slot, name, chunk, n, crc, members) VALUES (0, 'alive', 0, ?, ?, ?)", alive.N, alive.CRC, alive.Members); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(t.Context(), name, sqlite.Options{Slots: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // at the end
	id, err := s.Identity(t.Context())
	if err != nil || id.Head != 7 || id.Stored != "old" || id.Found == "old" {
		t.Errorf("identity %+v (%v)", id, err)
	}
	if err := s.View(t.Context(), func(v fanfare.ControlView) error {
		_, err := v.Setting("old")
		return err
	}); err != nil {
		t.Error(err)
	}
	if todo, err := s.LoadSet(t.Context(), 0, fanfare.SetUnindexed); err != nil || !todo.Equal(set.Range(0, 5)) {
		t.Errorf("to be taken into the sets of attributes: %v (%v)", todo.ToArray(), err)
	}
	fill(t, s)
	if people, err := s.Scan(t.Context(), 0, 0, 1, ""); err != nil || people[0].Seq != 5 {
		t.Errorf("the next of slot 0 is %v (%v)", people, err)
	}
}
