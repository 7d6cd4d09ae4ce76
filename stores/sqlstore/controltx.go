package sqlstore

import (
	"database/sql/driver"
	"fmt"
	"time"

	"fanfare"
)

// controlTx changes the control tables.
type controlTx struct {
	controlView
	t *tx
}

func taken(what string, name any) error {
	return fmt.Errorf("%s %v: %w", what, name, fanfare.ErrExists)
}

// delete removes a row; ErrNotFound if there is none.
func (x *controlTx) delete(what, statement string, name driver.Value) error {
	n, err := x.t.exec(statement, name)
	if err == nil && n == 0 {
		err = missing(what, name)
	}
	return err
}

func (x *controlTx) InsertList(l *fanfare.List) error {
	there, err := x.c.one(func([]driver.Value) error { return nil }, "lists.get", l.Name)
	if err != nil {
		return err
	}
	if there {
		return taken("list", l.Name)
	}
	l.ID, err = x.t.insert("lists.insert", l.Name, l.CreatedAt)
	return err
}

func (x *controlTx) DeleteList(name string) error { return x.delete("list", "lists.delete", name) }

func (x *controlTx) PutProvider(p fanfare.Provider) error {
	body, err := encode(p, false)
	if err != nil {
		return err
	}
	_, err = x.t.exec("providers.put", p.Name, body)
	return err
}

func (x *controlTx) DeleteProvider(name string) error {
	return x.delete("provider", "providers.delete", name)
}

func (x *controlTx) InsertKey(k fanfare.Key) error {
	var there int64
	if _, err := x.c.one(func(r []driver.Value) error {
		there = integer(r[0])
		return nil
	}, "keys.taken", k.ID, k.Hash[:]); err != nil {
		return err
	}
	if there > 0 {
		return taken("key", k.ID)
	}
	scopes, err := encode(k.Scopes, k.Scopes == nil)
	if err != nil {
		return err
	}
	_, err = x.t.exec("keys.insert", k.ID, k.Name, k.Hash[:], scopes, k.Test, k.CreatedAt)
	return err
}

func (x *controlTx) DeleteKey(id string) error { return x.delete("key", "keys.delete", id) }

func (x *controlTx) StoreAnswer(a fanfare.StoredAnswer) error {
	if _, err := x.t.exec("idempotency.expire", x.now.Add(-answerLife)); err != nil {
		return err
	}
	_, err := x.t.exec("idempotency.put", a.Key, a.BodyHash[:], a.Status, raw(a.Header), a.Body, x.now)
	return err
}

func (x *controlTx) PutImport(i fanfare.Import) error {
	_, err := x.t.exec("imports.put", i.ID, string(i.State), i.Detail, i.List, raw(i.Options), i.Rows, i.Created, i.Updated, i.Unchanged,
		i.Duplicates, i.Failed, i.Block, i.CreatedAt, i.UpdatedAt)
	return err
}

func (x *controlTx) PutNode(n fanfare.Node) error {
	body, err := encode(nodeBody{n.Folder, n.Version, n.Left, n.Roles, n.Free, n.Claims, n.Waiting}, false)
	if err != nil {
		return err
	}
	_, err = x.t.exec("nodes.put", n.Name, n.Incarnation, x.now, body)
	return err
}

func (x *controlTx) AddAudit(e fanfare.AuditEntry) error {
	_, err := x.t.exec("audit.insert", x.now, e.Actor, e.Action, e.Object, e.Detail)
	return err
}

func (x *controlTx) PutSetting(name string, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	_, err := x.t.exec("settings.put", name, value)
	return err
}

func (x *controlTx) TakeLease(name, holder string, ttl time.Duration) (bool, error) {
	has, until := "", time.Time{}
	if _, err := x.c.one(func(r []driver.Value) error {
		has, until = text(r[0]), moment(r[1])
		return nil
	}, "leases.get", name); err != nil {
		return false, err
	}
	if has != "" && has != holder && x.now.Before(until) {
		return false, nil
	}
	_, err := x.t.exec("leases.put", name, holder, x.now.Add(ttl))
	return err == nil, err
}

func (x *controlTx) ReservePermits(name string, rate float64, want int) (window int64, granted int, err error) {
	window = fanfare.Window(x.now)
	used := 0
	if _, err := x.c.one(func(r []driver.Value) error {
		if integer(r[0]) == window {
			used = int(integer(r[1]))
		}
		return nil
	}, "rates.get", name); err != nil {
		return window, 0, err
	}
	granted = max(0, min(want, fanfare.Permits(window, rate)-used))
	if _, err := x.t.exec("rates.put", name, window, used+granted); err != nil {
		return window, 0, err
	}
	return window, granted, nil
}
