package plan_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanfare"
	"fanfare/audience"
	"fanfare/plan"
	"fanfare/set"
)

// The proof: random nested audiences over people with attributes, lists and past messages are what a model says that looks at one person
// at a time and knows nothing of sets.

// someone is a person as the model knows them.
type someone struct {
	fanfare.Person
	id         string
	attributes map[string]any
	lists      [3]bool
	past       [3]happened
}

// happened is what became of one message for one person; the zero value: they were not in its audience.
type happened struct {
	result   fanfare.Result
	reason   fanfare.Reason
	doubted  bool
	planned  bool
	receipts [len(fanfare.Receipted{})]bool
}

type proof struct {
	*world
	r      *rand.Rand
	p      *plan.Planner
	people []*someone
	at     map[fanfare.Person]*someone
	past   [3]fanfare.Message
	known  map[string][]bool // leaves, person by person
}

func (f *proof) person(i int) map[string]any {
	a := map[string]any{"name": fmt.Sprint("n", i), "level": float64(f.r.IntN(100)), "city": fmt.Sprint("City", f.r.IntN(40)),
		"joined": time.Date(2020, 1, f.r.IntN(2000), f.r.IntN(24), 0, 0, 0, time.UTC).Format(time.RFC3339), "tags": []string{"a", "b", "c"}[:f.r.IntN(4)]}
	switch f.r.IntN(20) {
	case 0:
		a["level"] = fmt.Sprint(f.r.IntN(100)) // a text of digits
	case 1:
		a["level"] = float64(f.r.IntN(100)) + 0.25
	case 2:
		a["city"] = f.r.IntN(2) == 0
	case 3:
		a["joined"] = "long ago"
	case 4:
		delete(a, []string{"level", "city", "joined", "tags", "name"}[f.r.IntN(5)])
	}
	return a
}

func newProof(t *testing.T, slots, n int) *proof {
	f := &proof{world: newWorld(t, slots, 0), r: rand.New(rand.NewPCG(11, 12)), at: make(map[fanfare.Person]*someone), known: make(map[string][]bool)}
	f.size = 1 << 16
	f.p = f.planner("a")
	changes := make([][]fanfare.RecipientChange, slots)
	for i := range n {
		one := &someone{id: fmt.Sprint("u", i), attributes: f.person(i)}
		one.Slot = fanfare.SlotOf(one.id, slots)
		one.Seq = fanfare.Seq(len(changes[one.Slot]))
		changes[one.Slot] = append(changes[one.Slot], fanfare.RecipientChange{ExternalID: one.id, Attributes: one.attributes})
		f.people = append(f.people, one)
		f.at[one.Person] = one
	}
	for s := range slots {
		_, err := f.store.Upsert(f.ctx, fanfare.Slot(s), changes[s], fanfare.UpsertOptions{})
		f.ok(err)
	}
	f.lists()
	for i := range f.past {
		f.formerMessage(i)
	}
	f.ok((&plan.Indexer{Store: f.store, Node: "a"}).Tick(f.ctx))
	known := profiles{}
	for range n / 100 { // and some have changed since
		one := f.people[f.r.IntN(n)]
		one.attributes = f.person(f.r.IntN(n))
		f.upsert(known, one.id, fanfare.ChangeReplace, one.attributes)
	}
	return f
}

func (f *proof) lists() {
	for k := range 3 {
		l := fanfare.List{Name: fmt.Sprint("l", k)}
		f.ok(f.store.Update(f.ctx, func(tx fanfare.ControlTx) error { return tx.InsertList(&l) }))
		members := make([]*set.Set, f.store.Slots())
		for s := range members {
			members[s] = set.New()
		}
		for i, one := range f.people {
			if one.lists[k] = f.r.IntN(4+k) == 0 || k == 2 && i < len(f.people)/3; one.lists[k] {
				members[one.Slot].Add(one.Seq)
			}
		}
		for s := range members {
			_, _, err := f.store.ChangeSet(f.ctx, fanfare.Slot(s), fanfare.ListSet(l.ID), members[s], nil)
			f.ok(err)
		}
	}
}

// formerMessage makes a past message: the first is sending, the second was cancelled, the third is completed.
func (f *proof) formerMessage(i int) {
	id := fanfare.MessageID(fmt.Sprint("past", i))
	f.message(id, nil, fanfare.EventStart)
	num := f.read(id).Num
	for s := range f.store.Slots() {
		parts := map[fanfare.Part]*set.Set{fanfare.PartSend: set.New(), fanfare.Part(fanfare.ReasonUnsubscribed): set.New(), fanfare.Part(fanfare.ReasonNoAddress): set.New()}
		for _, one := range f.people {
			if int(one.Slot) != s {
				continue
			}
			h := &one.past[i]
			switch f.r.IntN(20) {
			case 0, 1, 2, 3:
			case 4:
				*h = happened{result: fanfare.ResultSkipped, reason: fanfare.ReasonUnsubscribed}
				parts[fanfare.Part(h.reason)].Add(one.Seq)
			case 5:
				*h = happened{result: fanfare.ResultSkipped, reason: fanfare.ReasonNoAddress}
				parts[fanfare.Part(h.reason)].Add(one.Seq)
			default:
				*h = happened{planned: true, result: fanfare.ResultPending}
				parts[fanfare.PartSend].Add(one.Seq)
			}
		}
		done, err := f.store.Freeze(f.ctx, fanfare.Slot(s), num, f.read(id).Generation, 500, func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) { return parts, nil })
		f.ok(err)
		if !done {
			f.Fatal("not frozen")
		}
	}
	f.event(id, fanfare.EventFrozen)
	for s := range fanfare.Slot(f.store.Slots()) { //nolint:gosec // few
		rows, err := f.store.Batches(f.ctx, num, s, 0, 1<<20)
		f.ok(err)
		for k := range rows {
			f.batch(i, rows[k])
		}
	}
	if i == 1 {
		f.event(id, fanfare.EventCancel)
		f.event(id, fanfare.EventDrained)
		for _, one := range f.people {
			if h := &one.past[i]; h.result == fanfare.ResultPending {
				h.result, h.reason = fanfare.ResultSkipped, fanfare.ReasonCancelled
			}
		}
	}
	f.receipts(i, num)
	f.past[i] = f.read(id)
}

// batch lets something become of a batch; of the message that is sending some are untouched, some in the middle.
func (f *proof) batch(i int, row fanfare.Batch) {
	untouched := i < 2 && f.r.IntN(4) == 0
	if untouched {
		return
	}
	members, err := f.store.Members(f.ctx, row.Message, row.Slot, row.First, row.N)
	f.ok(err)
	r := fanfare.Record{BatchRef: row.BatchRef, Generation: 1, Fence: row.Fence, Step: row.Step, Next: row.Clone()}
	r.Next.Pending = set.NewBits(row.N)
	open := i < 2 && f.r.IntN(3) == 0
	for rank, seq := range members {
		h := &f.at[fanfare.Person{Slot: row.Slot, Seq: seq}].past[i]
		e := fanfare.Exception{Rank: rank, Seq: seq}
		switch c := f.r.IntN(160); {
		case c == 0:
			e.Result, e.Reason = fanfare.ResultFailed, fanfare.ReasonPermanent
			r.Next.Failed++
		case c == 1:
			e.Result, e.Reason = fanfare.ResultSkipped, fanfare.ReasonMissingField
			r.Next.Skipped++
		case c == 2:
			e.Result, e.Reason, e.Doubts = fanfare.ResultUncertain, fanfare.ReasonNoAnswer, 1
			r.Next.Uncertain++
		case c == 3: // sent at the second try, the first being in doubt
			e.Result, e.Doubts = fanfare.ResultSent, 1
			r.Next.Sent++
		case c == 4: // the same, told by the batch alone
			r.Next.Doubted.Set(rank)
			h.doubted = true
			r.Next.Sent++
		case c == 5 && open: // to be tried again
			e.Result, e.Reason = fanfare.ResultPending, fanfare.ReasonTemporary
			r.Next.Pending.Set(rank)
		case c == 6 && open && i == 0: // and just being tried again
			e.Result, e.Reason = fanfare.ResultPending, fanfare.ReasonTemporary
			r.Next.InFlight.Set(rank)
			r.Exceptions = append(r.Exceptions, e)
			h.result = fanfare.ResultInFlight
			continue
		case c < 9 && open:
			r.Next.Pending.Set(rank)
			e.Result = ""
			h.result = fanfare.ResultPending
			continue
		case c < 11 && open && i == 0:
			r.Next.InFlight.Set(rank)
			h.result = fanfare.ResultInFlight
			continue
		default:
			r.Next.Sent++
		}
		h.result, h.reason, h.doubted = e.Result, e.Reason, h.doubted || e.Doubts > 0
		if e.Result == "" {
			h.result = fanfare.ResultSent
			continue
		}
		r.Exceptions = append(r.Exceptions, e)
	}
	if open {
		r.Lease = time.Minute
	}
	a := f.store.Append(f.ctx, 0, []fanfare.Entry{{Record: &r}})[0]
	if a.Answer != fanfare.Applied {
		f.Fatalf("%v: answer %d: %v", row.BatchRef, a.Answer, a.Err)
	}
}

func (f *proof) receipts(i int, num fanfare.MessageNum) {
	var all []fanfare.Receipt
	kinds := []fanfare.ReceiptKind{fanfare.ReceiptRead, fanfare.ReceiptRead, fanfare.ReceiptSeen, fanfare.ReceiptClicked, fanfare.ReceiptDelivered, fanfare.ReceiptBounced}
	for _, one := range f.people {
		h := &one.past[i]
		if h.result != fanfare.ResultSent {
			continue
		}
		for range f.r.IntN(3) {
			k := kinds[f.r.IntN(len(kinds))]
			all = append(all, fanfare.Receipt{Message: num, Person: one.Person, Kind: k})
			h.receipts[k] = true
			if k == fanfare.ReceiptClicked {
				h.receipts[fanfare.ReceiptRead] = true
			}
			if k == fanfare.ReceiptClicked || k == fanfare.ReceiptRead {
				h.receipts[fanfare.ReceiptSeen] = true
			}
		}
		if f.r.IntN(20) == 0 {
			all = append(all, fanfare.Receipt{Message: num, Person: one.Person, Kind: fanfare.ReceiptUnread})
			h.receipts[fanfare.ReceiptRead] = false
		}
	}
	_, err := f.store.LogReceipts(f.ctx, 0, all)
	f.ok(err)
}

// leaf draws a leaf from some hundred, so that the model need not look at everybody for each.
func (f *proof) leaf() audience.Expr {
	number := func(n int) audience.Value { return audience.Value{Kind: audience.Number, Text: fmt.Sprint(n)} }
	text := func(s string) audience.Value { return audience.Value{Kind: audience.Text, Text: s} }
	attribute := func(name string, op audience.Op, v ...audience.Value) audience.Expr {
		return audience.Attribute{Name: name, Op: op, Values: v}
	}
	switch f.r.IntN(16) {
	case 0:
		return audience.All{}
	case 1, 2:
		return audience.List{Name: fmt.Sprint("l", f.r.IntN(3))}
	case 3:
		ops := []audience.Op{audience.Eq, audience.Ne, audience.Lt, audience.Lte, audience.Gt, audience.Gte}
		return attribute("level", ops[f.r.IntN(len(ops))], number(10*f.r.IntN(10)))
	case 4:
		return attribute("level", []audience.Op{audience.Eq, audience.In}[f.r.IntN(2)], text(fmt.Sprint(10*f.r.IntN(3))))
	case 5:
		return attribute("city", []audience.Op{audience.Eq, audience.Ne}[f.r.IntN(2)], []audience.Value{text("City3"), text("true"), {Kind: audience.Bool, Text: "false"}, text("nowhere")}[f.r.IntN(4)])
	case 6:
		return attribute("city", audience.In, text("City1"), text("City2"), text("City30"), text("nowhere"))
	case 7:
		ops := []audience.Op{audience.Lt, audience.Lte, audience.Gt, audience.Gte}
		return attribute("joined", ops[f.r.IntN(len(ops))], audience.Value{Kind: audience.Time, Text: []string{"2021-05-05T12:00:00Z", "2023-01-01T00:00:00Z"}[f.r.IntN(2)]})
	case 8:
		return attribute("tags", audience.Contains, text([]string{"a", "b", "c", "d"}[f.r.IntN(4)]))
	case 9:
		return attribute([]string{"level", "city", "joined", "tags", "name", "none"}[f.r.IntN(6)], audience.Exists, audience.Value{Kind: audience.Bool, Text: fmt.Sprint(f.r.IntN(2) == 0)})
	case 10:
		if f.r.IntN(4) == 0 { // more values than sets: a scan
			return attribute("name", []audience.Op{audience.In, audience.Ne}[f.r.IntN(2)], text("n17"))
		}
		return audience.Recipients{IDs: []string{"u1", "u2", "nobody", fmt.Sprint("u", f.r.IntN(9))}, SkipUnknown: true}
	case 11:
		return audience.Message{ID: fmt.Sprint("past", f.r.IntN(3)), Result: audience.Results()[f.r.IntN(6)]}
	case 12:
		reasons := []string{"permanent", "unsubscribed", "no_address", "missing_field", "cancelled", "bounced"}
		return audience.Message{ID: fmt.Sprint("past", f.r.IntN(3)), Reason: reasons[f.r.IntN(len(reasons))]}
	default:
		return audience.Message{ID: fmt.Sprint("past", f.r.IntN(3)), Receipt: audience.Receipts()[f.r.IntN(6)], Is: f.r.IntN(2) == 0}
	}
}

// everyPast gives all conditions on one message, and those on results and reasons of the others.
func (f *proof) everyPast() (all []audience.Expr) {
	for i := range f.past {
		id := fmt.Sprint("past", i)
		for _, r := range audience.Results() {
			all = append(all, audience.Message{ID: id, Result: r})
		}
		for _, r := range audience.Reasons() {
			all = append(all, audience.Message{ID: id, Reason: r})
		}
		for _, r := range audience.Receipts() {
			if i == 0 {
				all = append(all, audience.Message{ID: id, Receipt: r, Is: true}, audience.Message{ID: id, Receipt: r})
			}
		}
	}
	return all
}

func (f *proof) expr(depth int) audience.Expr {
	if depth == 0 || f.r.IntN(4) == 0 {
		return f.leaf()
	}
	parts := make([]audience.Expr, 1+f.r.IntN(3))
	for i := range parts {
		parts[i] = f.expr(depth - 1)
	}
	switch f.r.IntN(3) {
	case 0:
		return audience.Any{Parts: parts}
	case 1:
		return audience.Every{Parts: parts}
	}
	return audience.Not{Part: parts[0]}
}

// is looks at one person.
func (one *someone) is(e audience.Expr) bool {
	switch e := e.(type) {
	case audience.All:
		return true
	case audience.List:
		return one.lists[e.Name[1]-'0']
	case audience.Recipients:
		for _, id := range e.IDs {
			if id == one.id {
				return true
			}
		}
		return false
	case audience.Attribute:
		return means(e, one.attributes[e.Name])
	case audience.Message:
		h := &one.past[e.ID[4]-'0']
		sent := h.result == fanfare.ResultSent
		kind, isReceipt := fanfare.ParseReceiptKind(e.Receipt)
		switch {
		case e.Result != "":
			return string(h.result) == e.Result
		case e.Reason != "":
			return string(h.reason) == e.Reason && (h.result == fanfare.ResultFailed || h.result == fanfare.ResultSkipped)
		case isReceipt && e.Is:
			return h.receipts[kind]
		case isReceipt:
			return sent && !h.receipts[kind]
		case e.Is:
			return h.doubted
		default:
			return sent && !h.doubted
		}
	}
	panic("not in this test")
}

// model gives who is meant, by index.
func (f *proof) model(e audience.Expr) []bool {
	found := make([]bool, len(f.people))
	join := func(parts []audience.Expr, start bool) []bool {
		for i := range found {
			found[i] = start
		}
		for _, p := range parts {
			for i, is := range f.model(p) {
				if is != start {
					found[i] = is
				}
			}
		}
		return found
	}
	switch e := e.(type) {
	case audience.Any:
		return join(e.Parts, false)
	case audience.Every:
		return join(e.Parts, true)
	case audience.Not:
		for i, is := range f.model(e.Part) {
			found[i] = !is
		}
		return found
	}
	doc, err := json.Marshal(e)
	f.ok(err)
	if known := f.known[string(doc)]; known != nil {
		return known
	}
	for i, one := range f.people {
		found[i] = one.is(e)
	}
	f.known[string(doc)] = found
	return found
}

// TestSimAudiences is the proof, over 100,000 people: 1,000 audiences, or as many as FANFARE_SIM_SEEDS says if that is fewer.
func TestSimAudiences(t *testing.T) {
	const slots, people = 4, 100_000
	rounds := 60
	if seeds, err := strconv.Atoi(os.Getenv("FANFARE_SIM_SEEDS")); err == nil {
		rounds = min(seeds, 1_000)
	}
	f := newProof(t, slots, people)
	reached := 0
	all := f.everyPast() // each alone first
	for range rounds {
		all = append(all, f.expr(5))
	}
	for _, e := range all {
		doc, err := json.Marshal(e)
		f.ok(err)
		want := f.model(e)
		n := 0
		got := f.who(f.p, string(doc))
		for i, one := range f.people {
			if is := got[one.Slot].Contains(one.Seq); is != want[i] {
				t.Fatalf("%s: person %d (%+v) is in: %v, want %v", shorten(string(doc)), i, one, is, want[i])
			}
			if want[i] {
				n++
			}
		}
		for _, members := range got {
			n -= members.Len()
		}
		if n != 0 {
			t.Fatalf("%s: it reaches %d people too many", shorten(string(doc)), -n)
		}
		if slices.Contains(want, true) {
			reached++
		}
	}
	if reached < len(all)/2 {
		t.Errorf("only %d audiences reach anybody", reached)
	}
}

func shorten(s string) string { return strings.ToValidUTF8(s[:min(len(s), 2000)], "") }
