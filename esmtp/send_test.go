package esmtp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// chunk makes n messages to r0@x.example, r1@…
func chunk(n int) []Message {
	var msgs []Message
	for i := range n {
		msgs = append(msgs, Message{From: "news@x.example", To: fmt.Sprintf("r%d@x.example", i),
			Render: func(dst []byte) ([]byte, error) {
				return fmt.Appendf(dst, "Subject: %d\r\n\r\n.dot\r\n", i), nil
			}})
	}
	return msgs
}

// sendAll sends and checks that each message is answered exactly once.
func sendAll(ctx context.Context, c *Conn, msgs []Message, may func(int) bool) ([]Answer, error) {
	return sendPieces(ctx, c, msgs, 0, may)
}

// sendPieces is sendAll of so many messages at a time; 0: of all at once, by Send. What was not taken any more is not begun.
func sendPieces(ctx context.Context, c *Conn, msgs []Message, piece int, may func(int) bool) ([]Answer, error) {
	answers := make([]Answer, len(msgs))
	count := make([]int, len(msgs))
	answer := func(i int, a Answer) { answers[i] = a; count[i]++ }
	var err error
	if piece == 0 {
		err = c.Send(ctx, msgs, may, answer)
	} else {
		taken := 0
		err = c.Stream(ctx, func() []Message {
			from := taken
			taken = min(from+piece, len(msgs))
			return msgs[from:taken:taken]
		}, may, answer)
		count = count[:taken]
	}
	for i, n := range count {
		if n != 1 {
			return nil, fmt.Errorf("message %d was answered %d times", i, n)
		}
	}
	return answers, err
}

var servers = map[string][]string{"pipelining": {"PIPELINING"}, "lock-step": nil}

// TestEachStep breaks the second of three messages at each step in each way.
func TestEachStep(t *testing.T) {
	for name, caps := range servers {
		for _, step := range []Step{StepMail, StepRcpt, StepData, StepBody} {
			for _, what := range []string{"451 4.3.0 later", "550 5.7.1 never", "421 4.3.2 closing", hangUp, hang, garbage, dripping, "299 odd", "399 odd"} {
				for piece := range 3 {
					t.Run(fmt.Sprintf("%s/%s/%.6s/%d", name, step, what, piece), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { eachStep(t, caps, step, what, piece) })
					})
				}
			}
		}
	}
}

func eachStep(t *testing.T, caps []string, step Step, what string, piece int) {
	s := &script{caps: caps, act: func(at Step, n int) string {
		if at == step && n == 1 {
			return what
		}
		return fine
	}}
	c, err := dialScript(t.Context(), s, Config{StartTLS: Off})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	got, err := sendPieces(t.Context(), c, chunk(3), piece, nil)
	if got == nil {
		t.Fatal(err)
	}
	begun := NotBegun
	if caps != nil && step == StepBody {
		begun = NotAccepted // the envelope left together with the last dot
	}
	want := []Kind{Sent, NotAccepted, NotBegun}
	var e *Error
	ended := errors.As(err, &e)
	switch {
	case what == "299 odd" && step != StepData: // odd, but positive
		want = []Kind{Sent, Sent, Sent}
	case what[0] == '4' && what[:3] != "421", what[0] == '5':
		want = []Kind{Sent, Failed, Sent}
		if a := got[1]; a.Step != step || fmt.Sprint(a.Code) != what[:3] || a.Enhanced != what[4:9] || a.Text != what[10:] || a.Temporary != (what[0] == '4') {
			t.Errorf("refused with %+v", a)
		}
	case what[:3] == "421":
		want[2] = begun
		if !ended || !e.Is421() || !got[1].Is421() || e.Step != step || e.Text != "closing" {
			t.Errorf("error %v, answer %+v", err, got[1])
		}
	case step == StepBody:
		want[1], want[2] = Unknown, begun
	}
	var kinds []Kind
	for _, a := range got {
		kinds = append(kinds, a.Kind)
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Error(diff)
	}
	if lost := want[2] != Sent; lost != ended {
		t.Errorf("error %v", err)
	} else if lost && e.Step != step {
		t.Errorf("ended at %s: %v", e.Step, err)
	}
	if !ended {
		if again, err := sendAll(t.Context(), c, chunk(2), nil); err != nil || again[0].Kind != Sent || again[1].Kind != Sent {
			t.Errorf("the next chunk: %+v, %v", again, err)
		}
	} else if again, err := sendAll(t.Context(), c, chunk(1), nil); err == nil || again[0].Kind != NotBegun {
		t.Errorf("a chunk on a dead connection: %+v, %v", again, err)
	}
}

// TestNeverWrong lets a server do anything, anywhere, and holds the answers against what it accepted.
func TestNeverWrong(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		acts := []string{fine, fine, fine, fine, fine, "451 4.3.0 later", "550 5.7.1 never", "421 closing", hangUp, hang, garbage, "354 go", "250 ok",
			"250 ok\r\n250 twice", "354 go\r\n250 early", "300ms after 250 ok", "300ms after 354 go"}
		plan := map[Step][]string{}
		for _, step := range []Step{StepMail, StepRcpt, StepData, StepBody, StepRset} {
			of := acts
			if step == StepBody {
				of = append(slices.Clone(acts), takeAndClose)
			}
			plan[step] = rapid.SliceOfN(rapid.SampledFrom(of), 0, 5).Draw(r, string(step))
		}
		caps := rapid.SampledFrom([][]string{nil, {"PIPELINING"}}).Draw(r, "caps")
		n := rapid.IntRange(0, 6).Draw(r, "messages")
		stopAt := rapid.IntRange(0, 20).Draw(r, "may until")
		piece := rapid.IntRange(0, 3).Draw(r, "piece")
		s := &script{caps: caps, act: func(step Step, n int) string {
			if n < len(plan[step]) {
				return plan[step][n]
			}
			return fine
		}}
		var answers []Answer
		var err error
		synctest.Test(t, func(t *testing.T) {
			c, dialed := dialScript(t.Context(), s, Config{StartTLS: Off})
			if dialed != nil {
				t.Fatal(dialed)
			}
			asked := 0
			answers, err = sendPieces(t.Context(), c, chunk(n), piece, func(int) bool { asked++; return asked <= stopAt })
			_ = c.Close()
			<-s.done
		})
		if answers == nil && n > 0 {
			r.Fatal(err)
		}
		for i, a := range answers {
			to := fmt.Sprintf("r%d@x.example", i)
			took := slices.Contains(s.accepted, to)
			begun := slices.ContainsFunc(s.lines, func(l string) bool { return strings.HasPrefix(l, "RCPT") && strings.Contains(l, to) })
			if took && a.Kind != Sent && a.Kind != Unknown || !took && a.Kind == Sent || a.Kind == NotBegun && begun {
				r.Fatalf("message %d: begun %v, accepted %v, answered %+v, error %v\n%q", i, begun, took, a, err, s.lines)
			}
		}
		for i := range s.accepted {
			if !strings.HasSuffix(s.bodies[i], "\r\n\r\n.dot\r\n") || s.accepted[i] != "r"+s.bodies[i][len("Subject: "):][:1]+"@x.example" {
				r.Fatalf("%s got %q", s.accepted[i], s.bodies[i])
			}
		}
	})
}

// TestDialogue looks at the very lines that a pipelining server gets.
func TestDialogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{caps: []string{"PIPELINING", "SIZE 100", "8BITMIME", "SMTPUTF8"}, act: func(step Step, n int) string {
			switch {
			case step == StepRcpt && n == 1, step == StepMail && n == 3:
				return "550 5.1.1 no"
			case step == StepRcpt && n == 2:
				return "550 5.1.1 no"
			case step == StepData && n == 2:
				return "354 go on, though there is nobody" // RFC 2920, 3.1
			}
			return fine
		}}
		c, err := dialScript(t.Context(), s, Config{StartTLS: Off, Host: "me.example"})
		if err != nil {
			t.Fatal(err)
		}
		msgs := chunk(5)
		msgs = append(msgs,
			Message{From: "", To: "用户@例子.中国", Body: []byte("Subject: ü\n\nx")},
			Message{From: "news@x.example", To: "big@x.example", Body: make([]byte, 101)},
			Message{From: "news@x.example", To: "a@x> SIZE=1 <b@x", Body: []byte("x")},
			Message{From: "a b@x", To: "a@x.example", Body: []byte("x")},
			Message{From: "news@x.example", To: "a@x.example", Render: func([]byte) ([]byte, error) { return nil, errors.ErrUnsupported }})
		got, err := sendAll(t.Context(), c, msgs, nil)
		if err != nil {
			t.Fatal(err)
		}
		var what []string
		for _, a := range got {
			what = append(what, fmt.Sprintf("%s %s %d %s", a.Kind, a.Step, a.Code, a.Enhanced))
		}
		refusedRcpt := "failed rcpt 550 5.1.1"
		if diff := cmp.Diff([]string{"sent body 250 2.0.0", refusedRcpt, refusedRcpt, "failed mail 550 5.1.1", "sent body 250 2.0.0",
			"sent body 250 2.0.0", "failed mail 0 5.3.4", "failed rcpt 0 5.1.3", "failed mail 0 5.1.7", "failed render 0 "}, what); diff != "" {
			t.Error(diff)
		}
		if !errors.Is(got[9].Err, errors.ErrUnsupported) {
			t.Error(got[9].Err)
		}
		if err := c.Reset(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.Quit(t.Context()); err != nil {
			t.Error(err)
		}
		<-s.done
		news := func(i int) []string {
			return []string{"MAIL FROM:<news@x.example> SIZE=20", fmt.Sprintf("RCPT TO:<r%d@x.example>", i), "DATA"}
		}
		want := slices.Concat([]string{"EHLO me.example"}, news(0), news(1), []string{"RSET"}, news(2), news(3), []string{"RSET"}, news(4),
			[]string{"MAIL FROM:<> SIZE=14 BODY=8BITMIME SMTPUTF8", "RCPT TO:<用户@xn--fsqu00a.xn--fiqs8s>", "DATA", "RSET", "QUIT"})
		if diff := cmp.Diff(want, s.lines); diff != "" {
			t.Error(diff)
		}
		if s.bodies[2] != "Subject: ü\r\n\r\nx\r\n" {
			t.Errorf("body %q", s.bodies[2])
		}
	})
}

// TestOddServers: a 354 that should not be.
func TestOddServers(t *testing.T) {
	for name, c := range map[string]struct {
		act  map[Step]string // of the first message
		want []string
		err  error
	}{
		"354 after a refused MAIL": {map[Step]string{StepMail: "550 5.7.1 no", StepRcpt: "250 ok", StepData: "354 go"},
			[]string{"failed mail 550", "not begun data 0"}, ErrProtocol},
		"421 to a lone dot": {map[Step]string{StepRcpt: "550 5.1.1 no", StepData: "354 go", StepBody: "421 4.3.2 busy"},
			[]string{"failed rcpt 550", "not accepted body 421"}, nil},
		"yes to a lone dot": {map[Step]string{StepRcpt: "550 5.1.1 no", StepData: "354 go", StepBody: "250 ok"},
			[]string{"failed rcpt 550", "sent body 250"}, nil},
		"421 to RSET": {map[Step]string{StepData: "451 4.3.0 no", StepRset: "421 4.3.2 busy"},
			[]string{"failed data 451", "not accepted rset 421"}, nil},
		"no to RSET": {map[Step]string{StepData: "451 4.3.0 no", StepRset: "500 what"},
			[]string{"failed data 451", "not accepted rset 500"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{caps: []string{"PIPELINING"}, act: func(step Step, n int) string {
					if n == 0 {
						return c.act[step]
					}
					return fine
				}}
				conn, err := dialScript(t.Context(), s, Config{StartTLS: Off})
				if err != nil {
					t.Fatal(err)
				}
				got, err := sendAll(t.Context(), conn, chunk(2), nil)
				if lives := strings.HasPrefix(c.want[1], "sent"); lives != (err == nil) || c.err != nil && !errors.Is(err, c.err) {
					t.Error(err)
				}
				for i, a := range got {
					if is := fmt.Sprintf("%s %s %d", a.Kind, a.Step, a.Code); is != c.want[i] {
						t.Errorf("message %d: %s, want %s", i, is, c.want[i])
					}
				}
				_ = conn.Close()
				<-s.done
			})
		})
	}
}

// TestDeadlines: each answer has its own time, also when its first bytes came with the one before.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go func() {
			in := bufio.NewReader(theirs)
			say := func(s string) { _, _ = io.WriteString(theirs, s) }
			say("220 hi\r\n")
			_, _ = in.ReadString('\n')
			say("250-hi\r\n250 PIPELINING\r\n")
			for range 3 {
				_, _ = in.ReadString('\n')
			}
			say("250 ok\r\n250 ok\r\n35")
			time.Sleep(110 * time.Second) // DATA may take 120 s, MAIL 60 s
			say("4 go\r\n")
			for range 4 {
				_, _ = in.ReadString('\n')
			}
			time.Sleep(290 * time.Second) // the last dot 300 s
			say("250 ok\r\n")
			_, _ = in.ReadString('\n')
			_ = theirs.Close()
		}()
		c, err := Dial(t.Context(), Config{Addr: "127.0.0.1:25", StartTLS: Off,
			Dial: func(context.Context, string, string) (net.Conn, error) { return ours, nil }})
		if err != nil {
			t.Fatal(err)
		}
		got, err := sendAll(t.Context(), c, chunk(1), nil)
		if err != nil || got[0].Kind != Sent {
			t.Errorf("%+v, %v", got, err)
		}
		_ = c.Close()
	})
}

// countedWrites counts what leaves.
type countedWrites struct {
	net.Conn
	n int
}

func (c *countedWrites) Write(b []byte) (int, error) {
	c.n++
	return c.Conn.Write(b)
}

// TestStream: pieces leave as one chunk does, each dot with the next envelope; and the stream ends when there is no more for now.
func TestStream(t *testing.T) {
	for piece := range 4 {
		ours, theirs := net.Pipe()
		s := &script{caps: []string{"PIPELINING"}, done: make(chan struct{})}
		go func() { s.serve(theirs); close(s.done) }()
		wire := &countedWrites{Conn: ours}
		c, err := Dial(t.Context(), Config{Addr: "127.0.0.1:25", StartTLS: Off,
			Dial: func(context.Context, string, string) (net.Conn, error) { return wire, nil }})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			wire.n = 0
			got, err := sendPieces(t.Context(), c, chunk(6), piece, nil)
			if err != nil || got[0].Kind != Sent || got[5].Kind != Sent {
				t.Fatalf("%+v, %v", got, err)
			}
			if wire.n != 7 {
				t.Errorf("pieces of %d: %d writes", piece, wire.n)
			}
		}
		_ = c.Close()
		<-s.done
		if len(s.accepted) != 12 {
			t.Errorf("pieces of %d: %q", piece, s.accepted)
		}
	}
}

// TestDeadlineServesAgain: a deadline is moved when it would end more than a tenth too early, or too late, and else left.
func TestDeadlineServesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d deadline
		moved := 0
		by := func(time.Time) error { moved++; return nil }
		for _, step := range []struct {
			wait, limit time.Duration
			moved       int
		}{{0, 300 * time.Second, 1}, {29 * time.Second, 300 * time.Second, 1}, {2 * time.Second, 300 * time.Second, 2}, {0, 60 * time.Second, 3}, {0, 300 * time.Second, 4}} {
			time.Sleep(step.wait) // in the bubble of synctest
			d.within(by, step.limit)
			if left := time.Until(d.at); moved != step.moved || left > step.limit || left < step.limit*9/10 {
				t.Errorf("%+v: moved %d times, %v left", step, moved, left)
			}
		}
	})
}

// TestMay: who is not permitted is not begun, the connection stays fit; and an old permission does not carry a body.
func TestMay(t *testing.T) {
	for name, caps := range servers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{caps: caps, act: func(step Step, n int) string {
					if step == StepData && n == 4 {
						return "400ms after 354 go"
					}
					return fine
				}}
				c, err := dialScript(t.Context(), s, Config{StartTLS: Off})
				if err != nil {
					t.Fatal(err)
				}
				var asked []int
				got, err := sendAll(t.Context(), c, chunk(4), func(i int) bool { asked = append(asked, i); return i < 2 })
				if err != nil || got[1].Kind != Sent || got[2].Kind != NotBegun || got[3].Kind != NotBegun {
					t.Errorf("%+v, %v", got, err)
				}
				if diff := cmp.Diff([]int{0, 1, 2}, asked); diff != "" {
					t.Error(diff)
				}
				n := 0
				got, err = sendAll(t.Context(), c, chunk(4), func(i int) bool { n++; return n <= 3 })
				if !errors.Is(err, ErrNotPermitted) || got[1].Kind != Sent || got[2].Kind != NotAccepted || got[3].Kind != NotBegun {
					t.Errorf("%+v, %v", got, err)
				}
				if diff := cmp.Diff([]string{"r0@x.example", "r1@x.example", "r0@x.example", "r1@x.example"}, s.accepted); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// TestContext: when the context ends, the connection is closed, and what was under way is answered for what it is.
func TestContext(t *testing.T) {
	for name, caps := range servers {
		for step, want := range map[Step]Kind{StepMail: NotAccepted, StepBody: Unknown} {
			t.Run(name+"/"+string(step), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &script{caps: caps, act: func(at Step, n int) string {
						if at == step {
							return hang
						}
						return fine
					}}
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					c, err := dialScript(t.Context(), s, Config{StartTLS: Off})
					if err != nil {
						t.Fatal(err)
					}
					got, err := sendAll(ctx, c, chunk(3), nil)
					if !errors.Is(err, context.DeadlineExceeded) || got[0].Kind != want || got[2].Kind != NotBegun {
						t.Errorf("%+v, %v", got, err)
					}
				})
			})
		}
	}
}

// brokenPipe lets a write that carries a body end after some of its bytes.
type brokenPipe struct {
	net.Conn
	cut func(b []byte) int
}

func (p brokenPipe) Write(b []byte) (int, error) {
	if !bytes.HasPrefix(b, []byte("Subject")) {
		return p.Conn.Write(b)
	}
	n, err := p.Conn.Write(b[:p.cut(b)])
	if err == nil {
		err = syscall.EPIPE
	}
	return n, err
}

// TestLostInBody breaks the write of a body at a place, with or without last words of the server.
func TestLostInBody(t *testing.T) {
	dot := []byte("\r\n.\r\n")
	before := func(b []byte) int { return bytes.Index(b, dot) + 2 }
	at := func(b []byte) int { return bytes.Index(b, dot) + 3 }
	after := func(b []byte) int { return bytes.Index(b, dot) + 5 }
	middle := func([]byte) int { return 9 }
	beyond := func(b []byte) int { return min(bytes.Index(b, dot)+9, len(b)) }
	for _, c := range []struct {
		name  string
		cut   func([]byte) int
		words string
		want  Kind
		next  Kind // of the message whose envelope was to follow, with pipelining
	}{
		{"middle", middle, "", NotAccepted, NotBegun},
		{"middle refused", middle, "552 5.3.4 too big\r\n", Failed, NotBegun},
		{"middle busy", middle, "421 4.3.2 busy\r\n", NotAccepted, NotBegun},
		{"middle nonsense", middle, "250 thanks\r\n", Unknown, NotBegun},
		{"before", before, "", NotAccepted, NotBegun},
		{"at", at, "", Unknown, NotBegun},
		{"at accepted", at, "250 2.0.0 ok\r\n", Unknown, NotBegun},
		{"at refused", at, "552 5.3.4 too big\r\n", Failed, NotBegun},
		{"after", after, "", Unknown, NotBegun},
		{"after accepted", after, "250 2.0.0 ok\r\n", Sent, NotBegun},
		{"after refused", after, "451 4.3.0 no\r\n", Failed, NotBegun},
		{"after garbage", after, "what\r\n", Unknown, NotBegun},
		{"beyond", beyond, "", Unknown, NotAccepted},
		{"beyond accepted", beyond, "250 2.0.0 ok\r\n", Sent, NotAccepted},
	} {
		for name, caps := range servers {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ours, theirs := net.Pipe()
					s := &script{caps: caps, act: func(step Step, _ int) string {
						if step == StepData {
							return "354 go\r\n" // and then the rest below
						}
						return fine
					}}
					go func() {
						w := &lastWords{Conn: theirs, words: c.words}
						s.serve(w)
					}()
					conn, err := Dial(t.Context(), Config{Addr: "127.0.0.1:25", StartTLS: Off,
						Dial: func(context.Context, string, string) (net.Conn, error) { return brokenPipe{ours, c.cut}, nil }})
					if err != nil {
						t.Fatal(err)
					}
					got, err := sendAll(t.Context(), conn, chunk(2), nil)
					next := c.next
					if caps == nil {
						next = NotBegun
					}
					if err == nil || got[0].Kind != c.want || got[1].Kind != next {
						t.Errorf("%+v, %v", got, err)
					}
				})
			})
		}
	}
}

// lastWords answers the first bytes of a body with some words and ends.
type lastWords struct {
	net.Conn
	words string
	data  bool
}

func (w *lastWords) Write(b []byte) (int, error) {
	w.data = w.data || bytes.HasPrefix(b, []byte("354"))
	return w.Conn.Write(b)
}

func (w *lastWords) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if !w.data || err != nil {
		return n, err
	}
	_, _ = w.Conn.Write([]byte(w.words))
	return 0, io.EOF
}

// lateContext is one whose end is told late, as by a goroutine that does not get its turn.
type lateContext struct{ context.Context }

func (lateContext) Value(any) any { return nil } // it is no other's child

func (lateContext) AfterFunc(func()) (stop func() bool) { return func() bool { return true } }

// TestContextToldLate: no message is begun once the context has ended, though the connection is still there.
func TestContextToldLate(t *testing.T) {
	for _, caps := range [][]string{{"PIPELINING"}, nil} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{caps: caps}
			conn, err := dialScript(t.Context(), s, Config{StartTLS: Off})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			got, _ := sendAll(lateContext{ctx}, conn, chunk(5), func(i int) bool {
				if i == 2 {
					cancel()
				}
				return true
			})
			for i, a := range got {
				if want := []Kind{Sent, Sent, NotBegun, NotBegun, NotBegun}[i]; a.Kind != want {
					t.Errorf("message %d: %+v, want %v", i, a, want)
				}
			}
			_ = conn.Close()
			<-s.done
		})
	}
}
