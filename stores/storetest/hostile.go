package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"fanfare"
	"fanfare/set"
)

func hostileScenarios() []scenario {
	return []scenario{
		{"a record that cannot be is held, alone", impossibleRecords},
		{"an impossible record that is stale is stale", impossibleStale},
		{"a held batch loses nobody", heldBatch},
		{"a damaged audience", damagedAudience},
		{"a damaged batch", damagedBatch},
		{"slots that are not there", noSlot},
		{"a shard that is not there", noShard},
		{"a context that has ended", endedContext},
		{"functions that do not return keep nothing", panics},
		{"names from outside", names},
		{"sizes that cannot be", sizes},
	}
}

// impossible gives records that no row could hold, by what is wrong with them.
func impossible(h *holder) map[string]fanfare.Record {
	except := func(fn func(e *fanfare.Exception)) fanfare.Record {
		return h.make(func(r *fanfare.Record) {
			e := h.exception(0, fanfare.ResultPending, fanfare.ReasonTemporary)
			fn(&e)
			r.Exceptions = append(r.Exceptions, h.exception(1, fanfare.ResultPending, fanfare.ReasonTemporary), e)
		})
	}
	return map[string]fanfare.Record{
		"a NUL in a text":           except(func(e *fanfare.Exception) { e.Text = "550 \x00" }),
		"a NUL in a code":           except(func(e *fanfare.Exception) { e.Code = "\x00" }),
		"a text that is not UTF-8":  except(func(e *fanfare.Exception) { e.Text = "\xff\xfe" }),
		"an exception of nobody":    except(func(e *fanfare.Exception) { e.Rank = 9 }),
		"an exception of less":      except(func(e *fanfare.Exception) { e.Rank = -1 }),
		"an intent for nobody":      h.make(func(r *fanfare.Record) { r.Intent = &fanfare.Intent{Members: []fanfare.Member{{Rank: 3}}} }),
		"more members":              h.make(func(r *fanfare.Record) { r.Next.N++ }),
		"sets of another size":      h.make(func(r *fanfare.Record) { r.Next.Pending = set.FullBits(4) }),
		"another first member":      h.make(func(r *fanfare.Record) { r.Next.First++ }),
		"a doubted of another size": h.make(func(r *fanfare.Record) { r.Next.Doubted = set.NewBits(2) }),
	}
}

func impossibleRecords(x *fixture) {
	const s = 1
	for what := range impossible(&holder{x: x, members: make([]fanfare.Seq, 3)}) {
		m, _ := x.sending(s, 9, 3)
		var h [3]*holder
		for b := range h {
			h[b] = x.take(ref(m, s, fanfare.BatchNo(b))) //nolint:gosec // small
			h[b].send(0, 1)
		}
		good := func(h *holder) fanfare.Entry {
			r := h.make(func(r *fanfare.Record) {
				sent(r, 0)
				h.failed(r, 1, "550", "no")
				r.Intent = h.intent(2)
			})
			return fanfare.Entry{Record: &r}
		}
		bad := impossible(h[1])[what]
		head := x.head()
		a := x.append(s, good(h[0]), fanfare.Entry{Record: &bad}, good(h[2]))
		x.answers(a[0], fanfare.Applied, what+": the one before")
		x.answers(a[1], fanfare.Failed, what)
		x.answers(a[2], fanfare.Applied, what+": the one after")
		row := x.peek(h[1].row.BatchRef)
		if row.State != fanfare.BatchHeld || row.Held == "" || row.Owner != (fanfare.Owner{}) || !row.InFlight.Equal(h[1].row.InFlight) || row.Step <= h[1].row.Step {
			x.t.Errorf("%s: held as %+v", what, row)
		}
		if rows := x.exceptions(m, s, h[1].members[0]); len(rows) != 1 || rows[0].Seq != h[2].members[1] {
			x.t.Errorf("%s: exceptions from the held batch on: %v", what, rows)
		}
		if x.head() <= head {
			x.t.Errorf("%s: the head stays", what)
		}
		x.answers(x.claim(claim(row.BatchRef, bob)), fanfare.Over, what+": a claim of what is held")
		x.answers(h[1].record(func(*fanfare.Record) {}), fanfare.Stale, what+": another record of its holder")
	}
}

func impossibleStale(x *fixture) {
	const s = 2
	m, _ := x.sending(s, 3, 3)
	h := x.take(ref(m, s, 0))
	for what, r := range impossible(h) {
		r.Step++
		x.answers(x.append1(s, fanfare.Entry{Record: &r}), fanfare.Stale, what)
	}
	x.same(x.peek(h.row.BatchRef), h.row, "the row")
}

func heldBatch(x *fixture) {
	const s = 0
	m, planned := x.sending(s, 6, 3)
	h := x.take(ref(m, s, 0))
	h.send(0)
	x.answers(h.record(func(r *fanfare.Record) { sent(r, 0); r.Intent = h.intent(1) }), fanfare.Applied, "one sent, one in flight")
	bad := impossible(h)["a NUL in a text"]
	x.answers(x.append1(s, fanfare.Entry{Record: &bad}), fanfare.Failed, "the record")
	t := x.tally(m, s)
	if !t.Balanced(len(planned)) || t.Held != 1 || t.Sent != 1 || t.InFlight != 1 || t.Pending != 4 {
		x.t.Errorf("tally %+v", t)
	}
	live, dead, err := x.Claims(x.ctx, m, s)
	x.ok(err)
	open, first, err := x.Backlog(x.ctx, m, s, 0, 10)
	x.ok(err)
	if live != 0 || len(dead) != 0 || first != 0 || len(open) != 1 || open[0].Batch != 1 {
		x.t.Errorf("%d claims live, dead %v, open %v, first %d", live, dead, open, first)
	}
	c := claim(ref(m, s, 0), bob)
	c.Settle = true
	x.answers(x.claim(c), fanfare.Over, "a settling claim leaves it to a person")
}

// damagedAudience is a promise of every driver whose Features say Files.
func damagedAudience(x *fixture) {
	const s = 3
	if x.backend.Damage == nil {
		if x.Features().Files {
			x.t.Error("a driver that keeps files gives no way to damage one")
		}
		return
	}
	x.ok(x.Number(x.ctx, s, 9))
	m := x.message()
	x.freeze(m, s, 3, map[fanfare.Part]*set.Set{fanfare.PartSend: set.Range(0, 6), "no_address": set.Range(6, 9)})
	x.take(ref(m, s, 0)).send(1)
	other, planned := x.sending(s, 3, 3)
	x.backend.Damage(x.t, m, s, fanfare.PartSend)
	_, err := x.PartSet(x.ctx, m, s, fanfare.PartSend)
	x.is(err, fanfare.ErrDamaged, "the damaged part")
	found, err := x.Check(x.ctx)
	x.ok(err)
	if len(found) == 0 || !strings.Contains(strings.Join(found, "\n"), fmt.Sprintf("message %d", m)) {
		x.t.Errorf("check finds %q", found)
	}
	store := x.Store
	if x.backend.Reopen != nil { // what was read before may be in a cache
		store = x.backend.Reopen(x.t)
	}
	x.Store = store
	_, err = x.Members(x.ctx, m, s, 0, 3)
	x.is(err, fanfare.ErrDamaged, "its members")
	x.clock.Advance(fanfare.LeaseTime)
	hold := claim(ref(m, s, 0), bob)
	hold.Policy = fanfare.PolicyHold // who was in flight becomes uncertain, and cannot be named
	a := x.claim(hold)
	x.answers(a, fanfare.Failed, "a claim that has to name a member")
	x.is(a.Err, fanfare.ErrDamaged, "why it failed")
	if row := x.peek(ref(m, s, 0)); row.State != fanfare.BatchHeld || row.InFlight.Len() != 1 || row.Held == "" {
		x.t.Errorf("held as %+v", row)
	}
	rest, err := x.PartSet(x.ctx, m, s, "no_address")
	x.ok(err)
	x.same(rest.ToArray(), []fanfare.Seq{6, 7, 8}, "the part beside it")
	members, err := x.Members(x.ctx, other, s, 0, 3)
	x.ok(err)
	x.same(members, planned, "another message")
}

// damagedBatch: one row that cannot be read keeps no server from starting and no message from its end.
func damagedBatch(x *fixture) {
	const s = 2
	if x.backend.DamageBatch == nil {
		if x.Features().Files {
			x.t.Error("a driver that keeps files gives no way to damage one")
		}
		return
	}
	m, _ := x.sending(s, 9, 3)
	first, second := x.take(ref(m, s, 0)), x.take(ref(m, s, 1))
	first.send(0)
	first.record(func(r *fanfare.Record) { sent(r, 0) })
	x.backend.DamageBatch(x.t, first.row.BatchRef)
	want := fanfare.Batch{BatchRef: first.row.BatchRef, N: 3, State: fanfare.BatchHeld, Sent: 1, Fence: 1, Step: first.row.Step}
	shown := func(b fanfare.Batch, what string) {
		x.t.Helper()
		if b.Held == "" {
			x.t.Errorf("%s: nothing says why: %+v", what, b)
		}
		b.Held = ""
		x.same(b, want, what)
		if it := b.Item(1, nil, fanfare.PhaseCancelled); it.Result != fanfare.ResultUncertain {
			x.t.Errorf("%s: of somebody of whom nothing is known it says %+v", what, it)
		}
	}
	look := func(pending, claims int) {
		x.t.Helper()
		rows, err := x.Batches(x.ctx, m, s, 0, 9)
		x.ok(err)
		if len(rows) != 3 {
			x.t.Fatalf("rows %+v", rows)
		}
		shown(rows[0], "batches")
		shown(x.peek(want.BatchRef), "peek")
		t := x.tally(m, s)
		if t.Batches != 3 || t.N != 9 || t.Held != 1 || t.Sent != 1 || t.Pending != pending || t.Balanced(9) || t.Outcome() != "" {
			x.t.Errorf("tally %+v", t)
		}
		x.same(t.Unbalanced, []fanfare.BatchRef{want.BatchRef}, "unbalanced")
		live, dead, err := x.Claims(x.ctx, m, s)
		x.ok(err)
		if live != claims || len(dead) > 0 {
			x.t.Errorf("%d claims live, dead %v", live, dead)
		}
	}
	look(6, 2)
	x.ok(x.VoidClaims(x.ctx, m, fanfare.Owner{Node: alice.Node, Incarnation: alice.Incarnation + 1}))
	want.Step++
	look(6, 0)
	if row := x.peek(second.row.BatchRef); row.Owner != (fanfare.Owner{}) || row.State != fanfare.BatchOpen {
		x.t.Errorf("the one beside it: %+v", row)
	}
	open, from, err := x.Backlog(x.ctx, m, s, 0, 9)
	x.ok(err)
	if len(open) != 2 || open[0].Batch != 1 || from != 0 {
		x.t.Errorf("open %v, the first that is not done is %d", open, from)
	}
	x.backend.DamageBatch(x.t, ref(m, s, 1))
	one, other := claim(ref(m, s, 1), bob), claim(ref(m, s, 2), bob)
	a := x.append(s, fanfare.Entry{Claim: &one}, fanfare.Entry{Claim: &other})
	x.answers(a[0], fanfare.Failed, "a claim of a damaged row")
	x.is(a[0].Err, fanfare.ErrDamaged, "why it failed")
	x.answers(a[1], fanfare.Applied, "the claim beside it")
	if t := x.tally(m, s); t.Held != 2 || t.Pending != 3 || len(t.Unbalanced) != 2 {
		x.t.Errorf("tally %+v", t)
	}
	found, err := x.Check(x.ctx)
	x.ok(err)
	if len(found) != 2 || !strings.Contains(found[0], "damaged") {
		x.t.Errorf("check finds %q", found)
	}
}

func noSlot(x *fixture) {
	const s = slots
	_, err := x.LoadSet(x.ctx, s, fanfare.SetAlive)
	x.is(err, fanfare.ErrUsage, "a set")
	_, _, err = x.ChangeSet(x.ctx, s, fanfare.ListSet(1), set.Of(1), nil)
	x.is(err, fanfare.ErrUsage, "changing a set")
	x.is(x.Number(x.ctx, s, 1), fanfare.ErrUsage, "numbering")
	_, err = x.Profiles(x.ctx, s, []fanfare.Seq{1})
	x.is(err, fanfare.ErrUsage, "profiles")
	_, err = x.Resolve(x.ctx, s, []string{"a"})
	x.is(err, fanfare.ErrUsage, "resolving")
	_, err = x.Scan(x.ctx, s, 0, 1, "")
	x.is(err, fanfare.ErrUsage, "scanning")
	x.is(x.Spread(x.ctx, s, 1, fanfare.SlotSending, 1), fanfare.ErrUsage, "spreading")
	x.is(x.Forget(x.ctx, s, 1), fanfare.ErrUsage, "forgetting")
	_, err = x.Freeze(x.ctx, s, 1, 1, 1, everybody)
	x.is(err, fanfare.ErrUsage, "freezing")
	_, err = x.Members(x.ctx, 1, s, 0, 1)
	x.is(err, fanfare.ErrUsage, "members")
	_, err = x.Tally(x.ctx, 1, s)
	x.is(err, fanfare.ErrUsage, "a tally")
	_, _, err = x.Backlog(x.ctx, 1, s, 0, 1)
	x.is(err, fanfare.ErrUsage, "a backlog")
	for _, err := range x.Exceptions(x.ctx, 1, s, 0) {
		x.is(err, fanfare.ErrUsage, "exceptions")
	}
	rows, err := x.Peek(x.ctx, []fanfare.BatchRef{ref(1, s, 0)})
	x.ok(err)
	x.same(rows, []fanfare.Batch{{BatchRef: ref(1, s, 0)}}, "a row that is not there")
	c := claim(ref(1, s, 0), alice)
	x.answers(x.append1(s, fanfare.Entry{Claim: &c}), fanfare.Stale, "a claim")
	wrong := ids(1, 1)
	_, err = x.Upsert(x.ctx, 0, []fanfare.RecipientChange{{ExternalID: ids(0, 1)[0]}, {ExternalID: wrong[0]}}, fanfare.UpsertOptions{})
	x.is(err, fanfare.ErrUsage, "a recipient of another slot")
	x.members(0, fanfare.SetAlive)
}

func noShard(x *fixture) {
	const s = 1
	m, _ := x.sending(s, 2, 2)
	was := x.peek(ref(m, s, 0))
	for _, shard := range []int{-1, x.Shards(), x.Shards() + 7} {
		c := claim(ref(m, s, 0), alice)
		a := x.Append(x.ctx, shard, []fanfare.Entry{{Claim: &c}})[0]
		x.answers(a, fanfare.Failed, fmt.Sprint("shard ", shard))
		x.is(a.Err, fanfare.ErrUsage, "why")
	}
	x.same(x.peek(ref(m, s, 0)), was, "the row")
}

func endedContext(x *fixture) {
	const s = 2
	m, _ := x.sending(s, 2, 2)
	was := x.peek(ref(m, s, 0))
	ended, end := context.WithCancel(x.ctx)
	end()
	c := claim(ref(m, s, 0), alice)
	a := x.Append(ended, x.ShardOf(s), []fanfare.Entry{{Claim: &c}})[0]
	if a.Answer != fanfare.Unknown {
		x.t.Errorf("answer %d", a.Answer)
	}
	x.is(a.Err, context.Canceled, "a claim")
	x.same(x.peek(ref(m, s, 0)), was, "the row")
	x.is(x.Update(ended, func(fanfare.ControlTx) error { return nil }), context.Canceled, "an update")
	x.is(x.View(ended, func(fanfare.ControlView) error { return nil }), context.Canceled, "a view")
	_, err := x.LoadSet(ended, s, fanfare.SetAlive)
	x.is(err, context.Canceled, "a set")
	_, err = x.Upsert(ended, s, []fanfare.RecipientChange{{ExternalID: ids(s, 1)[0]}}, fanfare.UpsertOptions{})
	x.is(err, context.Canceled, "an upsert")
	for _, err := range x.Exceptions(ended, m, s, 0) {
		x.is(err, context.Canceled, "exceptions")
	}
}

// panics calls functions of the store's user that end by a panic, each in a goroutine that survives it.
func panics(x *fixture) {
	const s = 1
	m := x.message()
	x.ok(x.Number(x.ctx, s, 3))
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotPreparing, 1))
	survive := func(fn func()) {
		x.t.Helper()
		var group sync.WaitGroup
		group.Go(func() {
			defer func() {
				if recover() == nil {
					x.t.Error("the panic got lost")
				}
			}()
			fn()
		})
		group.Wait()
	}
	survive(func() {
		_ = x.Update(x.ctx, func(tx fanfare.ControlTx) error {
			_ = tx.PutSetting("s", []byte("v"))
			_ = tx.InsertList(&fanfare.List{Name: "l"})
			panic("boom")
		})
	})
	survive(func() { _ = x.View(x.ctx, func(fanfare.ControlView) error { panic("boom") }) })
	survive(func() {
		_, _ = x.Freeze(x.ctx, s, m, 1, 2, func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) { panic("boom") })
	})
	x.view(func(v fanfare.ControlView) error {
		_, err := v.Setting("s")
		x.is(err, fanfare.ErrNotFound, "the setting")
		_, err = v.List("l")
		x.is(err, fanfare.ErrNotFound, "the list")
		return nil
	})
	done, err := x.Freeze(x.ctx, s, m, 1, 2, everybody)
	x.ok(err)
	if t := x.tally(m, s); !done || t.N != 3 {
		x.t.Errorf("afterwards: frozen %v, %+v", done, t)
	}
}

func names(x *fixture) {
	hostile := []string{"'; DROP TABLE messages; --", `"`, `\`, "%", "_", "?", "$1", ":name", "名单 🎉", " lead and trail ", "a/b", "NULL", "0", strings.Repeat("é", 127)}
	for _, name := range hostile {
		x.update(func(tx fanfare.ControlTx) error {
			x.ok(tx.InsertList(&fanfare.List{Name: name}))
			x.ok(tx.PutProvider(fanfare.Provider{Name: name, URL: name}))
			x.ok(tx.AddAudit(fanfare.AuditEntry{Actor: name, Action: name, Object: name, Detail: name}))
			return tx.PutSetting(name, []byte(name))
		})
		s := fanfare.SlotOf(name, slots)
		u := x.upsert(s, fanfare.UpsertOptions{Add: []fanfare.SetName{fanfare.SetName("list:" + name)}, Mark: &fanfare.Mark{Work: name}},
			fanfare.RecipientChange{ExternalID: name, Email: text(name), Phone: text(name), Attributes: map[string]any{name: name}})[0]
		r, err := x.Recipient(x.ctx, name)
		x.ok(err)
		x.same(r, fanfare.Recipient{Person: u.Person, ExternalID: name, Email: name, Phone: name, Attributes: map[string]any{name: name}, UpdatedAt: x.now()}, name)
		x.members(s, fanfare.SetName("list:"+name), u.Seq)
		found, err := x.Scan(x.ctx, s, u.Seq, 1, name)
		x.ok(err)
		if len(found) != 1 || found[0].ExternalID != name {
			x.t.Errorf("scan for %q finds %v", name, found)
		}
	}
	x.view(func(v fanfare.ControlView) error {
		all, _, err := v.Lists("", 100)
		x.ok(err)
		if len(all) != len(hostile) {
			x.t.Errorf("%d lists of %d", len(all), len(hostile))
		}
		for _, name := range hostile {
			_, err := v.List(name)
			x.ok(err)
			value, err := v.Setting(name)
			x.ok(err)
			x.same(string(value), name, "a setting")
		}
		return nil
	})
}

func sizes(x *fixture) {
	const s = 0
	m := x.message()
	x.ok(x.Number(x.ctx, s, 3))
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotPreparing, 1))
	for _, size := range []int{-1, set.MaxBits + 1} {
		done, err := x.Freeze(x.ctx, s, m, 1, size, everybody)
		x.is(err, fanfare.ErrUsage, fmt.Sprint("batches of ", size))
		if done {
			x.t.Errorf("frozen in batches of %d", size)
		}
	}
	x.is(x.Number(x.ctx, s, -1), fanfare.ErrUsage, "numbering less than nobody")
	x.is(x.Number(x.ctx, s, set.Universe), fanfare.ErrUsage, "numbering more than there are numbers")
	x.members(s, fanfare.SetAlive, 0, 1, 2)
	x.freeze(m, s, set.MaxBits, map[fanfare.Part]*set.Set{fanfare.PartSend: set.Of(0, 1, 2)})
	rows, err := x.Batches(x.ctx, m, s, 0, 0)
	x.ok(err)
	members, err := x.Members(x.ctx, m, s, 1, -1)
	x.ok(err)
	groups, err := x.Failures(x.ctx, m, s, 0)
	x.ok(err)
	people, err := x.Scan(x.ctx, s, 0, 0, "")
	x.ok(err)
	if len(rows)+len(members)+len(groups)+len(people) != 0 {
		x.t.Errorf("nothing asked for: %v, %v, %v, %v", rows, members, groups, people)
	}
}
