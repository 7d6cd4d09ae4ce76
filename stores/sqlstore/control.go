package sqlstore

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"fanfare"
)

const (
	answerLife = 48 * time.Hour // of a stored answer
	pageLimit  = 50
)

// View implements fanfare.Control.
func (s *Store) View(ctx context.Context, fn func(fanfare.ControlView) error) error {
	return s.read(ctx, func(c *conn) error {
		now, err := s.nowOf(c)
		if err != nil {
			return err
		}
		return fn(&controlView{c, now})
	})
}

// Update implements fanfare.Control.
func (s *Store) Update(ctx context.Context, fn func(fanfare.ControlTx) error) error {
	return s.lend(ctx, smallWrite, locks{control: true}, func(t *tx) error { return fn(&controlTx{controlView{t.conn, t.now}, t}) })
}

// Look implements fanfare.Control.
func (s *Store) Look(ctx context.Context) (found []fanfare.Look, err error) {
	err = s.read(ctx, func(c *conn) error {
		return c.query(func(r []driver.Value) error {
			found = append(found, fanfare.Look{
				Num: fanfare.MessageNum(integer(r[0])), ID: fanfare.MessageID(text(r[1])),
				State: fanfare.State{Phase: fanfare.Phase(text(r[2])), Generation: fanfare.Generation(integer(r[3])),
					PauseReason: fanfare.PauseReason(text(r[4])), PausedFrom: fanfare.Phase(text(r[5])), Ending: fanfare.Phase(text(r[6])), Reopens: integer(r[19]) != 0},
				Revision: fanfare.Revision(integer(r[7])), Channel: fanfare.ChannelName(text(r[8])), Provider: text(r[9]), Rate: real(r[10]),
				Priority: fanfare.Priority(text(r[11])), Uncertain: fanfare.Policy(text(r[12])), SendAt: moment(r[13]), NotAfter: moment(r[14]),
				StartGrace: time.Duration(integer(r[15])), Waits: integer(r[16]) != 0,
				Topic: text(r[17]), Essential: integer(r[18]) != 0, Few: integer(r[20]) != 0,
			})
			return nil
		}, "messages.look")
	})
	return found, err
}

// controlView reads the control tables in one transaction.
type controlView struct {
	c   *conn
	now time.Time
}

func (v *controlView) Now() time.Time { return v.now }

func missing(what string, name any) error {
	return fmt.Errorf("%s %v: %w", what, name, fanfare.ErrNotFound)
}

// get reads one row; not found is ErrNotFound of what and name.
func (v *controlView) get(what string, name any, scan func(r []driver.Value) error, statement string, values ...driver.Value) error {
	found, err := v.c.one(scan, statement, values...)
	if err == nil && !found {
		err = missing(what, name)
	}
	return err
}

// page reads a cursor: the number of the last item before the page, 0 for none.
func page(cursor string, limit int) (before int64, most int, err error) {
	if limit <= 0 {
		limit = pageLimit
	}
	if cursor == "" {
		return 0, limit, nil
	}
	if before, err = strconv.ParseInt(cursor, 10, 64); err != nil || before <= 0 {
		return 0, 0, fmt.Errorf("cursor %q: %w", cursor, fanfare.ErrUsage)
	}
	return before, limit, nil
}

// cut cuts a list that was read with one item more than the page has, and gives the cursor of the next page.
func cut[T any](items []T, limit int, number func(T) int64) (page []T, next string) {
	if len(items) <= limit {
		return items, ""
	}
	return items[:limit], strconv.FormatInt(number(items[limit-1]), 10)
}

// decode reads JSON that the store wrote itself.
func (c *conn) decode(what string, v driver.Value, to any) error {
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(blob(v), to); err != nil {
		return fmt.Errorf("%s: %s: %w: %w", c.db.Name(), what, fanfare.ErrDamaged, err)
	}
	return nil
}

// encode is the JSON of v; a nil slice or map is NULL.
func encode(v any, none bool) (driver.Value, error) {
	if none {
		return nil, nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// raw is JSON that somebody else wrote.
func raw(m json.RawMessage) driver.Value {
	if m == nil {
		return nil
	}
	return string(m)
}

func rawOf(v driver.Value) json.RawMessage {
	if v == nil {
		return nil
	}
	return json.RawMessage(blob(v))
}

func scanList(l *fanfare.List) func(r []driver.Value) error {
	return func(r []driver.Value) error {
		*l = fanfare.List{ID: integer(r[0]), Name: text(r[1]), CreatedAt: moment(r[2])}
		return nil
	}
}

func (v *controlView) List(name string) (l fanfare.List, err error) {
	return l, v.get("list", name, scanList(&l), "lists.get", name)
}

func (v *controlView) Lists(cursor string, limit int) (items []fanfare.List, next string, err error) {
	before, limit, err := page(cursor, limit)
	if err != nil {
		return nil, "", err
	}
	err = v.c.query(func(r []driver.Value) error {
		var l fanfare.List
		_ = scanList(&l)(r)
		items = append(items, l)
		return nil
	}, "lists.list", before, before, limit+1)
	items, next = cut(items, limit, func(l fanfare.List) int64 { return l.ID })
	return items, next, err
}

func (v *controlView) Provider(name string) (p fanfare.Provider, err error) {
	return p, v.get("provider", name, func(r []driver.Value) error { return v.c.decode("provider "+name, r[0], &p) }, "providers.get", name)
}

func (v *controlView) Providers() (all []fanfare.Provider, err error) {
	err = v.c.query(func(r []driver.Value) error {
		var p fanfare.Provider
		if err := v.c.decode("providers", r[0], &p); err != nil {
			return err
		}
		all = append(all, p)
		return nil
	}, "providers.list")
	return all, err
}

func (v *controlView) scanKey(r []driver.Value, k *fanfare.Key) error {
	*k = fanfare.Key{ID: text(r[0]), Name: text(r[1]), Test: integer(r[4]) != 0, CreatedAt: moment(r[5])}
	copy(k.Hash[:], blob(r[2]))
	return v.c.decode("key "+k.ID, r[3], &k.Scopes)
}

func (v *controlView) Key(hash [32]byte) (k fanfare.Key, err error) {
	return k, v.get("key", "of that hash", func(r []driver.Value) error { return v.scanKey(r, &k) }, "keys.by_hash", hash[:])
}

func (v *controlView) Keys() (all []fanfare.Key, err error) {
	err = v.c.query(func(r []driver.Value) error {
		var k fanfare.Key
		if err := v.scanKey(r, &k); err != nil {
			return err
		}
		all = append(all, k)
		return nil
	}, "keys.list")
	return all, err
}

func (v *controlView) StoredAnswer(key string) (a fanfare.StoredAnswer, err error) {
	return a, v.get("stored answer", key, func(r []driver.Value) error {
		a = fanfare.StoredAnswer{Key: text(r[0]), Status: int(integer(r[2])), Header: rawOf(r[3]), Body: blob(r[4]), At: moment(r[5])}
		copy(a.BodyHash[:], blob(r[1]))
		return nil
	}, "idempotency.get", key, v.now.Add(-answerLife))
}

func scanImport(r []driver.Value) fanfare.Import {
	return fanfare.Import{ID: text(r[0]), State: fanfare.ImportState(text(r[1])), Detail: text(r[2]), List: text(r[3]), Options: rawOf(r[4]),
		Rows: integer(r[5]), Created: integer(r[6]), Updated: integer(r[7]), Unchanged: integer(r[8]), Duplicates: integer(r[9]),
		Failed: integer(r[10]), Block: integer(r[11]), CreatedAt: moment(r[12]), UpdatedAt: moment(r[13])}
}

func (v *controlView) Import(id string) (i fanfare.Import, err error) {
	return i, v.get("import", id, func(r []driver.Value) error {
		i = scanImport(r)
		return nil
	}, "imports.get", id)
}

func (v *controlView) Imports(states ...fanfare.ImportState) (found []fanfare.Import, err error) {
	err = v.c.query(func(r []driver.Value) error {
		if len(states) == 0 || slices.Contains(states, fanfare.ImportState(text(r[1]))) {
			found = append(found, scanImport(r))
		}
		return nil
	}, "imports.list")
	return found, err
}

// nodeBody is what a node's row keeps as JSON.
type nodeBody struct {
	Folder  string `json:",omitempty"`
	Version string `json:",omitempty"`
	Left    bool   `json:",omitempty"`
	Roles   []string
	Free    map[string]int
	Claims  map[string]int
	Waiting map[fanfare.MessageNum]fanfare.WaitingFor
}

func (v *controlView) Nodes() (all []fanfare.Node, err error) {
	err = v.c.query(func(r []driver.Value) error {
		var b nodeBody
		if err := v.c.decode("node "+text(r[0]), r[3], &b); err != nil {
			return err
		}
		all = append(all, fanfare.Node{Name: text(r[0]), Incarnation: integer(r[1]), SeenAt: moment(r[2]), Folder: b.Folder, Version: b.Version, Left: b.Left,
			Roles: b.Roles, Free: b.Free, Claims: b.Claims, Waiting: b.Waiting})
		return nil
	}, "nodes.list")
	return all, err
}

func (v *controlView) Audit(object, cursor string, limit int) (items []fanfare.AuditEntry, next string, err error) {
	before, limit, err := page(cursor, limit)
	if err != nil {
		return nil, "", err
	}
	type numbered struct {
		id int64
		fanfare.AuditEntry
	}
	name, values := "audit.list", []driver.Value{before, before, limit + 1}
	if object != "" {
		name, values = "audit.of", append([]driver.Value{object}, values...)
	}
	var rows []numbered
	err = v.c.query(func(r []driver.Value) error {
		rows = append(rows, numbered{integer(r[0]), fanfare.AuditEntry{At: moment(r[1]), Actor: text(r[2]), Action: text(r[3]),
			Object: text(r[4]), Detail: text(r[5])}})
		return nil
	}, name, values...)
	rows, next = cut(rows, limit, func(n numbered) int64 { return n.id })
	for _, n := range rows {
		items = append(items, n.AuditEntry)
	}
	return items, next, err
}

func (v *controlView) Setting(name string) (value []byte, err error) {
	return value, v.get("setting", name, func(r []driver.Value) error {
		value = blob(r[0])
		return nil
	}, "settings.get", name)
}
