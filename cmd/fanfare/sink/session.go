package sink

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"fanfare/esmtp"
)

// session is one connection's dialogue: it reads from one buffer, answers into another, and writes only before it would wait, so
// that a pipelined group costs one read and one write.
type session struct {
	s   *Server
	raw net.Conn
	c   net.Conn

	buf  []byte // buf[r:w] was read and not used
	r, w int
	at   time.Time // when the newest bytes arrived
	out  []byte

	hello  bool
	inMail bool
	mailAt int64
	from   []byte
	rcpts  [][]byte // reused
}

var errQuit = errors.New("the dialogue is over")

const (
	startBuffer = 16 << 10
	idleLimit   = 5 * time.Minute
	maxRcpts    = 1000
)

func newSession(s *Server, c net.Conn) *session {
	if s.cfg.Implicit && s.cfg.TLS != nil {
		c = tls.Server(c, s.cfg.TLS)
	}
	return &session{s: s, raw: c, c: c, buf: make([]byte, startBuffer)}
}

func (x *session) run(ctx context.Context) {
	if x.s.busy.Load() {
		x.say("421 4.3.2 sink says: not now")
		_ = x.flush()
		return
	}
	x.say("220 " + x.s.cfg.Hostname + " ESMTP Fanfare sink: accepts, delivers nothing")
	for {
		line, err := x.line()
		if err != nil {
			_ = x.flush() // what the client is told before it is cut off
			return
		}
		if x.s.busy.Load() {
			x.say("421 4.3.2 sink says: not now")
			err = errQuit
		} else {
			err = x.command(ctx, line)
		}
		if err != nil {
			_ = x.flush()
			return
		}
	}
}

func (x *session) say(line string) { x.out = append(append(x.out, line...), '\r', '\n') }

func (x *session) flush() error {
	if len(x.out) == 0 {
		return nil
	}
	_ = x.c.SetWriteDeadline(x.deadline())
	_, err := x.c.Write(x.out)
	x.out = x.out[:0]
	return err
}

func (x *session) deadline() time.Time {
	if x.at.IsZero() {
		x.at = time.Now()
	}
	return x.at.Add(idleLimit)
}

// fill reads more bytes, after everything that was answered is on its way.
func (x *session) fill(most int) error {
	if err := x.flush(); err != nil {
		return err
	}
	switch {
	case x.r == x.w:
		x.r, x.w = 0, 0
		if len(x.buf) > 1<<20 {
			x.buf = make([]byte, startBuffer)
		}
	case x.w == len(x.buf) && x.r > 0:
		x.w = copy(x.buf, x.buf[x.r:x.w])
		x.r = 0
	case x.w == len(x.buf):
		if len(x.buf) >= most {
			return errQuit
		}
		x.buf = slices.Grow(x.buf, len(x.buf))
		x.buf = x.buf[:cap(x.buf)]
	}
	_ = x.c.SetReadDeadline(x.deadline())
	n, err := x.c.Read(x.buf[x.w:])
	x.w += n
	x.at = time.Now()
	if n > 0 {
		return nil
	}
	return err
}

// line gives the next command line without its end. It is valid until the next fill.
func (x *session) line() ([]byte, error) {
	for seen := x.r; ; {
		n := bytes.IndexByte(x.buf[seen:x.w], '\n')
		if n >= 0 && seen+n-x.r <= maxLine {
			line := x.buf[x.r : seen+n]
			x.r = seen + n + 1
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		if n >= 0 || x.w-x.r > maxLine {
			x.say("500 5.5.2 line too long")
			return nil, errQuit
		}
		done := x.w - x.r
		if err := x.fill(startBuffer); err != nil {
			return nil, err
		}
		seen = x.r + done
	}
}

func verb(line []byte, word string) bool {
	return len(line) >= len(word) && bytes.EqualFold(line[:len(word)], []byte(word))
}

func (x *session) command(ctx context.Context, line []byte) error {
	switch {
	case verb(line, "MAIL FROM:"):
		x.mail(line[len("MAIL FROM:"):])
	case verb(line, "RCPT TO:"):
		x.rcpt(line[len("RCPT TO:"):])
	case verb(line, "DATA"):
		return x.data(ctx)
	case verb(line, "EHLO"), verb(line, "HELO"):
		x.ehlo(line)
	case verb(line, "RSET"):
		x.reset()
		x.say("250 2.0.0 OK")
	case verb(line, "NOOP"):
		x.say("250 2.0.0 OK")
	case verb(line, "VRFY"):
		x.say("252 2.1.5 send it and see")
	case verb(line, "QUIT"):
		x.say("221 2.0.0 bye")
		return errQuit
	case verb(line, "AUTH ") && x.offers("AUTH"):
		return x.auth(string(line))
	case verb(line, "STARTTLS") && x.s.cfg.TLS != nil:
		return x.startTLS(ctx)
	default:
		x.say("500 5.5.1 unknown command")
	}
	return nil
}

func (x *session) offers(word string) bool { return !slices.Contains(x.s.cfg.Without, word) }

func (x *session) ehlo(line []byte) {
	x.reset()
	x.hello = true
	if line[0]|0x20 == 'h' {
		x.say("250 " + x.s.cfg.Hostname)
		return
	}
	words := []string{x.s.cfg.Hostname}
	offer := func(word, args string) {
		if x.offers(word) {
			words = append(words, strings.TrimSpace(word+" "+args))
		}
	}
	offer("PIPELINING", "")
	offer("8BITMIME", "")
	offer("SMTPUTF8", "")
	offer("ENHANCEDSTATUSCODES", "")
	offer("SIZE", strconv.Itoa(x.s.cfg.MaxSize))
	offer("AUTH", "PLAIN LOGIN")
	if _, on := x.c.(*tls.Conn); !on && x.s.cfg.TLS != nil {
		words = append(words, "STARTTLS")
	}
	for i, w := range words {
		dash := "-"
		if i == len(words)-1 {
			dash = " "
		}
		x.say("250" + dash + w)
	}
}

// path takes what is between the angle brackets.
func path(b []byte) ([]byte, bool) {
	b = bytes.TrimLeft(b, " ")
	end := bytes.IndexByte(b, '>')
	if end < 1 || b[0] != '<' || end+1 < len(b) && b[end+1] != ' ' {
		return nil, false
	}
	return b[1:end], true
}

func (x *session) mail(arg []byte) {
	from, ok := path(arg)
	switch {
	case !x.hello:
		x.say("503 5.5.1 say EHLO first")
		return
	case x.inMail:
		x.say("503 5.5.1 one MAIL at a time")
		return
	case !ok:
		x.say("501 5.1.7 write MAIL FROM:<address>")
		return
	}
	x.inMail = true
	x.from = append(x.from[:0], from...)
	x.mailAt = x.at.UnixNano()
	x.s.begun.Add(1)
	if x.s.lastBegun.Load() < x.mailAt {
		x.s.lastBegun.Store(x.mailAt)
	}
	x.say("250 2.1.0 OK")
}

func (x *session) rcpt(arg []byte) {
	to, ok := path(arg)
	switch {
	case !x.inMail:
		x.say("503 5.5.1 MAIL first")
		return
	case len(x.rcpts) >= maxRcpts:
		x.say("452 4.5.3 too many recipients")
		return
	case !ok:
		x.say("501 5.1.3 write RCPT TO:<address>")
		return
	}
	if _, err := esmtp.ParseAddress(string(to)); err != nil {
		x.say("553 5.1.3 not an address")
		return
	}
	h := hash(to)
	v, times := x.s.cfg.verdict(h), 0
	if v == RefusedAtFirst {
		times = x.s.cfg.Times
	}
	early := x.s.ledger.begin(h, to, x.mailAt, times)
	switch {
	case v == RefusedForGood:
		x.s.permanent.Add(1)
		x.say("550 5.1.1 sink refuses this address for good")
	case early:
		x.s.temporary.Add(1)
		x.say("450 4.2.0 sink refuses this address for now")
	default:
		n := len(x.rcpts)
		if n < cap(x.rcpts) {
			x.rcpts = x.rcpts[:n+1]
			x.rcpts[n] = append(x.rcpts[n][:0], to...)
		} else {
			x.rcpts = append(x.rcpts, bytes.Clone(to))
		}
		x.say("250 2.1.5 OK")
	}
}

func (x *session) reset() {
	x.inMail = false
	x.rcpts = x.rcpts[:0]
}

func (x *session) data(ctx context.Context) error {
	switch {
	case !x.inMail:
		x.say("503 5.5.1 MAIL first")
		return nil
	case len(x.rcpts) == 0:
		x.say("554 5.5.1 no valid recipients")
		return nil
	}
	x.say("354 go ahead")
	body, err := x.body()
	if err != nil {
		return err
	}
	defer x.reset()
	if x.s.cfg.Delay > 0 {
		select {
		case <-ctx.Done():
			return errQuit
		case <-time.After(x.s.cfg.Delay):
		}
	}
	switch {
	case x.s.busy.Load():
		x.say("421 4.3.2 sink says: not now")
		return errQuit
	case len(body) > x.s.cfg.MaxSize:
		x.say("552 5.3.4 message too big")
		return nil
	}
	id := messageID(body)
	for _, to := range x.rcpts {
		x.s.ledger.take(hash(to), to, id)
		x.s.writeCopy(x.at, to, id)
	}
	x.s.kept.add(x, body)
	n := x.s.accepted.Add(1)
	x.out = append(x.out, "250 2.0.0 OK: kept as "...)
	x.out = append(strconv.AppendInt(x.out, n, 10), '\r', '\n')
	return nil
}

// body reads up to the last dot. What it gives is valid until the next fill.
func (x *session) body() ([]byte, error) {
	seen := x.r // the end may begin here
	for {
		if x.w-x.r >= 3 && string(x.buf[x.r:x.r+3]) == ".\r\n" {
			x.r += 3
			return nil, nil
		}
		if n := bytes.Index(x.buf[seen:x.w], []byte("\r\n.\r\n")); n >= 0 {
			body := x.buf[x.r : seen+n+2]
			x.r = seen + n + 5
			return body, nil
		}
		done := max(x.w-x.r-4, 0)
		if err := x.fill(x.s.cfg.MaxSize*2 + startBuffer); err != nil {
			if errors.Is(err, errQuit) {
				x.say("552 5.3.4 message far too big")
			}
			return nil, err
		}
		seen = x.r + done
	}
}

// messageID finds the field in the header.
func messageID(body []byte) []byte {
	for len(body) > 0 {
		n := bytes.IndexByte(body, '\n')
		if n < 0 {
			n = len(body) - 1
		}
		line := body[:n+1]
		body = body[n+1:]
		if len(line) <= 2 {
			return nil
		}
		if line[0]|0x20 != 'm' || !verb(line, "Message-ID:") {
			continue
		}
		id := bytes.TrimSpace(line[len("Message-ID:"):])
		if len(id) == 0 { // folded after the name
			end := bytes.IndexByte(body, '\n')
			id = bytes.TrimSpace(body[:max(end, 0)])
		}
		if cut := bytes.IndexAny(id, " \t"); cut >= 0 { // a comment; and the ledger is separated by tabs
			id = id[:cut]
		}
		return bytes.TrimSuffix(bytes.TrimPrefix(id, []byte{'<'}), []byte{'>'})
	}
	return nil
}

// auth takes any name and password.
func (x *session) auth(line string) error {
	words := strings.Fields(line)
	more := 0
	switch {
	case len(words) >= 2 && strings.EqualFold(words[1], "PLAIN"):
		more = 1
	case len(words) >= 2 && strings.EqualFold(words[1], "LOGIN"):
		more = 2
	default:
		x.say("504 5.5.4 PLAIN or LOGIN")
		return nil
	}
	for range more - (len(words) - 2) {
		x.say("334 ")
		if _, err := x.line(); err != nil {
			return err
		}
	}
	x.say("235 2.7.0 welcome, whoever you are")
	return nil
}

func (x *session) startTLS(ctx context.Context) error {
	if x.r != x.w {
		x.say("501 5.5.4 nothing may follow STARTTLS")
		return errQuit
	}
	x.say("220 2.0.0 go ahead")
	if err := x.flush(); err != nil {
		return err
	}
	c := tls.Server(x.raw, x.s.cfg.TLS)
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	x.c = c
	x.hello = false
	x.reset()
	return nil
}
