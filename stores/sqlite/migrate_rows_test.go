package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"fanfare"
	"fanfare/set"
	"fanfare/stores/sqlite"
)

// TestMigrateFrom10 opens a file that was made before inbox messages to few had rows: what was delivered then is found by its sets, what is
// frozen but not delivered yet too, and what comes later has rows.
func TestMigrateFrom10(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fanfare.db")
	open := func() fanfare.Store {
		s, err := sqlite.Open(t.Context(), name, sqlite.Options{Slots: 1})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s := open()
	must(s.Number(t.Context(), 0, 1000))
	prepare := func(id fanfare.MessageID) fanfare.Message {
		m := fanfare.Message{ID: id, Channel: fanfare.ChannelInbox, Revision: 1, StartedAt: time.Now(), State: fanfare.State{Phase: fanfare.PhasePreparing, Generation: 1}}
		must(s.Update(t.Context(), func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) }))
		must(s.Spread(t.Context(), 0, m.Num, fanfare.SlotPreparing, 1))
		_, err := s.Freeze(t.Context(), 0, m.Num, 1, fanfare.WholeRows, func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
			return map[fanfare.Part]*set.Set{fanfare.PartSend: set.Of(5)}, nil
		})
		must(err)
		must(s.Spread(t.Context(), 0, m.Num, fanfare.SlotSending, 1))
		return m
	}
	send := func(m fanfare.Message) {
		latches, err := s.Latches(t.Context(), m.Num)
		must(err)
		m.Phase, m.Few = fanfare.PhaseSending, latches[0].Few
		must(s.Update(t.Context(), func(tx fanfare.ControlTx) error { return tx.SaveMessage(&m, fanfare.PhasePreparing, 1) }))
		c := &fanfare.Claim{BatchRef: fanfare.BatchRef{Message: m.Num}, Generation: 1, Owner: fanfare.Owner{Node: "n", Incarnation: 1}, Lease: time.Minute,
			Deliver: &fanfare.Inline{Revision: 1, Few: m.Few}}
		if a := s.Append(t.Context(), 0, []fanfare.Entry{{Claim: c}})[0]; a.Answer != fanfare.Applied {
			t.Fatalf("%+v", a)
		}
	}
	send(prepare("delivered before"))
	frozen := prepare("frozen before")
	put := func(id string) fanfare.Person {
		made, err := s.Upsert(t.Context(), 0, []fanfare.RecipientChange{{ExternalID: id}}, fanfare.UpsertOptions{})
		must(err)
		return made[0].Person
	}
	put("erased")
	_, err := s.Erase(t.Context(), 0, []string{"erased"})
	must(err)
	began := time.Now()
	must(s.Close())
	behind(t, name, `DROP TABLE inbox_rows; DROP INDEX messages_inbox; DROP INDEX messages_few; DROP INDEX messages_few_recalled;
		ALTER TABLE message_rows DROP COLUMN few; ALTER TABLE message_slots DROP COLUMN few; ALTER TABLE shard DROP COLUMN folds;
		DROP TABLE shards; DROP TABLE slot_map; ALTER TABLE shard DROP COLUMN installation; ALTER TABLE shard DROP COLUMN number; ALTER TABLE erased DROP COLUMN at;
		CREATE INDEX messages_inbox ON message_rows (started_at DESC, num DESC, expires_at) WHERE channel = 'inbox' AND started_at > 0 AND recall <> 'all' AND test = 0;
		DELETE FROM fanfare_schema WHERE version > 10`)
	s = open()
	defer s.Close() //nolint:errcheck // at the end
	send(frozen)
	send(prepare("after"))
	var many []fanfare.MessageNum
	back := put("erased") // when they were is not known: by the time of the migration
	if who, at, err := s.Known(t.Context(), "erased"); err != nil || who != back || at.Before(began.Truncate(time.Second)) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("%v erased at %v (%v)", who, at, err)
	}
	all, err := s.InboxMessages(t.Context())
	must(err)
	for _, m := range all {
		many = append(many, m.Num)
	}
	rows, err := s.InboxRows(t.Context(), fanfare.Person{Seq: 5})
	must(err)
	if len(all) != 2 || all[0].ID != "frozen before" || all[1].ID != "delivered before" || len(rows) != 1 || rows[0].ID != "after" {
		t.Fatalf("by sets %+v, by rows %+v", all, rows)
	}
	parts, err := s.InboxChunk(t.Context(), 0, 0, many)
	must(err)
	for i := range parts {
		if parts[i].Members == nil || !parts[i].Members.Equal(set.Of(5)) {
			t.Errorf("%s: %+v", all[i].ID, parts[i])
		}
	}
	if found, err := s.Check(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("check finds %q (%v)", found, err)
	}
}
