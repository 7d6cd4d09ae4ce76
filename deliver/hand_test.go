package deliver

import (
	"context"
	"errors"
	"testing"
	"time"

	"fanfare"
	"fanfare/set"
	"fanfare/stores/memory"
)

// hand plays the shell by hand: what asks the store is answered at once, connections as the test says, and time passes when the test
// lets it.
type hand struct {
	*testing.T
	core  *Core
	store *memory.Store
	now   time.Duration
	later []later

	dial    func(Dial) error          // nil: all succeed
	provide func(Send) []Said         // nil: sends are kept in sends
	broken  func(fanfare.Entry) error // of the journal: the answer is lost and nothing was done
	full    bool                      // what is broken is the disk: readings succeed
	deaf    error                     // of the control tables
	unread  error                     // of members
	slow    time.Duration             // they take so long

	events   []Event
	dials    []Dial
	sends    []Send
	closed   int
	refusals []Refuse
	loads    int
	loaded   map[ClaimID]bool // what is kept for claims
	peeks    int
	wanted   map[string]int // tasks that a lane waits for
}

type later struct {
	at time.Duration
	do func()
}

// paper is a task as the test hands it over.
type paper struct {
	task     fanfare.Task
	acked    bool
	returned bool
	delay    time.Duration
}

func (p *paper) Task() fanfare.Task { return p.task }

func (p *paper) Ack(context.Context) error {
	p.acked = true
	return nil
}

func (p *paper) Return(_ context.Context, d time.Duration) error {
	p.returned, p.delay = true, d
	return nil
}

var errNo = errors.New("no")

func smtp(name string) fanfare.Provider {
	return fanfare.Provider{Name: name, Channel: fanfare.ChannelEmail, URL: "smtp://" + name, Connections: 2, Chunk: 4,
		Retry: fanfare.Retry{Attempts: 3, First: 4 * time.Second, Most: time.Minute}}
}

func newHand(t *testing.T, people int, lanes ...fanfare.Provider) *hand {
	t.Helper()
	h := &hand{T: t, wanted: make(map[string]int), loaded: make(map[ClaimID]bool)}
	h.store = memory.Open(memory.Config{Slots: 1, Now: h.clock})
	h.ok(h.store.Number(t.Context(), 0, people))
	h.core = NewCore(CoreConfig{Owner: fanfare.Owner{Node: "hand", Incarnation: 1}})
	h.step(configured(lanes...))
	return h
}

func configured(lanes ...fanfare.Provider) Configured {
	var c Configured
	for _, p := range lanes {
		c.Lanes = append(c.Lanes, Setting{Name: p.Name, Provider: p})
	}
	return c
}

func (h *hand) clock() time.Time { return time.Unix(1_800_000_000, 0).Add(h.now) }

func (h *hand) ok(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// message starts a message to everybody, in batches of size.
func (h *hand) message(id fanfare.MessageID, provider string, size int, change func(*fanfare.Message)) fanfare.MessageNum {
	h.Helper()
	ctx := h.Context()
	m := fanfare.Message{ID: id, Channel: fanfare.ChannelEmail, Provider: provider, Revision: 1, Topic: "general", Priority: fanfare.PriorityNormal,
		Uncertain: fanfare.PolicyResend, State: fanfare.State{Phase: fanfare.PhaseDraft, Generation: 1}}
	if change != nil {
		change(&m)
	}
	h.ok(h.store.Update(ctx, func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) }))
	h.event(id, fanfare.EventStart)
	_, err := h.store.Freeze(ctx, 0, m.Num, 1, size, func(v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
		alive, err := v.LoadSet(fanfare.SetAlive)
		return map[fanfare.Part]*set.Set{fanfare.PartSend: alive}, err
	})
	h.ok(err)
	h.event(id, fanfare.EventFrozen)
	h.advance(time.Second) // a reading shows it
	return m.Num
}

func (h *hand) event(id fanfare.MessageID, e fanfare.Event) {
	h.Helper()
	m, _, err := fanfare.Transition(h.Context(), h.store, id, e, nil)
	h.ok(err)
	h.ok(fanfare.SpreadAll(h.Context(), h.store, 1, m))
}

// edit changes a message as the API does.
func (h *hand) edit(id fanfare.MessageID, change func(*fanfare.Message)) {
	h.Helper()
	h.ok(h.store.Update(h.Context(), func(tx fanfare.ControlTx) error {
		m, err := tx.Message(id)
		if err != nil {
			return err
		}
		change(&m)
		return tx.SaveMessage(&m, m.Phase, m.Generation)
	}))
}

// task hands a batch's task over.
func (h *hand) task(lane string, m fanfare.MessageNum, batch fanfare.BatchNo, g fanfare.Generation) *paper {
	p := &paper{task: fanfare.Task{BatchRef: fanfare.BatchRef{Message: m, Batch: batch}, Generation: g, Provider: lane}}
	delete(h.wanted, lane)
	h.step(Received{Lane: lane, Deliveries: []fanfare.Delivery{p}})
	return p
}

func (h *hand) row(m fanfare.MessageNum, batch fanfare.BatchNo) fanfare.Batch {
	h.Helper()
	rows, err := h.store.Peek(h.Context(), []fanfare.BatchRef{{Message: m, Batch: batch}})
	h.ok(err)
	return rows[0]
}

func (h *hand) exceptions(m fanfare.MessageNum) (all []fanfare.Exception) {
	h.Helper()
	for e, err := range h.store.Exceptions(h.Context(), m, 0, 0) {
		h.ok(err)
		all = append(all, e)
	}
	return all
}

// step steps the core, and goes on as long as it asks for what is answered at once.
func (h *hand) step(events ...Event) {
	h.Helper()
	for rounds := 0; ; rounds++ {
		if rounds > 10_000 {
			h.Fatal("the core comes to no rest")
		}
		effects := h.core.Step(Instant(h.now), events...)
		for _, e := range effects {
			h.carry(e)
		}
		if next := h.core.Next(); next <= Instant(h.now) {
			h.Fatalf("the core wants to be stepped at %v, it is %v", next, h.now)
		}
		if events, h.events = h.events, nil; len(events) == 0 {
			return
		}
	}
}

func (h *hand) post(e Event) { h.events = append(h.events, e) }

func (h *hand) carry(e Effect) {
	ctx := h.Context()
	switch e := e.(type) {
	case Look:
		looks, err := h.store.Look(ctx)
		if h.deaf != nil {
			err = h.deaf
		}
		h.post(Looked{Began: Instant(h.now), Looks: looks, Err: err})
	case Append:
		if h.broken != nil {
			if err := h.broken(e.Entry); err != nil {
				h.post(Journaled{ID: e.ID, Answer: fanfare.EntryAnswer{Err: err}})
				return
			}
		}
		h.post(Journaled{ID: e.ID, Answer: h.store.Append(ctx, 0, []fanfare.Entry{e.Entry})[0]})
	case Peek:
		h.after(e.Delay, func() {
			rows, err := h.store.Peek(ctx, []fanfare.BatchRef{e.Ref})
			h.peeks++
			if h.broken != nil && !h.full {
				err = errNo
			}
			h.post(Peeked{ID: e.ID, Row: rows[0], Err: err})
		})
	case Load:
		h.loads++
		h.after(e.Delay+h.slow, func() {
			h.loaded[e.Claim] = true
			members, err := h.store.Members(ctx, e.Row.Message, e.Row.Slot, e.Row.First, e.Row.N)
			if h.unread != nil {
				err = h.unread
			}
			h.post(Loaded{Claim: e.Claim, Members: members, Err: err})
		})
	case Reserve:
		p := Permitted{Name: e.Name, Err: h.deaf}
		if h.deaf == nil {
			p.Err = h.store.Update(ctx, func(tx fanfare.ControlTx) (err error) {
				p.At = tx.Now()
				p.Window, p.Granted, err = tx.ReservePermits(e.Name, e.Rate, e.Want)
				return err
			})
		}
		h.post(p)
	case Ack:
		h.ok(e.Delivery.Ack(ctx))
	case Return:
		h.ok(e.Delivery.Return(ctx, e.Delay))
	case Receive:
		h.wanted[e.Lane] = e.Most
	case Dial:
		h.dials = append(h.dials, e)
		var err error
		if h.dial != nil {
			err = h.dial(e)
		}
		h.post(Dialed{Conn: e.Conn, Err: err})
	case Send:
		if h.provide == nil {
			h.sends = append(h.sends, e)
			return
		}
		h.post(Sent{Conn: e.Conn, Answers: h.provide(e)})
	case Refuse:
		h.refusals = append(h.refusals, e)
	case Close:
		h.closed++
	case Forget:
		delete(h.loaded, e.Claim)
	case Freed:
	}
}

func (h *hand) after(d time.Duration, do func()) {
	if d == 0 {
		do()
		return
	}
	h.later = append(h.later, later{h.now + d, do})
}

// advance lets time pass, with a step whenever the core wants one.
func (h *hand) advance(d time.Duration) {
	h.Helper()
	for end := h.now + d; h.now < end; {
		at := min(end, time.Duration(min(h.core.Next(), Instant(end))))
		for _, l := range h.later {
			at = min(at, max(l.at, h.now+1))
		}
		h.now = at
		var rest []later
		for _, l := range h.later {
			if l.at <= h.now {
				l.do()
			} else {
				rest = append(rest, l)
			}
		}
		h.later = rest
		events := h.events
		h.events = nil
		h.step(events...)
	}
}

// all answers every item of a chunk in the same way.
func all(s Send, kind fanfare.SendKind) []Said {
	said := make([]Said, len(s.Chunk.Items))
	for i := range said {
		said[i].Kind = kind
	}
	return said
}

// take gives the sends that wait for an answer.
func (h *hand) take() []Send {
	s := h.sends
	h.sends = nil
	return s
}
