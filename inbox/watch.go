package inbox

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"fanfare"
	"fanfare/set"
)

// Watched is a store that notes when something was changed through it which inboxes show. Its methods answer after that is noted, so whoever
// reads after an answer knows of the change.
type Watched struct {
	fanfare.Store
	others Others
	state  atomic.Int64 // rises with each change of a message, or of what was delivered
	log    atomic.Int64 // with receipts
	people atomic.Int64 // with profiles
	// touched rises when others may have written.
	touched atomic.Int64
	owners  owners // who got messages to few
}

// owners are the last people who got a message to few.
type owners struct {
	mu   sync.Mutex // guards what follows
	gone int64      // how many came before list
	list []fanfare.Person
}

// mostOwners is how many are kept at least.
const mostOwners = 1 << 16

func (o *owners) add(s fanfare.Slot, seqs []fanfare.Seq) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, seq := range seqs {
		o.list = append(o.list, fanfare.Person{Slot: s, Seq: seq})
	}
	if more := len(o.list) - mostOwners; more > mostOwners {
		o.list = slices.Delete(o.list, 0, more)
		o.gone += int64(more)
	}
}

// lose: somebody may have got a message who is not known.
func (o *owners) lose() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone += int64(len(o.list)) + 1
	o.list = nil
}

// since gives who came after a place, and the next place; lost: not all of them are known any more.
func (o *owners) since(place int64) (people []fanfare.Person, next int64, lost bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if next = o.gone + int64(len(o.list)); place < o.gone {
		return nil, next, true
	}
	return slices.Clone(o.list[place-o.gone:]), next, false
}

// Others tells of the other nodes of the database.
type Others interface {
	// Alone says that nobody else has written anything that this node was not told of by Touch. It is asked before each answer.
	Alone() bool
	// Known waits, after a write, until the others know that they are not alone.
	Known(ctx context.Context) error
}

// nobody are the others of a process that has its store for itself.
type nobody struct{}

func (nobody) Alone() bool { return true }

func (nobody) Known(context.Context) error { return nil }

// Watch watches a store that this process has for itself.
func Watch(s fanfare.Store) *Watched { return Among(s, nobody{}) }

// Among watches a store that other nodes change too.
func Among(s fanfare.Store, o Others) *Watched { return &Watched{Store: s, others: o} }

// Touch says that others have written, or may have: whoever reads next asks the log, also if this node is alone by then.
func (w *Watched) Touch() {
	w.touched.Add(1)
	w.log.Add(1)
}

// news notes what the log says of other nodes' changes, and then of our own once more.
func (w *Watched) news(all []fanfare.News) {
	for _, n := range all {
		switch n.Kind {
		case fanfare.NewsPeople:
			w.people.Add(1)
			continue
		case fanfare.NewsDeliveredFew:
			w.owners.lose()
		}
		w.state.Add(1)
	}
}

// kept notes a change of ours that is durable.
func (w *Watched) kept(ctx context.Context, of *atomic.Int64, err *error) {
	of.Add(1)
	if *err == nil {
		*err = w.others.Known(ctx)
	}
}

// Update implements fanfare.Control.
func (w *Watched) Update(ctx context.Context, fn func(fanfare.ControlTx) error) (err error) {
	defer w.kept(ctx, &w.state, &err)
	return w.Store.Update(ctx, fn)
}

// Freeze implements fanfare.Freezer.
func (w *Watched) Freeze(ctx context.Context, s fanfare.Slot, m fanfare.MessageNum, g fanfare.Generation, size int,
	fn func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error),
) (bool, error) {
	if size == fanfare.WholeRows {
		defer w.state.Add(1)
	}
	return w.Store.Freeze(ctx, s, m, g, size, fn)
}

// FreezeMany implements fanfare.Freezer.
func (w *Watched) FreezeMany(ctx context.Context, slots []fanfare.Slot, m fanfare.MessageNum, g fanfare.Generation, size int,
	fn func(fanfare.Slot, fanfare.FreezeView) (map[fanfare.Part]*set.Set, error),
) (bool, error) {
	if size == fanfare.WholeRows {
		defer w.state.Add(1)
	}
	return w.Store.FreezeMany(ctx, slots, m, g, size, fn)
}

// Forget implements fanfare.Freezer.
func (w *Watched) Forget(ctx context.Context, s fanfare.Slot, m fanfare.MessageNum) error {
	defer w.state.Add(1)
	return w.Store.Forget(ctx, s, m)
}

// Append implements fanfare.Journal.
func (w *Watched) Append(ctx context.Context, shard int, entries []fanfare.Entry) []fanfare.EntryAnswer {
	answers := w.Store.Append(ctx, shard, entries)
	shown := false
	for i := range entries {
		c := entries[i].Claim
		shown = shown || c != nil && c.Deliver != nil || entries[i].Amend != nil
		switch {
		case c == nil || c.Deliver == nil:
		case answers[i].Answer == fanfare.Unknown && c.Deliver.Few:
			w.owners.lose()
		case len(answers[i].Members) > 0:
			w.owners.add(c.Slot, answers[i].Members)
		}
	}
	if shown {
		w.state.Add(1)
	}
	return answers
}

// LogReceipts implements fanfare.Receipts.
func (w *Watched) LogReceipts(ctx context.Context, shard int, receipts []fanfare.Receipt) (all []fanfare.Logged, err error) {
	defer w.kept(ctx, &w.log, &err)
	return w.Store.LogReceipts(ctx, shard, receipts)
}

// Upsert implements fanfare.People.
func (w *Watched) Upsert(ctx context.Context, s fanfare.Slot, changes []fanfare.RecipientChange, opt fanfare.UpsertOptions) (all []fanfare.Upserted, err error) {
	defer w.kept(ctx, &w.people, &err)
	return w.Store.Upsert(ctx, s, changes, opt)
}

// ChangeSet implements fanfare.People.
func (w *Watched) ChangeSet(ctx context.Context, s fanfare.Slot, name fanfare.SetName, add, remove *set.Set) (int, int, error) {
	if name == fanfare.SetAlive {
		defer w.people.Add(1)
	}
	return w.Store.ChangeSet(ctx, s, name, add, remove)
}

// Erase implements fanfare.Erasing. Whoever is erased has no inbox any more.
func (w *Watched) Erase(ctx context.Context, s fanfare.Slot, ids []string) (all []fanfare.Erased, err error) {
	defer w.kept(ctx, &w.people, &err)
	return w.Store.Erase(ctx, s, ids)
}
