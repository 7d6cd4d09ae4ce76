package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"fanfare"
)

// handover is one chunk on its way. What it is made of is used again for the next of its lane.
type handover struct {
	id      ConnID
	first   int   // of its stream's items
	left    int   // items that are not answered
	err     error // why it could not be made, which ends the connection
	unread  error
	node    *Node
	lane    *laneShell
	chunk   *Chunk
	took    []bool // by item of the chunk: the provider took it
	oks     int    // how many of them
	said    []Said // of those that it did not take
	spoken  bool   // said is not all zero
	items   []fanfare.Outgoing
	at      []int // of items, in the chunk
	buffer  []byte
	ends    []int
	keyer   *fanfare.Keyer
	allowed bool // the last answer, where nothing leaves
}

func (s *handover) begin(n *Node, l *laneShell, j job) {
	ch := j.chunk
	s.node, s.lane, s.id, s.chunk, s.err, s.unread, s.left = n, l, j.id, ch, nil, nil, 0
	if s.spoken {
		clear(s.said)
	}
	s.took, s.said, s.oks, s.spoken = slices.Grow(s.took[:0], len(ch.Items))[:len(ch.Items)], slices.Grow(s.said[:0], len(ch.Items))[:len(ch.Items)], 0, false
	clear(s.took)
	s.items, s.at, s.buffer, s.ends = s.items[:0], s.at[:0], s.buffer[:0], s.ends[:0]
}

// may is asked before each item. Where nothing leaves the process it looks before every 64th only: a look costs more than such a send.
func (s *handover) may(i int) bool {
	if s.lane.features.Leaves || i%64 == 0 {
		s.allowed = s.chunk.Pass.May(s.node.Now())
	}
	return s.allowed
}

func (s *handover) answer(i int, a fanfare.SendAnswer) {
	if a.Kind == fanfare.SendOK {
		s.took[s.at[i]] = true
		s.oks++
		return
	}
	s.say(s.at[i], Said{SendAnswer: a})
}

func (s *handover) say(i int, what Said) { s.said[i], s.spoken = what, true }

// make renders the items. Whoever it cannot be made for is answered here. An error is that of the whole message: nothing leaves.
func (s *handover) make(people *batch) error {
	n, ch := s.node, s.chunk
	c, err := s.lane.content.get(n.calls, n.Store, s.lane.Channel, ch)
	if err != nil {
		return err
	}
	if c == nil { // another revision than was looked at: look again
		n.LookNow()
		return nil
	}
	if s.lane.features.NeedsProfile && people == nil { // claimed when the lane's channel needed none
		return fmt.Errorf("%w: its recipients were not loaded", errUnread)
	}
	date := time.Now().UTC()
	if !s.lane.features.NeedsProfile && !s.lane.features.Leaves {
		s.numbers(c.message, date)
		return nil
	}
	for i, it := range ch.Items {
		o := fanfare.Outgoing{Person: fanfare.Person{Slot: ch.Ref.Slot, Seq: it.Seq}, Message: c.message, Attempt: it.Attempt, Date: date}
		if s.lane.features.NeedsProfile {
			if o.Recipient = people.people[it.Rank]; o.Recipient == nil {
				s.skip(i, fanfare.ReasonErased, "")
				continue
			}
			if n.Unsubscribe != nil {
				o.Unsubscribe = n.Unsubscribe(c.message, o.Recipient)
			}
			var why fanfare.Reason
			if o.Address, why = s.lane.Channel.Address(o.Recipient); why != "" {
				s.skip(i, why, "")
				continue
			}
		}
		o.Key = s.keyer.Item(ch.Ref.Message, o.Person)
		s.items, s.at = append(s.items, o), append(s.at, i)
	}
	if s.lane.features.NeedsProfile {
		s.render(c.compiled)
	}
	return nil
}

// numbers makes items of which nothing leaves and nothing is known but who they are; nobody would see a key. What else such an item
// holds is as the lane's last chunk left it: nothing.
func (s *handover) numbers(m *fanfare.Message, date time.Time) {
	n := len(s.chunk.Items)
	s.items = slices.Grow(s.items, n)[:n]
	for i := range s.items {
		it, o := &s.chunk.Items[i], &s.items[i]
		o.Person, o.Message, o.Attempt, o.Date = fanfare.Person{Slot: s.chunk.Ref.Slot, Seq: it.Seq}, m, it.Attempt, date
		s.at = append(s.at, i)
	}
}

// render makes the bytes of all items in one buffer.
func (s *handover) render(c fanfare.Compiled) {
	b, kept := s.buffer, 0
	for i := range s.items {
		next, err := c.Render(b, &s.items[i])
		if err != nil {
			s.cannot(s.at[i], err)
			continue
		}
		b = next
		s.items[kept], s.at[kept] = s.items[i], s.at[i]
		s.ends = append(s.ends, len(b))
		kept++
	}
	s.items, s.at = s.items[:kept], s.at[:kept]
	from := 0
	for i, end := range s.ends {
		s.items[i].Rendered = b[from:end:end]
		from = end
	}
	s.buffer = b
}

func (s *handover) skip(i int, why fanfare.Reason, detail string) {
	s.say(i, Said{Skip: why, SendAnswer: fanfare.SendAnswer{Text: detail}})
}

// cannot answers an item that could not be made.
func (s *handover) cannot(i int, err error) {
	if skip, ok := errors.AsType[*fanfare.SkipError](err); ok {
		s.skip(i, skip.Reason, skip.Detail)
		return
	}
	s.say(i, Said{Technical: true, SendAnswer: fanfare.SendAnswer{Text: err.Error()}})
}

// answers tells what became of everybody; nil: all were taken, as most chunks are.
func (s *handover) answers() []Said {
	if s.oks == len(s.took) {
		return nil
	}
	all := slices.Clone(s.said)
	for i, ok := range s.took {
		if ok {
			all[i].Kind = fanfare.SendOK
		}
	}
	return all
}

// contents keeps the compiled contents of the messages that a lane sends.
type contents struct {
	mu   sync.Mutex
	made map[contentKey]*content // guarded by mu
}

type contentKey struct {
	message  fanfare.MessageNum
	revision fanfare.Revision
}

// content is a message's content, compiled.
type content struct {
	message  *fanfare.Message
	compiled fanfare.Compiled
}

// mostContents are kept at most; beyond that all are made anew.
const mostContents = 256

// forget has all contents made anew.
func (c *contents) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made = nil
}

var errUnread = errors.New("the message cannot be read")

// get gives a chunk's content; nil if the message has another revision by now.
func (c *contents) get(ctx context.Context, store fanfare.Control, channel fanfare.Channel, ch *Chunk) (*content, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := contentKey{ch.Ref.Message, ch.Revision}
	if made := c.made[key]; made != nil {
		return made, nil
	}
	var m fanfare.Message
	err := store.View(ctx, func(v fanfare.ControlView) (err error) {
		m, err = v.MessageByNum(ch.Ref.Message)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnread, err)
	}
	if m.Revision != ch.Revision {
		return nil, nil
	}
	compiled, err := channel.Compile(&m)
	if err != nil {
		return nil, &fanfare.SendError{Step: "content", Auth: true, Err: err}
	}
	if c.made == nil || len(c.made) >= mostContents {
		c.made = make(map[contentKey]*content)
	}
	c.made[key] = &content{message: &m, compiled: compiled}
	return c.made[key], nil
}
