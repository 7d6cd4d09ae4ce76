package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"fanfare"
)

const (
	reportEvery    = time.Second
	configureEvery = 2 * time.Second
	afterGrace     = 5 * time.Second // for what the end of the grace interrupted to be recorded
	tellGrace      = time.Second
	appenders      = 4 // calls of Append a shard that may overlap
)

// Store is what a node asks of a store.
type Store interface {
	fanfare.Control
	fanfare.Freezer
	fanfare.Journal
	Slots() int
	Profiles(ctx context.Context, s fanfare.Slot, seqs []fanfare.Seq) ([]fanfare.Recipient, error)
}

// Lane is a provider, or a channel that needs none, and how it is reached.
type Lane struct {
	Name     string // of its tasks: the provider's name, or the channel's where it needs none
	Provider fanfare.Provider
	Channel  fanfare.Channel
}

// Config makes a node.
type Config struct {
	Store Store
	Queue fanfare.Queue
	Owner fanfare.Owner
	Roles []string
	Key   []byte // the installation's, for item keys
	// Lanes tells what there is to send by. It is asked at the start, at Reload, and every two seconds.
	Lanes func(ctx context.Context) ([]Lane, error)
	// Unsubscribe makes the one-click link of an item; empty: without. Nil: always without.
	Unsubscribe func(m *fanfare.Message, r *fanfare.Recipient) string
	Nudge       func() // claims became free; nil: nobody asks
	// Tell keeps what the node says of itself every second, and once more at its end; nil: as a row of its own.
	Tell   func(ctx context.Context, row fanfare.Node) error
	Logger *slog.Logger
	Grace  time.Duration // 0: fanfare.GraceTime
	Now    func() Instant
}

// Node is one worker: the core's shell. All methods but Run may be called from anywhere.
type Node struct {
	Config
	reload chan struct{}
	wake   chan struct{}

	coreMu sync.Mutex // guards core
	core   *Core

	mu      sync.Mutex // guards what follows
	inbox   []Event
	lanes   map[string]*laneShell
	conns   map[ConnID]*lines // where the core's connections have their places
	batches map[ClaimID]*batch
	tasks   map[string]fanfare.Subscription // by lane; each used by one Receive at a time
	shards  []shardQueue

	writing []Append // of the step that is carried out

	wg    sync.WaitGroup
	calls context.Context //nolint:containedctx // of everything that is not a send
	sends context.Context //nolint:containedctx // of sends and dials
	waits context.Context //nolint:containedctx // of receives
}

// laneShell is a lane with what the shell keeps of it.
type laneShell struct {
	Lane
	features  fanfare.ChannelFeatures
	content   contents
	handovers sync.Pool // *handover
	lines     *lines    // what goes over one is made by the settings that it was dialled for
}

// per is how many places of the core a connection has.
func (l *laneShell) per() int {
	if l.features.Streams && l.Provider.Chunk >= streamed {
		return streamed
	}
	return 1
}

// setting is the lane as the core sees it.
func (l *laneShell) setting() Setting {
	s := Setting{Name: l.Name, Provider: l.Provider, Bare: !l.features.NeedsProfile, Inline: l.features.Inline}
	s.Provider.Connections *= l.per()
	s.Provider.Chunk /= l.per()
	return s
}

// batch is what was loaded for a claim: recipients by rank, nil where nobody needs them.
type batch struct{ people []*fanfare.Recipient }

// shardQueue is what waits to be appended to one shard.
type shardQueue struct {
	waiting []Append
	running int
}

// New makes a node.
func New(c Config) *Node {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Grace == 0 {
		c.Grace = fanfare.GraceTime
	}
	if c.Now == nil {
		c.Now = newBootClock().now
	}
	if c.Nudge == nil {
		c.Nudge = func() {}
	}
	if c.Tell == nil {
		c.Tell = func(ctx context.Context, row fanfare.Node) error {
			return c.Store.Update(ctx, func(tx fanfare.ControlTx) error { return tx.PutNode(row) })
		}
	}
	n := &Node{Config: c, core: NewCore(CoreConfig{Owner: c.Owner, ShardOf: c.Store.ShardOf}), reload: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		lanes: make(map[string]*laneShell), conns: make(map[ConnID]*lines), batches: make(map[ClaimID]*batch), tasks: make(map[string]fanfare.Subscription),
		shards: make([]shardQueue, c.Store.Shards())}
	return n
}

// Run works until ctx ends. Then nothing new is begun; what is under way may end within the grace and is recorded, and claims are
// given up.
func (n *Node) Run(ctx context.Context) error {
	calls, cutCalls := context.WithCancel(context.WithoutCancel(ctx))
	sends, cutSends := context.WithCancel(calls)
	defer cutSends()
	n.calls, n.sends, n.waits = calls, sends, ctx
	n.wg.Go(func() { n.configure(ctx) })
	told := make(chan struct{})
	n.wg.Go(func() {
		defer close(told)
		n.tell(ctx)
	})
	err := n.loop(ctx, cutSends)
	cutSends()
	n.closeAll()
	select { // the last row says that nothing is free here
	case <-told:
	case <-time.After(tellGrace):
	}
	cutCalls()
	n.wg.Wait()
	n.closeAll() // what was subscribed to meanwhile
	return err
}

// loop steps the core.
func (n *Node) loop(ctx context.Context, cutSends func()) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	ended := ctx.Done()
	var grace, end <-chan time.Time
	var events []Event
	for {
		events = n.take(events)
		n.coreMu.Lock()
		effects := n.core.Step(n.Now(), events...)
		next, done := n.core.Next(), n.core.Done()
		n.coreMu.Unlock()
		for _, e := range effects {
			n.carry(e)
		}
		n.flush()
		if done {
			return nil
		}
		wait := time.Hour
		if next != Never {
			wait = min(wait, next.Since(n.Now()))
		}
		timer.Reset(max(0, wait))
		select {
		case <-n.wake:
		case <-timer.C:
		case <-ended:
			ended = nil
			n.post(Stopping{})
			grace, end = time.After(n.Grace), time.After(n.Grace+afterGrace)
		case <-grace:
			cutSends()
		case <-end:
			return fmt.Errorf("stopped though not everything under way was recorded; it is listed as doubted at the next start")
		}
	}
}

// take gives the events that came since the last step.
func (n *Node) take(used []Event) []Event {
	clear(used)
	n.mu.Lock()
	defer n.mu.Unlock()
	events := n.inbox
	n.inbox = used[:0]
	return events
}

func (n *Node) post(events ...Event) {
	n.mu.Lock()
	n.inbox = append(n.inbox, events...)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// LookNow has the node read the messages' rows at once: one was started, paused or resumed.
func (n *Node) LookNow() { n.post(Nudged{}) }

// Reload has the node ask for its lanes at once.
func (n *Node) Reload() {
	select {
	case n.reload <- struct{}{}:
	default:
	}
}

// Report tells how the node is.
func (n *Node) Report() Report {
	n.coreMu.Lock()
	defer n.coreMu.Unlock()
	return n.core.Report()
}

// Free tells how many claims are free, by lane.
func (n *Node) Free() map[string]int { return n.Report().Free }

// carry carries one effect out, or begins to.
func (n *Node) carry(e Effect) {
	switch e := e.(type) {
	case Append:
		n.writing = append(n.writing, e)
	case Send:
		n.place(e.Conn).push(job{e.Conn, e.Chunk})
	case Load:
		n.wg.Go(func() { n.load(e) })
	case Forget:
		n.mu.Lock()
		delete(n.batches, e.Claim)
		n.mu.Unlock()
	case Ack:
		n.settle(e.Delivery.Ack(n.calls))
	case Return:
		n.settle(e.Delivery.Return(n.calls, e.Delay))
	case Receive:
		n.wg.Go(func() { n.receive(e) })
	case Look:
		n.wg.Go(func() {
			began := n.Now()
			looks, err := n.Store.Look(n.calls)
			n.post(Looked{Began: began, Looks: looks, Err: err})
		})
	case Peek:
		n.wg.Go(func() { n.peek(e) })
	case Dial:
		n.mu.Lock()
		l := n.lanes[e.Lane].lines
		n.conns[e.Conn] = l
		n.mu.Unlock()
		l.join(e.Conn)
	case Close:
		n.place(e.Conn).leave()
		n.gone(e.Conn)
	case Reserve:
		n.wg.Go(func() { n.reserve(e) })
	case Refuse:
		n.wg.Go(func() { n.refuse(e) })
	case Freed:
		n.Nudge()
	}
}

// settle notes an acknowledgement that failed: the task comes again and is dropped then.
func (n *Node) settle(err error) {
	if err != nil && !errors.Is(err, fanfare.ErrClosed) && n.calls.Err() == nil {
		n.Logger.Debug("a task was not acknowledged", "error", err)
	}
}

// flush hands the step's journal writes to their shards.
func (n *Node) flush() {
	if len(n.writing) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.writing {
		q := &n.shards[n.Store.ShardOf(a.Entry.Ref().Slot)]
		q.waiting = append(q.waiting, a)
	}
	clear(n.writing)
	n.writing = n.writing[:0]
	for shard := range n.shards {
		if q := &n.shards[shard]; len(q.waiting) > 0 && q.running < appenders {
			q.running++
			n.wg.Go(func() { n.append(shard) })
		}
	}
}

// append writes what waits for a shard until nothing does: what queues while one call runs shares the next.
func (n *Node) append(shard int) {
	var entries []fanfare.Entry
	var events []Event
	for {
		n.mu.Lock()
		q := &n.shards[shard]
		waiting := q.waiting
		if len(waiting) == 0 {
			q.running--
			n.mu.Unlock()
			return
		}
		q.waiting = nil
		n.mu.Unlock()
		entries, events = entries[:0], events[:0]
		for _, a := range waiting {
			entries = append(entries, a.Entry)
		}
		for i, answer := range n.Store.Append(n.calls, shard, entries) {
			if answer.Answer == fanfare.Failed {
				n.Logger.Error("the database refused a record; its batch is held", "batch", waiting[i].Entry.Ref().String(), "error", answer.Err)
			}
			events = append(events, Journaled{ID: waiting[i].ID, Answer: answer})
		}
		n.post(events...)
	}
}

func (n *Node) peek(e Peek) {
	pause(n.calls, e.Delay)
	rows, err := n.Store.Peek(n.calls, []fanfare.BatchRef{e.Ref})
	p := Peeked{ID: e.ID, Err: err}
	if err == nil {
		p.Row = rows[0]
	}
	n.post(p)
}

// load reads who is in a batch, and what is known of those who are still to be sent to.
func (n *Node) load(e Load) {
	pause(n.calls, e.Delay)
	row := &e.Row
	members, err := n.Store.Members(n.calls, row.Message, row.Slot, row.First, row.N)
	if err == nil && len(members) == row.N && n.lane(e.Lane).features.NeedsProfile {
		err = n.profiles(e, members)
	}
	n.post(Loaded{Claim: e.Claim, Members: members, Err: err})
}

func (n *Node) profiles(e Load, members []fanfare.Seq) error {
	ranks, seqs := make([]int, 0, len(members)), make([]fanfare.Seq, 0, len(members))
	for rank := range e.Row.Pending.All() {
		ranks, seqs = append(ranks, rank), append(seqs, members[rank])
	}
	people, err := n.Store.Profiles(n.calls, e.Row.Slot, seqs)
	if err != nil {
		return err
	}
	b := &batch{people: make([]*fanfare.Recipient, len(members))}
	for i := range people {
		if people[i].ExternalID != "" {
			b.people[ranks[i]] = &people[i]
		}
	}
	n.mu.Lock()
	n.batches[e.Claim] = b
	n.mu.Unlock()
	return nil
}

func (n *Node) receive(e Receive) {
	r := Received{Lane: e.Lane}
	tasks, err := n.subscription(e.Lane)
	if err == nil {
		r.Deliveries, err = tasks.Receive(n.waits, e.Most)
	}
	r.Err = err
	if r.Err != nil && n.waits.Err() == nil {
		n.Logger.Warn("tasks cannot be received; trying again", "lane", e.Lane, "error", r.Err)
		pause(n.waits, errorWait)
	}
	n.post(r)
}

func (n *Node) subscription(lane string) (fanfare.Subscription, error) {
	n.mu.Lock()
	s := n.tasks[lane]
	n.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := n.Queue.Subscribe(n.calls, lane)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tasks[lane] = s
	return s, nil
}

// place gives the lines that a connection of the core has its place on.
func (n *Node) place(id ConnID) *lines {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conns[id]
}

func (n *Node) gone(id ConnID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, id)
}

func (n *Node) reserve(e Reserve) {
	p := Permitted{Name: e.Name}
	p.Err = n.Store.Update(n.calls, func(tx fanfare.ControlTx) (err error) {
		p.At = tx.Now()
		p.Window, p.Granted, err = tx.ReservePermits(e.Name, e.Rate, e.Want)
		return err
	})
	n.post(p)
}

// refuse pauses a message that most people's servers refuse.
func (n *Node) refuse(e Refuse) {
	var m fanfare.Message
	moved := false
	err := n.Store.Update(n.calls, func(tx fanfare.ControlTx) error {
		moved = false
		now, err := tx.Message(e.ID)
		if err != nil || now.Generation != e.Generation || now.Phase != fanfare.PhaseSending {
			return err
		}
		moved = true
		if m, _, err = fanfare.TransitionIn(tx, now, fanfare.EventRefused, nil); err != nil {
			return err
		}
		return tx.AddAudit(fanfare.Audited("node "+n.Owner.Node, now.State, &m, fanfare.EventRefused))
	})
	if err == nil && moved {
		n.Logger.Warn("more than half of 1,000 consecutive answers are permanent refusals: paused", "message", e.ID)
		n.LookNow()
		err = fanfare.SpreadAll(n.calls, n.Store, n.Store.Slots(), m)
	}
	if err != nil {
		n.Logger.Error("a message that is refused too often could not be paused", "message", e.ID, "error", err)
	}
	n.Nudge()
}

func (n *Node) lane(name string) *laneShell {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lanes[name]
}

// configure keeps the lanes as they are configured.
func (n *Node) configure(ctx context.Context) {
	var was []Lane
	for {
		lanes, err := n.Lanes(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			n.Logger.Warn("providers cannot be read; trying again", "error", err)
		case err == nil && (was == nil || !slices.EqualFunc(lanes, was, same)):
			n.setLanes(lanes)
			was = lanes
		}
		select {
		case <-ctx.Done():
			return
		case <-n.reload:
			was = nil
		case <-time.After(configureEvery):
		}
	}
}

func same(a, b Lane) bool {
	return a.Name == b.Name && fmt.Sprint(a.Provider) == fmt.Sprint(b.Provider)
}

func (n *Node) setLanes(lanes []Lane) {
	settings := make([]Setting, len(lanes))
	n.mu.Lock()
	for i, l := range lanes {
		shell := &laneShell{Lane: l, features: l.Channel.Features()}
		shell.handovers.New = func() any { return &handover{keyer: fanfare.NewKeyer(n.Key)} }
		p := &shell.Provider
		if p.Connections <= 0 {
			p.Connections = shell.features.Connections
		}
		if p.Chunk <= 0 {
			p.Chunk = shell.features.Chunk
		}
		if p.Retry.Attempts <= 0 {
			p.Retry = fanfare.DefaultRetry()
		}
		settings[i] = shell.setting()
		shell.lines = newLines(n, shell)
		if was := n.lanes[l.Name]; was != nil && was.Channel == l.Channel && was.per() == shell.per() && was.setting().reach() == settings[i].reach() {
			shell.lines = was.lines // as the core keeps its connections
		}
		n.lanes[l.Name] = shell
	}
	n.mu.Unlock()
	n.post(Configured{Lanes: settings})
}

// tell says every second how the node is.
func (n *Node) tell(ctx context.Context) {
	for {
		r := n.Report()
		now, at := time.Now().UTC(), n.Now()
		row := fanfare.Node{Name: n.Owner.Node, Incarnation: n.Owner.Incarnation, Roles: n.Roles, Free: r.Free, Claims: r.Claims,
			Waiting: make(map[fanfare.MessageNum]fanfare.WaitingFor, len(r.Waiting))}
		for num, w := range r.Waiting {
			f := fanfare.WaitingFor{Reason: w.Reason, Provider: w.Provider, Detail: fanfare.CleanText(w.Detail), Since: now.Add(w.Since.Since(at))}
			if w.Next != Never {
				f.NextTryAt = now.Add(max(0, w.Next.Since(at)))
			}
			row.Waiting[num] = f
		}
		if ctx.Err() != nil {
			row.Free, row.Claims, row.Waiting = nil, nil, nil
		}
		err := n.Tell(n.calls, row)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			n.Logger.Debug("the node's row was not written", "error", err)
		}
		pause(ctx, reportEvery)
	}
}

// closeAll closes every connection and subscription.
func (n *Node) closeAll() {
	n.mu.Lock()
	conns, tasks := n.conns, n.tasks
	n.conns, n.tasks = make(map[ConnID]*lines), make(map[string]fanfare.Subscription)
	n.mu.Unlock()
	for _, l := range conns {
		l.close()
	}
	for _, s := range tasks {
		_ = s.Close()
	}
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
