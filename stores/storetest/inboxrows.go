package storetest

import (
	"fmt"
	"time"

	"fanfare"
	"fanfare/set"
)

// inboxRowScenarios are those of inbox messages to few, for which whoever gets one has a row.
func inboxRowScenarios() []scenario {
	return []scenario{
		{"few of a slot", fewOfASlot},
		{"who is delivered to gets a row", rowsOfDelivery},
		{"few is settled when the audience is", fewIsSettled},
		{"marks of messages to few", rowsWithMarks},
		{"what is over is swept", rowsSwept},
		{"many at once are swept in steps", rowsSweptInSteps},
		{"what is forgotten has no rows", rowsForgotten},
	}
}

// few makes an inbox message that was started just now, to planned of slots, and lets it send; nothing of it is delivered.
func (x *fixture) few(expires time.Duration, planned map[fanfare.Slot]*set.Set) fanfare.Message {
	x.t.Helper()
	x.made++
	m := fanfare.Message{ID: fanfare.MessageID(fmt.Sprintf("made-%d", x.made)), Channel: fanfare.ChannelInbox, Revision: 1, StartedAt: x.now(), CreatedAt: x.now(), UpdatedAt: x.now(),
		State: fanfare.State{Phase: fanfare.PhasePreparing, Generation: 1}, Content: fanfare.Content{ExpiresAt: x.now().Add(expires)}}
	x.update(func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) })
	few := true
	for s, members := range planned {
		x.freeze(m.Num, s, fanfare.WholeRows, map[fanfare.Part]*set.Set{fanfare.PartSend: members})
	}
	latches, err := x.Latches(x.ctx, m.Num)
	x.ok(err)
	for _, l := range latches {
		few = few && l.Few
	}
	x.save(&m, func(m *fanfare.Message) { m.Phase, m.Few = fanfare.PhaseSending, few })
	return m
}

func (x *fixture) save(m *fanfare.Message, edit func(m *fanfare.Message)) {
	x.t.Helper()
	from := m.Phase
	edit(m)
	x.update(func(tx fanfare.ControlTx) error { return tx.SaveMessage(m, from, m.Generation) })
}

func inlineFew(m *fanfare.Message, s fanfare.Slot, no fanfare.BatchNo) fanfare.Claim {
	c := inline(ref(m.Num, s, no))
	c.Deliver.Few = m.Few
	return c
}

// finds wants that somebody finds these messages to few, in this order.
func (x *fixture) finds(who fanfare.Person, want ...fanfare.MessageID) []fanfare.InboxRow {
	x.t.Helper()
	rows, err := x.InboxRows(x.ctx, who)
	x.ok(err)
	var got []fanfare.MessageID
	for i := range rows {
		got = append(got, rows[i].ID)
	}
	x.same(got, want, fmt.Sprintf("messages to few of %v", who))
	return rows
}

// index reads all rows of a slot.
func (x *fixture) index(s fanfare.Slot) map[fanfare.MessageNum][]fanfare.Seq {
	x.t.Helper()
	found := make(map[fanfare.MessageNum]*set.Set)
	x.ok(x.InboxIndex(x.ctx, s, func(seq fanfare.Seq, m fanfare.MessageNum) error {
		if found[m] == nil {
			found[m] = set.New()
		}
		found[m].Add(seq)
		return nil
	}))
	all := make(map[fanfare.MessageNum][]fanfare.Seq)
	for m, members := range found {
		all[m] = members.ToArray()
	}
	return all
}

func fewOfASlot(x *fixture) {
	x.ok(x.Number(x.ctx, 1, 12_800))
	x.ok(x.Number(x.ctx, 2, 100))
	for i, c := range []struct {
		s       fanfare.Slot
		planned *set.Set
		want    bool
	}{{0, set.New(), true}, {1, set.Range(0, 99), true}, {1, set.Range(0, 100), false}, {2, set.Range(0, 64), true}, {2, set.Range(0, 65), false}} {
		m := x.message()
		x.freeze(m, c.s, fanfare.WholeRows, map[fanfare.Part]*set.Set{fanfare.PartSend: c.planned, "no_address": set.Range(12_000, 12_700)})
		latches, err := x.Latches(x.ctx, m)
		x.ok(err)
		if len(latches) != 1 || latches[0].Few != c.want {
			x.t.Errorf("case %d: few is not %v: %+v", i, c.want, latches)
		}
	}
	m := x.message()
	x.freeze(m, 1, 500, map[fanfare.Part]*set.Set{fanfare.PartSend: set.Of(1)})
	if latches, err := x.Latches(x.ctx, m); err != nil || len(latches) != 1 || latches[0].Few {
		x.t.Errorf("batches that are no rows: %+v, %v", latches, err)
	}
}

func rowsOfDelivery(x *fixture) {
	for s := range fanfare.Slot(3) {
		x.ok(x.Number(x.ctx, s, 70_010))
	}
	m := x.few(time.Hour, map[fanfare.Slot]*set.Set{0: set.Of(3, 5, 9, 70_000), 2: set.Of(5)})
	many := x.few(time.Hour, map[fanfare.Slot]*set.Set{0: set.Of(3), 2: every(2, 70_000)})
	if !m.Few || many.Few {
		x.t.Fatalf("to few: %v, %v", m.Few, many.Few)
	}
	_, _, err := x.ChangeSet(x.ctx, 0, fanfare.SetAlive, nil, set.Of(5))
	x.ok(err)
	x.finds(fanfare.Person{Slot: 0, Seq: 3})
	at := x.now()
	a := x.claim(inlineFew(&m, 0, 0))
	x.answers(a, fanfare.Applied, "claim")
	x.same(a.Members, []fanfare.Seq{3, 9}, "who got a row")
	x.clock.Advance(time.Minute)
	a = x.claim(inlineFew(&m, 0, 1))
	x.same(a.Members, []fanfare.Seq{70_000}, "who got a row of the second batch")
	x.answers(x.claim(inlineFew(&m, 0, 0)), fanfare.Over, "once more")
	a = x.claim(inlineFew(&many, 0, 0))
	x.answers(a, fanfare.Applied, "of a message to many, in a slot where few are planned")
	if len(a.Members) > 0 {
		x.t.Errorf("rows of a message to many: %v", a.Members)
	}
	many.Few = true // whatever its claim says, the latch of the other slot says no
	x.answers(x.claim(inlineFew(&many, 2, 0)), fanfare.Applied, "claim")
	many.Few = false
	x.same(x.index(0), map[fanfare.MessageNum][]fanfare.Seq{m.Num: {3, 9, 70_000}}, "rows of slot 0")
	x.same(x.index(2), map[fanfare.MessageNum][]fanfare.Seq{}, "rows of slot 2")
	rows := x.finds(fanfare.Person{Slot: 0, Seq: 3}, m.ID)
	x.same(rows[0], fanfare.InboxRow{At: at, InboxMessage: fanfare.InboxMessage{Num: m.Num, ID: m.ID, Revision: 1, Phase: fanfare.PhaseSending, StartedAt: m.StartedAt, ExpiresAt: m.ExpiresAt()}}, "a row")
	x.finds(fanfare.Person{Slot: 0, Seq: 5})
	x.finds(fanfare.Person{Slot: 2, Seq: 3})
	for chunk, want := range [][]fanfare.Seq{{3, 9}, {70_000}, nil} {
		owners, err := x.InboxOwners(x.ctx, 0, uint16(chunk)) //nolint:gosec // small
		x.ok(err)
		x.same(owners.ToArray(), want, fmt.Sprintf("owners of chunk %d", chunk))
	}
	all, err := x.InboxMessages(x.ctx)
	x.ok(err)
	if len(all) != 1 || all[0].ID != many.ID {
		x.t.Errorf("the messages to many: %+v", all)
	}
	parts, err := x.InboxChunk(x.ctx, 0, 0, []fanfare.MessageNum{m.Num})
	x.ok(err)
	if !parts[0].Members.Equal(set.Of(3, 9)) {
		x.t.Errorf("the sets do not tell of a message to few: %+v", parts)
	}
	if x.backend.Reopen != nil {
		x.Store = x.backend.Reopen(x.t)
		x.same(x.finds(fanfare.Person{Slot: 0, Seq: 3}, m.ID), rows, "after it was opened again")
	}
}

func fewIsSettled(x *fixture) {
	x.ok(x.Number(x.ctx, 0, 10))
	m := x.few(time.Hour, map[fanfare.Slot]*set.Set{0: set.Of(1)})
	is := func(want bool, when string) {
		x.t.Helper()
		x.view(func(v fanfare.ControlView) error {
			got, err := v.Message(m.ID)
			if err != nil || got.Few != want {
				x.t.Errorf("%s: few is %v, want %v (%v)", when, got.Few, want, err)
			}
			return err
		})
		looks, err := x.Look(x.ctx)
		x.ok(err)
		if len(looks) == 1 && looks[0].Few != want {
			x.t.Errorf("%s: the look says %v", when, looks[0].Few)
		}
	}
	is(true, "from preparing")
	x.save(&m, func(m *fanfare.Message) { m.Phase, m.Few = fanfare.PhaseCompleted, false })
	is(true, "saved as false later")
	x.clock.Advance(2 * time.Hour)
	if more, err := x.SweepInboxes(x.ctx); more || err != nil {
		x.t.Errorf("more %v, %v", more, err)
	}
	is(false, "swept")
	x.save(&m, func(m *fanfare.Message) { m.Few = true })
	is(false, "saved as true later")
}

func rowsWithMarks(x *fixture) {
	x.ok(x.Number(x.ctx, 1, 70_010))
	var sent []fanfare.Message
	for range 3 {
		m := x.few(time.Hour, map[fanfare.Slot]*set.Set{1: set.Of(7, 70_000)})
		x.answers(x.claim(inlineFew(&m, 1, 0)), fanfare.Applied, "claim")
		x.answers(x.claim(inlineFew(&m, 1, 1)), fanfare.Applied, "claim")
		sent = append(sent, m)
		x.clock.Advance(time.Minute)
	}
	who, other := fanfare.Person{Slot: 1, Seq: 70_000}, fanfare.Person{Slot: 1, Seq: 7}
	mark := func(m int, p fanfare.Person, k fanfare.ReceiptKind) {
		_, err := x.LogReceipts(x.ctx, x.ShardOf(1), []fanfare.Receipt{{Message: sent[m].Num, Person: p, Kind: k}})
		x.ok(err)
	}
	check := func(when string) {
		x.t.Helper()
		for _, p := range []fanfare.Person{who, other} {
			rows := x.finds(p, sent[2].ID, sent[1].ID, sent[0].ID)
			for i := range rows {
				times, err := x.ReceiptTimes(x.ctx, rows[i].Num, 1, []fanfare.Seq{p.Seq})
				x.ok(err)
				x.same(rows[i].Marks, times[0], when)
			}
		}
	}
	check("nothing is marked")
	mark(0, who, fanfare.ReceiptRead)
	mark(2, other, fanfare.ReceiptArchived)
	check("as logged")
	for more := true; more; {
		var err error
		more, err = x.Fold(x.ctx, x.ShardOf(1))
		x.ok(err)
	}
	check("folded")
	mark(0, who, fanfare.ReceiptUnread)
	mark(1, who, fanfare.ReceiptSeen)
	check("folded and logged")
	if x.backend.DamageReceipts != nil {
		x.backend.DamageReceipts(x.t, sent[2].Num, 1, fanfare.ReceiptArchived, 0)
		if x.backend.Reopen != nil {
			x.Store = x.backend.Reopen(x.t)
		}
		x.is(x.finds(other, sent[2].ID, sent[1].ID, sent[0].ID)[0].Damaged, fanfare.ErrDamaged, "marks in a damaged row")
		if row := x.finds(who, sent[2].ID, sent[1].ID, sent[0].ID)[1]; row.Damaged != nil || row.Marks[fanfare.ReceiptSeen].At == 0 {
			x.t.Errorf("beside it: %+v", row)
		}
	}
}

func rowsSwept(x *fixture) {
	x.ok(x.Number(x.ctx, 0, 1000))
	x.ok(x.Number(x.ctx, 3, 1000))
	make := func(expires time.Duration) fanfare.Message {
		m := x.few(expires, map[fanfare.Slot]*set.Set{0: set.Of(1, 2), 3: set.Of(1)})
		x.answers(x.claim(inlineFew(&m, 0, 0)), fanfare.Applied, "claim")
		return m
	}
	soon, recalled, unread, stays := make(time.Minute), make(time.Hour), make(time.Hour), make(time.Hour)
	who := fanfare.Person{Slot: 0, Seq: 2}
	x.finds(who, stays.ID, unread.ID, recalled.ID, soon.ID)
	x.save(&recalled, func(m *fanfare.Message) { m.Recall = fanfare.RecallAll })
	x.save(&unread, func(m *fanfare.Message) { m.Recall = fanfare.RecallUnread })
	x.finds(who, stays.ID, unread.ID, soon.ID)
	x.clock.Advance(time.Minute)
	if rows := x.finds(who, stays.ID, unread.ID); rows[1].Recall != fanfare.RecallUnread {
		x.t.Errorf("%+v", rows[1])
	}
	head := x.head()
	more, err := x.SweepInboxes(x.ctx)
	x.ok(err)
	if more || x.head() <= head {
		x.t.Errorf("more %v, the head rose from %d to %d", more, head, x.head())
	}
	want := map[fanfare.MessageNum][]fanfare.Seq{unread.Num: {1, 2}, stays.Num: {1, 2}}
	x.same(x.index(0), want, "rows after the sweep")
	x.answers(x.claim(inlineFew(&soon, 3, 0)), fanfare.Applied, "what is left of one that was swept")
	x.same(x.index(3), map[fanfare.MessageNum][]fanfare.Seq{}, "rows of the other slot")
	head = x.head()
	if _, err := x.SweepInboxes(x.ctx); err != nil || x.head() != head {
		x.t.Errorf("nothing is left to sweep: %v, the head rose from %d to %d", err, head, x.head())
	}
	x.save(&soon, func(m *fanfare.Message) { m.Content.ExpiresAt = x.now().Add(time.Hour) }) // it comes back
	all, err := x.InboxMessages(x.ctx)
	x.ok(err)
	if len(all) != 1 || all[0].ID != soon.ID {
		x.t.Errorf("what was swept comes back as a message to many: %+v", all)
	}
	x.finds(who, stays.ID, unread.ID)
}

func rowsSweptInSteps(x *fixture) {
	x.ok(x.Number(x.ctx, 0, 40_000))
	const n = 12
	for range n {
		m := x.few(time.Minute, map[fanfare.Slot]*set.Set{0: set.Range(0, 300)})
		x.answers(x.claim(inlineFew(&m, 0, 0)), fanfare.Applied, "claim")
	}
	x.clock.Advance(time.Hour)
	for steps, more := 0, true; more; steps++ {
		var err error
		if more, err = x.SweepInboxes(x.ctx); err != nil || steps > 2*n {
			x.t.Fatalf("step %d: %v", steps, err)
		}
	}
	x.same(x.index(0), map[fanfare.MessageNum][]fanfare.Seq{}, "rows")
}

func rowsForgotten(x *fixture) {
	x.ok(x.Number(x.ctx, 0, 1000))
	m, stays := x.few(time.Hour, map[fanfare.Slot]*set.Set{0: set.Of(1, 2)}), x.few(time.Hour, map[fanfare.Slot]*set.Set{0: set.Of(2)})
	for _, m := range []*fanfare.Message{&m, &stays} {
		x.answers(x.claim(inlineFew(m, 0, 0)), fanfare.Applied, "claim")
	}
	x.ok(x.Forget(x.ctx, 0, m.Num))
	x.same(x.index(0), map[fanfare.MessageNum][]fanfare.Seq{stays.Num: {2}}, "rows")
	x.finds(fanfare.Person{Slot: 0, Seq: 2}, stays.ID)
	x.finds(fanfare.Person{Slot: 0, Seq: 1})
}
