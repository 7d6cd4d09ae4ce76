package sqlstore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"fanfare"
	"fanfare/set"
)

// errOldSnapshot says that rows were folded since the snapshot, which has to be taken anew.
var errOldSnapshot = errors.New("the snapshot is older than what is in memory")

const (
	logRows   = 1000    // of the log, read by one statement
	tailNotes = 100_000 // about how many notes a page of the tail has
)

// tail calls entry with the rows of the log after an id until it answers false.
func (c *conn) tail(after int64, entry func(id int64, packed []byte) (bool, error)) error {
	for more := true; more; {
		rows := 0
		if err := c.query(func(r []driver.Value) error {
			rows++
			if !more {
				return nil
			}
			packed, id := blob(r[2]), integer(r[0])
			var err error
			if int64(set.Checksum(packed)) != integer(r[1]) {
				err = fmt.Errorf("%w: its checksum is another one", fanfare.ErrDamaged)
			} else {
				more, err = entry(id, packed)
			}
			if err != nil {
				return c.damagedRow(fmt.Sprintf("log row %d", id), err)
			}
			after = id
			return nil
		}, "log.after", after, int64(logRows)); err != nil {
			return err
		}
		more = more && rows == logRows
	}
	return nil
}

// place tells how far the log goes, how far it is folded, and how many transactions have folded.
func (c *conn) place() (head, folded, folds int64, err error) {
	_, err = c.one(func(r []driver.Value) error {
		head, folded, folds = integer(r[0]), integer(r[1]), integer(r[2])
		return nil
	}, "shard.place")
	return head, folded, folds, err
}

// syncReceipts brings what is in memory to the head of the snapshot, and tells it. If it is further already it stays so.
func (s *Store) syncReceipts(c *conn) (head int64, err error) {
	head, folded, _, err := c.place()
	if err != nil {
		return 0, err
	}
	for done := false; !done && err == nil; {
		from, have := s.receipts.from(head, folded)
		if have {
			break
		}
		var entries [][]byte
		after := max(from, folded)
		if err := c.tail(after, func(_ int64, packed []byte) (bool, error) {
			entries = append(entries, slices.Clone(packed))
			return true, nil
		}); err != nil {
			return 0, err
		}
		done, err = s.receipts.advance(from, head, folded, entries)
	}
	return head, err
}

// from tells up to where the log is known, −1 if nothing is, and whether that is as far as head.
func (c *receiptCache) from(head, folded int64) (from int64, have bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known && c.head >= head {
		return c.head, true
	}
	if c.known && c.folded != folded { // another process folded: rows that are in memory may lack what is no longer in the log
		c.reset()
	}
	if !c.known {
		return -1, false
	}
	return c.head, false
}

// advance takes over entries of the log; false if the cache is no longer where it was.
func (c *receiptCache) advance(from, head, folded int64, entries [][]byte) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known != (from >= 0) || c.known && c.head != from {
		return false, nil
	}
	moved := false
	for _, packed := range entries {
		if err := decodeLog(packed, c.forget, func(n fanfare.News) { moved = moved || n.Kind == fanfare.NewsMoved }, func(k audienceKey, kind fanfare.ReceiptKind, seq fanfare.Seq, at stamp) {
			it := c.item(k)
			it.note(kind, seq, at)
			if ended := kind.Ends(); ended != 0 {
				it.note(ended, seq, 0)
			}
		}); err != nil {
			c.reset()
			return false, err
		}
	}
	if moved && c.known { // what is in memory of the slot may be of its former stay; the log has nothing of that any more
		c.reset()
		return false, nil
	}
	if !c.known {
		c.foldedHere = head
	}
	c.known, c.head, c.folded = true, head, folded
	return true, nil
}

// need asks for a row of a kind to be read, with its times or without.
type need func(k fanfare.ReceiptKind, c *receiptChunk, timed bool)

// withReceipts calls use, holding the cache, once everything that wants asks for is in memory. c is of the snapshot of that head.
func (s *Store) withReceipts(c *conn, head int64, k audienceKey, wants func(*receiptItem, need), use func(*receiptItem)) error {
	cache := &s.receipts
	cache.mu.Lock()
	defer cache.mu.Unlock()
	var pinned *receiptItem
	defer func() { pinned.pin(-1) }()
	for {
		it := cache.item(k)
		if it != pinned { // else somebody forgot it meanwhile
			pinned.pin(-1)
			it.pin(1)
			pinned = it
		}
		var missing []receiptRow
		timed := make(map[receiptRow]bool)
		if it.indexed {
			wants(it, func(kind fanfare.ReceiptKind, chunk *receiptChunk, with bool) {
				row := receiptRow{k, kind, chunk.index}
				if _, asked := timed[row]; !asked {
					missing = append(missing, row)
				}
				timed[row] = timed[row] || with
			})
			if len(missing) == 0 {
				use(it)
				cache.grew(it)
				return nil
			}
		}
		if head < cache.foldedHere {
			return errOldSnapshot
		}
		epoch, indexed := cache.foldedHere, it.indexed
		cache.mu.Unlock()
		index, rows, err := c.loadReceipts(k, !indexed, missing, timed)
		cache.mu.Lock()
		if err != nil {
			return err
		}
		if cache.foldedHere == epoch && cache.items[k] == it {
			it.put(index, rows)
		}
	}
}

func (it *receiptItem) pin(n int) {
	if it != nil {
		it.pins += n
	}
}

// loadedRow is a row as it was read.
type loadedRow struct {
	receiptRow
	stamped
	damaged error
}

// loadReceipts reads the index of an item, or rows of it.
func (c *conn) loadReceipts(k audienceKey, index bool, missing []receiptRow, timed map[receiptRow]bool) (counts map[receiptRow]int, rows []loadedRow, err error) {
	if index {
		counts = make(map[receiptRow]int)
		return counts, nil, c.query(func(r []driver.Value) error {
			kind := fanfare.ReceiptKind(integer(r[0])) //nolint:gosec // checked
			if !kind.Valid() {
				return c.damagedRow(fmt.Sprintf("receipt_sets row (message %d, slot %d, kind %d)", k.message, k.slot, integer(r[0])), fanfare.ErrDamaged)
			}
			counts[receiptRow{k, kind, uint16(integer(r[1]))}] = int(integer(r[2])) //nolint:gosec // as written
			return nil
		}, "receipts.index", int64(k.message), int64(k.slot))
	}
	for _, row := range missing {
		l := loadedRow{receiptRow: row}
		statement, scan := "receipts.members", scanMembers
		if timed[row] {
			statement, scan = "receipts.row", scanStamped
		}
		found, err := c.one(func(r []driver.Value) (err error) {
			l.stamped, err = scan(r)
			return err
		}, statement, int64(k.message), int64(k.slot), int64(row.kind), int64(row.chunk))
		switch {
		case err != nil && !errors.Is(err, fanfare.ErrDamaged):
			return nil, nil, err
		case err != nil:
			l.damaged = c.damagedRow(row.String(), err)
		case !found:
			l.damaged = c.damagedRow(row.String(), fmt.Errorf("%w: it is gone", fanfare.ErrDamaged))
		}
		rows = append(rows, l)
	}
	return nil, rows, nil
}

// put takes over what was read.
func (it *receiptItem) put(counts map[receiptRow]int, rows []loadedRow) {
	for row, n := range counts {
		it.kinds[row.kind].make(row.chunk).n = n
	}
	if counts != nil {
		it.indexed = true
		for i := range it.kinds {
			for _, c := range it.kinds[i].chunks {
				if c.counted = c.n == 0 || len(c.over) == 0; c.counted {
					c.recount()
				}
			}
		}
	}
	for i := range rows {
		c := it.kinds[rows[i].kind].make(rows[i].chunk)
		if c.damaged = rows[i].damaged; c.damaged == nil {
			c.row, c.n = &rows[i].stamped, rows[i].n
			c.recount()
		}
	}
}

// readReceipts is withReceipts in a snapshot of its own.
func (s *Store) readReceipts(ctx context.Context, k audienceKey, wants func(*receiptItem, need), use func(*receiptItem)) error {
	for {
		err := s.readSlot(ctx, k.slot, func(c *conn) error {
			head, err := s.syncReceipts(c)
			if err != nil {
				return err
			}
			return s.withReceipts(c, head, k, wants, use)
		})
		if !errors.Is(err, errOldSnapshot) {
			return err
		}
	}
}

// ReceiptSet implements fanfare.Receipts.
func (s *Store) ReceiptSet(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, kind fanfare.ReceiptKind) (members *set.Set, err error) {
	if !kind.Valid() {
		return set.New(), nil
	}
	var damaged error
	err = s.readReceipts(ctx, audienceKey{m, n}, func(it *receiptItem, need need) {
		if it.kinds[kind].whole != nil {
			return
		}
		for _, c := range it.kinds[kind].chunks {
			if c.n > 0 && c.row == nil && c.damaged == nil {
				need(kind, c, false)
			}
		}
	}, func(it *receiptItem) {
		k := &it.kinds[kind]
		if k.whole == nil {
			whole := set.New()
			for _, c := range k.chunks {
				if c.damaged != nil {
					damaged = c.damaged
					return
				}
				c.addTo(whole)
			}
			k.whole = whole
		}
		members = k.whole
	})
	if err = cmp.Or(err, damaged); err != nil {
		return nil, err
	}
	return members, nil
}

// ReceiptCounts implements fanfare.Receipts. A row that is damaged counts as many as it says.
func (s *Store) ReceiptCounts(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot) (map[fanfare.ReceiptKind]int, error) {
	counts := make(map[fanfare.ReceiptKind]int)
	err := s.readReceipts(ctx, audienceKey{m, n}, func(it *receiptItem, need need) {
		for _, kind := range fanfare.ReceiptKinds() {
			for _, c := range it.kinds[kind].chunks {
				if !c.counted && c.row == nil && c.damaged == nil {
					need(kind, c, false)
				}
			}
		}
	}, func(it *receiptItem) {
		for _, kind := range fanfare.ReceiptKinds() {
			sum := 0
			for _, c := range it.kinds[kind].chunks {
				if c.damaged != nil {
					sum += c.n
					continue
				}
				if !c.counted {
					c.recount()
				}
				sum += c.count
			}
			if sum > 0 {
				counts[kind] = sum
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}

// ReceiptTimes implements fanfare.Receipts.
func (s *Store) ReceiptTimes(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot, seqs []fanfare.Seq) ([]fanfare.Receipted, error) {
	found := make([]fanfare.Receipted, len(seqs))
	var damaged error
	wants, use := askTimes(seqs, found, &damaged)
	if err := s.readReceipts(ctx, audienceKey{m, n}, wants, use); err != nil || damaged != nil {
		return nil, cmp.Or(err, damaged)
	}
	return found, nil
}

// receiptTimes is ReceiptTimes within a snapshot of that head.
func (s *Store) receiptTimes(c *conn, head int64, k audienceKey, seqs []fanfare.Seq, found []fanfare.Receipted) (damaged, err error) {
	wants, use := askTimes(seqs, found, &damaged)
	err = s.withReceipts(c, head, k, wants, use)
	return damaged, err
}

// askTimes asks for what withReceipts has to know to tell the times of seqs, and tells them.
func askTimes(seqs []fanfare.Seq, found []fanfare.Receipted, damaged *error) (wants func(*receiptItem, need), use func(*receiptItem)) {
	return func(it *receiptItem, need need) {
			for _, kind := range fanfare.ReceiptKinds() {
				if len(it.kinds[kind].chunks) == 0 {
					continue
				}
				for _, seq := range seqs {
					it.want(kind, seq, need)
				}
			}
		}, func(it *receiptItem) {
			for _, kind := range fanfare.ReceiptKinds() {
				if len(it.kinds[kind].chunks) == 0 {
					continue
				}
				for i, seq := range seqs {
					c := it.kinds[kind].find(uint16(seq >> 16)) //nolint:gosec // the high half
					at, ok := c.is(seq, true)
					if !ok {
						*damaged = c.damaged
						return
					}
					found[i][kind] = at.stamp()
				}
			}
		}
}

// want asks for what is missing to know the stamp of a seq.
func (it *receiptItem) want(kind fanfare.ReceiptKind, seq fanfare.Seq, need need) {
	c := it.kinds[kind].find(uint16(seq >> 16)) //nolint:gosec // the high half
	if _, ok := c.is(seq, true); !ok && c.damaged == nil {
		need(kind, c, c.row != nil)
	}
}

// Tail implements fanfare.Receipts.
func (s *Store) Tail(ctx context.Context, shard int, after int64) (p fanfare.TailPage, err error) {
	if err := s.hasShard(shard); err != nil {
		return p, err
	}
	err = s.read(ctx, func(c *conn) error {
		if _, err := c.one(func(r []driver.Value) error {
			p.Next, p.Folded = max(after, integer(r[0])), integer(r[1])
			return nil
		}, "shard.place"); err != nil || after < p.Folded || after >= p.Next {
			return err
		}
		notes, last := 0, int64(0)
		return c.tail(after, func(id int64, packed []byte) (bool, error) {
			if notes >= tailNotes {
				p.More, p.Next = true, last
				return false, nil
			}
			e := fanfare.LogEntry{ID: id}
			err := decodeLog(packed, func(audienceKey) {}, func(n fanfare.News) { e.News = append(e.News, n) }, func(k audienceKey, kind fanfare.ReceiptKind, seq fanfare.Seq, at stamp) {
				e.Notes = append(e.Notes, fanfare.Note{Message: k.message, Person: fanfare.Person{Slot: k.slot, Seq: seq}, Kind: kind, Stamp: at.stamp()})
			})
			notes, last = notes+len(e.Notes)+len(e.News), id
			p.Entries = append(p.Entries, e)
			return true, err
		})
	})
	if err != nil {
		return fanfare.TailPage{}, err
	}
	return p, nil
}

func (s *Store) hasShard(shard int) error {
	if shard != 0 {
		return fmt.Errorf("shard %d of 1: %w", shard, fanfare.ErrUsage)
	}
	return nil
}

// marksCall is one call of LogReceipts.
type marksCall struct {
	receipts []fanfare.Receipt
	answers  []fanfare.Logged
	err      error
}

// LogReceipts implements fanfare.Receipts.
func (s *Store) LogReceipts(ctx context.Context, shard int, receipts []fanfare.Receipt) ([]fanfare.Logged, error) {
	if err := s.hasShard(shard); err != nil {
		return nil, err
	}
	for i := range receipts {
		if r := &receipts[i]; int(r.Slot) >= s.slots || !r.Kind.Valid() || r.Source > fanfare.SourceInferred || r.Message <= 0 {
			return nil, fmt.Errorf("receipt %d: %v, %v, message %d, slot %d of %d: %w", i, r.Kind, r.Source, r.Message, r.Slot, s.slots, fanfare.ErrUsage)
		}
	}
	call := &marksCall{receipts: receipts, answers: make([]fanfare.Logged, len(receipts))}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	u := &unit{ctx: ctx, marks: call, done: make(chan struct{})}
	s.writer.submit(u)
	<-u.done
	if err := cmp.Or(u.err, call.err); err != nil {
		return nil, err
	}
	return call.answers, nil
}

// log carries out calls in order, all from memory but for what has to be read first; an error means that the whole transaction is lost. Whoever else
// writes in it does not suffer from a log that is damaged.
func (t *tx) log(calls []*marksCall) error {
	for _, call := range calls {
		call.err = nil
		clear(call.answers) // of a try before
	}
	if err := t.lockShard(); err != nil {
		return err
	}
	if err := t.refuseMoving(calls); err != nil {
		return err
	}
	head, err := t.s.syncReceipts(t.conn)
	if err != nil {
		for _, call := range calls {
			call.err = err
		}
		return nil
	}
	for _, call := range calls {
		if call.err != nil {
			continue
		}
		if len(call.receipts) == 1 {
			if err := t.logItem(head, call, []int{0}); err != nil {
				return err
			}
			continue
		}
		order := make([]int, len(call.receipts))
		for i := range order {
			order[i] = i
		}
		item := func(i int) audienceKey { return audienceKey{call.receipts[i].Message, call.receipts[i].Slot} }
		slices.SortStableFunc(order, func(a, b int) int {
			return cmp.Or(cmp.Compare(item(a).message, item(b).message), cmp.Compare(item(a).slot, item(b).slot))
		})
		for len(order) > 0 {
			n := 1
			for n < len(order) && item(order[n]) == item(order[0]) {
				n++
			}
			if err := t.logItem(head, call, order[:n]); err != nil {
				return err
			}
			order = order[n:]
		}
	}
	t.wrote = t.wrote || len(t.marks) > 0
	return nil
}

// refuseMoving refuses the calls that have receipts of slots that are not here, or are read only.
func (t *tx) refuseMoving(calls []*marksCall) error {
	if !t.s.split.Load() {
		return nil
	}
	var slots []fanfare.Slot
	asked := make(map[fanfare.Slot]bool, t.s.slots)
	for _, call := range calls {
		for i := range call.receipts {
			if n := call.receipts[i].Slot; !asked[n] {
				asked[n] = true
				slots = append(slots, n)
			}
		}
	}
	slices.Sort(slots)
	found, err := t.turns(slots)
	if err != nil {
		return err
	}
	for _, n := range slots {
		if found[n].Writable() {
			continue
		}
		for _, call := range calls {
			if slices.ContainsFunc(call.receipts, func(r fanfare.Receipt) bool { return r.Slot == n }) {
				call.err = moving(n)
			}
		}
	}
	return nil
}

// logItem carries out those receipts of a call that are of one message and slot.
func (t *tx) logItem(head int64, call *marksCall, which []int) error {
	k := audienceKey{call.receipts[which[0]].Message, call.receipts[which[0]].Slot}
	marks, now := t.marks[k], fanfare.MinuteOf(t.now)
	forgotten := slices.Contains(t.forgotten, k) // in this transaction: what is in memory is no longer so
	touched := func(r *fanfare.Receipt, fn func(fanfare.ReceiptKind)) {
		for _, fact := range r.Kind.Facts() {
			fn(fact)
			if other := fact.Ends() + fact.EndedBy(); other != 0 {
				fn(other)
			}
		}
	}
	return t.s.withReceipts(t.conn, head, k, func(it *receiptItem, need need) {
		if forgotten {
			return
		}
		for _, i := range which {
			r := &call.receipts[i]
			touched(r, func(kind fanfare.ReceiptKind) {
				if _, ok := marks[pendingKey(kind, r.Seq)]; !ok {
					it.want(kind, r.Seq, need)
				}
			})
		}
	}, func(it *receiptItem) {
		for _, i := range which {
			r := &call.receipts[i]
			known := func(kind fanfare.ReceiptKind) (stamp, bool) {
				if at, ok := marks[pendingKey(kind, r.Seq)]; ok || forgotten {
					return at, true
				}
				return it.kinds[kind].find(uint16(r.Seq>>16)).is(r.Seq, true) //nolint:gosec // the high half
			}
			damaged := false
			touched(r, func(kind fanfare.ReceiptKind) {
				_, ok := known(kind)
				damaged = damaged || !ok
			})
			if damaged {
				call.answers[i] = fanfare.LoggedDamaged
				continue
			}
			if r.Decide(now, func(kind fanfare.ReceiptKind) fanfare.Stamp {
				at, _ := known(kind)
				return at.stamp()
			}, func(kind fanfare.ReceiptKind, at fanfare.Stamp) {
				if marks == nil {
					marks = t.marksOf(k)
				}
				marks[pendingKey(kind, r.Seq)] = stampOf(at)
				if ended := kind.Ends(); ended != 0 {
					marks[pendingKey(ended, r.Seq)] = 0
				}
			}) {
				call.answers[i] = fanfare.LoggedNew
			}
		}
	})
}

func (t *tx) marksOf(k audienceKey) pending {
	if t.marks == nil {
		t.marks = make(map[audienceKey]pending)
	}
	if t.marks[k] == nil {
		t.marks[k] = make(pending)
	}
	return t.marks[k]
}

// forgetReceipts removes the rows of a message in a slot, and lets the log say so if it has something of them.
func (t *tx) forgetReceipts(k audienceKey) error {
	if err := t.lockShard(); err != nil {
		return err
	}
	if _, err := t.s.syncReceipts(t.conn); err != nil && !errors.Is(err, fanfare.ErrDamaged) {
		return err
	}
	gone, err := t.exec("receipts.forget", int64(k.message), int64(k.slot))
	if err != nil {
		return err
	}
	t.s.receipts.mu.Lock()
	defer t.s.receipts.mu.Unlock()
	if it := t.s.receipts.items[k]; gone > 0 || it != nil && it.noted() {
		t.forgotten, t.wrote = append(t.forgotten, k), true
	}
	return nil
}

// writeLog writes what the transaction logs, under the head that it has raised.
func (t *tx) writeLog() error {
	if len(t.marks)+len(t.forgotten)+len(t.news) == 0 {
		return nil
	}
	packed := appendLog(nil, t.forgotten, t.news, t.marks)
	return t.conn.later("log.insert", nil, t.head, t.now, set.Checksum(packed), packed)
}

// tell has the log say that somebody's picture is no longer true.
func (t *tx) tell(n fanfare.News) {
	if last := len(t.news) - 1; last < 0 || t.news[last] != n {
		t.news = append(t.news, n)
	}
}

// publishReceipts moves what is in memory on to the state after the commit, unless a reader has read the log that far already.
func (t *tx) publishReceipts() {
	c := &t.s.receipts
	c.mu.Lock()
	defer c.mu.Unlock()
	if !t.wrote || !c.known || c.head != t.head-1 {
		return
	}
	if slices.ContainsFunc(t.news, func(n fanfare.News) bool { return n.Kind == fanfare.NewsMoved }) {
		c.reset()
		return
	}
	c.head = t.head
	for _, k := range t.forgotten {
		c.forget(k)
	}
	for k, p := range t.marks {
		it := c.item(k)
		for key, at := range p {
			it.note(fanfare.ReceiptKind(key>>32), fanfare.Seq(key), at) //nolint:gosec // as made
		}
	}
	if t.folded != nil {
		c.fold(t.folded, t.head)
	}
}

// checkReceipts reads all rows of receipt sets and of the log.
func (s *Store) checkReceipts(c *conn, say func(error)) error {
	if err := c.query(func(r []driver.Value) error {
		row := receiptRow{audienceKey{fanfare.MessageNum(integer(r[0])), fanfare.Slot(integer(r[1]))}, fanfare.ReceiptKind(integer(r[2])), uint16(integer(r[3]))} //nolint:gosec // as written
		_, err := scanStamped(r[3:])
		if err == nil && !row.kind.Valid() {
			err = fmt.Errorf("%w: there is no such kind", fanfare.ErrDamaged)
		}
		if err != nil {
			say(c.damagedRow(row.String(), err))
		}
		return nil
	}, "receipts.all"); err != nil {
		return err
	}
	return c.tail(0, func(_ int64, packed []byte) (bool, error) {
		return true, decodeLog(packed, func(audienceKey) {}, func(fanfare.News) {}, func(audienceKey, fanfare.ReceiptKind, fanfare.Seq, stamp) {})
	})
}
