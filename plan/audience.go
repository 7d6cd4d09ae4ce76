package plan

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"fanfare"
	"fanfare/audience"
	"fanfare/set"
)

// parts are what one slot's audience is split into.
type parts map[fanfare.Part]*set.Set

// question is all that decides who is sent to and who is skipped for which reason. The freeze and the count ask the same one.
type question struct {
	expr      audience.Expr
	lists     map[string]fanfare.SetName // of the expression, by name
	segments  map[string]audience.Expr   // that the expression comes to, by name
	asked     []audience.Attribute       // the conditions on attributes, each once
	at        map[string]int             // where they are in asked
	past      map[string]*former         // the messages that it names, by id
	channel   fanfare.ChannelName        // empty: nothing is skipped
	topic     string
	essential bool
	address   bool // whoever has none is skipped
	dedupe    bool // one a mailbox
	slots     int
	content   Content // whoever lacks what it needs is skipped; nil: nobody
}

// ask parses an audience and finds its lists.
func (p *Planner) ask(ctx context.Context, doc json.RawMessage, q question, dedupe fanfare.Dedupe) (question, error) {
	var err error
	if q.expr, err = audience.Parse(doc); err != nil {
		return q, fmt.Errorf("its audience: %w", err)
	}
	q.slots = p.Store.Slots()
	q.address = q.channel != "" && p.NeedsAddress(q.channel)
	q.dedupe = q.address && dedupe == fanfare.DedupeAddress
	q.lists, q.at, q.past = make(map[string]fanfare.SetName), make(map[string]int), make(map[string]*former)
	err = p.Store.View(ctx, func(v fanfare.ControlView) (err error) {
		if q.segments, err = fanfare.Reach(v, q.expr); err != nil {
			return err
		}
		for _, e := range q.segments {
			if err := q.find(v, e); err != nil {
				return err
			}
		}
		return q.find(v, q.expr)
	})
	return q, err
}

// find looks up what an expression names.
func (q *question) find(v fanfare.ControlView, e audience.Expr) error {
	for leaf := range audience.Leaves(e) {
		switch leaf := leaf.(type) {
		case audience.List:
			row, err := v.List(leaf.Name)
			if err != nil {
				return fmt.Errorf("list %q: %w", leaf.Name, err)
			}
			q.lists[leaf.Name] = fanfare.ListSet(row.ID)
		case audience.Message:
			if err := q.findPast(v, leaf); err != nil {
				return err
			}
		case audience.Attribute:
			key := keyOf(leaf)
			if _, there := q.at[key]; !there {
				q.at[key] = len(q.asked)
				q.asked = append(q.asked, leaf)
			}
		}
	}
	return nil
}

// keyOf tells leaves apart.
func keyOf(leaf audience.Expr) string {
	doc, _ := leaf.MarshalJSON() // what was parsed can be written
	return string(doc)
}

// source evaluates the question's expression in one slot.
type source struct {
	*question
	slot  fanfare.Slot
	view  fanfare.FreezeView
	known *known
}

// known are answers to the question's conditions in one slot, read a moment ago: to read them may take long, and a freeze keeps others waiting.
type known struct {
	attributes []*set.Set // as asked
	rest       []string   // attributes with more values than have sets

	maybe   *set.Set // who may lack what the content needs; nil: nobody is asked about
	asked   int      // of maybe, the first ones
	lacking *set.Set // of these, who does

	past     map[string]*set.Set // of conditions on messages
	segments map[string]*set.Set // once they were asked for
}

// look answers the question's conditions in a slot and hands fn, if there is one, the slot as it was when those on attributes were answered.
func (a *answer) look(ctx context.Context, s fanfare.Slot, fn func(v fanfare.SlotView, k *known) error) (*known, error) {
	k := &known{past: make(map[string]*set.Set)}
	for id, f := range a.past {
		if err := f.answer(ctx, a.store, s, k.past); err != nil {
			return nil, fmt.Errorf("message %s: %w", id, err)
		}
	}
	if len(a.asked) == 0 && a.content == nil && fn == nil {
		return k, nil
	}
	err := a.store.ReadSlot(ctx, s, func(v fanfare.SlotView) (err error) {
		if k.attributes, k.rest, err = readConditions(ctx, v, a.asked); err != nil {
			return err
		}
		if a.content != nil && fn == nil { // of the freeze
			made, err := a.split(ctx, s, v, k)
			if err != nil {
				return err
			}
			k.segments = nil // they are of this moment
			k.lacking = set.New()
			k.maybe, err = unsure(v, a.content, made[fanfare.PartSend])
			return err
		}
		if fn == nil {
			return nil
		}
		return fn(v, k)
	})
	return k, err
}

// Alive implements audience.Source.
func (s source) Alive(context.Context) (*set.Set, error) { return s.view.LoadSet(fanfare.SetAlive) }

// Leaf implements audience.Source.
func (s source) Leaf(ctx context.Context, leaf audience.Expr) (*set.Set, error) {
	switch leaf := leaf.(type) {
	case audience.List:
		return s.view.LoadSet(s.lists[leaf.Name])
	case audience.Recipients:
		return s.recipients(leaf.IDs)
	case audience.Segment:
		return s.segment(ctx, leaf.Name)
	case audience.Message:
		return s.known.past[keyOf(leaf)], nil
	case audience.Attribute:
		return s.known.attributes[s.at[keyOf(leaf)]], nil
	default:
		return nil, fmt.Errorf("cannot be evaluated: %w", fanfare.ErrUsage)
	}
}

// segment evaluates a segment once, however many name it.
func (s source) segment(ctx context.Context, name string) (members *set.Set, err error) {
	if members = s.known.segments[name]; members != nil {
		return members, nil
	}
	if members, err = audience.Eval(ctx, s.segments[name], s); err != nil {
		return nil, err
	}
	if s.known.segments == nil {
		s.known.segments = make(map[string]*set.Set)
	}
	s.known.segments[name] = members
	return members, nil
}

// recipients finds people by id. Nobody has an id that is unknown: who takes the audience in refuses it, or somebody was erased since.
func (s source) recipients(ids []string) (*set.Set, error) {
	var mine []string
	for _, id := range ids {
		if fanfare.SlotOf(id, s.slots) == s.slot {
			mine = append(mine, id)
		}
	}
	found := set.New()
	if len(mine) == 0 {
		return found, nil
	}
	seqs, err := s.view.Resolve(mine)
	if err != nil {
		return nil, err
	}
	for _, seq := range seqs {
		if seq >= 0 {
			found.Add(fanfare.Seq(seq)) //nolint:gosec // a store's seq
		}
	}
	return found, nil
}

// split evaluates the expression within alive and takes from it one part for each reason to skip, in the order in which reasons are
// named; who is left is to be sent to.
func (q *question) split(ctx context.Context, s fanfare.Slot, view fanfare.FreezeView, k *known) (parts, error) {
	rest, err := audience.Eval(ctx, q.expr, source{question: q, slot: s, view: view, known: k})
	if err != nil {
		return nil, err
	}
	made := parts{fanfare.PartSend: rest}
	if q.channel == "" || rest.Empty() { // as in most slots where few are named
		return made, nil
	}
	skip := func(why fanfare.Reason, members *set.Set) {
		if hit := set.And(rest, members); !hit.Empty() {
			made.add(fanfare.Part(why), hit)
			rest.Subtract(hit)
		}
	}
	for _, reason := range fanfare.Suppressions(q.channel, q.topic, q.essential) {
		for _, name := range reason.Sets {
			members, err := view.LoadSet(name)
			if err != nil {
				return nil, err
			}
			skip(reason.Reason, members)
		}
	}
	if !q.address {
		if k.lacking != nil {
			skip(fanfare.ReasonMissingField, k.lacking)
		}
		return made, nil
	}
	usable, err := view.LoadSet(fanfare.AddressSet(q.channel))
	if err != nil {
		return nil, err
	}
	invalid, err := view.LoadSet(fanfare.InvalidSet(q.channel))
	if err != nil {
		return nil, err
	}
	lacking := set.AndNot(rest, usable)
	skip(fanfare.ReasonInvalid, set.And(lacking, invalid))
	skip(fanfare.ReasonNoAddress, lacking)
	if k.lacking != nil {
		skip(fanfare.ReasonMissingField, k.lacking)
	}
	return made, nil
}

func (p parts) add(name fanfare.Part, members *set.Set) {
	if there := p[name]; there != nil {
		there.Union(members)
		return
	}
	p[name] = members
}

// answer is a question while it is answered. Where one mail a mailbox is wanted all slots are read before any is frozen, slot by slot:
// a step is never long. Otherwise it is ready at once.
type answer struct {
	question
	store  Store
	num    fanfare.MessageNum
	frozen []bool  // slots whose audience stands already, the first ones as they freeze in order; nil: none
	done   int     // steps
	then   []parts // as the slot was when it was read
	boxes  mailboxes
	twice  []*set.Set // who has a mailbox that somebody before has
}

func (p *Planner) answer(q question, num fanfare.MessageNum, frozen []bool) *answer {
	a := &answer{question: q, store: p.Store, num: num, frozen: frozen}
	if q.dedupe {
		a.then, a.twice = make([]parts, q.slots), make([]*set.Set, q.slots)
	}
	return a
}

func (a *answer) ready() bool { return !a.dedupe || a.done == 3*a.slots }

// step reads one slot: first who would be sent to, then which mailboxes may be there twice, then which are. Whoever comes first has the
// mailbox, so who is in a frozen slot has it.
func (a *answer) step(ctx context.Context) error {
	s := fanfare.Slot(a.done % a.slots) //nolint:gosec // slots fit
	var err error
	switch a.done / a.slots {
	case 0:
		err = a.read(ctx, s)
	case 1:
		if a.done == a.slots {
			a.boxes.open(a.total())
		}
		err = a.store.Mailboxes(ctx, s, a.channel, a.then[s][fanfare.PartSend], func(_ fanfare.Seq, key uint64) { a.boxes.see(key) })
	default:
		err = a.pick(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("slot %d: %w", s, err)
	}
	a.done++
	return nil
}

func (a *answer) read(ctx context.Context, s fanfare.Slot) (err error) {
	if a.frozen != nil && a.frozen[s] {
		a.then[s] = parts{}
		a.then[s][fanfare.PartSend], err = a.store.PartSet(ctx, a.num, s, fanfare.PartSend)
		return err
	}
	_, err = a.look(ctx, s, func(v fanfare.SlotView, k *known) (err error) {
		a.then[s], err = a.split(ctx, s, v, k)
		return err
	})
	return err
}

func (a *answer) total() (n int) {
	for _, parts := range a.then {
		n += parts[fanfare.PartSend].Len()
	}
	return n
}

func (a *answer) pick(ctx context.Context, s fanfare.Slot) error {
	type holder struct {
		seq fanfare.Seq
		key uint64
	}
	var maybe []holder
	err := a.store.Mailboxes(ctx, s, a.channel, a.then[s][fanfare.PartSend], func(seq fanfare.Seq, key uint64) {
		if a.boxes.maybeTwice(key) {
			maybe = append(maybe, holder{seq, key})
		}
	})
	if err != nil {
		return err
	}
	slices.SortFunc(maybe, func(x, y holder) int { return cmp.Compare(x.seq, y.seq) })
	a.twice[s] = set.New()
	for _, h := range maybe {
		if !a.boxes.take(h.key) {
			a.twice[s].Add(h.seq)
		}
	}
	return nil
}

// parts gives the final parts of a slot by what it holds now. Where mailboxes were compared the audience is that of the moment when the
// slot was read: who was not to be sent to then stays out, who is to be skipped now is.
func (a *answer) parts(ctx context.Context, s fanfare.Slot, view fanfare.FreezeView, k *known) (parts, error) {
	now, err := a.split(ctx, s, view, k)
	if err != nil || !a.dedupe {
		return now, err
	}
	alive, err := view.LoadSet(fanfare.SetAlive)
	if err != nil {
		return nil, err
	}
	final := parts{}
	then := a.then[s][fanfare.PartSend]
	for name, members := range a.then[s] {
		if name != fanfare.PartSend {
			final.add(name, set.And(members, alive))
		}
	}
	for name, members := range now {
		final.add(name, set.And(members, then))
	}
	send := final[fanfare.PartSend]
	if twice := set.And(send, a.twice[s]); !twice.Empty() {
		send.Subtract(twice)
		final.add(fanfare.Part(fanfare.ReasonDuplicateAddress), twice)
	}
	return final, nil
}

// CountQuery asks how many an audience would reach.
type CountQuery struct {
	Audience  json.RawMessage
	Channel   fanfare.ChannelName // empty: nothing is skipped
	Topic     string
	Essential bool
	Dedupe    fanfare.Dedupe
	// Message is whose content is meant: who lacks what it needs is counted as skipped, if its channel finds that out at the freeze. Nil: none is known.
	Message *fanfare.Message
}

// Counts is the answer: recipients = planned + all skipped.
type Counts struct {
	Recipients int
	Planned    int
	Skipped    map[fanfare.Reason]int
	Scanned    []string // attributes for which profiles were read: they have more values than have sets
}

// Count tells whom a message would reach if it were frozen now, by the code that freezes. audience.Problems say what is wrong with the
// audience; ErrNotFound names a list that is not there.
func (p *Planner) Count(ctx context.Context, c CountQuery) (Counts, error) {
	counts := Counts{Skipped: make(map[fanfare.Reason]int)}
	q, err := p.ask(ctx, c.Audience, question{channel: c.Channel, topic: c.Topic, essential: c.Essential}, c.Dedupe)
	if err != nil {
		return counts, err
	}
	if p.Content != nil && c.Message != nil {
		if q.content, err = p.Content(c.Message); err != nil {
			return counts, fmt.Errorf("its content: %w", err)
		}
	}
	a := p.answer(q, 0, nil)
	for !a.ready() {
		if err := a.step(ctx); err != nil {
			return counts, err
		}
	}
	if err := a.count(ctx, &counts); err != nil {
		return counts, err
	}
	slices.Sort(counts.Scanned)
	counts.Scanned = slices.Compact(counts.Scanned)
	return counts, nil
}

// countTogether is how many slots are counted at a time at most: whoever waits for a count looks at it.
const countTogether = 4

// count adds up all slots.
func (a *answer) count(ctx context.Context, sum *Counts) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	var failed error // guarded by mu, as sum
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(countTogether, runtime.GOMAXPROCS(0), a.slots) {
		wg.Go(func() {
			for n := next.Add(1) - 1; n < int64(a.slots); n = next.Add(1) - 1 {
				var made parts
				s := fanfare.Slot(n) //nolint:gosec // slots fit
				lacking, err := a.lacking(ctx, s)
				var k *known
				if err == nil {
					k, err = a.look(ctx, s, func(v fanfare.SlotView, k *known) (err error) {
						k.lacking = lacking
						made, err = a.parts(ctx, s, v, k)
						return err
					})
				}
				mu.Lock()
				switch {
				case err == nil:
					sum.add(made, k.rest)
				case failed == nil:
					failed = fmt.Errorf("slot %d: %w", s, err)
					stop()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failed
}

func (c *Counts) add(made parts, scanned []string) {
	c.Scanned = append(c.Scanned, scanned...)
	for name, members := range made {
		n := members.Len()
		c.Recipients += n
		if name == fanfare.PartSend {
			c.Planned += n
		} else if n > 0 {
			c.Skipped[fanfare.Reason(name)] += n
		}
	}
}
