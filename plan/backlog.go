package plan

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"fanfare"
)

const (
	pageSize    = 256                   // rows a reading of the backlog
	visitEvery  = time.Second           // from the first unfinished batch on: what was given up, retries, lost tasks
	visitAtTail = 10 * time.Millisecond // the same when all is published and only the end is awaited, ever less often if it does not come
)

// slotPlan is what the planner knows of one slot's batches within a generation.
type slotPlan struct {
	cursor  fanfare.BatchNo // those before are done, and stay so
	next    fanfare.BatchNo // those from here on were not read yet
	end     bool            // there are none from next on
	over    bool            // none is unfinished: all are done or held, and stay so
	visited time.Time       // when it was last read from the cursor on
	tail    time.Time       // since when all is published; zero: it is not
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
	at time.Time // by the message's line
}

// line is a clock that stands still while no claim is free: a task that waits for one was not lost.
func (m *message) line(now time.Time) time.Time { return now.Add(-m.stood) }

// visit reads what may have changed in the slots of a message: which tasks were claimed, what was given up, what is over.
func (p *Planner) visit(ctx context.Context, now time.Time, m *message, free int) error {
	if free == 0 && !m.visited.IsZero() {
		m.stood += now.Sub(m.visited)
	}
	m.visited = now
	if m.slots == nil {
		m.slots = make([]slotPlan, p.Store.Slots())
	}
	ends := true // all slots before are over
	for i := range m.slots {
		s, n := &m.slots[i], fanfare.Slot(i) //nolint:gosec // slots fit
		var err error
		switch every := s.interval(now); {
		case s.over:
			continue
		case now.Sub(s.visited) >= every, ends && s.asks(now):
			if err = p.read(ctx, now, m, n, s.cursor, s.next); err == nil {
				s.visited = now
			}
		case len(s.out) > 0 && !p.local:
			err = p.read(ctx, now, m, n, s.out[0].batch, s.out[len(s.out)-1].batch+1)
		}
		if err != nil {
			return fmt.Errorf("slot %d: %w", i, err)
		}
		ends = ends && s.over
		p.wait = min(p.wait, max(s.visited.Add(s.interval(now)).Sub(now), tickGap))
	}
	return nil
}

// asks says whether a slot of which only the end is awaited is read ahead of its interval: whatever woke the planner may have been its
// end. Only one slot of a message is asked in vain each time, the longer it goes on the less often.
func (s *slotPlan) asks(now time.Time) bool {
	return !s.tail.IsZero() && now.Sub(s.visited) > now.Sub(s.tail)/64
}

// interval says how often the slot is read as a whole. Where only the end is awaited it is noticed soon after a short tail, and within
// a quarter of a long one.
func (s *slotPlan) interval(now time.Time) time.Duration {
	if !s.end || len(s.ready) > 0 {
		s.tail = time.Time{}
		return visitEvery
	}
	if s.tail.IsZero() {
		s.tail = now
	}
	return min(max(now.Sub(s.tail)/4, visitAtTail), visitEvery)
}

// read reads the unfinished batches of a slot from one on to another, or to the end of a page, and sets right what is known of them.
func (p *Planner) read(ctx context.Context, now time.Time, m *message, n fanfare.Slot, from, to fanfare.BatchNo) error {
	s := &m.slots[n]
	var rows []fanfare.Batch
	first, end := fanfare.BatchNo(0), false
	for at := from; ; {
		limit := pageSize
		if to > at {
			limit = min(limit, int(to-at))
		}
		page, unfinished, err := p.Store.Backlog(ctx, m.Num, n, at, limit)
		if err != nil {
			return fmt.Errorf("read its batches: %w", err)
		}
		rows, first, end = append(rows, page...), unfinished, len(page) < limit
		if end {
			break
		}
		if at = page[len(page)-1].Batch + 1; at >= to {
			break
		}
	}
	// What is known beyond the rows stays: there the reading did not come.
	until := max(s.next, from)
	if !end {
		until = rows[len(rows)-1].Batch + 1
	}
	s.over = s.over || end && from <= s.cursor && len(rows) == 0
	s.end = s.end || end
	if len(rows) > 0 {
		s.next = max(s.next, rows[len(rows)-1].Batch+1)
	}
	s.sort(now, m.line(now), from, until, rows)
	if from <= s.cursor {
		s.cursor = max(s.cursor, min(first, s.next))
	}
	return nil
}

// sort puts the batches from one on and before another where they belong by their rows: claimed or not due, published, ready.
func (s *slotPlan) sort(now, line time.Time, from, until fanfare.BatchNo, rows []fanfare.Batch) {
	readyHead, _, readyTail := split(s.ready, from, until)
	outHead, wasOut, outTail := split(s.out, from, until)
	s.ready = append(make([]ready, 0, len(s.ready)+len(rows)), readyHead...)
	s.out = append(make([]published, 0, len(s.out)), outHead...)
	for i := range rows {
		b := &rows[i]
		for len(wasOut) > 0 && wasOut[0].batch < b.Batch {
			wasOut = wasOut[1:]
		}
		if b.Claimed(now) || now.Before(b.NotBefore) {
			continue
		}
		r := ready{batch: b.Batch, fence: b.Fence}
		if len(wasOut) > 0 && wasOut[0].ready == r && line.Sub(wasOut[0].at) < fanfare.RepublishTime {
			s.out = append(s.out, wasOut[0])
			continue
		}
		s.ready = append(s.ready, r)
	}
	s.ready, s.out = append(s.ready, readyTail...), append(s.out, outTail...)
}

// number gives the batch's number.
func (r ready) number() fanfare.BatchNo { return r.batch }

// split cuts a list of batches before two numbers.
func split[B interface{ number() fanfare.BatchNo }](list []B, from, until fanfare.BatchNo) (head, middle, tail []B) {
	at := func(n fanfare.BatchNo) int {
		i, _ := slices.BinarySearchFunc(list, n, func(b B, n fanfare.BatchNo) int { return cmp.Compare(b.number(), n) })
		return i
	}
	i, j := at(from), at(max(from, until))
	return list[:i], list[i:j], list[j:]
}

// publish notes that the slot's task was published.
func (s *slotPlan) publish(r ready, at time.Time) {
	head, _, _ := split(s.out, r.batch, r.batch)
	s.out = slices.Insert(s.out, len(head), published{r, at})
}

// take gives the message's next task: of one slot for a while, then of the next one.
func (p *Planner) take(ctx context.Context, now time.Time, m *message) (n fanfare.Slot, r ready, ok bool, err error) {
	const streak = 32
	for range m.slots {
		s := &m.slots[m.turn]
		if m.streak < streak {
			if len(s.ready) == 0 && !s.end && !s.over {
				if err := p.read(ctx, now, m, fanfare.Slot(m.turn), s.next, s.next); err != nil { //nolint:gosec // slots fit
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
