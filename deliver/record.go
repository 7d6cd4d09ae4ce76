package deliver

import (
	"slices"

	"fanfare"
)

// write journals what there is of a claim: results, intents, a renewal, or its end. One record of a claim is under way at a time; what
// comes meanwhile shares the next.
func (c *Core) write(cl *claim) {
	if cl.record != nil || !cl.held || cl.dropped {
		return
	}
	if cl.flying > 0 && len(cl.results)+len(cl.chunks)+len(cl.queue) == 0 && c.now.Since(cl.wrote) < fanfare.RenewEvery {
		return // as most are: at its connections
	}
	stopped := c.stopped(cl)
	if stopped {
		c.unassign(cl)
		if len(cl.queue) > 0 {
			cl.queue = cl.queue[:0]
		}
	}
	chunks := c.due(cl)
	idle := cl.flying == 0 && len(chunks)+len(cl.chunks) == 0
	final := idle && (stopped || cl.members != nil && len(cl.queue) == 0 || cl.row.Pending.Empty() && len(cl.results) == 0)
	if !final && len(cl.results) == 0 && len(chunks) == 0 && c.now.Since(cl.wrote) < fanfare.RenewEvery {
		return
	}
	r := &fanfare.Record{BatchRef: cl.ref, Generation: cl.generation, Fence: cl.row.Fence, Step: cl.row.Step, Next: cl.row.Clone(), Lease: fanfare.LeaseTime}
	w := &write{claim: cl, entry: fanfare.Entry{Record: r}, results: len(cl.results), owed: cl.owed, chunks: chunks}
	cl.owed = nil
	for i := range cl.results {
		c.apply(cl, r, &cl.results[i])
	}
	for _, cn := range w.chunks {
		cl.flying++
		if c.Rules.ResultsBeforeSend {
			for _, it := range cn.chunk.Items {
				r.Next.Pending.Clear(it.Rank)
				r.Next.Sent++
			}
			continue
		}
		if r.Intent == nil {
			r.Intent = &fanfare.Intent{Members: make([]fanfare.Member, 0, len(w.chunks)*len(cn.chunk.Items)), Suppressions: cl.message.silence}
		}
		for _, it := range cn.chunk.Items {
			r.Intent.Members = append(r.Intent.Members, it.Member)
		}
	}
	if c.Rules.SentComputed {
		r.Next.Sent = r.Next.N - r.Next.Failed - r.Next.Skipped - r.Next.Uncertain - r.Next.Pending.Len()
	}
	if final {
		c.giveUp(cl, r, stopped)
	}
	cl.record, cl.wrote = w, c.now
	c.append(w)
}

// due takes the chunks whose intents may be journaled now. A connection whose last answers were for another claim waits until they are
// durable, or in the same transaction: so a node never has more in flight than its connections hold.
func (c *Core) due(cl *claim) (now []*conn) {
	waits := func(cn *conn) bool { return cn.owes != nil && cn.owes != cl && !c.together(cn.owes, cl) }
	if !slices.ContainsFunc(cl.chunks, waits) {
		now, cl.chunks = cl.chunks, nil
		return now
	}
	var later []*conn
	for _, cn := range cl.chunks {
		if waits(cn) {
			later = append(later, cn)
		} else {
			now = append(now, cn)
		}
	}
	cl.chunks = later
	return now
}

// together says whether the answers of one claim that are not durable are journaled in the same transaction as the next record of another:
// they share a shard, and the answers go into a record of this very step.
func (c *Core) together(was, cl *claim) bool {
	return (was.record == nil || was.record.step == c.steps) && (c.ShardOf == nil || c.ShardOf(was.ref.Slot) == c.ShardOf(cl.ref.Slot))
}

// giveUp makes the record the claim's last one.
func (c *Core) giveUp(cl *claim, r *fanfare.Record, stopped bool) {
	r.Lease, cl.last = 0, true
	if cl.hold != "" {
		r.Next.State, r.Next.Held = fanfare.BatchHeld, fanfare.CleanText(cl.hold)
		return
	}
	if !stopped && len(cl.later) > 0 {
		r.Next.NotBefore = cl.moment(cl.later[0].due)
		cl.message.backoff = min(cl.message.backoff, cl.later[0].due)
	}
}

// apply makes a result part of a record.
func (c *Core) apply(cl *claim, r *fanfare.Record, x *result) {
	next := &r.Next
	if x.all != nil {
		cl.applySent(r, x)
		return
	}
	if c.Rules.ProgressAtFetch {
		next.Pending.Clear(x.rank)
	}
	e := fanfare.Exception{Rank: x.rank, Seq: cl.members[x.rank], Code: fanfare.CleanText(x.said.Code), Text: fanfare.CleanText(x.said.Text), Attempts: x.attempts,
		Doubts: cl.exceptions[x.rank].Doubts}
	if x.said.Kind == fanfare.SendUnknown && x.said.Skip == "" && !x.said.Technical {
		for _, u := range next.Doubt(nil, x.rank, x.policy, fanfare.ReasonNoAnswer) {
			u.Seq, u.Code, u.Text, u.Attempts = e.Seq, e.Code, e.Text, max(u.Attempts, x.attempts)
			cl.except(r, u)
		}
		return
	}
	next.InFlight.Clear(x.rank)
	switch {
	case x.said.Skip != "":
		next.Skipped++
		e.Result, e.Reason, e.Attempts = fanfare.ResultSkipped, x.said.Skip, x.attempts-1
	case x.said.Technical:
		next.Failed++
		e.Result, e.Reason = fanfare.ResultFailed, fanfare.ReasonTechnical
	case x.said.Kind == fanfare.SendPermanent:
		next.Failed++
		e.Result, e.Reason = fanfare.ResultFailed, fanfare.ReasonPermanent
	case x.said.Kind == fanfare.SendTemporary && x.last:
		next.Failed++
		e.Result, e.Reason = fanfare.ResultFailed, fanfare.ReasonTemporaryExhausted
	case x.said.Kind == fanfare.SendTemporary:
		next.Pending.Set(x.rank)
		e.Result, e.Reason = fanfare.ResultPending, fanfare.ReasonTemporary
	case x.said.Kind == fanfare.SendOK:
		next.Sent++
		r.SentNow = true
		cl.ran(next, x.rank, x.revision)
		if _, there := cl.exceptions[x.rank]; !there {
			return
		}
		e.Result, e.Code, e.Text = fanfare.ResultSent, "", ""
	default: // not begun
		next.Pending.Set(x.rank)
		return
	}
	cl.except(r, e)
}

// applySent makes a chunk that was taken whole part of a record.
func (cl *claim) applySent(r *fanfare.Record, x *result) {
	next := &r.Next
	next.Sent += len(x.all)
	r.SentNow = true
	runs := next.Runs
	if len(cl.exceptions) == 0 && len(x.all) == next.InFlight.Len() && (len(runs) == 0 || runs[len(runs)-1].Revision == x.revision) {
		cl.ran(next, x.all[0].Rank, x.revision) // nobody else of the batch is in flight, and all were sent with the last revision
		next.InFlight.Reset()
		return
	}
	for i := range x.all {
		it := &x.all[i]
		next.InFlight.Clear(it.Rank)
		cl.ran(next, it.Rank, x.revision)
		if _, there := cl.exceptions[it.Rank]; there {
			cl.except(r, fanfare.Exception{Rank: it.Rank, Seq: it.Seq, Result: fanfare.ResultSent, Attempts: it.Attempt})
		}
	}
}

func (cl *claim) except(r *fanfare.Record, e fanfare.Exception) {
	cl.exceptions[e.Rank] = e.Over(cl.exceptions[e.Rank])
	r.Exceptions = append(r.Exceptions, e)
}

// ran notes the revision that the member was sent with. The last run is whoever stands in no earlier one, so a batch that was sent with
// one revision needs no set.
func (cl *claim) ran(next *fanfare.Batch, rank int, revision fanfare.Revision) {
	last := len(next.Runs) - 1
	if last >= 0 && next.Runs[last].Revision == revision {
		return
	}
	for i := range next.Runs {
		if next.Runs[i].Revision == revision {
			mark(next.Runs[i].Sent, rank)
			return
		}
	}
	if last >= 0 && next.Runs[last].Sent == nil {
		next.Runs[last].Sent = cl.sentBefore(next, rank)
	}
	next.Runs = append(next.Runs, fanfare.Run{Revision: revision})
}

// sentBefore gives who was sent to and stands in no earlier run, but for the member at rank.
func (cl *claim) sentBefore(b *fanfare.Batch, rank int) []byte {
	bits := make([]byte, (b.N+7)/8)
	for i := range b.N {
		e, not := cl.exceptions[i]
		if i == rank || b.Pending.Has(i) || b.InFlight.Has(i) || not && e.Result != fanfare.ResultSent {
			continue
		}
		earlier := false
		for _, run := range b.Runs[:len(b.Runs)-1] {
			earlier = earlier || run.Sent != nil && run.Sent[i/8]>>(i%8)&1 == 1
		}
		if !earlier {
			mark(bits, i)
		}
	}
	return bits
}

func mark(bits []byte, i int) { bits[i/8] |= 1 << (i % 8) }

// journaled takes the answer to a journal write.
func (c *Core) journaled(e Journaled) {
	w := c.writes[e.ID]
	delete(c.writes, e.ID)
	if e.Answer.Answer != fanfare.Unknown {
		c.journal = trouble{}
	}
	if w.entry.Claim != nil {
		c.claimed(w, e.Answer)
		return
	}
	switch e.Answer.Answer {
	case fanfare.Applied, fanfare.Halted:
		c.recorded(w, e.Answer.Row, e.Answer.Answer == fanfare.Halted)
	case fanfare.Unknown:
		c.unknown(w, e.Answer.Err)
	default: // stale, or refused alone and held
		c.unrecorded(w)
		c.lose(w.claim)
	}
}

// recorded goes on after a record that is durable.
func (c *Core) recorded(w *write, row fanfare.Batch, halted bool) {
	cl, r := w.claim, w.entry.Record
	cl.record, cl.row = nil, row
	settle(w.owed)
	for i := range cl.results[:w.results] {
		if x := &cl.results[i]; x.all != nil {
			cl.lane.spare = append(cl.lane.spare, x.all)
			x.all = nil
		}
	}
	cl.results = cl.results[w.results:]
	if len(cl.results) == 0 {
		cl.results = nil
	}
	if r.Lease == 0 {
		cl.dropped = true
		return
	}
	cl.lease.Store(int64(w.submitted.After(fanfare.HolderTime)))
	if halted {
		cl.halted, c.lookNow = true, true
	}
	for _, cn := range w.chunks {
		c.granted(cl, cn, halted)
	}
}

// granted hands a chunk whose intent was journaled to its connection, but for whoever was suppressed meanwhile.
func (c *Core) granted(cl *claim, cn *conn, halted bool) {
	ch := cn.chunk
	kept := ch.Items[:0]
	for _, it := range ch.Items {
		switch {
		case halted:
			cl.queue = append(cl.queue, it.Rank)
		case cl.row.InFlight.Has(it.Rank) || c.Rules.ResultsBeforeSend:
			kept = append(kept, it)
		default:
			cl.exceptions[it.Rank] = fanfare.Exception{Rank: it.Rank, Seq: it.Seq, Result: fanfare.ResultSkipped}.Over(cl.exceptions[it.Rank])
		}
	}
	ch.Items = kept
	if len(kept) == 0 {
		cl.flying--
		c.idle(cn)
		return
	}
	c.do(Send{Conn: cn.id, Chunk: ch})
}

// unrecorded takes back the chunks of a record that is not durable and never will be.
func (c *Core) unrecorded(w *write) {
	w.claim.record = nil
	settle(w.owed)
	for _, cn := range w.chunks {
		w.claim.flying--
		c.idle(cn)
	}
}

// peeked goes on after a write whose answer was lost: the row's fence and step say whether it is done, not done, or not ours any more.
func (c *Core) peeked(e Peeked) {
	w := c.writes[e.ID]
	if e.Err != nil {
		c.troubled(e.Err)
		c.do(Peek{ID: w.id, Ref: w.claim.ref, Delay: errorWait})
		return
	}
	delete(c.writes, e.ID)
	if w.entry.Claim != nil {
		c.peekedClaim(w, e.Row)
		return
	}
	r := w.entry.Record
	mine := r.Lease == 0 && e.Row.Owner == (fanfare.Owner{}) || r.Lease > 0 && e.Row.Owner == c.Owner
	switch {
	case c.Rules.BlindCommitRetry:
		again := *r
		again.Fence, again.Step = e.Row.Fence, e.Row.Step
		w.entry.Record = &again
		c.append(w)
	case e.Row.Fence == r.Fence && e.Row.Step == r.Step+1 && mine && (e.Row.State != fanfare.BatchHeld || r.Next.State == fanfare.BatchHeld):
		c.recorded(w, e.Row, r.Intent != nil && e.Row.Pending.Has(r.Intent.Members[0].Rank))
	case e.Row.Fence == r.Fence && e.Row.Step == r.Step && e.Row.Owner == c.Owner:
		c.append(w) // fence and step let it be done once
	default:
		c.unrecorded(w)
		c.lose(w.claim)
	}
}

// peekedClaim: a claim of ours that is durable all the same is given up at once, since who became uncertain by it is not known here.
func (c *Core) peekedClaim(w *write, row fanfare.Batch) {
	cl := w.claim
	if w.entry.Claim.Deliver != nil && row.State == fanfare.BatchDone { // by this claim or another: exactly once
		c.ack(cl.delivery)
		cl.delivery = nil
		c.delivered(cl, row.N)
		return
	}
	if row.Owner != c.Owner {
		c.back(cl.delivery, errorWait)
		c.release(cl)
		cl.delivery, cl.dropped = nil, true
		return
	}
	c.ack(cl.delivery)
	cl.delivery = nil
	cl.held, cl.row, cl.wrote = true, row, w.submitted
	cl.lane.asked--
	cl.lane.held++
	c.release(cl)
	r := &fanfare.Record{BatchRef: cl.ref, Generation: cl.generation, Fence: row.Fence, Step: row.Step, Next: row.Clone()}
	if w.entry.Claim.First != nil && row.Fence == 1 && row.Step == 1 { // put in flight by this claim, the batch's first, and never sent
		for rank := range row.InFlight.All() {
			r.Next.InFlight.Clear(rank)
			r.Next.Pending.Set(rank)
		}
	}
	cl.record, cl.last = &write{claim: cl, entry: fanfare.Entry{Record: r}}, true
	c.append(cl.record)
}
