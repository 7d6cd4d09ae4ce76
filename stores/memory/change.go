package memory

import (
	"fmt"
	"slices"
	"time"

	"fanfare"
)

// tx changes the control tables and knows how to take it back.
type tx struct {
	view
	undo  []func()
	wrote bool // what the head counts
	news  []fanfare.News
}

// tell has the log say that inboxes may show another message.
func (t *tx) tell(m *fanfare.Message) {
	if m.Channel == fanfare.ChannelInbox {
		t.news = append(t.news, fanfare.News{Kind: fanfare.NewsMessage, Message: m.Num})
	}
}

func put[K comparable, V any](t *tx, m map[K]V, k K, v V) {
	t.wrote = true
	pass(t, m, k, v)
}

// pass is put of what comes and goes: the head does not count it.
func pass[K comparable, V any](t *tx, m map[K]V, k K, v V) {
	was, had := m[k]
	t.undo = append(t.undo, func() {
		if had {
			m[k] = was
		} else {
			delete(m, k)
		}
	})
	m[k] = v
}

func remove[K comparable, V any](t *tx, m map[K]V, k K, what string) error {
	was, had := m[k]
	if !had {
		return missing(what, k)
	}
	t.wrote = true
	t.undo = append(t.undo, func() { m[k] = was })
	delete(m, k)
	return nil
}

func assign[V any](t *tx, to *V, v V) {
	t.wrote = true
	was := *to
	t.undo = append(t.undo, func() { *to = was })
	*to = v
}

func taken(what string, name any) error {
	return fmt.Errorf("%s %v: %w", what, name, fanfare.ErrExists)
}

func (t *tx) InsertMessage(m *fanfare.Message) error {
	if _, ok := t.c.ids[m.ID]; ok {
		return taken("message", m.ID)
	}
	assign(t, &t.c.lastMessage, t.c.lastMessage+1)
	m.Num = t.c.lastMessage
	row := cloneMessage(m)
	row.Few = false
	put(t, t.c.messages, m.Num, &row)
	put(t, t.c.ids, m.ID, m.Num)
	t.tell(m)
	return nil
}

func (t *tx) SaveMessage(m *fanfare.Message, from fanfare.Phase, was fanfare.Generation) error {
	n, ok := t.c.ids[m.ID]
	if !ok {
		return missing("message", m.ID)
	}
	old := t.c.messages[n]
	if old.Phase != from || old.Generation != was {
		return fmt.Errorf("message %s is %s, generation %d, not %s, generation %d: %w", m.ID, old.Phase, old.Generation, from, was, fanfare.ErrConflict)
	}
	row := cloneMessage(m)
	row.ID, row.Num, row.CreatedAt = old.ID, old.Num, old.CreatedAt
	row.Few = old.Few || m.Few && from == fanfare.PhasePreparing
	put(t, t.c.messages, n, &row)
	t.tell(&row)
	return nil
}

func (t *tx) DeleteMessage(id fanfare.MessageID) error {
	n := t.c.ids[id]
	if err := remove(t, t.c.ids, id, "message"); err != nil {
		return err
	}
	return remove(t, t.c.messages, n, "message")
}

func (t *tx) InsertList(l *fanfare.List) error {
	if _, ok := t.c.lists[l.Name]; ok {
		return taken("list", l.Name)
	}
	assign(t, &t.c.lastList, t.c.lastList+1)
	l.ID = t.c.lastList
	put(t, t.c.lists, l.Name, *l)
	return nil
}

func (t *tx) DeleteList(name string) error { return remove(t, t.c.lists, name, "list") }

func (t *tx) PutProvider(p fanfare.Provider) error {
	put(t, t.c.providers, p.Name, cloneProvider(p))
	return nil
}

func (t *tx) DeleteProvider(name string) error { return remove(t, t.c.providers, name, "provider") }

func (t *tx) InsertKey(k fanfare.Key) error {
	for id, other := range t.c.keys {
		if id == k.ID || other.Hash == k.Hash {
			return taken("key", k.ID)
		}
	}
	put(t, t.c.keys, k.ID, cloneKey(k))
	return nil
}

func (t *tx) DeleteKey(id string) error { return remove(t, t.c.keys, id, "key") }

func (t *tx) StoreAnswer(a fanfare.StoredAnswer) error {
	a = cloneAnswer(a)
	a.At = t.now
	put(t, t.c.answers, a.Key, a)
	return nil
}

func (t *tx) PutImport(i fanfare.Import) error {
	put(t, t.c.imports, i.ID, cloneImport(i))
	return nil
}

func (t *tx) PutNode(n fanfare.Node) error {
	n = cloneNode(n)
	n.SeenAt = t.now
	pass(t, t.c.nodes, n.Name, n)
	return nil
}

func (t *tx) AddAudit(e fanfare.AuditEntry) error {
	e.At = t.now
	assign(t, &t.c.audit, append(slices.Clip(t.c.audit), e))
	return nil
}

func (t *tx) PutSetting(name string, value []byte) error {
	put(t, t.c.settings, name, append([]byte{}, value...))
	return nil
}

func (t *tx) TakeLease(name, holder string, ttl time.Duration) (bool, error) {
	if l, ok := t.c.leases[name]; ok && l.holder != holder && t.now.Before(l.until) {
		return false, nil
	}
	pass(t, t.c.leases, name, lease{holder, t.now.Add(ttl)})
	return true, nil
}

func (t *tx) ReservePermits(name string, perSecond float64, want int) (window int64, granted int, err error) {
	window = fanfare.Window(t.now)
	r := t.c.rates[name]
	if r.window != window {
		r = rate{window: window}
	}
	granted = max(0, min(want, fanfare.Permits(window, perSecond)-r.used))
	r.used += granted
	pass(t, t.c.rates, name, r)
	return window, granted, nil
}
