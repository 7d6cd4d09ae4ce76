package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fanfare"
	"fanfare/set"
)

// Compare makes the same random calls to a model and to a driver, and wants the same answers: the same values, errors of the same kind.
// Where the driver can be opened again, that is one of the calls.
func Compare(t *testing.T, model, driver Open) {
	t.Helper()
	rapid.Check(t, func(r *rapid.T) {
		clock := NewClock()
		o := Options{Slots: slots, Clock: clock.Now}
		m, d := model(t, o), driver(t, o)
		c := &comparison{t: t, r: r, clock: clock, model: m.Store, driver: d.Store, marks: map[string][]fanfare.RecipientChange{}, heads: map[bool]int64{}}
		defer func() { // many stores are made, and none is needed any more
			if err := errors.Join(c.model.Close(), c.driver.Close()); err != nil {
				t.Error(err)
			}
		}()
		actions := map[string]func(*rapid.T){
			"": func(*rapid.T) {}, "clock": c.advance, "upsert": c.upsert, "change set": c.changeSet, "drop set": c.dropSet, "edit": c.edit, "number": c.number,
			"addresses": c.suppressAddresses, "people": c.people, "message": c.message, "save": c.save, "spread": c.spread, "freeze": c.freeze, "void": c.void, "forget": c.forget,
			"tables": c.tables, "read": c.read, "identity": c.identity, "erase": c.erase,
		}
		actions["answers"] = c.answers
		for i := range 6 { // most calls are claims and records, as in life
			actions[fmt.Sprint("append ", i)] = c.append
		}
		if d.Reopen != nil {
			actions["reopen"] = func(*rapid.T) { c.driver = d.Reopen(t) }
		}
		if d.Crash != nil {
			actions["crash"] = func(*rapid.T) { c.driver = d.Crash(t) }
		}
		r.Repeat(actions)
		c.everything()
	})
}

type comparison struct {
	t             *testing.T
	r             *rapid.T
	clock         *Clock
	model, driver fanfare.Store
	messages      int
	marks         map[string][]fanfare.RecipientChange // a mark always means the same work
	heads         map[bool]int64                       // as last seen, of the model (true) and the driver
}

// kinds are the errors that a contract may answer.
func kindOf(err error) string {
	if err == nil {
		return "no error"
	}
	for _, kind := range []error{fanfare.ErrNotFound, fanfare.ErrExists, fanfare.ErrConflict, fanfare.ErrState, fanfare.ErrDamaged, fanfare.ErrClosed,
		fanfare.ErrLocked, fanfare.ErrFull, fanfare.ErrReadOnly, fanfare.ErrForeign, fanfare.ErrUsage, errBoom} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return "another error: " + err.Error()
}

// same wants equal values, and errors of one kind.
func (c *comparison) same(what string, of func(s fanfare.Store) (any, error)) {
	want, wantErr := of(c.model)
	got, gotErr := of(c.driver)
	if kindOf(wantErr) != kindOf(gotErr) {
		c.r.Fatalf("%s: the model says %v, the driver %v", what, wantErr, gotErr)
	}
	if d := diff(want, got); d != "" && wantErr == nil {
		c.r.Fatalf("%s: -model +driver\n%s", what, d)
	}
}

func (c *comparison) slot() fanfare.Slot { return fanfare.Slot(rapid.IntRange(0, 1).Draw(c.r, "slot")) } //nolint:gosec // small

func (c *comparison) num() fanfare.MessageNum {
	return fanfare.MessageNum(rapid.IntRange(1, max(c.messages, 1)).Draw(c.r, "message"))
}

func (c *comparison) advance(r *rapid.T) {
	c.clock.Advance(rapid.SampledFrom([]time.Duration{time.Millisecond, 200 * time.Millisecond, 10 * time.Second, fanfare.LeaseTime, 49 * time.Hour}).Draw(r, "time"))
}

func (c *comparison) name() fanfare.SetName {
	return rapid.SampledFrom([]fanfare.SetName{
		fanfare.SetAlive, fanfare.SetUnindexed, fanfare.ListSet(1), fanfare.ListSet(2), fanfare.AddressSet(fanfare.ChannelEmail), fanfare.InvalidSet(fanfare.ChannelEmail),
		fanfare.SuppressionSet(fanfare.ChannelEmail, "news", fanfare.ReasonUnsubscribed), fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonBounced),
		fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonComplained), fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonSuppressed), fanfare.SetErased,
	}).Draw(c.r, "set")
}

// members draws a set of whoever may exist, sometimes beyond a container's border.
func (c *comparison) members() *set.Set {
	s := set.Of(rapid.SliceOfN(rapid.Uint32Range(0, 40), 0, 12).Draw(c.r, "members")...)
	if rapid.IntRange(0, 9).Draw(c.r, "border") == 0 {
		s.AddRange(65_530, 65_545)
	}
	return s
}

func (c *comparison) upsert(r *rapid.T) {
	s := c.slot()
	pool := ids(s, 10)
	change := rapid.Custom(func(r *rapid.T) fanfare.RecipientChange {
		ch := fanfare.RecipientChange{ExternalID: rapid.SampledFrom(pool).Draw(r, "id"), Kind: fanfare.ChangeKind(rapid.IntRange(0, 2).Draw(r, "kind"))} //nolint:gosec // small
		value := rapid.SampledFrom([]string{"", "a@x", "b@x", "nonsense", "名@例", `q"\`})
		if rapid.Bool().Draw(r, "with mail") {
			mail := value.Draw(r, "mail")
			ch.Email = &mail
			ch.EmailState = fanfare.AddressState(rapid.IntRange(0, 2).Draw(r, "state")) //nolint:gosec // small
			ch.Mailbox = rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 5)).Draw(r, "mailbox")
			ch.Resubscribe = rapid.IntRange(0, 4).Draw(r, "resubscribes") == 0
		}
		if rapid.Bool().Draw(r, "with phone") {
			phone := value.Draw(r, "phone")
			ch.Phone, ch.Locale = &phone, &phone
		}
		if n := rapid.IntRange(0, 3).Draw(r, "attributes"); n > 0 {
			ch.Attributes = map[string]any{}
			for range n {
				ch.Attributes[rapid.SampledFrom([]string{"a", "b", "ü \"", ""}).Draw(r, "name")] = rapid.SampledFrom([]any{nil, "", "x", "é\\\n\u2028", 0.0, -1.5, 1e21, 1e-9, true, false,
					[]string{}, []string{"p", "q,]"}}).Draw(r, "value")
			}
		}
		return ch
	})
	changes := rapid.SliceOfN(change, 0, 14).Draw(r, "changes")
	opt := fanfare.UpsertOptions{RefuseErased: rapid.Bool().Draw(r, "refuses the erased")}
	if rapid.Bool().Draw(r, "joins") {
		opt.Add = append(opt.Add, fanfare.ListSet(1), fanfare.ListSet(2))
	}
	if rapid.IntRange(0, 2).Draw(r, "marked") == 0 {
		opt.Mark = &fanfare.Mark{Work: "w", Part: int64(rapid.IntRange(0, 3).Draw(r, "part"))}
		key := fmt.Sprint(s, opt.Mark.Part)
		if was, done := c.marks[key]; done {
			changes = was
		}
		c.marks[key] = changes
	}
	c.same("upsert", func(st fanfare.Store) (any, error) { return st.Upsert(c.t.Context(), s, changes, opt) })
}

func (c *comparison) erase(r *rapid.T) {
	s := c.slot()
	who := rapid.SliceOfN(rapid.SampledFrom(append(ids(s, 10), ids(s, 12)[10:]...)), 0, 4).Draw(r, "erased")
	c.same("erase", func(st fanfare.Store) (any, error) { return st.Erase(c.t.Context(), s, who) })
	for _, id := range ids(s, 4) {
		c.same("known", func(st fanfare.Store) (any, error) {
			p, at, err := st.Known(c.t.Context(), id)
			return fmt.Sprint(p, at.UnixMicro()), err
		})
	}
	if rapid.IntRange(0, 3).Draw(r, "purges") == 0 {
		c.same("purge", func(st fanfare.Store) (any, error) { return st.Purge(c.t.Context()) })
	}
}

func (c *comparison) changeSet(r *rapid.T) {
	s, name, add, remove := c.slot(), c.name(), c.members(), c.members()
	if rapid.Bool().Draw(r, "only add") {
		remove = nil
	}
	c.same("change "+string(name), func(st fanfare.Store) (any, error) {
		added, removed, err := st.ChangeSet(c.t.Context(), s, name, add, remove)
		return [2]int{added, removed}, err
	})
}

// edit reads a slot and changes some of its sets.
func (c *comparison) edit(r *rapid.T) {
	s, failing := c.slot(), rapid.IntRange(0, 4).Draw(r, "fails") == 0
	changes := make([]fanfare.SetChange, rapid.IntRange(0, 3).Draw(r, "changes"))
	for i := range changes {
		changes[i] = fanfare.SetChange{Name: c.name(), Add: c.members(), Remove: c.members()}
	}
	who := c.members()
	c.same("edit", func(st fanfare.Store) (any, error) {
		found := map[fanfare.Seq]map[string]any{}
		var names []fanfare.SetName
		err := st.Edit(c.t.Context(), s, func(v fanfare.SlotView) (_ []fanfare.SetChange, err error) {
			if names, err = v.SetNames(""); err != nil {
				return nil, err
			}
			if err := v.Attributes(who, func(seq fanfare.Seq, attributes map[string]any) error {
				found[seq] = attributes
				return nil
			}); err != nil {
				return nil, err
			}
			if failing {
				return changes, errBoom
			}
			return changes, nil
		})
		return []any{found, names}, err
	})
}

func (c *comparison) dropSet(*rapid.T) {
	name := c.name()
	c.same("drop", func(st fanfare.Store) (any, error) { return nil, st.DropSet(c.t.Context(), name) })
}

func (c *comparison) number(r *rapid.T) {
	s, n, in := c.slot(), rapid.IntRange(0, 12).Draw(r, "n"), c.name()
	c.same("number", func(st fanfare.Store) (any, error) { return nil, st.Number(c.t.Context(), s, n, in) })
}

func (c *comparison) people(r *rapid.T) {
	s := c.slot()
	who := rapid.SliceOfN(rapid.SampledFrom(append(ids(s, 10), "nobody")), 0, 60).Draw(r, "ids")
	seqs := c.members().ToArray()
	from, limit := rapid.Uint32Range(0, 20).Draw(r, "from"), rapid.IntRange(0, 12).Draw(r, "limit")
	query := rapid.SampledFrom([]string{"", "@x", "b", "%", "u0000", `\`}).Draw(r, "query")
	c.same("resolve", func(st fanfare.Store) (any, error) { return st.Resolve(c.t.Context(), s, who) })
	c.same("profiles", func(st fanfare.Store) (any, error) { return st.Profiles(c.t.Context(), s, seqs) })
	c.same("scan", func(st fanfare.Store) (any, error) { return st.Scan(c.t.Context(), s, from, limit, query) })
	one := rapid.SampledFrom(append(ids(s, 10), "nobody")).Draw(r, "id")
	c.same("recipient", func(st fanfare.Store) (any, error) { return st.Recipient(c.t.Context(), one) })
}

func (c *comparison) message(r *rapid.T) {
	m := fullMessage(c.clock.Now())
	m.ID = fanfare.MessageID(fmt.Sprint("m", rapid.IntRange(0, 4).Draw(r, "id")))
	m.State = fanfare.State{Phase: rapid.SampledFrom(fanfare.Phases()).Draw(r, "phase"), Generation: 1}
	m.Tags = rapid.SampledFrom([][]string{nil, {"one"}, {"one", "two", "one"}}).Draw(r, "tags")
	failing := rapid.IntRange(0, 4).Draw(r, "fails") == 0
	c.same("insert message", func(st fanfare.Store) (any, error) {
		m := m
		err := st.Update(c.t.Context(), func(tx fanfare.ControlTx) error {
			if err := tx.InsertMessage(&m); err != nil {
				return err
			}
			if failing {
				return errBoom
			}
			return nil
		})
		if err == nil {
			c.messages = max(c.messages, int(m.Num))
		}
		return nil, err // a number that was rolled back may be used by one and not by the other
	})
	if rapid.IntRange(0, 3).Draw(r, "deletes") == 0 {
		c.same("delete message", func(st fanfare.Store) (any, error) {
			return nil, st.Update(c.t.Context(), func(tx fanfare.ControlTx) error { return tx.DeleteMessage(m.ID) })
		})
	}
}

func (c *comparison) save(r *rapid.T) {
	id := fanfare.MessageID(fmt.Sprint("m", rapid.IntRange(0, 4).Draw(r, "id")))
	phase := rapid.SampledFrom(fanfare.Phases()).Draw(r, "to")
	guess := rapid.SampledFrom(fanfare.Phases()).Draw(r, "from")
	right := rapid.Bool().Draw(r, "guarded rightly")
	c.same("save message", func(st fanfare.Store) (any, error) {
		return nil, st.Update(c.t.Context(), func(tx fanfare.ControlTx) error {
			m, err := tx.Message(id)
			if err != nil {
				return err
			}
			from, was := guess, m.Generation
			if right {
				from = m.Phase
			}
			m.Phase, m.Generation, m.UpdatedAt, m.Reopens = phase, m.Generation+1, tx.Now(), !m.Reopens
			return tx.SaveMessage(&m, from, was)
		})
	})
}

func (c *comparison) spread(r *rapid.T) {
	s, m := c.slot(), c.num()
	p := rapid.SampledFrom([]fanfare.SlotPhase{fanfare.SlotPreparing, fanfare.SlotSending, fanfare.SlotSending, fanfare.SlotStopped}).Draw(r, "phase")
	g := fanfare.Generation(rapid.IntRange(1, 3).Draw(r, "generation"))
	c.same("spread", func(st fanfare.Store) (any, error) { return nil, st.Spread(c.t.Context(), s, m, p, g) })
}

func (c *comparison) freeze(r *rapid.T) {
	s, m := c.slot(), c.num()
	g := fanfare.Generation(rapid.IntRange(1, 2).Draw(r, "generation"))
	size := rapid.IntRange(0, 5).Draw(r, "size")
	skip := c.members()
	fails := rapid.IntRange(0, 5).Draw(r, "fails") == 0
	if rapid.Bool().Draw(r, "as in life") { // or most would be refused
		c.same("spread", func(st fanfare.Store) (any, error) {
			return nil, st.Spread(c.t.Context(), s, m, fanfare.SlotPreparing, g)
		})
		c.same("number", func(st fanfare.Store) (any, error) { return nil, st.Number(c.t.Context(), s, 8) })
	}
	c.same("freeze", func(st fanfare.Store) (any, error) {
		return st.Freeze(c.t.Context(), s, m, g, size, func(v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
			if fails {
				return nil, errBoom
			}
			all, err := v.LoadSet(fanfare.SetAlive)
			if err != nil {
				return nil, err
			}
			return map[fanfare.Part]*set.Set{fanfare.PartSend: set.AndNot(all, skip), "no_address": set.And(all, skip), "invalid": nil}, nil
		})
	})
	if rapid.Bool().Draw(r, "sends") {
		c.same("spread", func(st fanfare.Store) (any, error) {
			return nil, st.Spread(c.t.Context(), s, m, fanfare.SlotSending, g)
		})
	}
}

func (c *comparison) owner(r *rapid.T) fanfare.Owner {
	return fanfare.Owner{Node: rapid.SampledFrom([]string{"a", "b"}).Draw(r, "node"), Incarnation: int64(rapid.IntRange(1, 2).Draw(r, "incarnation"))}
}

// entry draws a claim, or a record of whoever holds the batch, right or wrong.
func (c *comparison) entry(r *rapid.T) fanfare.Entry {
	at := ref(c.num(), c.slot(), fanfare.BatchNo(rapid.IntRange(0, 3).Draw(r, "batch"))) //nolint:gosec // small
	rows, err := c.model.Peek(c.t.Context(), []fanfare.BatchRef{at})
	if err != nil {
		r.Fatal(err)
	}
	row := rows[0]
	g := fanfare.Generation(rapid.IntRange(1, 2).Draw(r, "generation"))
	if rapid.IntRange(0, 5).Draw(r, "amends") == 0 {
		return fanfare.Entry{Amend: c.amend(r, at, g)}
	}
	if row.Owner.Node == "" || rapid.IntRange(0, 4).Draw(r, "claims") == 0 {
		claim := fanfare.Claim{BatchRef: at, Generation: g, Owner: c.owner(r), Lease: fanfare.LeaseTime,
			Policy: rapid.SampledFrom([]fanfare.Policy{fanfare.PolicyResend, fanfare.PolicyHold}).Draw(r, "policy"), Settle: rapid.IntRange(0, 4).Draw(r, "settles") == 0}
		if rapid.IntRange(0, 2).Draw(r, "delivers") == 0 {
			claim.Deliver = &fanfare.Inline{Revision: fanfare.Revision(rapid.IntRange(1, 3).Draw(r, "revision")), Few: rapid.Bool().Draw(r, "to few"),
				Suppressions: fanfare.Suppressions(fanfare.ChannelEmail, "news", rapid.Bool().Draw(r, "essential"))}
		}
		return fanfare.Entry{Claim: &claim}
	}
	members, err := c.model.Members(c.t.Context(), at.Message, at.Slot, row.First, row.N)
	if err != nil {
		r.Fatal(err)
	}
	rec := fanfare.Record{BatchRef: at, Generation: g, Fence: row.Fence, Step: row.Step, Next: row.Clone(), Lease: fanfare.LeaseTime}
	for rank := range row.InFlight.All() {
		c.answer(r, &rec, rank, members[rank])
	}
	if rapid.Bool().Draw(r, "intends") {
		rec.Intent = &fanfare.Intent{Suppressions: fanfare.Suppressions(fanfare.ChannelEmail, "news", rapid.Bool().Draw(r, "essential"))}
		for rank := range rec.Next.Pending.All() {
			if rapid.Bool().Draw(r, "sends") {
				rec.Intent.Members = append(rec.Intent.Members, fanfare.Member{Rank: rank, Seq: members[rank]})
			}
		}
	} else if rapid.Bool().Draw(r, "gives up") {
		rec.Lease = 0
		rec.Next.NotBefore = rapid.SampledFrom([]time.Time{{}, c.clock.Now().Add(5 * time.Second)}).Draw(r, "not before")
	}
	switch rapid.IntRange(0, 19).Draw(r, "wrong") {
	case 0:
		rec.Step--
	case 1:
		rec.Fence++
	case 2:
		rec.Next.N++
	case 3:
		rec.Next.First++
	case 4:
		rec.Exceptions = append(rec.Exceptions, fanfare.Exception{Rank: 0, Seq: members[0], Result: fanfare.ResultPending, Text: "\x00"})
	case 5:
		rec.Next.Sent++
	case 6:
		rec.Next.State, rec.Next.Held, rec.Lease = fanfare.BatchHeld, "by its holder", 0
	}
	return fanfare.Entry{Record: &rec}
}

// amend draws one that may change something, or not.
func (c *comparison) amend(r *rapid.T, at fanfare.BatchRef, g fanfare.Generation) *fanfare.Amend {
	d := &fanfare.Amend{BatchRef: at, Generation: g, Revision: 5}
	switch rapid.IntRange(0, 5).Draw(r, "amendment") {
	case 0:
		d.As = fanfare.ResultSent
	case 1:
		d.As, d.Who = fanfare.ResultFailed, c.members().ToArray()
	case 2:
		d.As = fanfare.ResultSkipped
	case 3:
		d.Reopen = []fanfare.Scope{{Result: fanfare.ResultUncertain, Again: rapid.Bool().Draw(r, "again")}}
	case 4:
		d.Reopen = []fanfare.Scope{{Result: fanfare.ResultFailed}}
	default:
		d.Reopen = []fanfare.Scope{{Result: fanfare.ResultUncertain}, {Result: fanfare.ResultFailed, Reasons: []fanfare.Reason{fanfare.ReasonPermanent}}}
	}
	if d.As == "" && rapid.Bool().Draw(r, "as in life") { // or most would be refused
		c.same("spread", func(st fanfare.Store) (any, error) {
			return nil, st.Spread(c.t.Context(), at.Slot, at.Message, fanfare.SlotPreparing, g)
		})
	}
	return d
}

func (c *comparison) answer(r *rapid.T, rec *fanfare.Record, rank int, seq fanfare.Seq) {
	e := fanfare.Exception{Rank: rank, Seq: seq, Code: rapid.SampledFrom([]string{"550", "450 4.2.1"}).Draw(r, "code"), Attempts: rapid.IntRange(0, 3).Draw(r, "attempts"),
		Doubts: rapid.IntRange(0, 2).Draw(r, "doubts")}
	switch rapid.IntRange(0, 4).Draw(r, "answer") {
	case 0: // none yet
		return
	case 1, 2:
		rec.Next.Sent++
		rec.Next.Runs, rec.SentNow = []fanfare.Run{{Revision: 1, Sent: []byte{1}, At: c.clock.Now().Add(-time.Hour)}, {Revision: 2}}, true
	case 3:
		if rapid.Bool().Draw(r, "in doubt") {
			rec.Next.Uncertain++
			rec.Next.Doubted.Set(rank)
			e.Result, e.Reason = fanfare.ResultUncertain, fanfare.ReasonNoAnswer
			rec.Exceptions = append(rec.Exceptions, e)
			break
		}
		rec.Next.Failed++
		e.Result, e.Reason, e.Text = fanfare.ResultFailed, fanfare.ReasonPermanent, "no"
		rec.Exceptions = append(rec.Exceptions, e)
	case 4:
		rec.Next.Pending.Set(rank)
		e.Result, e.Reason = fanfare.ResultPending, fanfare.ReasonTemporary
		rec.Exceptions = append(rec.Exceptions, e)
	}
	rec.Next.InFlight.Clear(rank)
}

func (c *comparison) append(r *rapid.T) {
	entries := make([]fanfare.Entry, rapid.IntRange(1, 3).Draw(r, "entries"))
	for i := range entries {
		entries[i] = c.entry(r)
	}
	c.carry(entries...)
}

// answers takes a batch from its freeze to its answers, then amends it once or twice: drawn one by one such calls seldom come together.
func (c *comparison) answers(r *rapid.T) {
	at := ref(c.num(), c.slot(), fanfare.BatchNo(rapid.IntRange(0, 2).Draw(r, "batch"))) //nolint:gosec // small
	latches, err := c.model.Latches(c.t.Context(), at.Message)
	if err != nil {
		r.Fatal(err)
	}
	g := fanfare.Generation(1)
	for _, l := range latches {
		if l.Slot == at.Slot {
			g = l.Generation + 1
		}
	}
	spread := func(p fanfare.SlotPhase) {
		c.same("spread", func(st fanfare.Store) (any, error) {
			return nil, st.Spread(c.t.Context(), at.Slot, at.Message, p, g)
		})
	}
	spread(fanfare.SlotPreparing)
	c.same("number", func(st fanfare.Store) (any, error) { return nil, st.Number(c.t.Context(), at.Slot, 8) })
	c.same("freeze", func(st fanfare.Store) (any, error) {
		return st.Freeze(c.t.Context(), at.Slot, at.Message, g, 5, func(v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
			all, err := v.LoadSet(fanfare.SetAlive)
			return map[fanfare.Part]*set.Set{fanfare.PartSend: all}, err
		})
	})
	spread(fanfare.SlotSending)
	c.carry(fanfare.Entry{Claim: &fanfare.Claim{BatchRef: at, Generation: g, Owner: c.owner(r), Lease: fanfare.LeaseTime, Policy: fanfare.PolicyHold}})
	for _, flying := range []bool{true, false} {
		rows, err := c.model.Peek(c.t.Context(), []fanfare.BatchRef{at})
		if err != nil {
			r.Fatal(err)
		}
		row := rows[0]
		members, err := c.model.Members(c.t.Context(), at.Message, at.Slot, row.First, row.N)
		if err != nil || row.N == 0 || row.State != fanfare.BatchOpen {
			break
		}
		rec := fanfare.Record{BatchRef: at, Generation: g, Fence: row.Fence, Step: row.Step, Next: row.Clone(), Lease: fanfare.LeaseTime}
		if flying {
			rec.Intent = &fanfare.Intent{}
			for rank := range row.Pending.All() {
				rec.Intent.Members = append(rec.Intent.Members, fanfare.Member{Rank: rank, Seq: members[rank]})
			}
		} else {
			for rank := range row.InFlight.All() {
				c.answer(r, &rec, rank, members[rank])
			}
			if rec.Next.InFlight.Empty() || rapid.Bool().Draw(r, "gives up") {
				rec.Lease = 0
			}
		}
		c.carry(fanfare.Entry{Record: &rec})
	}
	for range 2 {
		c.carry(fanfare.Entry{Amend: c.amend(r, at, g+1)})
	}
}

// carry compares what becomes of entries.
func (c *comparison) carry(entries ...fanfare.Entry) {
	type answer struct {
		Answer     fanfare.Answer
		Row        fanfare.Batch
		Exceptions []fanfare.Exception
		Members    []fanfare.Seq
		Failed     bool
	}
	c.same("append", func(st fanfare.Store) (any, error) {
		var all []answer
		for _, a := range st.Append(c.t.Context(), st.ShardOf(0), entries) {
			got := answer{Answer: a.Answer, Exceptions: a.Exceptions, Members: a.Members, Failed: a.Err != nil}
			if a.Answer == fanfare.Applied || a.Answer == fanfare.Halted {
				got.Row = a.Row
			}
			all = append(all, got)
		}
		return all, nil
	})
	c.work(entries[0].Ref().Message, entries[0].Ref().Slot)
}

func (c *comparison) void(r *rapid.T) {
	m, o := c.num(), c.owner(r)
	c.same("void", func(st fanfare.Store) (any, error) { return nil, st.VoidClaims(c.t.Context(), m, o) })
}

func (c *comparison) forget(r *rapid.T) {
	if s, m := c.slot(), c.num(); rapid.IntRange(0, 3).Draw(r, "really") == 0 {
		c.same("forget", func(st fanfare.Store) (any, error) { return nil, st.Forget(c.t.Context(), s, m) })
	}
}

// tables changes one of the smaller control tables and reads it.
func (c *comparison) tables(r *rapid.T) {
	name := rapid.SampledFrom([]string{"x", "y", "ü"}).Draw(r, "name")
	n := rapid.IntRange(0, 400).Draw(r, "n")
	what := rapid.IntRange(0, 11).Draw(r, "table")
	c.same(fmt.Sprint("table ", what), func(st fanfare.Store) (answer any, err error) {
		err = st.Update(c.t.Context(), func(tx fanfare.ControlTx) error {
			switch what {
			case 0:
				return tx.InsertList(&fanfare.List{Name: name, CreatedAt: tx.Now()})
			case 1:
				return tx.DeleteList(name)
			case 2:
				return tx.PutProvider(fanfare.Provider{Name: name, Chunk: n})
			case 3:
				return tx.InsertKey(fanfare.Key{ID: name, Hash: [32]byte{byte(n)}, CreatedAt: tx.Now()})
			case 4:
				return tx.DeleteKey(name)
			case 5:
				return tx.StoreAnswer(fanfare.StoredAnswer{Key: name, Status: n, Body: fmt.Appendf(nil, `{"recipient":"%s","n":1}`, ids(0, 10)[n%10])})
			case 6:
				return tx.PutImport(fanfare.Import{ID: name, Rows: int64(n), CreatedAt: tx.Now()})
			case 7:
				return tx.PutNode(fanfare.Node{Name: name, Free: map[string]int{name: n}})
			case 9:
				return tx.PutSegment(&fanfare.Segment{Name: name, Audience: json.RawMessage(fmt.Sprintf(`{"any":[{"list":"%d"},{"recipients":["%s"]}]}`, n, ids(0, 10)[n%10])), CreatedAt: tx.Now(), UpdatedAt: tx.Now()})
			case 10:
				return tx.DeleteSegment(name)
			case 8:
				answer, err = tx.TakeLease(name, fmt.Sprint("holder ", n%2), time.Duration(n)*time.Second)
				return err
			default:
				window, granted, err := tx.ReservePermits(name, float64(n), n/3)
				answer = []any{window, granted}
				return errors.Join(err, tx.AddAudit(fanfare.AuditEntry{Actor: name}), tx.PutSetting(name, []byte(name)))
			}
		})
		return answer, err
	})
}

func (c *comparison) identity(*rapid.T) {
	c.same("alive", func(st fanfare.Store) (any, error) { return nil, st.Alive(c.t.Context()) })
	c.same("identity", func(st fanfare.Store) (any, error) {
		id, err := st.Identity(c.t.Context())
		if c.driver.Shards() > 1 { // what several shards do for one call may be several commits on one of them: only that it rises is promised
			was := c.heads[st == c.model]
			c.heads[st == c.model] = id.Head
			return []any{id.Head > was, id.AliveAt}, err
		}
		return []any{id.Head, id.AliveAt}, err
	})
}

func (c *comparison) read(*rapid.T) { c.work(c.num(), c.slot()) }

// work compares all that a slot keeps of a message.
func (c *comparison) work(m fanfare.MessageNum, s fanfare.Slot) {
	ctx := c.t.Context()
	c.same("batches", func(st fanfare.Store) (any, error) { return st.Batches(ctx, m, s, 0, 100) })
	c.same("tally", func(st fanfare.Store) (any, error) { return st.Tally(ctx, m, s) })
	c.same("exceptions", func(st fanfare.Store) (any, error) {
		var rows []fanfare.Exception
		for e, err := range st.Exceptions(ctx, m, s, 3) {
			if err != nil {
				return nil, err
			}
			rows = append(rows, e)
		}
		return rows, nil
	})
	c.same("failures", func(st fanfare.Store) (any, error) { return st.Failures(ctx, m, s, 2) })
	c.same("claims", func(st fanfare.Store) (any, error) {
		live, dead, err := st.Claims(ctx, m, s)
		return []any{live, dead}, err
	})
	c.same("backlog", func(st fanfare.Store) (any, error) {
		open, first, err := st.Backlog(ctx, m, s, 1, 2)
		return []any{open, first}, err
	})
	c.same("members", func(st fanfare.Store) (any, error) { return st.Members(ctx, m, s, 2, 5) })
	c.same("parts", func(st fanfare.Store) (any, error) { return st.Parts(ctx, m, s) })
	c.same("latches", func(st fanfare.Store) (any, error) {
		rows, err := st.Latches(ctx, m)
		for i := range rows { // how often they rose may differ, not that they rise
			rows[i].Rev, rows[i].Epoch = 0, 0
		}
		return rows, err
	})
}

// rows compares who has a row of an inbox message.
func (c *comparison) rows(s fanfare.Slot) {
	c.same("rows of inboxes", func(st fanfare.Store) (any, error) {
		all := make(map[fanfare.MessageNum]map[fanfare.Seq]bool)
		err := st.InboxIndex(c.t.Context(), s, func(seq fanfare.Seq, m fanfare.MessageNum) error {
			if all[m] == nil {
				all[m] = make(map[fanfare.Seq]bool)
			}
			all[m][seq] = true
			return nil
		})
		return all, err
	})
	c.same("owners of rows", func(st fanfare.Store) (any, error) {
		owners, err := st.InboxOwners(c.t.Context(), s, 0)
		return owners.ToArray(), err
	})
}

// everything compares all that can be read.
func (c *comparison) everything() {
	ctx := c.t.Context()
	for s := range fanfare.Slot(2) {
		c.rows(s)
		for m := range fanfare.MessageNum(c.messages + 1) {
			c.work(m, s)
			c.same("part", func(st fanfare.Store) (any, error) {
				p, err := st.PartSet(ctx, m, s, fanfare.PartSend)
				return p.ToArray(), err
			})
		}
		for _, name := range []fanfare.SetName{fanfare.SetAlive, fanfare.SetUnindexed, fanfare.ListSet(1), fanfare.ListSet(2), fanfare.AddressSet(fanfare.ChannelEmail), fanfare.InvalidSet(fanfare.ChannelEmail), fanfare.SetErased,
			fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonBounced), fanfare.SuppressionSet(fanfare.ChannelEmail, "news", fanfare.ReasonUnsubscribed)} {
			c.same("set "+string(name), func(st fanfare.Store) (any, error) {
				members, err := st.LoadSet(ctx, s, name)
				return members.ToArray(), err
			})
		}
		c.same("people", func(st fanfare.Store) (any, error) { return st.Scan(ctx, s, 0, 1000, "") })
		c.same("mailboxes", func(st fanfare.Store) (any, error) {
			keys := map[fanfare.Seq]uint64{}
			err := st.Mailboxes(ctx, s, fanfare.ChannelEmail, set.Range(0, 1000), func(seq fanfare.Seq, key uint64) { keys[seq] = key })
			return keys, err
		})
	}
	c.same("look", func(st fanfare.Store) (any, error) {
		rows, err := st.Look(ctx)
		for i := range rows {
			rows[i].Num = 0
		}
		return rows, err
	})
	c.same("control tables", func(st fanfare.Store) (any, error) {
		var all []any
		err := st.View(ctx, func(v fanfare.ControlView) error {
			var errs []error
			put := func(value any, err error) {
				all = append(all, value)
				errs = append(errs, err)
			}
			messages, _, err := v.Messages(fanfare.MessageFilter{})
			for i := range messages {
				messages[i].Num = 0
			}
			put(messages, err)
			tagged, _, err := v.Messages(fanfare.MessageFilter{Tag: "one", Limit: 2})
			put(len(tagged), err)
			lists, _, err := v.Lists("", 0)
			for i := range lists {
				lists[i].ID = 0
			}
			put(lists, err)
			segments, _, err := v.Segments("", 0)
			for i := range segments {
				segments[i].ID = 0
			}
			put(segments, err)
			providers, err := v.Providers()
			put(providers, err)
			keys, err := v.Keys()
			put(keys, err)
			imports, err := v.Imports()
			put(imports, err)
			nodes, err := v.Nodes()
			put(nodes, err)
			entries, _, err := v.Audit("", "", 0)
			put(entries, err)
			for _, name := range []string{"x", "y", "ü"} {
				answer, err := v.StoredAnswer(name)
				put([]any{answer, kindOf(err)}, nil)
				value, err := v.Setting(name)
				put([]any{value, kindOf(err)}, nil)
			}
			return errors.Join(errs...)
		})
		return all, err
	})
	c.same("check", func(st fanfare.Store) (any, error) {
		found, err := st.Check(ctx)
		return strings.Join(found, "\n"), err
	})
}
