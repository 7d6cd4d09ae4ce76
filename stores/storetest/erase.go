package storetest

import (
	"encoding/json"
	"fmt"
	"time"

	"fanfare"
	"fanfare/set"
)

func eraseScenarios() []scenario {
	return []scenario{
		{"whoever is erased is in nothing any more", erasedGone},
		{"a number is never given again", erasedNumber},
		{"whoever comes back is suppressed until they consent", erasedAgain},
		{"an address that comes back is suppressed", erasedAddresses},
		{"imports refuse who was erased", erasedRefused},
		{"what providers said of them is blanked", erasedTexts},
		{"whoever is pending is skipped", erasedPending},
		{"audiences and answers name them no more", erasedNames},
		{"who was erased stays so", erasedStays},
		{"when somebody was erased is known of whoever has the id now", erasedKnown},
		{"erased among writers", erasedTogether},
	}
}

func (x *fixture) erase(s fanfare.Slot, who ...string) []fanfare.Erased {
	x.t.Helper()
	done, err := x.Erase(x.ctx, s, who)
	x.ok(err)
	if len(done) != len(who) {
		x.t.Fatalf("%d ids, %d answers", len(who), len(done))
	}
	return done
}

// person is a change with everything that a profile has.
func person(id string, n uint64) fanfare.RecipientChange {
	c := mailbox(id, n)
	c.Phone, c.Locale, c.TimeZone = text(fmt.Sprintf("+49 %d", n)), text("de"), text("Europe/Berlin")
	c.Attributes = map[string]any{"city": fmt.Sprintf("city %d", n), "tags": []string{"a", id}, "level": float64(n)}
	return c
}

func erasedGone(x *fixture) {
	const s = 2
	who := ids(s, 14)
	changes := make([]fanfare.RecipientChange, 12)
	for i := range changes {
		changes[i] = person(who[i], uint64(i)) //nolint:gosec // small
	}
	out := fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonUnsubscribed)
	value := fanfare.AttributeValueSet(fanfare.AttributeText, "city", "city 4")
	list := fanfare.ListSet(7)
	made := x.upsert(s, fanfare.UpsertOptions{Add: []fanfare.SetName{list, out, fanfare.SetIndexed, fanfare.IndexingSet("t")}}, changes...)
	gone := made[4].Seq
	x.change(s, value, set.Of(gone), nil)
	m := x.message()
	x.freeze(m, s, 5, map[fanfare.Part]*set.Set{fanfare.PartSend: x.set(s, fanfare.SetAlive)})
	_, err := x.LogReceipts(x.ctx, x.ShardOf(s), []fanfare.Receipt{{Message: m, Person: made[4].Person, Kind: fanfare.ReceiptRead}})
	x.ok(err)
	latches, err := x.Latches(x.ctx, m)
	x.ok(err)
	head := x.head()

	x.same(x.erase(s, who[4], who[13], who[4]), []fanfare.Erased{fanfare.ErasedNow, fanfare.ErasedNobody, fanfare.ErasedBefore}, "erased")
	if x.head() <= head {
		x.t.Error("somebody was erased and the head did not rise")
	}
	now, err := x.Latches(x.ctx, m)
	x.ok(err)
	if now[0].Rev <= latches[0].Rev {
		x.t.Error("somebody was erased and the latch did not rise")
	}
	_, err = x.Recipient(x.ctx, who[4])
	x.is(err, fanfare.ErrNotFound, "the erased")
	seqs, err := x.Resolve(x.ctx, s, who[3:6])
	x.ok(err)
	x.same(seqs, []int64{int64(made[3].Seq), -1, int64(made[5].Seq)}, "resolved")
	rows, err := x.Profiles(x.ctx, s, []fanfare.Seq{gone})
	x.ok(err)
	x.same(rows, []fanfare.Recipient{{Person: made[4].Person}}, "profile")
	found, err := x.Scan(x.ctx, s, 0, 100, "")
	x.ok(err)
	x.same(len(found), 11, "people")
	x.ok(x.Mailboxes(x.ctx, s, fanfare.ChannelEmail, set.Of(gone), func(fanfare.Seq, uint64) { x.t.Error("the erased have a mailbox") }))
	for _, name := range x.names(s, "") {
		if x.set(s, name).Contains(gone) {
			x.t.Errorf("the erased are in %s", name)
		}
		if name == value {
			x.t.Error("a value that only the erased had is there")
		}
	}
	if n := x.set(s, list).Len(); n != 11 {
		x.t.Errorf("%d members stay in the list", n)
	}
	planned, err := x.PartSet(x.ctx, m, s, fanfare.PartSend)
	x.ok(err)
	read, err := x.ReceiptSet(x.ctx, m, s, fanfare.ReceiptRead)
	x.ok(err)
	if !planned.Contains(gone) || !read.Contains(gone) {
		x.t.Error("items and receipts stay by number")
	}
	x.same(x.erase(s, who[4], who[13]), []fanfare.Erased{fanfare.ErasedBefore, fanfare.ErasedNobody}, "erased again")
	_, err = x.Erase(x.ctx, 1, who[:1])
	x.is(err, fanfare.ErrUsage, "in another slot")
	if more, err := x.Purge(x.ctx); err != nil || more {
		x.t.Errorf("purge: %v, %v", more, err)
	}
	x.same(x.erase(s), []fanfare.Erased{}, "nobody to erase")
}

func erasedNumber(x *fixture) {
	const s = 0
	who := ids(s, 3)
	first := x.people(s, who[0], who[1])
	x.erase(s, who[1], who[0])
	again := x.people(s, who[0], who[1], who[2])
	for _, seq := range again {
		if seq <= first[1] {
			x.t.Errorf("number %d was given to an erased one (%v)", seq, first)
		}
	}
	x.members(s, fanfare.SetAlive, again...)
	x.members(s, fanfare.SetErased, again[0], again[1])
}

func erasedAgain(x *fixture) {
	const s = 1
	who := ids(s, 30)
	var all []fanfare.RecipientChange
	for i, id := range who {
		all = append(all, person(id, uint64(i))) //nolint:gosec // small
	}
	x.upsert(s, fanfare.UpsertOptions{}, all...)
	x.erase(s, who[3], who[4])
	bare := func(id string) fanfare.RecipientChange { return fanfare.RecipientChange{ExternalID: id} }
	anew := bare(who[4])
	anew.Resubscribe = true
	a := x.upsert(s, fanfare.UpsertOptions{}, bare(who[3]), anew, bare(who[5]))
	x.same([]fanfare.UpsertOutcome{a[0].Outcome, a[1].Outcome, a[2].Outcome}, []fanfare.UpsertOutcome{fanfare.UpsertCreated, fanfare.UpsertCreated, fanfare.UpsertUnchanged}, "outcomes")
	x.members(s, fanfare.SetErased, a[0].Seq)
	x.upsert(s, fanfare.UpsertOptions{}, fanfare.RecipientChange{ExternalID: who[3], Locale: text("fr")}) // says nothing of it
	x.members(s, fanfare.SetErased, a[0].Seq)
	yes := bare(who[3])
	yes.Resubscribe = true
	x.upsert(s, fanfare.UpsertOptions{}, yes)
	x.members(s, fanfare.SetErased)
	x.upsert(s, fanfare.UpsertOptions{}, bare(who[3])) // they are known
	x.members(s, fanfare.SetErased)
	x.same(x.erase(s, who[3]), []fanfare.Erased{fanfare.ErasedNow}, "erased once more")
	x.same(x.upsert(s, fanfare.UpsertOptions{}, all[3])[0].Outcome, fanfare.UpsertCreated, "and back")
	if x.set(s, fanfare.SetErased).Len() != 1 {
		x.t.Error("consent is no longer than the person")
	}
}

func erasedAddresses(x *fixture) {
	const s = 3
	who := ids(s, 40)
	x.upsert(s, fanfare.UpsertOptions{}, person(who[0], 1), person(who[1], 2), mailbox(who[2], 1), fanfare.RecipientChange{ExternalID: who[3], Email: text("bad"), EmailState: fanfare.AddressInvalid, Mailbox: 9})
	x.erase(s, who[0], who[3])
	x.members(s, fanfare.SetErased) // whoever shared the address is no concern of this
	phone := fanfare.RecipientChange{ExternalID: who[5], Phone: text("+49 1")}
	moved := mailbox(who[1], 1)
	done := x.upsert(s, fanfare.UpsertOptions{}, mailbox(who[4], 1), phone, mailbox(who[6], 3), fanfare.RecipientChange{ExternalID: who[7], Email: text("bad"), EmailState: fanfare.AddressInvalid, Mailbox: 1},
		mailbox(who[8], 9), moved)
	x.members(s, fanfare.SetErased, done[0].Seq, done[1].Seq, done[5].Seq)
	anew := mailbox(who[4], 1)
	anew.Resubscribe = true
	x.upsert(s, fanfare.UpsertOptions{}, anew, mailbox(who[2], 1))
	x.members(s, fanfare.SetErased, done[1].Seq, done[5].Seq)
	var many []fanfare.RecipientChange
	for i := 10; i < 40; i++ {
		many = append(many, mailbox(who[i], uint64(i%12))) //nolint:gosec // small
	}
	made := x.upsert(s, fanfare.UpsertOptions{}, many...)
	x.members(s, fanfare.SetErased, done[1].Seq, done[5].Seq, made[3].Seq, made[15].Seq, made[27].Seq)
	other := fanfare.SlotOf("elsewhere", slots)
	there := x.upsert(other, fanfare.UpsertOptions{}, mailbox("elsewhere", 1))
	if !x.set(other, fanfare.SetErased).Contains(there[0].Seq) {
		x.t.Error("an address is erased in all slots")
	}
}

func erasedRefused(x *fixture) {
	const s = 1
	who := ids(s, 25)
	x.people(s, who[:2]...)
	x.erase(s, who[0])
	opt := fanfare.UpsertOptions{RefuseErased: true, Add: []fanfare.SetName{fanfare.ListSet(1)}, Mark: &fanfare.Mark{Work: "w"}}
	var changes []fanfare.RecipientChange
	for _, id := range who {
		changes = append(changes, fanfare.RecipientChange{ExternalID: id})
	}
	done := x.upsert(s, opt, changes...)
	for i, want := range []fanfare.UpsertOutcome{fanfare.UpsertErased, fanfare.UpsertUnchanged, fanfare.UpsertCreated} {
		x.same(done[i].Outcome, want, "outcome of "+who[i])
	}
	x.same(x.upsert(s, opt, changes...), done, "the same call again")
	_, err := x.Recipient(x.ctx, who[0])
	x.is(err, fanfare.ErrNotFound, "the refused")
	if n := x.set(s, fanfare.ListSet(1)).Len(); n != 24 {
		x.t.Errorf("%d joined", n)
	}
	x.members(s, fanfare.SetErased)
	back := x.people(s, who[0])
	opt.Mark = nil
	x.same(x.upsert(s, opt, changes[0])[0], fanfare.Upserted{Person: fanfare.Person{Slot: s, Seq: back[0]}, Outcome: fanfare.UpsertUnchanged}, "whoever was put by hand is known")
	x.members(s, fanfare.SetErased, back...)
}

func erasedTexts(x *fixture) {
	const s = 2
	who := ids(s, 4)
	seqs := x.people(s, who...)
	m := x.message()
	x.freeze(m, s, 4, map[fanfare.Part]*set.Set{fanfare.PartSend: set.Of(seqs...)})
	h := x.take(ref(m, s, 0))
	h.send(0, 1, 2, 3)
	x.answers(h.record(func(r *fanfare.Record) {
		h.failed(r, 0, "550 5.1.1", "no such user ada@example.com")
		h.failed(r, 1, "ada@example.com", "again")
		h.failed(r, 2, "550", "bob@example.com")
	}), fanfare.Applied, "results")
	x.erase(s, who[0], who[1], who[3])
	want := x.exceptions(m, s, 0)
	x.same([]string{want[0].Code, want[0].Text, want[1].Code, want[1].Text, want[2].Text}, []string{"550 5.1.1", "", "", "", "bob@example.com"}, "codes and texts")
	for i, e := range want[:3] {
		if e.Result != fanfare.ResultFailed || e.Attempts != 1 {
			x.t.Errorf("exception %d: %+v", i, e)
		}
	}
	x.answers(h.record(func(r *fanfare.Record) { h.failed(r, 3, "451 4.7.1", "eve@example.com") }), fanfare.Applied, "the answer that came after the erasure")
	late := x.exceptions(m, s, seqs[3])
	x.same([]string{late[0].Code, late[0].Text}, []string{"451 4.7.1", ""}, "what was said of whoever is erased already")
	if t := x.tally(m, s); !t.Balanced(4) {
		x.t.Errorf("tally %+v", t)
	}
}

func erasedPending(x *fixture) {
	const s = 0
	who := ids(s, 3)
	seqs := x.people(s, who...)
	m := x.message()
	x.freeze(m, s, 3, map[fanfare.Part]*set.Set{fanfare.PartSend: set.Of(seqs...)})
	h := x.take(ref(m, s, 0))
	x.erase(s, who[1], who[2])
	back := x.people(s, who[2])
	x.answers(h.record(func(r *fanfare.Record) {
		r.Intent = h.intent(0, 1, 2)
		r.Intent.Suppressions = fanfare.Suppressions(fanfare.ChannelNull, "general", true)
	}), fanfare.Applied, "intent")
	if h.row.Skipped != 2 || !h.row.InFlight.Has(0) {
		x.t.Errorf("row %+v", h.row)
	}
	m = x.message()
	x.freeze(m, s, 3, map[fanfare.Part]*set.Set{fanfare.PartSend: set.Of(seqs[0], back[0])})
	h = x.take(ref(m, s, 0))
	x.answers(h.record(func(r *fanfare.Record) {
		r.Intent = h.intent(0, 1)
		r.Intent.Suppressions = fanfare.Suppressions(fanfare.ChannelInbox, "general", true)
	}), fanfare.Applied, "intent for whoever came back")
	if rows := x.exceptions(m, s, back[0]); len(rows) != 1 || rows[0].Reason != fanfare.ReasonErased {
		x.t.Errorf("exceptions %+v", rows)
	}
}

func erasedNames(x *fixture) {
	const s = 1
	who := ids(s, 2)
	x.upsert(s, fanfare.UpsertOptions{}, person(who[0], 5), person(who[1], 6))
	audience := fmt.Sprintf(`{"every": [{"not": {"recipients": [%q, %q]}}, {"list": %[1]q}]}`, who[0], who[1])
	left := json.RawMessage(fmt.Sprintf(`{"every":[{"not":{"recipients":[%q]}},{"list":%q}]}`, who[1], who[0]))
	answer := fanfare.StoredAnswer{Key: "k", Status: 201, Body: fmt.Appendf(nil, `{"recipient":%q,"channel":"email","address":"m5@x","unknown":[%q,"z"],"n":12345678901234567890}`, who[0], who[0])}
	m := fanfare.Message{ID: "m", State: fanfare.State{Phase: fanfare.PhaseDraft, Generation: 1}, Revision: 1, Audience: json.RawMessage(audience), CreatedAt: x.now(), UpdatedAt: x.now()}
	g := fanfare.Segment{Name: "g", Audience: json.RawMessage(audience), CreatedAt: x.now(), UpdatedAt: x.now()}
	x.update(func(tx fanfare.ControlTx) error {
		x.ok(tx.InsertMessage(&m))
		x.ok(tx.PutSegment(&g))
		return tx.StoreAnswer(answer)
	})
	check := func(what string, audience json.RawMessage, body string) {
		x.view(func(v fanfare.ControlView) error {
			m, err := v.Message("m")
			x.ok(err)
			x.same(string(m.Audience), string(audience), what+": message")
			g, err := v.Segment("g")
			x.ok(err)
			x.same(string(g.Audience), string(audience), what+": segment")
			a, err := v.StoredAnswer("k")
			x.same(string(a.Body), body, what+": answer")
			return err
		})
	}
	x.erase(s, nobody(s))
	check("nobody", json.RawMessage(audience), string(answer.Body))
	x.erase(s, who[0])
	check("erased", left, `{"address":null,"channel":"email","n":12345678901234567890,"recipient":null,"unknown":["z"]}`)
}

// nobody gives an id of the slot that ids does not give.
func nobody(s fanfare.Slot) string {
	for i := 0; ; i++ {
		if id := fmt.Sprint("u-nobody-", i); fanfare.SlotOf(id, slots) == s {
			return id
		}
	}
}

func erasedKnown(x *fixture) {
	const s = 3
	who := ids(s, 4)
	made := x.people(s, who[:3]...)
	known := func(id string, seq fanfare.Seq, want time.Time, doing string) {
		x.t.Helper()
		p, at, err := x.Known(x.ctx, id)
		x.ok(err)
		x.same(p, fanfare.Person{Slot: s, Seq: seq}, doing)
		if !at.Equal(want) {
			x.t.Errorf("%s: erased at %v, want %v", doing, at, want)
		}
	}
	nobody := func(id string) {
		x.t.Helper()
		_, _, err := x.Known(x.ctx, id)
		x.is(err, fanfare.ErrNotFound, "one that nobody has")
	}
	nobody(who[3])
	known(who[0], made[0], time.Time{}, "nobody was ever erased")
	x.clock.Advance(1234567 * time.Microsecond)
	first := x.clock.Now()
	x.erase(s, who[0], who[1])
	nobody(who[0])
	known(who[2], made[2], time.Time{}, "others were erased")
	x.clock.Advance(time.Hour)
	x.erase(s, who[0]) // who is not there is not erased again
	again := x.people(s, who[0], who[1])
	known(who[0], again[0], first, "back")
	second := x.clock.Now()
	x.erase(s, who[0])
	nobody(who[0])
	again[0] = x.people(s, who[0])[0]
	if x.backend.Crash != nil {
		x.Store = x.backend.Crash(x.t)
	}
	known(who[0], again[0], second, "back once more")
	known(who[1], again[1], first, "back once")
}

func erasedStays(x *fixture) {
	const s = 3
	who := ids(s, 2)
	x.upsert(s, fanfare.UpsertOptions{}, person(who[0], 5), person(who[1], 6))
	x.erase(s, who[0])
	if x.backend.Crash != nil {
		x.Store = x.backend.Crash(x.t)
		x.same(x.erase(s, who[0]), []fanfare.Erased{fanfare.ErasedBefore}, "after a crash")
		more, err := x.Purge(x.ctx)
		x.ok(err)
		x.same(more, false, "more to purge")
	}
	if x.backend.Reopen != nil {
		x.Store = x.backend.Reopen(x.t)
	}
	x.same(x.erase(s, who[0]), []fanfare.Erased{fanfare.ErasedBefore}, "after a restart")
	back := x.people(s, who[0])
	x.members(s, fanfare.SetErased, back...)
	found, err := x.Check(x.ctx)
	x.ok(err)
	x.same(found, []string(nil), "damage")
}

func erasedTogether(x *fixture) {
	const s = 2
	who := ids(s, 60)
	x.people(s, who...)
	done := make(chan error)
	go func() {
		for _, id := range who[:30] {
			if _, err := x.Erase(x.ctx, s, []string{id}); err != nil {
				done <- err
				return
			}
		}
		_, err := x.Purge(x.ctx)
		done <- err
	}()
	for i, id := range who[30:] {
		x.upsert(s, fanfare.UpsertOptions{}, person(id, uint64(i))) //nolint:gosec // small
		x.clock.Advance(time.Second)
	}
	x.ok(<-done)
	for more := true; more; {
		var err error
		more, err = x.Purge(x.ctx)
		x.ok(err)
	}
	if n := x.set(s, fanfare.SetAlive).Len(); n != 30 {
		x.t.Errorf("%d of 60 are alive", n)
	}
	found, err := x.Check(x.ctx)
	x.ok(err)
	x.same(found, []string(nil), "damage")
}
