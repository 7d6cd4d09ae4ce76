package sqlstore

import (
	"cmp"
	"fmt"
	"slices"

	"fanfare"
	"fanfare/set"
)

// deliver carries out a claim that delivers its batch: next is what Decide made of b, found are those that it left in doubt. Only sets are
// looked at, whatever the number of people; exceptions are written for those that get nothing.
func (g *group) deliver(c *fanfare.Claim, l fanfare.Latch, b *fanfare.Batch, next fanfare.Batch, found []fanfare.Exception) (fanfare.EntryAnswer, error) {
	members, err := g.s.batchSet(g.conn, audienceKey{c.Message, c.Slot}, b.First, b.N)
	if err == nil && members.Len() != b.N {
		err = fmt.Errorf("%v: %d of its %d members are there: %w", c.BatchRef, members.Len(), b.N, fanfare.ErrDamaged)
	}
	if err != nil {
		return g.hold(c.BatchRef, err)
	}
	skipped, damaged, err := g.skipped(c, members)
	if err != nil {
		return fanfare.EntryAnswer{}, err
	}
	if damaged != nil { // who gets nothing is not known
		return g.hold(c.BatchRef, damaged)
	}
	for i := range found {
		found[i].Seq, _ = members.Select(found[i].Rank)
	}
	rows := c.Rows(l, &next, skipped)
	found = append(found, c.Finish(&next, skipped, g.now)...)
	for i := range found {
		found[i].At = g.now
	}
	asKept(&next)
	if same, err := g.save(&next, b.Fence, b.Step); err != nil || !same {
		return fanfare.EntryAnswer{}, unchanged(&next, err)
	}
	if err := g.except(c.BatchRef, found); err != nil {
		return fanfare.EntryAnswer{}, err
	}
	g.saved(&next)
	g.tell(fanfare.News{Kind: c.Deliver.News(), Message: next.Message, Slot: next.Slot})
	a := fanfare.EntryAnswer{Answer: fanfare.Applied, Row: next.Clone()}
	if len(rows) > 0 && next.State == fanfare.BatchDone {
		a.Members, err = g.putInboxRows(c.BatchRef, members, rows)
	}
	return a, err
}

// skipped finds who of a batch gets nothing, and why, as of this transaction.
func (g *group) skipped(c *fanfare.Claim, members *set.Set) (found []fanfare.Exception, damaged, err error) {
	first, _ := members.Min()
	last, _ := members.Max()
	who, err := g.suppressions(c.Slot, c.Deliver.Suppressions, first, last, members.Len())
	if err != nil {
		return nil, nil, err
	}
	rest := members
	skip := func(hit *set.Set, why fanfare.Reason) {
		if hit.Empty() {
			return
		}
		for seq := range hit.All() {
			found = append(found, fanfare.Exception{Rank: members.Rank(seq), Seq: seq, Reason: why})
		}
		rest = set.AndNot(rest, hit)
	}
	for at := first >> 16; at <= last>>16; at++ {
		damaged = cmp.Or(damaged, who.alive.at(at<<16))
		for i := range who.parts {
			damaged = cmp.Or(damaged, who.parts[i].at(at<<16))
		}
	}
	if !who.allAlive {
		skip(set.AndNot(rest, who.alive.members), fanfare.ReasonErased)
	}
	for i := range who.parts {
		skip(set.And(rest, who.parts[i].members), who.parts[i].why)
	}
	slices.SortFunc(found, func(x, y fanfare.Exception) int { return cmp.Compare(x.Rank, y.Rank) })
	return found, damaged, nil
}

// batchSet gives the members of a batch as a set: of one that is a stored row without a step for each of them. The set may be the cache's.
func (s *Store) batchSet(c *conn, k audienceKey, first uint32, n int) (*set.Set, error) {
	rows, epoch, err := s.frozenRows(c, k)
	if err != nil {
		return nil, err
	}
	i, there := slices.BinarySearchFunc(rows, first, func(r audienceRow, first uint32) int { return cmp.Compare(r.first, first) })
	if !there || int(rows[i].n) != n {
		members, err := s.members(c, k, first, n)
		return set.Of(members...), err
	}
	if members := s.frozen.chunk(k, rows[i].chunk); members != nil {
		return members, nil
	}
	return s.loadChunk(c, k, rows[i], epoch)
}
