package deliver

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"fanfare"
	"fanfare/set"
	"fanfare/stores/memory"
)

// world is one seed of the simulator: a database, a queue that keeps no promise, providers, nodes with the very core, planners with the
// very planner, and operators, all on one virtual clock and in one goroutine. What happens is decided by the seed alone.
type world struct {
	bare  bool // members go as numbers: a claim may begin with all of a batch
	seed  uint64
	rules fanfare.Rules
	*rand.Rand

	ctx   context.Context
	now   time.Duration // since the world began
	order uint64
	heap  []happening

	odds     odds
	store    *memory.Store
	queue    *queue
	lanes    []*provider
	nodes    []*node
	actors   []*actor
	messages []*sending
	named    int // nodes and actors made so far
	slots    int
	size     int // of batches
	calm     bool
	deaf     time.Duration // the control tables cannot be reached until

	books
	trace  *strings.Builder // nil: none is kept
	broken *violation
	seen   map[string]int
}

// happening is something that comes at a time.
type happening struct {
	at    time.Duration
	order uint64
	do    func()
}

// odds are how often each fault happens in this seed. About half of them do not happen at all, so that each is also seen alone.
type odds struct {
	commitFails, commitLost, commitLate, commitTwice, commitSlow, refused float64
	reading, looking, publishing                                          float64
	lose, double, delay                                                   float64
	dialFails, connLost, busy, permanent, temporary, unknown              float64
	notBegun, hang, skip, stopped                                         float64
	yields                                                                float64 // of planners and operators, between two calls
	chaos                                                                 time.Duration
}

const (
	worldLimit = 5 * time.Minute // of virtual time: what is not done after so much calm never will be
	worldDays  = 20_000          // the database's clock begins so long after 1970
)

func newWorld(seed uint64, rules fanfare.Rules) *world {
	w := &world{seed: seed, rules: rules, Rand: rand.New(rand.NewPCG(seed, 0x66616e66617265)), ctx: context.Background(), seen: make(map[string]int)}
	w.books.open()
	w.slots = 1 + w.IntN(2)
	w.size = 3 + w.IntN(6)
	w.bare = w.flip(0.4)
	w.store = memory.Open(memory.Config{Slots: w.slots, Shards: 1 + w.IntN(w.slots), Now: w.clock, Rules: rules})
	w.roll()
	return w
}

func (w *world) roll() {
	some := func(most float64) float64 {
		if w.Float64() < 0.5 {
			return 0
		}
		return most * w.Float64()
	}
	w.odds = odds{
		commitFails: some(0.08), commitLost: some(0.1), commitLate: some(0.06), commitTwice: some(0.05), commitSlow: some(0.03), refused: some(0.006),
		reading: some(0.1), looking: some(0.1), publishing: some(0.2), lose: some(0.3), double: some(0.3), delay: some(0.3),
		dialFails: some(0.3), connLost: some(0.05), busy: some(0.03), permanent: some(0.2), temporary: some(0.3), unknown: some(0.1),
		notBegun: some(0.05), hang: some(0.04), skip: some(0.1), stopped: some(0.03), yields: some(0.8),
		chaos: time.Duration(5+w.IntN(60)) * time.Second,
	}
}

// clock is the database's.
func (w *world) clock() time.Time {
	return time.Unix(worldDays*24*60*60, 0).Add(w.now)
}

// happens rolls one of the odds. In the calm at the end nothing goes wrong any more.
func (w *world) happens(p float64) bool { return !w.calm && p > 0 && w.Float64() < p }

func (w *world) flip(p float64) bool { return w.Float64() < p }

// between gives a time of at least from and less than to.
func (w *world) between(from, to time.Duration) time.Duration {
	return from + time.Duration(w.Int64N(int64(to-from)))
}

// short is how long a thing takes that usually takes no time.
func (w *world) short() time.Duration {
	switch n := w.IntN(10); {
	case n < 5:
		return 0
	case n < 9:
		return w.between(0, 3*time.Millisecond)
	default:
		return w.between(0, 60*time.Millisecond)
	}
}

// at has something happen d from now.
func (w *world) at(d time.Duration, do func()) {
	w.order++
	h := append(w.heap, happening{w.now + d, w.order, do})
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].before(&h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
	w.heap = h
}

func (h *happening) before(o *happening) bool {
	return h.at < o.at || h.at == o.at && h.order < o.order
}

func (w *world) pop() happening {
	h := w.heap
	first, last := h[0], len(h)-1
	h[0], h[last] = h[last], happening{}
	h = h[:last]
	for i := 0; ; {
		low := i
		for _, down := range [2]int{2*i + 1, 2*i + 2} {
			if down < last && h[down].before(&h[low]) {
				low = down
			}
		}
		if low == i {
			break
		}
		h[i], h[low] = h[low], h[i]
		i = low
	}
	w.heap = h
	return first
}

// until lets things happen until done says so, and says false if it never does.
func (w *world) until(limit time.Duration, done func() bool) bool {
	for w.broken == nil && len(w.heap) > 0 {
		if done() {
			return true
		}
		if w.heap[0].at > limit {
			return false
		}
		h := w.pop()
		w.now = h.at
		h.do()
	}
	return w.broken == nil && done()
}

// note writes a line of the trace.
func (w *world) note(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%11.6f ", w.now.Seconds())
		w.trace.WriteString(strings.ReplaceAll(fmt.Sprintf(format, args...), "\x00", "␀"))
		w.trace.WriteByte('\n')
	}
}

// saw counts a thing that the simulator is proud to have tried.
func (w *world) saw(what string) { w.seen[what]++ }

// violation is a broken promise.
type violation struct {
	promise string
	what    string
}

func (v *violation) Error() string { return v.promise + ": " + v.what }

// violated ends the seed.
func (w *world) violated(promise, format string, args ...any) {
	if w.broken == nil {
		w.broken = &violation{promise, fmt.Sprintf(format, args...)}
		w.note("VIOLATED %v", w.broken)
	}
}

// run plays the seed: some time of chaos, then calm until all is done, then the books are compared.
func (w *world) run() *violation {
	defer w.close()
	w.populate()
	w.until(w.odds.chaos, w.over)
	w.soothe()
	if !w.until(w.now+worldLimit, w.settled) && w.broken == nil {
		w.violated("liveness", "after %v of calm: %s", worldLimit, w.unsettled())
	}
	w.retire()
	if !w.until(w.now+worldLimit, w.retired) && w.broken == nil {
		w.violated("liveness", "a node that was told to stop is not done: %s", w.unsettled())
	}
	if w.broken == nil {
		w.balance()
	}
	return w.broken
}

func (w *world) close() {
	for _, a := range w.actors {
		a.end()
	}
}

// populate makes people, providers, messages, nodes and planners, and sets off what disturbs them.
func (w *world) populate() {
	w.queue = &queue{world: w}
	for i := range 1 + w.IntN(2) {
		w.lanes = append(w.lanes, w.newProvider(fmt.Sprintf("lane%d", i)))
	}
	people := 10 + w.IntN(51)
	for s := range w.slots {
		w.must(w.store.Number(w.ctx, fanfare.Slot(s), people/w.slots))
	}
	for i := range 1 + w.IntN(2) {
		w.newMessage(i)
	}
	for range 1 + w.IntN(3) {
		w.newNode()
	}
	for range 2 {
		w.newPlanner()
	}
	w.at(w.between(0, time.Second), w.disturb)
}

func (w *world) must(err error) {
	if err != nil {
		panic(fmt.Sprintf("seed %d: %v", w.seed, err))
	}
}

// sending is a message and what the simulator knows of it beside the database.
type sending struct {
	id        fanfare.MessageID
	num       fanfare.MessageNum
	lane      *provider
	topic     string
	essential bool
	policy    fanfare.Policy
	state     fanfare.State
	was       map[fanfare.Generation]time.Duration // until when it was sending in a generation
	rate      float64                              // the highest it had
	rated     bool                                 // it has a rate since before it was started
	begun     []time.Duration                      // when sends of it were begun

	decided bool // somebody decides about it when it is paused
	scoped  int  // how often it was resumed by scope once it was completed
	wishes  int  // what somebody will still do about it
	settles bool // some of its items were settled
}

func (w *world) newMessage(i int) {
	s := &sending{id: fanfare.MessageID(fmt.Sprintf("m%d", i)), lane: w.lanes[w.IntN(len(w.lanes))],
		topic: [2]string{"news", "offers"}[w.IntN(2)], essential: w.flip(0.1), policy: fanfare.PolicyResend, was: make(map[fanfare.Generation]time.Duration)}
	m := fanfare.Message{ID: s.id, Channel: fanfare.ChannelEmail, Provider: s.lane.Name, Audience: json.RawMessage(`{"all":true}`),
		Revision: 1, Topic: s.topic, Essential: s.essential, Priority: [3]fanfare.Priority{fanfare.PriorityHigh, fanfare.PriorityNormal, fanfare.PriorityLow}[w.IntN(3)],
		StartGrace: time.Hour, Dedupe: fanfare.DedupeRecipient}
	m.Phase, m.Generation = fanfare.PhaseDraft, 1
	start := fanfare.EventStart
	if w.flip(0.3) {
		s.policy = fanfare.PolicyHold
	}
	m.Uncertain = s.policy
	if w.flip(0.2) {
		m.Rate, s.rated = 0.5+10*w.Float64(), true
		s.rate = m.Rate
	}
	if w.flip(0.15) {
		m.NotAfter = w.clock().Add(w.between(2*time.Second, w.odds.chaos+30*time.Second))
	}
	if w.flip(0.3) {
		m.SendAt, start = w.clock().Add(w.between(0, 8*time.Second)), fanfare.EventSchedule
	}
	w.must(w.store.Update(w.ctx, func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) }))
	s.num, s.state = m.Num, m.State
	w.messages = append(w.messages, s)
	w.at(w.between(0, 4*time.Second), func() { w.operate(s, start) })
}

func (w *world) message(n fanfare.MessageNum) *sending {
	for _, s := range w.messages {
		if s.num == n {
			return s
		}
	}
	panic("no such message")
}

// optOut unsubscribes somebody from one message's topic, or from the whole channel, or erases them.
func (w *world) optOut() {
	p := w.somebody()
	one := set.New()
	one.Add(p.Seq)
	name, add, remove := fanfare.SetAlive, (*set.Set)(nil), one
	how := outing{}
	if w.flip(0.7) {
		reason := [4]fanfare.Reason{fanfare.ReasonUnsubscribed, fanfare.ReasonBounced, fanfare.ReasonComplained, fanfare.ReasonSuppressed}[w.IntN(4)]
		how.chosen = reason == fanfare.ReasonUnsubscribed
		if (how.chosen || reason == fanfare.ReasonSuppressed) && w.flip(0.5) {
			how.topic = "news"
		}
		name, add, remove = fanfare.SuppressionSet(fanfare.ChannelEmail, how.topic, reason), one, nil
		w.saw("opt-out")
	} else {
		w.saw("erasure")
	}
	_, _, err := w.store.ChangeSet(w.ctx, p.Slot, name, add, remove)
	w.must(err)
	w.out[p] = append(w.out[p], how)
	w.note("%v is out: %s", p, name)
}

// somebody is anybody, but rather one who is next.
func (w *world) somebody() fanfare.Person {
	if w.flip(0.7) {
		for _, n := range w.nodes {
			if p, ok := n.next(); ok {
				return p
			}
		}
	}
	p := fanfare.Person{Slot: fanfare.Slot(w.IntN(w.slots))}
	alive, err := w.store.LoadSet(w.ctx, p.Slot, fanfare.SetAlive)
	w.must(err)
	if alive.Len() > 0 {
		p.Seq, _ = alive.Select(w.IntN(alive.Len()))
	}
	return p
}
