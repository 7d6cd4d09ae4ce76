package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fanfare"
)

func tableScenarios() []scenario {
	return []scenario{
		{"lists", lists},
		{"segments", segments},
		{"providers", providers},
		{"keys", keys},
		{"stored answers live 48 hours", storedAnswers},
		{"imports", imports},
		{"nodes", nodes},
		{"audit", audit},
		{"settings", settings},
	}
}

func lists(x *fixture) {
	var want []fanfare.List
	for i := range 7 {
		l := fanfare.List{Name: fmt.Sprint("名单 ", i), CreatedAt: x.now()}
		x.update(func(tx fanfare.ControlTx) error { return tx.InsertList(&l) })
		if l.ID <= 0 {
			x.t.Fatalf("a list with number %d", l.ID)
		}
		want = append([]fanfare.List{l}, want...)
		x.is(x.Update(x.ctx, func(tx fanfare.ControlTx) error { return tx.InsertList(&fanfare.List{Name: l.Name}) }), fanfare.ErrExists, "the same name")
	}
	x.view(func(v fanfare.ControlView) error {
		one, err := v.List(want[0].Name)
		x.ok(err)
		x.same(one, want[0], "one list")
		_, err = v.List("名单")
		x.is(err, fanfare.ErrNotFound, "an unknown list")
		first, next, err := v.Lists("", 4)
		x.ok(err)
		x.same(first, want[:4], "the first page")
		second, end, err := v.Lists(next, 4)
		x.same(second, want[4:], "the second page")
		x.same(end, "", "the last cursor")
		return err
	})
	x.update(func(tx fanfare.ControlTx) error { return tx.DeleteList(want[0].Name) })
	x.is(x.Update(x.ctx, func(tx fanfare.ControlTx) error { return tx.DeleteList(want[0].Name) }), fanfare.ErrNotFound, "deleting it again")
	l := fanfare.List{Name: want[0].Name}
	x.update(func(tx fanfare.ControlTx) error { return tx.InsertList(&l) })
	if l.ID <= want[0].ID {
		x.t.Errorf("list number %d is used again after %d: its set may still be there", l.ID, want[0].ID)
	}
}

func providers(x *fixture) {
	full := fanfare.Provider{Name: "mail", Channel: fanfare.ChannelEmail, URL: "smtp://h:25", From: "a@b", Connections: 32, Chunk: 8, Rate: 0.25,
		Timeout: time.Minute, Retry: fanfare.DefaultRetry(), OnlyTo: []string{"*@x", "b@y"}, Default: true,
		DKIM: fanfare.DKIM{Domain: "x", Selector: "s1", Key: "sealed"}, Track: fanfare.Track{Clicks: true}, Bounces: "b+KEY@x"}
	x.update(func(tx fanfare.ControlTx) error {
		x.ok(tx.PutProvider(fanfare.Provider{Name: "z"}))
		x.ok(tx.PutProvider(fanfare.Provider{Name: "mail", URL: "old"}))
		return tx.PutProvider(full)
	})
	x.view(func(v fanfare.ControlView) error {
		got, err := v.Provider("mail")
		x.ok(err)
		x.same(got, full, "a provider")
		_, err = v.Provider("nobody")
		x.is(err, fanfare.ErrNotFound, "an unknown provider")
		all, err := v.Providers()
		x.same(all, []fanfare.Provider{full, {Name: "z"}}, "providers by name")
		return err
	})
	x.update(func(tx fanfare.ControlTx) error { return tx.DeleteProvider("z") })
	x.is(x.Update(x.ctx, func(tx fanfare.ControlTx) error { return tx.DeleteProvider("z") }), fanfare.ErrNotFound, "deleting it again")
}

func keys(x *fixture) {
	a := fanfare.Key{ID: "a", Name: "one", Hash: [32]byte{1, 0, 255}, Scopes: []string{"messages:read", "keys:write"}, Test: true, CreatedAt: x.now()}
	b := fanfare.Key{ID: "b", Hash: [32]byte{2}}
	x.update(func(tx fanfare.ControlTx) error {
		x.ok(tx.InsertKey(b))
		return tx.InsertKey(a)
	})
	for _, k := range []fanfare.Key{{ID: "a", Hash: [32]byte{3}}, {ID: "c", Hash: [32]byte{2}}} {
		x.is(x.Update(x.ctx, func(tx fanfare.ControlTx) error { return tx.InsertKey(k) }), fanfare.ErrExists, "an id or hash that is taken")
	}
	x.view(func(v fanfare.ControlView) error {
		got, err := v.Key(a.Hash)
		x.ok(err)
		x.same(got, a, "a key by its hash")
		_, err = v.Key([32]byte{9})
		x.is(err, fanfare.ErrNotFound, "an unknown key")
		all, err := v.Keys()
		x.same(all, []fanfare.Key{a, b}, "keys by id")
		return err
	})
	x.update(func(tx fanfare.ControlTx) error { return tx.DeleteKey("a") })
	x.is(x.Update(x.ctx, func(tx fanfare.ControlTx) error { return tx.DeleteKey("a") }), fanfare.ErrNotFound, "deleting it again")
}

func storedAnswers(x *fixture) {
	a := fanfare.StoredAnswer{Key: "k POST /v1/messages 1", BodyHash: [32]byte{5}, Status: 201, Header: json.RawMessage(`{"Location":["/x"]}`), Body: []byte("{}\x00\xff")}
	store := func(a fanfare.StoredAnswer) { x.update(func(tx fanfare.ControlTx) error { return tx.StoreAnswer(a) }) }
	read := func() (got fanfare.StoredAnswer, err error) {
		_ = x.View(x.ctx, func(v fanfare.ControlView) error {
			got, err = v.StoredAnswer(a.Key)
			return nil
		})
		return got, err
	}
	_, err := read()
	x.is(err, fanfare.ErrNotFound, "before it was stored")
	store(a)
	a.At = x.now()
	x.clock.Advance(48*time.Hour - time.Second)
	got, err := read()
	x.ok(err)
	x.same(got, a, "just before 48 hours")
	x.clock.Advance(2 * time.Second)
	_, err = read()
	x.is(err, fanfare.ErrNotFound, "after 48 hours")
	a.Status, a.At = 202, time.Time{}
	store(a)
	a.At = x.now()
	got, err = read()
	x.ok(err)
	x.same(got, a, "stored anew")
}

func imports(x *fixture) {
	full := fanfare.Import{ID: "b", State: fanfare.ImportRunning, Detail: "d", List: "l", Options: json.RawMessage(`{"mode": 1}`), Rows: 1, Created: 2, Updated: 3,
		Unchanged: 4, Duplicates: 5, Failed: 6, Block: 7, CreatedAt: x.now().Add(time.Second), UpdatedAt: x.now().Add(time.Hour)}
	old := fanfare.Import{ID: "a", State: fanfare.ImportDone, CreatedAt: x.now(), UpdatedAt: x.now()}
	x.update(func(tx fanfare.ControlTx) error {
		x.ok(tx.PutImport(fanfare.Import{ID: "b", State: fanfare.ImportQueued, CreatedAt: full.CreatedAt}))
		x.ok(tx.PutImport(old))
		return tx.PutImport(full)
	})
	x.view(func(v fanfare.ControlView) error {
		got, err := v.Import("b")
		x.ok(err)
		x.same(got, full, "an import")
		_, err = v.Import("z")
		x.is(err, fanfare.ErrNotFound, "an unknown import")
		for _, c := range []struct {
			states []fanfare.ImportState
			want   []fanfare.Import
		}{
			{nil, []fanfare.Import{full, old}},
			{[]fanfare.ImportState{fanfare.ImportDone}, []fanfare.Import{old}},
			{[]fanfare.ImportState{fanfare.ImportQueued, fanfare.ImportRunning}, []fanfare.Import{full}},
			{[]fanfare.ImportState{fanfare.ImportHeld}, nil},
		} {
			found, err := v.Imports(c.states...)
			x.ok(err)
			x.same(found, c.want, fmt.Sprint("imports ", c.states))
		}
		return nil
	})
}

func nodes(x *fixture) {
	n := fanfare.Node{Name: "n1", Incarnation: 1 << 60, Folder: "f", Version: "v1", Left: true, Roles: []string{"api", "worker"}, Free: map[string]int{"mail": 3}, Claims: map[string]int{"mail": 1},
		Waiting: map[fanfare.MessageNum]fanfare.WaitingFor{7: {Reason: fanfare.WaitRate, Since: x.now()}}}
	x.update(func(tx fanfare.ControlTx) error {
		x.ok(tx.PutNode(fanfare.Node{Name: "n2"}))
		return tx.PutNode(fanfare.Node{Name: "n1"})
	})
	first := x.now()
	x.clock.Advance(time.Second)
	x.update(func(tx fanfare.ControlTx) error { return tx.PutNode(n) })
	n.SeenAt = x.now()
	x.view(func(v fanfare.ControlView) error {
		all, err := v.Nodes()
		x.same(all, []fanfare.Node{n, {Name: "n2", SeenAt: first}}, "nodes by name")
		return err
	})
}

func audit(x *fixture) {
	var want []fanfare.AuditEntry
	for i := range 7 {
		e := fanfare.AuditEntry{Actor: "key a", Action: "pause", Object: fmt.Sprint("m", i), Detail: "为什么"}
		x.update(func(tx fanfare.ControlTx) error { return tx.AddAudit(e) })
		e.At = x.now()
		want = append([]fanfare.AuditEntry{e}, want...)
		if i%2 == 0 {
			x.clock.Advance(time.Second)
		}
	}
	var cursor string
	x.view(func(v fanfare.ControlView) (err error) {
		var first []fanfare.AuditEntry
		first, cursor, err = v.Audit("", "", 4)
		x.same(first, want[:4], "the first page")
		return err
	})
	x.update(func(tx fanfare.ControlTx) error { return tx.AddAudit(fanfare.AuditEntry{Actor: "new"}) })
	x.update(func(tx fanfare.ControlTx) error {
		for range 3 {
			if err := errors.Join(tx.AddAudit(fanfare.AuditEntry{Actor: "a", Object: "m2"}), tx.AddAudit(fanfare.AuditEntry{Actor: "b"})); err != nil {
				return err
			}
		}
		return nil
	})
	x.view(func(v fanfare.ControlView) error {
		mine := fanfare.AuditEntry{Actor: "a", Object: "m2", At: x.now()}
		got, next, err := v.Audit("m2", "", 2)
		x.ok(err)
		x.same(got, []fanfare.AuditEntry{mine, mine}, "of one object")
		got, next, err = v.Audit("m2", next, 2)
		x.ok(err)
		x.same(got, []fanfare.AuditEntry{mine, want[4]}, "the second page of it")
		x.same(next, "", "its last cursor")
		got, _, err = v.Audit("nobody", "", 2)
		x.same(got, []fanfare.AuditEntry(nil), "of nobody")
		return err
	})
	x.view(func(v fanfare.ControlView) error {
		second, next, err := v.Audit("", cursor, 4)
		x.same(second, want[4:], "the second page")
		x.same(next, "", "the last cursor")
		_, _, bad := v.Audit("", "no cursor", 4)
		x.is(bad, fanfare.ErrUsage, "a cursor that is none")
		return err
	})
}

func settings(x *fixture) {
	x.update(func(tx fanfare.ControlTx) error {
		x.ok(tx.PutSetting("s", []byte("old")))
		return tx.PutSetting("s", []byte{0, 255, 'x'})
	})
	x.view(func(v fanfare.ControlView) error {
		got, err := v.Setting("s")
		x.ok(err)
		x.same(got, []byte{0, 255, 'x'}, "a setting")
		_, err = v.Setting("t")
		x.is(err, fanfare.ErrNotFound, "an unknown setting")
		return nil
	})
}
