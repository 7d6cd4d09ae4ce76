package storetest

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fanfare"
	"fanfare/set"
)

func upkeepScenarios() []scenario {
	return []scenario{
		{"features", features},
		{"identity", identity},
		{"the head rises with the journal", headRises},
		{"the head rises with whatever is kept", headRisesWithAll},
		{"alive", alive},
		{"nothing is damaged", healthy},
		{"closed", closed},
		{"closing waits for what is under way", closeTogether},
		{"everything is there after a clean stop", reopened},
		{"everything that was answered is there after a kill", crashed},
		{"a backup while serving", backup},
	}
}

func features(x *fixture) {
	f := x.Features()
	if f.Name == "" {
		x.t.Error("it has no name")
	}
	if f.Durable && (x.backend.Reopen == nil || x.backend.Crash == nil) {
		x.t.Error("it is durable, and its test does not open it again")
	}
	if f.Shared && x.backend.Another == nil {
		x.t.Error("it may be shared, and its test does not open it twice")
	}
	if f.CanBackup && x.backend.Restore == nil {
		x.t.Error("it can be backed up, and its test does not open a backup")
	}
}

func (x *fixture) identity() fanfare.Identity {
	x.t.Helper()
	id, err := x.Identity(x.ctx)
	x.ok(err)
	return id
}

func identity(x *fixture) {
	id := x.identity()
	if id.Stored == "" || id.Stored != id.Found || id.Head != 0 || !id.AliveAt.IsZero() {
		x.t.Errorf("a new store is %+v", id)
	}
	x.ok(x.Adopt(x.ctx))
	x.same(x.identity(), id, "after adopting it where it is")
}

func headRises(x *fixture) {
	const s = 1
	m, _ := x.sending(s, 4, 2)
	last := x.head()
	rises := func(want bool, what string) {
		x.t.Helper()
		if now := x.head(); now > last != want || now < last {
			x.t.Errorf("%s: the head was %d, is %d", what, last, now)
		}
		last = x.head()
	}
	h := x.take(ref(m, s, 0))
	rises(true, "a claim")
	h.send(0)
	rises(true, "a record")
	x.answers(x.claim(claim(ref(m, s, 0), bob)), fanfare.Busy, "bob")
	rises(false, "a claim that was not applied")
	x.answers(h.record(func(r *fanfare.Record) { r.Step-- }), fanfare.Stale, "late")
	rises(false, "a stale record")
}

// headRisesWithAll: a cancel or an opt-out that a rolled back database forgot shows by the head, though nothing was journaled since.
func headRisesWithAll(x *fixture) {
	const s = 1
	id := ids(s, 2)
	mail := func(m string) fanfare.RecipientChange {
		return fanfare.RecipientChange{ExternalID: id[0], Email: text(m), EmailState: fanfare.AddressUsable, Mailbox: 7}
	}
	m := fanfare.Message{ID: "m", State: fanfare.State{Phase: fanfare.PhaseDraft, Generation: 1}}
	update := func(fn func(tx fanfare.ControlTx) error) func() { return func() { x.t.Helper(); x.update(fn) } }
	upsert := func(o fanfare.UpsertOptions, c ...fanfare.RecipientChange) func() {
		return func() { x.upsert(s, o, c...) }
	}
	spread := func(p fanfare.SlotPhase, g fanfare.Generation) func() {
		return func() { x.ok(x.Spread(x.ctx, s, m.Num, p, g)) }
	}
	out := fanfare.SuppressionSet(fanfare.ChannelEmail, "news", fanfare.ReasonUnsubscribed)
	marked := fanfare.UpsertOptions{Mark: &fanfare.Mark{Work: "w"}}
	var frozen bool
	freeze := func() {
		var err error
		frozen, err = x.Freeze(x.ctx, s, m.Num, 1, 1, everybody)
		x.ok(err)
	}
	take := func() { x.take(ref(m.Num, s, 0)) }
	void := func() {
		x.ok(x.VoidClaims(x.ctx, m.Num, fanfare.Owner{Node: alice.Node, Incarnation: alice.Incarnation + 1}))
	}
	for _, c := range []struct {
		what  string
		do    func()
		rises bool
	}{
		{"an upsert", upsert(fanfare.UpsertOptions{}, mail("a@b")), true},
		{"an upsert of the same", upsert(fanfare.UpsertOptions{}, mail("a@b")), false},
		{"an upsert of another address", upsert(fanfare.UpsertOptions{}, mail("a@c")), true},
		{"an upsert that was refused", upsert(fanfare.UpsertOptions{}, fanfare.RecipientChange{ExternalID: id[0], Kind: fanfare.ChangeInsert}), false},
		{"an upsert into a list", upsert(fanfare.UpsertOptions{Add: []fanfare.SetName{fanfare.ListSet(1)}}, mail("a@c")), true},
		{"the same again", upsert(fanfare.UpsertOptions{Add: []fanfare.SetName{fanfare.ListSet(1)}}, mail("a@c")), false},
		{"a marked upsert", upsert(marked, mail("a@c")), true},
		{"the same mark", upsert(marked, mail("a@d")), false},
		{"numbering", func() { x.ok(x.Number(x.ctx, s, 3)) }, true},
		{"an opt-out", func() { x.change(s, out, set.Of(1), nil) }, true},
		{"the same opt-out", func() { x.change(s, out, set.Of(1), nil) }, false},
		{"an opt-out taken back", func() { x.change(s, out, nil, set.Of(1)) }, true},
		{"dropping a set", func() { x.ok(x.DropSet(x.ctx, fanfare.ListSet(1))) }, true},
		{"dropping it again", func() { x.ok(x.DropSet(x.ctx, fanfare.ListSet(1))) }, false},
		{"dropping an empty set", func() { x.ok(x.DropSet(x.ctx, out)) }, false},
		{"a message", update(func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) }), true},
		{"a cancel", update(func(tx fanfare.ControlTx) error {
			m.Phase = fanfare.PhaseCancelled
			return tx.SaveMessage(&m, fanfare.PhaseDraft, 1)
		}), true},
		{"an update that is refused", func() {
			x.is(x.Update(x.ctx, func(tx fanfare.ControlTx) error { x.ok(tx.PutSetting("s", nil)); return fanfare.ErrState }), fanfare.ErrState, "update")
		}, false},
		{"an update of nothing", update(func(fanfare.ControlTx) error { return nil }), false},
		{"a list", update(func(tx fanfare.ControlTx) error { return tx.InsertList(&fanfare.List{Name: "l"}) }), true},
		{"a list deleted", update(func(tx fanfare.ControlTx) error { return tx.DeleteList("l") }), true},
		{"a provider", update(func(tx fanfare.ControlTx) error { return tx.PutProvider(fanfare.Provider{Name: "p"}) }), true},
		{"a provider deleted", update(func(tx fanfare.ControlTx) error { return tx.DeleteProvider("p") }), true},
		{"a key", update(func(tx fanfare.ControlTx) error { return tx.InsertKey(fanfare.Key{ID: "k"}) }), true},
		{"a key deleted", update(func(tx fanfare.ControlTx) error { return tx.DeleteKey("k") }), true},
		{"an answer", update(func(tx fanfare.ControlTx) error { return tx.StoreAnswer(fanfare.StoredAnswer{Key: "a"}) }), true},
		{"an import", update(func(tx fanfare.ControlTx) error { return tx.PutImport(fanfare.Import{ID: "i"}) }), true},
		{"audit", update(func(tx fanfare.ControlTx) error { return tx.AddAudit(fanfare.AuditEntry{Actor: "a"}) }), true},
		{"a setting", update(func(tx fanfare.ControlTx) error { return tx.PutSetting("s", nil) }), true},
		{"a node, a lease, permits", update(func(tx fanfare.ControlTx) error {
			x.ok(tx.PutNode(fanfare.Node{Name: "n"}))
			_, err := tx.TakeLease("l", "n", time.Second)
			x.ok(err)
			_, _, err = tx.ReservePermits("r", 10, 1)
			return err
		}), false},
		{"a node and a setting", update(func(tx fanfare.ControlTx) error {
			x.ok(tx.PutNode(fanfare.Node{Name: "n"}))
			return tx.PutSetting("s", nil)
		}), true},
		{"that it is served", func() { x.ok(x.Alive(x.ctx)) }, false},
		{"spreading", spread(fanfare.SlotPreparing, 1), true},
		{"spreading the same", spread(fanfare.SlotPreparing, 1), false},
		{"freezing", freeze, true},
		{"freezing what is frozen", freeze, false},
		{"spreading more", spread(fanfare.SlotSending, 1), true},
		{"a claim", take, true},
		{"voiding it", void, true},
		{"voiding nothing", void, false},
		{"forgetting", func() { x.ok(x.Forget(x.ctx, s, m.Num)) }, true},
		{"forgetting nothing", func() { x.ok(x.Forget(x.ctx, s, m.Num)) }, false},
		{"a message deleted", update(func(tx fanfare.ControlTx) error { return tx.DeleteMessage("m") }), true},
	} {
		was := x.head()
		c.do()
		if now := x.head(); now < was || now > was != c.rises {
			x.t.Errorf("%s: the head was %d, is %d", c.what, was, now)
		}
	}
	if frozen {
		x.t.Error("frozen twice")
	}
}

func alive(x *fixture) {
	x.ok(x.Alive(x.ctx))
	x.same(x.identity().AliveAt, x.now(), "alive at")
	x.clock.Advance(time.Minute)
	x.ok(x.Alive(x.ctx))
	x.same(x.identity().AliveAt, x.now(), "a minute later")
}

func healthy(x *fixture) {
	whole(x)
	found, err := x.Check(x.ctx)
	x.ok(err)
	if len(found) > 0 {
		x.t.Errorf("check finds %q", found)
	}
}

func closed(x *fixture) {
	m, _ := x.sending(1, 2, 2)
	x.ok(x.Close())
	for what, err := range everyCall(x.ctx, x.Store, m) {
		x.is(err, fanfare.ErrClosed, what)
	}
	x.is(x.Close(), fanfare.ErrClosed, "closing again")
}

// everyCall makes every call that can fail.
func everyCall(ctx context.Context, s fanfare.Store, m fanfare.MessageNum) map[string]error {
	errs := map[string]error{
		"view":   s.View(ctx, func(fanfare.ControlView) error { return nil }),
		"update": s.Update(ctx, func(fanfare.ControlTx) error { return nil }),
		"drop":   s.DropSet(ctx, fanfare.ListSet(1)), "number": s.Number(ctx, 1, 1),
		"mailboxes": s.Mailboxes(ctx, 1, fanfare.ChannelEmail, set.Of(1), func(fanfare.Seq, uint64) {}),
		"spread":    s.Spread(ctx, 1, m, fanfare.SlotStopped, 2), "forget": s.Forget(ctx, 1, m), "void": s.VoidClaims(ctx, m, alice),
		"adopt": s.Adopt(ctx), "alive": s.Alive(ctx), "backup": s.Backup(ctx, "none"),
	}
	_, errs["look"] = s.Look(ctx)
	_, errs["upsert"] = s.Upsert(ctx, 1, []fanfare.RecipientChange{{ExternalID: ids(1, 1)[0]}}, fanfare.UpsertOptions{})
	_, errs["recipient"] = s.Recipient(ctx, "a")
	_, errs["resolve"] = s.Resolve(ctx, 1, []string{"a"})
	_, errs["profiles"] = s.Profiles(ctx, 1, []fanfare.Seq{1})
	_, errs["scan"] = s.Scan(ctx, 1, 0, 1, "")
	_, errs["load"] = s.LoadSet(ctx, 1, fanfare.SetAlive)
	_, _, errs["change"] = s.ChangeSet(ctx, 1, fanfare.ListSet(1), set.Of(1), nil)
	_, errs["freeze"] = s.Freeze(ctx, 1, m, 1, 1, everybody)
	_, errs["latches"] = s.Latches(ctx, m)
	_, errs["peek"] = s.Peek(ctx, []fanfare.BatchRef{ref(m, 1, 0)})
	_, errs["members"] = s.Members(ctx, m, 1, 0, 1)
	_, _, errs["backlog"] = s.Backlog(ctx, m, 1, 0, 1)
	_, _, errs["claims"] = s.Claims(ctx, m, 1)
	_, errs["tally"] = s.Tally(ctx, m, 1)
	_, errs["parts"] = s.Parts(ctx, m, 1)
	_, errs["part"] = s.PartSet(ctx, m, 1, fanfare.PartSend)
	_, errs["batches"] = s.Batches(ctx, m, 1, 0, 1)
	_, errs["failures"] = s.Failures(ctx, m, 1, 1)
	_, errs["identity"] = s.Identity(ctx)
	_, errs["check"] = s.Check(ctx)
	for _, err := range s.Exceptions(ctx, m, 1, 0) {
		errs["exceptions"] = err
	}
	c := claim(ref(m, 1, 0), alice)
	errs["append"] = s.Append(ctx, s.ShardOf(1), []fanfare.Entry{{Claim: &c}})[0].Err
	return errs
}

func closeTogether(x *fixture) {
	const s = 1
	var group sync.WaitGroup
	started := make(chan struct{}, 8)
	for range 8 {
		group.Go(func() {
			for first := true; ; first = false {
				_, err := x.LoadSet(x.ctx, s, fanfare.SetAlive)
				if err == nil {
					err = x.Number(x.ctx, s, 1)
				}
				if first {
					started <- struct{}{}
				}
				if err != nil {
					x.is(err, fanfare.ErrClosed, "a call while it closes")
					return
				}
			}
		})
	}
	for range cap(started) {
		<-started
	}
	x.ok(x.Close())
	group.Wait()
}

// whole puts something of every kind into the store, and gives what reads it.
func whole(x *fixture) (read func(x *fixture) []any) {
	x.t.Helper()
	const s = 2
	who := ids(s, 6)
	full := fullMessage(x.now())
	l := fanfare.List{Name: "名单", CreatedAt: x.now()}
	x.update(func(tx fanfare.ControlTx) error {
		x.ok(tx.InsertMessage(&full))
		x.ok(tx.InsertList(&l))
		x.ok(tx.PutProvider(fanfare.Provider{Name: "mail", URL: "smtp://h", Retry: fanfare.DefaultRetry()}))
		x.ok(tx.InsertKey(fanfare.Key{ID: "k", Hash: [32]byte{1}, Scopes: []string{"messages:read"}}))
		x.ok(tx.StoreAnswer(fanfare.StoredAnswer{Key: "once", Status: 201, Body: []byte("{}")}))
		x.ok(tx.PutImport(fanfare.Import{ID: "i", State: fanfare.ImportRunning, Block: 3}))
		x.ok(tx.PutNode(fanfare.Node{Name: "n", Incarnation: 7}))
		x.ok(tx.AddAudit(fanfare.AuditEntry{Actor: "a"}))
		if _, err := tx.TakeLease("plan", "n", time.Hour); err != nil {
			return err
		}
		return tx.PutSetting("s", []byte{0, 1})
	})
	var changes []fanfare.RecipientChange
	for i, id := range who {
		changes = append(changes, fanfare.RecipientChange{ExternalID: id, Email: text(id + "@x"), EmailState: fanfare.AddressUsable, Mailbox: uint64(i), //nolint:gosec // small
			Attributes: map[string]any{"n": float64(i), "l": []string{"a"}}})
	}
	mark := fanfare.UpsertOptions{Add: []fanfare.SetName{fanfare.ListSet(l.ID)}, Mark: &fanfare.Mark{Work: "w", Part: 1}}
	first := x.upsert(s, mark, changes...)
	x.change(s, fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonBounced), set.Of(first[5].Seq), nil)
	m, planned := x.sending(s, 9, 3)
	h := x.take(ref(m, s, 0))
	h.send(0, 1)
	x.answers(h.record(func(r *fanfare.Record) {
		sent(r, 0)
		h.failed(r, 1, "550", "no")
		r.Next.Runs, r.SentNow = []fanfare.Run{{Revision: 1}}, true
		r.Intent = h.intent(2)
	}), fanfare.Applied, "results")
	x.ok(x.Alive(x.ctx))
	head := x.head()
	return func(x *fixture) (all []any) {
		x.t.Helper()
		put := func(v any, err error) {
			x.t.Helper()
			x.ok(err)
			all = append(all, v)
		}
		x.view(func(v fanfare.ControlView) error {
			got, err := v.Message(full.ID)
			put(got, err)
			lists, _, err := v.Lists("", 9)
			put(lists, err)
			providers, err := v.Providers()
			put(providers, err)
			keys, err := v.Keys()
			put(keys, err)
			answer, err := v.StoredAnswer("once")
			put(answer, err)
			imports, err := v.Imports()
			put(imports, err)
			nodes, err := v.Nodes()
			put(nodes, err)
			entries, _, err := v.Audit("", "", 9)
			put(entries, err)
			setting, err := v.Setting("s")
			put(setting, err)
			return nil
		})
		look, err := x.Look(x.ctx)
		put(look, err)
		people, err := x.Scan(x.ctx, s, 0, 100, "")
		put(people, err)
		for _, name := range []fanfare.SetName{fanfare.SetAlive, fanfare.ListSet(l.ID), fanfare.AddressSet(fanfare.ChannelEmail), fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonBounced)} {
			put(x.set(s, name).ToArray(), nil)
		}
		rows, err := x.Batches(x.ctx, m, s, 0, 9)
		put(rows, err)
		put(x.exceptions(m, s, 0), nil)
		put(x.tally(m, s), nil)
		latches, err := x.Latches(x.ctx, m)
		put(latches, err)
		members, err := x.Members(x.ctx, m, s, 0, 99)
		put(members, err)
		put(planned, nil)
		id := x.identity()
		put(id.AliveAt, nil)
		if id.Head < head { // others may write meanwhile
			x.t.Errorf("the head was %d, is %d", head, id.Head)
		}
		return all
	}
}

// goesOn wants a store that was opened again to continue where it was: no number is given twice, marks and leases are known.
func goesOn(x *fixture) {
	x.t.Helper()
	const s = 2
	used := x.set(s, fanfare.SetAlive).Clone()
	most, _ := used.Max()
	fresh := x.upsert(s, fanfare.UpsertOptions{}, fanfare.RecipientChange{ExternalID: ids(s, 9)[8]})[0]
	if fresh.Seq <= most || fresh.Outcome != fanfare.UpsertCreated {
		x.t.Errorf("the next recipient is %v, the last one was %d", fresh, most)
	}
	again, err := x.Upsert(x.ctx, s, []fanfare.RecipientChange{{ExternalID: ids(s, 10)[9]}}, fanfare.UpsertOptions{Mark: &fanfare.Mark{Work: "w", Part: 1}})
	x.ok(err)
	if len(again) != 6 || again[0].Outcome != fanfare.UpsertCreated || again[5].Seq != again[0].Seq+5 {
		x.t.Errorf("a part that is done answers %v", again)
	}
	x.update(func(tx fanfare.ControlTx) error {
		has, err := tx.TakeLease("plan", "somebody else", time.Second)
		if has {
			x.t.Error("a lease that lives was given to somebody else")
		}
		return err
	})
}

func reopened(x *fixture) { again(x, x.backend.Reopen) }

func crashed(x *fixture) { again(x, x.backend.Crash) }

func again(x *fixture, open func(t *testing.T) fanfare.Store) {
	if open == nil {
		if x.Features().Durable {
			x.t.Error("it is durable, and its test does not open it again")
		}
		return
	}
	read := whole(x)
	want := read(x)
	for round := range 2 {
		x.Store = open(x.t)
		x.same(read(x), want, fmt.Sprint("all that was there, time ", round+1))
	}
	goesOn(x)
}

func backup(x *fixture) {
	file := filepath.Join(x.t.TempDir(), "copy")
	if !x.Features().CanBackup {
		x.is(x.Backup(x.ctx, file), fanfare.ErrUsage, "a backup of what has none")
		return
	}
	read := whole(x)
	want := read(x)
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() { // others go on writing
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				if _, _, err := x.ChangeSet(x.ctx, 0, fanfare.ListSet(77), set.Of(uint32(i)), nil); err != nil { //nolint:gosec // small
					x.t.Error(err)
				}
			}
		}
	})
	err := x.Backup(x.ctx, file)
	close(stop)
	group.Wait()
	x.ok(err)
	x.is(x.Backup(x.ctx, file), fanfare.ErrExists, "a backup over a file that is there")
	restored := x.backend.Restore(x.t, file)
	there := &fixture{Store: restored, t: x.t, ctx: x.ctx, clock: x.clock, backend: x.backend, made: x.made}
	there.same(read(there), want, "the backup")
	found, err := there.Check(x.ctx)
	x.ok(err)
	if len(found) > 0 {
		x.t.Errorf("check of the backup finds %q", found)
	}
	if members := there.set(0, fanfare.ListSet(77)); members.LenRange(0, uint64(members.Len())) != members.Len() {
		x.t.Errorf("the backup is of no one moment: %v", members.ToArray())
	}
	if id := there.identity(); id.Stored == id.Found {
		x.t.Errorf("a copy takes itself for the original: %+v", id)
	}
	goesOn(there)
	x.same(read(x), want, "the original")
}
