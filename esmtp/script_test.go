package esmtp

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// What a scripted server does instead of an answer.
const (
	fine         = ""      // the usual answer
	hangUp       = "close" // ends the connection
	hang         = "hang"  // never answers
	garbage      = "HTTP/1.1 200 OK\r\n\r\n"
	dripping     = "drip"  // begins an answer, never ends it
	takeAndClose = "taken" // at a last dot: accepts, but the answer is lost
)

// script is a server whose every answer can be replaced. It keeps what it accepted: the truth to hold answers against.
type script struct {
	caps []string                      // EHLO lines
	act  func(step Step, n int) string // n counts the step's occurrences, from 0

	seen     map[Step]int
	lines    []string // commands as they came
	accepted []string // recipients
	bodies   []string
	done     chan struct{} // closed when the server's end of the connection is
}

func (s *script) does(step Step) string {
	n := s.seen[step]
	s.seen[step]++
	if s.act == nil {
		return fine
	}
	return s.act(step, n)
}

// serve speaks on one end of a connection until it ends.
func (s *script) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	s.seen = map[Step]int{}
	in := bufio.NewReaderSize(c, 1<<20)
	if !s.answer(c, StepGreeting, "220 script ESMTP") {
		return
	}
	var mail, rcpt string
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		s.lines = append(s.lines, line)
		ok := false
		switch verb, _, _ := strings.Cut(line, " "); verb {
		case "EHLO":
			ok = s.answer(c, StepEHLO, "250-script\r\n250-"+strings.Join(append(s.caps, "X-SCRIPT"), "\r\n250-")+"\r\n250 OK")
		case "HELO":
			ok = s.answer(c, StepEHLO, "250 script")
		case "STARTTLS":
			ok = s.answer(c, StepStartTLS, "220 go")
		case "AUTH":
			ok = s.answer(c, StepAuth, "235 ok")
		case "MAIL":
			reply := "250 ok"
			if mail != "" {
				reply = "503 nested MAIL"
			} else if strings.Contains(line, "<>") || strings.Contains(line, "@") {
				mail = line
			}
			if ok = s.answerAnd(c, StepMail, reply, func() { mail = "" }); !ok {
				return
			}
		case "RCPT":
			reply := "250 ok"
			if rcpt = strings.TrimSuffix(strings.TrimPrefix(line, "RCPT TO:<"), ">"); mail == "" {
				reply, rcpt = "503 MAIL first", ""
			}
			ok = s.answerAnd(c, StepRcpt, reply, func() { rcpt = "" })
		case "DATA":
			reply := "354 go"
			if rcpt == "" {
				reply = "554 no valid recipients"
			}
			refused := false
			ok = s.answerAnd(c, StepData, reply, func() { refused = true })
			if ok && !refused && (rcpt != "" || s.last(StepData) != fine) {
				ok = s.body(c, in, rcpt)
				mail, rcpt = "", ""
			}
		case "RSET":
			mail, rcpt = "", ""
			ok = s.answer(c, StepRset, "250 ok")
		case "QUIT":
			_ = s.answer(c, StepQuit, "221 bye")
			return
		}
		if !ok {
			return
		}
	}
}

func (s *script) last(step Step) string {
	if s.act == nil {
		return fine
	}
	return s.act(step, s.seen[step]-1)
}

func (s *script) body(c net.Conn, in *bufio.Reader, rcpt string) bool {
	var body strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		body.WriteString(strings.TrimPrefix(line, "."))
	}
	if rcpt == "" {
		return s.answer(c, StepBody, "554 no valid recipients")
	}
	what := s.does(StepBody)
	if what == fine || what == takeAndClose || strings.HasPrefix(what, "2") || strings.Contains(what, " after 2") {
		s.accepted = append(s.accepted, rcpt)
		s.bodies = append(s.bodies, body.String())
	}
	return s.carryOut(c, what, fmt.Sprintf("250 2.0.0 Ok: queued as %d", len(s.accepted)))
}

func (s *script) answer(c net.Conn, step Step, usual string) bool {
	return s.carryOut(c, s.does(step), usual)
}

// answerAnd also calls refused when the scripted answer is a refusal.
func (s *script) answerAnd(c net.Conn, step Step, usual string, refused func()) bool {
	what := s.does(step)
	if strings.HasPrefix(what, "4") || strings.HasPrefix(what, "5") {
		refused()
	}
	return s.carryOut(c, what, usual)
}

func (s *script) carryOut(c net.Conn, what, usual string) bool {
	switch what {
	case fine:
		what = usual + "\r\n"
	case hangUp, takeAndClose:
		return false
	case hang, dripping:
		if what == dripping {
			_, _ = c.Write([]byte("250-"))
		}
		_, _ = bufio.NewReader(c).ReadString(0) // until the client goes
		return false
	default:
		if d, after, ok := strings.Cut(what, " after "); ok { // "250ms after 250 ok"
			wait, _ := time.ParseDuration(d)
			time.Sleep(wait) // of synctest's clock
			what = after
		}
		if !strings.HasSuffix(what, "\n") {
			what += "\r\n"
		}
	}
	_, err := c.Write([]byte(what))
	return err == nil && !strings.HasPrefix(what, "421")
}

// dialScript connects a client to a script over a pipe.
func dialScript(ctx context.Context, s *script, cfg Config) (*Conn, error) {
	cfg.Addr = "127.0.0.1:25"
	cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		s.done = make(chan struct{})
		go func() {
			defer close(s.done)
			s.serve(theirs)
		}()
		return ours, nil
	}
	return Dial(ctx, cfg)
}
