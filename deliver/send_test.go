package deliver

import (
	"context"
	"errors"
	"testing"

	"fanfare"
)

// TestContentThatCannotBeReadKeepsTheConnection: it was closed, as if the provider had failed.
func TestContentThatCannotBeReadKeepsTheConnection(t *testing.T) {
	_, n, ch := shell(t, &picky{})
	ch.Ref.Message++ // there is none
	if s := sentBy(t, n, 1, ch); s.Err != nil || !errors.Is(s.Unread, fanfare.ErrNotFound) || len(s.Answers) != 3 || s.Answers[0] != (Said{}) {
		t.Fatalf("%+v", s)
	}
	ch.Ref.Message--
	if s := sentBy(t, n, 1, ch); s.Err != nil || s.Unread != nil || s.Answers != nil {
		t.Fatalf("%+v", s)
	}
}

// picky is a channel whose connections take nothing that was not compiled for them.
type picky struct {
	fanfare.Channel
	compiled int
	wants    int
}

func (p *picky) Compile(*fanfare.Message) (fanfare.Compiled, error) {
	p.compiled++
	return nil, nil
}

func (p *picky) Send(_ context.Context, items []fanfare.Outgoing, _ func(int) bool, answer func(int, fanfare.SendAnswer)) error {
	if p.compiled < p.wants {
		return &fanfare.SendError{Step: "render", Err: errNo}
	}
	for i := range items {
		answer(i, fanfare.SendAnswer{Kind: fanfare.SendOK})
	}
	return nil
}

func (*picky) Close() error { return nil }

// shell is a node that nobody runs, with one connection, and a message's chunk for it.
func shell(t *testing.T, p *picky) (*hand, *Node, *Chunk) {
	h := newHand(t, 4, smtp("a"))
	m := h.message("m", "a", 4, nil)
	n := New(Config{Store: h.store, Key: []byte("key")})
	n.calls, n.sends = t.Context(), t.Context()
	l := &laneShell{Lane: Lane{Name: "a", Channel: p}, features: fanfare.ChannelFeatures{Leaves: true}}
	l.handovers.New = func() any { return &handover{keyer: fanfare.NewKeyer(n.Key)} }
	l.lines = newLines(n, l)
	l.lines.open, l.lines.places = 2, 2
	n.conns[1], n.conns[2] = l.lines, l.lines
	return h, n, &Chunk{Ref: fanfare.BatchRef{Message: m}, Revision: 1, Items: make([]ChunkItem, 3), Pass: &Pass{blind: true}}
}

func sentBy(t *testing.T, n *Node, id ConnID, ch *Chunk) Sent {
	t.Helper()
	l := n.conns[id]
	x := line{lines: l, conn: l.lane.Channel.(*picky)}
	if s := x.send(job{id, ch}); s == (n.conns[id] == nil) {
		t.Errorf("the connection stays: %v", s)
	}
	events := n.take(nil)
	if len(events) != 1 {
		t.Fatalf("%+v", events)
	}
	return events[0].(Sent)
}

// TestSendAfterTheEndBeginsNothing: it panicked where the connections were closed between the core's word and the goroutine.
func TestSendAfterTheEndBeginsNothing(t *testing.T) {
	_, n, ch := shell(t, &picky{})
	l := n.conns[1]
	n.closeAll()
	l.push(job{1, ch})
	if s := n.take(nil)[0].(Sent); !errors.Is(s.Err, fanfare.ErrClosed) || len(s.Answers) != 3 || s.Answers[0] != (Said{}) {
		t.Fatalf("%+v", s)
	}
}

// TestContentThatTheConnectionDoesNotTakeIsMadeAnew: else what was made just before a change would be tried for ever.
func TestContentThatTheConnectionDoesNotTakeIsMadeAnew(t *testing.T) {
	p := &picky{wants: 2}
	_, n, ch := shell(t, p)
	if s := sentBy(t, n, 1, ch); s.Err == nil || len(s.Answers) != 3 {
		t.Fatalf("%+v", s)
	}
	if s := sentBy(t, n, 2, ch); s.Err != nil || s.Answers != nil || p.compiled != 2 {
		t.Fatalf("%+v, compiled %d times", s, p.compiled)
	}
}
