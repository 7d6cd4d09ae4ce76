package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"fanfare"
	"fanfare/set"
)

// InboxMessages implements fanfare.Inboxes.
func (s *Store) InboxMessages(ctx context.Context) (all []fanfare.InboxMessage, err error) {
	err = s.read(ctx, func(c *conn) error {
		now, err := s.nowOf(c)
		if err != nil {
			return err
		}
		return c.query(func(r []driver.Value) error {
			all = append(all, fanfare.InboxMessage{Num: fanfare.MessageNum(integer(r[0])), ID: fanfare.MessageID(text(r[1])), Revision: fanfare.Revision(integer(r[2])),
				Phase: fanfare.Phase(text(r[3])), Recall: fanfare.Recall(text(r[4])), StartedAt: moment(r[5]), ExpiresAt: moment(r[6])})
			return nil
		}, "messages.inbox", micros(now))
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// InboxRows implements fanfare.Inboxes.
func (s *Store) InboxRows(ctx context.Context, who fanfare.Person) (all []fanfare.InboxRow, err error) {
	for {
		err = s.readSlot(ctx, who.Slot, func(c *conn) error { return s.inboxRows(c, who, &all) })
		if err == nil {
			return all, nil
		}
		if !errors.Is(err, errOldSnapshot) {
			return nil, err
		}
	}
}

// InboxItems implements fanfare.InboxesApart.
func (s *Store) InboxItems(ctx context.Context, who fanfare.Person) (all []fanfare.InboxRow, err error) {
	for {
		err = s.readSlot(ctx, who.Slot, func(c *conn) error {
			all = nil
			if err := c.query(func(r []driver.Value) error {
				all = append(all, fanfare.InboxRow{At: moment(r[1]), InboxMessage: fanfare.InboxMessage{Num: fanfare.MessageNum(integer(r[0]))}})
				return nil
			}, "inbox_rows.of", int64(who.Slot), int64(who.Seq)); err != nil || len(all) == 0 {
				return err
			}
			return s.inboxMarks(c, who, all)
		})
		if err == nil {
			return all, nil
		}
		if !errors.Is(err, errOldSnapshot) {
			return nil, err
		}
	}
}

// FewMessages implements fanfare.InboxesApart.
func (s *Store) FewMessages(ctx context.Context, nums []fanfare.MessageNum) (all []fanfare.InboxMessage, err error) {
	values := make([]driver.Value, len(nums))
	for i, m := range nums {
		values[i] = int64(m)
	}
	err = s.read(ctx, func(c *conn) error {
		return c.queryRows(func(r []driver.Value) error {
			all = append(all, inboxMessage(r))
			return nil
		}, "messages.few_of", 1, values, micros(s.now()))
	})
	return all, err
}

func inboxMessage(r []driver.Value) fanfare.InboxMessage {
	return fanfare.InboxMessage{Num: fanfare.MessageNum(integer(r[0])), ID: fanfare.MessageID(text(r[1])), Revision: fanfare.Revision(integer(r[2])), Phase: fanfare.Phase(text(r[3])),
		Recall: fanfare.Recall(text(r[4])), StartedAt: moment(r[5]), ExpiresAt: moment(r[6])}
}

func (s *Store) inboxRows(c *conn, who fanfare.Person, all *[]fanfare.InboxRow) error {
	*all = nil
	now, err := s.nowOf(c)
	if err != nil {
		return err
	}
	if err := c.query(func(r []driver.Value) error {
		*all = append(*all, fanfare.InboxRow{At: moment(r[7]), InboxMessage: inboxMessage(r)})
		return nil
	}, "messages.few", int64(who.Slot), int64(who.Seq), micros(now)); err != nil || len(*all) == 0 {
		return err
	}
	return s.inboxMarks(c, who, *all)
}

// inboxMarks tells of each row what is known of its item.
func (s *Store) inboxMarks(c *conn, who fanfare.Person, all []fanfare.InboxRow) error {
	head, err := s.syncReceipts(c)
	for i := range all {
		if err != nil {
			return err
		}
		row := &all[i]
		var times [1]fanfare.Receipted
		if row.Damaged, err = s.receiptTimes(c, head, audienceKey{row.Num, who.Slot}, []fanfare.Seq{who.Seq}, times[:]); row.Damaged == nil {
			row.Marks = times[0]
		}
		if errors.Is(err, fanfare.ErrDamaged) {
			row.Damaged, err = err, nil
		}
	}
	return err
}

// InboxOwners implements fanfare.Inboxes.
func (s *Store) InboxOwners(ctx context.Context, n fanfare.Slot, chunk uint16) (*set.Set, error) {
	first, owners := int64(chunk)<<16, set.New()
	err := s.readSlot(ctx, n, func(c *conn) error {
		return c.query(func(r []driver.Value) error {
			owners.Add(fanfare.Seq(integer(r[0]))) //nolint:gosec // as written
			return nil
		}, "inbox_rows.owners", int64(n), first, first+set.ChunkSize-1)
	})
	if err != nil {
		return nil, err
	}
	return owners, nil
}

// InboxIndex implements fanfare.Inboxes.
func (s *Store) InboxIndex(ctx context.Context, n fanfare.Slot, fn func(seq fanfare.Seq, m fanfare.MessageNum) error) error {
	return s.readSlot(ctx, n, func(c *conn) error {
		return c.query(func(r []driver.Value) error {
			return fn(fanfare.Seq(integer(r[0])), fanfare.MessageNum(integer(r[1]))) //nolint:gosec // as written
		}, "inbox_rows.all", int64(n))
	})
}

// SweepInboxes implements fanfare.Inboxes.
func (s *Store) SweepInboxes(ctx context.Context) (more bool, err error) {
	_, more, err = s.SweepFew(ctx)
	return more, err
}

// SweepRows implements fanfare.InboxesApart.
func (s *Store) SweepRows(ctx context.Context, nums []fanfare.MessageNum) error {
	return s.write(ctx, longWrite, func(t *tx) error {
		for _, m := range nums {
			if _, err := t.sweepRows(m); err != nil {
				return err
			}
		}
		return nil
	})
}

// SweepFew implements fanfare.InboxesApart.
func (s *Store) SweepFew(ctx context.Context) (swept []fanfare.MessageNum, more bool, err error) {
	const atOnce, rowsAtOnce = 200, 1000
	var over []fanfare.MessageNum
	find := func(c *conn) error {
		scan := func(r []driver.Value) error {
			over = append(over, fanfare.MessageNum(integer(r[0])))
			return nil
		}
		now, err := s.nowOf(c)
		if err != nil {
			return err
		}
		if err := c.query(scan, "messages.few_over", micros(now), int64(atOnce)); err != nil {
			return err
		}
		return c.query(scan, "messages.few_recalled", int64(atOnce))
	}
	if err := s.read(ctx, find); err != nil || len(over) == 0 { // most often nothing is over, and nothing is to be written
		return nil, false, err
	}
	err = s.writeLocked(ctx, longWrite, locks{control: true}, func(t *tx) error {
		over, swept = over[:0], nil
		if err := find(t.conn); err != nil { // whose expiry was moved meanwhile stays
			return err
		}
		gone := 0
		for i, m := range over {
			n, err := t.sweepInboxes(m)
			if err != nil {
				return err
			}
			swept = append(swept, m)
			if gone += n; gone >= rowsAtOnce && i+1 < len(over) {
				more = true
				return nil
			}
		}
		more = len(over) >= atOnce
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return swept, more, nil
}

// sweepInboxes takes the rows of a message out; from then on it is one to many.
func (t *tx) sweepInboxes(m fanfare.MessageNum) (gone int, err error) {
	if gone, err = t.sweepRows(m); err == nil {
		_, err = t.exec("messages.many", int64(m))
	}
	return gone, err
}

// sweepRows takes the rows of a message out of the slots that may be written here. A slot that is just copied keeps its own: nobody is shown them.
func (t *tx) sweepRows(m fanfare.MessageNum) (gone int, err error) {
	var slots []fanfare.Slot
	if err := t.query(func(r []driver.Value) error {
		slots = append(slots, fanfare.Slot(integer(r[0]))) //nolint:gosec // as written
		return nil
	}, "latch.few", int64(m)); err != nil {
		return 0, err
	}
	for _, s := range slots {
		n, err := t.dropInboxRows(audienceKey{m, s})
		if err != nil {
			return gone, err
		}
		gone += n
	}
	_, err = t.exec("latch.many", int64(m))
	return gone, err
}

// dropInboxRows takes out a message's rows in a slot. Who may have one is planned: rows lie by person, and to look for a message among all is slow.
func (t *tx) dropInboxRows(k audienceKey) (gone int, err error) {
	drop := func(statement string, values ...driver.Value) error {
		n, err := t.exec(statement, values...)
		gone += int(n)
		return err
	}
	rows, _, err := t.s.frozenRows(t.conn, k)
	for i := 0; i < len(rows) && err == nil; i++ {
		var members *set.Set
		if members, err = t.s.batchSet(t.conn, k, rows[i].first, int(rows[i].n)); err != nil {
			break
		}
		for seq := range members.All() {
			if err := drop("inbox_rows.delete", int64(k.slot), int64(seq), int64(k.message)); err != nil {
				return gone, err
			}
		}
	}
	if errors.Is(err, fanfare.ErrDamaged) {
		err = drop("inbox_rows.forget", int64(k.slot), int64(k.message))
	}
	return gone, err
}

// putInboxRows notes that a batch, which is of a message to few, was delivered to members by their ranks, and gives their seqs.
func (g *group) putInboxRows(r fanfare.BatchRef, members *set.Set, ranks []int) ([]fanfare.Seq, error) {
	seqs, values := make([]fanfare.Seq, len(ranks)), make([]driver.Value, 0, 4*len(ranks))
	for i, rank := range ranks {
		seqs[i], _ = members.Select(rank)
		values = append(values, int64(r.Slot), int64(seqs[i]), int64(r.Message), micros(g.now))
	}
	return seqs, g.execRows("inbox_rows.put", 4, values)
}

// InboxChunk implements fanfare.Inboxes. A batch of the inbox is a row of the audience, so its number is how many rows lie before.
func (s *Store) InboxChunk(ctx context.Context, n fanfare.Slot, chunk uint16, messages []fanfare.MessageNum) ([]fanfare.InboxPart, error) {
	values := make([]driver.Value, 0, 2*len(messages))
	for i, m := range messages {
		values = append(values, int64(i), int64(m))
	}
	for {
		parts := make([]fanfare.InboxPart, len(messages))
		forgets := s.receipts.forgotten() // before the snapshot is taken
		err := s.readSlot(ctx, n, func(c *conn) error {
			if err := c.inboxParts(n, chunk, messages, values, parts); err != nil {
				return err
			}
			return s.chunkMarks(c, n, chunk, messages, values, forgets, parts)
		})
		if err == nil {
			return parts, nil
		}
		if !errors.Is(err, errOldSnapshot) {
			return nil, err
		}
	}
}

// inboxParts reads to whom of a chunk messages were delivered; values are their places in parts and numbers.
func (c *conn) inboxParts(n fanfare.Slot, chunk uint16, messages []fanfare.MessageNum, values []driver.Value, parts []fanfare.InboxPart) error {
	var excepted []int
	if err := c.queryRows(func(r []driver.Value) error {
		i := int(integer(r[0]))
		some, err := c.inboxPart(r, &parts[i])
		if some {
			excepted = append(excepted, i)
		}
		if errors.Is(err, fanfare.ErrDamaged) {
			parts[i] = fanfare.InboxPart{Damaged: c.damagedRow(rowOfAudience(audienceKey{messages[i], n}, fanfare.PartSend, int64(chunk)), err)}
			return nil
		}
		return err
	}, "audiences.inbox", 2, values, int64(n), int64(chunk)); err != nil {
		return err
	}
	for _, i := range excepted {
		first := int64(chunk) << 16
		if err := c.query(func(r []driver.Value) error {
			if e := scanException(r); e.Result != fanfare.ResultSent {
				parts[i].Members.Remove(e.Seq)
			}
			return nil
		}, "exceptions.range", int64(messages[i]), int64(n), first, first+set.ChunkSize-1, int64(set.ChunkSize)); err != nil {
			return err
		}
	}
	return nil
}

// chunkMarks reads who of a chunk marked messages: all rows by one statement, and what the log says over them. They are not kept: whoever asks
// keeps what they need of them. forgets was counted before the snapshot.
func (s *Store) chunkMarks(c *conn, n fanfare.Slot, chunk uint16, messages []fanfare.MessageNum, values []driver.Value, forgets int64, parts []fanfare.InboxPart) error {
	head, err := s.syncReceipts(c)
	if err != nil {
		return err
	}
	rows := make(map[receiptRow]*stamped)
	if err := c.queryRows(func(r []driver.Value) error {
		i := int(integer(r[0]))
		at := receiptRow{audienceKey{messages[i], n}, fanfare.ReceiptKind(integer(r[1])), chunk} //nolint:gosec // as asked for
		row, err := scanStamped(r[2:])
		if errors.Is(err, fanfare.ErrDamaged) {
			parts[i].MarksDamaged = c.damagedRow(at.String(), err)
			return nil
		}
		rows[at] = &row
		return err
	}, "receipts.inbox", 2, values, int64(n), int64(chunk)); err != nil {
		return err
	}
	cache := &s.receipts
	cache.mu.Lock()
	defer cache.mu.Unlock()
	if head < cache.foldedHere || cache.forgets != forgets { // the log in memory no longer has what these rows lack
		return errOldSnapshot
	}
	for i := range parts {
		if parts[i].MarksDamaged != nil {
			continue
		}
		k := audienceKey{messages[i], n}
		it := cache.items[k]
		for _, kind := range fanfare.InboxKinds() {
			row := rows[receiptRow{k, kind, chunk}]
			if it != nil {
				if said := it.kinds[kind].find(chunk); said != nil && len(said.over) > 0 {
					row = row.merged(chunk, said.over)
				}
			}
			if row == nil {
				continue
			}
			if parts[i].Marks == nil {
				parts[i].Marks = make(map[fanfare.ReceiptKind]fanfare.InboxMarks)
			}
			parts[i].Marks[kind] = row.marks()
		}
	}
	return nil
}

// marks gives the members and when the fact was of each.
func (r *stamped) marks() fanfare.InboxMarks {
	m := fanfare.InboxMarks{Lows: make([]uint16, 0, r.n), At: make([]fanfare.Minute, 0, r.n)}
	for seq := range r.members.All() {
		m.Lows = append(m.Lows, uint16(seq)) //nolint:gosec // the low half
	}
	for _, s := range r.all() {
		m.At = append(m.At, s.minute())
	}
	return m
}

// forgotten counts how often something was forgotten.
func (c *receiptCache) forgotten() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.forgets
}

// inboxPart reads a row of audiences.inbox. some: who has an exception is still to be taken out.
func (c *conn) inboxPart(r []driver.Value, p *fanfare.InboxPart) (some bool, err error) {
	switch {
	case r[6] == nil || integer(r[7]) != integer(r[2]):
		return false, fmt.Errorf("%w: its batch is not there", fanfare.ErrDamaged)
	case fanfare.BatchState(integer(r[6])) != fanfare.BatchDone:
		p.Open = true
		return false, nil
	}
	if p.Members, err = set.DecodeChunk(chunkOf(r[1], r[2], r[4], r[5])); err != nil {
		return false, err
	}
	if r[9] != nil {
		runs, err := runsOf(blob(r[9]))
		if err != nil {
			return false, fmt.Errorf("%w: %w", fanfare.ErrDamaged, err)
		}
		for _, run := range runs {
			if run.At.After(p.At) {
				p.At = run.At
			}
		}
	}
	return integer(r[8]) > 0, nil
}
