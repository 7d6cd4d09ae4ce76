package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fanfare"
	"fanfare/set"
	"fanfare/stores/sqlite"
)

// TestMigrateFrom1 opens a file of version 1, where the recipients of all slots were in one table: all of them are there as they were, and
// the store goes on with them.
func TestMigrateFrom1(t *testing.T) {
	const slots, people = 3, 1000
	name := filepath.Join(t.TempDir(), "fanfare.db")
	first, err := os.ReadFile("../sqlstore/migrations/sqlite/0001_spine.sql")
	if err != nil {
		t.Fatal(err)
	}
	behind(t, name, "CREATE TABLE fanfare_schema (version INTEGER PRIMARY KEY, at INTEGER NOT NULL); INSERT INTO fanfare_schema (version, at) VALUES (1, 0);"+string(first))
	behind(t, name, "INSERT INTO shard (id, head, alive_at, identity) VALUES (1, 7, 0, 'here')")
	var next [slots]fanfare.Seq
	want := make([]fanfare.Recipient, 0, people)
	rows := ""
	for i := range people {
		r := fanfare.Recipient{ExternalID: fmt.Sprintf("user-%04d", i), Email: fmt.Sprintf("u%d@example.com", i), Phone: fmt.Sprint("+49", i), Locale: "de", TimeZone: "Europe/Berlin"}
		r.Slot = fanfare.SlotOf(r.ExternalID, slots)
		if r.Seq = next[r.Slot]; r.Slot == 2 && r.Seq > 100 {
			r.Seq += 1 << 31 // numbers may be large and have gaps
		}
		next[r.Slot]++
		attributes := "NULL"
		if i%2 == 0 {
			r.Attributes = map[string]any{"level": float64(i)}
			attributes = fmt.Sprintf(`'{"level":%d}'`, i)
		}
		if i > 0 {
			rows += ", "
		}
		rows += fmt.Sprintf("(%d, %d, %d, 0, '%s', '%s', '%s', 'de', 'Europe/Berlin', %s)", int64(r.Slot)<<32|int64(r.Seq), r.Slot, -i, r.ExternalID, r.Email, r.Phone, attributes)
		want = append(want, r)
	}
	behind(t, name, "INSERT INTO recipients (person, slot, mailbox, updated_at, external_id, email, phone, locale, time_zone, attributes) VALUES "+rows)
	for n := range slots {
		behind(t, name, "INSERT INTO slots (slot, epoch, open, next_seq, rev, changed) VALUES (?, 1, 1, ?, 0, 0)", n, int64(1)<<31+2000)
	}

	_, err = sqlite.Open(t.Context(), name, sqlite.Options{Slots: 16})
	clear(t, err, fanfare.ErrUsage, name, "leave --slots out")
	s, err := sqlite.Open(t.Context(), name, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // at the end
	if s.Slots() != slots {
		t.Fatalf("%d slots", s.Slots())
	}
	mailboxes := set.New()
	for _, r := range want {
		got, err := s.Recipient(t.Context(), r.ExternalID)
		if d := cmp.Diff(r, got); err != nil || d != "" {
			t.Fatalf("%v: -want +got\n%s", err, d)
		}
		if r.Slot == 2 {
			mailboxes.Add(r.Seq)
		}
	}
	found := 0
	if err := s.Mailboxes(t.Context(), 2, fanfare.ChannelEmail, mailboxes, func(seq fanfare.Seq, key uint64) {
		found++
		for _, r := range want {
			if r.Slot == 2 && r.Seq == seq && r.Email != fmt.Sprintf("u%d@example.com", -int64(key)) { //nolint:gosec // all 64 bits
				t.Errorf("%s has the mailbox of %d", r.Email, -int64(key)) //nolint:gosec // likewise
			}
		}
	}); err != nil || found != int(next[2]) {
		t.Errorf("%d of %d mailboxes (%v)", found, next[2], err)
	}
	old, phone := want[0], "+1"
	fresh := ""
	for i := 0; fresh == ""; i++ {
		if id := fmt.Sprint("fresh-", i); fanfare.SlotOf(id, slots) == old.Slot {
			fresh = id
		}
	}
	done, err := s.Upsert(t.Context(), old.Slot, []fanfare.RecipientChange{{ExternalID: fresh}, {ExternalID: old.ExternalID, Phone: &phone}}, fanfare.UpsertOptions{})
	if err != nil || done[0].Outcome != fanfare.UpsertCreated || done[1].Outcome != fanfare.UpsertUpdated || done[1].Person != old.Person {
		t.Errorf("%v (%v)", done, err)
	}
	if id, err := s.Identity(t.Context()); err != nil || id.Head != 8 || id.Stored != "here" {
		t.Errorf("%+v (%v)", id, err)
	}
	if found, err := s.Check(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("check finds %q (%v)", found, err)
	}
}

// TestManySlots asks in more slots than a connection keeps statements for.
func TestManySlots(t *testing.T) {
	const slots, people = 300, 12
	name := filepath.Join(t.TempDir(), "fanfare.db")
	_, err := sqlite.Open(t.Context(), name, sqlite.Options{Slots: 1025})
	if !errors.Is(err, fanfare.ErrUsage) {
		t.Errorf("1025 slots: %v", err)
	}
	s, err := sqlite.Open(t.Context(), name, sqlite.Options{Slots: slots})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // at the end
	var changes [slots][]fanfare.RecipientChange
	for i, full := 0, 0; full < slots; i++ {
		id := fmt.Sprint("user-", i)
		n := fanfare.SlotOf(id, slots)
		if len(changes[n]) == people {
			continue
		}
		if changes[n] = append(changes[n], fanfare.RecipientChange{ExternalID: id, Email: &id}); len(changes[n]) == people {
			full++
		}
	}
	for i := range changes {
		n := fanfare.Slot(i) //nolint:gosec // small
		done, err := s.Upsert(t.Context(), n, changes[i], fanfare.UpsertOptions{Add: []fanfare.SetName{fanfare.ListSet(1)}})
		if err != nil || done[people-1] != (fanfare.Upserted{Person: fanfare.Person{Slot: n, Seq: people - 1}, Outcome: fanfare.UpsertCreated}) {
			t.Fatalf("slot %d: %v (%v)", n, done, err)
		}
	}
	for i := range changes {
		n := fanfare.Slot(i) //nolint:gosec // small
		var ids []string
		for _, c := range changes[i] {
			ids = append(ids, c.ExternalID)
		}
		seqs, err := s.Resolve(t.Context(), n, ids)
		if err != nil || len(seqs) != people || seqs[3] != 3 {
			t.Fatalf("slot %d: %v (%v)", n, seqs, err)
		}
		for _, asked := range [][]fanfare.Seq{{0, 1, 2, 3}, {1, 11}} { // a range, and single ones
			got, err := s.Profiles(t.Context(), n, asked)
			if err != nil || got[1].ExternalID != ids[asked[1]] {
				t.Fatalf("slot %d: %v (%v)", n, got, err)
			}
		}
		if got, err := s.Scan(t.Context(), n, 10, 5, ""); err != nil || len(got) != 2 || got[1].ExternalID != ids[11] {
			t.Fatalf("slot %d: %v (%v)", n, got, err)
		}
	}
	if found, err := s.Check(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("check finds %q (%v)", found, err)
	}
}
