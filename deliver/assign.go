package deliver

import (
	"fanfare"
)

// assign makes chunks for the lane's idle connections, and opens more where there is work for them.
func (c *Core) assign(l *lane) {
	if l.gone || !l.queued {
		return
	}
	for {
		cn := c.ready(l)
		if cn == nil && len(l.conns)+len(l.owing) >= l.Provider.Connections {
			return
		}
		if cn == nil && l.breaker.blocks(c.now, nil) {
			return
		}
		m, cl, n := c.pick(l)
		if cl == nil {
			return
		}
		if cn == nil {
			c.dial(l, m)
			return
		}
		c.chunk(l, m, cl, cn, n)
	}
}

// ready gives an idle connection that may be used.
func (c *Core) ready(l *lane) *conn {
	for _, cn := range l.conns {
		if cn.open && cn.chunk == nil && !l.breaker.blocks(c.now, cn) {
			return cn
		}
	}
	return nil
}

// dial opens as many connections as there are chunks waiting for one; an open breaker lets one try, a rate opens one after the other.
func (c *Core) dial(l *lane, m *message) {
	want := 0
	for _, cl := range c.claims {
		if cl.lane == l && !c.stopped(cl) && !cl.dropped {
			want += (len(cl.queue) + l.Provider.Chunk - 1) / l.Provider.Chunk
		}
	}
	want = min(want, l.Provider.Connections-len(l.conns)-len(l.owing)+l.dialing)
	if l.breaker.open || l.permits.rate > 0 || m.permits.rate > 0 {
		want = min(want, 1)
	}
	for l.dialing < want && len(l.conns)+len(l.owing) < l.Provider.Connections {
		cn := &conn{id: ConnID(c.id()), lane: l, moves: l.moves, since: c.now}
		l.conns = append(l.conns, cn)
		c.conns[cn.id] = cn
		l.dialing++
		if l.breaker.open {
			l.breaker.probe = cn
		}
		c.do(Dial{Lane: l.Name, Conn: cn.id})
	}
}

func (c *Core) dialed(e Dialed) {
	cn := c.conns[e.Conn]
	if cn == nil {
		return
	}
	cn.lane.dialing--
	if e.Err != nil {
		if b := &cn.lane.breaker; !c.stopping && !cn.moved() && (!e.Again || b.probe == cn) {
			b.fail(c.now, cn, hard(e.Err), e.Err.Error())
		}
		c.drop(cn, false)
		return
	}
	cn.open, cn.since = true, c.now
}

// pick gives the claim whose chunk is next: of the message that was served least for its share, the oldest one; and how many members
// the rates permit.
func (c *Core) pick(l *lane) (best *message, of *claim, n int) {
	for _, cl := range c.claims {
		m := cl.message
		if cl.lane != l || cl.dropped || len(cl.queue) == 0 || c.now < m.rests || c.stopped(cl) {
			continue
		}
		m.served = max(m.served, l.clock)
		if best != nil && (m == best || m.served >= best.served) {
			continue
		}
		most := min(l.Provider.Chunk, len(cl.queue))
		if most = c.permit(&m.permits, most, func() int { return c.queuedOf(l, m) }); most == 0 {
			continue
		}
		if most = c.permit(&l.permits, most, func() int { return c.queuedOf(l, nil) }); most == 0 {
			continue
		}
		best, of, n = m, cl, most
	}
	return best, of, n
}

// chunk takes n members of a claim for a connection. They leave when their intent is journaled.
func (c *Core) chunk(l *lane, m *message, cl *claim, cn *conn, n int) {
	ch := c.newChunk(cl, n)
	for _, rank := range cl.queue[:n] {
		ch.Items = append(ch.Items, ChunkItem{Member: fanfare.Member{Rank: rank, Seq: cl.members[rank]}, Attempt: 1 + cl.attempts(rank)})
	}
	cl.queue = cl.queue[n:]
	cn.chunk = ch
	cl.chunks = append(cl.chunks, cn)
	m.permits.use(n)
	l.permits.use(n)
	c.served(cl, n)
	if l.breaker.open {
		l.breaker.probe = cn
	}
}

func (c *Core) newChunk(cl *claim, n int) *Chunk {
	return &Chunk{Claim: cl.id, Lane: cl.lane.Name, Ref: cl.ref, Revision: cl.message.look.Revision, Items: cl.lane.items(n), claim: cl,
		Pass: &Pass{sights: &c.sights, lease: cl.lease, message: cl.ref.Message, generation: cl.generation, blind: c.Rules.NoLookBeforeSend}}
}

// items gives room for a chunk of n, that of a former one if there is any: most of what sending would allocate.
func (l *lane) items(n int) []ChunkItem {
	if last := len(l.spare) - 1; last >= 0 {
		items := l.spare[last]
		l.spare[last], l.spare = nil, l.spare[:last]
		if cap(items) >= n {
			return items[:0]
		}
	}
	return make([]ChunkItem, 0, n)
}

// served notes that a message had its turn.
func (c *Core) served(cl *claim, n int) {
	l, m := cl.lane, cl.message
	l.clock = m.served
	m.served += float64(n) / float64(m.look.Priority.Share())
	m.moved, m.backoff = c.now, Never
}

// attempts counts how often the member was tried.
func (cl *claim) attempts(rank int) int {
	n := max(cl.exceptions[rank].Attempts, cl.tried[rank])
	if cl.row.Doubted.Has(rank) {
		n = max(n, 1)
	}
	return n
}

// sent takes what a connection says of its chunk.
func (c *Core) sent(e Sent) {
	cn := c.conns[e.Conn]
	ch := cn.chunk
	cl := ch.claim
	cl.flying--
	l := cn.lane
	if m := cl.message; e.Unread != nil {
		m.unread.note(c.now, e.Unread)
		m.rests = c.now.After(errorWait)
	} else {
		m.unread = trouble{}
	}
	answered := e.Answers == nil
	if answered {
		c.allSent(cl, ch)
	}
	for i, said := range e.Answers {
		answered = c.answered(cl, ch, ch.Items[i], said) || answered
	}
	if !cl.dropped {
		cn.owes, cl.owed = cl, append(cl.owed, cn)
	}
	switch {
	case e.Err == nil:
		c.idle(cn)
		if l.breaker.row > 0 && answered {
			l.breaker.row = 0
		}
	default:
		if !cn.moved() && (hard(e.Err) || !answered && !c.stopping && !c.stopped(cl)) {
			l.breaker.fail(c.now, cn, hard(e.Err), e.Err.Error())
		} else if l.breaker.probe == cn {
			l.breaker.again(c.now)
		}
		c.drop(cn, false)
	}
}

// allSent keeps the answer to a chunk that was taken whole, as most are.
func (c *Core) allSent(cl *claim, ch *Chunk) {
	b := &cl.lane.breaker
	b.open, b.row, b.probe = false, 0, nil
	if cl.message.sending(cl.generation) {
		cl.message.answers.taken(len(ch.Items))
	}
	if !cl.dropped && !c.Rules.ResultsBeforeSend {
		cl.results = append(cl.results, result{all: ch.Items, revision: ch.Revision})
	}
}

// answered keeps one answer for the journal; it says whether the provider answered at all.
func (c *Core) answered(cl *claim, ch *Chunk, it ChunkItem, said Said) bool {
	b := &cl.lane.breaker
	r := result{rank: it.Rank, said: said, revision: ch.Revision, policy: cl.message.look.Uncertain, attempts: it.Attempt}
	provider := said.Skip == "" && !said.Technical
	if provider && said.Kind == fanfare.SendTemporary && b.open {
		r.said.Kind = fanfare.NotBegun // nobody is used up by a provider that does not work
	}
	if provider && said.Kind == fanfare.SendOK {
		b.open, b.row, b.probe = false, 0, nil
	}
	replied := provider && (said.Kind == fanfare.SendOK || said.Kind == fanfare.SendPermanent || said.Kind == fanfare.SendTemporary)
	if replied && cl.message.sending(cl.generation) && cl.message.answers.add(said.Kind == fanfare.SendPermanent) {
		c.do(Refuse{ID: cl.message.look.ID, Generation: cl.generation})
	}
	if cl.dropped {
		return replied
	}
	if cl.message.look.State.Phase == fanfare.PhaseCancelling {
		r.policy = fanfare.PolicyHold
	}
	if r.said.Kind == fanfare.SendTemporary || r.said.Kind == fanfare.SendUnknown {
		cl.tried[r.rank] = r.attempts
	}
	switch {
	case !provider:
	case r.said.Kind == fanfare.NotBegun:
		cl.queue = append(cl.queue, r.rank)
	case r.said.Kind == fanfare.SendTemporary:
		attempts := r.attempts - cl.exceptions[r.rank].Before
		if r.last = attempts >= cl.lane.Provider.Retry.Attempts; !r.last {
			cl.wait(r.rank, c.now.After(cl.delay(r.rank, attempts)))
		}
	case r.said.Kind == fanfare.SendUnknown && !cl.row.Doubted.Has(r.rank) && r.policy != fanfare.PolicyHold:
		cl.queue = append(cl.queue, r.rank)
	}
	if c.Rules.ResultsBeforeSend { // they are journaled already
		return replied
	}
	cl.results = append(cl.results, r)
	return replied
}
