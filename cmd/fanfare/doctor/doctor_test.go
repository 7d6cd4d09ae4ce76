package doctor_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/cmd/fanfare/doctor"
	"fanfare/people"
	"fanfare/set"
	"fanfare/stores/memory"
)

const slot = fanfare.Slot(0)

// ward is a store of one slot with 1,200 people and a message whose batches stand in every state.
type ward struct {
	t     *testing.T
	store *memory.Store
	m     fanfare.Message
}

func admit(t *testing.T) *ward {
	w := &ward{t: t, store: memory.Open(memory.Config{Slots: 1, Now: func() time.Time { return time.Unix(1e9, 0) }})}
	ctx := t.Context()
	var changes []fanfare.RecipientChange
	for i := range 1200 {
		address := fmt.Sprintf("u%d@people.example", i)
		changes = append(changes, fanfare.RecipientChange{ExternalID: fmt.Sprint("u", i), Email: &address, EmailState: fanfare.AddressUsable, Mailbox: uint64(i)})
	}
	w.must(w.store.Update(ctx, func(tx fanfare.ControlTx) error { return tx.InsertList(&fanfare.List{Name: "all"}) }))
	_, err := w.store.Upsert(ctx, slot, changes, fanfare.UpsertOptions{Add: []fanfare.SetName{fanfare.ListSet(1)}})
	w.must(err)
	w.m = fanfare.Message{ID: "m1", Channel: fanfare.ChannelEmail, Revision: 1, State: fanfare.State{Phase: fanfare.PhaseDraft, Generation: 1}}
	w.must(w.store.Update(ctx, func(tx fanfare.ControlTx) error { return tx.InsertMessage(&w.m) }))
	w.event(fanfare.EventStart)
	w.must(fanfare.SpreadAll(ctx, w.store, 1, w.m))
	done, err := w.store.Freeze(ctx, slot, w.m.Num, w.m.Generation, 500, func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
		return map[fanfare.Part]*set.Set{fanfare.PartSend: set.Range(10, 1200), fanfare.Part(fanfare.ReasonUnsubscribed): set.Range(0, 10)}, nil
	})
	w.must(err)
	if !done {
		t.Fatal("not frozen")
	}
	w.event(fanfare.EventFrozen)
	w.must(fanfare.SpreadAll(ctx, w.store, 1, w.m))
	w.write(0, true, func(b *fanfare.Batch) []fanfare.Exception { // done: 497 sent, one of each other kind
		b.Pending, b.Sent, b.Failed, b.Skipped, b.Uncertain = set.NewBits(b.N), 497, 1, 1, 1
		b.Doubted.Set(2)
		return []fanfare.Exception{{Rank: 0, Seq: 10, Result: fanfare.ResultFailed, Reason: fanfare.ReasonPermanent},
			{Rank: 1, Seq: 11, Result: fanfare.ResultSkipped, Reason: fanfare.ReasonMissingField},
			{Rank: 2, Seq: 12, Result: fanfare.ResultUncertain, Reason: fanfare.ReasonNoAnswer, Doubts: 1}}
	})
	w.write(1, false, func(b *fanfare.Batch) []fanfare.Exception { // open: one in flight, one retrying, one sent at the second try
		b.Pending = set.NewBits(b.N)
		b.Pending.Set(7)
		b.InFlight.Set(8)
		b.Sent = 498
		return []fanfare.Exception{{Rank: 7, Seq: 517, Result: fanfare.ResultPending, Reason: fanfare.ReasonTemporary, Attempts: 1},
			{Rank: 9, Seq: 519, Result: fanfare.ResultSent, Attempts: 2}}
	})
	return w
}

func (w *ward) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *ward) event(e fanfare.Event) {
	w.t.Helper()
	var err error
	w.m, _, err = fanfare.Transition(w.t.Context(), w.store, w.m.ID, e, nil)
	w.must(err)
}

func (w *ward) receipt(seq fanfare.Seq, k fanfare.ReceiptKind) {
	w.t.Helper()
	_, err := w.store.LogReceipts(w.t.Context(), 0, []fanfare.Receipt{{Message: w.m.Num, Person: fanfare.Person{Slot: slot, Seq: seq}, Kind: k}})
	w.must(err)
}

// write claims a batch and records what edit makes of its row; over gives the claim up.
func (w *ward) write(no fanfare.BatchNo, over bool, edit func(*fanfare.Batch) []fanfare.Exception) {
	w.t.Helper()
	ref := fanfare.BatchRef{Message: w.m.Num, Slot: slot, Batch: no}
	rows, err := w.store.Peek(w.t.Context(), []fanfare.BatchRef{ref})
	w.must(err)
	next := rows[0].Clone()
	lease := time.Minute
	if over {
		lease = 0
	}
	r := fanfare.Record{BatchRef: ref, Generation: w.m.Generation, Fence: rows[0].Fence, Step: rows[0].Step, Next: next, Lease: lease}
	r.Exceptions = edit(&r.Next)
	a := w.store.Append(w.t.Context(), 0, []fanfare.Entry{{Record: &r}})[0]
	if a.Answer != fanfare.Applied {
		w.t.Fatalf("batch %d: answer %d: %v", no, a.Answer, a.Err)
	}
}

func (w *ward) examine(store doctor.Store) doctor.Report {
	w.t.Helper()
	r, err := doctor.Run(w.t.Context(), store)
	w.must(err)
	return r
}

func TestNothingDiffers(t *testing.T) {
	w := admit(t)
	w.receipt(100, fanfare.ReceiptRead)
	w.receipt(100, fanfare.ReceiptUnread)
	r := w.examine(w.store)
	if !r.OK || len(r.Found) != 0 || r.Receipts != 2 || r.Messages != 1 || r.Batches != 3 || r.Planned != 1190 || r.Exceptions != 5 || r.Recipients != 1200 || r.Moving != 0 {
		t.Errorf("%+v", r)
	}
}

// TestAnImportThatNamesSomebodyTwice: the row that the importer writes of it is no difference.
func TestAnImportThatNamesSomebodyTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.Open(memory.Config{Slots: 2})
		im, err := people.NewImporter(store, t.TempDir(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		_, err = im.Accept(t.Context(), strings.NewReader("id,level\na,1\nb,1\na,2\nb,1\n,3\n"), "", people.Options{Format: people.CSV})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		go func() { synctest.Wait(); stop() }()
		if err := im.Run(ctx); err != nil {
			t.Fatal(err)
		}
		_ = store.View(t.Context(), func(v fanfare.ControlView) error {
			all, err := v.Imports(fanfare.ImportDone)
			if err != nil || len(all) != 1 || all[0].Duplicates != 2 || all[0].Rows != 5 {
				t.Errorf("%+v, %v", all, err)
			}
			return nil
		})
		if r, err := doctor.Run(t.Context(), store); err != nil || !r.OK {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestEachDifference breaks one thing at a time; the doctor must name it, and where it is.
func TestEachDifference(t *testing.T) {
	none := func(edit func(b *fanfare.Batch)) func(*fanfare.Batch) []fanfare.Exception {
		return func(b *fanfare.Batch) []fanfare.Exception { edit(b); return nil }
	}
	for name, c := range map[string]struct {
		do   func(w *ward)
		want string
	}{
		"a sent one is not counted": {func(w *ward) { w.write(0, false, none(func(b *fanfare.Batch) { b.Sent-- })) },
			"message m1, slot 0, batch 0: sent is 496, the sets leave 497"},
		"somebody is lost from pending": {func(w *ward) { w.write(1, false, none(func(b *fanfare.Batch) { b.Pending.Clear(7) })) },
			"seq 517 is pending by its exception row, but neither pending nor in flight"},
		"and counted as sent": {func(w *ward) { w.write(2, true, none(func(b *fanfare.Batch) { b.Pending.Reset(); b.Sent = b.N - 1 })) },
			"batch 2: sent is 189, the sets leave 190"},
		"failed without a row": {func(w *ward) { w.write(0, false, none(func(b *fanfare.Batch) { b.Failed++; b.Sent-- })) },
			"failed is 2, 1 exception rows say so"},
		"skipped without a row": {func(w *ward) { w.write(0, false, none(func(b *fanfare.Batch) { b.Skipped++; b.Sent-- })) },
			"skipped is 2, 1 exception rows say so"},
		"uncertain without a row": {func(w *ward) { w.write(0, false, none(func(b *fanfare.Batch) { b.Uncertain++; b.Sent-- })) },
			"uncertain is 2, 1 exception rows say so"},
		"pending and in flight at once": {func(w *ward) { w.write(1, false, none(func(b *fanfare.Batch) { b.InFlight.Set(7); b.Sent-- })) },
			"1 members are pending and in flight at once"},
		"a doubt is forgotten": {func(w *ward) { w.write(0, false, none(func(b *fanfare.Batch) { b.Doubted.Reset() })) },
			"seq 12 is uncertain by its exception row, in doubt 1 times, but not among the doubted"},
		"failed and pending": {func(w *ward) { w.write(0, false, none(func(b *fanfare.Batch) { b.Pending.Set(0); b.Sent-- })) },
			"seq 10 is failed by its exception row, but pending or in flight by the sets"},
		"an exception of nobody": {func(w *ward) {
			w.write(0, false, func(*fanfare.Batch) []fanfare.Exception {
				return []fanfare.Exception{{Rank: 0, Seq: 3, Result: fanfare.ResultFailed}}
			})
		}, "seq 3 has an exception row, but is not planned"},
		"completed too early": {func(w *ward) { w.event(fanfare.EventAllDone) }, "batch 2: its message is completed, but the batch is not done"},
		"a list member who is not alive": {func(w *ward) {
			_, _, err := w.store.ChangeSet(t.Context(), slot, fanfare.ListSet(1), set.Of(5000), nil)
			w.must(err)
		}, `slot 0: list "all": 1 members are not alive (seq 5000)`},
		"an address too many": {func(w *ward) {
			_, _, err := w.store.ChangeSet(t.Context(), slot, fanfare.AddressSet(fanfare.ChannelEmail), nil, set.Of(7, 8))
			w.must(err)
		}, "the set and the profiles differ in 2 people (seq 7 8)"},
		"a receipt of nobody": {func(w *ward) { w.receipt(3, fanfare.ReceiptRead) }, "message m1, slot 0: 1 are read, but not planned (seq 3)"},
		"an import that does not add up": {func(w *ward) {
			w.must(w.store.Update(t.Context(), func(tx fanfare.ControlTx) error {
				return tx.PutImport(fanfare.Import{ID: "i1", State: fanfare.ImportDone, Rows: 10, Created: 8, Failed: 1})
			}))
		}, "import i1: 10 rows, but created 8 + updated 0 + unchanged 0 + refused 1 = 9"},
	} {
		t.Run(name, func(t *testing.T) {
			w := admit(t)
			w.t = t
			c.do(w)
			r := w.examine(w.store)
			var all []string
			for _, f := range r.Found {
				all = append(all, f.String())
			}
			if r.OK || !strings.Contains(strings.Join(all, "\n"), c.want) {
				t.Errorf("want %q in\n%s", c.want, strings.Join(all, "\n"))
			}
		})
	}
}

func TestDamage(t *testing.T) {
	w := admit(t)
	w.store.Damage(w.m.Num, slot, fanfare.PartSend)
	r := w.examine(w.store)
	if r.OK || len(r.Damage) != 1 || !strings.Contains(r.Damage[0], "part send") {
		t.Errorf("%+v", r)
	}
}

// altered answers something else than the store keeps.
type altered struct {
	*memory.Store
	tally   func(*fanfare.Tally)
	batches func(rows []fanfare.Batch)
	parts   func(map[fanfare.Part]int)
	counts  map[fanfare.ReceiptKind]int
}

func (a *altered) ReceiptCounts(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot) (map[fanfare.ReceiptKind]int, error) {
	if a.counts != nil {
		return a.counts, nil
	}
	return a.Store.ReceiptCounts(ctx, m, s)
}

func (a *altered) Tally(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot) (fanfare.Tally, error) {
	t, err := a.Store.Tally(ctx, m, s)
	if a.tally != nil {
		a.tally(&t)
	}
	return t, err
}

func (a *altered) Batches(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot, from fanfare.BatchNo, limit int) ([]fanfare.Batch, error) {
	rows, err := a.Store.Batches(ctx, m, s, from, limit)
	if a.batches != nil {
		a.batches(rows)
	}
	return rows, err
}

func (a *altered) Parts(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot) (map[fanfare.Part]int, error) {
	p, err := a.Store.Parts(ctx, m, s)
	if a.parts != nil {
		a.parts(p)
	}
	return p, err
}

func TestSumsAndShapes(t *testing.T) {
	w := admit(t)
	for want, a := range map[string]*altered{
		"the sum says 996 sent, counted are 995":                                    {tally: func(t *fanfare.Tally) { t.Sent++ }},
		"the sum says 2 doubted, counted are 1":                                     {tally: func(t *fanfare.Tally) { t.Doubted++ }},
		"the sum says 0 failed rows, counted are 1":                                 {tally: func(t *fanfare.Tally) { t.Exceptions[fanfare.ResultFailed]-- }},
		"the sum does not balance":                                                  {tally: func(t *fanfare.Tally) { t.Unbalanced = append(t.Unbalanced, fanfare.BatchRef{}) }},
		"batch 2: it begins at rank 1001, the one before ends at 1000":              {batches: func(rows []fanfare.Batch) { rows[2].First++ }},
		"slot 0: its batches have 1189 members together, 1190 are planned":          {batches: func(rows []fanfare.Batch) { rows[2].N-- }},
		"batch 2: its sets are of 190, 190 and 190 members, the batch of 189":       {batches: func(rows []fanfare.Batch) { rows[2].N-- }},
		"slot 0: part unsubscribed has 10 members, its rows say 11":                 {parts: func(p map[fanfare.Part]int) { p[fanfare.Part(fanfare.ReasonUnsubscribed)]++ }},
		"message m1, slot 0, batch 0: it is done, but 1 members are pending or in":  {batches: func(rows []fanfare.Batch) { rows[0].Pending.Set(9) }},
		"message m1, slot 0, batch 2: it is new, but not everybody is pending":      {batches: func(rows []fanfare.Batch) { rows[2].Pending.Clear(9) }},
		"slot 0: 7 are counted as clicked, the set has 0":                           {counts: map[fanfare.ReceiptKind]int{fanfare.ReceiptClicked: 7}},
		"batch 0: sent 497 + failed 1 + skipped 1 + uncertain 1 + pending 1 + in f": {batches: func(rows []fanfare.Batch) { rows[0].Pending.Set(9) }},
	} {
		a.Store = w.store
		r := w.examine(a)
		if r.OK || !strings.Contains(fmt.Sprint(r.Found), want) {
			t.Errorf("want %q in %v", want, r.Found)
		}
	}
}

// TestMoving: rows that are written while they are read are not judged, and said to be so.
func TestMoving(t *testing.T) {
	w := admit(t)
	step := int64(0)
	r := w.examine(&altered{Store: w.store, batches: func(rows []fanfare.Batch) {
		step++
		rows[1].Step += step
		rows[1].Sent++
	}})
	if !r.OK || r.Moving != 1 || r.Batches != 3 {
		t.Errorf("%+v", r)
	}
}
