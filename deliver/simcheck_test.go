package deliver

import (
	"fmt"
	"slices"
	"time"

	"fanfare"
	"fanfare/set"
)

// books are what the simulator itself knows, to compare with what the database says.
type books struct {
	holders  map[fanfare.BatchRef]*node // whose the fence is; nil: nobody's
	heard    map[fanfare.BatchRef]int   // positive answers that reached a node
	known    map[item]bool              // the same by item
	copies   map[item]int
	keys     map[item]string
	ledger   []copyOf
	out      map[fanfare.Person][]outing
	due      map[item]time.Duration // of a retry, at the earliest
	refused  map[item]time.Duration // when a temporary refusal reached a node
	tries    map[item]int           // temporary refusals that were journaled, since it was last resumed by scope
	before   map[item]int           // attempts before that
	asked    map[item]bool          // it was in doubt, and a person asked for it again
	more     map[item]int           // how often a person asked by name for another copy than two
	taken    map[item]bool          // settled as sent, by a person
	frozen   map[frozenSlot]frozen
	claims   map[claimed]uint64 // when claims were answered, as the world's order
	returned map[claimed]uint64 // and when tasks were given back
}

// outing is an unsubscribe or an erasure whose change has returned.
type outing struct {
	topic  string // empty: of all
	chosen bool   // their own choice, which an essential message passes over
}

type claimed struct {
	n   *node
	ref fanfare.BatchRef
}

type frozenSlot struct {
	fanfare.MessageNum
	fanfare.Slot
}

type frozen struct {
	batches int
	parts   map[fanfare.Part]*set.Set
}

func (b *books) open() {
	*b = books{holders: make(map[fanfare.BatchRef]*node), heard: make(map[fanfare.BatchRef]int), known: make(map[item]bool), copies: make(map[item]int),
		keys: make(map[item]string), out: make(map[fanfare.Person][]outing),
		due: make(map[item]time.Duration), refused: make(map[item]time.Duration), tries: make(map[item]int), before: make(map[item]int),
		asked: make(map[item]bool), more: make(map[item]int), taken: make(map[item]bool), frozen: make(map[frozenSlot]frozen), claims: make(map[claimed]uint64),
		returned: make(map[claimed]uint64)}
}

// tolerance is for clocks that run apart by one in a hundred.
const tolerance = 8 * time.Millisecond

func (w *world) row(r fanfare.BatchRef) fanfare.Batch {
	rows, err := w.store.Peek(w.ctx, []fanfare.BatchRef{r})
	w.must(err)
	return rows[0]
}

func (w *world) rows(s *sending) (all []fanfare.Batch) {
	for slot := range w.slots {
		rows, err := w.store.Batches(w.ctx, s.num, fanfare.Slot(slot), 0, 1<<20)
		w.must(err)
		all = append(all, rows...)
	}
	return all
}

func (w *world) latch(m fanfare.MessageNum, s fanfare.Slot) fanfare.Latch {
	rows, err := w.store.Latches(w.ctx, m)
	w.must(err)
	for _, l := range rows {
		if l.Slot == s {
			return l
		}
	}
	return fanfare.Latch{}
}

// land carries out an entry of a node's, or of a planner's (nil), and looks at what it did.
func (w *world) land(n *node, shard int, e fanfare.Entry) fanfare.EntryAnswer {
	was := w.row(e.Ref())
	entry := e
	refused := false
	if n != nil && e.Record != nil && w.happens(w.odds.refused) {
		r := *e.Record
		r.Exceptions = append(slices.Clone(r.Exceptions), fanfare.Exception{Text: "\x00"})
		entry.Record, refused = &r, true
	}
	var before map[fanfare.Seq]fanfare.Exception
	if e.Amend != nil {
		before = w.exceptions(e.Ref())
	}
	a := w.store.Append(w.ctx, shard, []fanfare.Entry{entry})[0]
	is := w.row(e.Ref())
	if w.trace != nil {
		w.note("landed %d, from f%d s%d: %s", a.Answer, was.Fence, was.Step, told(is))
	}
	switch {
	case e.Claim != nil:
		w.judgeClaim(n, e.Claim, &was, &is, a.Answer)
	case e.Amend != nil:
		w.judgeAmend(e.Amend, &was, &is, before, &a)
	case a.Answer == fanfare.Failed:
		w.saw("record refused alone")
		n.incidents++
		if !refused {
			w.violated("journal", "%v: the record is refused: %v", e.Ref(), a.Err)
		}
	default:
		w.judgeRecord(n, e.Record, &was, &is, a.Answer)
	}
	w.judgeRow(&was, &is)
	if e.Amend == nil {
		w.judgeOnwards(&was, &is)
	}
	return a
}

func (w *world) exceptions(r fanfare.BatchRef) map[fanfare.Seq]fanfare.Exception {
	rows := make(map[fanfare.Seq]fanfare.Exception)
	for e, err := range w.store.Exceptions(w.ctx, r.Message, r.Slot, 0) {
		w.must(err)
		rows[e.Seq] = e
	}
	return rows
}

// judgeOnwards: results that stand, stand, but for a person who says otherwise.
func (w *world) judgeOnwards(was, is *fanfare.Batch) {
	if is.Sent < was.Sent || is.Failed < was.Failed || is.Skipped < was.Skipped || is.Uncertain < was.Uncertain {
		w.violated("backwards", "%v: %d sent, %d failed, %d skipped, %d uncertain after %d, %d, %d, %d", is.BatchRef,
			is.Sent, is.Failed, is.Skipped, is.Uncertain, was.Sent, was.Failed, was.Skipped, was.Uncertain)
	}
}

// judgeAmend: nobody holds the batch, nothing is sent meanwhile, and it changes whom it means and nobody else.
func (w *world) judgeAmend(d *fanfare.Amend, was, is *fanfare.Batch, before map[fanfare.Seq]fanfare.Exception, a *fanfare.EntryAnswer) {
	switch a.Answer {
	case fanfare.Stale:
		w.saw("amendment stale")
	case fanfare.Busy:
		w.saw("amendment busy")
	case fanfare.Over:
		w.saw("amendment over")
	}
	if a.Answer != fanfare.Applied {
		return
	}
	l := w.latch(d.Message, d.Slot)
	if d.As == "" && (l.Phase != fanfare.SlotPreparing || l.Generation != d.Generation) {
		w.violated("stale amendment", "%v is reopened in generation %d, its latch is at %d, phase %d", d.BatchRef, d.Generation, l.Generation, l.Phase)
	}
	if was.Claimed(w.clock()) {
		w.violated("claim", "%v is amended while %v holds it until %v", d.BatchRef, was.Owner, was.LeaseUntil)
	}
	sent, failed, uncertain := 0, 0, 0
	pending := was.Pending.Clone()
	for _, e := range a.Exceptions {
		e.Result = before[e.Seq].Result
		w.judgeAmended(d, &e, before[e.Seq])
		switch {
		case d.As == fanfare.ResultSent:
			sent++
			uncertain--
		case d.As == fanfare.ResultFailed:
			failed++
			uncertain--
		default:
			pending.Set(e.Rank)
			if e.Result == fanfare.ResultFailed {
				failed--
			} else {
				uncertain--
			}
		}
	}
	if is.Sent != was.Sent+sent || is.Failed != was.Failed+failed || is.Uncertain != was.Uncertain+uncertain || is.Skipped != was.Skipped ||
		!is.Pending.Equal(pending) || !is.InFlight.Equal(was.InFlight) || !is.Doubted.Equal(was.Doubted) || is.Fence != was.Fence+1 {
		w.violated("amendment", "%s becomes %s", told(*was), told(*is))
	}
	if is.InFlight.Empty() {
		w.holders[d.BatchRef] = nil
	}
}

// judgeAmended: who may have got two is sent to again only if asked for by name, and their attempts never fall.
func (w *world) judgeAmended(d *fanfare.Amend, e *fanfare.Exception, was fanfare.Exception) {
	it := itemOf(d.BatchRef, e.Seq)
	if e.Attempts < was.Attempts || e.Doubts != was.Doubts {
		w.violated("attempts", "%v: %d had %d attempts and %d doubts, and has %d and %d", d.BatchRef, e.Seq, was.Attempts, was.Doubts, e.Attempts, e.Doubts)
	}
	switch {
	case was.Result != fanfare.ResultUncertain && (d.As != "" || was.Result != fanfare.ResultFailed):
		w.violated("amendment", "%v: %d was %s", d.BatchRef, e.Seq, was.Result)
	case d.As == fanfare.ResultSent:
		w.saw("settled as sent")
		w.heard[d.BatchRef]++
		w.known[it], w.taken[it] = true, true
	case d.As == fanfare.ResultFailed:
		w.saw("settled as failed")
	default:
		w.saw("reopened " + string(was.Result))
		named := slices.ContainsFunc(d.Reopen, func(s fanfare.Scope) bool {
			return s.Result == was.Result && (s.Again || slices.Contains(s.Reasons, was.Reason))
		})
		if was.Doubts > 1 && !named {
			w.violated("copies", "%v: %d is to be sent to again, was in doubt twice and is not named", d.BatchRef, e.Seq)
		}
		if was.Doubts > 1 {
			w.saw("another copy than two asked for")
			w.more[it]++
		}
		w.asked[it] = w.asked[it] || was.Doubts > 0
		w.before[it] = was.Attempts
		delete(w.tries, it)
		delete(w.due, it)
	}
}

func ranks(b set.Bits) []int { return slices.Collect(b.All()) }

// judgeRow: what holds of a row after every write.
func (w *world) judgeRow(was, is *fanfare.Batch) {
	switch {
	case !is.Balanced() || is.Pending.Overlap(is.InFlight):
		w.violated("balance", "%v: %d sent, %d failed, %d skipped, %d uncertain, %v pending, %v in flight of %d", is.BatchRef, is.Sent, is.Failed, is.Skipped, is.Uncertain,
			ranks(is.Pending), ranks(is.InFlight), is.N)
	case is.Sent > w.heard[is.BatchRef]:
		w.violated("sent", "%v: %d are called sent, %d positive answers came", is.BatchRef, is.Sent, w.heard[is.BatchRef])
	case is.Fence < was.Fence || is.Step < was.Step:
		w.violated("backwards", "%v: fence %d, step %d after %d, %d", is.BatchRef, is.Fence, is.Step, was.Fence, was.Step)
	case !was.Doubted.AndNot(is.Doubted).Empty():
		w.violated("doubted", "%v: %v are doubted no more", is.BatchRef, ranks(was.Doubted.AndNot(is.Doubted)))
	case is.State == fanfare.BatchDone && !is.Finished():
		w.violated("balance", "%v is done too early", is.BatchRef)
	case is.State == fanfare.BatchHeld && was.State != fanfare.BatchHeld:
		w.saw("batch held")
	case is.State == fanfare.BatchDone && was.State != fanfare.BatchDone:
		w.saw("batch done")
	}
}

// judgeClaim: one holder at a time, under the latch; whoever was in flight is doubted, and only after something happened to the one who
// had them.
func (w *world) judgeClaim(n *node, c *fanfare.Claim, was, is *fanfare.Batch, answer fanfare.Answer) {
	if n != nil {
		w.claims[claimed{n, c.BatchRef}] = w.order
	}
	switch answer {
	case fanfare.Stale:
		w.saw("claim stale")
	case fanfare.Busy:
		w.saw("claim busy")
	case fanfare.Over:
		w.saw("claim over")
	case fanfare.Failed:
		if w.latch(c.Message, c.Slot); was.State == fanfare.BatchHeld {
			w.violated("journal", "%v: a claim of a held batch is refused otherwise", c.BatchRef)
		}
	}
	if answer != fanfare.Applied {
		return
	}
	w.saw("claim")
	l := w.latch(c.Message, c.Slot)
	if !c.Settle && (l.Phase != fanfare.SlotSending || l.Generation != c.Generation) {
		w.violated("stale claim", "%v is claimed in generation %d, its latch is at %d, phase %d", c.BatchRef, c.Generation, l.Generation, l.Phase)
	}
	holder := w.holders[c.BatchRef]
	if was.Claimed(w.clock()) && (n == nil || was.Owner.Node != n.owner().Node || was.Owner.Incarnation >= n.owner().Incarnation) {
		w.violated("claim", "%v is claimed while %v holds it until %v", c.BatchRef, was.Owner, was.LeaseUntil)
	}
	doubts := was.InFlight.Len()
	if c.Begins(was) {
		w.judgeFirst(c, is)
	}
	if c.Delivers() {
		w.judgeInline(c, was, is)
	}
	switch {
	case !is.InFlight.Empty() && !c.Begins(was):
		w.violated("claim", "%v: %v are still in flight", c.BatchRef, ranks(is.InFlight))
	case !was.InFlight.AndNot(is.Doubted).Empty():
		w.violated("doubted", "%v: %v were in flight and are not doubted", c.BatchRef, ranks(was.InFlight.AndNot(is.Doubted)))
	case doubts > 0 && (holder == nil || holder.upset == "" && !holder.trouble[c.BatchRef]):
		w.violated("doubt", "%v: %v are doubted though nothing happened to who held them", c.BatchRef, ranks(was.InFlight))
	case doubts > 0:
		w.saw("doubted")
		if s := w.message(c.Message).state; c.Settle && s.Phase == fanfare.PhaseCancelling && s.Generation == c.Generation && is.Pending.Len() > was.Pending.Len() {
			w.violated("cancel", "%v: who was in flight is pending in a message that is being cancelled", c.BatchRef)
		}
		if twice := was.InFlight.And(was.Doubted); !twice.Empty() {
			w.saw("doubted twice")
		}
		if is.Uncertain > was.Uncertain {
			w.saw("uncertain, interrupted")
		}
	}
	w.holders[c.BatchRef] = n
	if c.Settle || c.Delivers() {
		w.holders[c.BatchRef] = nil
	}
}

// judgeFirst: a claim that begins with all of a batch hands everybody on but those who are out.
func (w *world) judgeFirst(c *fanfare.Claim, is *fanfare.Batch) {
	w.saw("claim with its first chunk")
	members, err := w.store.Members(w.ctx, c.Message, c.Slot, is.First, is.N)
	w.must(err)
	if is.N > c.First.Most || !is.Pending.Empty() {
		w.violated("chunk", "%v: %d are taken with the claim, of at most %d; %v stay pending", is.BatchRef, is.N, c.First.Most, ranks(is.Pending))
	}
	for rank, seq := range members {
		switch out := w.isOut(c.BatchRef, seq); {
		case out && is.InFlight.Has(rank):
			w.violated("opt-out", "%v: %d unsubscribed before the claim", is.BatchRef, seq)
		case !out && !is.InFlight.Has(rank):
			w.violated("skipped", "%v: %d is skipped and never unsubscribed", is.BatchRef, seq)
		case out:
			w.saw("skipped at the claim")
		}
	}
}

// judgeInline: a claim that delivers leaves nobody of its batch, and gives nothing to whoever is out.
func (w *world) judgeInline(c *fanfare.Claim, was, is *fanfare.Batch) {
	w.saw("claim that delivers")
	members, err := w.store.Members(w.ctx, c.Message, c.Slot, is.First, is.N)
	w.must(err)
	if is.State != fanfare.BatchDone || is.Owner != (fanfare.Owner{}) {
		w.violated("inline", "%v is in state %d, held by %v", is.BatchRef, is.State, is.Owner)
	}
	m, sent := w.message(c.Message), 0
	for rank, seq := range members {
		if !was.Pending.Has(rank) {
			continue
		}
		it := itemOf(c.BatchRef, seq)
		if w.isOut(c.BatchRef, seq) {
			w.saw("skipped by a claim that delivers")
			continue
		}
		if w.copies[it]++; w.copies[it] > 1 {
			w.violated("copies", "%v got %d", it, w.copies[it])
		}
		w.known[it] = true
		w.ledger = append(w.ledger, copyOf{item: it, revision: c.Deliver.Revision, at: w.now})
		m.begun, m.lane.begun = append(m.begun, w.now), append(m.lane.begun, w.now)
		sent++
	}
	w.heard[c.BatchRef] += sent
	if is.Sent-was.Sent != sent {
		w.violated("opt-out", "%v: %d are called sent, of %d who were not out", is.BatchRef, is.Sent-was.Sent, sent)
	}
}

// anyOf is one of a batch's members.
func (w *world) anyOf(r fanfare.BatchRef) (fanfare.Seq, bool) {
	row := w.row(r)
	if row.N == 0 {
		return 0, false
	}
	members, err := w.store.Members(w.ctx, r.Message, r.Slot, row.First, row.N)
	if err != nil || len(members) == 0 { // damaged
		return 0, false
	}
	return members[w.IntN(len(members))], true
}

// judgeRecord: only the holder writes, what it knows is taken, and nobody who is out is handed on.
func (w *world) judgeRecord(n *node, r *fanfare.Record, was, is *fanfare.Batch, answer fanfare.Answer) {
	holds := w.holders[r.BatchRef] == n && was.Owner == n.owner() && was.Fence == r.Fence && was.Step == r.Step
	if answer == fanfare.Stale {
		w.saw("record stale")
		if holds {
			w.violated("results", "%v: a record of its holder, fence %d and step %d, is refused", r.BatchRef, r.Fence, r.Step)
		}
		return
	}
	if !holds {
		w.violated("stale write", "%v: %v writes with fence %d and step %d, it is at %d and %d, the holder is %v", r.BatchRef, n.owner(), r.Fence, r.Step, was.Fence, was.Step, was.Owner)
		return
	}
	w.saw("record")
	if answer == fanfare.Halted {
		w.saw("record halted")
	}
	for _, e := range r.Exceptions {
		w.judgeException(r, &e)
	}
	if r.Intent == nil {
		return
	}
	l := w.latch(r.Message, r.Slot)
	for _, m := range r.Intent.Members {
		switch flies := is.InFlight.Has(m.Rank); {
		case flies && (l.Phase != fanfare.SlotSending || l.Generation != r.Generation):
			w.violated("latch", "%v: an intent of generation %d, the latch is at %d", r.BatchRef, r.Generation, l.Generation)
		case flies && w.isOut(r.BatchRef, m.Seq):
			w.violated("opt-out", "%v: %d unsubscribed before the intent", r.BatchRef, m.Seq)
		case flies && w.now < w.due[itemOf(r.BatchRef, m.Seq)]:
			w.violated("backoff", "%v: %d is sent to again before %v", r.BatchRef, m.Seq, w.due[itemOf(r.BatchRef, m.Seq)])
		case !flies && answer == fanfare.Applied && !w.isOut(r.BatchRef, m.Seq):
			w.violated("skipped", "%v: %d is skipped and never unsubscribed", r.BatchRef, m.Seq)
		case !flies && answer == fanfare.Applied:
			w.saw("skipped at the intent")
		}
	}
}

func itemOf(r fanfare.BatchRef, seq fanfare.Seq) item {
	return item{r.Message, fanfare.Person{Slot: r.Slot, Seq: seq}}
}

func (w *world) isOut(r fanfare.BatchRef, seq fanfare.Seq) bool {
	m := w.message(r.Message)
	return slices.ContainsFunc(w.out[fanfare.Person{Slot: r.Slot, Seq: seq}], func(o outing) bool {
		return (o.topic == "" || o.topic == m.topic) && !(o.chosen && m.essential)
	})
}

// judgeException: nobody is given up before all attempts, nor tried again at once.
func (w *world) judgeException(r *fanfare.Record, e *fanfare.Exception) {
	w.saw("exception " + string(e.Result) + " " + string(e.Reason))
	retry := w.message(r.Message).lane.Retry
	it := itemOf(r.BatchRef, e.Seq)
	if e.Reason == fanfare.ReasonTemporary || e.Reason == fanfare.ReasonTemporaryExhausted {
		if w.tries[it]++; w.tries[it] > retry.Attempts {
			w.violated("attempts", "%v: %d was refused %d times for now, of %d", r.BatchRef, e.Seq, w.tries[it], retry.Attempts)
		}
	}
	attempts := e.Attempts - w.before[it]
	switch {
	case e.Reason == fanfare.ReasonTemporary && attempts >= retry.Attempts, e.Reason == fanfare.ReasonTemporaryExhausted && attempts < retry.Attempts:
		w.violated("attempts", "%v: %d is %s after %d of %d attempts, %d before", r.BatchRef, e.Seq, e.Reason, attempts, retry.Attempts, w.before[it])
	case e.Reason == fanfare.ReasonTemporary:
		wait := retry.First
		for range attempts - 1 {
			wait = min(4*wait, retry.Most)
		}
		w.due[it] = w.refused[it] + wait*79/100 // jitter, and clocks that run apart
	}
}

// most is how many a node can have in flight: as many as its connections hold.
func (n *node) most() (most int) {
	for _, l := range n.lanes {
		most += l.mostConns * l.mostChunk
	}
	return most
}

func (w *world) flying(n *node) (flies int) {
	for ref, holder := range w.holders {
		if holder == n {
			row := w.row(ref)
			flies += row.InFlight.Len()
		}
	}
	return flies
}

// judgeFlying: what a death would put in doubt now.
func (w *world) judgeFlying(n *node) {
	if flies := w.flying(n); flies > n.most()*(1+n.incidents) {
		w.violated("chunk", "%v has %d in flight, %d at most and %d incidents", n.owner(), flies, n.most(), n.incidents)
	}
}

// judgeStopped: a node that ended in time leaves nothing.
func (w *world) judgeStopped(n *node) {
	for ref, holder := range w.holders {
		if holder != n {
			continue
		}
		if row := w.row(ref); row.Owner == n.owner() && row.State == fanfare.BatchOpen && !n.trouble[ref] {
			w.violated("stop", "%v leaves %v with %v in flight", n.owner(), ref, ranks(row.InFlight))
		}
	}
}

// judgeMay: whoever may send holds a living claim, and saw the message sending not long ago.
func (w *world) judgeMay(n *node, ch *Chunk) {
	row := w.row(ch.Ref)
	if row.State != fanfare.BatchHeld && (w.holders[ch.Ref] != n || row.Owner != n.owner() || !w.clock().Before(row.LeaseUntil)) {
		w.violated("look", "%v may send of %v, whose holder is %v until %v", n.owner(), ch.Ref, row.Owner, row.LeaseUntil)
	}
	if ch.claim.dropped {
		w.violated("look", "%v may send of %v, which it knows to be lost", n.owner(), ch.Ref)
	}
	m := w.message(ch.Ref.Message)
	generation := ch.Pass.generation
	if m.state.Phase == fanfare.PhaseSending && m.state.Generation == generation {
		return
	}
	if until, was := m.was[generation]; !was || w.now-until > fanfare.LookValid+tolerance {
		w.violated("look", "%v may send of %v in generation %d: the message is %s, generation %d, since %v", n.owner(), ch.Ref, generation, m.state.Phase, m.state.Generation, w.now-until)
	}
	w.saw("sent within 750 ms of a stop")
}

// judgeBegin: nothing leaves that the journal does not show as in flight or doubted, and every copy has the same key.
func (w *world) judgeBegin(n *node, ch *Chunk, m ChunkItem) {
	w.note("%v begins %v/%d, attempt %d", n.owner(), ch.Ref, m.Seq, m.Attempt)
	if row := w.row(ch.Ref); !row.InFlight.Has(m.Rank) && !row.Doubted.Has(m.Rank) {
		w.violated("intent", "%v: %d is handed over and neither in flight nor doubted", ch.Ref, m.Seq)
	}
	if n.now-n.awake < time.Microsecond && n.awake > 0 {
		w.saw("sent after a stall, its question was before")
	}
}

// accept is the provider's side.
func (w *world) accept(it item, ch *Chunk, m ChunkItem, key string) {
	w.note("accepted %v of %v", it, ch.Ref)
	w.copies[it]++
	w.ledger = append(w.ledger, copyOf{item: it, revision: ch.Revision, at: w.now})
	if was, there := w.keys[it]; there && was != key {
		w.violated("key", "%v was sent as %s and as %s", it, was, key)
	}
	w.keys[it] = key
	row := w.row(ch.Ref)
	switch n := w.copies[it]; {
	case n == 1:
	case n > 2+w.more[it], w.message(it.message).policy == fanfare.PolicyHold && !w.asked[it]:
		w.violated("copies", "%v got %d", it, n)
	case !row.Doubted.Has(m.Rank):
		w.violated("copies", "%v got %d and is not doubted", it, n)
	case n > 2:
		w.saw("third copy")
	default:
		w.saw("second copy")
	}
}

// judgeAck: a task is given away only when its claim is durable, or when there is nothing to claim: as it was decided, or as it is now.
func (w *world) judgeAck(n *node, d *delivery) {
	if d.why == "" {
		d.why = w.mayAck(n, d)
	}
	if d.why == "" {
		w.violated("ack", "%v/%d is acknowledged and not claimed", d.task.BatchRef, d.task.Generation)
		return
	}
	w.saw(d.why)
}

// mayAck says why a task may be given away; empty: it may not.
func (w *world) mayAck(n *node, d *delivery) string {
	t := d.task
	m := w.message(t.Message)
	row := w.row(t.BatchRef)
	switch {
	case w.claims[claimed{n, t.BatchRef}] > d.received: // it was answered
		return "task acknowledged"
	case m.state.Phase != fanfare.PhaseSending || m.state.Generation > t.Generation:
		return "stale task dropped"
	case row.Claimed(w.clock()) || row.State == fanfare.BatchDone || row.State == fanfare.BatchHeld || w.clock().Before(row.NotBefore):
		return "task of a claimed batch dropped"
	case w.returned[claimed{n, t.BatchRef}] > d.received,
		slices.ContainsFunc(n.held, func(o *delivery) bool { return o != d && o.task.BatchRef == t.BatchRef }):
		return "double task dropped"
	}
	return ""
}

// judgeCore: the core's own counts, and an open breaker lets one connection try at a time, when it is time to.
func (w *world) judgeCore(n *node, effects []Effect) {
	for _, e := range effects {
		if d, ok := e.(Dial); ok {
			if b := &n.core.lane(d.Lane).breaker; b.open && (n.core.now < b.at || b.probe == nil || b.probe.id != d.Conn) {
				w.violated("breaker", "%v dials %s too early", n.owner(), d.Lane)
			}
		}
	}
	w.judgePlaces(n)
	for id := range n.loaded {
		if n.core.byID[id] == nil && !slices.ContainsFunc(n.inbox, func(e Event) bool { l, ok := e.(Loaded); return ok && l.Claim == id }) {
			w.violated("forgotten", "%v keeps what was loaded for claim %d, which is over", n.owner(), id)
		}
	}
	if next := n.core.Next(); next <= n.core.now {
		w.violated("spin", "%v wants to be stepped at once, for ever", n.owner())
	}
	for _, l := range n.core.lanes {
		held, asked, dialing, idle := 0, 0, 0, 0
		for _, cl := range n.core.claims {
			if cl.lane == l && cl.held {
				held++
			} else if cl.lane == l {
				asked++
			}
		}
		for _, cn := range l.conns {
			switch {
			case !cn.open:
				dialing++
			case cn.chunk == nil:
				if cn.since < n.core.now { // not since the decision
					idle++
				}
			case cn.chunk.claim.ended():
				w.violated("core", "%v: connection %d has a chunk of a claim that has ended", n.owner(), cn.id)
			}
		}
		if idle > 0 && len(l.conns) > l.Provider.Connections {
			w.violated("core", "%v, %s: %d connections, %d idle, where there are to be %d", n.owner(), l.Name, len(l.conns), idle, l.Provider.Connections)
		}
		if held != l.held || asked != l.asked || dialing != l.dialing || len(l.conns) > 3 {
			w.violated("core", "%v, %s: %d held (%d), %d asked (%d), %d dialing (%d), %d connections", n.owner(), l.Name, l.held, held, l.asked, asked, l.dialing, dialing, len(l.conns))
		}
	}
}

// judgePlaces: a connection that leads to where its lane led before gets no other chunk, and is not kept.
func (w *world) judgePlaces(n *node) {
	links := make(map[ConnID]link)
	for _, l := range n.core.lanes {
		place := l.Provider.URL
		for _, cn := range l.conns {
			was, known := n.links[cn.id]
			is := link{was.place, cn.chunk}
			if !known {
				is.place = place
			}
			links[cn.id] = is
			before := n.places[l.Name]
			taken := cn.chunk != nil && cn.chunk != was.chunk && (was.chunk == nil || was.chunk.claim != cn.chunk.claim || was.chunk.Items != nil)
			switch {
			case is.place == place:
			case cn.open && cn.chunk == nil && cn.since < n.core.now: // not since the decision
				w.violated("moved", "%v: connection %d to %s is kept for %s", n.owner(), cn.id, is.place, place)
			case taken && known && before != is.place:
				w.violated("moved", "%v: connection %d to %s has another chunk for %s", n.owner(), cn.id, is.place, place)
			case cn.chunk != nil:
				w.saw("busy while its provider moved")
			}
		}
	}
	n.links = links
	for _, l := range n.core.lanes {
		n.places[l.Name] = l.Provider.URL
	}
}

// judgeMessages follows the messages' states: each move is one of the state machine's, and an end is an end.
func (w *world) judgeMessages() {
	states := make([]fanfare.State, len(w.messages))
	w.must(w.store.View(w.ctx, func(v fanfare.ControlView) error {
		for i, s := range w.messages {
			m, err := v.MessageByNum(s.num)
			if err != nil {
				return err
			}
			states[i] = m.State
		}
		return nil
	}))
	for i, s := range w.messages {
		if states[i] != s.state {
			w.moved(s, states[i])
		}
	}
}

func (w *world) moved(s *sending, to fanfare.State) {
	from := s.state
	w.note("%s: %s/%d → %s/%d", s.id, from.Phase, from.Generation, to.Phase, to.Generation)
	w.saw(fmt.Sprintf("%s → %s", from.Phase, to.Phase))
	if from.Phase == fanfare.PhaseSending {
		s.was[from.Generation] = w.now
	}
	s.state = to
	if to.PauseReason == fanfare.PauseDamaged {
		w.saw("paused as damaged")
	}
	if to.Reopens && to.Phase == fanfare.PhaseSending && !w.calm && w.flip(0.3) { // somebody thinks better of it
		w.at(w.between(0, 500*time.Millisecond), func() { w.operate(s, fanfare.EventPause) })
	}
	if from.Reopens && !to.Reopens && to.Phase == fanfare.PhaseSending {
		w.saw("scope added")
	}
	if to.Phase == fanfare.PhaseCompleted && s.scoped < 3 && w.flip(0.5) {
		s.scoped++
		s.wishes++
		w.at(w.between(0, 2*time.Second), func() {
			s.wishes--
			if w.flip(0.4) {
				w.settle(s)
			}
			w.resumeScope(s)
		})
	}
	if to.Phase.Final() || to.Phase == fanfare.PhasePaused {
		w.judgeEnd(s)
	}
	if from.Phase == fanfare.PhasePausing && to.Phase == fanfare.PhasePaused || from.Phase == fanfare.PhaseCancelling {
		w.judgeDrained(s)
	}
}

// judgeDrained: once a stop is shown as complete every slot knows of it, and no claim lives.
func (w *world) judgeDrained(s *sending) {
	for slot := range w.slots {
		if l := w.latch(s.num, fanfare.Slot(slot)); l.Generation != s.state.Generation || l.Phase != fanfare.SlotStopped {
			w.violated("drained", "%s is %s in generation %d, slot %d is at %d, phase %d", s.id, s.state.Phase, s.state.Generation, slot, l.Generation, l.Phase)
		}
	}
	for _, row := range w.rows(s) {
		if row.Claimed(w.clock()) && !w.woken(row.BatchRef) {
			w.violated("drained", "%s is %s, %v is claimed by %v", s.id, s.state.Phase, row.BatchRef, row.Owner)
		}
	}
}

// woken says whether the holder of a batch may have come back to a claim that had run out: it gives it up as soon as it looks.
func (w *world) woken(r fanfare.BatchRef) bool {
	n := w.holders[r]
	return n != nil && (n.upset != "" || n.trouble[r])
}

// judgeEnd compares with the batches when a message has ended or is paused.
func (w *world) judgeEnd(s *sending) {
	for _, row := range w.rows(s) {
		switch p := s.state.Phase; {
		case p == fanfare.PhaseCompleted && row.State != fanfare.BatchDone:
			w.violated("completed", "%s is completed, %v is not done: %d pending, %d in flight", s.id, row.BatchRef, row.Pending.Len(), row.InFlight.Len())
		case p != fanfare.PhaseSending && !row.InFlight.Empty() && row.State != fanfare.BatchHeld:
			w.violated("drained", "%s is %s, %v has %v in flight", s.id, p, row.BatchRef, ranks(row.InFlight))
		}
	}
}

// judgeFreeze: an audience is frozen once.
func (w *world) judgeFreeze(m fanfare.MessageNum, s fanfare.Slot) {
	if !w.latch(m, s).Frozen {
		return
	}
	rows, err := w.store.Batches(w.ctx, m, s, 0, 1<<20)
	w.must(err)
	is := frozen{len(rows), make(map[fanfare.Part]*set.Set)}
	sizes, err := w.store.Parts(w.ctx, m, s)
	w.must(err)
	for part := range sizes {
		if is.parts[part], err = w.store.PartSet(w.ctx, m, s, part); err != nil {
			return // damaged
		}
	}
	was, there := w.frozen[frozenSlot{m, s}]
	if !there {
		w.saw("frozen")
		w.frozen[frozenSlot{m, s}] = is
		return
	}
	same := was.batches == is.batches && len(was.parts) == len(is.parts)
	for part, members := range was.parts {
		same = same && is.parts[part] != nil && members.Equal(is.parts[part])
	}
	if !same {
		w.violated("freeze", "message %d, slot %d: %d batches after %d", m, s, is.batches, was.batches)
	}
}
