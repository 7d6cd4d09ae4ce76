package inbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fanfare"
)

// Filter picks messages of an inbox.
type Filter string

// The filters.
const (
	Active   Filter = "" // not archived
	Unread   Filter = "unread"
	All      Filter = "all"
	Archived Filter = "archived"
)

// Query asks for a page.
type Query struct {
	Filter Filter
	Cursor string // of the page before
	Limit  int
}

// Counts are of active messages: not expired, not recalled, not archived.
type Counts struct{ Unread, Unseen, Total int }

// Item is one message in somebody's inbox. Zero times: not so.
type Item struct {
	Message    fanfare.MessageID
	SentAt     time.Time
	SeenAt     time.Time
	ReadAt     time.Time
	ArchivedAt time.Time
	Content    []byte // members of a JSON object: title, body, url. It is not to be changed
	entry      *entry
	compiled   Content
}

// Page is a part of an inbox.
type Page struct {
	Items []Item
	Counts
	Next string // the cursor of what follows; empty: nothing does
}

// ErrCursor says that a cursor is none.
var ErrCursor = errors.New("no such cursor; take next_cursor of the page before")

// position is where a message stands among all.
type position struct {
	at  int64 // its start
	num fanfare.MessageNum
}

func positionOf(m *fanfare.InboxMessage) position { return position{m.StartedAt.UnixMicro(), m.Num} }

// after says whether it comes after o, newest start first.
func (p position) after(o position) bool { return p.at < o.at || p.at == o.at && p.num < o.num }

func (p position) String() string {
	return strconv.FormatInt(p.at, 36) + "." + strconv.FormatInt(int64(p.num), 36)
}

func parsePosition(s string) (p position, err error) {
	at, num, ok := strings.Cut(s, ".")
	p.at, err = strconv.ParseInt(at, 36, 64)
	n, err2 := strconv.ParseInt(num, 36, 64)
	if !ok || err != nil || err2 != nil {
		return p, ErrCursor
	}
	p.num = fanfare.MessageNum(n)
	return p, nil
}

// Count counts somebody's inbox.
func (r *Reader) Count(ctx context.Context, who fanfare.Person) (n Counts, err error) {
	err = r.with(ctx, who, func(v view) { n = v.count() })
	return n, err
}

func (c *chunk) of(low uint16) Counts {
	n := c.counts[low]
	return Counts{int(n.unread), int(n.unseen), int(n.total)}
}

// Page reads a page of somebody's inbox, newest start first. ErrCursor.
func (r *Reader) Page(ctx context.Context, who fanfare.Person, q Query) (p Page, err error) {
	var from position
	if q.Cursor != "" {
		if from, err = parsePosition(q.Cursor); err != nil {
			return p, err
		}
	}
	p.Items = make([]Item, 0, q.Limit)
	if err := r.with(ctx, who, func(v view) {
		p.Counts = v.count()
		low := v.low
		for cell := range v.all() {
			if q.Cursor != "" && !positionOf(&cell.entry.InboxMessage).after(from) || !cell.picks(low, q.Filter) {
				continue
			}
			if len(p.Items) == q.Limit {
				p.Next = positionOf(&p.Items[q.Limit-1].entry.InboxMessage).String()
				return
			}
			p.Items = append(p.Items, Item{Message: cell.entry.ID, SentAt: cell.sentAt, SeenAt: cell.seen.get(low).Time(), ReadAt: cell.read.get(low).Time(),
				ArchivedAt: cell.archived.get(low).Time(), entry: cell.entry, compiled: cell.entry.content})
		}
	}); err != nil {
		return p, err
	}
	n, err := r.fill(ctx, who, p.Items, mostContent)
	if err == nil && n < len(p.Items) {
		p.Items, p.Next = p.Items[:n], positionOf(&p.Items[n-1].entry.InboxMessage).String()
	}
	return p, err
}

// mostContent bounds the contents of a page, whoever's they are: a page that has as much ends before it has as many as were asked for.
const mostContent = 4 << 20

func (c *cell) picks(low uint16, f Filter) bool {
	if !c.visible(low) {
		return false
	}
	switch f {
	case All:
		return true
	case Archived:
		return c.archived.has(low)
	case Unread:
		return !c.archived.has(low) && !c.read.has(low)
	}
	return !c.archived.has(low)
}

// fill puts the contents into items, and says how many have theirs: all, or as many as make up most bytes.
func (r *Reader) fill(ctx context.Context, who fanfare.Person, items []Item, most int) (int, error) {
	var profile *fanfare.Recipient
	size := 0
	for i := range items {
		if i > 0 {
			if size += len(items[i-1].Content); size >= most {
				return i, nil
			}
		}
		it := &items[i]
		if it.compiled == nil {
			if err := r.compile(ctx, it); err != nil {
				return i, err
			}
		}
		if it.compiled == nil { // gone since
			it.Content = []byte(nothing)
			continue
		}
		if !it.compiled.Personal() {
			it.Content, _ = it.compiled.Fixed("")
			continue
		}
		if profile == nil {
			var err error
			if profile, err = r.profile(ctx, who); err != nil {
				return i, err
			}
		}
		if fixed, ok := it.compiled.Fixed(profile.Locale); ok {
			it.Content = fixed
			continue
		}
		var err error
		if it.Content, err = it.compiled.Render(nil, &fanfare.Outgoing{Recipient: profile, Person: who, Date: r.Now()}); err != nil {
			r.Logger.Error("an inbox message cannot be rendered", "message", it.Message, "error", err)
			it.Content = []byte(nothing)
		}
	}
	return len(items), nil
}

const nothing = `"title":"","body":"","url":""`

// compile compiles a message's content as it is now, once for all who read it.
func (r *Reader) compile(ctx context.Context, it *Item) error {
	var m fanfare.Message
	err := r.Store.View(ctx, func(v fanfare.ControlView) (err error) {
		m, err = v.Message(it.Message)
		return err
	})
	if errors.Is(err, fanfare.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	content, err := r.Compile(&m)
	if err != nil {
		return fmt.Errorf("message %s: its content: %w", m.ID, err)
	}
	it.compiled = content
	r.mu.Lock()
	defer r.mu.Unlock()
	if it.entry.Revision == m.Revision {
		it.entry.content = content
	}
	return nil
}

// profile reads somebody's profile; an erased one is empty.
func (r *Reader) profile(ctx context.Context, who fanfare.Person) (*fanfare.Recipient, error) {
	now := r.Store.people.Load()
	r.peopleMu.Lock()
	if r.people != now || len(r.profiles) >= mostPeople {
		r.forgetPeople(now)
	}
	p := r.profiles[who]
	r.peopleMu.Unlock()
	if p != nil {
		return p, nil
	}
	rows, err := r.Store.Profiles(ctx, who.Slot, []fanfare.Seq{who.Seq})
	if err != nil {
		return nil, err
	}
	p = &rows[0]
	r.peopleMu.Lock()
	defer r.peopleMu.Unlock()
	if r.people == now {
		r.profiles[who] = p
	}
	return p, nil
}

func (r *Reader) forgetPeople(now int64) {
	r.people, r.numbers, r.profiles = now, make(map[string]known), make(map[fanfare.Person]*fanfare.Recipient)
}

// known is whoever has an external id, and when somebody who had it before was erased, which does not change as long as they have it.
type known struct {
	who    fanfare.Person
	erased time.Time
}

// Who finds somebody by external id, and when somebody who had it before was erased; zero: nobody was. ErrNotFound.
func (r *Reader) Who(ctx context.Context, externalID string) (who fanfare.Person, erased time.Time, err error) {
	if !r.Store.others.Alone() {
		if err := r.ask(ctx, r.Store.ShardOf(fanfare.SlotOf(externalID, r.Store.Slots())), true); err != nil {
			return who, erased, err
		}
	}
	now := r.Store.people.Load()
	r.peopleMu.Lock()
	if r.people != now || len(r.numbers) >= mostPeople {
		r.forgetPeople(now)
	}
	k, found := r.numbers[externalID]
	r.peopleMu.Unlock()
	if found {
		return k.who, k.erased, nil
	}
	if k.who, k.erased, err = r.Store.Known(ctx, externalID); err != nil {
		return who, erased, err
	}
	r.peopleMu.Lock()
	defer r.peopleMu.Unlock()
	if r.people == now {
		r.numbers[externalID] = k
	}
	return k.who, k.erased, nil
}
