package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"fanfare"
	"fanfare/set"
)

func peopleScenarios() []scenario {
	return []scenario{
		{"created, updated, unchanged, refused", upsertOutcomes},
		{"a profile comes back as it was", profileRoundTrip},
		{"changes of one batch apply in order", upsertOrder},
		{"addresses", addresses},
		{"a new address forgets bounces and complaints", newAddress},
		{"a marked upsert happens once", marks},
		{"every changed recipient joins", upsertAdds},
		{"numbers are never used again", seqs},
		{"profiles with holes", profiles},
		{"resolve", resolve},
		{"scan", scan},
		{"mailboxes", mailboxes},
		{"numbered people", number},
		{"many at once", manyPeople},
	}
}

func upsertOutcomes(x *fixture) {
	const s = 1
	who := ids(s, 3)
	merge, replace, insert := fanfare.ChangeMerge, fanfare.ChangeReplace, fanfare.ChangeInsert
	created, updated, unchanged, refused := fanfare.UpsertCreated, fanfare.UpsertUpdated, fanfare.UpsertUnchanged, fanfare.UpsertRefused
	attributes := func(kv ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1] //nolint:forcetypeassert // of this test
		}
		return m
	}
	r := fanfare.Recipient{ExternalID: who[0]}
	for i, c := range []struct {
		change  fanfare.RecipientChange
		outcome fanfare.UpsertOutcome
		then    func()
	}{
		{fanfare.RecipientChange{Kind: merge, Email: text("a@x"), Attributes: attributes("city", "京", "n", 1.5)}, created,
			func() { r.Email, r.Attributes = "a@x", attributes("city", "京", "n", 1.5) }},
		{fanfare.RecipientChange{Kind: merge, Email: text("a@x")}, unchanged, func() {}},
		{fanfare.RecipientChange{Kind: insert, Email: text("b@x")}, refused, func() {}},
		{fanfare.RecipientChange{Kind: merge, Attributes: attributes("n", 1.5, "none", nil)}, unchanged, func() {}},
		{fanfare.RecipientChange{Kind: merge, Phone: text("+49"), Locale: text("de-DE"), TimeZone: text("Europe/Berlin"), Attributes: attributes("n", nil, "b", true)}, updated,
			func() {
				r.Phone, r.Locale, r.TimeZone, r.Attributes = "+49", "de-DE", "Europe/Berlin", attributes("city", "京", "b", true)
			}},
		{fanfare.RecipientChange{Kind: replace, Email: text("c@x"), Attributes: attributes("l", []string{"p", "q"})}, updated,
			func() {
				r = fanfare.Recipient{ExternalID: who[0], Email: "c@x", Attributes: attributes("l", []string{"p", "q"})}
			}},
		{fanfare.RecipientChange{Kind: replace, Email: text("c@x"), Attributes: attributes("l", []string{"p", "q"})}, unchanged, func() {}},
		{fanfare.RecipientChange{Kind: replace}, updated, func() { r = fanfare.Recipient{ExternalID: who[0]} }},
	} {
		x.clock.Advance(time.Second)
		c.change.ExternalID = who[0]
		u := x.upsert(s, fanfare.UpsertOptions{}, c.change)[0]
		if u.Outcome != c.outcome {
			x.t.Errorf("step %d: outcome %d, want %d", i, u.Outcome, c.outcome)
		}
		at := r.UpdatedAt
		c.then()
		r.Person, r.UpdatedAt = u.Person, at
		if c.outcome == created || c.outcome == updated {
			r.UpdatedAt = x.now()
		}
		got, err := x.Recipient(x.ctx, who[0])
		x.ok(err)
		x.same(got, r, fmt.Sprint("step ", i))
	}
	_, err := x.Recipient(x.ctx, who[1])
	x.is(err, fanfare.ErrNotFound, "an unknown recipient")
}

func profileRoundTrip(x *fixture) {
	const s = 2
	who := ids(s, 1)[0]
	c := fanfare.RecipientChange{ExternalID: who, Email: text("名@例.cn"), EmailState: fanfare.AddressUsable, Mailbox: 1<<64 - 1, Phone: text("+8613800000000"),
		Locale: text("zh-CN"), TimeZone: text("Asia/Shanghai"), Attributes: map[string]any{"s": "'\"\\ 🎉", "empty": "", "n": -0.1, "big": 1e300, "int": 9007199254740992.0,
			"t": true, "f": false, "l": []string{"a", ""}, "when": "2026-03-01T09:30:00Z"}}
	u := x.upsert(s, fanfare.UpsertOptions{}, c)[0]
	want := fanfare.Recipient{Person: u.Person, ExternalID: who, Email: *c.Email, Phone: *c.Phone, Locale: *c.Locale, TimeZone: *c.TimeZone, Attributes: c.Attributes, UpdatedAt: x.now()}
	got, err := x.Recipient(x.ctx, who)
	x.ok(err)
	x.same(got, want, "a recipient")
	got.Attributes["s"] = "changed by the caller"
	if l, ok := got.Attributes["l"].([]string); ok {
		l[0] = "changed too"
	}
	many, err := x.Profiles(x.ctx, s, []fanfare.Seq{u.Seq})
	x.ok(err)
	x.same(many, []fanfare.Recipient{want}, "its profile")
	if d := x.upsert(s, fanfare.UpsertOptions{}, c)[0]; d.Outcome != fanfare.UpsertUnchanged {
		x.t.Errorf("the same change again: outcome %d", d.Outcome)
	}
	if u.Slot != s {
		x.t.Errorf("slot %d, want %d", u.Slot, s)
	}
}

func upsertOrder(x *fixture) {
	const s = 0
	who := ids(s, 3)
	mail := func(id, email string, kind fanfare.ChangeKind) fanfare.RecipientChange {
		return fanfare.RecipientChange{ExternalID: id, Kind: kind, Email: text(email), EmailState: fanfare.AddressUsable, Mailbox: uint64(len(email))}
	}
	done := x.upsert(s, fanfare.UpsertOptions{},
		mail(who[0], "a@x", fanfare.ChangeMerge), mail(who[1], "b@x", fanfare.ChangeInsert), mail(who[0], "aa@x", fanfare.ChangeMerge),
		mail(who[1], "bb@x", fanfare.ChangeInsert), mail(who[0], "aa@x", fanfare.ChangeReplace), mail(who[2], "c@x", fanfare.ChangeMerge),
		fanfare.RecipientChange{ExternalID: who[2], Email: text("")})
	var outcomes []fanfare.UpsertOutcome
	for _, u := range done {
		outcomes = append(outcomes, u.Outcome)
	}
	x.same(outcomes, []fanfare.UpsertOutcome{fanfare.UpsertCreated, fanfare.UpsertCreated, fanfare.UpsertUpdated, fanfare.UpsertRefused, fanfare.UpsertUnchanged,
		fanfare.UpsertCreated, fanfare.UpsertUpdated}, "outcomes")
	a, b, c := done[0].Seq, done[1].Seq, done[5].Seq
	x.same([]fanfare.Seq{done[2].Seq, done[3].Seq, done[4].Seq, done[6].Seq}, []fanfare.Seq{a, b, a, c}, "seqs of the same people")
	if a >= b || b >= c {
		x.t.Errorf("seqs %d, %d, %d do not ascend in the order of the batch", a, b, c)
	}
	for id, email := range map[string]string{who[0]: "aa@x", who[1]: "b@x", who[2]: ""} {
		r, err := x.Recipient(x.ctx, id)
		x.ok(err)
		x.same(r.Email, email, "the address of "+id)
	}
	x.members(s, fanfare.SetAlive, a, b, c)
	x.members(s, fanfare.AddressSet(fanfare.ChannelEmail), a, b)
}

func addresses(x *fixture) {
	const s = 3
	who := ids(s, 1)[0]
	usable, invalid := fanfare.AddressSet(fanfare.ChannelEmail), fanfare.InvalidSet(fanfare.ChannelEmail)
	for i, c := range []struct {
		kind  fanfare.ChangeKind
		email *string
		state fanfare.AddressState
		want  fanfare.AddressState
	}{
		{fanfare.ChangeMerge, text("a@x"), fanfare.AddressUsable, fanfare.AddressUsable},
		{fanfare.ChangeMerge, nil, 0, fanfare.AddressUsable},
		{fanfare.ChangeMerge, text("nonsense"), fanfare.AddressInvalid, fanfare.AddressInvalid},
		{fanfare.ChangeInsert, text("a@x"), fanfare.AddressUsable, fanfare.AddressInvalid},
		{fanfare.ChangeMerge, text(""), fanfare.AddressNone, fanfare.AddressNone},
		{fanfare.ChangeReplace, text("a@x"), fanfare.AddressUsable, fanfare.AddressUsable},
		{fanfare.ChangeReplace, nil, 0, fanfare.AddressNone},
		{fanfare.ChangeReplace, text("b@"), fanfare.AddressInvalid, fanfare.AddressInvalid},
		{fanfare.ChangeMerge, text("b@"), fanfare.AddressUsable, fanfare.AddressUsable}, // the grammar was mended
	} {
		change := fanfare.RecipientChange{ExternalID: who, Kind: c.kind, Email: c.email, EmailState: c.state, Mailbox: 7}
		seq := x.upsert(s, fanfare.UpsertOptions{}, change)[0].Seq
		got := [2]bool{x.set(s, usable).Contains(seq), x.set(s, invalid).Contains(seq)}
		if want := [2]bool{c.want == fanfare.AddressUsable, c.want == fanfare.AddressInvalid}; got != want {
			x.t.Errorf("step %d: usable, invalid are %v, want %v", i, got, want)
		}
	}
}

func newAddress(x *fixture) {
	const s = 0
	sets := []fanfare.SetName{
		fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonBounced), fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonComplained),
		fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonUnsubscribed), fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonSuppressed),
	}
	change := fanfare.RecipientChange{ExternalID: ids(s, 1)[0], Email: text("a@x"), EmailState: fanfare.AddressUsable}
	seq := x.upsert(s, fanfare.UpsertOptions{}, change)[0].Seq
	for _, name := range sets {
		x.change(s, name, set.Of(seq), nil)
	}
	x.upsert(s, fanfare.UpsertOptions{}, change)
	for _, name := range sets {
		x.members(s, name, seq)
	}
	change.Email = text("b@x")
	x.upsert(s, fanfare.UpsertOptions{}, change)
	for i, name := range sets {
		if i < 2 {
			x.members(s, name)
		} else {
			x.members(s, name, seq)
		}
	}
}

func marks(x *fixture) {
	const s = 1
	who := ids(s, 2)
	work := func(part int64, email string) []fanfare.Upserted {
		return x.upsert(s, fanfare.UpsertOptions{Mark: &fanfare.Mark{Work: "import", Part: part}},
			fanfare.RecipientChange{ExternalID: who[0], Email: text(email)}, fanfare.RecipientChange{ExternalID: who[0], Kind: fanfare.ChangeInsert})
	}
	first := work(0, "a@x")
	second := work(1, "b@x")
	x.same(work(0, "a@x"), first, "the first part again")
	x.same(work(1, "b@x"), second, "the second part again")
	r, err := x.Recipient(x.ctx, who[0])
	x.ok(err)
	x.same(r.Email, "b@x", "the address: a repetition changes nothing")
	x.same([]fanfare.UpsertOutcome{first[0].Outcome, first[1].Outcome, second[0].Outcome},
		[]fanfare.UpsertOutcome{fanfare.UpsertCreated, fanfare.UpsertRefused, fanfare.UpsertUpdated}, "outcomes")
	other := ids(s+1, 1) // the same part has a mark of its own in each slot
	done := x.upsert(s+1, fanfare.UpsertOptions{Mark: &fanfare.Mark{Work: "import", Part: 0}}, fanfare.RecipientChange{ExternalID: other[0]})
	x.same(done[0].Outcome, fanfare.UpsertCreated, "the same mark in another slot")
	work(2, "c@x")
	x.same(x.upsert(s, fanfare.UpsertOptions{Mark: &fanfare.Mark{Work: "other", Part: 0}}, fanfare.RecipientChange{ExternalID: who[1]})[0].Outcome,
		fanfare.UpsertCreated, "the same part of another work")
}

func upsertAdds(x *fixture) {
	const s = 0
	who := ids(s, 3)
	list, other := fanfare.ListSet(1), fanfare.ListSet(2)
	old := x.people(s, who[0], who[1])
	done := x.upsert(s, fanfare.UpsertOptions{Add: []fanfare.SetName{list, other}},
		fanfare.RecipientChange{ExternalID: who[0]}, // unchanged, and joins
		fanfare.RecipientChange{ExternalID: who[1], Kind: fanfare.ChangeInsert},
		fanfare.RecipientChange{ExternalID: who[2]})
	x.members(s, list, old[0], done[2].Seq)
	x.members(s, other, old[0], done[2].Seq)
}

func seqs(x *fixture) {
	const s = 0
	who := ids(s, 40)
	last := int64(-1)
	for i, id := range who {
		var seq fanfare.Seq
		if i%5 == 4 {
			before := x.set(s, fanfare.SetAlive).Clone()
			x.ok(x.Number(x.ctx, s, 3))
			fresh := set.AndNot(x.set(s, fanfare.SetAlive), before)
			if fresh.Len() != 3 {
				x.t.Fatalf("3 numbered, %d alive", fresh.Len())
			}
			seq, _ = fresh.Min()
			if int64(seq) <= last {
				x.t.Fatalf("seq %d after %d", seq, last)
			}
			seq, _ = fresh.Max()
		} else {
			seq = x.people(s, id)[0]
			if int64(seq) <= last {
				x.t.Fatalf("seq %d after %d", seq, last)
			}
		}
		last = int64(seq)
	}
}

func profiles(x *fixture) {
	const s = 2
	who := ids(s, 4)
	a := x.people(s, who[:2]...)
	x.ok(x.Number(x.ctx, s, 2))
	b := x.people(s, who[2:]...)
	var all []fanfare.Seq
	for seq := range b[1] + 3 {
		all = append(all, seq)
	}
	found, err := x.Profiles(x.ctx, s, all)
	x.ok(err)
	if len(found) != len(all) {
		x.t.Fatalf("%d seqs, %d entries", len(all), len(found))
	}
	want := map[fanfare.Seq]string{a[0]: who[0], a[1]: who[1], b[0]: who[2], b[1]: who[3]}
	for i, r := range found {
		if r.ExternalID != want[all[i]] || r.ExternalID != "" && r.Person != (fanfare.Person{Slot: s, Seq: all[i]}) {
			x.t.Errorf("seq %d is %q (%v), want %q", all[i], r.ExternalID, r.Person, want[all[i]])
		}
	}
	none, err := x.Profiles(x.ctx, s, nil)
	x.ok(err)
	x.same(none, []fanfare.Recipient(nil), "profiles of nobody")
}

func resolve(x *fixture) {
	const s = 3
	who := ids(s, 3)
	seqs := x.people(s, who[0], who[2])
	got, err := x.Resolve(x.ctx, s, []string{who[2], "nobody", who[1], who[0], who[2], ""})
	x.ok(err)
	x.same(got, []int64{int64(seqs[1]), -1, -1, int64(seqs[0]), int64(seqs[1]), -1}, "resolved")
	got, err = x.Resolve(x.ctx, s, nil)
	x.ok(err)
	x.same(got, []int64(nil), "resolving nobody")
}

func scan(x *fixture) {
	const s = 1
	who := ids(s, 30)
	var changes []fanfare.RecipientChange
	for i, id := range who {
		changes = append(changes, fanfare.RecipientChange{ExternalID: id, Email: text(fmt.Sprintf("Mail%d_%%@x", i))})
	}
	done := x.upsert(s, fanfare.UpsertOptions{}, changes...)
	x.ok(x.Number(x.ctx, s, 5)) // who has no profile is not listed
	found := func(from fanfare.Seq, limit int, query string) (got []string) {
		x.t.Helper()
		rows, err := x.Scan(x.ctx, s, from, limit, query)
		x.ok(err)
		for _, r := range rows {
			got = append(got, r.ExternalID)
		}
		return got
	}
	x.same(found(0, 100, ""), who, "all")
	x.same(found(0, 7, ""), who[:7], "the first")
	x.same(found(done[7].Seq, 7, ""), who[7:14], "the next")
	x.same(found(done[29].Seq+1, 7, ""), []string(nil), "beyond the last")
	x.same(found(0, 100, "Mail2"), slices.Concat(who[2:3], who[20:30]), "part of an address")
	x.same(found(0, 3, "Mail2"), slices.Concat(who[2:3], who[20:22]), "the limit counts what matches")
	x.same(found(0, 100, strings.TrimPrefix(who[4], "u")), who[4:5], "part of an id")
	x.same(found(0, 100, "mail2"), []string(nil), "another case")
	x.same(found(0, 100, "9_%"), slices.Concat(who[9:10], who[19:20], who[29:30]), "wildcards are none")
}

func mailboxes(x *fixture) {
	const s = 2
	var changes []fanfare.RecipientChange
	for i, id := range ids(s, 20) {
		c := fanfare.RecipientChange{ExternalID: id}
		switch i % 4 {
		case 0, 1:
			c.Email, c.EmailState, c.Mailbox = text("a@x"), fanfare.AddressUsable, 1<<63+uint64(i/2) //nolint:gosec // small
		case 2:
			c.Email, c.EmailState, c.Mailbox = text("a"), fanfare.AddressInvalid, 9
		}
		changes = append(changes, c)
	}
	done := x.upsert(s, fanfare.UpsertOptions{}, changes...)
	x.ok(x.Number(x.ctx, s, 3))
	alive := x.set(s, fanfare.SetAlive)
	type box struct {
		Seq fanfare.Seq
		Key uint64
	}
	read := func(c fanfare.ChannelName, members *set.Set) (got []box) {
		x.t.Helper()
		x.ok(x.Mailboxes(x.ctx, s, c, members, func(seq fanfare.Seq, key uint64) { got = append(got, box{seq, key}) }))
		slices.SortFunc(got, func(a, b box) int { return int(a.Seq) - int(b.Seq) })
		return got
	}
	var want, odd []box
	asked := set.New()
	for i, u := range done {
		if i%4 < 2 {
			b := box{u.Seq, changes[i].Mailbox}
			want = append(want, b)
			if i%4 == 1 {
				odd = append(odd, b)
				asked.Add(u.Seq)
			}
		}
	}
	asked.Add(done[2].Seq)
	x.same(read(fanfare.ChannelEmail, alive), want, "all")
	x.same(read(fanfare.ChannelEmail, asked), odd, "some")
	x.same(read(fanfare.ChannelEmail, set.New()), []box(nil), "nobody")
	x.same(read(fanfare.ChannelNull, alive), []box(nil), "a channel without addresses")
}

func number(x *fixture) {
	const s, n = 1, 150_000 // three containers
	list := fanfare.ListSet(9)
	x.people(s, ids(s, 1)...)
	before := x.set(s, fanfare.SetAlive).Clone()
	x.ok(x.Number(x.ctx, s, n, list))
	fresh := set.AndNot(x.set(s, fanfare.SetAlive), before)
	if fresh.Len() != n || !x.set(s, list).Equal(fresh) {
		x.t.Errorf("%d numbered: %d alive, %d in the list", n, fresh.Len(), x.set(s, list).Len())
	}
	if lo, _ := fresh.Min(); fresh.LenRange(uint64(lo), uint64(lo)+n) != n {
		x.t.Error("the numbers have gaps")
	}
	if first, _ := fresh.Min(); before.Contains(first) {
		x.t.Error("a number was given twice")
	}
	if rest := x.set(s+1, fanfare.SetAlive); !rest.Empty() {
		x.t.Errorf("%d alive in another slot", rest.Len())
	}
	x.ok(x.Number(x.ctx, s, 0, list))
	if got := x.set(s, list).Len(); got != n {
		x.t.Errorf("nobody numbered, %d in the list", got)
	}
}

func manyPeople(x *fixture) {
	const s, n = 0, 3000
	who := ids(s, n)
	var changes []fanfare.RecipientChange
	for i, id := range who {
		changes = append(changes, fanfare.RecipientChange{ExternalID: id, Email: text(id + "@x"), EmailState: fanfare.AddressUsable, Mailbox: uint64(i), //nolint:gosec // an index
			Attributes: map[string]any{"n": float64(i)}})
	}
	done := x.upsert(s, fanfare.UpsertOptions{Add: []fanfare.SetName{fanfare.ListSet(1)}}, changes...)
	seqs, err := x.Resolve(x.ctx, s, who)
	x.ok(err)
	var asked []fanfare.Seq
	for i, u := range done {
		if u.Outcome != fanfare.UpsertCreated || int64(u.Seq) != seqs[i] {
			x.t.Fatalf("%s: %v, resolved as %d", who[i], u, seqs[i])
		}
		asked = append(asked, u.Seq)
	}
	found, err := x.Profiles(x.ctx, s, asked)
	x.ok(err)
	for i, r := range found {
		if r.ExternalID != who[i] || r.Attributes["n"] != float64(i) {
			x.t.Fatalf("seq %d is %v, want %s", asked[i], r, who[i])
		}
	}
	x.members(s, fanfare.ListSet(1), asked...)
}
