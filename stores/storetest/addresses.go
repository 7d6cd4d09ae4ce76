package storetest

import (
	"slices"
	"sync"

	"pgregory.net/rapid"

	"fanfare"
	"fanfare/set"
)

func addressScenarios() []scenario {
	return []scenario{
		{"whoever gets a suppressed address is born suppressed", bornSuppressed},
		{"an address's own faults go with it", addressFaults},
		{"resubscribing lifts what an address left behind", resubscribe},
		{"entries are listed and forgotten", addressEntries},
		{"everybody of a long call is looked up", bornMany},
		{"an intent hears of every way to opt out", optOutsAreHeard},
		{"nobody falls between an entry and its owner", bornMeanwhile},
	}
}

// mailbox is a change to an address; its number stands for it.
func mailbox(id string, n uint64) fanfare.RecipientChange {
	return fanfare.RecipientChange{ExternalID: id, Email: text("m" + string(rune('0'+n%10)) + "@x"), EmailState: fanfare.AddressUsable, Mailbox: n}
}

func (x *fixture) entry(name fanfare.SetName, mailboxes ...uint64) {
	x.t.Helper()
	_, err := x.SuppressAddresses(x.ctx, name, mailboxes)
	x.ok(err)
}

func bornSuppressed(x *fixture) {
	const s = 1
	who := ids(s, 6)
	out := fanfare.SuppressionSet(fanfare.ChannelEmail, "news", fanfare.ReasonUnsubscribed)
	all := fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonSuppressed)
	old := x.upsert(s, fanfare.UpsertOptions{}, mailbox(who[0], 1))[0]
	x.entry(out, 1, 2)
	x.entry(all, 2)
	x.members(s, out) // who has it already is for the caller
	again := x.upsert(s, fanfare.UpsertOptions{}, mailbox(who[0], 1))[0]
	x.same(again.Outcome, fanfare.UpsertUnchanged, "the same address again")
	x.members(s, out) // it is no new address: whoever was taken out stays out
	fresh := x.upsert(s, fanfare.UpsertOptions{}, mailbox(who[1], 2), mailbox(who[2], 3), fanfare.RecipientChange{ExternalID: who[3], Email: text("bad"), EmailState: fanfare.AddressInvalid, Mailbox: 2},
		fanfare.RecipientChange{ExternalID: who[4]})
	x.members(s, out, fresh[0].Seq)
	x.members(s, all, fresh[0].Seq)
	x.upsert(s, fanfare.UpsertOptions{}, mailbox(who[2], 2), mailbox(who[4], 1)) // changed to it
	x.members(s, out, fresh[0].Seq, fresh[1].Seq, fresh[3].Seq)
	x.members(s, all, fresh[0].Seq, fresh[1].Seq)
	x.upsert(s, fanfare.UpsertOptions{}, mailbox(who[1], 9)) // an opt-out is heard though its address is another one
	x.members(s, all, fresh[0].Seq, fresh[1].Seq)
	x.members(s, fanfare.AddressSet(fanfare.ChannelEmail), old.Seq, fresh[0].Seq, fresh[1].Seq, fresh[3].Seq)
}

func addressFaults(x *fixture) {
	const s = 0
	who := ids(s, 1)[0]
	bounced := fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonBounced)
	complained := fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonComplained)
	x.entry(bounced, 1)
	x.entry(complained, 2)
	u := x.upsert(s, fanfare.UpsertOptions{}, mailbox(who, 1))[0]
	x.members(s, bounced, u.Seq)
	x.upsert(s, fanfare.UpsertOptions{}, mailbox(who, 2))
	x.members(s, bounced)
	x.members(s, complained, u.Seq)
	x.upsert(s, fanfare.UpsertOptions{}, mailbox(who, 3))
	x.members(s, complained)
	x.upsert(s, fanfare.UpsertOptions{}, mailbox(who, 1), mailbox(who, 3), mailbox(who, 2)) // as it stands at the end
	x.members(s, bounced)
	x.members(s, complained, u.Seq)
}

func resubscribe(x *fixture) {
	const s = 2
	who := ids(s, 3)
	out := fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonUnsubscribed)
	bounced := fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonBounced)
	x.entry(out, 1)
	x.entry(bounced, 1)
	anew := func(id string) fanfare.RecipientChange {
		c := mailbox(id, 1)
		c.Resubscribe = true
		return c
	}
	a := x.upsert(s, fanfare.UpsertOptions{}, mailbox(who[0], 1))[0]
	b := x.upsert(s, fanfare.UpsertOptions{}, anew(who[1]))[0]
	x.members(s, out, a.Seq)
	x.members(s, bounced, a.Seq, b.Seq) // to agree mends no mailbox
	x.upsert(s, fanfare.UpsertOptions{}, anew(who[0]))
	x.members(s, out)
	c := x.upsert(s, fanfare.UpsertOptions{}, mailbox(who[2], 1))[0]
	x.members(s, out, c.Seq) // the entry is there still: it speaks of whoever did not agree
}

func addressEntries(x *fixture) {
	one := fanfare.SuppressionSet(fanfare.ChannelEmail, "a", fanfare.ReasonUnsubscribed)
	two := fanfare.SuppressionSet(fanfare.ChannelEmail, "b", fanfare.ReasonUnsubscribed)
	before := x.identity().Head
	for i, c := range []struct {
		name      fanfare.SetName
		mailboxes []uint64
		added     int
	}{{one, []uint64{1, 2, 1<<64 - 1}, 3}, {one, []uint64{2, 3, 3}, 1}, {two, []uint64{2}, 1}, {two, nil, 0}, {two, []uint64{2}, 0}} {
		added, err := x.SuppressAddresses(x.ctx, c.name, c.mailboxes)
		x.ok(err)
		x.same(added, c.added, "added "+string(rune('0'+i)))
	}
	if x.identity().Head <= before {
		x.t.Error("entries were added and the head did not rise")
	}
	var all []fanfare.AddressEntry
	for after := (fanfare.AddressEntry{}); ; {
		page, err := x.AddressEntries(x.ctx, after, 2)
		x.ok(err)
		if len(page) == 0 {
			break
		}
		all = append(all, page...)
		after = page[len(page)-1]
	}
	x.same(len(all), 5, "entries")
	if !slices.IsSortedFunc(all, byEntry) {
		x.t.Errorf("out of order: %v", all)
	}
	of, err := x.EntriesOf(x.ctx, 2)
	x.ok(err)
	if len(of) != 2 || of[0].Set != one || of[1].Set != two || of[0].Hash != of[1].Hash {
		x.t.Errorf("entries of a mailbox: %v", of)
	}
	for _, want := range []bool{true, false} {
		was, err := x.ForgetAddress(x.ctx, of[0])
		x.ok(err)
		x.same(was, want, "forgotten")
	}
	if x.backend.Reopen != nil {
		x.Store = x.backend.Reopen(x.t)
	}
	left, err := x.EntriesOf(x.ctx, 2)
	x.ok(err)
	x.same(left, of[1:], "what is left")
	const s = 3
	u := x.upsert(s, fanfare.UpsertOptions{}, mailbox(ids(s, 1)[0], 2))[0]
	x.members(s, one)
	x.members(s, two, u.Seq)
	none, err := x.EntriesOf(x.ctx, 77)
	x.ok(err)
	x.same(len(none), 0, "entries of an address without")
}

func byEntry(a, b fanfare.AddressEntry) int {
	if a.Hash != b.Hash {
		return map[bool]int{true: -1, false: 1}[a.Hash < b.Hash]
	}
	return map[bool]int{true: -1, false: 1}[a.Set <= b.Set]
}

// bornMany: a call that takes all for new people, one of a mark, and one that meets people who are there.
func bornMany(x *fixture) {
	const s, n = 1, 1200
	who := ids(s, n+1)
	out := fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonUnsubscribed)
	var evens []uint64
	for i := range uint64(n / 2) {
		evens = append(evens, 2*i)
	}
	x.entry(out, evens...)
	changes := make([]fanfare.RecipientChange, n)
	for i := range changes {
		changes[i] = mailbox(who[i], uint64(i)) //nolint:gosec // small
	}
	want := func(done []fanfare.Upserted) (seqs []fanfare.Seq) {
		for i := 0; i < n; i += 2 {
			seqs = append(seqs, done[i].Seq)
		}
		return seqs
	}
	mark := fanfare.UpsertOptions{Mark: &fanfare.Mark{Work: "w", Part: 1}}
	first := x.upsert(s, mark, changes...)
	x.members(s, out, want(first)...)
	x.change(s, out, nil, set.Of(first[0].Seq))
	x.upsert(s, mark, changes...)
	x.members(s, out, want(first)[1:]...) // what was done already is not done again
	for i := range changes {
		changes[i].Mailbox = uint64(n - 1 - i) //nolint:gosec // small
	}
	x.upsert(s, fanfare.UpsertOptions{}, append(changes, mailbox(who[n], 1))...)
	if got := x.set(s, out).Len(); got != n-1 { // but for the one who was taken out, whose address is none of them now
		x.t.Errorf("%d are suppressed, want all %d that had a suppressed address once, but one", got, n)
	}
}

// optOutsAreHeard is promise 8 for each writer of opt-outs: after the freeze and the claim, and before the intent, a set is changed, an address that
// somebody has is suppressed, and somebody moves to an address that is.
func optOutsAreHeard(x *fixture) {
	const s, topic = 1, "news"
	who := ids(s, 5)
	var planned []fanfare.Seq
	for i, id := range who {
		planned = append(planned, x.upsert(s, fanfare.UpsertOptions{}, mailbox(id, uint64(10+i)))[0].Seq) //nolint:gosec // small
	}
	m := x.message()
	x.freeze(m, s, len(who), map[fanfare.Part]*set.Set{fanfare.PartSend: set.Of(planned...)})
	h := x.take(ref(m, s, 0))
	out := fanfare.SuppressionSet(fanfare.ChannelEmail, topic, fanfare.ReasonUnsubscribed)
	bounced := fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonBounced)
	x.change(s, out, set.Of(planned[0]), nil)
	if _, err := fanfare.SuppressAddresses(x.ctx, x.Store, map[fanfare.SetName][]uint64{out: {11}, bounced: {77, 12}}); err != nil {
		x.t.Fatal(err)
	}
	x.upsert(s, fanfare.UpsertOptions{}, mailbox(who[3], 77))
	x.answers(h.record(func(r *fanfare.Record) {
		r.Intent = h.intent(0, 1, 2, 3, 4)
		r.Intent.Suppressions = fanfare.Suppressions(fanfare.ChannelEmail, topic, false)
	}), fanfare.Applied, "intent")
	var want []fanfare.Exception
	for rank, why := range map[int]fanfare.Reason{0: "unsubscribed", 1: "unsubscribed", 2: "bounced", 3: "bounced"} {
		want = append(want, fanfare.Exception{Seq: planned[rank], Result: fanfare.ResultSkipped, Reason: why, At: x.now()})
	}
	x.same(x.exceptions(m, s, 0), bySeq(want), "exceptions")
	if h.row.InFlight.Len() != 1 || !h.row.InFlight.Has(4) {
		x.t.Errorf("row %+v", h.row)
	}
}

// bornMeanwhile: entries and owners that come at the same time; whoever the caller does not find afterwards was born suppressed.
func bornMeanwhile(x *fixture) {
	const s, n = 2, 200
	who := ids(s, n)
	out := fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonUnsubscribed)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range uint64(n) {
			if _, err := x.Upsert(x.ctx, s, []fanfare.RecipientChange{mailbox(who[i], i)}, fanfare.UpsertOptions{}); err != nil {
				x.t.Error(err)
			}
		}
	})
	for i := n - 1; i >= 0; i-- {
		if _, err := x.SuppressAddresses(x.ctx, out, []uint64{uint64(i)}); err != nil { //nolint:gosec // small
			x.t.Error(err)
		}
		here, err := x.LoadSet(x.ctx, s, fanfare.AddressSet(fanfare.ChannelEmail))
		x.ok(err)
		owners := set.New()
		x.ok(x.Mailboxes(x.ctx, s, fanfare.ChannelEmail, here, func(seq fanfare.Seq, key uint64) {
			if key == uint64(i) { //nolint:gosec // small
				owners.Add(seq)
			}
		}))
		x.change(s, out, owners, nil)
	}
	wg.Wait()
	if got := x.set(s, out).Len(); got != n {
		x.t.Errorf("%d of %d are suppressed", got, n)
	}
}

// suppressAddresses is a call of Compare; entries are compared by what they do and by how many there are: their hashes are each store's own.
func (c *comparison) suppressAddresses(r *rapid.T) {
	name := c.name()
	mailboxes := rapid.SliceOfN(rapid.Uint64Range(0, 5), 0, 4).Draw(r, "mailboxes")
	c.same("suppress addresses", func(st fanfare.Store) (any, error) { return st.SuppressAddresses(c.t.Context(), name, mailboxes) })
	one, forget := rapid.Uint64Range(0, 5).Draw(r, "mailbox"), rapid.IntRange(0, 3).Draw(r, "forget") == 0
	c.same("entries of an address", func(st fanfare.Store) (any, error) {
		all, err := st.EntriesOf(c.t.Context(), one)
		names := []fanfare.SetName{}
		for _, e := range all {
			names = append(names, e.Set)
			if forget && err == nil {
				_, err = st.ForgetAddress(c.t.Context(), e)
			}
		}
		return names, err
	})
	c.same("all entries", func(st fanfare.Store) (any, error) {
		all, err := st.AddressEntries(c.t.Context(), fanfare.AddressEntry{}, 100)
		return len(all), err
	})
}
