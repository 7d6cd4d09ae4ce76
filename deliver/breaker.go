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

// permits are what a rate grants this node: those of one window, for as long as a window lasts.
type permits struct {
	name   string
	rate   float64
	asked  bool
	have   int
	until  Instant // what it has is lost then
	askAt  Instant // no more are to be had before
	wanted bool    // somebody waits for one
	debt   int     // people who were delivered to before there were permits
}

func (p *permits) set(name string, rate float64) {
	if p.rate != rate {
		p.have, p.askAt = 0, 0
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

// permit tells how many of want may be begun by a rate; where there are none it asks for them.
func (c *Core) permit(p *permits, want int) int {
	if p.rate <= 0 {
		return want
	}
	if p.have > 0 && c.now < p.until {
		p.wanted = false
		return min(want, p.have)
	}
	p.have, p.wanted = 0, true
	if !p.asked && c.now >= p.askAt {
		p.asked = true
		most := int(math.Ceil(p.rate/5)) + 1
		c.do(Reserve{Name: p.name, Rate: p.rate, Want: most})
	}
	return 0
}

func (p *permits) use(n int) {
	if p.rate > 0 {
		p.have -= n
	}
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
	p.have, p.until, p.askAt = e.Granted, c.now.After(fanfare.RateWindow), c.now.After(max(0, end.Sub(e.At)))
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
