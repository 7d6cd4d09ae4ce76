package plan_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"fanfare"
	"fanfare/plan"
	"fanfare/queues/memory"
	"fanfare/set"
	stores "fanfare/stores/memory"
)

// clock is the database's.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is a store and a queue with people, planners and one node called worker.
type world struct {
	testing.TB
	ctx   context.Context
	clock *clock
	store *stores.Store
	queue *memory.Queue
	sub   fanfare.Subscription
	size  int // of batches
	asked int // audiences
}

func newWorld(t testing.TB, slots, people int) *world {
	t.Helper()
	c := &clock{now: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)}
	w := newWorldAt(t, slots, people, c.Now)
	w.clock = c
	return w
}

func newWorldAt(t testing.TB, slots, people int, now func() time.Time) *world {
	t.Helper()
	w := &world{TB: t, ctx: t.Context(), clock: &clock{now: now()}, store: stores.Open(stores.Config{Slots: slots, Now: now}), queue: memory.New(), size: 2}
	for s := range slots {
		n := people / slots
		if s < people%slots {
			n++
		}
		w.ok(w.store.Number(w.ctx, fanfare.Slot(s), n))
	}
	var err error
	w.sub, err = w.queue.Subscribe(w.ctx, string(fanfare.ChannelNull))
	w.ok(err)
	t.Cleanup(func() { _ = w.queue.Close() })
	return w
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// config is a planner's on the plain store and queue.
func (w *world) config(node string) plan.Config {
	return plan.Config{Store: w.store, Queue: w.queue, Node: node, BatchSize: w.size,
		NeedsAddress: func(c fanfare.ChannelName) bool { return c == fanfare.ChannelEmail }}
}

func (w *world) planner(node string) *plan.Planner { return plan.New(w.config(node)) }

// free has the node report how many claims of the null channel are free.
func (w *world) free(n int) {
	w.Helper()
	w.ok(w.store.Update(w.ctx, func(tx fanfare.ControlTx) error {
		return tx.PutNode(fanfare.Node{Name: "worker", Free: map[string]int{string(fanfare.ChannelNull): n}})
	}))
}

func (w *world) tick(p *plan.Planner) {
	w.Helper()
	w.ok(p.Tick(w.ctx))
}

// settle ticks until nothing is left that need not wait.
func (w *world) settle(p *plan.Planner) {
	w.Helper()
	for range 4 {
		w.tick(p)
	}
}

// message makes a draft and gives it events.
func (w *world) message(id fanfare.MessageID, edit func(*fanfare.Message), events ...fanfare.Event) fanfare.MessageID {
	w.Helper()
	m := &fanfare.Message{ID: id, Name: string(id), Channel: fanfare.ChannelNull, Audience: json.RawMessage(`{"all":true}`), Revision: 1,
		State: fanfare.State{Phase: fanfare.PhaseDraft, Generation: 1}, Topic: "general", Priority: fanfare.PriorityNormal,
		Uncertain: fanfare.PolicyResend, StartGrace: time.Hour, Dedupe: fanfare.DedupeRecipient, CreatedAt: w.clock.Now()}
	if edit != nil {
		edit(m)
	}
	w.ok(w.store.Update(w.ctx, func(tx fanfare.ControlTx) error { return tx.InsertMessage(m) }))
	for _, e := range events {
		w.event(id, e)
	}
	return id
}

// event does what the API does.
func (w *world) event(id fanfare.MessageID, e fanfare.Event) {
	w.Helper()
	m, _, err := fanfare.Transition(w.ctx, w.store, id, e, nil)
	w.ok(err)
	w.ok(fanfare.SpreadAll(w.ctx, w.store, w.store.Slots(), m))
}

func (w *world) read(id fanfare.MessageID) (m fanfare.Message) {
	w.Helper()
	w.ok(w.store.View(w.ctx, func(v fanfare.ControlView) (err error) {
		m, err = v.Message(id)
		return err
	}))
	return m
}

func (w *world) phase(id fanfare.MessageID, want fanfare.Phase, why ...fanfare.PauseReason) {
	w.Helper()
	m := w.read(id)
	if m.Phase != want || len(why) > 0 && m.PauseReason != why[0] {
		w.Fatalf("message %s is %s %s, want %s %v", id, m.Phase, m.PauseReason, want, why)
	}
}

func (w *world) tally(id fanfare.MessageID) (sum fanfare.Tally, planned int) {
	w.Helper()
	m := w.read(id)
	for s := range w.store.Slots() {
		t, err := w.store.Tally(w.ctx, m.Num, fanfare.Slot(s))
		w.ok(err)
		sum.Add(t)
		parts, err := w.store.Parts(w.ctx, m.Num, fanfare.Slot(s))
		w.ok(err)
		planned += parts[fanfare.PartSend]
	}
	return sum, planned
}

// completed holds a message to its end: everybody was sent to, once.
func (w *world) completed(id fanfare.MessageID, people int) {
	w.Helper()
	w.phase(id, fanfare.PhaseCompleted)
	t, planned := w.tally(id)
	if planned != people || t.Sent != people || !t.Balanced(planned) || w.read(id).Outcome != fanfare.AllSent {
		w.Fatalf("message %s: planned %d of %d, outcome %q, %+v", id, planned, people, w.read(id).Outcome, t)
	}
}

// waiting tells how many tasks wait.
func (w *world) waiting() int {
	w.Helper()
	n, err := w.queue.Depth(w.ctx, string(fanfare.ChannelNull))
	w.ok(err)
	return n
}

// receive takes up to most waiting tasks off the queue.
func (w *world) receive(most int) (tasks []fanfare.Task) {
	w.Helper()
	if most = min(most, w.waiting()); most == 0 {
		return nil
	}
	got, err := w.sub.Receive(w.ctx, most)
	w.ok(err)
	for _, d := range got {
		tasks = append(tasks, d.Task())
		w.ok(d.Ack(w.ctx))
	}
	return tasks
}

var worker = fanfare.Owner{Node: "worker", Incarnation: 1}

// claim answers the row if the claim was granted.
func (w *world) claim(t fanfare.Task) (fanfare.Batch, bool) {
	w.Helper()
	a := w.store.Append(w.ctx, w.store.ShardOf(t.Slot), []fanfare.Entry{{Claim: &fanfare.Claim{BatchRef: t.BatchRef, Generation: t.Generation,
		Owner: worker, Lease: fanfare.LeaseTime, Policy: fanfare.PolicyResend}}})[0]
	w.ok(a.Err)
	return a.Row, a.Answer == fanfare.Applied
}

// record writes what edit makes of a claimed row, and gives the claim up unless a lease is set.
func (w *world) record(t fanfare.Task, row fanfare.Batch, edit func(*fanfare.Record)) fanfare.Batch {
	w.Helper()
	r := &fanfare.Record{BatchRef: t.BatchRef, Generation: t.Generation, Fence: row.Fence, Step: row.Step, Next: row.Clone()}
	edit(r)
	a := w.store.Append(w.ctx, w.store.ShardOf(t.Slot), []fanfare.Entry{{Record: r}})[0]
	w.ok(a.Err)
	if a.Answer != fanfare.Applied {
		w.Fatalf("record of %v: answer %d", t.BatchRef, a.Answer)
	}
	return a.Row
}

func allSent(r *fanfare.Record) {
	r.Next.Sent += r.Next.Pending.Len()
	r.Next.Pending = set.NewBits(r.Next.N)
}

// work claims and finishes up to most of the waiting tasks; it answers how many batches it did.
func (w *world) work(most int) (done int) {
	w.Helper()
	for _, t := range w.receive(most) {
		if row, claimed := w.claim(t); claimed {
			w.record(t, row, allSent)
			done++
		}
	}
	return done
}

// finish ticks and works until the message leaves the phase sending.
func (w *world) finish(p *plan.Planner, id fanfare.MessageID) {
	w.Helper()
	for range 10_000 {
		w.free(50)
		w.tick(p)
		if ph := w.read(id).Phase; ph != fanfare.PhaseSending && ph != fanfare.PhasePreparing {
			return
		}
		w.work(100)
		w.clock.advance(100 * time.Millisecond)
	}
	w.Fatal("it does not end")
}

// failing is a store whose calls can be counted, watched and failed.
type failing struct {
	*stores.Store
	calls  int
	before func(call int, name string) error // an error: the call has no effect
	after  func(call int, name string) error // an error: it had, and nobody knows
}

var errInjected = errors.New("injected")

func call[R any](f *failing, name string, do func() (R, error)) (r R, err error) {
	n := f.calls
	f.calls++
	if f.before != nil {
		if err := f.before(n, name); err != nil {
			return r, err
		}
	}
	if r, err = do(); err == nil && f.after != nil {
		if err = f.after(n, name); err != nil {
			var none R
			return none, err
		}
	}
	return r, err
}

func (f *failing) View(ctx context.Context, fn func(fanfare.ControlView) error) error {
	_, err := call(f, "View", func() (any, error) { return nil, f.Store.View(ctx, fn) })
	return err
}

func (f *failing) Update(ctx context.Context, fn func(fanfare.ControlTx) error) error {
	_, err := call(f, "Update", func() (any, error) { return nil, f.Store.Update(ctx, fn) })
	return err
}

func (f *failing) Look(ctx context.Context) ([]fanfare.Look, error) {
	return call(f, "Look", func() ([]fanfare.Look, error) { return f.Store.Look(ctx) })
}

func (f *failing) Freeze(ctx context.Context, s fanfare.Slot, m fanfare.MessageNum, g fanfare.Generation, size int,
	fn func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error),
) (bool, error) {
	return call(f, "Freeze", func() (bool, error) { return f.Store.Freeze(ctx, s, m, g, size, fn) })
}

// FreezeMany freezes slot by slot, and may stop between any two, as with several shards.
func (f *failing) FreezeMany(ctx context.Context, slots []fanfare.Slot, m fanfare.MessageNum, g fanfare.Generation, size int,
	fn func(fanfare.Slot, fanfare.FreezeView) (map[fanfare.Part]*set.Set, error),
) (bool, error) {
	all := true
	for _, s := range slots {
		done, err := f.Freeze(ctx, s, m, g, size, func(v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) { return fn(s, v) })
		if err != nil {
			return false, err
		}
		all = all && done
	}
	return all, nil
}

func (f *failing) SpreadMany(ctx context.Context, slots []fanfare.Slot, m fanfare.MessageNum, p fanfare.SlotPhase, g fanfare.Generation) error {
	for _, s := range slots {
		if err := f.Spread(ctx, s, m, p, g); err != nil {
			return err
		}
	}
	return nil
}

func (f *failing) Spread(ctx context.Context, s fanfare.Slot, m fanfare.MessageNum, p fanfare.SlotPhase, g fanfare.Generation) error {
	_, err := call(f, "Spread", func() (any, error) { return nil, f.Store.Spread(ctx, s, m, p, g) })
	return err
}

func (f *failing) Latches(ctx context.Context, m fanfare.MessageNum) ([]fanfare.Latch, error) {
	return call(f, "Latches", func() ([]fanfare.Latch, error) { return f.Store.Latches(ctx, m) })
}

func (f *failing) LoadSet(ctx context.Context, s fanfare.Slot, name fanfare.SetName) (*set.Set, error) {
	return call(f, "LoadSet", func() (*set.Set, error) { return f.Store.LoadSet(ctx, s, name) })
}

func (f *failing) Mailboxes(ctx context.Context, s fanfare.Slot, c fanfare.ChannelName, members *set.Set, fn func(fanfare.Seq, uint64)) error {
	_, err := call(f, "Mailboxes", func() (any, error) { return nil, f.Store.Mailboxes(ctx, s, c, members, fn) })
	return err
}

func (f *failing) Backlog(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot, from fanfare.BatchNo, limit int) ([]fanfare.Batch, fanfare.BatchNo, error) {
	type answer struct {
		open  []fanfare.Batch
		first fanfare.BatchNo
	}
	a, err := call(f, "Backlog", func() (a answer, err error) {
		a.open, a.first, err = f.Store.Backlog(ctx, m, s, from, limit)
		return a, err
	})
	return a.open, a.first, err
}

func (f *failing) Claims(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot) (int, []fanfare.BatchRef, error) {
	type answer struct {
		live int
		dead []fanfare.BatchRef
	}
	a, err := call(f, "Claims", func() (a answer, err error) {
		a.live, a.dead, err = f.Store.Claims(ctx, m, s)
		return a, err
	})
	return a.live, a.dead, err
}

func (f *failing) Append(ctx context.Context, shard int, entries []fanfare.Entry) []fanfare.EntryAnswer {
	answers, err := call(f, "Append", func() ([]fanfare.EntryAnswer, error) { return f.Store.Append(ctx, shard, entries), nil })
	if err != nil {
		answers = make([]fanfare.EntryAnswer, len(entries))
		for i := range answers {
			answers[i].Err = err
		}
	}
	return answers
}

func (f *failing) Tally(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot) (fanfare.Tally, error) {
	return call(f, "Tally", func() (fanfare.Tally, error) { return f.Store.Tally(ctx, m, s) })
}

func (f *failing) Parts(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot) (map[fanfare.Part]int, error) {
	return call(f, "Parts", func() (map[fanfare.Part]int, error) { return f.Store.Parts(ctx, m, s) })
}

func (f *failing) PartSet(ctx context.Context, m fanfare.MessageNum, s fanfare.Slot, p fanfare.Part) (*set.Set, error) {
	return call(f, "PartSet", func() (*set.Set, error) { return f.Store.PartSet(ctx, m, s, p) })
}

// publishing is a queue that shows what is published.
type publishing struct {
	fanfare.Queue
	published func([]fanfare.Task) error
}

func (q publishing) Publish(ctx context.Context, tasks []fanfare.Task) error {
	if err := q.published(tasks); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return q.Queue.Publish(ctx, tasks)
}

// logged is a logger that writes to the test.
func logged(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}
