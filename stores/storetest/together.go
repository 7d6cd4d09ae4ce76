package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"fanfare"
	"fanfare/set"
)

func togetherScenarios() []scenario {
	return []scenario{
		{"changes of one set", changeTogether},
		{"one claim of many wins", claimTogether},
		{"whoever unsubscribed before the intent gets nothing", unsubscribeTogether},
		{"after a pause no claim and no intent of before", pauseTogether},
		{"the same people from many sides", upsertTogether},
		{"one freeze of many", freezeTogether},
		{"many holders, and the sums are right at every moment", sendTogether},
		{"updates that read first", updateTogether},
		{"numbering and upserting give no number twice", numberTogether},
	}
}

// sides opens the store once more where that can be, as a second process does: goroutine i works on one of both.
func (x *fixture) sides() func(i int) fanfare.Store {
	stores := []fanfare.Store{x.Store}
	if x.backend.Another != nil {
		stores = append(stores, x.backend.Another(x.t))
	}
	return func(i int) fanfare.Store { return stores[i%len(stores)] }
}

// each runs fn in n goroutines that begin together.
func each(n int, fn func(i int)) {
	var group sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-begin
			fn(i)
		})
	}
	close(begin)
	group.Wait()
}

func changeTogether(x *fixture) {
	side := x.sides()
	const s, workers, rounds = 1, 8, 20
	list := fanfare.ListSet(1)
	x.change(s, list, set.Range(10_000, 10_000+workers*rounds), nil)
	each(workers, func(i int) {
		for k := range rounds {
			n := uint32(i*rounds + k) //nolint:gosec // small
			added, removed, err := side(i).ChangeSet(x.ctx, s, list, set.Of(n), set.Of(10_000+n))
			if err != nil || added != 1 || removed != 1 {
				x.t.Errorf("%d added, %d removed (%v)", added, removed, err)
			}
		}
	})
	if got := x.set(s, list); !got.Equal(set.Range(0, workers*rounds)) {
		x.t.Errorf("%d members of %d: %v", got.Len(), workers*rounds, got.ToArray())
	}
}

func claimTogether(x *fixture) {
	side := x.sides()
	const s, workers, batches = 2, 6, 20
	m, _ := x.sending(s, batches, 1)
	var applied atomic.Int64
	each(workers, func(i int) {
		for b := range fanfare.BatchNo(batches) {
			c := claim(ref(m, s, b), fanfare.Owner{Node: fmt.Sprint("node ", i), Incarnation: 1})
			switch a := side(i).Append(x.ctx, x.ShardOf(s), []fanfare.Entry{{Claim: &c}})[0]; a.Answer {
			case fanfare.Applied:
				applied.Add(1)
				if a.Row.Fence != 1 || a.Row.Owner != c.Owner {
					x.t.Errorf("row %+v", a.Row)
				}
			case fanfare.Busy:
			default:
				x.t.Errorf("answer %d (%v)", a.Answer, a.Err)
			}
		}
	})
	if applied.Load() != batches {
		x.t.Errorf("%d claims of %d batches", applied.Load(), batches)
	}
}

// unsubscribeTogether journals intents while others unsubscribe: an intent that begins after an unsubscribe was answered skips them.
func unsubscribeTogether(x *fixture) {
	side := x.sides()
	const s, n = 0, 120
	m, planned := x.sending(s, n, n)
	h := x.take(ref(m, s, 0))
	gone := make([]atomic.Bool, n)
	name := fanfare.SuppressionSet(fanfare.ChannelEmail, "news", fanfare.ReasonUnsubscribed)
	each(4, func(i int) {
		if i > 0 {
			for rank := i; rank < n; rank += 3 {
				if _, _, err := side(i).ChangeSet(x.ctx, s, name, set.Of(planned[rank]), nil); err != nil {
					x.t.Error(err)
				}
				gone[rank].Store(true)
			}
			return
		}
		row := h.row
		for rank := 0; rank < n; rank += 2 {
			before := gone[rank].Load()
			r := fanfare.Record{BatchRef: row.BatchRef, Generation: 1, Fence: row.Fence, Step: row.Step, Next: row.Clone(), Lease: fanfare.LeaseTime,
				Intent: &fanfare.Intent{Members: []fanfare.Member{{Rank: rank, Seq: planned[rank]}}, Suppressions: fanfare.Suppressions(fanfare.ChannelEmail, "news", false)}}
			a := side(i).Append(x.ctx, x.ShardOf(s), []fanfare.Entry{{Record: &r}})[0]
			if a.Answer != fanfare.Applied {
				x.t.Errorf("answer %d (%v)", a.Answer, a.Err)
				return
			}
			if row = a.Row; before && row.InFlight.Has(rank) {
				x.t.Errorf("rank %d had unsubscribed and is sent to", rank)
			}
		}
	})
}

// pauseTogether claims and records while the slot is stopped: what comes after Spread has returned carries an older generation.
func pauseTogether(x *fixture) {
	side := x.sides()
	const s, batches = 3, 60
	m, _ := x.sending(s, batches, 1)
	var paused atomic.Bool
	each(4, func(i int) {
		if i == 0 {
			x.ok(side(i).Spread(x.ctx, s, m, fanfare.SlotStopped, 2))
			paused.Store(true)
			return
		}
		for b := i - 1; b < batches; b += 3 {
			late := paused.Load()
			c := claim(ref(m, s, fanfare.BatchNo(b)), alice) //nolint:gosec // small
			a := side(i).Append(x.ctx, x.ShardOf(s), []fanfare.Entry{{Claim: &c}})[0]
			if late && a.Answer != fanfare.Stale || a.Answer != fanfare.Stale && a.Answer != fanfare.Applied {
				x.t.Errorf("claim, late %v: answer %d (%v)", late, a.Answer, a.Err)
			}
			if a.Answer != fanfare.Applied {
				continue
			}
			late = paused.Load()
			h := &holder{row: a.Row}
			r := h.make(func(r *fanfare.Record) {
				r.Intent = &fanfare.Intent{Members: []fanfare.Member{{Rank: 0, Seq: fanfare.Seq(b)}}}
			}) //nolint:gosec // small
			a = side(i).Append(x.ctx, x.ShardOf(s), []fanfare.Entry{{Record: &r}})[0]
			if late && a.Answer != fanfare.Halted || a.Answer != fanfare.Halted && a.Answer != fanfare.Applied {
				x.t.Errorf("intent, late %v: answer %d (%v)", late, a.Answer, a.Err)
			}
		}
	})
}

func upsertTogether(x *fixture) {
	side := x.sides()
	const s, workers, n = 1, 4, 60
	who := ids(s, n)
	seqs := make([][]fanfare.Upserted, workers)
	each(workers, func(i int) {
		var changes []fanfare.RecipientChange
		for k := range who {
			changes = append(changes, fanfare.RecipientChange{ExternalID: who[(k*(i+1)+i)%n], Attributes: map[string]any{fmt.Sprint("a", i): true}})
		}
		for k := 0; k < n; k += 20 {
			done, err := side(i).Upsert(x.ctx, s, changes[k:k+20], fanfare.UpsertOptions{Add: []fanfare.SetName{fanfare.ListSet(1)}})
			if err != nil {
				x.t.Error(err)
			}
			seqs[i] = append(seqs[i], done...)
		}
	})
	created, known := 0, map[fanfare.Seq]bool{}
	for _, done := range seqs {
		for _, u := range done {
			known[u.Seq] = true
			if u.Outcome == fanfare.UpsertCreated {
				created++
			}
		}
	}
	if created != n || len(known) != n || x.set(s, fanfare.SetAlive).Len() != n || x.set(s, fanfare.ListSet(1)).Len() != n {
		x.t.Errorf("%d created, %d seqs, %d alive, %d in the list; want %d each", created, len(known), x.set(s, fanfare.SetAlive).Len(), x.set(s, fanfare.ListSet(1)).Len(), n)
	}
	r, err := x.Recipient(x.ctx, who[0]) // each worker's walk through the ids meets the first
	x.ok(err)
	if len(r.Attributes) == 0 {
		x.t.Errorf("attributes %v", r.Attributes)
	}
}

func freezeTogether(x *fixture) {
	side := x.sides()
	const s, workers = 2, 6
	x.ok(x.Number(x.ctx, s, 5))
	m := x.message()
	x.ok(x.Spread(x.ctx, s, m, fanfare.SlotPreparing, 1))
	var won atomic.Int64
	each(workers, func(i int) {
		done, err := side(i).Freeze(x.ctx, s, m, 1, 2, everybody)
		if err != nil {
			x.t.Error(err)
		}
		if done {
			won.Add(1)
		}
	})
	if t := x.tally(m, s); won.Load() != 1 || t.N != 5 || t.Batches != 3 {
		x.t.Errorf("%d froze it: %+v", won.Load(), t)
	}
}

func sendTogether(x *fixture) {
	side := x.sides()
	const s, n, size = 1, 96, 8
	m, planned := x.sending(s, n, size)
	var left atomic.Int64
	left.Store(3)
	each(4, func(i int) {
		if i == 3 {
			for {
				last := left.Load() == 0
				t, err := side(i).Tally(x.ctx, m, s)
				if err != nil || !t.Balanced(n) {
					x.t.Errorf("while sending: %+v (%v)", t, err)
				}
				if last {
					return
				}
			}
		}
		defer left.Add(-1)
		for b := i; b < n/size; b += 3 {
			c := claim(ref(m, s, fanfare.BatchNo(b)), alice) //nolint:gosec // small
			a := side(i).Append(x.ctx, x.ShardOf(s), []fanfare.Entry{{Claim: &c}})[0]
			h := &holder{row: a.Row, members: planned[b*size : (b+1)*size]}
			for rank := 0; rank <= size && a.Answer == fanfare.Applied; rank++ {
				r := h.make(func(r *fanfare.Record) {
					switch {
					case rank > 0 && rank%4 == 0:
						h.failed(r, rank-1, "550", "no")
					case rank > 0:
						sent(r, rank-1)
					}
					if rank < size {
						r.Intent = h.intent(rank)
					} else {
						r.Lease = 0
					}
				})
				if a = side(i).Append(x.ctx, x.ShardOf(s), []fanfare.Entry{{Record: &r}})[0]; a.Answer == fanfare.Applied {
					h.row = a.Row
				}
			}
			if a.Answer != fanfare.Applied || a.Row.State != fanfare.BatchDone {
				x.t.Errorf("batch %d: answer %d (%v), %+v", b, a.Answer, a.Err, a.Row)
			}
		}
	})
	if t := x.tally(m, s); t.Sent != n*3/4 || t.Failed != n/4 || t.Done != n/size || !t.Balanced(n) {
		x.t.Errorf("at the end: %+v", t)
	}
}

func updateTogether(x *fixture) {
	side := x.sides()
	const workers, rounds = 6, 15
	x.update(func(tx fanfare.ControlTx) error { return tx.PutSetting("count", nil) })
	each(workers, func(i int) {
		for k := range rounds {
			err := side(i).Update(x.ctx, func(tx fanfare.ControlTx) error {
				was, err := tx.Setting("count")
				if err != nil {
					return err
				}
				if err := tx.PutSetting("count", append(was, 'x')); err != nil || k%5 > 0 {
					return err
				}
				return errBoom // every fifth is taken back
			})
			if err != nil && !errors.Is(err, errBoom) {
				x.t.Error(err)
			}
		}
	})
	x.view(func(v fanfare.ControlView) error {
		got, err := v.Setting("count")
		if len(got) != workers*rounds*4/5 {
			x.t.Errorf("%d updates kept of %d", len(got), workers*rounds*4/5)
		}
		return err
	})
}

func numberTogether(x *fixture) {
	side := x.sides()
	const s, rounds = 3, 12
	who := ids(s, rounds)
	each(4, func(i int) {
		for k := range rounds {
			var err error
			if i%2 == 0 {
				err = side(i).Number(x.ctx, s, 10, fanfare.ListSet(int64(i)))
			} else {
				_, err = side(i).Upsert(x.ctx, s, []fanfare.RecipientChange{{ExternalID: who[k]}}, fanfare.UpsertOptions{})
			}
			if err != nil {
				x.t.Error(err)
			}
		}
	})
	a, b := x.set(s, fanfare.ListSet(0)), x.set(s, fanfare.ListSet(2))
	if a.Len() != 10*rounds || b.Len() != 10*rounds || set.Overlap(a, b) {
		x.t.Errorf("%d and %d numbered, overlap %v", a.Len(), b.Len(), set.Overlap(a, b))
	}
	if alive := x.set(s, fanfare.SetAlive); alive.Len() != 20*rounds+rounds {
		x.t.Errorf("%d alive", alive.Len())
	}
}
