package storetest

import (
	"fanfare"
)

// The claimants of the suite are not constants because structs cannot be.
var (
	alice = fanfare.Owner{Node: "alice", Incarnation: 10}
	bob   = fanfare.Owner{Node: "bob", Incarnation: 3}
)

// append carries out entries that all lie in one slot.
func (x *fixture) append(s fanfare.Slot, entries ...fanfare.Entry) []fanfare.EntryAnswer {
	x.t.Helper()
	answers := x.Append(x.ctx, x.ShardOf(s), entries)
	if len(answers) != len(entries) {
		x.t.Fatalf("%d entries, %d answers", len(entries), len(answers))
	}
	return answers
}

func (x *fixture) append1(s fanfare.Slot, e fanfare.Entry) fanfare.EntryAnswer {
	x.t.Helper()
	return x.append(s, e)[0]
}

func ref(m fanfare.MessageNum, s fanfare.Slot, b fanfare.BatchNo) fanfare.BatchRef {
	return fanfare.BatchRef{Message: m, Slot: s, Batch: b}
}

// claim makes a claim of generation 1 for the usual time.
func claim(r fanfare.BatchRef, o fanfare.Owner) fanfare.Claim {
	return fanfare.Claim{BatchRef: r, Generation: 1, Owner: o, Lease: fanfare.LeaseTime, Policy: fanfare.PolicyResend}
}

func (x *fixture) claim(c fanfare.Claim) fanfare.EntryAnswer {
	x.t.Helper()
	return x.append1(c.Slot, fanfare.Entry{Claim: &c})
}

// answers wants an answer, and without error unless it is Failed.
func (x *fixture) answers(a fanfare.EntryAnswer, want fanfare.Answer, what string) {
	x.t.Helper()
	if a.Answer != want || (a.Err != nil) != (want == fanfare.Failed) {
		x.t.Fatalf("%s: answer %d (%v), want %d", what, a.Answer, a.Err, want)
	}
}

func (x *fixture) peek(r fanfare.BatchRef) fanfare.Batch {
	x.t.Helper()
	rows, err := x.Peek(x.ctx, []fanfare.BatchRef{r})
	x.ok(err)
	if len(rows) != 1 {
		x.t.Fatalf("%d rows for one name", len(rows))
	}
	return rows[0]
}

func (x *fixture) tally(m fanfare.MessageNum, s fanfare.Slot) fanfare.Tally {
	x.t.Helper()
	t, err := x.Tally(x.ctx, m, s)
	x.ok(err)
	return t
}

func (x *fixture) exceptions(m fanfare.MessageNum, s fanfare.Slot, from fanfare.Seq) []fanfare.Exception {
	x.t.Helper()
	var rows []fanfare.Exception
	for e, err := range x.Exceptions(x.ctx, m, s, from) {
		x.ok(err)
		rows = append(rows, e)
	}
	return rows
}

// holder is who holds a claim: it knows the whole row.
type holder struct {
	x       *fixture
	row     fanfare.Batch
	members []fanfare.Seq
}

// take claims a batch for alice.
func (x *fixture) take(r fanfare.BatchRef) *holder {
	x.t.Helper()
	a := x.claim(claim(r, alice))
	x.answers(a, fanfare.Applied, "claim")
	members, err := x.Members(x.ctx, r.Message, r.Slot, a.Row.First, a.Row.N)
	x.ok(err)
	return &holder{x: x, row: a.Row, members: members}
}

// make gives a record that only renews the claim, changed by fn.
func (h *holder) make(fn func(r *fanfare.Record)) fanfare.Record {
	r := fanfare.Record{BatchRef: h.row.BatchRef, Generation: 1, Fence: h.row.Fence, Step: h.row.Step, Next: h.row.Clone(), Lease: fanfare.LeaseTime}
	fn(&r)
	return r
}

// record writes one and knows the row from its answer.
func (h *holder) record(fn func(r *fanfare.Record)) fanfare.EntryAnswer {
	h.x.t.Helper()
	r := h.make(fn)
	return h.write(r)
}

func (h *holder) write(r fanfare.Record) fanfare.EntryAnswer {
	h.x.t.Helper()
	a := h.x.append1(r.Slot, fanfare.Entry{Record: &r})
	if a.Answer == fanfare.Applied || a.Answer == fanfare.Halted {
		h.row = a.Row
		h.x.same(h.x.peek(r.BatchRef), a.Row, "the row as answered and as read")
	}
	return a
}

func (h *holder) intent(ranks ...int) *fanfare.Intent {
	i := &fanfare.Intent{}
	for _, rank := range ranks {
		i.Members = append(i.Members, fanfare.Member{Rank: rank, Seq: h.members[rank]})
	}
	return i
}

// send journals an intent and wants it granted.
func (h *holder) send(ranks ...int) {
	h.x.t.Helper()
	h.x.answers(h.record(func(r *fanfare.Record) { r.Intent = h.intent(ranks...) }), fanfare.Applied, "intent")
}

func (h *holder) exception(rank int, result fanfare.Result, why fanfare.Reason) fanfare.Exception {
	return fanfare.Exception{Rank: rank, Seq: h.members[rank], Result: result, Reason: why, Attempts: 1}
}

// sent moves ranks from in flight to sent.
func sent(r *fanfare.Record, ranks ...int) {
	for _, rank := range ranks {
		r.Next.InFlight.Clear(rank)
		r.Next.Sent++
	}
}

// failed moves a rank from in flight to failed.
func (h *holder) failed(r *fanfare.Record, rank int, code, why string) {
	r.Next.InFlight.Clear(rank)
	r.Next.Failed++
	e := h.exception(rank, fanfare.ResultFailed, fanfare.ReasonPermanent)
	e.Code, e.Text = code, why
	r.Exceptions = append(r.Exceptions, e)
}
