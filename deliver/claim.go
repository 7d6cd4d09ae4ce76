package deliver

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"fanfare"
)

// claim is a batch that this node holds, from the moment it asks for it.
type claim struct {
	id         ClaimID
	ref        fanfare.BatchRef
	lane       *lane
	message    *message
	generation fanfare.Generation
	delivery   fanfare.Delivery // until the claim is answered
	lease      *atomic.Int64    // Instant until which we count it ours

	held       bool                      // the claim is durable
	asked      bool                      // its members were asked for
	dropped    bool                      // never claimed, lost, or given up: it ends when nothing of it flies
	halted     bool                      // its generation is over, though no reading showed it yet
	last       bool                      // the record under way gives it up
	hold       string                    // why the batch must be looked at by a person
	row        fanfare.Batch             // as journaled
	members    []fanfare.Seq             // nil until loaded
	exceptions map[int]fanfare.Exception // by rank, as far as known, those not journaled yet included
	tried      map[int]int               // by rank, what was tried by this claim
	zero       time.Time                 // the database's time at
	zeroAt     Instant                   // this instant, or a little earlier: nobody is tried again too soon
	first      *conn                     // whose chunk is in flight with the claim, if it is taken whole
	queue      []int                     // ranks that can be sent now
	later      []retry                   // and later, the earliest first
	results    []result                  // not in a record yet
	owed       []*conn                   // whose last answers they are
	chunks     []*conn                   // with a chunk whose intent is not in a record yet
	flying     int                       // chunks in a record or at a connection
	record     *write                    // under way
	wrote      Instant                   // when the last one was
}

type retry struct {
	rank int
	due  Instant
}

// result is an answer on its way to the journal.
type result struct {
	all      []ChunkItem // who was sent to, of a chunk that was taken whole; nil: the answer of one member:
	rank     int
	said     Said
	revision fanfare.Revision
	policy   fanfare.Policy
	last     bool // a temporary refusal that is the last one
	attempts int  // of the exception, if it makes one
}

// write is a journal write under way.
type write struct {
	id        EntryID
	claim     *claim
	entry     fanfare.Entry
	submitted Instant
	step      uint64
	unknown   bool    // an answer to it was lost already
	results   int     // of claim.results, from the first
	owed      []*conn // whose last answers they are
	chunks    []*conn
}

func (c *Core) append(w *write) {
	w.id, w.submitted, w.step = EntryID(c.id()), c.now, c.steps
	c.writes[w.id] = w
	c.do(Append{ID: w.id, Entry: w.entry})
}

func (cl *claim) ended() bool {
	return cl.dropped && cl.flying == 0 && cl.record == nil && cl.delivery == nil
}

// leaving says whether the claim is over, as far as is known, though the node still has to do with it.
func (c *Core) leaving(cl *claim) bool {
	return cl.dropped || cl.last || cl.held && c.now >= Instant(cl.lease.Load())
}

// stopped says whether nothing of it may be begun any more.
func (c *Core) stopped(cl *claim) bool {
	return c.stopping || cl.halted || cl.last || cl.hold != "" || cl.lane.gone || !cl.message.sending(cl.generation)
}

// instant gives when it is t by the database's clock.
func (cl *claim) instant(t time.Time) Instant { return cl.zeroAt.After(t.Sub(cl.zero)) }

// moment gives the database's time at i.
func (cl *claim) moment(i Instant) time.Time { return cl.zero.Add(i.Since(cl.zeroAt)) }

// claimed takes the answer to a claim.
func (c *Core) claimed(w *write, a fanfare.EntryAnswer) {
	cl := w.claim
	switch a.Answer {
	case fanfare.Applied:
		c.ack(cl.delivery)
		cl.delivery = nil
		if w.entry.Claim.Deliver != nil {
			c.delivered(cl, a.Row.N)
			return
		}
		c.hold(cl, w, a)
	case fanfare.Unknown:
		c.unknown(w, a.Err)
		return
	default: // stale, busy, over, or held because the database refused it: the planner knows
		c.ack(cl.delivery)
		cl.delivery, cl.dropped = nil, true
		c.release(cl)
	}
}

// hold begins with a batch that was claimed.
func (c *Core) hold(cl *claim, w *write, a fanfare.EntryAnswer) {
	cl.held, cl.row, cl.wrote = true, a.Row, w.submitted
	cl.lane.asked--
	cl.lane.held++
	cl.lease.Store(int64(w.submitted.After(fanfare.HolderTime)))
	cl.zero, cl.zeroAt = a.Row.LeaseUntil.Add(-fanfare.LeaseTime), c.now
	cl.exceptions, cl.tried = make(map[int]fanfare.Exception, len(a.Exceptions)), make(map[int]int)
	for _, e := range a.Exceptions {
		cl.exceptions[e.Rank] = e
	}
	if !cl.row.InFlight.Empty() {
		c.begin(cl, a.Members)
		return
	}
	c.release(cl)
	if cl.row.Pending.Empty() || c.stopped(cl) {
		return // given up by write
	}
	cl.asked = true
	c.do(Load{Claim: cl.id, Lane: cl.lane.Name, Row: cl.row})
}

// first has the claim begin with all of a batch as its only chunk, where a connection is free for it, no rate is to be kept and nothing
// need be known of its members: a write less for each batch.
func (c *Core) first(cl *claim) *fanfare.FirstChunk {
	l, m := cl.lane, cl.message
	if !l.Bare || l.breaker.open || c.now < m.rests || l.permits.rate > 0 || m.permits.rate > 0 || c.Rules.ResultsBeforeSend || c.Rules.ProgressAtFetch {
		return nil
	}
	i := slices.IndexFunc(l.conns, func(cn *conn) bool {
		return cn.open && cn.chunk == nil && !cn.moved() && (cn.owes == nil || c.together(cn.owes, cl))
	})
	if i < 0 {
		return nil
	}
	cl.first = l.conns[i]
	cl.first.chunk = &Chunk{claim: cl}
	return &fanfare.FirstChunk{Most: l.Provider.Chunk, Suppressions: m.silence}
}

// release gives back the connection of a claim that did not begin.
func (c *Core) release(cl *claim) {
	if cl.first != nil {
		c.idle(cl.first)
		cl.first = nil
	}
}

// begin hands a batch that was put in flight by its claim to the connection that waits for it.
func (c *Core) begin(cl *claim, members []fanfare.Seq) {
	cn := cl.first
	cl.first, cl.members = nil, members
	ch := c.newChunk(cl, cl.row.InFlight.Len())
	for rank, seq := range members {
		if cl.row.InFlight.Has(rank) {
			ch.Items = append(ch.Items, ChunkItem{Member: fanfare.Member{Rank: rank, Seq: seq}, Attempt: 1})
		}
	}
	cn.chunk = ch
	cl.flying++
	c.served(cl, len(ch.Items))
	c.do(Send{Conn: cn.id, Chunk: ch})
}

func (c *Core) loaded(e Loaded) {
	cl := c.byID[e.Claim]
	if cl == nil {
		c.do(Forget{Claim: e.Claim}) // it was kept after the claim was forgotten
		return
	}
	if cl.dropped || cl.hold != "" {
		return
	}
	switch {
	case errors.Is(e.Err, fanfare.ErrDamaged):
		cl.hold = e.Err.Error()
		return
	case e.Err != nil:
		c.troubled(e.Err)
		c.do(Load{Claim: cl.id, Lane: cl.lane.Name, Row: cl.row, Delay: errorWait})
		return
	case len(e.Members) != cl.row.N:
		cl.hold = "its audience does not hold as many members as it was planned for; run fanfare doctor"
		return
	}
	cl.members = e.Members
	if c.Rules.ProgressAtFetch {
		for rank := range cl.row.Pending.All() {
			cl.results = append(cl.results, result{rank: rank, said: Said{SendAnswer: fanfare.SendAnswer{Kind: fanfare.SendOK}}, revision: cl.message.look.Revision})
		}
	}
	cl.queue = make([]int, 0, cl.row.Pending.Len())
	for rank := range cl.row.Pending.All() {
		if x, ok := cl.exceptions[rank]; ok && x.Result == fanfare.ResultPending && x.Reason == fanfare.ReasonTemporary {
			if due := cl.instant(x.At.Add(cl.delay(rank, x.Attempts-x.Before))); due > c.now {
				cl.wait(rank, due)
				continue
			}
		}
		cl.queue = append(cl.queue, rank)
	}
}

// delay is the wait after the member's attempts-th temporary refusal in its schedule: the same whoever reckons it.
func (cl *claim) delay(rank, attempts int) time.Duration {
	seed := uint64(cl.ref.Message)<<48 ^ uint64(cl.ref.Slot)<<32 ^ uint64(cl.members[rank]) //nolint:gosec // a seed
	return cl.lane.Provider.Retry.Delay(attempts, seed)
}

func (cl *claim) wait(rank int, due Instant) {
	i, _ := slices.BinarySearchFunc(cl.later, due, func(r retry, due Instant) int {
		if r.due <= due {
			return -1
		}
		return 1
	})
	cl.later = slices.Insert(cl.later, i, retry{rank, due})
}

// ripen moves members whose time has come to the queue.
func (c *Core) ripen(cl *claim) {
	for len(cl.later) > 0 && cl.later[0].due <= c.now {
		cl.queue = append(cl.queue, cl.later[0].rank)
		cl.later = cl.later[1:]
	}
}

// lose ends a claim that is not ours any more. What of it is at a connection is stopped by its lease, and its answers come to nothing.
func (c *Core) lose(cl *claim) {
	cl.dropped = true
	cl.lease.Store(0)
	c.unassign(cl)
	settle(cl.owed)
	cl.owed, cl.results, cl.queue, cl.later = nil, nil, nil, nil
}

// unassign takes back chunks whose intent was not journaled.
func (c *Core) unassign(cl *claim) {
	for _, cn := range cl.chunks {
		c.idle(cn)
	}
	cl.chunks = nil
}

// settle notes that the last answers of connections are durable, or never will be.
func settle(owed []*conn) {
	for _, cn := range owed {
		cn.owes = nil
		cn.lane.owing = slices.DeleteFunc(cn.lane.owing, func(o *conn) bool { return o == cn })
	}
}

// idle makes a connection free for the next chunk.
func (c *Core) idle(cn *conn) {
	cn.chunk, cn.since = nil, c.now
	if b := &cn.lane.breaker; b.probe == cn {
		b.again(c.now)
	}
}

// unknown looks up whether a write is done whose answer was lost: the first time at once, then after a while. On a full disk readings
// succeed and commits fail at once, again and again. A claim is not tried again but comes back: any trouble before it counts.
func (c *Core) unknown(w *write, err error) {
	delay := time.Duration(0)
	if w.unknown || w.entry.Claim != nil && c.journal.why != "" && c.journal.since < c.now {
		delay = errorWait
	}
	w.unknown = true
	c.troubled(err)
	c.writes[w.id] = w
	c.do(Peek{ID: w.id, Ref: w.claim.ref, Delay: delay})
}

// troubled notes that the store failed.
func (c *Core) troubled(err error) {
	if err != nil {
		c.journal.note(c.now, err)
	}
}
