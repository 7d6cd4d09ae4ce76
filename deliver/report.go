package deliver

import (
	"fanfare"
)

// Report is what a node says of itself.
type Report struct {
	Free, Claims map[string]int // by lane
	Waiting      map[fanfare.MessageNum]Waiting
}

// Waiting says why a message does not move here.
type Waiting struct {
	Reason   fanfare.Waiting
	Provider string
	Detail   string
	Since    Instant
	Next     Instant // the next try; Never: not known
}

// Report tells how the node is.
func (c *Core) Report() Report {
	r := Report{Free: make(map[string]int, len(c.lanes)), Claims: make(map[string]int, len(c.lanes)), Waiting: make(map[fanfare.MessageNum]Waiting)}
	for _, l := range c.lanes {
		if !c.stopping {
			r.Free[l.Name] = l.free()
		}
		r.Claims[l.Name] = l.held
	}
	for _, m := range c.messages {
		if !m.seen || m.look.State.Phase != fanfare.PhaseSending {
			continue
		}
		if w, ok := c.waiting(m); ok {
			r.Waiting[m.look.Num] = w
		}
	}
	return r
}

func (c *Core) waiting(m *message) (Waiting, bool) {
	l := c.laneOf(m)
	switch {
	case c.journal.why != "":
		return Waiting{Reason: fanfare.WaitJournal, Detail: c.journal.why, Since: c.journal.since, Next: Never}, true
	case c.unread.why != "":
		return Waiting{Reason: fanfare.WaitShard, Detail: c.unread.why, Since: c.unread.since, Next: Never}, true
	case m.unread.why != "":
		return Waiting{Reason: fanfare.WaitShard, Detail: m.unread.why, Since: m.unread.since, Next: Never}, true
	case l == nil:
		return Waiting{}, false
	case l.breaker.open:
		return Waiting{Reason: fanfare.WaitProviderDown, Provider: l.Name, Detail: l.breaker.why, Since: l.breaker.since, Next: l.breaker.at}, true
	case (m.claims > 0 || m.permits.debt+l.permits.debt > 0) && c.now.Since(m.moved) > rateSilent && (m.permits.wanted || l.permits.wanted):
		next := min(m.permits.next(), l.permits.next())
		return Waiting{Reason: fanfare.WaitRate, Provider: l.Name, Since: m.moved, Next: next}, true
	case m.claims == 0 && m.backoff != Never && m.backoff > c.now:
		return Waiting{Reason: fanfare.WaitBackoff, Provider: l.Name, Since: m.moved, Next: m.backoff}, true
	}
	return Waiting{}, false
}

func (c *Core) laneOf(m *message) *lane {
	if m.look.Provider != "" {
		return c.lane(m.look.Provider)
	}
	return c.lane(string(m.look.Channel))
}
