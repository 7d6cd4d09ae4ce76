package deliver

import (
	"errors"
	"slices"
	"sync"

	"fanfare"
)

// lines are the connections of a lane, as it was when they were dialled, and the chunks that wait for one.
//
// What the core calls a connection is a place here: the right to have one chunk in flight. Where one chunk can follow another without a
// pause (fanfare.Streamer) a connection has two places of half a chunk each, so that one half is journaled while the other is sent and
// the connection never waits for the journal; elsewhere one place is one connection. Chunks go to whichever connection is free first.
type lines struct {
	node *Node
	lane *laneShell
	per  int // places of a connection

	mu      sync.Mutex // guards what follows; taken before the node's
	work    sync.Cond  // on mu: a chunk waits, or fewer connections are wanted
	places  int
	want    []ConnID // places for which a connection has to be dialled
	open    int
	opening int
	queue   []job
	closed  bool
}

// job is a chunk for whoever is free.
type job struct {
	id    ConnID
	chunk *Chunk
}

// streamed is how many places a connection has over which chunks follow one another.
const streamed = 2

func newLines(n *Node, l *laneShell) *lines {
	ls := &lines{node: n, lane: l, per: l.per()}
	ls.work.L = &ls.mu
	return ls
}

// join wants one more place.
func (l *lines) join(id ConnID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.want = append(l.want, id)
	l.settle()
}

// leave gives a place up on which no chunk is.
func (l *lines) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.places--
	l.work.Broadcast()
}

// push hands a chunk over, whose intent is durable.
func (l *lines) push(j job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		l.refuse(j, fanfare.ErrClosed)
		return
	}
	l.queue = append(l.queue, j)
	l.settle()
	l.work.Signal()
}

// close ends all lines. Sends have been cut, or nothing is under way.
func (l *lines) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.work.Broadcast()
}

// needed is how many connections the places need. l.mu is held.
func (l *lines) needed() int { return (l.places + len(l.want) + l.per - 1) / l.per }

// settle gives places on open connections and dials what is missing; also for chunks, where the last connection was lost. l.mu is held.
func (l *lines) settle() {
	for len(l.want) > 0 && l.places < l.open*l.per {
		l.node.post(Dialed{Conn: l.want[0]})
		l.want = l.want[1:]
		l.places++
	}
	for !l.closed && l.open+l.opening < l.needed() && (len(l.want) > 0 || len(l.queue) > 0 && l.open+l.opening == 0) {
		l.opening++
		l.node.wg.Go(l.dial)
	}
}

// dial opens a connection and serves it to its end.
func (l *lines) dial() {
	c, err := l.lane.Channel.Dial(l.node.sends, l.lane.Provider)
	l.mu.Lock()
	l.opening--
	if err != nil {
		l.node.Logger.Debug("no connection", "lane", l.lane.Name, "error", err)
		l.undialled(err)
		l.mu.Unlock()
		return
	}
	l.open++
	l.settle()
	l.mu.Unlock()
	x := line{lines: l, conn: c}
	for {
		j, ok := l.next()
		if !ok {
			_ = c.Close()
			return
		}
		if !x.send(j) {
			return
		}
	}
}

// undialled tells those for whom a connection could not be opened. l.mu is held.
func (l *lines) undialled(err error) {
	told := min(len(l.want), l.per)
	for i, id := range l.want[:told] {
		l.node.gone(id)
		l.node.post(Dialed{Conn: id, Err: err, Again: i > 0})
	}
	l.want = l.want[told:]
	if told == 0 && l.open == 0 && len(l.queue) > 0 {
		l.refuse(l.pop(), err)
		l.places--
	}
	l.bounce()
	l.settle()
}

// next waits for a chunk; false: the connection is not needed any more.
func (l *lines) next() (job, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed && l.open <= l.needed() {
		if len(l.queue) > 0 {
			return l.pop(), true
		}
		l.work.Wait()
	}
	l.open--
	return job{}, false
}

// try is next without waiting.
func (l *lines) try() (job, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.queue) == 0 || l.open > l.needed() {
		return job{}, false
	}
	return l.pop(), true
}

// pop takes the chunk that waited longest. l.mu is held.
func (l *lines) pop() job {
	j := l.queue[0]
	l.queue = slices.Delete(l.queue, 0, 1)
	return j
}

// lost notes that a connection is of no use any more; the place of the chunk that it was lost with is gone.
func (l *lines) lost(id ConnID) {
	l.node.gone(id)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	l.places--
	l.bounce()
	l.settle()
}

// bounce gives chunks back for which there is no connection, untouched: the core decides when to try again. l.mu is held.
func (l *lines) bounce() {
	if l.open+l.opening > 0 {
		return
	}
	for _, j := range l.queue {
		l.node.post(Sent{Conn: j.id, Answers: make([]Said, len(j.chunk.Items))})
	}
	clear(l.queue)
	l.queue = l.queue[:0]
}

// refuse gives a chunk back whose place is gone.
func (l *lines) refuse(j job, err error) {
	l.node.gone(j.id)
	l.node.post(Sent{Conn: j.id, Answers: make([]Said, len(j.chunk.Items)), Err: err})
}

// line is one connection at work.
type line struct {
	*lines
	conn   fanfare.Connection
	job    *job        // the first of a stream, until it is taken
	flight []*handover // whose answers are not told yet, in order
	given  int         // items of this stream
	hold   bool        // nothing more is taken: something was not begun, and the end of the stream says why
}

// send sends a chunk, and what follows it meanwhile where it streams; false: the connection is of no use any more.
func (x *line) send(j job) bool {
	x.job, x.given, x.hold = &j, 0, false
	items := x.more()
	var err error
	if stream, ok := x.conn.(fanfare.Streamer); ok && len(items) > 0 {
		err = stream.Stream(x.node.sends, func() []fanfare.Outgoing {
			if some := items; some != nil {
				items = nil
				return some
			}
			return x.more()
		}, x.may, x.answer)
	} else if len(items) > 0 {
		err = x.conn.Send(x.node.sends, items, x.flight[0].may, x.flight[0].answer)
	}
	if len(x.flight) == 0 { // an error that is about nobody shows again with the next
		return true
	}
	last := x.flight[len(x.flight)-1]
	if last.err != nil {
		err = last.err
	}
	for len(x.flight) > 1 {
		x.tell(x.flight[0], nil)
	}
	if err == nil {
		x.tell(last, nil)
		return true
	}
	_ = x.conn.Close()
	x.lost(last.id)
	if e, ok := errors.AsType[*fanfare.SendError](err); ok && e.Step == "render" { // not as this connection's provider wants it
		x.lane.content.forget()
	}
	x.tell(last, err)
	return false
}

// more makes the items of the next chunk, none if there is none now.
func (x *line) more() []fanfare.Outgoing {
	for !x.hold {
		var j job
		if x.job != nil {
			j, x.job = *x.job, nil
		} else if len(x.flight) == 0 && x.given == 0 || x.per == 1 {
			return nil
		} else if next, ok := x.try(); ok {
			j = next
		} else {
			return nil
		}
		s, _ := x.lane.handovers.Get().(*handover)
		s.begin(x.node, x.lane, j)
		s.first = x.given
		x.flight = append(x.flight, s)
		x.node.mu.Lock()
		people := x.node.batches[j.chunk.Claim]
		x.node.mu.Unlock()
		err := s.make(people)
		switch {
		case errors.Is(err, errUnread):
			s.unread = err
			x.tell(s, nil)
		case err != nil:
			s.err, x.hold = err, true
		case len(s.items) == 0:
			x.tell(s, nil)
		default:
			s.left = len(s.items)
			x.given += s.left
			return s.items
		}
	}
	return nil
}

// of finds the chunk of a stream's item.
func (x *line) of(i int) *handover {
	for _, s := range x.flight {
		if i < s.first+len(s.items) {
			return s
		}
	}
	panic("an item was answered twice")
}

func (x *line) may(i int) bool {
	s := x.of(i)
	return s.may(i - s.first)
}

func (x *line) answer(i int, a fanfare.SendAnswer) {
	s := x.of(i)
	s.answer(i-s.first, a)
	x.hold = x.hold || a.Kind == fanfare.NotBegun
	if s.left--; s.left == 0 && !x.hold {
		x.tell(s, nil)
	}
}

// tell tells the core of a chunk.
func (x *line) tell(s *handover, err error) {
	sent := Sent{Conn: s.id, Answers: s.answers(), Err: err, Unread: s.unread}
	x.flight = slices.DeleteFunc(x.flight, func(o *handover) bool { return o == s })
	s.chunk = nil // the core's again
	x.lane.handovers.Put(s)
	x.node.post(sent)
}
