package deliver

import (
	"time"

	"fanfare"
)

// inlineClaims is how many claims of a lane whose claims deliver are asked for at once, so that a commit has something to group.
const inlineClaims = 512

// inline has the claim deliver its batch, where the lane's claims do.
func (c *Core) inline(cl *claim) *fanfare.Inline {
	l, m := cl.lane, cl.message
	if !l.Inline {
		return nil
	}
	return &fanfare.Inline{Revision: m.look.Revision, Few: m.look.Few, Suppressions: fanfare.Suppressions(m.look.Channel, m.look.Topic, m.look.Essential)}
}

// delivered notes a batch that its claim delivered: there is nothing more to do with it.
func (c *Core) delivered(cl *claim, people int) {
	cl.dropped = true
	c.served(cl, people)
	for _, p := range [...]*permits{&cl.message.permits, &cl.lane.permits} {
		if p.rate > 0 {
			p.debt += people
		}
	}
}

// paced says how long a task has to wait for a rate, its message's or the lane's; 0: not at all. A batch is delivered whole, however many
// people a window grants: then nothing is claimed until windows have granted so many.
func (c *Core) paced(l *lane, m *message) (wait time.Duration) {
	if !l.Inline {
		return 0
	}
	for _, p := range [...]*permits{&m.permits, &l.permits} {
		switch {
		case p.rate <= 0:
		case p.debt > 0:
			wait = max(wait, min(capWait, max(fanfare.RateWindow, time.Duration(float64(p.debt)/p.rate*float64(time.Second)))))
		case m.claims > 0 && p == &m.permits, l.asked > 0 && p == &l.permits: // how many they are is known when it is answered
			wait = max(wait, fanfare.RateWindow)
		}
	}
	return wait
}

// pay takes permits of the lane's messages, and the lane's own, for what was delivered already.
func (c *Core) pay(l *lane) {
	if !l.Inline {
		return
	}
	c.payOff(&l.permits)
	for _, m := range c.messages {
		if m.permits.debt > 0 && m.look.State.Phase == fanfare.PhaseSending && c.laneOf(m) == l {
			c.payOff(&m.permits)
		}
	}
}

func (c *Core) payOff(p *permits) {
	if p.debt <= 0 {
		return
	}
	debt := func() int { return p.debt }
	n := c.permit(p, p.debt, debt)
	p.use(n)
	if p.debt -= n; p.debt > 0 && p.have == 0 {
		c.permit(p, p.debt, debt) // asks for those of the next window
	}
	p.wanted = p.debt > 0
}
