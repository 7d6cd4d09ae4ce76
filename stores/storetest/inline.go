package storetest

import (
	"time"

	"fanfare"
	"fanfare/set"
)

// inlineScenarios are those of batches that their claim delivers.
func inlineScenarios() []scenario {
	return []scenario{
		{"a batch is a stored row", wholeRows},
		{"the claim delivers", deliver},
		{"who is out by then gets nothing", deliverOut},
		{"in one group with others", deliverTogether},
		{"not behind a pause", deliverPaused},
		{"a settling claim delivers nothing", deliverSettle},
		{"what is left of a batch", deliverRest},
		{"a damaged row is held", deliverDamaged},
		{"which messages are in inboxes", inboxMessages},
		{"to whom of a chunk they were delivered", inboxChunk},
	}
}

func inline(r fanfare.BatchRef) fanfare.Claim {
	c := claim(r, alice)
	c.Deliver = &fanfare.Inline{Revision: 4, Suppressions: fanfare.Suppressions(fanfare.ChannelInbox, "news", false)}
	return c
}

// inbox makes a message of whole rows to everybody in planned, all of whom are alive.
func (x *fixture) inbox(s fanfare.Slot, planned *set.Set) fanfare.MessageNum {
	x.t.Helper()
	if top, some := planned.Max(); some {
		x.ok(x.Number(x.ctx, s, int(top)+1))
	}
	m := x.message()
	x.freeze(m, s, fanfare.WholeRows, map[fanfare.Part]*set.Set{fanfare.PartSend: planned})
	return m
}

func wholeRows(x *fixture) {
	const s = 1
	planned := every(3, 70_000)
	planned.AddRange(200_000, 200_010)
	planned.AddRange(4*set.ChunkSize, 5*set.ChunkSize)
	m := x.inbox(s, planned)
	rows, err := x.Batches(x.ctx, m, s, 0, 100)
	x.ok(err)
	want := []int{21_846, planned.LenRange(set.ChunkSize, 2*set.ChunkSize), 10, set.ChunkSize}
	if len(rows) != len(want) {
		x.t.Fatalf("%d batches, want %v", len(rows), want)
	}
	first := 0
	for k, n := range want {
		x.same(rows[k], fanfare.Batch{BatchRef: ref(m, s, fanfare.BatchNo(k)), First: uint32(first), N: n, //nolint:gosec // small
			Pending: set.FullBits(n), InFlight: set.NewBits(n), Doubted: set.NewBits(n)}, "a row's batch")
		first += n
	}
	if t := x.tally(m, s); !t.Balanced(planned.Len()) || t.Batches != len(want) {
		x.t.Errorf("%+v", t)
	}
}

func deliver(x *fixture) {
	const s = 2
	planned := every(2, 3*set.ChunkSize)
	m := x.inbox(s, planned)
	head := x.head()
	a := x.claim(inline(ref(m, s, 1)))
	x.answers(a, fanfare.Applied, "claim")
	n := set.ChunkSize / 2
	x.same(a.Row, fanfare.Batch{BatchRef: ref(m, s, 1), First: uint32(n), N: n, State: fanfare.BatchDone, Pending: set.NewBits(n), InFlight: set.NewBits(n), //nolint:gosec // small
		Doubted: set.NewBits(n), Sent: n, Fence: 1, Step: 1, Runs: []fanfare.Run{{Revision: 4, At: x.now()}}}, "the row")
	x.same(x.peek(ref(m, s, 1)), a.Row, "the row as answered and as read")
	if x.head() <= head {
		x.t.Error("the head did not rise")
	}
	x.answers(x.claim(inline(ref(m, s, 1))), fanfare.Over, "once more")
	x.answers(x.claim(inline(ref(m, s, 9))), fanfare.Stale, "what is not there")
	if t := x.tally(m, s); !t.Balanced(planned.Len()) || t.Sent != n || t.Done != 1 || t.Pending != 2*n || len(x.exceptions(m, s, 0)) != 0 {
		x.t.Errorf("%+v", t)
	}
	live, dead, err := x.Claims(x.ctx, m, s)
	x.ok(err)
	open, first, err := x.Backlog(x.ctx, m, s, 0, 10)
	x.ok(err)
	if live != 0 || len(dead) != 0 || len(open) != 2 || first != 0 {
		x.t.Errorf("%d claims live, %v dead, %d open from %d", live, dead, len(open), first)
	}
}

func deliverOut(x *fixture) {
	const s = 0
	planned := every(3, 70_000)
	m := x.inbox(s, planned)
	change := func(name fanfare.SetName, add, remove *set.Set) {
		_, _, err := x.ChangeSet(x.ctx, s, name, add, remove)
		x.ok(err)
	}
	change(fanfare.SuppressionSet(fanfare.ChannelInbox, "news", fanfare.ReasonUnsubscribed), set.Of(3, 4, 65_535, 66_000), nil)
	change(fanfare.SuppressionSet(fanfare.ChannelInbox, "", fanfare.ReasonComplained), set.Of(3, 9), nil)
	change(fanfare.SuppressionSet(fanfare.ChannelInbox, "offers", fanfare.ReasonUnsubscribed), set.Of(12), nil) // another topic
	change(fanfare.SuppressionSet(fanfare.ChannelEmail, "news", fanfare.ReasonUnsubscribed), set.Of(15), nil)   // and channel
	change(fanfare.SetAlive, nil, set.Of(6, 9))
	a := x.claim(inline(ref(m, s, 0)))
	x.answers(a, fanfare.Applied, "claim")
	skip := func(seq fanfare.Seq, why fanfare.Reason) fanfare.Exception {
		return fanfare.Exception{Seq: seq, Result: fanfare.ResultSkipped, Reason: why, At: x.now()}
	}
	x.same(x.exceptions(m, s, 0), []fanfare.Exception{skip(3, fanfare.ReasonUnsubscribed), skip(6, fanfare.ReasonErased), skip(9, fanfare.ReasonErased),
		skip(65_535, fanfare.ReasonUnsubscribed)}, "who got nothing")
	if a.Row.Skipped != 4 || a.Row.Sent != a.Row.N-4 || !a.Row.Finished() {
		x.t.Errorf("%d skipped, %d sent of %d", a.Row.Skipped, a.Row.Sent, a.Row.N)
	}
	if t := x.tally(m, s); !t.Balanced(planned.Len()) {
		x.t.Errorf("%+v", t)
	}
}

// deliverTogether: nobody is left of a batch whose members are all out, and a group holds claims of both kinds.
func deliverTogether(x *fixture) {
	const s = 1
	m := x.inbox(s, set.Of(1, 2, 70_000))
	other, _ := x.sending(s, 4, 2)
	_, _, err := x.ChangeSet(x.ctx, s, fanfare.SetAlive, nil, set.Of(70_000))
	x.ok(err)
	one, two, three, again := inline(ref(m, s, 0)), inline(ref(m, s, 1)), claim(ref(other, s, 1), bob), inline(ref(m, s, 0))
	var got []fanfare.Answer
	answers := x.append(s, fanfare.Entry{Claim: &one}, fanfare.Entry{Claim: &three}, fanfare.Entry{Claim: &two}, fanfare.Entry{Claim: &again})
	for _, a := range answers {
		got = append(got, a.Answer)
	}
	x.same(got, []fanfare.Answer{fanfare.Applied, fanfare.Applied, fanfare.Applied, fanfare.Over}, "answers")
	if row := answers[2].Row; row.Sent != 0 || row.Skipped != 1 || len(row.Runs) != 0 || row.State != fanfare.BatchDone {
		x.t.Errorf("%+v", row)
	}
}

func deliverPaused(x *fixture) {
	const s = 3
	m := x.inbox(s, set.Of(1, 2, 3))
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotStopped, 2))
	c := inline(ref(m, s, 0))
	x.answers(x.claim(c), fanfare.Stale, "of the former generation")
	c.Generation = 2
	x.answers(x.claim(c), fanfare.Stale, "while it is paused")
	if row := x.peek(ref(m, s, 0)); row.State != fanfare.BatchNew || row.Sent != 0 {
		x.t.Errorf("%+v", row)
	}
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotSending, 3))
	c.Generation = 3
	x.answers(x.claim(c), fanfare.Applied, "after its resume")
}

func deliverSettle(x *fixture) {
	const s = 0
	m := x.inbox(s, set.Of(1, 2))
	c := inline(ref(m, s, 0))
	c.Settle = true
	x.answers(x.claim(c), fanfare.Over, "nobody is in flight")
	if row := x.peek(ref(m, s, 0)); row.Sent != 0 {
		x.t.Errorf("%+v", row)
	}
}

// deliverRest: of a batch that somebody has worked on, those who are pending are delivered to, with a run of their own.
func deliverRest(x *fixture) {
	const s = 2
	m := x.inbox(s, set.Of(1, 2, 3, 4))
	h := x.take(ref(m, s, 0))
	h.send(0, 2)
	x.answers(h.record(func(r *fanfare.Record) {
		sent(r, 0)
		h.failed(r, 2, "550", "no")
		r.SentNow, r.Lease, r.Next.Runs = true, 0, []fanfare.Run{{Revision: 3}}
	}), fanfare.Applied, "half of it")
	before := x.now()
	x.clock.Advance(fanfare.RenewEvery)
	a := x.claim(inline(ref(m, s, 0)))
	x.answers(a, fanfare.Applied, "the rest")
	x.same(a.Row.Runs, []fanfare.Run{{Revision: 4, Sent: []byte{0b1010}, At: x.now()}, {Revision: 3, At: before}}, "runs")
	if a.Row.State != fanfare.BatchDone || a.Row.Sent != 3 || a.Row.Failed != 1 {
		x.t.Errorf("%+v", a.Row)
	}
	for rank, want := range map[int]fanfare.Revision{0: 3, 1: 4, 3: 4} {
		if it := a.Row.Item(rank, nil, ""); it.Revision != want {
			x.t.Errorf("rank %d was sent revision %d, want %d", rank, it.Revision, want)
		}
	}
}

func deliverDamaged(x *fixture) {
	const s = 0
	m := x.inbox(s, set.Of(1, 2, 70_000))
	if x.backend.Damage == nil {
		return
	}
	x.backend.Damage(x.t, m, s, fanfare.PartSend)
	a := x.claim(inline(ref(m, s, 0)))
	x.answers(a, fanfare.Failed, "claim")
	if row := x.peek(ref(m, s, 0)); row.State != fanfare.BatchHeld || row.Sent != 0 {
		x.t.Errorf("%+v", row)
	}
}

func inboxMessages(x *fixture) {
	begun := x.now()
	put := func(id fanfare.MessageID, edit func(m *fanfare.Message)) {
		m := fanfare.Message{ID: id, Channel: fanfare.ChannelInbox, Revision: 2, State: fanfare.State{Phase: fanfare.PhaseCompleted, Generation: 1}, CreatedAt: begun,
			UpdatedAt: begun, StartedAt: begun}
		edit(&m)
		x.update(func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) })
	}
	put("first", func(*fanfare.Message) {})
	put("later", func(m *fanfare.Message) { m.StartedAt, m.Phase = begun.Add(time.Second), fanfare.PhaseSending })
	put("same", func(m *fanfare.Message) { m.Recall = fanfare.RecallUnread })
	put("prepared", func(m *fanfare.Message) { m.Phase = fanfare.PhasePreparing })
	put("draft", func(m *fanfare.Message) { m.StartedAt, m.Phase = time.Time{}, fanfare.PhaseDraft })
	put("mail", func(m *fanfare.Message) { m.Channel = fanfare.ChannelEmail })
	put("test", func(m *fanfare.Message) { m.Test = true })
	put("recalled", func(m *fanfare.Message) { m.Recall = fanfare.RecallAll })
	put("soon", func(m *fanfare.Message) {
		m.StartedAt, m.Content.ExpiresAt = begun.Add(-time.Hour), begun.Add(time.Minute)
	})
	check := func(what string, want ...fanfare.MessageID) {
		x.t.Helper()
		all, err := x.InboxMessages(x.ctx)
		x.ok(err)
		var got []fanfare.MessageID
		for _, m := range all {
			got = append(got, m.ID)
		}
		x.same(got, want, what)
	}
	check("newest start first", "later", "same", "first", "soon")
	all, err := x.InboxMessages(x.ctx)
	x.ok(err)
	all[1].Num = 0
	x.same(all[1], fanfare.InboxMessage{ID: "same", Revision: 2, Phase: fanfare.PhaseCompleted, Recall: fanfare.RecallUnread, StartedAt: begun, ExpiresAt: begun.Add(fanfare.ExpireAfter)}, "one of them")
	x.clock.Advance(time.Minute)
	check("one has expired", "later", "same", "first")
	x.update(func(tx fanfare.ControlTx) error {
		m, err := tx.Message("same")
		if err != nil {
			return err
		}
		x.same(m.Recall, fanfare.RecallUnread, "the recall as kept")
		m.Recall = fanfare.RecallAll
		return tx.SaveMessage(&m, m.Phase, m.Generation)
	})
	check("another is recalled", "later", "first")
	x.clock.Advance(fanfare.ExpireAfter)
	check("all are over")
}

func inboxChunk(x *fixture) {
	const s = 1
	planned := every(3, 70_000)
	m, other := x.inbox(s, planned), x.inbox(s, set.Of(5, 200_000))
	nobody := x.message()
	read := func(chunk uint16, of ...fanfare.MessageNum) []fanfare.InboxPart {
		x.t.Helper()
		parts, err := x.InboxChunk(x.ctx, s, chunk, of)
		x.ok(err)
		if len(parts) != len(of) {
			x.t.Fatalf("%d parts of %d messages", len(parts), len(of))
		}
		return parts
	}
	for i, p := range read(1, m, nobody, other, m+99) {
		if p.Open != (i == 0) || p.Members != nil || p.Damaged != nil {
			x.t.Errorf("part %d before the delivery: %+v", i, p)
		}
	}
	_, _, err := x.ChangeSet(x.ctx, s, fanfare.SetAlive, nil, set.Of(66_000, 69_000))
	x.ok(err)
	at := x.now()
	x.answers(x.claim(inline(ref(m, s, 1))), fanfare.Applied, "claim")
	x.clock.Advance(time.Minute)
	x.answers(x.claim(inline(ref(other, s, 1))), fanfare.Applied, "claim")
	parts := read(1, other, m)
	want := planned.Clone()
	want.RemoveRange(0, set.ChunkSize)
	want.Subtract(set.Of(66_000, 69_000))
	if p := parts[1]; !p.At.Equal(at) || p.Open || p.Members == nil || !p.Members.Equal(want) || parts[0].Members != nil {
		x.t.Errorf("%+v", parts)
	}
	if p := read(3, m, other); p[0].Members != nil || !p[1].Members.Equal(set.Of(200_000)) || !p[1].At.Equal(x.now()) {
		x.t.Errorf("the last chunk: %+v", p)
	}
	if p := read(0, m, other); !p[0].Open || !p[1].Open {
		x.t.Errorf("what was not delivered: %+v", p)
	}
	if x.backend.Damage != nil {
		x.backend.Damage(x.t, other, s, fanfare.PartSend)
		x.answers(x.claim(inline(ref(m, s, 0))), fanfare.Applied, "claim")
		if p := read(0, other, m); (p[0].Damaged != nil) == p[0].Open || p[1].Damaged != nil || p[1].Members == nil {
			x.t.Errorf("beside a damaged row: %+v", p)
		}
	}
}
