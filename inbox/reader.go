package inbox

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fanfare"
	"fanfare/set"
)

// Content is a message's content as its channel compiled it.
type Content interface {
	// Personal says whether the profile of whoever reads has to be known.
	Personal() bool
	// Fixed gives the members of a JSON object that everybody with a locale finds, if nothing of a recipient stands in them.
	Fixed(locale string) ([]byte, bool)
	// Render appends those of one recipient.
	Render(dst []byte, it *fanfare.Outgoing) ([]byte, error)
}

// Config makes a reader.
type Config struct {
	Store *Watched
	// Compile compiles a message's content.
	Compile func(m *fanfare.Message) (Content, error)
	// CacheBytes bounds what is kept in memory; 0: 256 MB.
	CacheBytes int
	Now        func() time.Time // nil: time.Now; of expiry
	Logger     *slog.Logger     // nil: silent
}

const (
	defaultCache = 256 << 20
	// mostMessages is how many active messages there may be: older ones are in no inbox. Counts have two bytes.
	// Messages to few are not among them.
	mostMessages = 1<<16 - 1
	mostPeople   = 100_000 // whose numbers and profiles are kept
	mostFew      = 20_000  // messages to few whose content is kept
)

// Reader reads inboxes. Its methods may be called by many goroutines at once.
type Reader struct {
	Config
	tick atomic.Int64

	syncing sync.Mutex // held while the store is asked for news
	loading sync.Mutex // held while a chunk is loaded
	tails   []tail     // by shard
	// heard is told of each page of the log that was taken over; missed: of what was folded before nobody knows any more.
	heard func(page fanfare.TailPage, missed bool)

	mu      sync.RWMutex // guards what follows, and what the chunks and entries hold
	known   bool         // the log's place is
	log     int64        // generation of the store's log that was taken over
	touched int64        // up to which what others wrote is
	state   int64        // generation of the messages
	expires time.Time    // when the first of them is gone
	entries []*entry     // newest start first
	version int64        // rises when others are in it, or one was recalled
	chunks  map[place]*chunk
	bytes   int
	coming  map[place]*[]fanfare.Note // what the log said while a chunk was loaded

	owns     map[fanfare.Person]*own
	few      map[fanfare.MessageNum]*entry // of owns, and former ones
	ownBytes int                           // of bytes
	ownersAt int64                         // up to where it is taken over who got messages to few
	notes    int64                         // rises with what the log says

	peopleMu sync.Mutex // guards what follows
	people   int64      // generation of the profiles
	numbers  map[string]known
	profiles map[fanfare.Person]*fanfare.Recipient
}

// entry is an active message.
type entry struct {
	fanfare.InboxMessage
	content Content // nil: not compiled since its last change
}

// New makes a reader.
func New(c Config) *Reader {
	if c.CacheBytes <= 0 {
		c.CacheBytes = defaultCache
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Reader{Config: c, state: -1, touched: -1, tails: make([]tail, c.Store.Shards()), chunks: make(map[place]*chunk), coming: make(map[place]*[]fanfare.Note),
		owns: make(map[fanfare.Person]*own), few: make(map[fanfare.MessageNum]*entry)}
	r.forgetPeople(0)
	return r
}

// everywhere asks for all shards.
const everywhere = -1

// current says whether everything that was changed up to now is known, if the logs were asked or nobody else writes.
func (r *Reader) current(alone bool) bool {
	return (!alone || r.known && r.log == r.Store.log.Load()) && r.state == r.Store.state.Load() && (len(r.entries) == 0 || r.Now().Before(r.expires))
}

// sync takes over what was changed: of people of one shard, or everywhere. Where other nodes write too the logs of that shard and of the first one, which
// has the messages, are asked each time; a process that is alone asks when it has written something itself. Who comes while somebody does it
// waits, and shares the next time.
func (r *Reader) sync(ctx context.Context, shard int) error {
	alone := r.Store.others.Alone()
	if !alone {
		for n := range r.tails {
			if n == 0 || n == shard || shard == everywhere {
				if err := r.ask(ctx, n, true); err != nil {
					return err
				}
			}
		}
	}
	r.mu.RLock()
	is := r.current(alone)
	r.mu.RUnlock()
	if is {
		return nil
	}
	r.syncing.Lock()
	defer r.syncing.Unlock()
	r.mu.RLock()
	log, known, touched := r.log, r.known, r.touched
	r.mu.RUnlock()
	others := r.Store.touched.Load()
	if now := r.Store.log.Load(); alone && (now != log || !known) { // read before the store is: what comes later is seen next time
		for n := range r.tails {
			if err := r.ask(ctx, n, touched != others); err != nil {
				return err
			}
		}
		r.mu.Lock()
		r.known, r.log, r.touched = true, now, others
		r.mu.Unlock()
	}
	r.mu.RLock()
	state, expired := r.state, len(r.entries) > 0 && !r.Now().Before(r.expires)
	r.mu.RUnlock()
	if now := r.Store.state.Load(); now != state || expired {
		return r.list(ctx, now)
	}
	return nil
}

// list reads which messages are active.
func (r *Reader) list(ctx context.Context, state int64) error {
	all, err := r.Store.InboxMessages(ctx)
	if err != nil {
		return err
	}
	all = all[:min(len(all), mostMessages)]
	r.mu.Lock()
	defer r.mu.Unlock()
	was := make(map[fanfare.MessageNum]*entry, len(r.entries))
	for _, e := range r.entries {
		was[e.Num] = e
	}
	differs := len(all) != len(r.entries)
	entries := make([]*entry, len(all))
	r.expires = time.Time{}
	for i, m := range all {
		e := was[m.Num]
		if e == nil {
			e = &entry{InboxMessage: m}
		}
		differs = differs || r.entries[i] != e || e.Recall != m.Recall
		if e.Revision != m.Revision {
			e.content = nil
		}
		e.InboxMessage, entries[i] = m, e
		if r.expires.IsZero() || m.ExpiresAt.Before(r.expires) {
			r.expires = m.ExpiresAt
		}
	}
	r.entries, r.state = entries, state
	r.owners()
	if differs {
		r.version++
	}
	return nil
}

func (r *Reader) apply(n *fanfare.Note) {
	at, _ := placeOf(n.Person)
	if notes := r.coming[at]; notes != nil {
		*notes = append(*notes, *n)
	}
	r.forgetOwn(n.Person)
	if c := r.chunks[at]; c != nil {
		grown := c.apply(n)
		c.bytes += grown
		r.bytes += grown
	}
}

// with calls fn with somebody's inbox as it is now, while nothing changes it.
func (r *Reader) with(ctx context.Context, who fanfare.Person, fn func(v view)) error {
	if err := r.sync(ctx, r.Store.ShardOf(who.Slot)); err != nil {
		return err
	}
	at, low := placeOf(who)
	var mine *own
	for {
		r.mu.RLock()
		c := r.chunks[at]
		good := r.good(c)
		if good {
			has := c.owners.Contains(who.Seq)
			if has && mine == nil {
				if mine = r.owns[who]; !r.goodOwn(mine) {
					mine = nil
				}
			}
			if !has || mine != nil {
				c.used.Store(r.tick.Add(1))
				fn(view{c, low, mine})
				r.mu.RUnlock()
				return nil
			}
		}
		r.mu.RUnlock()
		var err error
		if good {
			mine, err = r.loadOwn(ctx, who)
		} else {
			err = r.load(ctx, at)
		}
		if err != nil {
			return err
		}
	}
}

func (r *Reader) good(c *chunk) bool {
	return c != nil && c.owners != nil && c.version == r.version && (!c.open || c.state == r.state)
}

// load reads what is missing of a chunk and puts it together.
func (r *Reader) load(ctx context.Context, at place) error {
	r.loading.Lock()
	defer r.loading.Unlock()
	r.mu.Lock()
	old := r.chunks[at]
	if r.good(old) {
		r.mu.Unlock()
		return nil
	}
	notes := new([]fanfare.Note)
	r.coming[at] = notes
	version, state, ownersAt := r.version, r.state, r.ownersAt
	var owners *set.Set
	if old != nil {
		owners = old.owners
	}
	entries := slices.Clone(r.entries)
	var missing []fanfare.InboxMessage
	for _, e := range entries {
		if old == nil || !old.nobody[e.Num] && (old.by[e.Num] == nil || !old.by[e.Num].settled) {
			missing = append(missing, e.InboxMessage)
		}
	}
	r.mu.Unlock()
	cells, err := r.read(ctx, at, missing)
	if read := owners == nil; read && err == nil {
		if owners, err = r.Store.InboxOwners(ctx, at.slot, at.chunk); err == nil {
			owners = owners.Clone() // to be added to
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.coming, at)
	if err != nil {
		return err
	}
	people, _, lost := r.Store.owners.since(ownersAt)
	if lost || r.chunks[at] != old || slices.ContainsFunc(*notes, func(n fanfare.Note) bool { return n.Message == 0 }) {
		return nil // it is asked for again
	}
	for _, who := range people {
		if there, _ := placeOf(who); there == at {
			owners.Add(who.Seq)
		}
	}
	c := &chunk{place: at, owners: owners, version: version, state: state, by: make(map[fanfare.MessageNum]*cell, len(entries)), nobody: make(map[fanfare.MessageNum]bool)}
	r.assemble(c, old, entries, cells, *notes)
	c.bytes = c.size()
	c.used.Store(r.tick.Add(1))
	if old != nil {
		r.bytes -= old.bytes
	}
	r.chunks[at] = c
	r.bytes += c.bytes
	r.evict(c)
	return nil
}

// assemble makes a chunk of what was read and what was known before. Its counts follow where little is new.
func (r *Reader) assemble(c, old *chunk, entries []*entry, cells map[fanfare.MessageNum]*cell, notes []fanfare.Note) {
	type change struct {
		cell *cell
		by   uint16
	}
	const out = ^uint16(0)
	var changes []change
	for _, e := range entries {
		is, wasRead := cells[e.Num]
		var was *cell
		if old != nil {
			was = old.by[e.Num]
		}
		if !wasRead {
			is = was
		}
		if is == nil {
			c.nobody[e.Num] = true
			continue
		}
		is.entry = e
		readers := e.Recall == fanfare.RecallUnread
		switch {
		case wasRead:
			for i := range notes {
				if notes[i].Message == e.Num {
					is.note(&notes[i])
				}
			}
			is.readers = readers
			changes = append(changes, change{is, 1})
		case is.readers != readers:
			old.add(is, out)
			is.readers = readers
			changes = append(changes, change{is, 1})
		}
		c.cells, c.by[e.Num], c.open = append(c.cells, is), is, c.open || !is.settled
	}
	if old != nil {
		for num, was := range old.by {
			if c.by[num] != was {
				changes = append(changes, change{was, out})
			}
		}
	}
	if old == nil || len(changes) > 32 {
		c.recount()
		return
	}
	c.counts = old.counts
	for _, ch := range changes {
		c.add(ch.cell, ch.by)
	}
}

// evict makes room, but never of the chunk that is needed now.
func (r *Reader) evict(keep *chunk) {
	for r.bytes > r.CacheBytes && len(r.chunks) > 1 {
		var oldest *chunk
		for _, c := range r.chunks {
			if c != keep && (oldest == nil || c.used.Load() < oldest.used.Load()) {
				oldest = c
			}
		}
		delete(r.chunks, oldest.place)
		r.bytes -= oldest.bytes
	}
}

// read reads messages of a chunk; nil: nobody in it gets the message.
func (r *Reader) read(ctx context.Context, at place, missing []fanfare.InboxMessage) (map[fanfare.MessageNum]*cell, error) {
	cells := make(map[fanfare.MessageNum]*cell, len(missing))
	nums := make([]fanfare.MessageNum, len(missing))
	for i := range missing {
		nums[i] = missing[i].Num
	}
	parts, err := r.Store.InboxChunk(ctx, at.slot, at.chunk, nums)
	if err != nil {
		return nil, err
	}
	shared := newBlocks()
	for i, p := range parts {
		frozen, over := goesOn(missing[i].Phase)
		if p.Damaged != nil {
			r.Logger.Error("a message cannot be shown in inboxes", "message", missing[i].ID, "error", p.Damaged)
		}
		c := &cell{sentAt: p.At, settled: over || !p.Open && (frozen || p.Members != nil)}
		if p.Members == nil || p.Members.Empty() || p.Damaged != nil {
			if cells[nums[i]] = nil; !c.settled {
				cells[nums[i]] = c
			}
			continue
		}
		if err := r.damaged(nums[i], p.MarksDamaged); err != nil {
			return nil, err
		}
		c.to = shared.of(p.Members, at.chunk)
		for kind, of := range c.kinds() {
			of.lows, of.at = p.Marks[kind].Lows, p.Marks[kind].At
		}
		cells[nums[i]] = c
	}
	return cells, nil
}

// goesOn says of a message whose audience stands that it does, and of one whose delivery is over that nothing comes any more.
func goesOn(p fanfare.Phase) (frozen, over bool) {
	switch p {
	case fanfare.PhaseSending, fanfare.PhasePausing, fanfare.PhaseCancelling:
		return true, false
	}
	return p.Final(), p.Final()
}

// damaged lets an inbox be shown though some marks of one message cannot be read: the doctor names them.
func (r *Reader) damaged(m fanfare.MessageNum, err error) error {
	if errors.Is(err, fanfare.ErrDamaged) {
		r.Logger.Error("marks of a message cannot be read; its readers see it as new", "message", int64(m), "error", err)
		return nil
	}
	return err
}
