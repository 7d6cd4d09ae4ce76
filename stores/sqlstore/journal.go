package sqlstore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"fanfare"
	"fanfare/set"
)

// Shards implements fanfare.Journal.
func (s *Store) Shards() int { return 1 }

// ShardOf implements fanfare.Journal.
func (s *Store) ShardOf(fanfare.Slot) int { return 0 }

// journalCall is one call of Append.
type journalCall struct {
	shard   int
	entries []fanfare.Entry
	answers []fanfare.EntryAnswer
}

// lose answers Unknown to all.
func (j *journalCall) lose(why error) {
	for i := range j.answers {
		j.answers[i] = fanfare.EntryAnswer{Answer: fanfare.Unknown, Err: why}
	}
}

// Append implements fanfare.Journal.
func (s *Store) Append(ctx context.Context, shard int, entries []fanfare.Entry) []fanfare.EntryAnswer {
	call := &journalCall{shard: shard, entries: entries, answers: make([]fanfare.EntryAnswer, len(entries))}
	if err := s.enter(ctx); err != nil {
		call.lose(err)
		return call.answers
	}
	defer s.leave()
	u := &unit{ctx: ctx, journal: call, done: make(chan struct{})}
	s.writer.submit(u)
	<-u.done
	return call.answers
}

// group is all entries of one transaction and what they have to know of the database.
type group struct {
	*tx
	hopeful bool // a row is written as if it were what it was; whether it was is known at the end
	latches map[audienceKey]fanfare.Latch
	shut    map[fanfare.Slot]bool               // slots that are not here, or are read only
	rows    map[fanfare.BatchRef]*fanfare.Batch // those that claims and amendments ask for, as the transaction sees them
	sets    map[slotSet]loaded
}

type slotSet struct {
	slot fanfare.Slot
	name fanfare.SetName
}

// journal carries out the entries of calls in order; an error means that the whole transaction is lost.
func (t *tx) journal(calls []*journalCall) error {
	g := &group{tx: t, latches: make(map[audienceKey]fanfare.Latch), rows: make(map[fanfare.BatchRef]*fanfare.Batch), sets: make(map[slotSet]loaded)}
	if err := g.latch(calls); err != nil {
		return err
	}
	g.hopeful = t.pipeline != nil
	refused, lost := t.apart(func() error { return g.together(calls) })
	if g.hopeful = false; errors.Is(refused, errMoved) && lost == nil {
		clear(g.rows)
		refused, lost = t.apart(func() error { return g.together(calls) })
	}
	if lost != nil {
		return lost
	}
	if refused != nil {
		if !refusal(refused) {
			return refused
		}
		clear(g.rows)
		return g.alone(calls)
	}
	return nil
}

// errMoved says that a row is not what a record took it for: the group is carried out once more, step by step.
var errMoved = errors.New("the row is another one")

// refusal says whether err is about one entry (its values, its row), not about the database as a whole.
func refusal(err error) bool {
	var f *Failure
	return !errors.As(err, &f) || f.Data || errors.Is(f.Kind, fanfare.ErrDamaged)
}

// latch reads the latch rows of all entries once.
func (g *group) latch(calls []*journalCall) error {
	var values []driver.Value
	for _, call := range calls {
		for _, e := range call.entries {
			r := e.Ref()
			k := audienceKey{r.Message, r.Slot}
			if _, asked := g.latches[k]; !asked {
				g.latches[k] = fanfare.Latch{}
				values = append(values, int64(r.Message), int64(r.Slot))
			}
		}
	}
	clear(g.latches) // of those that are not there nothing stays
	g.shut = make(map[fanfare.Slot]bool)
	ask, name := g.queryLatch, "latch.rows"
	if g.dialect.Locks {
		sortPairs(values)
		ask, name = g.askRows, "latch.share"
	}
	return ask(func(r []driver.Value) error {
		n, state := fanfare.Slot(integer(r[0])), fanfare.SlotState(integer(r[2])) //nolint:gosec // as written
		g.touch(n, integer(r[4]))
		g.shut[n] = !state.Writable()
		g.latches[audienceKey{fanfare.MessageNum(integer(r[5])), n}] = fanfare.Latch{Slot: n, Epoch: integer(r[1]), Open: state == fanfare.SlotOpen, Rev: integer(r[3]),
			Phase: fanfare.SlotPhase(integer(r[6])), Generation: fanfare.Generation(integer(r[7])), Frozen: integer(r[8]) != 0, Few: integer(r[9]) != 0}
		return nil
	}, name, 2, values)
}

func (g *group) queryLatch(scan func(row []driver.Value) error, name string, width int, values []driver.Value) error {
	return g.queryRows(scan, name, width, values)
}

// sortPairs orders messages and slots by slot, then message: so locks are taken.
func sortPairs(values []driver.Value) {
	pairs := make([][2]int64, 0, len(values)/2)
	for i := 0; i < len(values); i += 2 {
		pairs = append(pairs, [2]int64{integer(values[i+1]), integer(values[i])})
	}
	slices.SortFunc(pairs, func(a, b [2]int64) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	for i, p := range pairs {
		values[2*i], values[2*i+1] = p[1], p[0]
	}
}

// together carries out all entries; an error says that one was refused, or worse.
func (g *group) together(calls []*journalCall) error {
	var claimed []fanfare.BatchRef
	for _, call := range calls {
		for _, e := range call.entries {
			if e.Record == nil {
				claimed = append(claimed, e.Ref())
			}
		}
	}
	if err := g.claimable(claimed, func(_ int, b fanfare.Batch, damaged error) error {
		g.rows[b.BatchRef] = &b
		return damaged
	}); err != nil {
		return err
	}
	for _, call := range calls {
		for i, e := range call.entries {
			a, err := g.entry(call.shard, e)
			if err != nil {
				return err
			}
			call.answers[i] = a
		}
	}
	return nil
}

// alone carries out each entry so that its refusal touches no other, and holds the batch of one that is refused.
func (g *group) alone(calls []*journalCall) error {
	for _, call := range calls {
		for i, e := range call.entries {
			ref := e.Ref()
			delete(g.rows, ref)
			var a fanfare.EntryAnswer
			refused, lost := g.apart(func() (err error) {
				a, err = g.entry(call.shard, e)
				return err
			})
			if lost == nil && refused != nil && !refusal(refused) {
				lost = refused
			}
			if lost != nil {
				return lost
			}
			if refused != nil {
				delete(g.rows, ref)
				why := refused
				if refused, lost = g.apart(func() (err error) {
					a, err = g.hold(ref, why)
					return err
				}); lost == nil && refused != nil && !refusal(refused) {
					lost = refused
				}
				if lost != nil {
					return lost
				}
				if refused != nil { // the row is beyond help
					a = fanfare.EntryAnswer{Answer: fanfare.Failed, Row: fanfare.Batch{BatchRef: ref}, Err: errors.Join(why, refused)}
				}
			}
			call.answers[i] = a
		}
	}
	return nil
}

func (g *group) entry(shard int, e fanfare.Entry) (fanfare.EntryAnswer, error) {
	ref := e.Ref()
	if shard != 0 {
		return fanfare.EntryAnswer{Answer: fanfare.Failed, Err: fmt.Errorf("%v does not lie on shard %d: %w", ref, shard, fanfare.ErrUsage)}, nil
	}
	l, there := g.latches[audienceKey{ref.Message, ref.Slot}]
	if !there && int(ref.Slot) < g.s.slots { // a slot that is away has no rows of the latch
		switch err := g.writable(ref.Slot); {
		case errors.Is(err, fanfare.ErrMoving):
			g.shut[ref.Slot] = true
		case err != nil:
			return fanfare.EntryAnswer{}, err
		}
	}
	if g.shut[ref.Slot] {
		a := fanfare.EntryAnswer{Answer: fanfare.Stale, Row: fanfare.Batch{BatchRef: ref}, Err: moving(ref.Slot)}
		if e.Record != nil { // it may be written where the slot is now
			a.Answer = fanfare.Unknown
		}
		return a, nil
	}
	if !there {
		return fanfare.EntryAnswer{Answer: fanfare.Stale, Row: fanfare.Batch{BatchRef: ref}}, nil
	}
	switch {
	case e.Claim != nil:
		return g.claim(e.Claim, l)
	case e.Amend != nil:
		return g.amend(e.Amend, l)
	default:
		return g.record(e.Record, l)
	}
}

// row gives a row as the transaction sees it; nil if there is none.
func (g *group) row(r fanfare.BatchRef) (*fanfare.Batch, error) {
	if b := g.rows[r]; b != nil {
		return b, nil
	}
	b, found, err := g.conn.batch(r, g.dialect.Locks)
	if err != nil || !found {
		return nil, err
	}
	return &b, nil
}

// saved notes what became of a row.
func (g *group) saved(b *fanfare.Batch) {
	if g.rows[b.BatchRef] != nil {
		g.rows[b.BatchRef] = b
	}
}

func (g *group) claim(c *fanfare.Claim, l fanfare.Latch) (fanfare.EntryAnswer, error) {
	b, err := g.row(c.BatchRef)
	if err != nil || b == nil {
		return fanfare.EntryAnswer{Answer: fanfare.Stale, Row: fanfare.Batch{BatchRef: c.BatchRef}}, err
	}
	next, found, answer := c.Decide(fanfare.Rules{}, l, *b, g.now)
	if answer != fanfare.Applied {
		return fanfare.EntryAnswer{Answer: answer, Row: b.Clone()}, nil
	}
	if c.Delivers() {
		return g.deliver(c, l, b, next, found)
	}
	var members []fanfare.Seq
	begins := c.Begins(b)
	if begins || b.State != fanfare.BatchNew { // nobody has written an exception of a new one
		if members, err = g.members(b); err != nil {
			return g.hold(c.BatchRef, err)
		}
	}
	if begins {
		who, err := g.suppressions(c.Slot, c.First.Suppressions, members[0], members[len(members)-1], len(members))
		if err != nil {
			return fanfare.EntryAnswer{}, err
		}
		why := who.why
		if who.allAlive && len(who.parts) == 0 {
			why = nil
		}
		found = c.Begin(&next, members, why)
		if who.damaged != nil { // who gets nothing is not known
			return g.hold(c.BatchRef, who.damaged)
		}
	}
	asKept(&next)
	if same, err := g.save(&next, b.Fence, b.Step); err != nil || !same {
		return fanfare.EntryAnswer{}, unchanged(&next, err)
	}
	for i := range found {
		found[i].Seq, found[i].At = members[found[i].Rank], g.now
	}
	if err := g.except(c.BatchRef, found); err != nil {
		return fanfare.EntryAnswer{}, err
	}
	a := fanfare.EntryAnswer{Answer: fanfare.Applied, Row: next.Clone()}
	if begins {
		a.Members = members
	}
	if len(members) > 0 && (!begins || len(found) > 0) {
		if a.Exceptions, err = g.exceptionsOf(c.BatchRef, members); err != nil {
			return fanfare.EntryAnswer{}, err
		}
	}
	g.saved(&next)
	return a, nil
}

func (g *group) amend(d *fanfare.Amend, l fanfare.Latch) (fanfare.EntryAnswer, error) {
	b, err := g.row(d.BatchRef)
	if err != nil || b == nil {
		return fanfare.EntryAnswer{Answer: fanfare.Stale, Row: fanfare.Batch{BatchRef: d.BatchRef}}, err
	}
	if err := d.Check(); err != nil {
		return fanfare.EntryAnswer{Answer: fanfare.Failed, Row: b.Clone(), Err: err}, nil
	}
	if answer := d.May(fanfare.Rules{}, l, b, g.now); answer != fanfare.Applied {
		return fanfare.EntryAnswer{Answer: answer, Row: b.Clone()}, nil
	}
	members, err := g.members(b)
	if err != nil {
		return g.hold(d.BatchRef, err)
	}
	exceptions, err := g.exceptionsOf(d.BatchRef, members)
	if err != nil {
		return fanfare.EntryAnswer{}, err
	}
	next, changed, answer := d.Decide(b, exceptions, g.now)
	if answer != fanfare.Applied {
		return fanfare.EntryAnswer{Answer: answer, Row: b.Clone()}, nil
	}
	asKept(&next)
	if same, err := g.save(&next, b.Fence, b.Step); err != nil || !same {
		return fanfare.EntryAnswer{}, unchanged(&next, err)
	}
	if err := g.except(d.BatchRef, changed); err != nil {
		return fanfare.EntryAnswer{}, err
	}
	g.saved(&next)
	g.tell(fanfare.News{Kind: fanfare.NewsDelivered, Message: d.Message, Slot: d.Slot})
	return fanfare.EntryAnswer{Answer: fanfare.Applied, Row: next.Clone(), Exceptions: changed}, nil
}

// members gives the members of a batch; an error says that they cannot be read.
func (g *group) members(b *fanfare.Batch) ([]fanfare.Seq, error) {
	members, err := g.s.members(g.conn, audienceKey{b.Message, b.Slot}, b.First, b.N)
	if err == nil && len(members) != b.N {
		err = fmt.Errorf("%v: %d of its %d members are there: %w", b.BatchRef, len(members), b.N, fanfare.ErrDamaged)
	}
	return members, err
}

// unchanged is what a guarded write that found another row answers: within one transaction that cannot be.
func unchanged(b *fanfare.Batch, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%s changed within the transaction: %w", rowOfBatch(b.BatchRef), fanfare.ErrDamaged)
}

func (g *group) record(r *fanfare.Record, l fanfare.Latch) (fanfare.EntryAnswer, error) {
	b := g.rows[r.BatchRef]
	if b == nil {
		// Check looks at first and n, Decide at fence and step; the statement is guarded by all four. So the row is not read: the record is
		// decided for the row that its holder knows, and only if that is not the row any more it is read.
		b = &fanfare.Batch{BatchRef: r.BatchRef, First: r.Next.First, N: r.Next.N, Fence: r.Fence, Step: r.Step}
		a, done, err := g.tryRecord(r, l, b)
		if done || err != nil {
			return a, err
		}
		if b, err = g.row(r.BatchRef); err != nil || b == nil {
			return fanfare.EntryAnswer{Answer: fanfare.Stale, Row: fanfare.Batch{BatchRef: r.BatchRef}}, err
		}
	}
	if b.Fence != r.Fence || b.Step != r.Step {
		return fanfare.EntryAnswer{Answer: fanfare.Stale, Row: b.Clone()}, nil
	}
	if err := r.Check(b); err != nil {
		return g.hold(r.BatchRef, err)
	}
	a, done, err := g.tryRecord(r, l, b)
	if err == nil && !done {
		err = unchanged(b, nil)
	}
	return a, err
}

// tryRecord writes the record over b; it is not done if b is not the row.
func (g *group) tryRecord(r *fanfare.Record, l fanfare.Latch, b *fanfare.Batch) (a fanfare.EntryAnswer, done bool, err error) {
	if r.Check(b) != nil {
		return a, false, nil
	}
	var who suppressions
	if r.Intent != nil {
		first, last := span(r.Intent)
		if who, err = g.suppressions(r.Slot, r.Intent.Suppressions, first, last, len(r.Intent.Members)); err != nil {
			return a, false, err
		}
	}
	next, found, answer := r.Decide(fanfare.Rules{}, l, b, g.now, who.why)
	if who.damaged != nil { // who gets nothing is not known
		if row, err := g.row(r.BatchRef); err != nil || row == nil || row.Fence != r.Fence || row.Step != r.Step {
			return a, false, err
		}
		a, err = g.hold(r.BatchRef, who.damaged)
		return a, true, err
	}
	asKept(&next)
	same, err := g.save(&next, b.Fence, b.Step)
	if err != nil || !same {
		return a, false, err
	}
	if err := g.except(r.BatchRef, found); err != nil {
		return a, false, err
	}
	g.saved(&next)
	return fanfare.EntryAnswer{Answer: answer, Row: next.Clone()}, true, nil
}

// save writes a row that is touched, and tells whether it was what it was at fence and step; if it is hopeful, the end tells.
func (g *group) save(b *fanfare.Batch, fence, step int64) (bool, error) {
	if g.hopeful {
		return true, g.saveSoon(b, fence, step)
	}
	return g.saveBatch(b, fence, step)
}

// hold keeps the batch for a person, with the reason, and answers that its entry failed.
func (g *group) hold(r fanfare.BatchRef, why error) (fanfare.EntryAnswer, error) {
	a := fanfare.EntryAnswer{Answer: fanfare.Failed, Row: fanfare.Batch{BatchRef: r}, Err: why}
	b, err := g.row(r)
	switch {
	case err == nil && b == nil:
		a.Answer, a.Err = fanfare.Stale, nil
		return a, nil
	case err != nil: // its sets cannot be read: they stay as they are
		return a, g.holdDamaged(r, why.Error())
	}
	next := b.Hold(why.Error())
	if same, err := g.save(&next, b.Fence, b.Step); err != nil || !same {
		return a, unchanged(&next, err)
	}
	a.Row = next.Clone()
	g.saved(&next)
	return a, nil
}

// except writes exceptions; attempts and doubts of a row that is there never fall.
func (g *group) except(r fanfare.BatchRef, found []fanfare.Exception) error {
	if len(found) == 0 {
		return nil
	}
	values := make([]driver.Value, 0, 11*len(found))
	for i := range found {
		e := &found[i]
		if e.Text != "" || e.Code != "" {
			alive, err := g.loadedSet(r.Slot, fanfare.SetAlive)
			if err != nil {
				return err
			}
			if alive.at(e.Seq) == nil && !alive.members.Contains(e.Seq) { // whoever wrote it knew them before
				e.Erase()
			}
		}
		values = append(values, int64(r.Message), int64(r.Slot), int64(e.Seq), string(e.Result), string(e.Reason), e.Code, e.Text, int64(e.Attempts),
			int64(e.Doubts), micros(e.At), int64(e.Before))
	}
	return g.execRows("exceptions.put", 11, values)
}

func scanException(r []driver.Value) fanfare.Exception {
	return fanfare.Exception{Seq: fanfare.Seq(integer(r[0])), Result: fanfare.Result(text(r[1])), Reason: fanfare.Reason(text(r[2])), Code: text(r[3]), //nolint:gosec // as written
		Text: text(r[4]), Attempts: int(integer(r[5])), Doubts: int(integer(r[6])), At: moment(r[7]), Before: int(integer(r[8]))}
}

// exceptionsOf reads the exceptions of a batch with these members, with their ranks.
func (g *group) exceptionsOf(r fanfare.BatchRef, members []fanfare.Seq) (found []fanfare.Exception, err error) {
	rank := 0
	err = g.query(func(row []driver.Value) error {
		e := scanException(row)
		for rank < len(members) && members[rank] < e.Seq {
			rank++
		}
		if rank < len(members) && members[rank] == e.Seq {
			e.Rank = rank
			found = append(found, e)
		}
		return nil
	}, "exceptions.range", int64(r.Message), int64(r.Slot), int64(members[0]), int64(members[len(members)-1]), int64(len(members)))
	return found, err
}

// suppressions tell who gets nothing, as of this transaction.
type suppressions struct {
	allAlive bool
	alive    loaded
	parts    []suppressedBy
	damaged  error // what would say it of somebody who was asked for
}

type suppressedBy struct {
	why fanfare.Reason
	loaded
}

// span gives the lowest and the highest seq of an intent.
func span(intent *fanfare.Intent) (lo, hi fanfare.Seq) {
	lo = set.Universe - 1
	for i := range intent.Members {
		seq := intent.Members[i].Seq
		lo, hi = min(lo, seq), max(hi, seq)
	}
	return lo, hi
}

// suppressions reads what decides about count members between two seqs.
func (g *group) suppressions(n fanfare.Slot, parts []fanfare.SuppressionPart, lo, hi fanfare.Seq, count int) (who suppressions, err error) {
	if who.alive, err = g.loadedSet(n, fanfare.SetAlive); err != nil {
		return who, err
	}
	first, end := uint64(lo), uint64(hi)+1
	// Most intents are for neighbours who are all alive and none of whom is suppressed: one look at a range tells that of all of them.
	const many = 32
	if count >= many && who.alive.damaged == nil {
		who.allAlive = uint64(who.alive.members.LenRange(first, end)) == end-first //nolint:gosec // never negative
	}
	for _, part := range parts {
		for _, name := range part.Sets {
			l, err := g.loadedSet(n, name)
			if err != nil {
				return who, err
			}
			if l.damaged == nil && (l.members.Empty() || count >= many && l.members.LenRange(first, end) == 0) {
				continue
			}
			who.parts = append(who.parts, suppressedBy{part.Reason, l})
		}
	}
	return who, nil
}

func (g *group) loadedSet(n fanfare.Slot, name fanfare.SetName) (loaded, error) {
	k := slotSet{n, name}
	if l, ok := g.sets[k]; ok {
		return l, nil
	}
	l, err := g.set(n, name)
	if err == nil {
		g.sets[k] = l
	}
	return l, err
}

func (s *suppressions) why(seq fanfare.Seq) (fanfare.Reason, bool) {
	if !s.allAlive {
		if err := s.alive.at(seq); err != nil {
			s.damaged = err
		}
		if !s.alive.members.Contains(seq) {
			return fanfare.ReasonErased, true
		}
	}
	for i := range s.parts {
		p := &s.parts[i]
		if err := p.at(seq); err != nil {
			s.damaged = err
		}
		if p.members.Contains(seq) {
			return p.why, true
		}
	}
	return "", false
}
