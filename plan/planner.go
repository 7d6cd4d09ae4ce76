package plan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fanfare"
	"fanfare/set"
)

// The planner's times. All but the loop's are measured by the clock of the database.
const (
	tickEvery  = 100 * time.Millisecond // the loop, when nothing wakes it
	tickGap    = 2 * time.Millisecond   // between two ticks at least; or as long as the last one took, half a core at most
	leaseName  = "planner"
	leaseTime  = 5 * time.Second
	leaseRetry = time.Second     // between two tries to get it
	graceLeast = 5 * time.Second // a start_grace below is taken as this: the planner itself may be busy for a moment
	freezeWait = time.Second     // after an audience that could not be frozen
	logEvery   = 10 * time.Second
)

// Store is what the planner asks of a store.
type Store interface {
	fanfare.Control
	fanfare.Freezer
	fanfare.Journal
	fanfare.Reports
	fanfare.SlotSets
	ReceiptSets
	Sets
}

// Sets is what the planner asks about recipients, a part of fanfare.People.
type Sets interface {
	Slots() int
	Mailboxes(ctx context.Context, s fanfare.Slot, c fanfare.ChannelName, members *set.Set, fn func(seq fanfare.Seq, key uint64)) error
	Profiles(ctx context.Context, s fanfare.Slot, seqs []fanfare.Seq) ([]fanfare.Recipient, error)
}

// Config makes a planner.
type Config struct {
	Store Store
	Queue fanfare.Queue
	Node  string // its name, for the lease
	// NeedsAddress tells which channels skip whoever has no address; nil: none.
	NeedsAddress func(fanfare.ChannelName) bool
	// Content tells whom a message cannot be made for, of channels that find that out at the freeze; nil, or a nil answer: nobody is skipped
	// for that.
	Content func(*fanfare.Message) (Content, error)
	// Free tells how many claims of this very node are free by provider, at once instead of in its last report; nil: as reported. A
	// task that the node has received takes a claim. Where the queue is this process's own, tasks in it are then counted there.
	Free func() map[string]int
	// Nudge receives when claims of this node became free, so that the next tasks follow at once; nil: never.
	Nudge <-chan struct{}
	// BatchSize overrides the messages' (0: it does not), for tests with few people.
	BatchSize int
	Rules     fanfare.Rules // for tests that break one
	Logger    *slog.Logger  // nil: silent
}

// Planner plans. Tick and Run belong to one goroutine; Wake and Count to any.
type Planner struct {
	Config

	wake      chan struct{}
	local     bool          // the queue itself tells how many tasks nobody claimed
	wait      time.Duration // from the last tick to the next, if nothing wakes the loop
	leased    bool
	leaseTil  time.Time
	leaseTry  time.Time // not before
	heldSince time.Time
	messages  map[fanfare.MessageNum]*message
	lanes     map[string]*lane
	lastLog   time.Time
	triggered time.Time // when it was last asked who waits for another message
	ended     bool      // a message was completed since
}

// message is what the planner remembers of a message; its state is as of the last look or of the planner's own move.
type message struct {
	fanfare.Look
	next      fanfare.State // of the move under way
	spread    bool          // all latch rows carry the state
	slots     []slotPlan    // while sending
	visited   time.Time     // when they were last looked at
	stood     time.Duration // how long, all in all, no claim was free
	drained   []bool        // while pausing and cancelling
	job       *freezing     // while preparing
	reopening *reopening    // while a scope is added to what remains
	notYet    time.Time     // no freeze before, after one failed
	turn      int           // slot whose turn it is to be published
	streak    int           // tasks that slot had in a row
	served    float64       // of the window; see lane
}

// New makes a planner.
func New(c Config) *Planner {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.NeedsAddress == nil {
		c.NeedsAddress = func(fanfare.ChannelName) bool { return false }
	}
	can := c.Queue.Features()
	return &Planner{Config: c, wake: make(chan struct{}, 1), local: c.Free != nil && can.Exact && !can.Shared,
		messages: make(map[fanfare.MessageNum]*message), lanes: make(map[string]*lane)}
}

// Wake has the next tick come at once: something was started, resumed or stopped.
func (p *Planner) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run ticks until ctx ends, then lets go of the lease.
func (p *Planner) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		began := time.Now()
		if err := p.Tick(ctx); err != nil && ctx.Err() == nil && began.Sub(p.lastLog) >= logEvery {
			p.lastLog = began
			p.Logger.Warn("planner: tried again in a moment", "error", err)
		}
		if p.wait > 0 {
			took := time.Since(began)
			timer.Reset(p.wait)
			select {
			case <-ctx.Done():
			case <-timer.C:
			case <-p.wake:
			case <-p.Nudge:
			}
			timer.Reset(max(tickGap, took) + took - time.Since(began))
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
		}
		if ctx.Err() != nil {
			return p.release(ctx)
		}
	}
}

// release ends the lease, so that another planner need not wait for it to run out.
func (p *Planner) release(ctx context.Context) error {
	if !p.leased {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	err := p.Store.Update(ctx, func(tx fanfare.ControlTx) error {
		_, err := tx.TakeLease(leaseName, p.Node, 0)
		return err
	})
	if err != nil {
		p.Logger.Warn("planner: its lease was not given back", "error", err)
	}
	return nil
}

// Tick does what there is to do now, once. An error of one message or slot keeps no other waiting; all are answered together.
func (p *Planner) Tick(ctx context.Context) error {
	p.wait = tickEvery
	var now time.Time
	var nodes []fanfare.Node
	err := p.Store.View(ctx, func(v fanfare.ControlView) error {
		now = v.Now()
		var err error
		nodes, err = v.Nodes()
		return err
	})
	if err != nil {
		return fmt.Errorf("planner: read the nodes: %w", err)
	}
	if mine, err := p.lease(ctx, now); err != nil || !mine {
		return err
	}
	looks, err := p.Store.Look(ctx)
	if err != nil {
		return fmt.Errorf("planner: look at the messages: %w", err)
	}
	var failed []error
	all := p.note(looks)
	failed = append(failed, p.triggers(ctx, now, all)...)
	for _, m := range all {
		if err := p.move(ctx, now, m); err != nil {
			failed = append(failed, fmt.Errorf("message %s while %s: %w", m.ID, m.State.Phase, err))
		}
	}
	failed = append(failed, p.send(ctx, now, nodes, all)...)
	failed = append(failed, p.prepare(ctx, now, all)...)
	return errors.Join(failed...)
}

// lease takes or renews the planner's lease when it is time to.
func (p *Planner) lease(ctx context.Context, now time.Time) (bool, error) {
	switch {
	case p.leased && now.Before(p.leaseTil.Add(-leaseTime/2)):
		return true, nil
	case !p.leased && now.Before(p.leaseTry):
		return false, nil
	}
	var mine bool
	err := p.Store.Update(ctx, func(tx fanfare.ControlTx) error {
		var err error
		mine, err = tx.TakeLease(leaseName, p.Node, leaseTime)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("planner: take the lease: %w", err)
	}
	if mine && !p.leased {
		p.heldSince = now
		clear(p.messages) // somebody else planned meanwhile
	}
	p.leased, p.leaseTil, p.leaseTry = mine, now.Add(leaseTime), now.Add(leaseRetry)
	return mine, nil
}

// note brings what is remembered up to what was seen: whose state changed is looked at afresh, who is gone is forgotten.
func (p *Planner) note(looks []fanfare.Look) []*message {
	seen := make(map[fanfare.MessageNum]struct{}, len(looks))
	all := make([]*message, 0, len(looks))
	for _, l := range looks {
		m := p.messages[l.Num]
		if m == nil {
			m = &message{}
			p.messages[l.Num] = m
		}
		if m.State != l.State {
			m.changed()
		}
		m.Look = l
		seen[l.Num] = struct{}{}
		all = append(all, m)
	}
	for n := range p.messages {
		if _, there := seen[n]; !there {
			delete(p.messages, n)
		}
	}
	return all
}

// changed forgets what belonged to the former state.
func (m *message) changed() { *m = message{Look: m.Look, served: m.served} }
