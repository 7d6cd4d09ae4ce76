package fanfare

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"fanfare/set"
)

// BatchState is where a batch stands.
type BatchState int

// The states of a batch.
const (
	BatchNew  BatchState = 0 // nobody touched it: all its members are pending
	BatchOpen BatchState = 1
	BatchHeld BatchState = 2 // damaged, or a record of it was refused: Held says why; a person must look
	BatchDone BatchState = 3 // pending and in_flight are empty and the counts add up to n
)

// Owner is who holds a claim. A higher incarnation of a node voids the claims of its former ones.
type Owner struct {
	Node        string
	Incarnation int64
}

// Run is what was sent with one revision: who (nil: all that were sent and stand in no earlier run) and the time of the last commit.
type Run struct {
	Revision Revision  `json:"revision"`
	Sent     []byte    `json:"sent,omitempty"` // bits by rank in the batch
	At       time.Time `json:"at"`
}

// Batch is a batch's row: a rank range of one slot's planned recipients and all that is known of them beside their exceptions.
// Ranks inside the batch run from 0 to N−1.
type Batch struct {
	BatchRef
	First      uint32 // rank of its first member among the slot's planned
	N          int
	State      BatchState
	Pending    set.Bits // first try or retry; full while State is BatchNew
	InFlight   set.Bits // journaled as handed to a provider, answer not journaled
	Doubted    set.Bits // ever in doubt; never cleared
	Sent       int      // positive answers received, counted one by one
	Failed     int
	Skipped    int
	Uncertain  int
	Fence      int64
	Step       int64
	Owner      Owner     // zero: nobody
	LeaseUntil time.Time // by the clock of the database
	NotBefore  time.Time // nothing is due before; zero: at once
	Runs       []Run
	Held       string // why it is held
}

// Balanced says whether the counts and the sets of the row account for each of the N members exactly once.
func (b *Batch) Balanced() bool {
	return b.Sent+b.Failed+b.Skipped+b.Uncertain+b.Pending.Len()+b.InFlight.Len() == b.N &&
		b.Sent >= 0 && b.Failed >= 0 && b.Skipped >= 0 && b.Uncertain >= 0
}

// Finished says whether nobody is left to send to and the counts agree.
func (b *Batch) Finished() bool { return b.Pending.Empty() && b.InFlight.Empty() && b.Balanced() }

// Claimed says whether a claim lives at now.
func (b *Batch) Claimed(now time.Time) bool { return b.Owner.Node != "" && now.Before(b.LeaseUntil) }

// Hold gives the row as held for a reason: no claim holds it any more, and whoever did is late. Who was in flight stays so.
func (b *Batch) Hold(why string) Batch {
	next := b.Clone()
	next.State, next.Held = BatchHeld, CleanText(why)
	next.Step++
	next.Owner, next.LeaseUntil = Owner{}, time.Time{}
	return next
}

// Void gives the row after the end of a former incarnation's claim, which is late from then on; false if that is not whose claim it is.
func (b *Batch) Void(o Owner) (Batch, bool) {
	if b.Owner.Node == "" || b.Owner.Node != o.Node || b.Owner.Incarnation >= o.Incarnation {
		return *b, false
	}
	next := b.Clone()
	next.Step++
	next.Owner, next.LeaseUntil = Owner{}, time.Time{}
	return next, true
}

// Clone copies the row with its sets.
func (b *Batch) Clone() Batch {
	c := *b
	c.Pending, c.InFlight, c.Doubted = b.Pending.Clone(), b.InFlight.Clone(), b.Doubted.Clone()
	c.Runs = slices.Clone(b.Runs)
	for i := range c.Runs {
		c.Runs[i].Sent = slices.Clone(c.Runs[i].Sent)
	}
	return c
}

// Exception is the row of whoever is not simply pending or sent: failed, skipped at the intent, uncertain or retrying
// (result pending). It stays, with result sent, when the retry is sent.
type Exception struct {
	Rank     int // in its batch; stores keep Seq only
	Seq      Seq
	Result   Result
	Reason   Reason
	Code     string // as the provider gave it, e.g. "550 5.1.1"
	Text     string // cut by [CleanText]
	Attempts int    // never falls
	Before   int    // of the attempts those before it was resumed by scope: the schedule of retries counts behind them; never falls
	Doubts   int    // 0, 1, 2; never falls
	At       time.Time
}

// Over gives the row that e makes of the row that was there: attempts and doubts never fall.
func (e Exception) Over(was Exception) Exception {
	e.Before = max(e.Before, was.Before)
	e.Attempts, e.Doubts = max(e.Attempts, was.Attempts), max(e.Doubts, was.Doubts)
	return e
}

// Latch is what a writer reads with a share lock before it writes in a slot: the slot's row and the message's row there.
type Latch struct {
	Slot       Slot
	Epoch      int64
	Open       bool  // false while the slot moves
	Rev        int64 // rises with every change of a suppression set or of alive in this slot
	Phase      SlotPhase
	Generation Generation
	Frozen     bool
	Few        bool // its batches are whole rows, and few are planned in this slot
}

// Answer is what a store says of one claim or record.
type Answer int

// The answers.
const (
	Unknown Answer = iota // the commit's answer was lost: read (fence, step) before anything else
	Applied               // done; of a record, with its intent if it had one
	Halted                // the record's results are in, its intent was refused
	Stale                 // not done: the task's generation, or the holder's fence and step, is not the row's
	Busy                  // not claimed, not amended: another claim lives
	Over                  // not claimed: the batch is done, or held, or nothing of it is due yet; not amended: there is nobody whom it means
	Failed                // not done: this one alone was refused by the database (the error says why); the batch is held
)

// Claim asks for a batch.
type Claim struct {
	BatchRef
	Generation Generation
	Owner      Owner
	Lease      time.Duration
	Policy     Policy
	// Settle takes the batch only to settle what a dead claim left in flight, whatever the message's phase, and gives it up at once.
	Settle bool
	// First puts everybody of a batch that nobody touched before in flight with the claim, if they are at most so many: the intent of its
	// only chunk, in the claim's own transaction. Nil: nobody.
	First *FirstChunk
	// Deliver delivers the batch in the claim's own transaction: the sink is our own database. Nobody holds it then. Nil: a holder sends it.
	Deliver *Inline
}

// Inline is what a claim that delivers has to know.
type Inline struct {
	Revision     Revision
	Suppressions []SuppressionPart // read in the claim's own transaction
	Few          bool              // the message goes to few: where the latch says so too, who is delivered to gets a row in the same transaction
}

// News is what the log says of the delivery.
func (i *Inline) News() NewsKind {
	if i.Few {
		return NewsDeliveredFew
	}
	return NewsDelivered
}

// Delivers says whether the claim, if Decide grants it, delivers the batch: the store then asks [Claim.Finish].
func (c *Claim) Delivers() bool { return c.Deliver != nil && !c.Settle }

// Finish makes of the row that Decide answered the row of a batch that is delivered at now to all who were pending, but for the skipped
// (Rank, Seq and Reason set by the store, as of the claim's own transaction), whose exceptions it answers. Nobody holds it.
func (c *Claim) Finish(next *Batch, skipped []Exception, now time.Time) (found []Exception) {
	for _, e := range skipped {
		if next.Pending.Has(e.Rank) {
			next.Pending.Clear(e.Rank)
			next.Skipped++
			e.Result = ResultSkipped
			found = append(found, e)
		}
	}
	if sent := next.Pending.Len(); sent > 0 {
		next.ran(c.Deliver.Revision, now)
		next.Sent += sent
	}
	next.Pending.Reset()
	next.Owner, next.LeaseUntil = Owner{}, time.Time{}
	if next.State = BatchDone; !next.Finished() {
		next.State, next.Held = BatchHeld, "its counts do not add up to its members; run fanfare doctor"
	}
	return found
}

// Rows gives the ranks of those who get a row if the claim delivers: next is the row that Decide answered, before Finish, skipped as there.
func (c *Claim) Rows(l Latch, next *Batch, skipped []Exception) (ranks []int) {
	if !c.Deliver.Few || !l.Few {
		return nil
	}
	pending := next.Pending.Clone()
	for i := range skipped {
		pending.Clear(skipped[i].Rank)
	}
	for rank := range pending.All() {
		ranks = append(ranks, rank)
	}
	return ranks
}

// ran notes that all who are pending are sent to with a revision. Of several runs the first that holds somebody is theirs, so who was sent
// to before needs not be known.
func (b *Batch) ran(r Revision, at time.Time) {
	last := len(b.Runs) - 1
	if last < 0 {
		b.Runs = []Run{{Revision: r, At: at}}
		return
	}
	if b.Runs[last].Revision == r && b.Runs[last].Sent == nil {
		b.Runs[last].At = at
		return
	}
	b.Runs = append([]Run{{Revision: r, Sent: fullBytes(b.Pending), At: at}}, b.Runs...)
}

// fullBytes gives the bits by rank, none left out.
func fullBytes(b set.Bits) []byte {
	bits := make([]byte, (b.N()+7)/8)
	for rank := range b.All() {
		bits[rank/8] |= 1 << (rank % 8)
	}
	return bits
}

// FirstChunk is the intent that comes with a claim.
type FirstChunk struct {
	Most         int
	Suppressions []SuppressionPart // read in the claim's own transaction
}

// Begins says whether the claim of the batch b, if Decide grants it, puts its members in flight: the store then asks Begin.
func (c *Claim) Begins(b *Batch) bool {
	return c.First != nil && !c.Settle && b.State == BatchNew && b.N <= c.First.Most
}

// Begin puts the members of the row that Decide answered in flight, but for those that are suppressed, whose exceptions it answers (At
// left to the store). A nil suppressed says that nobody is.
func (c *Claim) Begin(next *Batch, members []Seq, suppressed func(Seq) (Reason, bool)) (found []Exception) {
	if suppressed == nil {
		next.InFlight, next.Pending = next.Pending, set.NewBits(next.N)
		return nil
	}
	for rank, seq := range members {
		next.Pending.Clear(rank)
		if why, skip := suppressed(seq); skip {
			next.Skipped++
			found = append(found, Exception{Rank: rank, Seq: seq, Result: ResultSkipped, Reason: why})
			continue
		}
		next.InFlight.Set(rank)
	}
	return found
}

// Decide says what the claim does to the batch b under the latch at now (the database's clock): the row to write if the answer is
// Applied, and the exceptions of those that became uncertain (Rank set, Seq and At left to the store). What it finds in flight was
// left by a dead claim: first doubt → doubted, then pending or uncertain by the policy; second doubt → uncertain.
func (c *Claim) Decide(rules Rules, l Latch, b Batch, now time.Time) (Batch, []Exception, Answer) {
	if b.Claimed(now) && !(b.Owner.Node == c.Owner.Node && b.Owner.Incarnation < c.Owner.Incarnation) {
		return b, nil, Busy
	}
	if !rules.ClaimWithoutLatch && (!l.Open || !c.Settle && (l.Generation != c.Generation || l.Phase != SlotSending)) {
		return b, nil, Stale
	}
	if b.State == BatchDone || b.State == BatchHeld || c.Settle && b.InFlight.Empty() || !c.Settle && now.Before(b.NotBefore) {
		return b, nil, Over
	}
	next := b.Clone()
	next.Fence++
	next.Step++
	next.State = BatchOpen
	next.NotBefore = time.Time{}
	next.Owner, next.LeaseUntil = c.Owner, now.Add(c.Lease)
	if c.Settle {
		next.Owner, next.LeaseUntil = Owner{}, time.Time{}
	}
	var found []Exception
	for rank := range b.InFlight.All() {
		found = next.doubt(rules, found, rank, c.Policy, ReasonInterrupted)
	}
	if c.Settle && next.Finished() {
		next.State = BatchDone
	}
	return next, found, Applied
}

// Doubt moves the member at rank out of in_flight: first doubt → doubted, then pending or uncertain by the policy; second doubt →
// uncertain. It appends the exception of whoever became uncertain.
func (b *Batch) Doubt(to []Exception, rank int, p Policy, why Reason) []Exception {
	return b.doubt(Rules{}, to, rank, p, why)
}

func (b *Batch) doubt(rules Rules, to []Exception, rank int, p Policy, why Reason) []Exception {
	b.InFlight.Clear(rank)
	doubts := 1
	if b.Doubted.Has(rank) {
		doubts = 2
	}
	if !rules.DoubtedInMemory {
		b.Doubted.Set(rank)
	}
	if doubts == 1 && p != PolicyHold {
		b.Pending.Set(rank)
		return to
	}
	b.Uncertain++
	return append(to, Exception{Rank: rank, Result: ResultUncertain, Reason: why, Attempts: doubts, Doubts: doubts})
}

// Intent is the chunk that a holder wants to hand to a provider next.
type Intent struct {
	Members      []Member
	Suppressions []SuppressionPart // read in the record's own transaction
}

// Member is one of a batch's members: its rank in the batch and its seq.
type Member struct {
	Rank int
	Seq  Seq
}

// Record is one journal write of a claim's holder: absolute, never an increment. It holds the results of what was answered, as the
// row they make (Next, before the intent), guarded by fence and step; and the intent of what is to be sent next, guarded also by
// phase and generation under the latch.
type Record struct {
	BatchRef
	Generation Generation
	Fence      int64
	Step       int64 // the last step the holder knows of
	Next       Batch
	Exceptions []Exception // with Rank and Seq; At is set by the store
	Intent     *Intent
	Lease      time.Duration // counted from the commit; 0 gives the claim up
	SentNow    bool          // somebody was sent to: the last run's time becomes the commit's
}

// Check tells why the row cur could not hold the record, whatever else is so. A store asks it before Decide: such a record is Failed,
// and its batch held, if it is not Stale.
func (r *Record) Check(cur *Batch) error {
	n := cur.N
	if r.Next.N != n || r.Next.First != cur.First || r.Next.Pending.N() != n || r.Next.InFlight.N() != n || r.Next.Doubted.N() != n {
		return fmt.Errorf("record of %v: it is of %d members from rank %d, the batch of %d from rank %d", r.BatchRef, r.Next.N, r.Next.First, n, cur.First)
	}
	if r.Intent != nil {
		for _, m := range r.Intent.Members {
			if m.Rank < 0 || m.Rank >= n {
				return fmt.Errorf("record of %v: an intent for rank %d of %d", r.BatchRef, m.Rank, n)
			}
		}
	}
	for i := range r.Exceptions {
		e := &r.Exceptions[i]
		if e.Rank < 0 || e.Rank >= n {
			return fmt.Errorf("record of %v: an exception for rank %d of %d", r.BatchRef, e.Rank, n)
		}
		for _, text := range [...]string{string(e.Result), string(e.Reason), e.Code, e.Text} {
			if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
				return fmt.Errorf("record of %v: the text for rank %d is not UTF-8 without NUL", r.BatchRef, e.Rank)
			}
		}
	}
	return nil
}

// Decide says what the record does to the row cur (of which only fence, step, state and owner matter) under the latch at now: the
// row to write unless the answer is Stale, and the exceptions to write. suppressed tells whether and why a member gets nothing, as
// of this transaction.
func (r *Record) Decide(rules Rules, l Latch, cur *Batch, now time.Time, suppressed func(Seq) (Reason, bool)) (Batch, []Exception, Answer) {
	if !rules.NoFence && (cur.Fence != r.Fence || cur.Step != r.Step) {
		return *cur, nil, Stale
	}
	if rules.ResultsGuardedByGen && l.Generation != r.Generation {
		return *cur, nil, Stale
	}
	next := r.Next.Clone()
	next.BatchRef, next.Fence, next.Step = r.BatchRef, cur.Fence, cur.Step+1
	found := make([]Exception, 0, len(r.Exceptions))
	for _, e := range r.Exceptions {
		e.At = now
		found = append(found, e)
	}
	if r.SentNow && len(next.Runs) > 0 {
		next.Runs[len(next.Runs)-1].At = now
	}
	answer := Applied
	if r.Intent != nil {
		if l.Open && l.Phase == SlotSending && l.Generation == r.Generation {
			found = r.Intent.apply(&next, found, now, suppressed)
		} else {
			answer = Halted
		}
	}
	next.State = BatchOpen
	next.LeaseUntil = now.Add(r.Lease)
	if r.Lease == 0 {
		next.Owner, next.LeaseUntil = Owner{}, time.Time{}
		switch {
		case r.Next.State == BatchHeld:
			next.State = BatchHeld
		case next.Finished():
			next.State = BatchDone
		case !next.Balanced():
			next.State, next.Held = BatchHeld, "its counts do not add up to its members; run fanfare doctor"
		}
	}
	return next, found, answer
}

func (i *Intent) apply(next *Batch, found []Exception, now time.Time, suppressed func(Seq) (Reason, bool)) []Exception {
	for _, m := range i.Members {
		next.Pending.Clear(m.Rank)
		why, skip := suppressed(m.Seq)
		if !skip {
			next.InFlight.Set(m.Rank)
			continue
		}
		next.Skipped++
		found = append(found, Exception{Rank: m.Rank, Seq: m.Seq, Result: ResultSkipped, Reason: why, At: now})
	}
	return found
}
