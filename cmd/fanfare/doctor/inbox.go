package doctor

import (
	"context"
	"errors"
	"fmt"

	"fanfare"
	"fanfare/set"
)

// crowd is some people by their number and a sum over them: there may be a million messages to few, each to somebody else.
type crowd struct {
	n   int
	sum uint64
}

func (c *crowd) add(seq fanfare.Seq) {
	x := (uint64(seq) + 1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	c.n++
	c.sum += x ^ x>>32
}

// rows are whoever should have a row of inbox messages to few in a slot, by the sets; nil: it moved while it was read.
type rows map[fanfare.MessageNum]*crowd

// toFew notes who should have a row: of the batches that are done whoever was sent to.
func (e *exam) toFew(still bool) {
	if !e.m.Few {
		return
	}
	of := e.r.few[e.slot]
	if of == nil {
		of = make(rows)
		e.r.few[e.slot] = of
	}
	if of[e.m.Num] = nil; !still {
		return
	}
	c := new(crowd)
	for seq := range e.delivered().All() {
		c.add(seq)
	}
	of[e.m.Num] = c
}

// delivered gives who was sent to by batches that are done.
func (e *exam) delivered() *set.Set {
	members := set.New()
	for i := range e.rows {
		if b := &e.rows[i]; b.State == fanfare.BatchDone {
			members.Union(e.send.Slice(int(b.First), int(b.First)+b.N))
		}
	}
	return set.AndNot(members, e.unsent)
}

// inboxes compares the rows of messages to few with the sets. What differs is looked at once more: something may have come meanwhile.
func (r *Report) inboxes(ctx context.Context, store Store) error {
	nums := make(map[fanfare.MessageNum]fanfare.MessageID)
	for s := range store.Slots() {
		slot := fanfare.Slot(s) //nolint:gosec // slots fit
		found := make(rows)
		if err := r.damaged(index(ctx, store, slot, found)); err != nil {
			return fmt.Errorf("rows of inboxes, slot %d: %w", s, err)
		}
		for num, c := range found {
			if want, told := r.few[slot][num]; !told || want != nil && *want != *c {
				nums[num] = ""
			}
		}
		for num, want := range r.few[slot] {
			if want != nil && want.n > 0 && found[num] == nil {
				nums[num] = ""
			}
		}
	}
	for num := range nums {
		if err := r.inboxAgain(ctx, store, num); err != nil {
			return fmt.Errorf("rows of inboxes: message %d: %w", num, err)
		}
	}
	return nil
}

func index(ctx context.Context, store Store, s fanfare.Slot, found rows) error {
	return store.InboxIndex(ctx, s, func(seq fanfare.Seq, m fanfare.MessageNum) error {
		if found[m] == nil {
			found[m] = new(crowd)
		}
		found[m].add(seq)
		return ctx.Err()
	})
}

// inboxAgain compares the rows of one message with its sets, person by person.
func (r *Report) inboxAgain(ctx context.Context, store Store, num fanfare.MessageNum) error {
	var m fanfare.Message
	there := true
	if err := store.View(ctx, func(v fanfare.ControlView) (err error) {
		m, err = v.MessageByNum(num)
		return err
	}); err != nil {
		if there = false; !errors.Is(err, fanfare.ErrNotFound) {
			return err
		}
	}
	for s := range store.Slots() {
		slot := fanfare.Slot(s) //nolint:gosec // slots fit
		e := exam{r: &Report{few: make(map[fanfare.Slot]rows)}, store: store, m: m, slot: slot}
		for try := 1; ; try++ {
			still := true
			if m.Few {
				var err error
				if _, still, err = e.run(ctx); err != nil {
					return r.damaged(err) // it is named already
				}
			}
			want, got := set.New(), set.New()
			if m.Few && e.send != nil {
				want = e.delivered()
			}
			if err := store.InboxIndex(ctx, slot, func(seq fanfare.Seq, of fanfare.MessageNum) error {
				if of == num {
					got.Add(seq)
				}
				return nil
			}); err != nil {
				return err
			}
			stray, missing := set.AndNot(got, want), set.AndNot(want, got)
			if stray.Empty() && missing.Empty() {
				break
			}
			if (!still || try == 1) && try < looks {
				continue
			}
			switch {
			case !there:
				r.add(Found{Slot: &slot, What: fmt.Sprintf("message number %d is gone, but %d people have rows of it in their inboxes (%s)", num, stray.Len(), some(stray))})
			case !stray.Empty():
				r.add(Found{Message: m.ID, Slot: &slot, What: fmt.Sprintf("%d people have a row in their inboxes that the sets do not tell of (%s)", stray.Len(), some(stray))})
			}
			if !missing.Empty() {
				r.add(Found{Message: m.ID, Slot: &slot, What: fmt.Sprintf("by the sets %d people have it in their inboxes, but no row (%s)", missing.Len(), some(missing))})
			}
			break
		}
	}
	return nil
}
