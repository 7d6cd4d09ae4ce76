package sharded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanfare"
)

// Options says how shards are put together; the zero value will do.
type Options struct {
	Names    []string      // of the shards, without secrets; as many as there are
	Patience time.Duration // how long a call waits for a slot that moves, 0: 5 s
}

const (
	defaultPatience = 5 * time.Second
	firstWait       = 2 * time.Millisecond // between two tries, doubled up to
	lastWait        = 200 * time.Millisecond
)

// Store is a fanfare.Store on several shards.
type Store struct {
	shards   []fanfare.Shard
	names    []string
	patience time.Duration
	slots    int
	sweeping sync.Mutex
	unswept  [][]fanfare.MessageNum              // guarded by sweeping: by shard, of which messages rows are still to be taken out
	places   atomic.Pointer[[]fanfare.Placement] // by slot; replaced, never changed
}

var _ fanfare.Store = (*Store)(nil)

// Open puts shards together, in the order of the list that all nodes have. The first time it makes them an installation: they have to be empty
// then, and slots are spread evenly. Later they have to be the same ones in the same order (ErrUsage says what is wrong). Close closes the
// shards; after an error they stay the caller's.
func Open(ctx context.Context, shards []fanfare.Shard, o Options) (*Store, error) {
	s := &Store{shards: shards, names: o.Names, patience: o.Patience, unswept: make([][]fanfare.MessageNum, len(shards))}
	if s.patience <= 0 {
		s.patience = defaultPatience
	}
	for i := len(s.names); i < len(shards); i++ {
		s.names = append(s.names, shards[i].Features().Name)
	}
	if len(shards) == 0 {
		return nil, fmt.Errorf("no shards: %w", fanfare.ErrUsage)
	}
	s.slots = shards[0].Slots()
	for i, sh := range shards {
		if n := sh.Slots(); n != s.slots {
			return nil, fmt.Errorf("%s has %d slots, the first one %d: %w: all shards have as many; make it anew with --slots %d", s.name(i), n, s.slots, fanfare.ErrUsage, s.slots)
		}
	}
	roster, _, err := s.first().Roster(ctx)
	if err == nil && len(roster) == 0 {
		err = s.found(ctx)
	}
	if err == nil {
		err = s.recognise(ctx)
	}
	if err == nil {
		err = s.reload(ctx)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) first() fanfare.Shard { return s.shards[0] }

func (s *Store) name(i int) string { return fmt.Sprintf("shard %d (%s)", i, s.names[i]) }

// found makes empty databases an installation. The list is written last: whoever finds one finds shards that are marked. Two nodes may do it at once.
func (s *Store) found(ctx context.Context) error {
	of := ""
	for i, sh := range s.shards {
		id, err := sh.Identity(ctx)
		if err != nil {
			return s.of(i, err)
		}
		is, err := sh.Membership(ctx)
		if err != nil {
			return s.of(i, err)
		}
		if i == 0 {
			of = is.Installation
		}
		if is.Installation != "" && (is.Installation != of || is.Number != i) {
			return fmt.Errorf("%w: %s is shard %d of another list; name the --store in the order that the installation was made with, the first one first", fanfare.ErrUsage, s.name(i), is.Number)
		}
		if id.Head > 0 && (i > 0 || is.Installation == "") {
			return fmt.Errorf("%s holds data and is no shard yet: %w: start with it as the only --store, and add empty ones by: fanfare shards add DSN", s.name(i), fanfare.ErrUsage)
		}
	}
	key, err := s.first().AddressKey(ctx)
	if err != nil {
		return s.of(0, err)
	}
	places := make([]fanfare.Placement, s.slots)
	elsewhere := make([][]fanfare.Slot, len(s.shards))
	for i := range places {
		n, shard := fanfare.Slot(i), i%len(s.shards) //nolint:gosec // slots fit
		places[i] = fanfare.Placement{Slot: n, Shard: shard, Epoch: 1, Other: -1}
		for other := range s.shards {
			if other != shard {
				elsewhere[other] = append(elsewhere[other], n)
			}
		}
	}
	m := fanfare.Membership{Installation: rand.Text()}
	if err := s.first().Join(ctx, m, key, elsewhere[0]); errors.Is(err, fanfare.ErrConflict) { // another node does it at this moment, or one died of it
		if m, err = s.first().Membership(ctx); err != nil {
			return s.of(0, err)
		}
	} else if err != nil {
		return s.of(0, err)
	}
	roster := make([]fanfare.RosterEntry, len(s.shards))
	for i, sh := range s.shards {
		roster[i] = fanfare.RosterEntry{Number: i, Name: s.names[i]}
		if i == 0 {
			continue
		}
		if err := sh.Join(ctx, fanfare.Membership{Installation: m.Installation, Number: i}, key, elsewhere[i]); err != nil {
			return s.of(i, err)
		}
	}
	if err := s.first().Found(ctx, roster, places); err != nil && !errors.Is(err, fanfare.ErrExists) {
		return s.of(0, err)
	}
	return nil
}

// recognise refuses another list than the installation's.
func (s *Store) recognise(ctx context.Context) error {
	roster, _, err := s.first().Roster(ctx)
	if err != nil {
		return s.of(0, err)
	}
	if len(roster) != len(s.shards) {
		return fmt.Errorf("%w: %d --store are given, and the installation of the first one has %d shards; name all, in the order of: %s", fanfare.ErrUsage, len(s.shards), len(roster), inOrder(roster))
	}
	of := ""
	for i, sh := range s.shards {
		is, err := sh.Membership(ctx)
		switch {
		case err != nil:
			return s.of(i, err)
		case i == 0:
			of = is.Installation
		}
		switch {
		case is.Installation == "":
			return fmt.Errorf("%w: %s is an empty database, or one of its own; shard %d of this installation is %s; restore it, or correct --store", fanfare.ErrUsage, s.name(i), i, roster[i].Name)
		case is.Installation != of:
			return fmt.Errorf("%w: %s belongs to another installation than the first --store; the order is: %s", fanfare.ErrUsage, s.name(i), inOrder(roster))
		case is.Number != i:
			return fmt.Errorf("%w: %s is shard %d; name the --store on every node in this order: %s", fanfare.ErrUsage, s.name(i), is.Number, inOrder(roster))
		}
	}
	return nil
}

func inOrder(roster []fanfare.RosterEntry) string {
	text := ""
	for i, e := range roster {
		if i > 0 {
			text += ", "
		}
		text += e.Name
	}
	return text
}

// reload reads the slot map.
func (s *Store) reload(ctx context.Context) error {
	_, places, err := s.first().Roster(ctx)
	if err != nil {
		return s.of(0, err)
	}
	if len(places) != s.slots {
		return fmt.Errorf("the slot map of %s has %d of %d slots: %w", s.name(0), len(places), s.slots, fanfare.ErrDamaged)
	}
	for i, p := range places {
		if int(p.Slot) != i {
			return fmt.Errorf("the slot map of %s: slot %d is missing: %w", s.name(0), i, fanfare.ErrDamaged)
		}
	}
	for was := s.places.Load(); was == nil || newer(places, *was); was = s.places.Load() {
		if s.places.CompareAndSwap(was, &places) {
			break
		}
	}
	return nil
}

// newer says whether a map that was read is not older than another: what has moved since stays known.
func newer(a, b []fanfare.Placement) bool {
	for i := range a {
		if a[i].Epoch < b[i].Epoch {
			return false
		}
	}
	return true
}

// place says where a slot lies, as far as is known here.
func (s *Store) place(n fanfare.Slot) fanfare.Placement { return (*s.places.Load())[n] }

// of names the shard in an error.
func (s *Store) of(i int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", s.name(i), err)
}

// has says whether there is such a slot.
func (s *Store) has(n fanfare.Slot) error {
	if int(n) >= s.slots {
		return fmt.Errorf("slot %d of %d: %w", n, s.slots, fanfare.ErrUsage)
	}
	return nil
}

// at runs fn on the shard of a slot; again, for a while, if the slot has moved or is just moving. fn has done nothing when it answers ErrMoving.
func (s *Store) at(ctx context.Context, n fanfare.Slot, fn func(sh fanfare.Shard) error) error {
	if err := s.has(n); err != nil {
		return err
	}
	for w := s.waiting(); ; {
		p := s.place(n)
		err := fn(s.shards[p.Shard])
		if !errors.Is(err, fanfare.ErrMoving) {
			return err
		}
		if err := s.reload(ctx); err != nil {
			return err
		}
		if s.place(n).Epoch == p.Epoch && !w.wait(ctx) {
			return err
		}
	}
}

// waiting is how long a call may still wait for slots that move.
type waiting struct {
	left time.Duration
	next time.Duration
}

func (s *Store) waiting() *waiting { return &waiting{left: s.patience, next: firstWait} }

// wait waits a little; false: it has waited long enough.
func (w *waiting) wait(ctx context.Context) bool {
	if w.left <= 0 {
		return false
	}
	d := min(w.next, w.left)
	w.left -= d
	w.next = min(2*w.next, lastWait)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// every runs fn on all shards at once. What fails on one is no concern of the others; all errors come back.
func (s *Store) every(ctx context.Context, fn func(i int, sh fanfare.Shard) error) error {
	all := make([]int, len(s.shards))
	for i := range all {
		all[i] = i
	}
	return s.some(ctx, all, fn)
}

// some is every of some shards.
func (s *Store) some(ctx context.Context, which []int, fn func(i int, sh fanfare.Shard) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	errs := make([]error, len(which))
	var wg sync.WaitGroup
	for at, i := range which[1:] {
		wg.Go(func() { errs[at+1] = s.of(i, fn(i, s.shards[i])) })
	}
	errs[0] = s.of(which[0], fn(which[0], s.shards[which[0]]))
	wg.Wait()
	return errors.Join(errs...)
}

// byShard sorts the indices of n things by the shard of their slot; the second result lists the shards.
func (s *Store) byShard(n int, slot func(i int) fanfare.Slot) (map[int][]int, []int) {
	groups := make(map[int][]int, 1)
	var shards []int
	for i := range n {
		shard := s.ShardOf(slot(i))
		if groups[shard] == nil {
			shards = append(shards, shard)
		}
		groups[shard] = append(groups[shard], i)
	}
	slices.Sort(shards)
	return groups, shards
}
