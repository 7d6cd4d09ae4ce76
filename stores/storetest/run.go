package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"fanfare"
	"fanfare/set"
)

// slots is how many slots the stores of the suite have.
const slots = 4

// Options is what the suite asks of a store.
type Options struct {
	Slots int
	Clock func() time.Time // the database's clock
}

// Backend is a fresh and empty store, to be closed by its driver's own t.Cleanup.
type Backend struct {
	Store fanfare.Store
	// Reopen closes the store and opens the same one again. Every driver whose Features say Durable has it.
	Reopen func(t *testing.T) fanfare.Store
	// Crash opens what is left when the process of the store is killed at this moment; nil where a test cannot do that.
	Crash func(t *testing.T) fanfare.Store
	// Restore opens a file that Backup wrote. Every driver whose Features say CanBackup has it.
	Restore func(t *testing.T, file string) fanfare.Store
	// Damage changes bytes of one part of a frozen audience behind the store's back; nil where a test cannot do that.
	Damage func(t *testing.T, m fanfare.MessageNum, s fanfare.Slot, p fanfare.Part)
	// DamageBatch makes the sets of a batch's row unreadable behind the store's back; nil where a test cannot do that.
	DamageBatch func(t *testing.T, r fanfare.BatchRef)
	// DamageReceipts changes bytes of a row of receipts behind the store's back; nil where a test cannot do that.
	DamageReceipts func(t *testing.T, m fanfare.MessageNum, s fanfare.Slot, k fanfare.ReceiptKind, chunk uint16)
	// Another opens the same store once more, as a second process does. Every driver whose Features say Shared has it.
	Another func(t *testing.T) fanfare.Store
}

// Open makes one more Backend.
type Open func(t *testing.T, o Options) Backend

// Clock is a clock that only a test moves.
type Clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

// NewClock gives a clock that shows a whole second.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)} }

// Now shows the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type scenario struct {
	name string
	run  func(x *fixture)
}

// Run runs the suite; every scenario has a store of its own.
func Run(t *testing.T, open Open) {
	t.Helper()
	groups := []struct {
		name string
		of   []scenario
	}{
		{"Control", controlScenarios()},
		{"Tables", tableScenarios()},
		{"People", peopleScenarios()},
		{"Sets", setScenarios()},
		{"Addresses", addressScenarios()},
		{"SlotSets", slotSetScenarios()},
		{"Freeze", freezeScenarios()},
		{"Claim", claimScenarios()},
		{"Inline", inlineScenarios()},
		{"InboxRows", inboxRowScenarios()},
		{"Record", recordScenarios()},
		{"Amend", amendScenarios()},
		{"Hostile", hostileScenarios()},
		{"Reports", reportScenarios()},
		{"Together", togetherScenarios()},
		{"Receipts", receiptScenarios()},
		{"Erase", eraseScenarios()},
		{"Upkeep", upkeepScenarios()},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, s := range g.of {
				t.Run(s.name, func(t *testing.T) { s.run(newFixture(t, open)) })
			}
		})
	}
}

// fixture is one store under test and what is handy around it.
type fixture struct {
	fanfare.Store
	t       *testing.T
	ctx     context.Context //nolint:containedctx // of one test
	clock   *Clock
	backend Backend
	made    int // messages
}

func newFixture(t *testing.T, open Open) *fixture {
	t.Helper()
	clock := NewClock()
	b := open(t, Options{Slots: slots, Clock: clock.Now})
	if b.Store.Slots() != slots {
		t.Fatalf("the store has %d slots, %d were asked for", b.Store.Slots(), slots)
	}
	return &fixture{Store: b.Store, t: t, ctx: t.Context(), clock: clock, backend: b}
}

func (x *fixture) ok(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// is wants an error of a kind.
func (x *fixture) is(err, kind error, doing string) {
	x.t.Helper()
	if !errors.Is(err, kind) {
		x.t.Errorf("%s: error %v, want %v", doing, err, kind)
	}
}

func (x *fixture) same(got, want any, what string) {
	x.t.Helper()
	if d := diff(want, got); d != "" {
		x.t.Errorf("%s: -want +got\n%s", what, d)
	}
}

// diff compares by value: no difference between nil and empty, times by the moment.
func diff(want, got any) string { return cmp.Diff(want, got, cmpopts.EquateEmpty()) }

func (x *fixture) update(fn func(tx fanfare.ControlTx) error) {
	x.t.Helper()
	x.ok(x.Update(x.ctx, fn))
}

func (x *fixture) view(fn func(v fanfare.ControlView) error) {
	x.t.Helper()
	x.ok(x.View(x.ctx, fn))
}

// message inserts a message that is preparing.
func (x *fixture) message() fanfare.MessageNum {
	x.t.Helper()
	x.made++
	m := fanfare.Message{ID: fanfare.MessageID(fmt.Sprintf("made-%d", x.made)), Channel: fanfare.ChannelNull, Revision: 1,
		State: fanfare.State{Phase: fanfare.PhasePreparing, Generation: 1}, CreatedAt: x.clock.Now(), UpdatedAt: x.clock.Now()}
	x.update(func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) })
	return m.Num
}

// ids gives n external ids of a slot, the same ones in every call.
func ids(s fanfare.Slot, n int) []string {
	found := make([]string, 0, n)
	for i := 0; len(found) < n; i++ {
		if id := fmt.Sprintf("u%05d", i); fanfare.SlotOf(id, slots) == s {
			found = append(found, id)
		}
	}
	return found
}

func text(s string) *string { return &s }

// people creates recipients without anything and gives their seqs.
func (x *fixture) people(s fanfare.Slot, names ...string) []fanfare.Seq {
	x.t.Helper()
	changes := make([]fanfare.RecipientChange, len(names))
	for i, id := range names {
		changes[i].ExternalID = id
	}
	done := x.upsert(s, fanfare.UpsertOptions{}, changes...)
	seqs := make([]fanfare.Seq, len(done))
	for i, u := range done {
		seqs[i] = u.Seq
	}
	return seqs
}

func (x *fixture) upsert(s fanfare.Slot, opt fanfare.UpsertOptions, changes ...fanfare.RecipientChange) []fanfare.Upserted {
	x.t.Helper()
	done, err := x.Upsert(x.ctx, s, changes, opt)
	x.ok(err)
	if len(done) != len(changes) {
		x.t.Fatalf("%d changes, %d answers", len(changes), len(done))
	}
	return done
}

func (x *fixture) set(s fanfare.Slot, name fanfare.SetName) *set.Set {
	x.t.Helper()
	members, err := x.LoadSet(x.ctx, s, name)
	x.ok(err)
	return members
}

func (x *fixture) change(s fanfare.Slot, name fanfare.SetName, add, remove *set.Set) (added, removed int) {
	x.t.Helper()
	added, removed, err := x.ChangeSet(x.ctx, s, name, add, remove)
	x.ok(err)
	return added, removed
}

func (x *fixture) members(s fanfare.Slot, name fanfare.SetName, want ...fanfare.Seq) {
	x.t.Helper()
	if got := x.set(s, name); !got.Equal(set.Of(want...)) {
		x.t.Errorf("set %s of slot %d has %v, want %v", name, s, got.ToArray(), want)
	}
}

// freeze freezes the parts and lets the message send, generation 1.
func (x *fixture) freeze(m fanfare.MessageNum, s fanfare.Slot, size int, parts map[fanfare.Part]*set.Set) {
	x.t.Helper()
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotPreparing, 1))
	done, err := x.Freeze(x.ctx, s, m, 1, size, func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) { return parts, nil })
	x.ok(err)
	if !done {
		x.t.Fatal("a slot that is not frozen was not frozen")
	}
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotSending, 1))
}

// sending makes a message to n new people of a slot, in batches of size, that is sending in generation 1. It gives their seqs.
func (x *fixture) sending(s fanfare.Slot, n, size int) (fanfare.MessageNum, []fanfare.Seq) {
	x.t.Helper()
	was := x.set(s, fanfare.SetAlive).Clone()
	x.ok(x.Number(x.ctx, s, n))
	planned := set.AndNot(x.set(s, fanfare.SetAlive), was)
	m := x.message()
	x.freeze(m, s, size, map[fanfare.Part]*set.Set{fanfare.PartSend: planned})
	return m, planned.ToArray()
}

func (x *fixture) now() time.Time { return x.clock.Now() }
