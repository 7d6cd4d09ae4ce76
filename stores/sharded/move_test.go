package sharded_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"fanfare"
	"fanfare/set"
	"fanfare/stores/memory"
	"fanfare/stores/sharded"
	"fanfare/stores/storetest"
)

const slot = fanfare.Slot(1)

// house is a sharded store with somebody in one slot, and what is known of them.
type house struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // of one test
	*sharded.Store
	m       fanfare.Message
	numbers map[fanfare.Seq]bool // given so far
	read    fanfare.Seq          // read by all below
	made    int
	again   string // the id of somebody who was erased, and of who has it now
}

func newHouse(t *testing.T, s fanfare.Store) *house {
	h := &house{t: t, ctx: t.Context(), Store: s.(*sharded.Store), numbers: map[fanfare.Seq]bool{}}
	h.m = fanfare.Message{ID: "m", Channel: fanfare.ChannelNull, Revision: 1, State: fanfare.State{Phase: fanfare.PhaseSending, Generation: 1}}
	h.ok(h.Update(h.ctx, func(tx fanfare.ControlTx) error { return tx.InsertMessage(&h.m) }))
	h.people(40)
	h.ok(h.Spread(h.ctx, slot, h.m.Num, fanfare.SlotPreparing, 1))
	_, err := h.Freeze(h.ctx, slot, h.m.Num, 1, 10, func(v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
		alive, err := v.LoadSet(fanfare.SetAlive)
		return map[fanfare.Part]*set.Set{fanfare.PartSend: alive}, err
	})
	h.ok(err)
	h.ok(h.Spread(h.ctx, slot, h.m.Num, fanfare.SlotSending, 1))
	h.again = fmt.Sprint("u", h.made+1)
	for fanfare.SlotOf(h.again, h.Slots()) != slot {
		h.made++
		h.again = fmt.Sprint("u", h.made+1)
	}
	h.people(1)
	_, err = h.Erase(h.ctx, slot, []string{h.again})
	h.ok(err)
	done, err := h.Upsert(h.ctx, slot, []fanfare.RecipientChange{{ExternalID: h.again}}, fanfare.UpsertOptions{})
	h.ok(err)
	h.numbers[done[0].Seq] = true
	if who, at, err := h.Known(h.ctx, h.again); err != nil || !h.numbers[who.Seq] || at.IsZero() {
		t.Fatalf("whoever was made again with an erased id: %v, erased %v (%v)", who, at, err)
	}
	return h
}

func (h *house) ok(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// people makes n recipients; no number may have been given before.
func (h *house) people(n int) {
	h.t.Helper()
	var changes []fanfare.RecipientChange
	for len(changes) < n {
		h.made++
		if id := fmt.Sprint("u", h.made); fanfare.SlotOf(id, h.Slots()) == slot {
			mail := id + "@example.org"
			changes = append(changes, fanfare.RecipientChange{ExternalID: id, Email: &mail, EmailState: fanfare.AddressUsable, Mailbox: uint64(h.made), Attributes: map[string]any{"n": float64(h.made)}}) //nolint:gosec // small
		}
	}
	done, err := h.Upsert(h.ctx, slot, changes, fanfare.UpsertOptions{Mark: &fanfare.Mark{Work: "w", Part: int64(h.made)}})
	h.ok(err)
	for _, d := range done {
		if h.numbers[d.Seq] {
			h.t.Fatalf("number %d was given twice", d.Seq)
		}
		h.numbers[d.Seq] = true
	}
}

// live does a little of everything that writes in the slot.
func (h *house) live() {
	h.t.Helper()
	h.people(2)
	got, err := h.LogReceipts(h.ctx, h.ShardOf(slot), []fanfare.Receipt{{Message: h.m.Num, Person: fanfare.Person{Slot: slot, Seq: h.read}, Kind: fanfare.ReceiptRead}})
	if err != nil || got[0] != fanfare.LoggedNew {
		h.t.Fatalf("a read by %d: %v (%v)", h.read, got, err)
	}
	_, _, err = h.ChangeSet(h.ctx, slot, fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonUnsubscribed), set.Of(h.read), nil)
	h.ok(err)
	h.read++
}

// picture is all that the slot says.
func (h *house) picture() (all []any) {
	h.t.Helper()
	put := func(v any, err error) {
		h.t.Helper()
		h.ok(err)
		all = append(all, v)
	}
	put(h.Scan(h.ctx, slot, 0, 1000, ""))
	put(h.Tally(h.ctx, h.m.Num, slot))
	put(h.Batches(h.ctx, h.m.Num, slot, 0, 1000))
	put(h.ReceiptCounts(h.ctx, h.m.Num, slot))
	seqs := make([]fanfare.Seq, 60)
	for i := range seqs {
		seqs[i] = fanfare.Seq(i) //nolint:gosec // small
	}
	put(h.ReceiptTimes(h.ctx, h.m.Num, slot, seqs))
	for _, name := range []fanfare.SetName{fanfare.SetAlive, fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonUnsubscribed), fanfare.AddressSet(fanfare.ChannelEmail)} {
		members, err := h.LoadSet(h.ctx, slot, name)
		put(members.ToArray(), err)
	}
	put(h.Parts(h.ctx, h.m.Num, slot))
	who, erased, err := h.Known(h.ctx, h.again)
	put(who, err)
	put(erased.UTC(), nil)
	return all
}

func (h *house) same(was []any, when string) {
	h.t.Helper()
	if d := cmp.Diff(was, h.picture(), cmpopts.EquateEmpty(), cmp.AllowUnexported(set.Bits{})); d != "" {
		h.t.Fatalf("%s: -before +now\n%s", when, d)
	}
}

var errKilled = errors.New("killed") //nolint:errname // of this test

// movesOn moves the slot, killed before the k-th step, and lets another mover go on. It tells whether there was such a step.
func (h *house) movesOn(to, k int) (killed bool) {
	h.t.Helper()
	was := h.picture()
	h.ok(h.Move(h.ctx, slot, to))
	at := 0
	first := &sharded.Mover{Store: h.Store, Holder: "same", Before: func(string) error {
		if at++; at == k {
			return errKilled
		}
		return nil
	}}
	err := first.All(h.ctx)
	if killed = errors.Is(err, errKilled); !killed {
		h.ok(err)
	}
	h.ok((&sharded.Mover{Store: h.Store, Holder: "same"}).All(h.ctx))
	_, places, err := h.Roster(h.ctx)
	h.ok(err)
	if p := places[slot]; p.Step != fanfare.MoveNone || p.Shard != to || h.ShardOf(slot) != to {
		h.t.Fatalf("killed before step %d: %+v", k, p)
	}
	h.same(was, fmt.Sprintf("after a move that was killed before step %d", k))
	if found, err := h.Check(h.ctx); err != nil || len(found) > 0 {
		h.t.Fatalf("killed before step %d: check finds %q (%v)", k, found, err)
	}
	return killed
}

func moves(t *testing.T, s fanfare.Store) {
	h := newHouse(t, s)
	h.live()
	k := 1
	for to := 2; h.movesOn(to%shards, k); to++ {
		h.live() // where it is now
		k++
	}
	if k < 10 {
		t.Errorf("there are only %d steps to be killed at", k)
	}
	// A claim that was made before the move is carried on behind it.
	c := fanfare.Claim{BatchRef: fanfare.BatchRef{Message: h.m.Num, Slot: slot}, Generation: 1, Owner: fanfare.Owner{Node: "a", Incarnation: 1}, Lease: fanfare.LeaseTime}
	if a := h.Append(h.ctx, 0, []fanfare.Entry{{Claim: &c}})[0]; a.Answer != fanfare.Applied {
		t.Fatalf("a claim after all moves: %+v", a)
	}
}

func TestMoveModels(t *testing.T) {
	moves(t, openModels(t, storetest.Options{Slots: 4}).Store)
}

func TestMoveFiles(t *testing.T) {
	moves(t, openFiles(t)(t, storetest.Options{Slots: 4}).Store)
}

// TestAClosedSlotIsWaitedFor: who writes while a slot is closed waits, and is told so when it takes too long; a record is Unknown, and its holder
// finds the row where the slot is then.
func TestAClosedSlotIsWaitedFor(t *testing.T) {
	var all []fanfare.Shard
	for range shards {
		all = append(all, memory.Open(memory.Config{Slots: 4}))
	}
	s, err := sharded.Open(t.Context(), all, sharded.Options{Patience: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, s)
	c := fanfare.Claim{BatchRef: fanfare.BatchRef{Message: h.m.Num, Slot: slot}, Generation: 1, Owner: fanfare.Owner{Node: "a", Incarnation: 1}, Lease: time.Nanosecond}
	claimed := h.Append(h.ctx, 1, []fanfare.Entry{{Claim: &c}})[0]
	if claimed.Answer != fanfare.Applied {
		t.Fatalf("%+v", claimed)
	}
	h.ok(h.Move(h.ctx, slot, 2))
	mover := &sharded.Mover{Store: s, Holder: "a", Before: func(step string) error {
		if step == "copy" {
			return errKilled
		}
		return nil
	}}
	if err := mover.All(h.ctx); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	if _, _, err := h.ChangeSet(h.ctx, slot, fanfare.ListSet(1), set.Of(1), nil); !errors.Is(err, fanfare.ErrMoving) {
		t.Errorf("a change of a closed slot: %v", err)
	}
	if _, err := h.Scan(h.ctx, slot, 0, 10, ""); err != nil {
		t.Errorf("a closed slot is read: %v", err)
	}
	again := c
	again.Batch = 1
	r := fanfare.Record{BatchRef: c.BatchRef, Generation: 1, Fence: claimed.Row.Fence, Step: claimed.Row.Step, Next: claimed.Row.Clone()}
	a := h.Append(h.ctx, 1, []fanfare.Entry{{Claim: &again}, {Record: &r}})
	if a[0].Answer != fanfare.Stale || a[0].Err != nil || a[1].Answer != fanfare.Unknown || !errors.Is(a[1].Err, fanfare.ErrMoving) {
		t.Errorf("a claim and a record of a closed slot: %+v", a)
	}
	mover.Before = nil
	h.ok(mover.All(h.ctx))
	rows, err := h.Peek(h.ctx, []fanfare.BatchRef{c.BatchRef})
	h.ok(err)
	if rows[0].Fence != r.Fence || rows[0].Step != r.Step {
		t.Fatalf("the row came as %+v", rows[0])
	}
	if a := h.Append(h.ctx, 1, []fanfare.Entry{{Record: &r}})[0]; a.Answer != fanfare.Applied { // handed to the former shard
		t.Errorf("the record again: %+v", a)
	}
}
