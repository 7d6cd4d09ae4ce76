package bench

import (
	"context"
	"errors"
	"fmt"
	"os"

	"fanfare"
	"fanfare/cmd/fanfare/doctor"
	"fanfare/cmd/fanfare/serve"
	"fanfare/set"
)

const (
	slots    = 16
	everyone = "everyone" // the list that all are in
)

// open opens the store of a data folder that nobody serves, made if it is missing; or those that are named.
func open(ctx context.Context, data string, stores ...string) (fanfare.Store, error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	return serve.OpenStore(ctx, data, stores, slots, false)
}

// numbered makes a data folder with n recipients who are numbers only: where no profile is read, none is made.
func numbered(ctx context.Context, data string, n int, stores ...string) (err error) {
	store, err := open(ctx, data, stores...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	l := fanfare.List{Name: everyone}
	if err := store.Update(ctx, func(tx fanfare.ControlTx) error { return tx.InsertList(&l) }); err != nil {
		return err
	}
	for s := range slots {
		if err := store.Number(ctx, fanfare.Slot(s), n/slots+min(1, max(0, n%slots-s)), fanfare.ListSet(l.ID)); err != nil { //nolint:gosec // 16
			return err
		}
	}
	return nil
}

// examine lets the doctor look at a data folder that nobody serves.
func examine(ctx context.Context, data string, stores ...string) (err error) {
	store, err := open(ctx, data, stores...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	r, err := doctor.Run(ctx, store)
	if err != nil {
		return err
	}
	if !r.OK {
		return fmt.Errorf("the doctor finds %d differences and %d damaged rows, first %v %v", len(r.Found)+r.More, len(r.Damage), r.Found[:min(1, len(r.Found))], r.Damage)
	}
	return nil
}

// committer is the bare loop of delivery: the journal records of a whole message, and nothing else. One goroutine holds a batch for each
// connection and commits their next records together, the largest groups that so many connections can make.
type committer struct {
	store fanfare.Store
	m     fanfare.Message
	chunk int
	hands []hand
	left  []fanfare.BatchRef
	done  int // records
}

// hand holds one batch.
type hand struct {
	row     fanfare.Batch
	members []fanfare.Seq
	claimed bool
	next    int // first rank that no intent has had
	flight  int // how many of the ranks before are in flight
	over    bool
}

// commit freezes a null message to everybody in the folder and journals all of it. It answers how many records that took.
func commit(ctx context.Context, data string, chunk int, began func()) (records int, err error) {
	store, err := open(ctx, data)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	c := committer{store: store, chunk: chunk, hands: make([]hand, connections)}
	if err := c.prepare(ctx); err != nil {
		return 0, err
	}
	began()
	for more := true; more; {
		if more, err = c.group(ctx); err != nil {
			return 0, err
		}
	}
	return c.done, nil
}

func (c *committer) prepare(ctx context.Context) error {
	var list fanfare.List
	c.m = fanfare.Message{ID: "bare", Channel: fanfare.ChannelNull, Topic: "general", Revision: 1, State: fanfare.State{Phase: fanfare.PhaseDraft, Generation: 1}}
	err := c.store.Update(ctx, func(tx fanfare.ControlTx) (err error) {
		if list, err = tx.List(everyone); err != nil {
			return err
		}
		return tx.InsertMessage(&c.m)
	})
	for _, event := range []fanfare.Event{fanfare.EventStart, fanfare.EventFrozen} {
		if err == nil {
			c.m, _, err = fanfare.Transition(ctx, c.store, c.m.ID, event, nil)
		}
		if err == nil {
			err = fanfare.SpreadAll(ctx, c.store, slots, c.m)
		}
		for s := fanfare.Slot(0); err == nil && event == fanfare.EventStart && s < slots; s++ {
			_, err = c.store.Freeze(ctx, s, c.m.Num, c.m.Generation, c.m.BatchSize(), func(v fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
				members, err := v.LoadSet(fanfare.ListSet(list.ID))
				return map[fanfare.Part]*set.Set{fanfare.PartSend: members}, err
			})
		}
	}
	if err != nil {
		return err
	}
	for s := fanfare.Slot(0); s < slots; s++ {
		rows, _, err := c.store.Backlog(ctx, c.m.Num, s, 0, 1<<30)
		if err != nil {
			return err
		}
		for i := range rows {
			c.left = append(c.left, rows[i].BatchRef)
		}
	}
	return nil
}

// group commits one record of each hand. more: there is work left.
func (c *committer) group(ctx context.Context) (more bool, err error) {
	var entries []fanfare.Entry
	var whose []*hand
	for i := range c.hands {
		h := &c.hands[i]
		if !h.claimed {
			if len(c.left) == 0 {
				continue
			}
			h.row.BatchRef, c.left = c.left[0], c.left[1:]
			entries = append(entries, fanfare.Entry{Claim: &fanfare.Claim{BatchRef: h.row.BatchRef, Generation: c.m.Generation,
				Owner: fanfare.Owner{Node: "bare", Incarnation: 1}, Lease: fanfare.LeaseTime, Policy: fanfare.PolicyResend}})
		} else {
			entries = append(entries, fanfare.Entry{Record: h.record(c)})
		}
		whose = append(whose, h)
	}
	if len(entries) == 0 {
		return false, nil
	}
	for i, a := range c.store.Append(ctx, 0, entries) {
		if a.Answer != fanfare.Applied {
			return false, fmt.Errorf("%v: answer %d: %w", entries[i].Ref(), a.Answer, a.Err)
		}
		h := whose[i]
		if h.row = a.Row; !h.claimed {
			h.claimed = true
			if h.members, err = c.store.Members(ctx, c.m.Num, h.row.Slot, h.row.First, h.row.N); err != nil {
				return false, err
			}
			continue
		}
		c.done++
		if h.over {
			*h = hand{}
		}
	}
	return true, nil
}

// record makes the record that the delivery core makes: the results of the last chunk and the intent of the next.
func (h *hand) record(c *committer) *fanfare.Record {
	r := &fanfare.Record{BatchRef: h.row.BatchRef, Generation: c.m.Generation, Fence: h.row.Fence, Step: h.row.Step, Next: h.row.Clone()}
	if len(r.Next.Runs) == 0 {
		r.Next.Runs = []fanfare.Run{{Revision: c.m.Revision}}
	}
	for rank := h.next - h.flight; rank < h.next; rank++ {
		r.Next.InFlight.Clear(rank)
	}
	r.Next.Sent += h.flight
	r.SentNow = h.flight > 0
	h.flight = min(c.chunk, len(h.members)-h.next)
	if h.over = h.flight == 0; h.over {
		return r
	}
	r.Lease = fanfare.LeaseTime
	r.Intent = &fanfare.Intent{Suppressions: fanfare.Suppressions(c.m.Channel, c.m.Topic, false)}
	for rank := h.next; rank < h.next+h.flight; rank++ {
		r.Intent.Members = append(r.Intent.Members, fanfare.Member{Rank: rank, Seq: h.members[rank]})
	}
	h.next += h.flight
	return r
}
