package fanfare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Scope says who of a message is to be sent to again, though a result stands: the failed or the uncertain.
type Scope struct {
	Result  Result   `json:"result"`            // failed or uncertain
	Reasons []Reason `json:"reasons,omitempty"` // of failed: only these; none: all but whoever was in doubt twice
	Again   bool     `json:"again,omitempty"`   // of uncertain: also whoever was in doubt twice
}

// Takes says whether the scope means whoever has the exception. Who was in doubt twice may have got two copies: a third one is sent
// only if a person asks for it by name, by again or by the reason of the failure.
func (s *Scope) Takes(e *Exception) bool {
	if e.Result != s.Result {
		return false
	}
	named := slices.Contains(s.Reasons, e.Reason)
	switch e.Result {
	case ResultFailed:
		return named || len(s.Reasons) == 0 && e.Doubts < 2
	case ResultUncertain:
		return s.Again || e.Doubts < 2
	default:
		return false
	}
}

// Amend is what somebody changes in a batch who does not send: a person who sends again to the failed or the uncertain (Reopen), or a
// person or a receipt that settles an uncertain item (As). It waits until no claim lives, then takes the row as a claim does, fence + 1,
// and lets go of it at once. Who is in flight of a dead claim stays so.
type Amend struct {
	BatchRef

	// Reopen makes pending whoever one of the scopes means. Generation guards it: the latch carries it and SlotPreparing, so that nobody
	// is sent to between two such entries, and doing it twice is doing it once.
	Reopen     []Scope
	Generation Generation

	// As settles the uncertain as sent or failed: those of Who (ascending), or all if it is nil. Revision is what a batch says to have
	// been sent with of which nobody was known to be sent to.
	As       Result
	Who      []Seq
	Revision Revision
}

// May says whether the entry may change the batch b under the latch at now: Applied, and then a store reads the batch's exceptions for
// Decide, or the answer.
func (a *Amend) May(rules Rules, l Latch, b *Batch, now time.Time) Answer {
	switch {
	case b.Claimed(now):
		return Busy
	case !l.Open, a.As == "" && !rules.AmendWithoutLatch && (l.Generation != a.Generation || l.Phase != SlotPreparing || !l.Frozen):
		return Stale
	case b.State == BatchNew || b.State == BatchHeld || b.Failed+b.Uncertain == 0:
		return Over
	default:
		return Applied
	}
}

// Decide says what an entry that May does to the batch b, whose exceptions it is handed with Rank and Seq: the row to write if the answer
// is Applied, and the exceptions that change. Over: there is nobody whom it means.
func (a *Amend) Decide(b *Batch, exceptions []Exception, now time.Time) (Batch, []Exception, Answer) {
	next := b.Clone()
	var changed []Exception
	for _, e := range exceptions {
		if a.As == "" && a.reopen(&next, &e) || a.As != "" && a.settle(&next, &e, now) {
			e.At = now
			changed = append(changed, e)
		}
	}
	if len(changed) == 0 {
		return *b, nil, Over
	}
	next.Fence++
	next.Step++
	next.Owner, next.LeaseUntil = Owner{}, time.Time{}
	next.State = BatchOpen
	if next.Finished() {
		next.State = BatchDone
	}
	return next, changed, Applied
}

// reopen makes somebody pending. What the provider said last stays to be read; the schedule begins anew behind the attempts so far.
func (a *Amend) reopen(next *Batch, e *Exception) bool {
	if !slices.ContainsFunc(a.Reopen, func(s Scope) bool { return s.Takes(e) }) {
		return false
	}
	if e.Result == ResultFailed {
		next.Failed--
	} else {
		next.Uncertain--
	}
	next.Pending.Set(e.Rank)
	next.NotBefore = time.Time{}
	e.Result, e.Reason, e.Before = ResultPending, "", e.Attempts
	return true
}

func (a *Amend) settle(next *Batch, e *Exception, now time.Time) bool {
	if e.Result != ResultUncertain {
		return false
	}
	if a.Who != nil {
		if _, named := slices.BinarySearch(a.Who, e.Seq); !named {
			return false
		}
	}
	next.Uncertain--
	e.Result = a.As
	if a.As == ResultFailed {
		next.Failed++
		e.Reason = ReasonSettled
		return true
	}
	next.Sent++
	e.Reason, e.Code, e.Text = "", "", ""
	if len(next.Runs) == 0 {
		next.Runs = []Run{{Revision: a.Revision, At: now}}
	}
	return true
}

// Check tells why nothing could be made of the entry.
func (a *Amend) Check() error {
	fits := func(s Scope) bool { return s.Result == ResultFailed || s.Result == ResultUncertain }
	switch {
	case a.As == "" && len(a.Reopen) > 0 && !slices.ContainsFunc(a.Reopen, func(s Scope) bool { return !fits(s) }):
	case (a.As == ResultSent || a.As == ResultFailed) && len(a.Reopen) == 0 && slices.IsSorted(a.Who):
	default:
		return fmt.Errorf("%v: it neither reopens failed or uncertain nor settles as sent or failed: %w", a.BatchRef, ErrUsage)
	}
	return nil
}

// Settler is what Settle asks of a store.
type Settler interface {
	Reports
	ShardOf(s Slot) int
	Append(ctx context.Context, shard int, entries []Entry) []EntryAnswer
}

// Settled says what became of a settlement.
type Settled struct {
	Who  []Seq // whose item was uncertain and is not any more, ascending
	Busy int   // uncertain in batches that a claim holds, or that could not be reached: to be tried again later
}

// settleTogether is how many batches are settled in one call of Append.
const settleTogether = 32

// Settle settles the uncertain items of one slot of a message as sent or failed: those of who (ascending), or all if it is nil. Whoever is
// not uncertain is left out, so it may be repeated. A receipt that says that somebody got the message (delivered, read, clicked) settles
// as sent. Of a message that is done, call [SumUp] afterwards.
func Settle(ctx context.Context, s Settler, m *Message, slot Slot, as Result, who []Seq) (done Settled, err error) {
	fail := func(err error) (Settled, error) {
		return done, fmt.Errorf("message %s, slot %d: settle as %s: %w", m.ID, slot, as, err)
	}
	rows, err := uncertain(ctx, s, m.Num, slot, who)
	if err != nil {
		return fail(err)
	}
	var failed []error
	for rows := range slices.Chunk(rows, settleTogether) {
		entries := make([]Entry, len(rows))
		for i := range rows {
			entries[i].Amend = &Amend{BatchRef: rows[i].BatchRef, As: as, Who: who, Revision: m.Revision}
		}
		for i, a := range s.Append(ctx, s.ShardOf(slot), entries) {
			switch a.Answer {
			case Applied:
				for _, e := range a.Exceptions {
					done.Who = append(done.Who, e.Seq)
				}
			case Busy, Stale:
				done.Busy += rows[i].Uncertain
			case Over:
			default:
				failed = append(failed, a.Err)
			}
		}
	}
	slices.Sort(done.Who)
	if len(failed) > 0 {
		return fail(errors.Join(failed...))
	}
	return done, nil
}

// uncertain finds the batches that have uncertain items, of all or of those with some of who.
func uncertain(ctx context.Context, s Settler, m MessageNum, slot Slot, who []Seq) (found []Batch, err error) {
	const page = 1000
	var ranks []int
	if who != nil {
		planned, err := s.PartSet(ctx, m, slot, PartSend)
		if err != nil {
			return nil, err
		}
		for _, seq := range who {
			if planned.Contains(seq) {
				ranks = append(ranks, planned.Rank(seq))
			}
		}
		if len(ranks) == 0 {
			return nil, nil
		}
	}
	for from := BatchNo(0); ; {
		rows, err := s.Batches(ctx, m, slot, from, page)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			b := &rows[i]
			if b.Uncertain == 0 || b.State == BatchHeld {
				continue
			}
			if who != nil {
				at, _ := slices.BinarySearchFunc(ranks, int(b.First), cmp.Compare[int])
				if at == len(ranks) || ranks[at] >= int(b.First)+b.N {
					continue
				}
			}
			found = append(found, *b)
		}
		if len(rows) < page {
			return found, nil
		}
		from = rows[len(rows)-1].Batch + 1
	}
}

// SumUp brings the outcome of a message that is done up to its counts, after some of its items were settled. It looks again after it wrote,
// so of several at once the last one is right.
func SumUp(ctx context.Context, s interface {
	Control
	Reports
	Slots() int
}, id MessageID,
) (m Message, err error) {
	for wrote := true; wrote; {
		wrote = false
		if err = s.View(ctx, func(v ControlView) (err error) { m, err = v.Message(id); return err }); err != nil || !m.Phase.Final() {
			return m, err
		}
		var sum Tally
		for n := range s.Slots() {
			t, err := s.Tally(ctx, m.Num, Slot(n)) //nolint:gosec // slots fit
			if err != nil {
				return m, fmt.Errorf("message %s: add up slot %d: %w", id, n, err)
			}
			sum.Add(t)
		}
		outcome := sum.Outcome()
		if m.Outcome == outcome || sum.Batches == 0 {
			return m, nil
		}
		err = s.Update(ctx, func(tx ControlTx) error {
			wrote = true
			now, err := tx.Message(id)
			if err != nil || now.State != m.State {
				return err
			}
			now.Outcome, now.UpdatedAt = outcome, tx.Now()
			m = now
			return tx.SaveMessage(&now, now.Phase, now.Generation)
		})
		if err != nil && !errors.Is(err, ErrConflict) {
			return m, err
		}
	}
	return m, nil
}
