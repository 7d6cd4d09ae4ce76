package inbox

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fanfare"
	"fanfare/set"
	"fanfare/stores/memory"
)

const people = 70_000 // of each slot: two chunks

// plain is content in which nothing of a recipient stands.
type plain struct{ title string }

func (plain) Personal() bool { return false }

func (p plain) Fixed(string) ([]byte, bool) {
	title, _ := json.Marshal(p.title)
	return fmt.Appendf(nil, `"title":%s,"body":"","url":""`, title), true
}

func (plain) Render([]byte, *fanfare.Outgoing) ([]byte, error) { return nil, errors.New("it is fixed") }

// mail is what the model knows of one message.
type mail struct {
	fanfare.Message
	planned   [2]*set.Set
	delivered [2]*set.Set
	read      map[fanfare.Person]bool
	seen      map[fanfare.Person]bool
	archived  map[fanfare.Person]bool
	unread    map[fanfare.Person]bool // ever
}

// world is a store, a reader on it, and a naive picture of both.
type world struct {
	ctx    context.Context
	now    time.Time
	store  *Watched
	reader *Reader
	mails  []*mail // in order of their numbers
	nodes  []seat
	only   int // the node that is alone; −1: there are others
}

// seat is one node of several on the store.
type seat struct {
	store  *Watched
	reader *Reader
	others *among
}

// among are others who come and go.
type among struct{ alone atomic.Bool }

func (a *among) Alone() bool { return a.alone.Load() }

func (*among) Known(context.Context) error { return nil }

// several makes the world one of n nodes.
func (w *world) several(n int) {
	w.only = -1
	for range n {
		s := seat{others: new(among)}
		s.store = Among(w.store.Store, s.others)
		config := w.reader.Config
		config.Store = s.store
		s.reader = New(config)
		w.nodes = append(w.nodes, s)
	}
}

// turn picks the node that acts next.
func (w *world) turn(t *rapid.T) {
	if len(w.nodes) == 0 {
		return
	}
	at := w.only
	if at < 0 {
		at = rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")
	}
	w.store, w.reader = w.nodes[at].store, w.nodes[at].reader
}

// come and go lets all but one node leave, and come back.
func (w *world) comeAndGo(t *rapid.T) {
	if len(w.nodes) == 0 {
		return
	}
	if w.only >= 0 {
		w.nodes[w.only].others.alone.Store(false)
		w.only = -1
		return
	}
	w.only = rapid.IntRange(0, len(w.nodes)-1).Draw(t, "who stays")
	w.nodes[w.only].store.Touch()
	w.nodes[w.only].others.alone.Store(true)
}

func newWorld(t interface{ Fatal(...any) }, ctx context.Context, cache int) *world {
	w := &world{ctx: ctx, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	w.store = Watch(memory.Open(memory.Config{Slots: 2, Now: func() time.Time { return w.now }}))
	w.reader = New(Config{Store: w.store, CacheBytes: cache, Now: func() time.Time { return w.now },
		Compile: func(m *fanfare.Message) (Content, error) { return plain{m.Content.Title}, nil }})
	for s := range fanfare.Slot(2) {
		if err := w.store.Number(ctx, s, people); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) must(t interface{ Fatal(...any) }, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

// send makes a message to some people and freezes it; nothing of it is delivered yet.
func (w *world) send(t interface{ Fatal(...any) }, planned [2]*set.Set, expires time.Duration) *mail {
	m := &mail{planned: planned, read: map[fanfare.Person]bool{}, seen: map[fanfare.Person]bool{}, archived: map[fanfare.Person]bool{}, unread: map[fanfare.Person]bool{}}
	m.Message = fanfare.Message{ID: fanfare.MessageID(fmt.Sprint("m", len(w.mails))), Channel: fanfare.ChannelInbox, Revision: 1, StartedAt: w.now, CreatedAt: w.now,
		State: fanfare.State{Phase: fanfare.PhasePreparing, Generation: 1}, Content: fanfare.Content{Title: "one"}}
	if expires > 0 {
		m.Content.ExpiresAt = w.now.Add(expires)
	}
	w.must(t, w.store.Update(w.ctx, func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m.Message) }))
	for s := range fanfare.Slot(2) {
		m.delivered[s] = set.New()
		w.must(t, w.store.Spread(w.ctx, s, m.Num, fanfare.SlotPreparing, 1))
		done, err := w.store.Freeze(w.ctx, s, m.Num, 1, fanfare.WholeRows, func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
			return map[fanfare.Part]*set.Set{fanfare.PartSend: planned[s]}, nil
		})
		if w.must(t, err); !done {
			t.Fatal("not frozen")
		}
		w.must(t, w.store.Spread(w.ctx, s, m.Num, fanfare.SlotSending, 1))
	}
	latches, err := w.store.Latches(w.ctx, m.Num)
	w.must(t, err)
	few := len(latches) == 2 && latches[0].Few && latches[1].Few
	w.save(t, m, func(m *fanfare.Message) { m.Phase, m.Few = fanfare.PhaseSending, few })
	w.mails = append(w.mails, m)
	return m
}

func (w *world) save(t interface{ Fatal(...any) }, m *mail, edit func(*fanfare.Message)) {
	from := m.Phase
	edit(&m.Message)
	w.must(t, w.store.Update(w.ctx, func(tx fanfare.ControlTx) error { return tx.SaveMessage(&m.Message, from, m.Generation) }))
}

// deliver delivers one batch of a message, if there is one.
func (w *world) deliver(t interface{ Fatal(...any) }, m *mail, s fanfare.Slot) {
	open, _, err := w.store.Backlog(w.ctx, m.Num, s, 0, 1)
	w.must(t, err)
	if len(open) == 0 {
		return
	}
	b := open[0]
	a := w.store.Append(w.ctx, 0, []fanfare.Entry{{Claim: &fanfare.Claim{BatchRef: b.BatchRef, Generation: 1, Owner: fanfare.Owner{Node: "n", Incarnation: 1}, Lease: fanfare.LeaseTime,
		Deliver: &fanfare.Inline{Revision: m.Revision, Few: m.Few}}}})[0]
	if a.Answer != fanfare.Applied {
		t.Fatal("not delivered", a)
	}
	m.delivered[s].Union(m.planned[s].Slice(int(b.First), int(b.First)+b.N))
}

// found is what the model says that somebody finds.
func (w *world) found(who fanfare.Person, f Filter) (all []*mail) {
	for _, m := range w.mails {
		if !m.delivered[who.Slot].Contains(who.Seq) || m.Recall == fanfare.RecallAll || !m.ExpiresAt().After(w.now) ||
			m.Recall == fanfare.RecallUnread && !m.read[who] && !m.unread[who] {
			continue
		}
		if f == Archived && !m.archived[who] || f != Archived && f != All && m.archived[who] || f == Unread && m.read[who] {
			continue
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *mail) int { return cmp.Or(b.StartedAt.Compare(a.StartedAt), cmp.Compare(b.Num, a.Num)) })
	return all
}

func (w *world) check(t *rapid.T, who fanfare.Person, limit int) {
	unseen := 0
	for _, m := range w.found(who, Active) {
		if !m.seen[who] {
			unseen++
		}
	}
	want := Counts{len(w.found(who, Unread)), unseen, len(w.found(who, Active))}
	got, err := w.reader.Count(w.ctx, who)
	if err != nil || got != want {
		t.Fatalf("%v has %+v, counted %+v (%v)", who, want, got, err)
	}
	for _, f := range []Filter{Active, Unread, All, Archived} {
		cursor, left := "", w.found(who, f)
		for {
			page, err := w.reader.Page(w.ctx, who, Query{Filter: f, Cursor: cursor, Limit: limit})
			if err != nil || page.Counts != want {
				t.Fatalf("%v: a page says %+v, want %+v (%v)", who, page.Counts, want, err)
			}
			for _, it := range page.Items {
				if len(left) == 0 || it.Message != left[0].ID {
					t.Fatalf("%v, filter %q: %s, want %v", who, f, it.Message, ids(left))
				}
				m := left[0]
				if !it.ReadAt.IsZero() != m.read[who] || !it.SeenAt.IsZero() != m.seen[who] || !it.ArchivedAt.IsZero() != m.archived[who] || it.SentAt.IsZero() {
					t.Fatalf("%v, %s: %+v, want read %v, seen %v, archived %v", who, m.ID, it, m.read[who], m.seen[who], m.archived[who])
				}
				if text := string(it.Content); text != fmt.Sprintf(`"title":%q,"body":"","url":""`, m.Content.Title) {
					t.Fatalf("%s says %s, want %s", m.ID, text, m.Content.Title)
				}
				left = left[1:]
			}
			if page.Next == "" {
				break
			}
			if len(page.Items) != limit {
				t.Fatalf("a page of %d in the middle", len(page.Items))
			}
			cursor = page.Next
		}
		if len(left) > 0 {
			t.Fatalf("%v, filter %q: %v are missing", who, f, ids(left))
		}
	}
}

func ids(all []*mail) (found []fanfare.MessageID) {
	for _, m := range all {
		found = append(found, m.ID)
	}
	return found
}

// mark does to the model what a mark does.
func (m *mail) mark(who fanfare.Person, k fanfare.ReceiptKind) {
	switch k {
	case fanfare.ReceiptClicked, fanfare.ReceiptRead:
		m.read[who], m.seen[who] = true, true
	case fanfare.ReceiptSeen:
		m.seen[who] = true
	case fanfare.ReceiptUnread:
		if m.read[who] {
			m.read[who], m.unread[who] = false, true
		}
	case fanfare.ReceiptArchived:
		m.archived[who] = true
	case fanfare.ReceiptUnarchived:
		m.archived[who] = false
	}
}

// TestModel: whatever is done in whatever order, everybody finds what a naive picture of it says.
func TestModel(t *testing.T) { rapid.Check(t, model(0)) }

// TestModelOfNodes: the same where each thing is done on one of three nodes of a store, each with caches of its own: each shows at once what any of them did,
// also when one of them was alone for a while.
func TestModelOfNodes(t *testing.T) { rapid.Check(t, model(3)) }

func model(nodes int) func(t *rapid.T) {
	return func(t *rapid.T) {
		w := newWorld(t, context.Background(), rapid.SampledFrom([]int{1, 1 << 20, 0}).Draw(t, "cache"))
		w.several(nodes)
		seqs := []fanfare.Seq{0, 1, 63, 64, 4000, 65_535, 65_536, 69_999}
		anybody := func() fanfare.Person {
			return fanfare.Person{Slot: fanfare.Slot(rapid.IntRange(0, 1).Draw(t, "slot")), Seq: rapid.SampledFrom(seqs).Draw(t, "seq")} //nolint:gosec // small
		}
		any := func() *mail {
			if len(w.mails) == 0 {
				t.Skip("no message yet")
			}
			return rapid.SampledFrom(w.mails).Draw(t, "message")
		}
		kinds := []fanfare.ReceiptKind{fanfare.ReceiptSeen, fanfare.ReceiptRead, fanfare.ReceiptRead, fanfare.ReceiptUnread, fanfare.ReceiptClicked, fanfare.ReceiptArchived, fanfare.ReceiptUnarchived}
		actions := map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				w.check(t, anybody(), rapid.IntRange(1, 4).Draw(t, "limit"))
			},
			"send": func(t *rapid.T) {
				var planned [2]*set.Set
				few := rapid.SampledFrom([]int{0, 1}).Draw(t, "to few") // or they would seldom be few in both slots
				for s := range planned {
					switch kind := rapid.IntRange(few, 3-few).Draw(t, "audience"); kind {
					case 0:
						planned[s] = set.Range(0, people)
					case 1:
						planned[s] = set.New()
					case 2:
						planned[s] = set.Of(rapid.SliceOfN(rapid.SampledFrom(seqs), 0, 5).Draw(t, "few")...)
					default: // every other, and some
						planned[s] = set.Of(rapid.SliceOfN(rapid.SampledFrom(seqs), 0, 5).Draw(t, "some")...)
						for seq := uint32(0); seq < people; seq += 3 {
							planned[s].Add(seq)
						}
					}
				}
				m := w.send(t, planned, rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour}).Draw(t, "expires"))
				for range rapid.IntRange(0, 4).Draw(t, "batches") {
					w.deliver(t, m, fanfare.Slot(rapid.IntRange(0, 1).Draw(t, "slot"))) //nolint:gosec // small
				}
			},
			"deliver": func(t *rapid.T) {
				if m := any(); m.Phase == fanfare.PhaseSending {
					w.deliver(t, m, fanfare.Slot(rapid.IntRange(0, 1).Draw(t, "slot"))) //nolint:gosec // small
				}
			},
			"complete": func(t *rapid.T) {
				if m := any(); m.Phase == fanfare.PhaseSending {
					for s := range fanfare.Slot(2) {
						w.deliver(t, m, s)
						w.deliver(t, m, s)
					}
					w.save(t, m, func(m *fanfare.Message) { m.Phase = fanfare.PhaseCompleted })
				}
			},
			"clock": func(t *rapid.T) {
				w.now = w.now.Add(rapid.SampledFrom([]time.Duration{time.Second, 40 * time.Second, 30 * time.Minute}).Draw(t, "time"))
			},
			"correct": func(t *rapid.T) {
				w.save(t, any(), func(m *fanfare.Message) { m.Revision++; m.Content.Title += "+" })
			},
			"recall": func(t *rapid.T) {
				r := rapid.SampledFrom([]fanfare.Recall{fanfare.RecallUnread, fanfare.RecallUnread, fanfare.RecallAll}).Draw(t, "scope")
				if m := any(); m.Recall != fanfare.RecallAll {
					w.save(t, m, func(m *fanfare.Message) { m.Recall = r })
				}
			},
			"mark": func(t *rapid.T) {
				who, m, kind := anybody(), any(), rapid.SampledFrom(kinds).Draw(t, "kind")
				err := w.reader.Mark(w.ctx, who, m.ID, kind)
				there := slices.Contains(w.found(who, All), m)
				if there != (err == nil) || err != nil && !errors.Is(err, fanfare.ErrNotFound) {
					t.Fatalf("%v marks %s, which is there: %v: %v", who, m.ID, there, err)
				}
				if there {
					m.mark(who, kind)
				}
			},
			"told": func(t *rapid.T) { // by somebody else
				who, m, kind := anybody(), any(), rapid.SampledFrom(kinds).Draw(t, "kind")
				if m.delivered[who.Slot].Contains(who.Seq) {
					_, err := w.store.LogReceipts(w.ctx, 0, []fanfare.Receipt{{Message: m.Num, Person: who, Kind: kind, Source: fanfare.SourceReported}})
					w.must(t, err)
					m.mark(who, kind)
				}
			},
			"see": func(t *rapid.T) {
				who := anybody()
				var asked []fanfare.MessageID
				for _, m := range w.mails {
					if rapid.Bool().Draw(t, "asked") {
						asked = append(asked, m.ID)
						if slices.Contains(w.found(who, All), m) {
							m.mark(who, fanfare.ReceiptSeen)
						}
					}
				}
				w.must(t, w.reader.Seen(w.ctx, who, append(asked, "nonsense")))
			},
			"read all": func(t *rapid.T) {
				who := anybody()
				all := w.found(who, All)
				upTo, begun := fanfare.MessageID(""), true
				if len(all) > 0 && rapid.Bool().Draw(t, "up to") {
					upTo, begun = rapid.SampledFrom(all).Draw(t, "message").ID, false
				}
				for _, m := range all {
					begun = begun || m.ID == upTo
					if begun && !m.archived[who] {
						m.mark(who, fanfare.ReceiptRead)
					}
				}
				w.must(t, w.reader.ReadAll(w.ctx, who, upTo))
			},
			"sweep": func(t *rapid.T) {
				for more := true; more; {
					var err error
					more, err = w.store.SweepInboxes(w.ctx)
					w.must(t, err)
				}
			},
			"bring back": func(t *rapid.T) { // what has expired, and may have been swept
				w.save(t, any(), func(m *fanfare.Message) { m.Revision++; m.Content.ExpiresAt = w.now.Add(time.Minute) })
			},
			"fold": func(t *rapid.T) {
				for more := true; more; {
					var err error
					more, err = w.store.Fold(w.ctx, 0)
					w.must(t, err)
				}
			},
		}
		for name, act := range actions {
			actions[name] = func(t *rapid.T) {
				w.turn(t)
				act(t)
			}
		}
		if nodes > 0 {
			actions["come and go"] = w.comeAndGo
		}
		t.Repeat(actions)
		if w.only >= 0 {
			w.comeAndGo(t)
		}
		for range max(1, nodes) {
			w.turn(t)
			for s := range fanfare.Slot(2) {
				for _, seq := range seqs {
					w.check(t, fanfare.Person{Slot: s, Seq: seq}, 3)
				}
			}
		}
	}
}

// TestTogether: many mark and look at once, while messages come; whoever marks sees it, and in the end all counts are those of the sets.
func TestTogether(t *testing.T) {
	w := newWorld(t, t.Context(), 3<<20)
	var both [2]*set.Set
	for s := range both {
		both[s] = set.Range(0, people)
	}
	for range 20 {
		m := w.send(t, both, 0)
		for s := range fanfare.Slot(2) {
			w.deliver(t, m, s)
			w.deliver(t, m, s)
		}
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 60 {
				who := fanfare.Person{Slot: fanfare.Slot(g % 2), Seq: fanfare.Seq((i*8 + g) * 140)} //nolint:gosec // small
				m := w.mails[(g+i)%20]
				before, err := w.reader.Count(w.ctx, who)
				if err == nil {
					err = w.reader.Mark(w.ctx, who, m.ID, fanfare.ReceiptRead)
				}
				after, err2 := w.reader.Count(w.ctx, who)
				if err := errors.Join(err, err2); err != nil || after.Unread != before.Unread-1 && i < 20 {
					t.Errorf("%v: %+v, then %+v (%v)", who, before, after, err)
				}
			}
		})
	}
	wg.Wait()
	if w.reader.bytes > 3<<20 && len(w.reader.chunks) > 1 {
		t.Errorf("%d bytes are kept", w.reader.bytes)
	}
	fresh := New(w.reader.Config)
	for s := range fanfare.Slot(2) {
		for seq := fanfare.Seq(0); seq < people; seq += 500 {
			who := fanfare.Person{Slot: s, Seq: seq}
			a, err := w.reader.Count(w.ctx, who)
			b, err2 := fresh.Count(w.ctx, who)
			if a != b || errors.Join(err, err2) != nil {
				t.Fatalf("%v: %+v, anew %+v (%v %v)", who, a, b, err, err2)
			}
		}
	}
}
