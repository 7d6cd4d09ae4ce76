package inbox

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fanfare"
)

// lookEvery is how often the hub looks for what changed, while somebody follows an inbox.
const lookEvery = 250 * time.Millisecond

// allEvery is how often everybody is woken at most: while a message comes row by row, each row is a change.
const allEvery = time.Second

// newsMost is how many messages somebody is told of at once: the last ones that came.
const newsMost = 50

// Hub tells whoever follows an inbox that it may be another one now. One goroutine looks for all of them: a mark wakes its own person only, as soon as the log was read,
// a message that comes, goes or ends wakes everybody, since nothing is known of who gets it before they look.
type Hub struct {
	reader *Reader

	mu        sync.Mutex // guards what follows
	followers map[fanfare.Person][]*Follower
	n         int

	// Of Run only.
	state, version int64
	known          bool
	pending        bool // everybody has to be woken
	woken          time.Time

	missed atomic.Bool // something was folded before it was read
}

// NewHub makes the hub of a reader that nobody uses yet. It tells nothing before Run.
func NewHub(r *Reader) *Hub {
	h := &Hub{reader: r, followers: make(map[fanfare.Person][]*Follower), state: -1, version: -1}
	r.heard = h.heard
	return h
}

// Run looks until ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if h.Followers() == 0 {
			h.known = false
			continue
		}
		if err := h.look(ctx); err != nil && ctx.Err() == nil {
			h.known = false // whatever was missed: all look for themselves when it goes on
			h.reader.Logger.Warn("inboxes cannot be followed; trying again", "error", err)
		}
	}
}

// Followers tells how many there are.
func (h *Hub) Followers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

func (h *Hub) look(ctx context.Context) error {
	r := h.reader
	if err := r.sync(ctx, everywhere); err != nil {
		return err
	}
	r.mu.RLock()
	state, version := r.state, r.version
	r.mu.RUnlock()
	all := h.missed.Swap(false) || !h.known || state != h.state || version != h.version
	h.state, h.version = state, version
	h.known = true
	h.pending = h.pending || all
	if now := time.Now(); h.pending && now.Sub(h.woken) >= allEvery {
		h.pending, h.woken = false, now
		h.wake(nil)
	}
	return nil
}

// heard wakes whom a page of the log is about.
func (h *Hub) heard(page fanfare.TailPage, missed bool) {
	if missed {
		h.missed.Store(true)
	}
	if h.Followers() == 0 {
		return
	}
	for _, e := range page.Entries {
		for i := range e.Notes {
			h.wake(&e.Notes[i].Person)
		}
	}
}

func (h *Hub) wake(who *fanfare.Person) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if who != nil {
		for _, f := range h.followers[*who] {
			f.wake()
		}
		return
	}
	for _, all := range h.followers {
		for _, f := range all {
			f.wake()
		}
	}
}

// Follower follows one inbox. It is used by one goroutine; C receives when there may be news.
type Follower struct {
	C   <-chan struct{}
	c   chan struct{}
	hub *Hub
	who fanfare.Person

	since  time.Time // of the newest delivery that was told
	told   []fanfare.MessageID
	counts Counts
	begun  bool
}

// Follow begins to follow an inbox behind the last news that somebody had, see News.Last; empty: from now on. The follower has to be closed.
func (h *Hub) Follow(who fanfare.Person, last string) *Follower {
	c := make(chan struct{}, 1)
	f := &Follower{C: c, c: c, hub: h, who: who}
	f.since, f.told = parseLast(last)
	f.wake()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.followers[who] = append(h.followers[who], f)
	h.n++
	return f
}

// Of tells how many follow somebody's inbox.
func (h *Hub) Of(who fanfare.Person) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.followers[who])
}

// Close ends it.
func (f *Follower) Close() {
	h := f.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	left := slices.DeleteFunc(h.followers[f.who], func(o *Follower) bool { return o == f })
	if h.n -= len(h.followers[f.who]) - len(left); len(left) == 0 {
		delete(h.followers, f.who)
	} else {
		h.followers[f.who] = left
	}
}

func (f *Follower) wake() {
	select {
	case f.c <- struct{}{}:
	default: // it has not looked since the last time
	}
}

// News is what is new in an inbox.
type News struct {
	Items   []Item // that came since the last news, oldest delivery first
	Last    []string
	Counts  Counts
	Changed bool // Counts are others than those told last; true the first time
}

// News looks. Of each item Last says where to go on after it.
func (f *Follower) News(ctx context.Context) (n News, err error) {
	r := f.hub.reader
	if err := r.with(ctx, f.who, func(v view) {
		n.Counts = v.count()
		low := v.low
		for cell := range v.all() {
			if cell.sentAt.Before(f.since) || !cell.picks(low, Active) || slices.Contains(f.told, cell.entry.ID) {
				continue
			}
			n.Items = append(n.Items, Item{Message: cell.entry.ID, SentAt: cell.sentAt, SeenAt: cell.seen.get(low).Time(), ReadAt: cell.read.get(low).Time(),
				entry: cell.entry, compiled: cell.entry.content})
		}
	}); err != nil {
		return n, err
	}
	slices.SortFunc(n.Items, func(a, b Item) int { return cmp.Or(a.SentAt.Compare(b.SentAt), cmp.Compare(a.Message, b.Message)) })
	since, told := f.noted(n.Items)
	if !f.begun && f.since.IsZero() {
		n.Items = nil // what was there before is no news
	}
	n.Items = n.Items[max(0, len(n.Items)-newsMost):]
	if _, err := r.fill(ctx, f.who, n.Items, math.MaxInt); err != nil {
		return n, err
	}
	for i := range n.Items {
		n.Last = append(n.Last, lastOf(&n.Items[i]))
	}
	n.Changed = !f.begun || n.Counts != f.counts
	f.counts, f.begun, f.since, f.told = n.Counts, true, since, told
	return n, nil
}

// noted gives the newest delivery with these items, and all messages of that very moment.
func (f *Follower) noted(items []Item) (since time.Time, told []fanfare.MessageID) {
	since, told = f.since, f.told
	for i := range items { // the newest is last
		if items[i].SentAt.After(since) {
			since, told = items[i].SentAt, nil
		}
		told = append(told, items[i].Message)
	}
	if since.IsZero() { // an empty inbox: whatever comes is new
		since = time.Unix(0, 1)
	}
	return since, told
}

func lastOf(it *Item) string {
	return strconv.FormatInt(it.SentAt.UnixMicro(), 36) + "." + string(it.Message)
}

// parseLast reads lastOf. Of one moment several may have come: those that were told with it may be told again, never left out.
func parseLast(last string) (since time.Time, told []fanfare.MessageID) {
	at, id, ok := strings.Cut(last, ".")
	micros, err := strconv.ParseInt(at, 36, 64)
	if !ok || err != nil || micros <= 0 {
		return time.Time{}, nil
	}
	return time.UnixMicro(micros).UTC(), []fanfare.MessageID{fanfare.MessageID(id)}
}
