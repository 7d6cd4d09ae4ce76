package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanfare"
)

// Options says how a store is opened; the zero value will do.
type Options struct {
	Slots int              // of a new database, 0: 16; of an existing one what it must have, 0: whatever it has
	Clock func() time.Time // nil: the database's own
	Cache int              // bytes of sets kept in memory, 0: 128 MB; the same again of frozen audiences, and of receipts
}

const (
	defaultSlots = 16
	maxSlots     = 1024 // each has tables of its own
	defaultCache = 128 << 20
)

// Store is a fanfare.Store on one database.
type Store struct {
	dialect Dialect
	db      Database
	clock   func() time.Time
	// askClock says that the clock is the database's own.
	askClock bool
	slots    int
	// addressKey is the key of the hashes of addresses; it never leaves the store.
	addressKey []byte
	texts      statements
	ctx        context.Context // of Open, never cancelled: connections are made with it
	split      atomic.Bool     // it is one of several shards: a slot may lie elsewhere

	readers  readers
	writer   *writer
	sets     setCache
	frozen   audienceCache
	receipts receiptCache
	folding  folding
	finds    finds

	purging sync.Mutex // held by the one that purges
	wiped   int64      // guarded by purging: how many erasures the pages were looked through for

	mu     sync.Mutex // guards what follows
	idle   *sync.Cond // signalled when calls falls to 0
	calls  int
	closed bool
}

var _ fanfare.Shard = (*Store)(nil)

// Open opens a database, brings its tables to this version, and makes them if it is empty. Errors: fanfare.ErrForeign, ErrDamaged,
// ErrReadOnly, ErrFull, ErrUsage (another number of slots).
func Open(ctx context.Context, d Dialect, db Database, o Options) (*Store, error) {
	texts, err := loadStatements(d)
	if err != nil {
		return nil, err
	}
	askClock := o.Clock == nil && d.Clock != ""
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Cache <= 0 {
		o.Cache = defaultCache
	}
	if o.Slots < 0 || o.Slots > maxSlots {
		return nil, fmt.Errorf("%d slots: %w: 1 to %d", o.Slots, fanfare.ErrUsage, maxSlots)
	}
	s := &Store{dialect: d, db: db, clock: o.Clock, askClock: askClock, texts: texts, ctx: context.WithoutCancel(ctx)}
	s.idle = sync.NewCond(&s.mu)
	s.sets.limit, s.frozen.limit, s.receipts.limit = o.Cache, o.Cache, o.Cache
	c, err := connect(ctx, d, db, texts, false)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, c, o.Slots); err != nil {
		return nil, errors.Join(err, c.close())
	}
	s.readers = readers{open: func() (*conn, error) { return connect(s.ctx, d, db, texts, true) }}
	s.writer = startWriter(s, c)
	return s, nil
}

// prepare brings the tables to this version and reads what never changes.
func (s *Store) prepare(ctx context.Context, c *conn, slots int) (err error) {
	if err := migrate(ctx, s.dialect, c, slots); err != nil {
		return err
	}
	if s.slots, err = c.slots(); err != nil {
		return err
	}
	if _, err := c.one(func(row []driver.Value) error {
		s.addressKey = slices.Clone(blob(row[0]))
		return nil
	}, "addresses.key"); err != nil {
		return err
	}
	is, err := c.member()
	if err != nil {
		return err
	}
	s.split.Store(is.Installation != "")
	if slots != 0 && slots != s.slots {
		return fmt.Errorf("%s: %w: it was made with %d slots, not %d; the number never changes, leave --slots out", c.db.Name(), fanfare.ErrUsage, s.slots, slots)
	}
	return nil
}

// now is the machine's clock, to the microsecond, as times are kept; with askClock it is not the database's.
func (s *Store) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }

// nowOf is the database's clock.
func (s *Store) nowOf(c *conn) (now time.Time, err error) {
	if now = s.now(); s.askClock {
		if err = c.askClock(&now); err == nil {
			err = c.flush()
		}
	}
	return now, err
}

// enter begins a call; leave ends it.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%s: %w", s.db.Name(), fanfare.ErrClosed)
	}
	s.calls++
	return nil
}

func (s *Store) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls--; s.calls == 0 {
		s.idle.Broadcast()
	}
}

// has says whether the slot is one of this store's.
func (s *Store) has(n fanfare.Slot) error {
	if int(n) >= s.slots {
		return fmt.Errorf("slot %d of %d: %w", n, s.slots, fanfare.ErrUsage)
	}
	return nil
}

// read runs fn on one snapshot.
func (s *Store) read(ctx context.Context, fn func(c *conn) error) error { return s.look(ctx, true, fn) }

// look is read; without a snapshot for one statement, which is its own.
func (s *Store) look(ctx context.Context, snapshot bool, fn func(c *conn) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	for {
		c, kept, err := s.readers.take()
		if err != nil {
			return err
		}
		if err = s.lookOn(c, snapshot, fn); err == nil || !kept || !c.unheard() {
			return err
		}
	}
}

// lookOn is look on a connection, which it gives back.
func (s *Store) lookOn(c *conn, snapshot bool, fn func(c *conn) error) (err error) {
	done := false
	defer func() { // fn may panic, or end its goroutine as tests do
		c.drop()
		var end error
		if snapshot && !c.lost() {
			end = c.plain("ROLLBACK")
		}
		if !done || end != nil || c.lost() {
			end = errors.Join(end, c.close())
		} else {
			end = s.readers.give(c)
		}
		if err == nil {
			err = end
		}
	}()
	c.heard = false
	if snapshot {
		if err := c.begin(s.dialect.BeginRead); err != nil {
			return err
		}
	}
	err = fn(c)
	done = true
	return err
}

// readSlot is read for what lies in one slot.
func (s *Store) readSlot(ctx context.Context, n fanfare.Slot, fn func(c *conn) error) error {
	if err := s.has(n); err != nil {
		return err
	}
	return s.read(ctx, func(c *conn) error {
		if err := s.readable(c, n); err != nil {
			return err
		}
		return fn(c)
	})
}

// readers are connections that read. There is no limit to those in use, since a call may be made within another.
type readers struct {
	open func() (*conn, error)

	mu     sync.Mutex // guards what follows
	idle   []*conn
	closed bool
}

const idleReaders = 32 // to open one costs as much as twenty short questions

// take gives a connection; kept: one that was used before.
func (r *readers) take() (c *conn, kept bool, err error) {
	r.mu.Lock()
	n := len(r.idle)
	if n == 0 {
		r.mu.Unlock()
		c, err = r.open()
		return c, false, err
	}
	c = r.idle[n-1]
	r.idle = r.idle[:n-1]
	r.mu.Unlock()
	return c, true, nil
}

func (r *readers) give(c *conn) error {
	r.mu.Lock()
	if keep := !r.closed && len(r.idle) < idleReaders; keep {
		r.idle = append(r.idle, c)
		r.mu.Unlock()
		return nil
	}
	r.mu.Unlock()
	return c.close()
}

func (r *readers) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	var errs []error
	for _, c := range r.idle {
		errs = append(errs, c.close())
	}
	r.idle = nil
	return errors.Join(errs...)
}

// Close implements fanfare.Upkeep.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return fmt.Errorf("%s: %w", s.db.Name(), fanfare.ErrClosed)
	}
	s.mu.Unlock()
	_, left := s.Purge(s.ctx) // what is erased is gone once the store is closed
	s.mu.Lock()
	if s.closed { // by another at the same time
		s.mu.Unlock()
		return fmt.Errorf("%s: %w", s.db.Name(), fanfare.ErrClosed)
	}
	s.closed = true
	for s.calls > 0 {
		s.idle.Wait()
	}
	s.mu.Unlock()
	// The writer's connection goes last: it is the one that takes the log into the file.
	return errors.Join(left, s.readers.close(), s.writer.stop())
}
