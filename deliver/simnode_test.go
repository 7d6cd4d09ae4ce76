package deliver

import (
	"errors"
	"fmt"
	"time"

	"fanfare"
)

// node is one incarnation of a node: the core, and a shell that carries its effects out on the virtual clock. What a node does itself
// stands still while it is stalled and never happens once it is dead; what has left it goes on.
type node struct {
	*world
	core      *Core
	began     time.Duration
	zero      Instant // its clock at the world's beginning
	drift     float64
	dead      bool
	ending    bool // told to stop
	awake     time.Duration
	inbox     []Event
	stepped   bool          // a step is on its way
	wakes     time.Duration // the earliest wake-up on its way; below now: none
	pending   map[int][]Append
	shards    []int // with pending entries, in order
	commits   int
	slow      int                       // of them
	trouble   map[fanfare.BatchRef]bool // commits of it were lost, failed or slow
	upset     string                    // why its leases may be lost
	incidents int                       // commits in doubt, stalls, records that were refused
	held      []*delivery
	places    map[string]string // where lanes led to at the last step
	links     map[ConnID]link
	loaded    map[ClaimID]bool // what is kept for claims
}

// link is a connection as the simulator sees it.
type link struct {
	place string // where it leads to
	chunk *Chunk
}

var errStore = errors.New("the database does not answer")

func (w *world) newNode() {
	w.named++
	w.startNode(fanfare.Owner{Node: fmt.Sprintf("node%d", w.named), Incarnation: 1})
}

// startNode starts an incarnation: it ends the claims of the former ones before anything else.
func (w *world) startNode(o fanfare.Owner) {
	looks, err := w.store.Look(w.ctx)
	w.must(err)
	for _, l := range looks {
		w.must(w.store.VoidClaims(w.ctx, l.Num, o))
	}
	n := &node{world: w, core: NewCore(CoreConfig{Owner: o, ShardOf: w.store.ShardOf, Rules: w.rules}), began: w.now, zero: Instant(w.between(0, time.Hour)),
		places: make(map[string]string), links: make(map[ConnID]link), loaded: make(map[ClaimID]bool),
		drift: 1 + 0.01*(2*w.Float64()-1), pending: make(map[int][]Append), trouble: make(map[fanfare.BatchRef]bool), wakes: -1}
	w.nodes = append(w.nodes, n)
	w.note("%v starts", o)
	n.event(Configured{Lanes: n.settings()})
	n.self(0, n.report)
}

func (n *node) owner() fanfare.Owner { return n.core.Owner }

func (w *world) settings() []Setting {
	lanes := make([]Setting, 0, len(w.lanes))
	for _, l := range w.lanes {
		if !l.gone {
			lanes = append(lanes, Setting{Name: l.Name, Provider: l.Provider, Bare: w.bare, Inline: l.inline})
		}
	}
	return lanes
}

// instant is what the node's clock shows.
func (n *node) instant() Instant { return n.zero.After(time.Duration(float64(n.now) * n.drift)) }

// wait is how long it takes until the node's clock shows i.
func (n *node) wait(i Instant) time.Duration {
	return max(0, time.Duration(float64(i.Since(n.instant()))/n.drift)+time.Microsecond)
}

// self has the node do something d from now.
func (n *node) self(d time.Duration, do func()) {
	n.at(d, func() {
		switch {
		case n.dead:
		case n.now < n.awake:
			n.self(n.awake-n.now, do)
		default:
			do()
		}
	})
}

func (n *node) event(e Event) {
	n.inbox = append(n.inbox, e)
	if !n.stepped {
		n.stepped = true
		n.self(n.short(), n.step)
	}
}

// step steps the core with what has come, or with a part of it, and has its effects carried out one by one: the node may die between
// any two.
func (n *node) step() {
	n.stepped = false
	events := n.inbox
	if len(events) > 1 && n.flip(0.3) {
		events = events[:1+n.IntN(len(events)-1)]
	}
	rest := append([]Event(nil), n.inbox[len(events):]...)
	if n.trace != nil {
		for _, e := range events {
			n.note("%v < %s", n.owner(), told(e))
		}
	}
	effects := n.core.Step(n.instant(), events...)
	n.inbox = rest
	var writes []Append
	for _, e := range effects {
		if n.trace != nil {
			n.note("%v > %s", n.owner(), told(e))
		}
		switch e := e.(type) {
		case Append:
			writes = append(writes, e)
			continue
		case Forget:
			delete(n.loaded, e.Claim)
		case Ack:
			d := e.Delivery.(*delivery)
			d.why = n.mayAck(n, d)
		}
		n.self(n.short(), func() { n.carry(e) })
	}
	if len(writes) > 0 {
		n.self(n.short(), func() { n.append(writes) })
	}
	n.judgeCore(n, effects)
	if len(rest) > 0 {
		n.stepped = true
		n.self(n.short(), n.step)
	}
	n.rest()
}

// rest wakes the core when it wants to be.
func (n *node) rest() {
	next := n.core.Next()
	if next == Never {
		return
	}
	at := n.now + max(n.wait(next), 100*time.Microsecond)
	if n.wakes > n.now && n.wakes <= at {
		return
	}
	n.wakes = at
	n.self(at-n.now, func() {
		if n.wakes <= n.now {
			n.wakes = -1
		}
		switch {
		case n.stepped:
		case n.core.Next() <= n.instant():
			n.step()
		default:
			n.rest()
		}
	})
}

func (n *node) carry(e Effect) {
	switch e := e.(type) {
	case Look:
		n.look()
	case Receive:
		n.receive(e)
	case Ack:
		d := e.Delivery.(*delivery)
		n.judgeAck(n, d)
		d.end()
	case Return:
		d := e.Delivery.(*delivery)
		d.end()
		n.saw("task returned")
		n.returned[claimed{n, d.task.BatchRef}] = n.order
		n.queue.offer(d.task, e.Delay)
	case Peek:
		n.self(e.Delay+n.short(), func() { n.peek(e) })
	case Load:
		n.self(e.Delay+n.short(), func() { n.load(e) })
	case Dial:
		n.dial(e)
	case Send:
		n.sending(e)
	case Reserve:
		n.self(n.short(), func() { n.reserve(e) })
	case Freed:
		n.nudge()
	case Forget, Close:
	case Refuse:
		n.violated("refused", "%d answers are far from a thousand", len(n.ledger))
	}
}

func (n *node) look() {
	began := n.instant()
	n.self(n.short(), func() {
		if n.now < n.deaf || n.happens(n.odds.looking) {
			n.saw("look failed")
			n.self(n.between(0, 2*time.Second), func() { n.event(Looked{Began: began, Err: errStore}) })
			return
		}
		looks, err := n.store.Look(n.ctx)
		late := n.short()
		if !n.calm && n.flip(0.05) {
			late = n.between(0, 2*time.Second)
		}
		n.self(late, func() { n.event(Looked{Began: began, Looks: looks, Err: err}) })
	})
}

func (n *node) receive(e Receive) {
	if n.ending {
		n.event(Received{Lane: e.Lane})
		return
	}
	n.queue.wait(waiter{n, e.Lane, e.Most})
}

func (n *node) peek(e Peek) {
	if n.happens(3 * n.odds.reading) {
		n.saw("peek failed")
		n.event(Peeked{ID: e.ID, Err: errStore})
		return
	}
	rows, err := n.store.Peek(n.ctx, []fanfare.BatchRef{e.Ref})
	n.saw("peek")
	if rows[0].Owner == n.owner() { // a claim whose answer was lost, and that is durable
		n.claims[claimed{n, e.Ref}] = n.order
	}
	n.self(n.short(), func() { n.event(Peeked{ID: e.ID, Row: rows[0], Err: err}) })
}

func (n *node) load(e Load) {
	if n.happens(n.odds.reading) {
		n.saw("load failed")
		n.event(Loaded{Claim: e.Claim, Err: errStore})
		return
	}
	n.loaded[e.Claim] = true
	members, err := n.store.Members(n.ctx, e.Row.Message, e.Row.Slot, e.Row.First, e.Row.N)
	n.event(Loaded{Claim: e.Claim, Members: members, Err: err})
}

func (n *node) reserve(e Reserve) {
	answer := Permitted{Name: e.Name}
	if n.now < n.deaf || n.happens(n.odds.reading) {
		n.saw("reserve failed")
		answer.Err = errStore
	} else {
		answer.Err = n.store.Update(n.ctx, func(tx fanfare.ControlTx) (err error) {
			answer.Window, answer.Granted, err = tx.ReservePermits(e.Name, e.Rate, e.Want)
			answer.At = tx.Now()
			return err
		})
		n.saw("reserve")
	}
	n.self(n.short(), func() { n.event(answer) })
}

// report says every second how many claims are free.
func (n *node) report() {
	if r := n.core.Report(); n.now >= n.deaf {
		for _, m := range n.messages {
			if w, ok := r.Waiting[m.num]; ok {
				n.saw("waiting " + string(w.Reason))
			}
		}
		n.must(n.store.Update(n.ctx, func(tx fanfare.ControlTx) error {
			return tx.PutNode(fanfare.Node{Name: n.owner().Node, Incarnation: n.owner().Incarnation, Free: r.Free, Claims: r.Claims})
		}))
	}
	n.self(time.Second, n.report)
}

// append queues the entries of a step. What queued while the last commit ran is the next one; two may run at once.
func (n *node) append(writes []Append) {
	for _, e := range writes {
		shard := n.store.ShardOf(e.Entry.Ref().Slot)
		if len(n.pending[shard]) == 0 {
			n.shards = append(n.shards, shard)
		}
		n.pending[shard] = append(n.pending[shard], e)
	}
	n.commit()
}

func (n *node) commit() {
	if n.commits >= 2 || len(n.shards) == 0 {
		return
	}
	shard := n.shards[0]
	group := n.pending[shard]
	n.shards, n.pending[shard] = n.shards[1:], nil
	n.commits++
	answer := func(d time.Duration, answers []fanfare.EntryAnswer) {
		n.self(d, func() {
			n.commits--
			for i, a := range answers {
				n.event(Journaled{ID: group[i].ID, Answer: a})
			}
			n.commit()
		})
	}
	land := func(d time.Duration, then func([]fanfare.EntryAnswer)) {
		dies := n.flip(0.5)
		n.at(d, func() {
			if n.dead && dies {
				return
			}
			answers := make([]fanfare.EntryAnswer, len(group))
			for i, e := range group {
				answers[i] = n.land(n, shard, e.Entry)
			}
			n.judgeFlying(n)
			then(answers)
		})
	}
	unknown := make([]fanfare.EntryAnswer, len(group))
	for i := range unknown {
		unknown[i].Err = errStore
	}
	nothing := func([]fanfare.EntryAnswer) {}
	o := &n.odds
	switch {
	case n.happens(o.commitFails):
		n.doubtful(group, "commit failed")
		answer(n.short(), unknown)
	case n.happens(o.commitLost):
		n.doubtful(group, "commit lost")
		land(n.short(), func([]fanfare.EntryAnswer) { answer(n.short(), unknown) })
	case n.happens(o.commitLate):
		n.doubtful(group, "commit late")
		land(n.between(0, 5*time.Second), nothing)
		answer(n.short(), unknown)
	case n.happens(o.commitTwice): // whoever carried it out did not hear of it and tried once more
		n.doubtful(group, "commit twice")
		land(n.short(), func([]fanfare.EntryAnswer) {
			land(n.short(), func(a []fanfare.EntryAnswer) { answer(n.short(), a) })
		})
	case n.happens(o.commitSlow):
		n.doubtful(group, "commit slow")
		if n.slow++; n.slow == 2 {
			n.upset = "all its commits hang"
		}
		land(n.between(0, 40*time.Second), func(a []fanfare.EntryAnswer) {
			n.slow--
			answer(n.short(), a)
		})
	default:
		land(n.short(), func(a []fanfare.EntryAnswer) { answer(n.short(), a) })
	}
}

func (n *node) doubtful(group []Append, why string) {
	n.saw(why)
	n.note("%v: %s, %d entries", n.owner(), why, len(group))
	for _, e := range group {
		ref := e.Entry.Ref()
		n.trouble[ref] = true
		if m := n.message(ref.Message); n.happens(n.odds.double) { // the queue doubles a task when it suits least
			n.saw("task doubled")
			n.queue.offer(fanfare.Task{BatchRef: ref, Generation: m.state.Generation, Provider: m.lane.Name}, n.between(0, 10*time.Second))
		}
	}
	n.incidents++
}

// next is somebody whose intent is about to be journaled.
func (n *node) next() (fanfare.Person, bool) {
	for _, shard := range n.shards {
		for _, e := range n.pending[shard] {
			if r := e.Entry.Record; r != nil && r.Intent != nil {
				return fanfare.Person{Slot: r.Slot, Seq: r.Intent.Members[0].Seq}, true
			}
			if c := e.Entry.Claim; c != nil && c.Deliver != nil {
				if seq, ok := n.anyOf(c.BatchRef); ok {
					return fanfare.Person{Slot: c.Slot, Seq: seq}, true
				}
			}
		}
	}
	for _, cl := range n.core.claims {
		if len(cl.queue) > 0 {
			return fanfare.Person{Slot: cl.ref.Slot, Seq: cl.members[cl.queue[0]]}, true
		}
	}
	return fanfare.Person{}, false
}

// die ends the node between any two of its effects. What it had received comes again, or not.
func (n *node) die(why string) {
	n.note("%v %s", n.owner(), why)
	n.dead, n.upset = true, why
	n.queue.leave(n)
	for _, d := range n.held {
		if !d.ended && n.flip(0.7) {
			n.queue.offer(d.task, n.short())
		}
	}
	n.held = nil
	for i, o := range n.nodes {
		if o == n {
			n.nodes = append(n.nodes[:i:i], n.nodes[i+1:]...)
			break
		}
	}
}

// stall stops the process for a while (SIGSTOP, or a machine that sleeps).
func (n *node) stall(d time.Duration) {
	n.note("%v stands still for %v", n.owner(), d)
	n.awake = max(n.awake, n.now+d)
	n.incidents++
	if d > 10*time.Second {
		n.upset = "stalled"
		n.saw("stall past the lease")
	} else {
		n.saw("stall")
	}
}
