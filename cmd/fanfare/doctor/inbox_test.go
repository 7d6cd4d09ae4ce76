package doctor_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"fanfare"
	"fanfare/cmd/fanfare/doctor"
	"fanfare/set"
	"fanfare/stores/memory"
)

// otherRows is a store whose rows of inboxes are others.
type otherRows struct {
	*memory.Store
	without, with fanfare.Seq
	of            fanfare.MessageNum // of with
}

func (s otherRows) InboxIndex(ctx context.Context, n fanfare.Slot, fn func(fanfare.Seq, fanfare.MessageNum) error) error {
	if err := s.Store.InboxIndex(ctx, n, func(seq fanfare.Seq, m fanfare.MessageNum) error {
		if seq == s.without {
			return nil
		}
		return fn(seq, m)
	}); err != nil || s.of == 0 {
		return err
	}
	return fn(s.with, s.of)
}

// TestRowsOfInboxesAreComparedWithTheSets: of a message to few whoever was sent to has a row, and nobody else.
func TestRowsOfInboxesAreComparedWithTheSets(t *testing.T) {
	w := &ward{t: t, store: memory.Open(memory.Config{Slots: 1, Now: func() time.Time { return time.Unix(1e9, 0) }})}
	w.must(w.store.Number(t.Context(), slot, 100_000))
	_, _, err := w.store.ChangeSet(t.Context(), slot, fanfare.SetAlive, nil, set.Of(7))
	w.must(err)
	send := func(id fanfare.MessageID, planned *set.Set) {
		w.m = fanfare.Message{ID: id, Channel: fanfare.ChannelInbox, Revision: 1, State: fanfare.State{Phase: fanfare.PhaseDraft, Generation: 1}}
		w.must(w.store.Update(t.Context(), func(tx fanfare.ControlTx) error { return tx.InsertMessage(&w.m) }))
		w.event(fanfare.EventStart)
		w.must(fanfare.SpreadAll(t.Context(), w.store, 1, w.m))
		_, err := w.store.Freeze(t.Context(), slot, w.m.Num, w.m.Generation, fanfare.WholeRows, func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
			return map[fanfare.Part]*set.Set{fanfare.PartSend: planned}, nil
		})
		w.must(err)
		few := planned.Len() < 100
		w.m, _, err = fanfare.Transition(t.Context(), w.store, id, fanfare.EventFrozen, func(m *fanfare.Message) { m.Few = few })
		w.must(err)
		w.must(fanfare.SpreadAll(t.Context(), w.store, 1, w.m))
		c := &fanfare.Claim{BatchRef: fanfare.BatchRef{Message: w.m.Num, Slot: slot}, Generation: w.m.Generation, Owner: fanfare.Owner{Node: "n", Incarnation: 1}, Lease: time.Minute,
			Deliver: &fanfare.Inline{Revision: 1, Few: few}}
		if a := w.store.Append(t.Context(), 0, []fanfare.Entry{{Claim: c}})[0]; a.Answer != fanfare.Applied {
			t.Fatalf("%+v", a)
		}
	}
	send("few", set.Of(3, 7, 9, 70_000))
	send("many", set.Range(0, 50_000))
	send("one", set.Of(4))
	if r := w.examine(w.store); !r.OK || r.Messages != 3 {
		t.Fatalf("%+v", r)
	}
	const none = 99_999
	for name, c := range map[string]struct {
		store doctor.Store
		want  string
	}{
		"one is missing":       {otherRows{w.store, 9, 0, 0}, "message few, slot 0: by the sets 1 people have it in their inboxes, but no row (seq 9)"},
		"all are missing":      {otherRows{w.store, 4, 0, 0}, "message one, slot 0: by the sets 1 people have it in their inboxes, but no row (seq 4)"},
		"who was skipped":      {otherRows{w.store, none, 7, 1}, "message few, slot 0: 1 people have a row in their inboxes that the sets do not tell of (seq 7)"},
		"of a message to many": {otherRows{w.store, none, 5, 2}, "message many, slot 0: 1 people have a row in their inboxes"},
		"of no message":        {otherRows{w.store, none, 5, 99}, "message number 99 is gone, but 1 people have rows of it in their inboxes (seq 5)"},
	} {
		if r := w.examine(c.store); r.OK || len(r.Found) != 1 || !strings.Contains(r.Found[0].String(), c.want) {
			t.Errorf("%s: %+v", name, r.Found)
		}
	}
}
