package deliver

import (
	"fmt"
	"slices"
	"time"

	"fanfare"
)

// provider is a lane's other end. What it accepted is the truth that everything is compared with.
type provider struct {
	fanfare.Provider
	down   time.Duration // it takes no connection and loses those it has, until
	busy   time.Duration // it says 421, until
	inline bool          // its claims deliver
	gone   bool          // not configured for the moment
	rate   float64       // the highest it had
	rated  bool
	begun  []time.Duration

	mostConns, mostChunk int // that it ever had
}

func (w *world) newProvider(name string) *provider {
	p := &provider{Provider: fanfare.Provider{Name: name, Channel: fanfare.ChannelEmail, URL: "smtp://" + name, Connections: 1 + w.IntN(3), Chunk: w.chunk(),
		Retry: fanfare.Retry{Attempts: 1 + w.IntN(4), First: w.between(100*time.Millisecond, 3*time.Second), Most: 10 * time.Second}}}
	p.mostConns, p.mostChunk = p.Connections, p.Chunk
	if w.flip(0.2) {
		p.Rate, p.rated = 1+20*w.Float64(), true
		p.rate = p.Rate
	}
	p.inline = w.flip(0.15)
	return p
}

func (w *world) lane(name string) *provider {
	for _, l := range w.lanes {
		if l.Name == name {
			return l
		}
	}
	panic("no such lane")
}

// copyOf is one item that a provider accepted.
type copyOf struct {
	item     item
	revision fanfare.Revision
	at       time.Duration
}

// item is one message for one person.
type item struct {
	message fanfare.MessageNum
	fanfare.Person
}

func (n *node) dial(e Dial) {
	l := n.lane(e.Lane)
	n.self(n.short(), func() {
		var err error
		switch {
		case n.now < l.down:
			n.saw("provider down")
			err = &fanfare.SendError{Step: "connect", Err: errStore}
		case n.now < l.busy:
			n.saw("provider busy")
			err = &fanfare.SendError{Step: "greeting", Busy: true, Code: "421"}
		case n.happens(n.odds.dialFails):
			n.saw("dial failed")
			err = &fanfare.SendError{Step: "connect", Err: errStore}
		}
		n.event(Dialed{Conn: e.Conn, Err: err})
	})
}

// errand is a chunk in a connection's hands.
type errand struct {
	*node
	lane    *provider
	conn    ConnID
	chunk   *Chunk
	answers []Said
	unread  error // nothing could be made
}

func (n *node) sending(e Send) {
	if len(e.Chunk.Items) == 0 {
		n.violated("shell", "an empty chunk is sent")
		return
	}
	r := &errand{node: n, lane: n.lane(e.Chunk.Lane), conn: e.Conn, chunk: e.Chunk}
	if n.happens(n.odds.reading / 4) {
		n.saw("content unread")
		r.unread = errStore
		n.self(n.short(), func() { r.finish(nil) })
		return
	}
	n.self(n.short(), r.ask)
}

func (r *errand) item() item {
	return itemOf(r.chunk.Ref, r.chunk.Items[len(r.answers)].Seq)
}

// ask asks for the next item whether it may leave. Between the question and the first byte the process may be stopped.
func (r *errand) ask() {
	if len(r.answers) == len(r.chunk.Items) {
		r.finish(nil)
		return
	}
	if it := r.item(); r.odds.skip > 0 && it.Seq%11 == 5 {
		said := Said{Skip: fanfare.ReasonMissingField}
		if it.Seq%2 == 0 {
			said = Said{Technical: true, SendAnswer: fanfare.SendAnswer{Text: "its template does not end"}}
		}
		r.saw("skipped or technical")
		r.answer(said)
		return
	}
	if !r.chunk.Pass.May(r.instant()) {
		r.saw("look refused a send")
		r.finish(nil)
		return
	}
	r.judgeMay(r.node, r.chunk)
	pause := time.Duration(0)
	switch {
	case r.happens(r.odds.stopped):
		r.stall(r.between(20*time.Second, 50*time.Second))
		pause = time.Millisecond
	case r.flip(0.2):
		pause = r.short()
	}
	r.self(pause, r.begin)
}

func (r *errand) answer(said Said) {
	r.answers = append(r.answers, said)
	r.self(0, r.ask)
}

// begin lets the item's first byte leave. What the provider does with it no longer depends on the node.
func (r *errand) begin() {
	at := len(r.answers)
	it, member := r.item(), r.chunk.Items[at]
	r.judgeBegin(r.node, r.chunk, member)
	r.lane.begun = append(r.lane.begun, r.now)
	m := r.message(it.message)
	m.begun = append(m.begun, r.now)
	key := r.rules.ItemKey([]byte("installation"), it.message, it.Person, member.Attempt)
	accept := func() {
		r.at(r.short(), func() { r.accept(it, r.chunk, member, key) })
	}
	say := func(kind fanfare.SendKind, code, text string) {
		r.self(r.short(), func() { r.answer(Said{SendAnswer: fanfare.SendAnswer{Kind: kind, Code: code, Text: text}}) })
	}
	// lose ends the connection: the item's fate is unknown, later ones were not begun.
	lose := func(d time.Duration, delivered bool, err error) {
		if delivered {
			accept()
		}
		r.self(d, func() {
			r.answers = append(r.answers, Said{SendAnswer: fanfare.SendAnswer{Kind: fanfare.SendUnknown, Text: "the connection was lost"}})
			r.finish(err)
		})
	}
	lost := &fanfare.SendError{Step: "data", Err: errStore}
	o := &r.odds
	switch {
	case r.now < r.lane.down:
		r.saw("connection lost")
		lose(r.short(), false, lost)
	case r.now < r.lane.busy || r.happens(o.busy):
		r.saw("421")
		r.self(r.short(), func() { r.finish(&fanfare.SendError{Step: "mail", Busy: true, Code: "421", Text: "come back later"}) })
	case r.happens(o.connLost):
		r.saw("connection lost")
		lose(r.short(), r.flip(0.5), lost)
	case r.happens(o.hang):
		r.saw("hung")
		if r.flip(0.5) {
			accept()
			d := r.between(10*time.Second, time.Minute)
			if r.flip(0.3) { // the lease runs out meanwhile, and more of the chunk is to come
				r.stall(r.between(26*time.Second, 40*time.Second))
				d = r.between(42*time.Second, time.Minute)
			}
			r.self(d, func() { r.answer(Said{SendAnswer: fanfare.SendAnswer{Kind: fanfare.SendOK}}) })
			return
		}
		lose(time.Minute, r.flip(0.5), lost)
	case r.happens(o.unknown):
		r.saw("unknown")
		if r.flip(0.5) {
			accept()
		}
		say(fanfare.SendUnknown, "", "no answer")
	case r.happens(o.notBegun):
		r.saw("not begun")
		say(fanfare.NotBegun, "", "")
	case o.permanent > 0 && int(it.Seq)%17 < int(17*o.permanent):
		r.saw("permanent")
		say(fanfare.SendPermanent, "550 5.1.1", "no such \x00 user")
	case r.happens(o.temporary):
		r.saw("temporary")
		say(fanfare.SendTemporary, "451 4.3.0", "not now")
	default:
		r.saw("sent")
		r.at(r.short(), func() { // the answer follows what it answers
			r.accept(it, r.chunk, member, key)
			say(fanfare.SendOK, "250", "")
		})
	}
}

// finish hands all answers to the core; whoever has none was not begun.
func (r *errand) finish(err error) {
	for len(r.answers) < len(r.chunk.Items) {
		r.answers = append(r.answers, Said{})
	}
	for i, said := range r.answers {
		it := itemOf(r.chunk.Ref, r.chunk.Items[i].Seq)
		switch {
		case said.Skip != "" || said.Technical:
		case said.Kind == fanfare.SendOK:
			r.heard[r.chunk.Ref]++
			r.known[it] = true
		case said.Kind == fanfare.SendTemporary:
			r.refused[it] = r.now
		}
	}
	whole := err == nil && !slices.ContainsFunc(r.answers, func(said Said) bool { return said.Kind != fanfare.SendOK || said.Skip != "" || said.Technical })
	if whole && r.flip(0.7) {
		r.saw("chunk taken whole")
		r.answers = nil
	}
	r.event(Sent{Conn: r.conn, Answers: r.answers, Err: err, Unread: r.unread})
}

// told is an event or effect in a line.
func told(e any) string {
	switch e := e.(type) {
	case Append:
		if r := e.Entry.Record; r != nil {
			s := fmt.Sprintf("record %v f%d s%d sent %d pending %d flying %d", r.BatchRef, r.Fence, r.Step, r.Next.Sent, r.Next.Pending.Len(), r.Next.InFlight.Len())
			for _, x := range r.Exceptions {
				s += fmt.Sprintf(" %d:%s/%s", x.Seq, x.Result, x.Reason)
			}
			if r.Intent != nil {
				s += " intent"
				for _, m := range r.Intent.Members {
					s += fmt.Sprintf(" %d", m.Seq)
				}
			}
			if r.Lease == 0 {
				s += " last"
			}
			return fmt.Sprintf("#%d %s", e.ID, s)
		}
		c := e.Entry.Claim
		return fmt.Sprintf("#%d claim %v g%d", e.ID, c.BatchRef, c.Generation)
	case fanfare.Batch:
		return fmt.Sprintf("%v state %d (%s) f%d s%d of %d: %d sent, %d failed, %d skipped, %d uncertain, pending %v, flying %v, doubted %v, owner %v until %v, not before %v, runs %v", e.BatchRef, e.State, e.Held,
			e.Fence, e.Step, e.N, e.Sent, e.Failed, e.Skipped, e.Uncertain, ranks(e.Pending), ranks(e.InFlight), ranks(e.Doubted), e.Owner, e.LeaseUntil, e.NotBefore, e.Runs)
	case Journaled:
		return fmt.Sprintf("#%d journaled %d %v f%d s%d %v", e.ID, e.Answer.Answer, e.Answer.Row.BatchRef, e.Answer.Row.Fence, e.Answer.Row.Step, e.Answer.Err)
	case Peeked:
		return fmt.Sprintf("#%d peeked %v f%d s%d %v %v", e.ID, e.Row.BatchRef, e.Row.Fence, e.Row.Step, e.Row.Owner, e.Err)
	case Looked:
		s := "looked"
		for _, l := range e.Looks {
			s += fmt.Sprintf(" %d:%s/%d", l.Num, l.State.Phase, l.State.Generation)
		}
		return fmt.Sprintf("%s %v", s, e.Err)
	case Received:
		s := "received " + e.Lane
		for _, d := range e.Deliveries {
			s += fmt.Sprintf(" %v/%d", d.Task().BatchRef, d.Task().Generation)
		}
		return s
	case Ack:
		return fmt.Sprintf("ack %v/%d", e.Delivery.Task().BatchRef, e.Delivery.Task().Generation)
	case Return:
		return fmt.Sprintf("return %v/%d after %v", e.Delivery.Task().BatchRef, e.Delivery.Task().Generation, e.Delay)
	case Load:
		return fmt.Sprintf("load claim %d %v", e.Claim, e.Row.BatchRef)
	case Loaded:
		return fmt.Sprintf("loaded claim %d %v %v", e.Claim, e.Members, e.Err)
	case Send:
		return fmt.Sprintf("send on %d claim %d %v %v", e.Conn, e.Chunk.Claim, e.Chunk.Ref, e.Chunk.Items)
	case Sent:
		return fmt.Sprintf("sent on %d %v %v", e.Conn, e.Answers, e.Err)
	default:
		return fmt.Sprintf("%T%+v", e, e)
	}
}

// chunk is how many members a connection journals: where batches are taken whole, as many as most have.
func (w *world) chunk() int {
	if w.bare {
		return 4 + w.IntN(5)
	}
	return 1 + w.IntN(4)
}
