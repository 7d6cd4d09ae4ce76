package deliver

import (
	"errors"
	"math"
	"time"

	"fanfare"
)

const (
	breakerRow   = 10 // failures in a row open it
	breakerFirst = time.Second
	breakerMost  = 15 * time.Second
)

// breaker keeps a node from trying a provider that does not answer. It is open or closed; open, one connection tries at a time.
type breaker struct {
	open  bool
	row   int // failures since the last answer
	wait  time.Duration
	at    Instant // the next try
	probe *conn   // the one that tries
	since Instant
	why   string
}

// fail notes a failure to connect or greet, or a connection that was lost before any answer. hard opens it at once.
func (b *breaker) fail(now Instant, cn *conn, hard bool, why string) {
	b.row++
	switch {
	case b.open && b.probe == cn:
		b.again(now)
	case !b.open && (hard || b.row >= breakerRow):
		b.open, b.wait, b.since, b.probe = true, breakerFirst, now, nil
		b.at = now.After(b.wait)
	}
	if b.open {
		b.why = why
	}
}

// again lets the next try wait for longer.
func (b *breaker) again(now Instant) {
	b.wait = min(2*b.wait, breakerMost)
	b.at, b.probe = now.After(b.wait), nil
}

// blocks says whether the connection (nil: a new one) may not be used now: the breaker is open and this is not the one that tries.
func (b *breaker) blocks(now Instant, cn *conn) bool {
	return b.open && (cn == nil || b.probe != cn) && (b.probe != nil || now < b.at)
}

// hard says whether an error opens the breaker at once: the provider said that it is busy, or that it does not want this account.
func hard(err error) bool {
	e := (*fanfare.SendError)(nil)
	return errors.As(err, &e) && (e.Busy || e.Auth)
}

// permits are what a rate grants this node: those of one window, until the window ends.
type permits struct {
	name   string
	rate   float64
	asked  bool
	want   int // that was asked for
	have   int
	used   int     // of those granted last
	most   int     // that it asks for, by what it used lately; 0: as many as a window has
	until  Instant // what it has is lost then
	askAt  Instant // no more are to be had before
	wanted bool    // somebody waits for one
	debt   int     // people who were delivered to before there were permits
}

// leastShare is the part of a window that is asked for at least, however little was used of the last one.
const leastShare = 8

func (p *permits) set(name string, rate float64) {
	if p.rate != rate {
		p.have, p.used, p.most, p.askAt = 0, 0, 0, 0
		if rate == 0 {
			p.debt, p.wanted = 0, false
		}
	}
	p.name, p.rate = name, rate
}

// next is when more may be asked for.
func (p *permits) next() Instant {
	if p.rate == 0 || !p.wanted || p.asked {
		return Never
	}
	return p.askAt
}

// permit tells how many of want may be begun by a rate; where there are none it asks for them, need in all: no more than could be used, so that
// another node has the rest.
func (c *Core) permit(p *permits, want int, need func() int) int {
	if p.rate <= 0 {
		return want
	}
	if p.have > 0 && c.now < p.until {
		p.wanted = false
		return min(want, p.have)
	}
	p.wanted = true
	if !p.asked && c.now >= p.askAt {
		p.asked = true
		p.learn()
		p.have = 0
		p.want = max(want, min(p.most, need()))
		c.do(Reserve{Name: p.name, Rate: p.rate, Want: p.want})
	}
	return 0
}

// learn reckons how many permits the node can use in a window: where it lost some a little more than it used, else twice as many as before.
func (p *permits) learn() {
	window := int(math.Ceil(p.rate/5)) + 1
	switch {
	case p.most == 0:
		p.most = window
	case p.have > 0:
		p.most = min(window, max(p.used+p.used/4+1, window/leastShare))
	case p.used > 0:
		p.most = min(window, 2*p.most)
	}
}

func (p *permits) use(n int) {
	if p.rate > 0 {
		p.have, p.used = p.have-n, p.used+n
	}
}

// queuedOf counts the members of a message's claims in a lane, or of all messages there, that could be begun.
func (c *Core) queuedOf(l *lane, m *message) (n int) {
	for _, cl := range c.claims {
		if cl.lane == l && (m == nil || cl.message == m) && !cl.dropped && !c.stopped(cl) {
			n += len(cl.queue)
		}
	}
	return n
}

func (c *Core) permitted(e Permitted) {
	p := c.permitsOf(e.Name)
	if p == nil {
		return
	}
	p.asked = false
	if e.Err != nil {
		p.askAt = c.now.After(fanfare.RateWindow)
		return
	}
	end := time.UnixMilli((e.Window + 1) * fanfare.RateWindow.Milliseconds())
	left := min(max(0, end.Sub(e.At)), fanfare.RateWindow) // as of the database's clock; only the difference counts, whatever clock this node has
	p.have, p.used, p.until, p.askAt = e.Granted, 0, c.now.After(left), c.now.After(left)
	if e.Granted == p.want && p.want <= int(p.rate/5) { // there may be more, should more be needed
		p.askAt = c.now
	}
}

func (c *Core) permitsOf(name string) *permits {
	for _, l := range c.lanes {
		if l.permits.name == name {
			return &l.permits
		}
	}
	for _, m := range c.messages {
		if m.permits.name == name {
			return &m.permits
		}
	}
	return nil
}

// ringSize is how many consecutive answers are looked at before a message is called refused.
const ringSize = 1000

// ring counts the permanent refusals among the last thousand answers.
type ring struct {
	bits    []bool
	at      int
	n       int
	refused int
	said    bool
}

// taken notes so many answers in a row that are no refusals.
func (r *ring) taken(n int) {
	if r.refused > 0 {
		for range n {
			r.add(false)
		}
		return
	}
	r.at = (r.at + n) % ringSize
	r.n = min(r.n+n, ringSize)
}

// add notes an answer and says, once, that more than half of a thousand in a row are refusals.
func (r *ring) add(permanent bool) bool {
	if r.bits == nil {
		r.bits = make([]bool, ringSize)
	}
	if r.bits[r.at] {
		r.refused--
	}
	r.bits[r.at] = permanent
	if permanent {
		r.refused++
	}
	r.at = (r.at + 1) % ringSize
	r.n = min(r.n+1, ringSize)
	if r.said || r.n < ringSize || 2*r.refused <= ringSize {
		return false
	}
	r.said = true
	return true
}
