package plan

import (
	"context"
	"fmt"
	"time"

	"fanfare"
)

// lane is a provider's window: how many tasks may be published and unclaimed, and who had how much of it. Shares are kept as virtual
// time: who was served least for their share is next, and who had nothing to publish for a while does not get it back afterwards.
type lane struct {
	provider string
	free     int
	messages []*message
	room     int
	levels   [fanfare.Levels]level
	clock    float64
}

// level is one priority's part of a lane.
type level struct {
	served float64 // tasks by share
	clock  float64 // of its messages
}

// laneOf names the lane of a message: its provider, or its channel where that needs none.
func laneOf(l fanfare.Look) string {
	if l.Provider != "" {
		return l.Provider
	}
	return string(l.Channel)
}

// send publishes for every message that is sending, and ends those that are done.
func (p *Planner) send(ctx context.Context, now time.Time, nodes []fanfare.Node, all []*message) (failed []error) {
	var order []*lane
	free := p.free(now, nodes)
	for _, m := range all {
		if m.State.Phase != fanfare.PhaseSending || m.State.Reopens {
			continue
		}
		l := p.lane(laneOf(m.Look))
		if len(l.messages) == 0 {
			order = append(order, l)
			l.free, l.room = free[l.provider], 2*free[l.provider]
		}
		l.messages = append(l.messages, m)
		if err := p.visit(ctx, now, m, l.free); err != nil {
			failed = append(failed, fmt.Errorf("message %s: %w", m.ID, err))
		}
		if !p.local {
			l.room -= m.outstanding()
		}
	}
	for _, l := range order {
		failed = append(failed, p.fill(ctx, now, l)...)
		for _, m := range l.messages {
			if m.slots != nil && m.finished(p.Rules) {
				if err := p.finish(ctx, m); err != nil {
					failed = append(failed, fmt.Errorf("message %s: finish: %w", m.ID, err))
				}
			}
		}
		l.messages = nil
	}
	return failed
}

func (p *Planner) lane(provider string) *lane {
	l := p.lanes[provider]
	if l == nil {
		l = &lane{provider: provider}
		p.lanes[provider] = l
	}
	return l
}

// free adds up the free claims that live nodes reported last.
func (p *Planner) free(now time.Time, nodes []fanfare.Node) map[string]int {
	sum := make(map[string]int)
	if p.Free != nil {
		for provider, n := range p.Free() {
			sum[provider] += n
		}
	}
	for _, n := range nodes {
		if !n.Alive(now) || p.Free != nil && n.Name == p.Node {
			continue
		}
		for provider, free := range n.Free {
			sum[provider] += free
		}
	}
	return sum
}

// fill publishes what the window still takes.
func (p *Planner) fill(ctx context.Context, now time.Time, l *lane) (failed []error) {
	if l.room > 0 && (p.local || now.Before(p.heldSince.Add(fanfare.RepublishTime))) {
		// What a planner before this one published may still wait.
		waiting, err := p.Queue.Depth(ctx, l.provider)
		if err != nil {
			return []error{fmt.Errorf("depth of the queue of %q: %w", l.provider, err)}
		}
		l.room = min(l.room, 2*l.free-waiting)
	}
	l.begin()
	var tasks []taken
	idle, has := make(map[*message]bool), make(map[*message]bool)
	fresh := now.Before(p.heldSince.Add(fanfare.RepublishTime)) // what waits may be a former planner's
	for _, m := range l.messages {
		has[m] = fresh || m.outstanding() > 0
	}
	for {
		m := l.pick(idle)
		if m == nil {
			break
		}
		if l.room <= 0 && (l.free == 0 || has[m]) {
			idle[m] = true // whoever has no task at all gets one over the window: it does not wait until a giant's is claimed
			continue
		}
		n, r, ok, err := p.take(ctx, now, m)
		if err != nil {
			failed = append(failed, fmt.Errorf("message %s: %w", m.ID, err))
		}
		if !ok {
			idle[m] = true
			continue
		}
		l.serve(m)
		l.room--
		tasks = append(tasks, taken{fanfare.Task{BatchRef: fanfare.BatchRef{Message: m.Num, Slot: n, Batch: r.batch},
			Generation: m.State.Generation, Provider: l.provider, Priority: m.Priority}, &m.slots[n], r, m.line(now)})
		has[m] = true
		if len(tasks) == portion {
			failed = append(failed, p.publish(ctx, tasks)...)
			tasks = tasks[:0]
		}
	}
	return append(failed, p.publish(ctx, tasks)...)
}

// portion is how many tasks are published at once, so that the first are claimed while the next are read.
const portion = 128

// publish hands tasks to the queue and notes that they wait there.
func (p *Planner) publish(ctx context.Context, taken []taken) (failed []error) {
	if len(taken) == 0 {
		return nil
	}
	tasks := make([]fanfare.Task, len(taken))
	for i := range taken {
		tasks[i] = taken[i].Task
	}
	var before time.Duration
	if err := p.Queue.Publish(ctx, tasks); err != nil {
		failed = append(failed, fmt.Errorf("publish %d tasks for %q: %w", len(tasks), tasks[0].Provider, err))
		before = fanfare.RepublishTime - visitEvery // some may be there, some not: again in a second
	}
	for _, t := range taken {
		t.slot.publish(t.ready, t.at.Add(-before))
	}
	return failed
}

// taken is a task on its way to the queue, and where it came from.
type taken struct {
	fanfare.Task
	slot *slotPlan
	ready
	at time.Time
}

// begin lets whoever had nothing to publish lately join at the present virtual time.
func (l *lane) begin() {
	for i := range l.levels {
		l.levels[i].served = max(l.levels[i].served, l.clock)
	}
	for _, m := range l.messages {
		m.served = max(m.served, l.levels[m.Priority.Level()].clock)
	}
}

// pick gives the message that comes next: of the priority that was served least for its share the message that was served least.
func (l *lane) pick(idle map[*message]bool) *message {
	var best *message
	for _, m := range l.messages {
		if idle[m] {
			continue
		}
		if best == nil {
			best = m
			continue
		}
		mine, its := m.Priority.Level(), best.Priority.Level()
		if a, b := l.levels[mine].served, l.levels[its].served; mine != its {
			if a < b || a == b && mine < its { //nolint:gocritic // both compare the same two
				best = m
			}
		} else if m.served < best.served {
			best = m
		}
	}
	return best
}

// serve notes that the message got a task.
func (l *lane) serve(m *message) {
	level := &l.levels[m.Priority.Level()]
	l.clock = level.served
	level.served += 1 / float64(m.Priority.Share())
	level.clock = m.served
	m.served++
}
