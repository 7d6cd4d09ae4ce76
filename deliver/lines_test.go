package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"fanfare"
)

// tape is a channel whose connections stream: each item waits for a word of the test, "ok" or what went wrong with the connection.
type tape struct {
	fanfare.Channel
	words  chan string
	refuse error      // of Dial
	mu     sync.Mutex // guards what follows
	dialed int
	closed int
	log    []string
}

func (*tape) Compile(*fanfare.Message) (fanfare.Compiled, error) { return nil, nil }

func (p *tape) Dial(context.Context, fanfare.Provider) (fanfare.Connection, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialed++
	if p.refuse != nil {
		return nil, p.refuse
	}
	return &tapeConn{p, p.dialed}, nil
}

type tapeConn struct {
	*tape
	n int
}

func (c *tapeConn) Send(context.Context, []fanfare.Outgoing, func(int) bool, func(int, fanfare.SendAnswer)) error {
	return errors.New("not streamed")
}

func (c *tapeConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
	return nil
}

func (c *tapeConn) Stream(_ context.Context, more func() []fanfare.Outgoing, may func(int) bool, answer func(int, fanfare.SendAnswer)) error {
	i := 0
	for items := more(); len(items) > 0; items = more() {
		for k := range items {
			word := <-c.words
			if word == "" { // the test is over
				word = "the end"
			}
			c.mu.Lock()
			c.log = append(c.log, fmt.Sprintf("%d: %d of %d, %s", c.n, i, items[k].Person.Seq, word))
			c.mu.Unlock()
			if word != "ok" || !may(i) {
				for ; k < len(items); k++ {
					answer(i, fanfare.SendAnswer{})
					i++
				}
				return &fanfare.SendError{Step: word}
			}
			answer(i, fanfare.SendAnswer{Kind: fanfare.SendOK})
			i++
		}
	}
	return nil
}

// track is a lane's lines in a bubble, without a core.
type track struct {
	*testing.T
	node *Node
	tape *tape
	*lines
	message fanfare.MessageNum
}

func onTrack(t *testing.T, do func(*track)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHand(t, 4, smtp("a"))
		r := &track{T: t, node: New(Config{Store: h.store, Key: []byte("key")}), tape: &tape{words: make(chan string, 100)}}
		r.message = h.message("m", "a", 4, nil)
		r.node.calls, r.node.sends = t.Context(), t.Context()
		r.node.setLanes([]Lane{{Name: "a", Provider: fanfare.Provider{Chunk: 4, Connections: 2}, Channel: r.tape}})
		r.lines = r.node.lanes["a"].lines
		r.told()
		do(r)
		close(r.tape.words)
		r.node.closeAll()
		r.node.wg.Wait()
		if up := r.tape.dialed; r.tape.refuse == nil && up != r.tape.closed {
			t.Errorf("%d connections were opened, %d closed", up, r.tape.closed)
		}
	})
}

func (*tape) Features() fanfare.ChannelFeatures {
	return fanfare.ChannelFeatures{Leaves: true, Streams: true}
}

// told lets everything settle and gives what the core would be told.
func (r *track) told() (all []string) {
	synctest.Wait()
	for _, e := range r.node.take(nil) {
		switch e := e.(type) {
		case Configured:
			p := e.Lanes[0].Provider
			all = append(all, fmt.Sprintf("%d places of %d", p.Connections, p.Chunk))
		case Dialed:
			text := fmt.Sprintf("dialed %d %v", e.Conn, e.Err)
			if e.Again {
				text += " again"
			}
			all = append(all, text)
		case Sent:
			taken := len(e.Answers)
			if e.Answers == nil {
				taken = -1
			}
			all = append(all, fmt.Sprintf("sent %d, not taken %d, %v", e.Conn, taken, e.Err))
		}
	}
	slices.Sort(all)
	return all
}

func (r *track) expect(want ...string) {
	r.Helper()
	if diff := cmp.Diff(want, r.told()); diff != "" {
		r.Fatal(diff)
	}
}

func (r *track) dial(ids ...ConnID) {
	for _, id := range ids {
		r.node.carry(Dial{Lane: "a", Conn: id})
	}
}

func (r *track) chunk(id ConnID) {
	r.node.carry(Send{Conn: id, Chunk: &Chunk{Ref: fanfare.BatchRef{Message: r.message}, Revision: 1, Pass: &Pass{blind: true},
		Items: []ChunkItem{{Member: fanfare.Member{Seq: fanfare.Seq(10 * id)}}, {Member: fanfare.Member{Seq: fanfare.Seq(10*id + 1)}}}}})
}

func (r *track) say(words ...string) {
	for _, w := range words {
		r.tape.words <- w
	}
}

// TestChunksFollowOneAnother: on one connection, numbered through, each told when its own last item is answered.
func TestChunksFollowOneAnother(t *testing.T) {
	onTrack(t, func(r *track) {
		r.dial(1, 2)
		r.expect("dialed 1 <nil>", "dialed 2 <nil>")
		r.chunk(1)
		r.chunk(2)
		r.say("ok", "ok", "ok")
		r.expect("sent 1, not taken -1, <nil>")
		r.chunk(1)
		r.say("ok")
		r.expect("sent 2, not taken -1, <nil>")
		r.say("ok", "ok")
		r.expect("sent 1, not taken -1, <nil>")
		r.chunk(2) // another stream
		r.say("ok", "ok")
		r.expect("sent 2, not taken -1, <nil>")
		want := []string{"1: 0 of 10, ok", "1: 1 of 11, ok", "1: 2 of 20, ok", "1: 3 of 21, ok", "1: 4 of 10, ok", "1: 5 of 11, ok", "1: 0 of 20, ok", "1: 1 of 21, ok"}
		if diff := cmp.Diff(want, r.tape.log); diff != "" {
			r.Error(diff)
		}
	})
}

// TestPlacesShareConnections: two places a connection, never more connections than that, and chunks go to whichever is free.
func TestPlacesShareConnections(t *testing.T) {
	onTrack(t, func(r *track) {
		r.dial(1, 2, 3, 4)
		r.expect("dialed 1 <nil>", "dialed 2 <nil>", "dialed 3 <nil>", "dialed 4 <nil>")
		if r.tape.dialed != 2 {
			r.Fatalf("%d connections", r.tape.dialed)
		}
		r.chunk(1)
		synctest.Wait()
		r.chunk(2) // not behind the first, though these places came together
		synctest.Wait()
		r.say("ok", "ok", "ok", "ok")
		r.expect("sent 1, not taken -1, <nil>", "sent 2, not taken -1, <nil>")
		if first := r.tape.log[0][0]; !slices.ContainsFunc(r.tape.log, func(s string) bool { return s[0] != first }) {
			r.Errorf("all went over one connection: %q", r.tape.log)
		}
		r.node.carry(Close{Conn: 1})
		synctest.Wait()
		if r.tape.closed != 0 {
			r.Error("three places have one connection")
		}
		r.node.carry(Close{Conn: 3})
		synctest.Wait()
		if r.tape.closed != 1 {
			r.Error("two places have two connections")
		}
		r.dial(5)
		r.expect("dialed 5 <nil>")
		if r.tape.dialed != 3 {
			r.Errorf("%d connections were opened", r.tape.dialed)
		}
	})
}

// TestLostConnectionIsTheLastChunks: its place is gone, those before and behind it keep theirs, untouched, and it is dialled again for them.
func TestLostConnectionIsTheLastChunks(t *testing.T) {
	onTrack(t, func(r *track) {
		r.dial(1, 2)
		r.told()
		r.chunk(1)
		synctest.Wait()
		r.chunk(2) // waits
		r.say("ok", "reset")
		r.expect("sent 1, not taken 2, at reset", "sent 2, not taken 2, <nil>")
		if r.tape.closed != 1 {
			r.Error("it was not closed")
		}
		r.chunk(2)
		r.say("ok", "ok")
		r.expect("sent 2, not taken -1, <nil>")
		r.dial(3)
		r.expect("dialed 3 <nil>")
		if r.tape.dialed != 2 {
			r.Errorf("%d connections were opened", r.tape.dialed)
		}
		r.chunk(2)
		synctest.Wait()
		r.chunk(3)
		r.say("ok", "ok", "ok", "reset")
		r.expect("sent 2, not taken -1, <nil>", "sent 3, not taken 2, at reset")
	})
}

// TestWhoCannotBeDialled: all places of the connection are told, and a chunk of a place whose connection is gone.
func TestWhoCannotBeDialled(t *testing.T) {
	onTrack(t, func(r *track) {
		r.dial(1, 2)
		r.told()
		r.chunk(1)
		synctest.Wait()
		r.tape.refuse = errNo
		r.say("reset")
		r.expect("sent 1, not taken 2, at reset")
		r.chunk(2)
		r.expect("sent 2, not taken 2, no")
		if len(r.node.conns) != 0 || r.places != 0 {
			r.Errorf("%d places, %d connections", r.places, len(r.node.conns))
		}
		r.dial(3, 4, 5)
		r.expect("dialed 3 no", "dialed 4 no again", "dialed 5 no")
		if r.tape.dialed != 4 || len(r.node.conns) != 0 {
			r.Errorf("dialed %d times, %d connections are kept", r.tape.dialed, len(r.node.conns))
		}
	})
}

// TestLinesStayWithTheirSettings: a lane that is configured anew as it was keeps its lines, another reach makes new ones.
func TestLinesStayWithTheirSettings(t *testing.T) {
	onTrack(t, func(r *track) {
		lane := Lane{Name: "a", Provider: fanfare.Provider{Chunk: 4, Connections: 5}, Channel: r.tape}
		r.node.setLanes([]Lane{lane})
		r.expect("10 places of 2")
		if r.node.lanes["a"].lines != r.lines {
			r.Error("more connections are another lane")
		}
		lane.Provider.Chunk = 1
		r.node.setLanes([]Lane{lane})
		r.expect("5 places of 1")
		if r.node.lanes["a"].lines == r.lines || r.node.lanes["a"].lines.per != 1 {
			r.Error("a chunk of one cannot be halved")
		}
		lane.Provider.Chunk, lane.Provider.URL = 4, "smtp://other"
		r.node.setLanes([]Lane{lane})
		if r.told(); r.node.lanes["a"].lines == r.lines {
			r.Error("another server has the same connections")
		}
	})
}
