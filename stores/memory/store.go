package memory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"fanfare"
	"fanfare/set"
)

// Config makes a store.
type Config struct {
	Slots  int              // 0: 16
	Shards int              // 0: 1; slot s lies on shard s mod Shards
	Now    func() time.Time // the database's clock; nil: time.Now
	Rules  fanfare.Rules    // for tests that break one
}

// Store is the model. It implements fanfare.Store.
type Store struct {
	now    func() time.Time
	rules  fanfare.Rules
	shards int

	mu              sync.Mutex // guards everything below
	closed          bool
	control         control
	slots           []slot
	heads           []int64                      // by shard
	receipts        []receipts                   // by shard
	addresses       map[uint64][]fanfare.SetName // do-not-sends by mailbox
	erased          erased
	erasedAt        map[string]time.Time // by external id, when last
	damagedReceipts map[receiptRow]bool
	stored          string
	found           string
	aliveAt         time.Time
	member          fanfare.Membership
	addressKey      []byte
	roster          []fanfare.RosterEntry
	placements      []fanfare.Placement
}

var _ fanfare.Shard = (*Store)(nil)

// slot is what one slot keeps.
type slot struct {
	turn     fanfare.SlotTurn
	nextSeq  fanfare.Seq
	rev      int64
	ids      map[string]fanfare.Seq
	people   map[fanfare.Seq]*person
	order    []fanfare.Seq // of people, ascending
	sets     map[fanfare.SetName]*set.Set
	before   map[fanfare.SetName]*set.Set // as of the last Append; only for a rule that a test broke
	messages map[fanfare.MessageNum]*work
	marks    map[fanfare.Mark][]fanfare.Upserted
	receipts map[fanfare.MessageNum]map[fanfare.Seq]*fanfare.Receipted
}

// person is a profile.
type person struct {
	fanfare.Recipient
	mailbox uint64
	usable  bool
}

// work is what one slot keeps of one message.
type work struct {
	latch      fanfare.Latch
	parts      map[fanfare.Part]*set.Set
	damaged    map[fanfare.Part]bool
	batches    []fanfare.Batch
	unreadable map[fanfare.BatchNo]bool          // rows of which only the plain columns can be read
	exceptions map[fanfare.Seq]fanfare.Exception // Rank is not kept
	rows       map[fanfare.Seq]time.Time         // of who got a message to few: when
}

// Open makes an empty store.
func Open(c Config) *Store {
	if c.Slots <= 0 {
		c.Slots = 16
	}
	if c.Shards <= 0 {
		c.Shards = 1
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Store{now: c.Now, rules: c.Rules, shards: c.Shards, slots: make([]slot, c.Slots), heads: make([]int64, c.Shards),
		receipts: make([]receipts, c.Shards), damagedReceipts: make(map[receiptRow]bool), erased: make(erased), erasedAt: make(map[string]time.Time), stored: "memory", found: "memory"}
	for i := range s.slots {
		s.slots[i] = emptySlot(fanfare.Slot(i)) //nolint:gosec // slots fit
	}
	s.control.open()
	return s
}

// enter takes the mutex for one call; the error says why there is none, and then nothing is held.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return fmt.Errorf("memory store: %w", fanfare.ErrClosed)
	}
	return nil
}

// enterSlot is enter for a call about one slot.
func (s *Store) enterSlot(ctx context.Context, n fanfare.Slot) (*slot, error) {
	if int(n) >= len(s.slots) {
		return nil, fmt.Errorf("slot %d of %d: %w", n, len(s.slots), fanfare.ErrUsage)
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	if sl := &s.slots[n]; sl.turn.State.Readable() {
		return sl, nil
	}
	s.mu.Unlock()
	return nil, moving(n)
}

// enterOpen is enterSlot for a call that changes the slot.
func (s *Store) enterOpen(ctx context.Context, n fanfare.Slot) (*slot, error) {
	sl, err := s.enterSlot(ctx, n)
	if err == nil && !sl.turn.State.Writable() {
		s.mu.Unlock()
		return nil, moving(n)
	}
	return sl, err
}

func moving(n fanfare.Slot) error { return fmt.Errorf("slot %d: %w", n, fanfare.ErrMoving) }

// enterWork is enter for a call about what one slot keeps of a message; the work is nil if it keeps nothing.
func (s *Store) enterWork(ctx context.Context, m fanfare.MessageNum, n fanfare.Slot) (*work, error) {
	sl, err := s.enterSlot(ctx, n)
	if err != nil {
		return nil, err
	}
	return sl.messages[m], nil
}

// wrote raises the heads of the slots' shards, once each.
func (s *Store) wrote(slots ...fanfare.Slot) {
	raised := make([]bool, s.shards)
	for _, n := range slots {
		if shard := s.ShardOf(n); !raised[shard] {
			raised[shard] = true
			s.heads[shard]++
		}
	}
}

func (s *Store) clock() time.Time { return s.now().UTC().Round(0) }

// Features implements fanfare.Upkeep.
func (s *Store) Features() fanfare.StoreFeatures { return fanfare.StoreFeatures{Name: "memory"} }

// Identity implements fanfare.Upkeep.
func (s *Store) Identity(ctx context.Context) (fanfare.Identity, error) {
	if err := s.enter(ctx); err != nil {
		return fanfare.Identity{}, err
	}
	defer s.mu.Unlock()
	id := fanfare.Identity{Stored: s.stored, Found: s.found, AliveAt: s.aliveAt}
	for _, h := range s.heads {
		id.Head += h
	}
	return id, nil
}

// Relocate lets Identity find the store in another place, as a database that was copied or restored.
func (s *Store) Relocate(found string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found = found
}

// Adopt implements fanfare.Upkeep.
func (s *Store) Adopt(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.stored = s.found
	return nil
}

// Alive implements fanfare.Upkeep.
func (s *Store) Alive(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.aliveAt = s.clock()
	return nil
}

// Backup implements fanfare.Upkeep: Features says that there is none.
func (s *Store) Backup(ctx context.Context, _ string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	return fmt.Errorf("the memory store keeps nothing that a backup could hold: %w", fanfare.ErrUsage)
}

// Check implements fanfare.Upkeep: only what Damage damaged is damaged.
func (s *Store) Check(ctx context.Context) ([]string, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var found []string
	for n := range s.slots {
		for _, m := range ascending(s.slots[n].messages) {
			w := s.slots[n].messages[m]
			for _, p := range ascending(w.damaged) {
				found = append(found, damaged(m, fanfare.Slot(n), p).Error()) //nolint:gosec // slots fit
			}
			for _, b := range ascending(w.unreadable) {
				found = append(found, damagedBatch(w.batches[b].BatchRef).Error())
			}
		}
	}
	for row := range s.damagedReceipts {
		found = append(found, damagedReceipts(row).Error())
	}
	return found, nil
}

// Damage makes one part of a frozen audience unreadable, as bytes that rotted.
func (s *Store) Damage(m fanfare.MessageNum, n fanfare.Slot, p fanfare.Part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.slots[n].messages[m]; w != nil {
		if w.damaged == nil {
			w.damaged = make(map[fanfare.Part]bool)
		}
		w.damaged[p] = true
	}
}

func damaged(m fanfare.MessageNum, n fanfare.Slot, p fanfare.Part) error {
	return fmt.Errorf("audience of message %d, slot %d, part %s: %w", m, n, p, fanfare.ErrDamaged)
}

// DamageBatch makes the sets of a batch's row unreadable.
func (s *Store) DamageBatch(r fanfare.BatchRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, b := s.batch(r); b != nil {
		if w.unreadable == nil {
			w.unreadable = make(map[fanfare.BatchNo]bool)
		}
		w.unreadable[r.Batch] = true
	}
}

func damagedBatch(r fanfare.BatchRef) error {
	return fmt.Errorf("%v: its sets: %w", r, fanfare.ErrDamaged)
}

// row gives a copy of a row; one that cannot be read is held, by its plain columns, with sets of nobody.
func (w *work) row(n fanfare.BatchNo) fanfare.Batch {
	b := w.batches[n]
	if !w.unreadable[n] {
		return b.Clone()
	}
	held := b.Hold(damagedBatch(b.BatchRef).Error())
	held.Step = b.Step
	held.Pending, held.InFlight, held.Doubted, held.Runs = set.Bits{}, set.Bits{}, set.Bits{}, nil
	return held
}

// Close implements fanfare.Upkeep.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("memory store: %w", fanfare.ErrClosed)
	}
	s.closed = true
	return nil
}
