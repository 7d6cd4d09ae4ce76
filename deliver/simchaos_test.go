package deliver

import (
	"fmt"
	"strings"
	"time"

	"fanfare"
)

// disturb does something to somebody, again and again until the calm.
func (w *world) disturb() {
	if w.calm {
		return
	}
	s := w.messages[w.IntN(len(w.messages))]
	l := w.lanes[w.IntN(len(w.lanes))]
	switch k := w.IntN(100); {
	case k < 8:
		w.crash()
	case k < 14 && len(w.nodes) > 0:
		n := w.nodes[w.IntN(len(w.nodes))]
		d := w.between(0, 2*time.Second)
		if w.flip(0.5) {
			d = w.between(26*time.Second, 50*time.Second)
		}
		n.stall(d)
	case k < 17 && len(w.nodes) > 0:
		w.end(w.nodes[w.IntN(len(w.nodes))])
	case k < 20:
		if len(w.nodes) < 3 {
			w.newNode()
		}
	case k < 24:
		w.replacePlanner()
	case k < 34:
		w.operate(s, fanfare.EventPause)
	case k < 50:
		w.operate(s, fanfare.EventResume)
	case k < 52:
		w.operate(s, fanfare.EventCancel)
	case k < 55:
		w.changeRate(s)
	case k < 58:
		w.saw("new revision")
		w.edit(s, func(m *fanfare.Message) { m.Revision++ })
	case k < 70:
		w.optOut()
	case k < 75:
		w.resumeScope(s)
	case k < 78:
		w.settle(s)
	case k < 82:
		l.down = w.now + w.between(0, 15*time.Second)
	case k < 86:
		l.busy = w.now + w.between(0, 10*time.Second)
	case k < 90:
		w.saw("control silent")
		w.deaf = w.now + w.between(0, 5*time.Second)
	case k < 93:
		w.queue.forget()
	case k < 96:
		w.changeProvider(l)
	case k < 97 && w.flip(0.1):
		w.damage(s)
	}
	w.at(w.between(0, 1500*time.Millisecond), w.disturb)
}

// crash ends a node. Its next incarnation comes soon, late, or never.
func (w *world) crash() {
	if len(w.nodes) == 0 {
		return
	}
	n := w.nodes[w.IntN(len(w.nodes))]
	n.die("dies")
	w.saw("crash")
	o := n.owner()
	o.Incarnation++
	switch w.IntN(4) {
	case 0:
		w.saw("node never came back")
	case 1:
		w.at(w.between(time.Second, 40*time.Second), func() { w.startNode(o) })
	default:
		w.at(w.between(0, time.Second), func() { w.startNode(o) })
	}
}

// end tells a node to stop; after its grace it is killed.
func (w *world) end(n *node) {
	if n.ending {
		return
	}
	n.ending = true
	w.saw("stop")
	w.note("%v is told to stop", n.owner())
	n.self(0, func() {
		n.event(Stopping{})
		for _, l := range w.lanes {
			for _, q := range w.queue.waiters {
				if q.n == n && q.lane == l.Name {
					n.event(Received{Lane: l.Name})
				}
			}
		}
		w.queue.leave(n)
	})
	w.at(fanfare.GraceTime, func() {
		if !n.dead && !w.calm {
			w.saw("stop took longer than the grace")
			n.die("is killed after its grace")
			w.again(n)
		}
	})
	w.await(n)
}

// await lets a node that is done go.
func (w *world) await(n *node) {
	w.at(50*time.Millisecond, func() {
		switch {
		case n.dead:
		case n.core.Done() && len(n.inbox) == 0 && len(n.held) == 0:
			w.saw("stopped in time")
			w.judgeStopped(n)
			n.die("is done")
			if !w.calm {
				w.again(n)
			}
		default:
			w.await(n)
		}
	})
}

func (w *world) again(n *node) {
	o := n.owner()
	o.Incarnation++
	w.at(w.between(0, 5*time.Second), func() { w.startNode(o) })
}

func (w *world) replacePlanner() {
	for _, a := range w.actors {
		if !a.over && strings.HasPrefix(a.name, "planner") && w.flip(0.5) {
			w.saw("planner died")
			w.note("%s dies", a.name)
			a.end()
			w.newPlanner()
			return
		}
	}
}

func (w *world) changeRate(s *sending) {
	rate := 0.0
	if s.rated || w.flip(0.5) {
		rate = 0.5 + 10*w.Float64()
	}
	s.rate = max(s.rate, rate)
	w.saw("message rate changed")
	w.note("%s: rate %.1f", s.id, rate)
	w.edit(s, func(m *fanfare.Message) { m.Rate = rate })
}

func (w *world) changeProvider(l *provider) {
	l.Connections, l.Chunk = 1+w.IntN(3), 1+w.IntN(4)
	l.mostConns, l.mostChunk = max(l.mostConns, l.Connections), max(l.mostChunk, l.Chunk)
	if l.rated || w.flip(0.5) {
		l.Rate = 1 + 20*w.Float64()
	}
	l.rate = max(l.rate, l.Rate)
	switch {
	case w.flip(0.2):
		l.URL += "/"
		w.saw("provider moved")
	case w.flip(0.2):
		l.gone = true
		w.saw("provider gone")
		w.at(w.between(0, 10*time.Second), func() {
			l.gone = false
			w.configure()
		})
	}
	w.saw("provider changed")
	w.note("%s: rate %.1f, %d connections, chunk %d, gone %v", l.Name, l.Rate, l.Connections, l.Chunk, l.gone)
	w.configure()
}

// configure tells the nodes of the lanes as they are when the news comes to them.
func (w *world) configure() {
	for _, n := range w.nodes {
		n.self(w.short(), func() { n.event(Configured{Lanes: w.settings()}) })
	}
}

func (w *world) damage(s *sending) {
	if s.state.Phase == fanfare.PhaseSending {
		w.saw("audience damaged")
		w.store.Damage(s.num, fanfare.Slot(w.IntN(w.slots)), fanfare.PartSend)
	}
}

// soothe ends all that goes wrong, and has somebody decide about what is paused.
func (w *world) soothe() {
	w.calm = true
	w.note("calm")
	w.deaf = 0
	for _, l := range w.lanes {
		l.down, l.busy = 0, 0
	}
	working := 0
	for _, n := range w.nodes {
		if !n.ending {
			working++
		}
	}
	if working == 0 {
		w.newNode()
	}
	for _, s := range w.messages {
		e := fanfare.EventResume
		if w.flip(0.15) {
			e = fanfare.EventCancel
		}
		if s.decided = w.flip(0.85); s.decided {
			w.decide(s, e)
		}
	}
}

// decide resumes or cancels a message once it is paused for a reason that a person can mend.
func (w *world) decide(s *sending, e fanfare.Event) {
	switch p := s.state.Phase; {
	case p == fanfare.PhaseDraft:
		w.operate(s, fanfare.EventStart)
	case p.Status() == fanfare.Paused && s.state.PauseReason != fanfare.PauseDamaged:
		w.operate(s, e)
	}
	if !s.state.Phase.Final() {
		w.at(2*time.Second, func() { w.decide(s, e) })
	}
}

// over says whether all messages have ended.
func (w *world) over() bool {
	for _, s := range w.messages {
		if !s.state.Phase.Final() || s.wishes > 0 {
			return false
		}
	}
	return true
}

// settled says whether nothing is to happen any more.
func (w *world) settled() bool {
	for _, s := range w.messages {
		switch p := s.state.Phase; {
		case s.wishes > 0:
			return false
		case p.Final():
		case p != fanfare.PhasePaused && p != fanfare.PhaseDraft, s.decided && s.state.PauseReason != fanfare.PauseDamaged:
			return false
		}
	}
	return true
}

func (w *world) unsettled() string {
	var b strings.Builder
	for _, s := range w.messages {
		fmt.Fprintf(&b, "%s is %s, generation %d; ", s.id, s.state.Phase, s.state.Generation)
		for _, row := range w.rows(s) {
			if row.State != fanfare.BatchDone {
				fmt.Fprintf(&b, "%v state %d, %d pending, %d in flight, owner %v until %v; ", row.BatchRef, row.State, row.Pending.Len(), row.InFlight.Len(), row.Owner, row.LeaseUntil.Sub(w.clock()))
			}
		}
	}
	for _, n := range w.nodes {
		fmt.Fprintf(&b, "%v: ending %v, %d claims, %d writes, %d tasks held, awake %v, next %v; ", n.owner(), n.ending, len(n.core.claims), len(n.core.writes), len(n.held), n.awake-n.now, n.core.Next()-n.instant())
	}
	return b.String()
}

// retire tells all nodes to stop.
func (w *world) retire() {
	for _, n := range w.nodes {
		w.end(n)
	}
}

func (w *world) retired() bool {
	w.retire() // also who started since
	return len(w.nodes) == 0
}
