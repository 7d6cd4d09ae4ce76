package memory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"fanfare"
)

// answerLife is how long a stored answer is kept.
const answerLife = 48 * time.Hour

const pageLimit = 50

type lease struct {
	holder string
	until  time.Time
}

type rate struct {
	window int64
	used   int
}

// control is the control tables. Values are never changed in place: whoever changes one puts another in.
type control struct {
	messages  map[fanfare.MessageNum]*fanfare.Message
	ids       map[fanfare.MessageID]fanfare.MessageNum
	lists     map[string]fanfare.List
	segments  map[string]fanfare.Segment
	providers map[string]fanfare.Provider
	keys      map[string]fanfare.Key
	answers   map[string]fanfare.StoredAnswer
	imports   map[string]fanfare.Import
	nodes     map[string]fanfare.Node
	settings  map[string][]byte
	leases    map[string]lease
	rates     map[string]rate
	audit     []fanfare.AuditEntry

	lastMessage fanfare.MessageNum
	lastList    int64
	lastSegment int64
}

func (c *control) open() {
	*c = control{
		messages: make(map[fanfare.MessageNum]*fanfare.Message), ids: make(map[fanfare.MessageID]fanfare.MessageNum),
		lists: make(map[string]fanfare.List), segments: make(map[string]fanfare.Segment), providers: make(map[string]fanfare.Provider), keys: make(map[string]fanfare.Key),
		answers: make(map[string]fanfare.StoredAnswer), imports: make(map[string]fanfare.Import), nodes: make(map[string]fanfare.Node),
		settings: make(map[string][]byte), leases: make(map[string]lease), rates: make(map[string]rate),
	}
}

// ascending gives the keys of m in order.
func ascending[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// View implements fanfare.Control.
func (s *Store) View(ctx context.Context, fn func(fanfare.ControlView) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	return fn(&view{c: &s.control, now: s.clock()})
}

// Update implements fanfare.Control.
func (s *Store) Update(ctx context.Context, fn func(fanfare.ControlTx) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	t := &tx{view: view{c: &s.control, now: s.clock()}}
	kept := false
	defer func() {
		for i := len(t.undo) - 1; i >= 0 && !kept; i-- {
			t.undo[i]()
		}
	}()
	if err := fn(t); err != nil {
		return err
	}
	kept = true
	if t.wrote {
		s.heads[0]++
		s.tell(0, t.news...)
	}
	return nil
}

// unfinished are the phases that Look and MessageFilter.Unfinished mean.
func unfinished(p fanfare.Phase) bool { return p != fanfare.PhaseDraft && !p.Final() }

// Look implements fanfare.Control.
func (s *Store) Look(ctx context.Context) ([]fanfare.Look, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var found []fanfare.Look
	for _, n := range ascending(s.control.messages) {
		m := s.control.messages[n]
		if !unfinished(m.Phase) {
			continue
		}
		found = append(found, fanfare.Look{Num: m.Num, ID: m.ID, State: m.State, Revision: m.Revision, Channel: m.Channel, Provider: m.Provider,
			Rate: m.Rate, Priority: m.Priority, Uncertain: m.Uncertain, SendAt: m.SendAt, NotAfter: m.NotAfter, StartGrace: m.StartGrace,
			Few: m.Few, Waits: m.Trigger != nil, Topic: m.Topic, Essential: m.Essential})
	}
	return found, nil
}

// view reads the control tables while the mutex is held.
type view struct {
	c   *control
	now time.Time
}

func (v *view) Now() time.Time { return v.now }

func missing(what string, name any) error {
	return fmt.Errorf("%s %v: %w", what, name, fanfare.ErrNotFound)
}

func (v *view) Message(id fanfare.MessageID) (fanfare.Message, error) {
	n, ok := v.c.ids[id]
	if !ok {
		return fanfare.Message{}, missing("message", id)
	}
	return cloneMessage(v.c.messages[n]), nil
}

func (v *view) MessageByNum(n fanfare.MessageNum) (fanfare.Message, error) {
	m, ok := v.c.messages[n]
	if !ok {
		return fanfare.Message{}, missing("message number", n)
	}
	return cloneMessage(m), nil
}

// page reads a cursor: the number of the last item before the page, 0 for none.
func page(cursor string, limit int) (int64, int, error) {
	if limit <= 0 {
		limit = pageLimit
	}
	if cursor == "" {
		return 0, limit, nil
	}
	n, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil || n <= 0 {
		return 0, 0, fmt.Errorf("cursor %q: %w", cursor, fanfare.ErrUsage)
	}
	return n, limit, nil
}

func (v *view) Messages(f fanfare.MessageFilter) (items []fanfare.Message, next string, err error) {
	before, limit, err := page(f.Cursor, f.Limit)
	if err != nil {
		return nil, "", err
	}
	for _, n := range slices.Backward(ascending(v.c.messages)) {
		m := v.c.messages[n]
		if before != 0 && int64(n) >= before || !matches(&f, m) {
			continue
		}
		if len(items) == limit {
			return items, strconv.FormatInt(int64(items[limit-1].Num), 10), nil
		}
		items = append(items, cloneMessage(m))
	}
	return items, "", nil
}

func matches(f *fanfare.MessageFilter, m *fanfare.Message) bool {
	return (f.Status == nil || *f.Status == m.Phase.Status()) && (f.Phase == "" || f.Phase == m.Phase) &&
		(f.Tag == "" || slices.Contains(m.Tags, f.Tag)) && strings.Contains(m.Name, f.Name) &&
		(f.CreatedAfter.IsZero() || m.CreatedAt.After(f.CreatedAfter)) && (!f.Unfinished || unfinished(m.Phase))
}

func (v *view) List(name string) (fanfare.List, error) {
	l, ok := v.c.lists[name]
	if !ok {
		return l, missing("list", name)
	}
	return l, nil
}

func (v *view) Lists(cursor string, limit int) (items []fanfare.List, next string, err error) {
	before, limit, err := page(cursor, limit)
	if err != nil {
		return nil, "", err
	}
	all := slices.SortedFunc(maps.Values(v.c.lists), func(a, b fanfare.List) int { return cmp.Compare(b.ID, a.ID) })
	for _, l := range all {
		if before != 0 && l.ID >= before {
			continue
		}
		if len(items) == limit {
			return items, strconv.FormatInt(items[limit-1].ID, 10), nil
		}
		items = append(items, l)
	}
	return items, "", nil
}

func (v *view) Provider(name string) (fanfare.Provider, error) {
	p, ok := v.c.providers[name]
	if !ok {
		return p, missing("provider", name)
	}
	return cloneProvider(p), nil
}

func (v *view) Providers() ([]fanfare.Provider, error) {
	var all []fanfare.Provider
	for _, name := range ascending(v.c.providers) {
		all = append(all, cloneProvider(v.c.providers[name]))
	}
	return all, nil
}

func (v *view) Key(hash [32]byte) (fanfare.Key, error) {
	for _, k := range v.c.keys {
		if k.Hash == hash {
			return cloneKey(k), nil
		}
	}
	return fanfare.Key{}, missing("key", "of that hash")
}

func (v *view) Keys() ([]fanfare.Key, error) {
	var all []fanfare.Key
	for _, id := range ascending(v.c.keys) {
		all = append(all, cloneKey(v.c.keys[id]))
	}
	return all, nil
}

func (v *view) StoredAnswer(key string) (fanfare.StoredAnswer, error) {
	a, ok := v.c.answers[key]
	if !ok || v.now.Sub(a.At) > answerLife {
		return fanfare.StoredAnswer{}, missing("stored answer", key)
	}
	return cloneAnswer(a), nil
}

func (v *view) Import(id string) (fanfare.Import, error) {
	i, ok := v.c.imports[id]
	if !ok {
		return i, missing("import", id)
	}
	return cloneImport(i), nil
}

func (v *view) Imports(states ...fanfare.ImportState) ([]fanfare.Import, error) {
	var found []fanfare.Import
	for _, id := range ascending(v.c.imports) {
		if i := v.c.imports[id]; len(states) == 0 || slices.Contains(states, i.State) {
			found = append(found, cloneImport(i))
		}
	}
	slices.SortStableFunc(found, func(a, b fanfare.Import) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
	})
	return found, nil
}

func (v *view) Nodes() ([]fanfare.Node, error) {
	var all []fanfare.Node
	for _, name := range ascending(v.c.nodes) {
		all = append(all, cloneNode(v.c.nodes[name]))
	}
	return all, nil
}

func (v *view) Audit(object, cursor string, limit int) (items []fanfare.AuditEntry, next string, err error) {
	before, limit, err := page(cursor, limit)
	if err != nil {
		return nil, "", err
	}
	end := len(v.c.audit) // an entry's number is its index + 1
	if before != 0 {
		end = min(end, int(before)-1)
	}
	last := 0
	for i := end - 1; i >= 0; i-- {
		if object != "" && v.c.audit[i].Object != object {
			continue
		}
		if len(items) == limit {
			return items, strconv.Itoa(last), nil
		}
		items, last = append(items, v.c.audit[i]), i+1
	}
	return items, "", nil
}

func (v *view) Setting(name string) ([]byte, error) {
	value, ok := v.c.settings[name]
	if !ok {
		return nil, missing("setting", name)
	}
	return slices.Clone(value), nil
}
