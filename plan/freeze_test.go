package plan_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"fanfare"
	"fanfare/plan"
	"fanfare/set"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// citizen is what the model knows of a person.
type citizen struct {
	id         string
	state      fanfare.AddressState
	mailbox    uint64
	lists      []string
	suppressed map[fanfare.SetName]bool
	erased     bool
}

// town is people in a store and in the model.
type town struct {
	*world
	people []map[fanfare.Seq]*citizen // by slot
	lists  []string
}

const topic = "offers"

func newTown(t *testing.T, r *rapid.T, slots, people int) *town {
	w := &town{world: newWorld(t, slots, 0), people: make([]map[fanfare.Seq]*citizen, slots), lists: []string{"a", "b", "c"}}
	ids := map[string]int64{}
	w.ok(w.store.Update(w.ctx, func(tx fanfare.ControlTx) error {
		for _, name := range w.lists {
			l := fanfare.List{Name: name}
			if err := tx.InsertList(&l); err != nil {
				return err
			}
			ids[name] = l.ID
		}
		return nil
	}))
	for s := range w.people {
		w.people[s] = map[fanfare.Seq]*citizen{}
	}
	suppressions := fanfare.Suppressions(fanfare.ChannelEmail, topic, false)
	for i := range people {
		c := &citizen{id: fmt.Sprint("u", i), state: rapid.SampledFrom([]fanfare.AddressState{fanfare.AddressUsable, fanfare.AddressUsable,
			fanfare.AddressUsable, fanfare.AddressInvalid, fanfare.AddressNone}).Draw(r, "state"), suppressed: map[fanfare.SetName]bool{}}
		change := fanfare.RecipientChange{ExternalID: c.id}
		if c.state != fanfare.AddressNone {
			email := fmt.Sprint(i, "@x.example")
			change.Email, change.EmailState = &email, c.state
		}
		if c.state == fanfare.AddressUsable {
			c.mailbox = uint64(rapid.IntRange(1, people).Draw(r, "mailbox")) << 40
			change.Mailbox = c.mailbox
		}
		s := fanfare.SlotOf(c.id, slots)
		done, err := w.store.Upsert(w.ctx, s, []fanfare.RecipientChange{change}, fanfare.UpsertOptions{})
		w.ok(err)
		seq := done[0].Seq
		w.people[s][seq] = c
		join := func(name fanfare.SetName) {
			_, _, err := w.store.ChangeSet(w.ctx, s, name, set.Of(seq), nil)
			w.ok(err)
		}
		for _, name := range w.lists {
			if rapid.Bool().Draw(r, "member") {
				c.lists = append(c.lists, name)
				join(fanfare.ListSet(ids[name]))
			}
		}
		for range max(0, rapid.IntRange(-3, 2).Draw(r, "suppressions")) {
			names := rapid.SampledFrom(suppressions).Draw(r, "reason").Sets
			name := rapid.SampledFrom(names).Draw(r, "set")
			c.suppressed[name] = true
			join(name)
		}
		if rapid.IntRange(0, 9).Draw(r, "erased") == 0 {
			c.erased = true
			_, _, err := w.store.ChangeSet(w.ctx, s, fanfare.SetAlive, nil, set.Of(seq))
			w.ok(err)
		}
	}
	return w
}

// expression draws an audience and a function that says who is in it.
func (w *town) expression(r *rapid.T, depth int) (any, func(*citizen) bool) {
	kind := rapid.IntRange(0, 5).Draw(r, "kind")
	if depth == 0 {
		kind %= 3
	}
	switch kind {
	case 0:
		return map[string]any{"all": true}, func(*citizen) bool { return true }
	case 1:
		name := rapid.SampledFrom(w.lists).Draw(r, "list")
		return map[string]any{"list": name}, func(c *citizen) bool { return slices.Contains(c.lists, name) }
	case 2:
		var ids []string
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 60), 1, 20).Draw(r, "ids") {
			ids = append(ids, fmt.Sprint("u", n)) // some are unknown
		}
		return map[string]any{"recipients": ids}, func(c *citizen) bool { return slices.Contains(ids, c.id) }
	case 3:
		of, is := w.expression(r, depth-1)
		return map[string]any{"not": of}, func(c *citizen) bool { return !is(c) }
	}
	a, inA := w.expression(r, depth-1)
	b, inB := w.expression(r, depth-1)
	if kind == 4 {
		return map[string]any{"any": []any{a, b}}, func(c *citizen) bool { return inA(c) || inB(c) }
	}
	return map[string]any{"every": []any{a, b}}, func(c *citizen) bool { return inA(c) && inB(c) }
}

// model is the audience by going through everybody: the parts of each slot.
func (w *town) model(m *fanfare.Message, in func(*citizen) bool) []map[fanfare.Part][]fanfare.Seq {
	made := make([]map[fanfare.Part][]fanfare.Seq, len(w.people))
	taken := map[uint64]bool{}
	for s, people := range w.people {
		made[s] = map[fanfare.Part][]fanfare.Seq{}
		for _, seq := range slices.Sorted(maps.Keys(people)) {
			c := people[seq]
			if c.erased || !in(c) {
				continue
			}
			part := w.part(m, c)
			if part == fanfare.PartSend && m.Channel == fanfare.ChannelEmail && m.Dedupe == fanfare.DedupeAddress {
				if taken[c.mailbox] {
					part = fanfare.Part(fanfare.ReasonDuplicateAddress)
				}
				taken[c.mailbox] = true
			}
			made[s][part] = append(made[s][part], seq)
		}
	}
	return made
}

func (w *town) part(m *fanfare.Message, c *citizen) fanfare.Part {
	for _, reason := range fanfare.Suppressions(m.Channel, m.Topic, m.Essential) {
		for _, name := range reason.Sets {
			if c.suppressed[name] {
				return fanfare.Part(reason.Reason)
			}
		}
	}
	switch {
	case m.Channel != fanfare.ChannelEmail || c.state == fanfare.AddressUsable:
		return fanfare.PartSend
	case c.state == fanfare.AddressInvalid:
		return fanfare.Part(fanfare.ReasonInvalid)
	default:
		return fanfare.Part(fanfare.ReasonNoAddress)
	}
}

// frozen reads the parts of each slot.
func (w *town) frozen(id fanfare.MessageID) []map[fanfare.Part][]fanfare.Seq {
	w.Helper()
	num := w.read(id).Num
	made := make([]map[fanfare.Part][]fanfare.Seq, len(w.people))
	for s := range made {
		made[s] = map[fanfare.Part][]fanfare.Seq{}
		sizes, err := w.store.Parts(w.ctx, num, fanfare.Slot(s))
		w.ok(err)
		for part := range sizes {
			members, err := w.store.PartSet(w.ctx, num, fanfare.Slot(s), part)
			w.ok(err)
			made[s][part] = slices.Collect(members.All())
		}
	}
	return made
}

// TestFreezeLikeModel: who is planned and who is skipped for which reason is what going through everybody says, whatever the audience, the
// channel and the options; the count says the same beforehand.
func TestFreezeLikeModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newTown(t, r, rapid.IntRange(1, 4).Draw(r, "slots"), rapid.IntRange(0, 60).Draw(r, "people"))
		p := w.planner("a")
		doc, in := w.expression(r, 3)
		audience, err := json.Marshal(doc)
		w.ok(err)
		id := w.message("m", func(m *fanfare.Message) {
			m.Audience = audience
			m.Channel = rapid.SampledFrom([]fanfare.ChannelName{fanfare.ChannelEmail, fanfare.ChannelEmail, fanfare.ChannelNull}).Draw(r, "channel")
			m.Topic = rapid.SampledFrom([]string{topic, "general"}).Draw(r, "topic")
			m.Essential = rapid.Bool().Draw(r, "essential")
			m.Dedupe = rapid.SampledFrom([]fanfare.Dedupe{fanfare.DedupeAddress, fanfare.DedupeRecipient}).Draw(r, "dedupe")
		})
		m := w.read(id)
		counts, err := p.Count(w.ctx, plan.CountQuery{Audience: m.Audience, Channel: m.Channel, Topic: m.Topic, Essential: m.Essential, Dedupe: m.Dedupe})
		w.ok(err)
		w.event(id, fanfare.EventStart)
		w.settle(p)
		if ph := w.read(id).Phase; ph != fanfare.PhaseSending && ph != fanfare.PhaseCompleted {
			r.Fatalf("it is %s", ph)
		}
		want := w.model(&m, in)
		if diff := cmp.Diff(want, w.frozen(id)); diff != "" {
			r.Fatalf("%s\n%+v\n%s", audience, m, diff)
		}
		model := plan.Counts{Skipped: map[fanfare.Reason]int{}}
		for _, parts := range want {
			for part, members := range parts {
				model.Recipients += len(members)
				if part == fanfare.PartSend {
					model.Planned += len(members)
				} else {
					model.Skipped[fanfare.Reason(part)] += len(members)
				}
			}
		}
		if diff := cmp.Diff(model, counts); diff != "" {
			r.Fatalf("count: %s", diff)
		}
		if m.Topic == "general" && m.Channel == fanfare.ChannelNull {
			everybody, err := p.Count(w.ctx, plan.CountQuery{Audience: m.Audience})
			if err != nil || everybody.Planned != model.Recipients {
				r.Fatalf("count without a channel: %+v, %v", everybody, err)
			}
		}
	})
}

// TestFreezeWhileTheyChange: where mailboxes are compared the slots are read before any is frozen. Who unsubscribes in between gets
// nothing, who is erased is nowhere, who is new is not in it, and nobody gets two for that.
func TestFreezeWhileTheyChange(t *testing.T) {
	w := newWorld(t, 1, 0)
	put := func(id string, mailbox uint64) fanfare.Seq {
		email := id + "@x.example"
		done, err := w.store.Upsert(w.ctx, 0, []fanfare.RecipientChange{{ExternalID: id, Email: &email, EmailState: fanfare.AddressUsable, Mailbox: mailbox}},
			fanfare.UpsertOptions{})
		w.ok(err)
		return done[0].Seq
	}
	holder, twin, leaves, erased := put("holder", 1), put("twin", 1), put("leaves", 2), put("erased", 3)
	stays, gone := put("stays", 4), put("gone", 5)
	unsubscribe := func(members ...fanfare.Seq) {
		_, _, err := w.store.ChangeSet(w.ctx, 0, fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonUnsubscribed), set.Of(members...), nil)
		w.ok(err)
	}
	unsubscribe(gone)
	f := &failing{Store: w.store}
	c := w.config("a")
	c.Store = f
	f.before = func(_ int, name string) error {
		if name != "Freeze" {
			return nil
		}
		put("new", 2)
		unsubscribe(holder, leaves)
		_, _, err := w.store.ChangeSet(w.ctx, 0, fanfare.SetAlive, nil, set.Of(erased, gone))
		w.ok(err)
		return nil
	}
	id := w.message("m", func(m *fanfare.Message) { m.Channel, m.Dedupe = fanfare.ChannelEmail, fanfare.DedupeAddress }, fanfare.EventStart)
	w.settle(plan.New(c))
	got := (&town{world: w, people: make([]map[fanfare.Seq]*citizen, 1)}).frozen(id)
	want := []map[fanfare.Part][]fanfare.Seq{{fanfare.PartSend: {stays}, fanfare.Part(fanfare.ReasonUnsubscribed): {holder, leaves},
		fanfare.Part(fanfare.ReasonDuplicateAddress): {twin}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestCountRefuses: an audience that cannot be counted says why.
func TestCountRefuses(t *testing.T) {
	w := newWorld(t, 1, 1)
	p := w.planner("a")
	for _, doc := range []string{`{"list":"nowhere"}`, `{"all":false}`, `{"segment":"s"}`, `{"attribute":"city"}`, `[]`} {
		if counts, err := p.Count(w.ctx, plan.CountQuery{Audience: []byte(doc)}); err == nil {
			t.Errorf("%s: %+v", doc, counts)
		}
	}
}
