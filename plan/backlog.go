package plan

import (
	"context"
	"fmt"
	"slices"
	"time"

	"fanfare"
)

const (
	pageSize    = 256                   // rows a reading of the backlog
	visitEvery  = time.Second           // from the first unfinished batch on: what was given up, retries, lost tasks
	visitAtTail = 50 * time.Millisecond // the same when all is published and only the end is awaited
)

// slotPlan is what the planner knows of one slot's batches within a generation.
type slotPlan struct {
	cursor  fanfare.BatchNo // those before are done, and stay so
	next    fanfare.BatchNo // those from here on were not read yet
	end     bool            // there are none from next on
	over    bool            // none is unfinished: all are done or held, and stay so
	visited time.Time       // when it was last read from the cursor on
	ready   []ready         // read, unclaimed and due, not published; ascending
	out     []published     // published and not known to be claimed; ascending
}

// ready is a batch that can be published.
type ready struct {
	batch fanfare.BatchNo
	fence int64
}

// published is a task of which nobody knows more yet.
type published struct {
	ready
	at time.Time
}

// visit reads what may have changed in the slots of a message: which tasks were claimed, what was given up, what is over. in line: no
// claim is free, so that a task that waits was not lost.
func (p *Planner) visit(ctx context.Context, now time.Time, m *message, inLine bool) error {
	if m.slots == nil {
		m.slots = make([]slotPlan, p.Store.Slots())
	}
	for i := range m.slots {
		s := &m.slots[i]
		from, due := s.visitFrom(now)
		if !due {
			continue
		}
		if err := p.read(ctx, now, m, fanfare.Slot(i), from, inLine); err != nil { //nolint:gosec // slots fit
			return fmt.Errorf("slot %d: %w", i, err)
		}
		if from == s.cursor {
			s.visited = now
		}
	}
	return nil
}

func (s *slotPlan) visitFrom(now time.Time) (from fanfare.BatchNo, due bool) {
	every := visitEvery
	if s.end && len(s.out) == 0 && len(s.ready) == 0 {
		every = visitAtTail
	}
	switch {
	case s.over:
		return 0, false
	case s.visited.IsZero() || now.Sub(s.visited) >= every:
		return s.cursor, true
	case len(s.out) > 0:
		return s.out[0].batch, true
	}
	return 0, false
}

// read reads the unfinished batches of a slot from one on, at least as far as they were read before, and sets right what is known.
func (p *Planner) read(ctx context.Context, now time.Time, m *message, n fanfare.Slot, from fanfare.BatchNo, inLine bool) error {
	s := &m.slots[n]
	var rows []fanfare.Batch
	first, end := fanfare.BatchNo(0), false
	for at := from; ; {
		page, unfinished, err := p.Store.Backlog(ctx, m.Num, n, at, pageSize)
		if err != nil {
			return fmt.Errorf("read its batches: %w", err)
		}
		rows, first, end = append(rows, page...), unfinished, len(page) < pageSize
		if end {
			break
		}
		if at = page[len(page)-1].Batch + 1; at >= s.next {
			break
		}
	}
	s.over = s.over || end && from <= s.cursor && len(rows) == 0
	s.end = s.end || end
	if len(rows) > 0 {
		s.next = max(s.next, rows[len(rows)-1].Batch+1)
	}
	s.sort(now, from, rows, inLine)
	if from <= s.cursor {
		s.cursor = max(s.cursor, min(first, s.next))
	}
	return nil
}

// sort puts the batches from one on where they belong by their rows: claimed or not due, published, ready.
func (s *slotPlan) sort(now time.Time, from fanfare.BatchNo, rows []fanfare.Batch, inLine bool) {
	wasOut := s.out
	keep := func(b fanfare.BatchNo) bool { return b < from }
	s.ready = s.ready[:lenWhile(len(s.ready), func(i int) bool { return keep(s.ready[i].batch) })]
	cut := lenWhile(len(wasOut), func(i int) bool { return keep(wasOut[i].batch) })
	s.out = append(make([]published, 0, len(wasOut)), wasOut[:cut]...)
	wasOut = wasOut[cut:]
	for i := range rows {
		b := &rows[i]
		for len(wasOut) > 0 && wasOut[0].batch < b.Batch {
			wasOut = wasOut[1:]
		}
		if b.Claimed(now) || now.Before(b.NotBefore) {
			continue
		}
		r := ready{batch: b.Batch, fence: b.Fence}
		if len(wasOut) > 0 && wasOut[0].ready == r { // nobody claimed it
			was := wasOut[0]
			if inLine && now.Sub(was.at) >= fanfare.RepublishTime/2 {
				was.at = now
			}
			if now.Sub(was.at) < fanfare.RepublishTime {
				s.out = append(s.out, was)
				continue
			}
		}
		s.ready = append(s.ready, r)
	}
}

// lenWhile counts the leading indexes below n that ok holds for.
func lenWhile(n int, ok func(i int) bool) int {
	for i := range n {
		if !ok(i) {
			return i
		}
	}
	return n
}

// publish notes that the slot's task was published.
func (s *slotPlan) publish(r ready, at time.Time) {
	i, _ := slices.BinarySearchFunc(s.out, r.batch, func(o published, b fanfare.BatchNo) int { return int(int64(o.batch) - int64(b)) })
	s.out = slices.Insert(s.out, i, published{r, at})
}

// take gives the message's next task: of one slot for a while, then of the next one.
func (p *Planner) take(ctx context.Context, now time.Time, m *message) (n fanfare.Slot, r ready, ok bool, err error) {
	const streak = 32
	for range m.slots {
		s := &m.slots[m.turn]
		if m.streak < streak {
			if len(s.ready) == 0 && !s.end && !s.over {
				if err := p.read(ctx, now, m, fanfare.Slot(m.turn), s.next, false); err != nil { //nolint:gosec // slots fit
					return 0, ready{}, false, fmt.Errorf("slot %d: %w", m.turn, err)
				}
			}
			if len(s.ready) > 0 {
				r, s.ready = s.ready[0], s.ready[1:]
				m.streak++
				return fanfare.Slot(m.turn), r, true, nil //nolint:gosec // slots fit
			}
		}
		m.turn, m.streak = (m.turn+1)%len(m.slots), 0
	}
	return 0, ready{}, false, nil
}

// outstanding counts the tasks that are published and not known to be claimed.
func (m *message) outstanding() (n int) {
	for i := range m.slots {
		n += len(m.slots[i].out)
	}
	return n
}

// finished says whether no slot has an unfinished batch. Under the broken rule it is enough that nothing is ready.
func (m *message) finished(rules fanfare.Rules) bool {
	for i := range m.slots {
		s := &m.slots[i]
		if !s.over && !(rules.CompletedWhenEmpty && s.end && len(s.ready) == 0 && len(s.out) == 0) {
			return false
		}
	}
	return true
}
