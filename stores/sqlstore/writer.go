package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"

	"fanfare"
)

// writer is the only one that writes: it takes what queued while the last commit ran, carries it out in one transaction, commits, and
// then answers. A long unit has a transaction of its own, between two of the small ones; parts of an import share one.
type writer struct {
	s *Store
	c *conn

	mu       sync.Mutex // guards what follows
	wake     *sync.Cond
	small    []*unit
	long     []*unit
	longTurn bool
	stopping bool
	stopped  chan struct{}

	// Only the writer itself looks at what follows.
	bulk       bool
	quiet      int                   // commits since the last one of an import
	meetsKnown map[fanfare.Slot]bool // where the last upsert that took all for new was wrong
}

// bulkTogether is how many parts of an import share a commit at most: fewer commits, and others still wait for a moment only.
const bulkTogether = 4

// quietCommits is after how many commits without import rows the log is kept short again.
const quietCommits = 64

// unit is one write: it is kept or refused as a whole.
type unit struct {
	ctx     context.Context
	run     func(t *tx) error // of all but journal writes
	journal *journalCall
	marks   *marksCall
	long    bool
	bulk    bool
	locks   locks
	err     error
	done    chan struct{}
}

func startWriter(s *Store, c *conn) *writer {
	w := &writer{s: s, c: c, stopped: make(chan struct{}), meetsKnown: make(map[fanfare.Slot]bool)}
	w.wake = sync.NewCond(&w.mu)
	go w.work()
	return w
}

func (w *writer) stop() error {
	w.mu.Lock()
	w.stopping = true
	w.wake.Signal()
	w.mu.Unlock()
	<-w.stopped
	return w.c.close()
}

func (w *writer) submit(u *unit) {
	w.mu.Lock()
	if u.long {
		w.long = append(w.long, u)
	} else {
		w.small = append(w.small, u)
	}
	w.wake.Signal()
	w.mu.Unlock()
}

func (w *writer) work() {
	defer close(w.stopped)
	for {
		units := w.next()
		if units == nil {
			return
		}
		w.commit(units)
	}
}

// next waits for work: all small units, or a long one, or some parts of an import, when its turn has come.
func (w *writer) next() []*unit {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.small)+len(w.long) == 0 {
		if w.stopping {
			return nil
		}
		w.wake.Wait()
	}
	if len(w.small) > 0 && (!w.longTurn || len(w.long) == 0) {
		units := w.small
		w.small, w.longTurn = nil, true
		return units
	}
	n := 1
	for w.long[0].bulk && n < min(len(w.long), bulkTogether) && w.long[n].bulk {
		n++
	}
	units := w.long[:n:n]
	w.long, w.longTurn = w.long[n:], false
	return units
}

// mostTries is how often a transaction that others undid is tried.
const mostTries = 10

// again says whether err undid the transaction because of others only.
func again(err error) bool {
	var f *Failure
	return errors.As(err, &f) && f.Again
}

// again says whether a transaction that failed may be tried again: others undid it, or the connection was lost before the database heard of it.
func (w *writer) again(err error) bool {
	return again(err) || err != nil && w.c.unheard() && !errors.Is(err, errUnreachable)
}

// errUnreachable says that a lost connection could not be made anew.
var errUnreachable = errors.New("the database cannot be reached")

// commit carries units out in one transaction and answers them.
func (w *writer) commit(units []*unit) {
	w.keepLog(units)
	if units[0].long {
		w.commitLong(units)
		return
	}
	lost := w.together(units)
	for try := 1; w.again(lost) && try < mostTries; try++ {
		lost = w.together(units)
	}
	for _, u := range units {
		if lost != nil {
			u.lose(lost)
		}
		close(u.done)
	}
}

// together carries small units out in one transaction; an error says that it is lost.
func (w *writer) together(units []*unit) error {
	t := &tx{conn: w.c, s: w.s}
	err := w.begin(t, units)
	if err == nil {
		err = t.all(units)
	}
	if err == nil {
		err = t.commit()
	}
	if err == nil {
		t.publish()
		return nil
	}
	w.undo()
	return err
}

// undo ends a transaction that failed; it may be rolled back already, and begin tries once more.
func (w *writer) undo() {
	w.c.drop()
	if !w.c.lost() {
		_ = w.c.plain("ROLLBACK")
	}
}

// commitLong carries a long unit out, or parts of an import, in one transaction without savepoints. If one of several cannot be kept none
// is, and each is tried alone: what was kept all the same, though the commit failed, is known by its mark.
func (w *writer) commitLong(units []*unit) {
	err := w.once(units)
	if err != nil && len(units) > 1 {
		for i := range units {
			w.commitLong(units[i : i+1])
		}
		return
	}
	for try := 1; (errors.Is(err, errKnown) || w.again(err)) && try < mostTries; try++ {
		err = w.once(units)
	}
	for _, u := range units {
		u.err = err
		close(u.done)
	}
}

// once carries units out in one transaction; an error says that nothing of it was kept, as far as is known.
func (w *writer) once(units []*unit) error {
	t := &tx{conn: w.c, s: w.s}
	err := w.begin(t, units)
	if err == nil {
		err = t.flush()
	}
	for _, u := range units {
		if err == nil {
			err = u.ctx.Err()
		}
		if err == nil {
			err = u.run(t)
		}
	}
	if err == nil {
		err = t.commit()
	}
	if err != nil {
		w.undo()
		return err
	}
	t.publish()
	return nil
}

// lose answers that the commit failed. What of it is durable is not known: after a sync that failed nobody can tell.
func (u *unit) lose(why error) {
	if u.err == nil {
		u.err = why
	}
	if u.journal != nil {
		u.journal.lose(why)
	}
}

// begin begins t, makes the connection anew if it was lost, and takes the locks of units. Where the driver can, all that comes with the
// next statement that is waited for.
func (w *writer) begin(t *tx, units []*unit) error {
	if w.c.lost() {
		if err := w.reconnect(); err != nil {
			return err
		}
	}
	t.conn = w.c
	err := w.c.begin(w.s.dialect.BeginWrite)
	if err != nil && w.c.plain("ROLLBACK") == nil { // left open by a transaction that failed
		err = w.c.begin(w.s.dialect.BeginWrite)
	}
	if err != nil {
		return err
	}
	if t.now = w.s.now(); w.s.askClock {
		if err := t.conn.askClock(&t.now); err != nil {
			return err
		}
	}
	return t.lockAll(units)
}

func (w *writer) reconnect() error {
	c, err := connect(w.s.ctx, w.s.dialect, w.s.db, w.s.texts, false)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreachable, err)
	}
	_ = w.c.close() // it is lost
	w.c = c
	return nil
}

// keepLog lets the log grow while an import runs and keeps it short, for a fast restart, a while after.
func (w *writer) keepLog(units []*unit) {
	bulk := false
	for _, u := range units {
		bulk = bulk || u.bulk
	}
	w.quiet++
	if bulk {
		w.quiet = 0
	}
	say := ""
	switch {
	case bulk && !w.bulk:
		w.bulk, say = true, w.s.dialect.Bulk
	case w.bulk && w.quiet >= quietCommits:
		w.bulk, say = false, w.s.dialect.Steady
	}
	if say != "" {
		_ = w.c.plain(say) // only speed hangs on it
	}
}

// tx is one transaction of the writer.
type tx struct {
	*conn
	s         *Store
	now       time.Time
	bases     map[fanfare.Slot]int64  // slots.changed as it was before the transaction, of the slots touched so far
	changes   []setChange             // in order; a unit that is rolled back takes its own away
	after     []func()                // run once committed
	wrote     bool                    // rows that the head counts
	head      int64                   // of the shard, once raised
	marks     map[audienceKey]pending // what was noted of receipts
	forgotten []audienceKey           // messages whose receipts went
	news      []fanfare.News          // for the log
	folded    *foldStep

	states      map[fanfare.Slot]fanfare.SlotState // of slots, as far as they were asked for
	shardLocked bool                               // head is known, and stays until the commit
}

// commit raises the head, once for all that was written, and commits: a database that was rolled back shows by its head.
func (t *tx) commit() error {
	if !t.wrote {
		return t.plain("COMMIT")
	}
	if err := t.raiseHead(); err != nil {
		return err
	}
	if logs := len(t.marks)+len(t.forgotten)+len(t.news) > 0; logs && !t.shardLocked { // then the head is to be known
		if err := t.flush(); err != nil {
			return err
		}
	}
	if err := t.writeLog(); err != nil {
		return err
	}
	return t.plain("COMMIT")
}

// raiseHead gives the transaction its number, by which commits are in order.
func (t *tx) raiseHead() error {
	if t.dialect.Locks && t.dialect.Returning {
		return t.conn.ask(func(r []driver.Value) error {
			t.head = integer(r[0])
			return nil
		}, "shard.head")
	}
	if _, err := t.conn.exec("shard.head"); err != nil {
		return err
	}
	_, err := t.one(func(r []driver.Value) error {
		t.head = integer(r[0])
		return nil
	}, "shard.place")
	return err
}

// exec is conn.exec that notes what the head counts: nodes, leases and rates come and go without a trace.
func (t *tx) exec(name string, values ...driver.Value) (int64, error) {
	n, err := t.conn.exec(name, values...)
	switch name {
	case "nodes.put", "leases.put", "rates.put", "shard.alive", "shard.adopt", "erased.purged", "shard.join", "shard.key", "roster.add", "roster.slot", "slots.away":
	default:
		t.wrote = t.wrote || n > 0
	}
	return n, err
}

// put is exec of a statement that changes something as a rule; where the driver can, it comes with the next one that is waited for.
func (t *tx) put(name string, values ...driver.Value) error {
	t.wrote = true
	return t.conn.later(name, nil, values...)
}

func (t *tx) insert(name string, values ...driver.Value) (int64, error) {
	t.wrote = true
	return t.conn.insert(name, values...)
}

func (t *tx) exact(name string, n int, args []driver.NamedValue) error {
	t.wrote = t.wrote || n > 0
	return t.conn.exact(name, n, args)
}

func (t *tx) execRows(name string, width int, values []driver.Value) error {
	t.wrote = t.wrote || len(values) > 0
	return t.conn.execRows(name, width, values)
}

// all carries out the units; an error means that the whole transaction is lost.
func (t *tx) all(units []*unit) error {
	var calls []*journalCall
	var marks []*marksCall
	for _, u := range units {
		if u.err = u.ctx.Err(); u.err != nil {
			if u.journal != nil {
				u.journal.lose(u.err)
			}
			continue
		}
		if u.journal != nil {
			calls = append(calls, u.journal)
			continue
		}
		if u.marks != nil {
			marks = append(marks, u.marks)
			continue
		}
		lost := error(nil)
		u.err = errKnown
		for try := 0; lost == nil && errors.Is(u.err, errKnown) && try < mostTries; try++ {
			u.err, lost = t.apart(func() error { return u.run(t) })
		}
		if lost != nil {
			return lost
		}
	}
	if len(calls) > 0 {
		if err := t.journal(calls); err != nil {
			return err
		}
	}
	if len(marks) > 0 {
		return t.log(marks)
	}
	return nil
}

// apart runs fn so that nothing of it is kept if it answers an error; lost says that then the whole transaction is gone.
func (t *tx) apart(fn func() error) (err, lost error) {
	if err := t.plain("SAVEPOINT apart"); err != nil {
		return err, err
	}
	changes, after, wrote, forgotten, news := len(t.changes), len(t.after), t.wrote, len(t.forgotten), len(t.news)
	if err = fn(); err == nil {
		err = t.flush()
	}
	if err == nil {
		if err = t.soon("RELEASE SAVEPOINT apart"); err == nil {
			return nil, nil
		}
	}
	t.drop()
	if again(err) || t.conn.lost() {
		return err, err
	}
	t.changes, t.after, t.wrote, t.forgotten, t.news = t.changes[:changes], t.after[:after], wrote, t.forgotten[:forgotten], t.news[:news]
	if e := errors.Join(t.plain("ROLLBACK TO SAVEPOINT apart"), t.soon("RELEASE SAVEPOINT apart")); e != nil {
		return err, err
	}
	return err, nil
}

// write is writeLocked without locks.
func (s *Store) write(ctx context.Context, kind writeKind, fn func(t *tx) error) error {
	return s.writeLocked(ctx, kind, locks{}, fn)
}

type writeKind int

const (
	smallWrite writeKind = iota
	longWrite
	bulkWrite // a part of an import
)

// lend is write for a function of the store's user: it runs in the user's goroutine, so that a panic ends there, while the writer waits.
func (s *Store) lend(ctx context.Context, kind writeKind, l locks, fn func(t *tx) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	turn, back := make(chan *tx), make(chan error, 1)
	u := &unit{ctx: ctx, long: kind != smallWrite, locks: l, done: make(chan struct{}), run: func(t *tx) error {
		turn <- t
		return <-back
	}}
	s.writer.submit(u)
	for { // the transaction may be tried again
		select {
		case <-u.done:
			return u.err
		case t := <-turn:
			func() {
				err := errors.New("the function that changes the store did not return")
				defer func() { back <- err }()
				err = fn(t)
			}()
		}
	}
}
