package deliver

import (
	"slices"
	"sync/atomic"
	"time"

	"fanfare"
)

const (
	lookAgain  = 50 * time.Millisecond // after a reading that failed
	errorWait  = 250 * time.Millisecond
	capWait    = time.Second      // of a task whose message has claims enough
	idleTime   = 10 * time.Second // a connection without work is closed
	rateReach  = 2 * time.Second  // a message with a rate holds claims for so long, and one more
	rateSilent = 2 * time.Second  // without a permit for so long it waits for its rate
	batchSize  = 500
	mostClaims = 1024
)

// CoreConfig makes a core.
type CoreConfig struct {
	Owner   fanfare.Owner
	ShardOf func(fanfare.Slot) int // nil: there is one shard
	Rules   fanfare.Rules          // for tests that break one
}

// Core decides what a node does. It is used by one goroutine; what it hands to others are [Pass]es.
type Core struct {
	CoreConfig

	now      Instant
	out      []Effect
	sights   sights
	looking  bool
	lookAt   Instant // the next reading is due
	lookNow  bool
	messages []*message
	lanes    []*lane
	claims   []*claim // in the order of claiming
	byRef    map[fanfare.BatchRef]*claim
	byID     map[ClaimID]*claim
	conns    map[ConnID]*conn
	writes   map[EntryID]*write
	ids      uint64
	steps    uint64
	stopping bool
	freed    bool
	journal  trouble // the last write failed
	unread   trouble // the last reading failed
}

// trouble is what keeps things from moving.
type trouble struct {
	since Instant
	why   string // empty: nothing does
}

func (t *trouble) note(now Instant, err error) {
	if t.why == "" {
		t.since = now
	}
	t.why = err.Error()
}

// message is what the core knows of a message that is sending, or that it holds claims of.
type message struct {
	look    fanfare.Look
	seen    bool // in the last reading
	claims  int
	served  float64 // chunks by share, virtual time
	permits permits
	answers ring
	backoff Instant                   // of batches given up for later: the earliest; Never: none
	moved   Instant                   // when the last chunk of it was made
	unread  trouble                   // its content, by the last chunk of it that came back
	silence []fanfare.SuppressionPart // who gets nothing of it
	rests   Instant                   // until then no chunk is made, for that
}

// lane is a provider as this node uses it.
type lane struct {
	Setting
	gone      bool // no longer configured
	moves     int  // how often that changed which connections depend on
	moving    bool // there may be connections from before the last time
	queued    bool // a claim has members that can be sent now, as of this step
	receiving bool
	asked     int // claims asked for
	held      int // claims held
	conns     []*conn
	owing     []*conn // closed, with answers that are not durable yet
	dialing   int
	unsure    []pendingTask // of messages that the last reading did not show
	permits   permits
	breaker   breaker
	clock     float64
	idleSince Instant       // no connection is idle since before
	spare     [][]ChunkItem // of chunks whose results are durable
}

type pendingTask struct {
	delivery fanfare.Delivery
	at       Instant
}

// conn is a connection, from dialing on.
type conn struct {
	id    ConnID
	lane  *lane
	moves int // of the lane, when it was dialled
	open  bool
	chunk *Chunk  // journaled or being journaled, or sent
	owes  *claim  // its last answers were for this claim and are not durable yet
	since Instant // idle since
}

// moved says whether the lane has other settings than the connection was dialled with: it serves no other chunk.
func (cn *conn) moved() bool { return cn.moves != cn.lane.moves }

// NewCore makes a core. It does nothing before it is stepped.
func NewCore(c CoreConfig) *Core {
	return &Core{CoreConfig: c, byRef: make(map[fanfare.BatchRef]*claim), byID: make(map[ClaimID]*claim),
		conns: make(map[ConnID]*conn), writes: make(map[EntryID]*write)}
}

// Step takes what happened, in order, and says what is to be done now. The effects are the caller's until the next step.
func (c *Core) Step(now Instant, events ...Event) []Effect {
	c.now = now
	c.steps++
	clear(c.out)
	c.out = c.out[:0]
	for _, e := range events {
		switch e := e.(type) {
		case Sent:
			c.sent(e)
		case Journaled:
			c.journaled(e)
		case Loaded:
			c.loaded(e)
		case Received:
			c.received(e)
		case Looked:
			c.looked(e)
		case Permitted:
			c.permitted(e)
		case Dialed:
			c.dialed(e)
		case Peeked:
			c.peeked(e)
		case Configured:
			c.configured(e)
		case Nudged:
			c.lookNow = true
		case Stopping:
			c.stop()
		}
	}
	c.decide()
	return c.out
}

func (c *Core) do(e Effect) { c.out = append(c.out, e) }

func (c *Core) id() uint64 {
	c.ids++
	return c.ids
}

// decide does what the state asks for: it looks only at the state, so it may be called at any time.
func (c *Core) decide() {
	if !c.stopping {
		c.retryTasks()
	}
	if !c.looking && (c.lookNow || c.now >= c.lookAt) {
		c.looking, c.lookNow = true, false
		c.do(Look{})
	}
	for _, l := range c.lanes {
		l.queued = false
	}
	for _, cl := range c.claims {
		c.ripen(cl)
		cl.lane.queued = cl.lane.queued || len(cl.queue) > 0
	}
	for _, l := range c.lanes {
		c.closeIdle(l)
		if !c.stopping {
			c.assign(l)
			c.pay(l)
			c.receive(l)
		}
	}
	for _, cl := range c.claims {
		c.write(cl)
	}
	c.sweep()
	if c.freed {
		c.freed = false
		c.do(Freed{})
	}
}

// Done says that everything that was under way when the core was told to stop has ended and is recorded.
func (c *Core) Done() bool {
	if !c.stopping || len(c.claims) > 0 || len(c.writes) > 0 {
		return false
	}
	for _, l := range c.lanes {
		if l.receiving {
			return false
		}
	}
	return true
}

// Next tells when the core wants to be stepped though nothing happened: later than the last step, which did what was due then. What it
// could not do waits for an event.
func (c *Core) Next() Instant {
	next := Never
	soon := func(i Instant) {
		if i > c.now {
			next = min(next, i)
		}
	}
	if !c.looking {
		soon(c.lookAt)
	}
	for _, l := range c.lanes {
		if l.breaker.open && l.breaker.probe == nil {
			soon(l.breaker.at)
		}
		soon(l.permits.next())
		if len(l.conns) > 0 {
			soon(l.idleSince.After(idleTime))
		}
	}
	for _, m := range c.messages {
		soon(m.permits.next())
		if m.claims > 0 {
			soon(m.rests)
		}
	}
	for _, cl := range c.claims {
		if cl.held && !cl.dropped && cl.record == nil {
			soon(cl.wrote.After(fanfare.RenewEvery))
		}
		if len(cl.later) > 0 {
			soon(cl.later[0].due)
		}
	}
	return next
}

func (c *Core) stop() {
	c.stopping = true
	c.sights.stopping.Store(true)
	for _, l := range c.lanes {
		for _, t := range l.unsure {
			c.back(t.delivery, 0)
		}
		l.unsure = nil
	}
}

// configured takes the lanes as they are from now on.
func (c *Core) configured(e Configured) {
	for _, l := range c.lanes {
		l.gone = true
	}
	for _, s := range e.Lanes {
		l := c.lane(s.Name)
		if l == nil {
			l = &lane{idleSince: c.now}
			c.lanes = append(c.lanes, l)
		}
		if s.reach() != l.reach() {
			l.moves++
			l.moving = true
			l.breaker = breaker{}
		}
		l.Setting, l.gone = s, false
		l.permits.set("provider:"+s.Name, s.Provider.Rate)
	}
}

func (c *Core) lane(name string) *lane {
	for _, l := range c.lanes {
		if l.Name == name {
			return l
		}
	}
	return nil
}

func (c *Core) message(n fanfare.MessageNum) *message {
	i, ok := c.place(n)
	if !ok {
		return nil
	}
	return c.messages[i]
}

// place is where a message stands among those that are known, or would stand.
func (c *Core) place(n fanfare.MessageNum) (int, bool) {
	return slices.BinarySearchFunc(c.messages, n, func(m *message, n fanfare.MessageNum) int { return int(m.look.Num - n) })
}

// looked takes a reading of the messages' rows.
func (c *Core) looked(e Looked) {
	c.looking = false
	if e.Err != nil {
		c.lookAt = c.now.After(lookAgain)
		c.unread.note(c.now, e.Err)
		return
	}
	c.lookAt, c.unread = max(c.now, e.Began.After(fanfare.LookEvery)), trouble{}
	s := &sight{began: e.Began, states: make(map[fanfare.MessageNum]fanfare.State, len(e.Looks))}
	for _, m := range c.messages {
		m.seen = false
	}
	for _, l := range e.Looks {
		s.states[l.Num] = l.State
		i, known := c.place(l.Num)
		if !known {
			c.messages = slices.Insert(c.messages, i, &message{backoff: Never, moved: c.now})
		}
		m := c.messages[i]
		if m.silence == nil || m.look.Channel != l.Channel || m.look.Topic != l.Topic || m.look.Essential != l.Essential {
			m.silence = fanfare.Suppressions(l.Channel, l.Topic, l.Essential)
		}
		if m.look.State.Generation != l.State.Generation {
			m.answers, m.backoff, m.moved = ring{}, Never, c.now // counted anew after each resume
		}
		m.look, m.seen = l, true
		m.permits.set("message:"+string(l.ID), l.Rate)
	}
	c.sights.last.Store(s)
	c.messages = slices.DeleteFunc(c.messages, func(m *message) bool { return !m.seen && m.claims == 0 })
}

// sending says whether the last reading shows the message sending in the generation.
func (m *message) sending(g fanfare.Generation) bool {
	return m.seen && m.look.State.Phase == fanfare.PhaseSending && m.look.State.Generation == g
}

// most is how many claims the lane holds at most: twice what its connections have in flight, so that the next are claimed and loaded
// while these are sent. A claim that takes its batch as one chunk has nothing to load, so it is asked for when a connection is free for it.
func (l *lane) most() int {
	switch {
	case l.Inline:
		return inlineClaims
	case l.whole():
		return min(mostClaims, l.Provider.Connections)
	}
	return min(mostClaims, 2*((l.Provider.Connections*l.Provider.Chunk+batchSize-1)/batchSize)+4)
}

// free is how many claims the lane can take.
func (l *lane) free() int {
	if l.gone || l.breaker.open && l.held+l.asked > 0 {
		return 0
	}
	return max(0, l.most()-l.held-l.asked-len(l.unsure))
}

// whole says whether a claim takes its batch as one chunk.
func (l *lane) whole() bool {
	return l.Bare && l.permits.rate == 0 && l.Provider.Chunk >= batchSize
}

func (c *Core) receive(l *lane) {
	if n := l.free(); n > 0 && !l.receiving {
		l.receiving = true
		c.do(Receive{Lane: l.Name, Most: n})
	}
}

func (c *Core) received(e Received) {
	l := c.lane(e.Lane)
	l.receiving = false
	for _, d := range e.Deliveries {
		if c.stopping {
			c.back(d, 0)
			continue
		}
		if c.Rules.AckBeforeClaim {
			c.do(Ack{Delivery: d})
		}
		c.task(l, pendingTask{d, c.now})
	}
}

// retryTasks looks once more at tasks whose message was not seen.
func (c *Core) retryTasks() {
	for _, l := range c.lanes {
		tasks := l.unsure
		l.unsure = nil
		for _, t := range tasks {
			c.task(l, t)
		}
	}
}

// task claims what a task names, or drops it: the planner publishes again what has to be.
func (c *Core) task(l *lane, t pendingTask) {
	task := t.delivery.Task()
	m := c.message(task.Message)
	s := c.sights.last.Load()
	looked := s != nil && s.began > t.at // by a reading that began after it came
	cl := c.byRef[task.BatchRef]
	switch {
	case cl != nil && (cl.generation < task.Generation || c.leaving(cl)): // it may be of what comes after the claim
		c.back(t.delivery, errorWait)
		return
	case cl != nil:
		c.ack(t.delivery)
		return
	case m != nil && m.sending(task.Generation):
	case m != nil && m.seen && m.look.State.Generation > task.Generation, looked:
		c.ack(t.delivery)
		return
	default:
		c.lookNow = true
		l.unsure = append(l.unsure, t)
		return
	}
	if wait := c.paced(l, m); wait > 0 {
		c.back(t.delivery, wait)
		return
	}
	if m.enough(l) && !l.Inline {
		c.back(t.delivery, capWait)
		return
	}
	cl = &claim{id: ClaimID(c.id()), ref: task.BatchRef, lane: l, message: m, generation: task.Generation, lease: new(atomic.Int64), delivery: t.delivery}
	c.byRef[cl.ref], c.byID[cl.id] = cl, cl
	c.claims = append(c.claims, cl)
	l.asked++
	m.claims++
	c.append(&write{claim: cl, entry: fanfare.Entry{Claim: &fanfare.Claim{BatchRef: task.BatchRef, Generation: task.Generation,
		Owner: c.Owner, Lease: fanfare.LeaseTime, Policy: m.look.Uncertain, First: c.first(cl), Deliver: c.inline(cl)}}})
}

func (c *Core) ack(d fanfare.Delivery) {
	if !c.Rules.AckBeforeClaim {
		c.do(Ack{Delivery: d})
	}
}

func (c *Core) back(d fanfare.Delivery, delay time.Duration) {
	if !c.Rules.AckBeforeClaim {
		c.do(Return{Delivery: d, Delay: delay})
	}
}

// enough says whether a message holds as many claims of the lane as a rate, its own or the lane's, lets it use soon: more would only keep
// others from being claimed.
func (m *message) enough(l *lane) bool {
	rate := m.look.Rate
	if lane := l.permits.rate; lane > 0 && (rate <= 0 || lane < rate) {
		rate = lane
	}
	return rate > 0 && m.claims >= 1+int(rate*rateReach.Seconds()+batchSize-1)/batchSize
}

// closeIdle closes connections that nothing needs.
func (c *Core) closeIdle(l *lane) {
	if !c.stopping && !l.gone && !l.moving && len(l.conns) <= l.Provider.Connections && c.now.Since(l.idleSince) < idleTime {
		return
	}
	l.moving = false
	oldest := c.now
	for i := 0; i < len(l.conns); i++ {
		cn := l.conns[i]
		if !cn.open || cn.chunk != nil {
			l.moving = l.moving || cn.moved()
			continue
		}
		if c.stopping || l.gone || cn.moved() || c.now.Since(cn.since) >= idleTime || len(l.conns) > l.Provider.Connections {
			c.drop(cn, true)
			i--
			continue
		}
		oldest = min(oldest, cn.since)
	}
	l.idleSince = oldest
}

// drop forgets a connection.
func (c *Core) drop(cn *conn, say bool) {
	l := cn.lane
	l.conns = slices.DeleteFunc(l.conns, func(o *conn) bool { return o == cn })
	delete(c.conns, cn.id)
	if cn.owes != nil {
		l.owing = append(l.owing, cn)
	}
	if l.breaker.probe == cn {
		l.breaker.probe = nil
	}
	if say {
		c.do(Close{Conn: cn.id})
	}
}

// sweep forgets claims that have ended.
func (c *Core) sweep() {
	over := false
	for _, cl := range c.claims {
		over = over || cl.ended()
	}
	if !over {
		return
	}
	c.freed = true
	c.claims = slices.DeleteFunc(c.claims, func(cl *claim) bool {
		if !cl.ended() {
			return false
		}
		delete(c.byRef, cl.ref)
		delete(c.byID, cl.id)
		cl.message.claims--
		if cl.held {
			cl.lane.held--
		} else {
			cl.lane.asked--
		}
		if cl.asked {
			c.do(Forget{Claim: cl.id})
		}
		return true
	})
}
