package esmtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// StartTLS says what to do about STARTTLS.
type StartTLS int

// The ways. A certificate is checked whenever there is TLS, unless Config.TLS says otherwise.
const (
	Required      StartTLS = iota // the default: no TLS, no mail
	Opportunistic                 // where offered
	Off                           // never
)

// Config says where and how to connect.
type Config struct {
	Addr        string // host:port
	Host        string // our name in EHLO; empty: our address as a literal
	ImplicitTLS bool   // TLS from the first byte (smtps)
	StartTLS    StartTLS
	TLS         *tls.Config // nil: the system's authorities, the host of Addr
	Username    string      // empty: no AUTH
	Password    string
	// PlaintextAuth allows credentials without TLS to a host that is not loopback.
	PlaintextAuth bool
	Timeouts      Timeouts
	// Dial makes the connection; nil: TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Timeouts are how long each answer may take, to a tenth: one may be over by so much too early. A zero one means its default.
type Timeouts struct {
	Connect  time.Duration // 30 s, the TLS handshake its own 30 s
	Greeting time.Duration // 60 s
	Command  time.Duration // 60 s: EHLO, STARTTLS, AUTH, MAIL, RCPT, RSET
	Data     time.Duration // 120 s: the answer to DATA
	Write    time.Duration // 180 s: each 128 kB that leave
	Final    time.Duration // 300 s: the answer to the last dot
}

func (t Timeouts) withDefaults() Timeouts {
	for _, d := range []struct {
		at      *time.Duration
		seconds int
	}{{&t.Connect, 30}, {&t.Greeting, 60}, {&t.Command, 60}, {&t.Data, 120}, {&t.Write, 180}, {&t.Final, 300}} {
		if *d.at <= 0 {
			*d.at = time.Duration(d.seconds) * time.Second
		}
	}
	return t
}

// Caps is what the server offers.
type Caps struct {
	ESMTP        bool // EHLO was understood
	Pipelining   bool
	EightBitMIME bool
	SMTPUTF8     bool
	Enhanced     bool
	StartTLS     bool
	Size         int64 // bytes at most; 0: not said. Valid only with HasSize
	HasSize      bool
	AuthPlain    bool
	AuthLogin    bool
	TLS          bool // the connection is encrypted
}

// Conn is a connection that is ready to send. One goroutine uses it at a time.
type Conn struct {
	raw    net.Conn // what is closed when a context ends: closing TLS may wait for the peer
	nc     net.Conn
	in     replies
	caps   Caps
	t      Timeouts
	out    []byte
	bodies [2][]byte
	from   struct{ given, wire, why string } // the last sender, parsed
	fromU8 bool
	broken *Error

	readBy, writeBy deadline
}

// deadline is one of the connection's, as it was set last. To move it costs more than to read an answer that is there already.
type deadline struct{ at time.Time }

// early is the share of a limit by which a deadline may end too early: one that was set for an answer before serves this one too.
const early = 10

func (d *deadline) set(by func(time.Time) error, at time.Time) {
	d.at = at
	_ = by(at)
}

// within has the deadline end when limit has passed from now, or by a tenth of limit earlier; never later.
func (d *deadline) within(by func(time.Time) error, limit time.Duration) {
	at := time.Now().Add(limit)
	if ahead := at.Sub(d.at); ahead < 0 || ahead > limit/early {
		d.set(by, at)
	}
}

// Dial connects, greets, secures and signs in. Its error is an *Error.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	c, err := dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func dial(ctx context.Context, cfg Config) (*Conn, *Error) {
	host, _, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return nil, &Error{Step: StepConnect, Err: fmt.Errorf("address %q is not host:port: %w", cfg.Addr, err)}
	}
	if strings.ContainsFunc(cfg.Host, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, &Error{Step: StepEHLO, Err: fmt.Errorf("our own name %q is not a host name", cleanText([]byte(cfg.Host)))}
	}
	c := &Conn{t: cfg.Timeouts.withDefaults()}
	dialing, cancel := context.WithTimeout(ctx, c.t.Connect)
	defer cancel()
	dialer := cfg.Dial
	if dialer == nil {
		dialer = new(net.Dialer).DialContext
	}
	c.raw, err = dialer(dialing, "tcp", cfg.Addr)
	if err != nil {
		return nil, &Error{Step: StepConnect, Temporary: true, Err: err}
	}
	c.nc, c.in = c.raw, newReplies(c.raw)
	stop := c.watch(ctx)
	failed := c.open(ctx, cfg, host)
	if !stop() && failed == nil {
		failed = c.lost(ctx, StepConnect, context.Cause(ctx))
	}
	if failed != nil {
		_ = c.raw.Close()
		return nil, failed
	}
	return c, nil
}

// watch closes the connection when ctx ends. stop answers false when it did.
func (c *Conn) watch(ctx context.Context) (stop func() bool) {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, func() { _ = c.raw.Close() })
}

func (c *Conn) open(ctx context.Context, cfg Config, host string) *Error {
	if cfg.ImplicitTLS {
		if err := c.secure(ctx, cfg, host, StepConnect); err != nil {
			return err
		}
	}
	r, err := c.reply(ctx, StepGreeting, c.t.Greeting)
	if err != nil {
		return err
	}
	if r.code != 220 {
		return c.refused(StepGreeting, r)
	}
	if err := c.hello(ctx, cfg); err != nil {
		return err
	}
	if !cfg.ImplicitTLS {
		if err := c.startTLS(ctx, cfg, host); err != nil {
			return err
		}
	}
	if cfg.Username != "" {
		return c.auth(ctx, cfg, host)
	}
	return nil
}

// hello says EHLO, or HELO to a server that does not know it.
func (c *Conn) hello(ctx context.Context, cfg Config) *Error {
	name := cfg.Host
	if name == "" {
		name = literal(c.raw.LocalAddr())
	}
	r, err := c.command(ctx, StepEHLO, "EHLO "+name)
	if err != nil {
		return err
	}
	_, secured := c.nc.(*tls.Conn)
	c.caps = Caps{TLS: secured}
	switch {
	case r.code == 250:
		c.caps.ESMTP = true
		c.caps.parse(r.text)
		return nil
	case r.code/100 != 5:
		return c.refused(StepEHLO, r)
	}
	if r, err = c.command(ctx, StepEHLO, "HELO "+name); err != nil {
		return err
	}
	if r.code != 250 {
		return c.refused(StepEHLO, r)
	}
	return nil
}

// parse reads the lines after the first of an answer to EHLO. What it does not know it leaves alone.
func (caps *Caps) parse(text []byte) {
	_, text, _ = bytes.Cut(text, []byte{'\n'})
	for line := range strings.SplitSeq(string(text), "\n") {
		fields := strings.Fields(strings.Replace(line, "=", " ", 1)) // AUTH=PLAIN is an old way to say AUTH PLAIN
		if len(fields) == 0 {
			continue
		}
		switch strings.ToUpper(fields[0]) {
		case "PIPELINING":
			caps.Pipelining = true
		case "8BITMIME":
			caps.EightBitMIME = true
		case "SMTPUTF8":
			caps.SMTPUTF8 = true
		case "ENHANCEDSTATUSCODES":
			caps.Enhanced = true
		case "STARTTLS":
			caps.StartTLS = true
		case "SIZE":
			caps.HasSize = true
			if len(fields) > 1 {
				if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil && n > 0 {
					caps.Size = n
				}
			}
		case "AUTH":
			for _, m := range fields[1:] {
				caps.AuthPlain = caps.AuthPlain || strings.EqualFold(m, "PLAIN")
				caps.AuthLogin = caps.AuthLogin || strings.EqualFold(m, "LOGIN")
			}
		}
	}
}

// literal gives an address as RFC 5321 writes it for a host without a name.
func literal(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok {
		if v4 := t.IP.To4(); v4 != nil {
			return "[" + v4.String() + "]"
		}
		return "[IPv6:" + t.IP.String() + "]"
	}
	return "localhost"
}

// Caps tells what the server offered last.
func (c *Conn) Caps() Caps { return c.caps }

// Reset ends a transaction that may be open on the server. [Conn.Send] leaves none.
func (c *Conn) Reset(ctx context.Context) error {
	if c.broken != nil {
		return c.broken
	}
	stop := c.watch(ctx)
	defer stop()
	r, err := c.command(ctx, StepRset, "RSET")
	if err == nil && !r.positive() {
		err = c.refused(StepRset, r)
	}
	if err != nil {
		return err
	}
	return nil
}

// Alive says whether an idle connection is still of use: the server neither closed it nor said anything. It takes a millisecond;
// ask before a Send when the connection was idle for seconds, so that the server's good-bye to an idle client is not taken for
// its 421 to this chunk.
func (c *Conn) Alive() bool {
	if c.broken != nil {
		return false
	}
	c.readBy.set(c.nc.SetReadDeadline, time.Now().Add(time.Millisecond))
	_, err := c.in.in.Peek(1)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	c.broken = &Error{Step: StepConnect, Temporary: true, Err: errors.New("the server ended the idle connection")}
	return false
}

// Quit says good-bye and closes. The server's answer does not matter: every message has had its own.
func (c *Conn) Quit(ctx context.Context) error {
	if c.broken == nil {
		stop := c.watch(ctx)
		defer stop()
		_, _ = c.command(ctx, StepQuit, "QUIT")
	}
	return c.Close()
}

// Close closes without a word.
func (c *Conn) Close() error {
	if c.broken == nil {
		c.broken = &Error{Step: StepQuit, Err: net.ErrClosed}
	}
	err := c.raw.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// command sends one line and reads its answer.
func (c *Conn) command(ctx context.Context, step Step, line string) (reply, *Error) {
	c.out = append(append(c.out[:0], line...), '\r', '\n')
	if _, err := c.write(c.out); err != nil {
		return reply{}, c.lost(ctx, step, err)
	}
	return c.reply(ctx, step, c.t.Command)
}

// reply reads one answer that may take as long as limit.
func (c *Conn) reply(ctx context.Context, step Step, limit time.Duration) (reply, *Error) {
	if !c.in.lineBuffered() {
		runtime.Gosched()                            // who else has something to do goes first: then the answer is there, mostly, and one read takes it
		c.readBy.within(c.nc.SetReadDeadline, limit) // one for the whole reply: a server cannot drip for ever
	}
	r, err := c.in.read()
	if err != nil {
		return r, c.lost(ctx, step, err)
	}
	return r, nil
}

// writePiece is how much leaves under one deadline.
const writePiece = 128 << 10

// write hands bytes to the kernel and says how many it took.
func (c *Conn) write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		c.writeBy.within(c.nc.SetWriteDeadline, c.t.Write)
		n, err := c.nc.Write(b[done:min(done+writePiece, len(b))])
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// lost ends the connection for a reason that is not the server's word.
func (c *Conn) lost(ctx context.Context, step Step, err error) *Error {
	if ended := context.Cause(ctx); ended != nil {
		err = ended
	}
	return c.end(&Error{Step: step, Temporary: true, Err: err})
}

// refused ends the connection by the server's word, or for a word that makes no sense here.
func (c *Conn) refused(step Step, r reply) *Error {
	e := &Error{Step: step, Code: r.code, Temporary: r.code/100 != 5}
	e.Enhanced, e.Text = r.words()
	if !r.refusal() {
		e.Err = ErrProtocol
	}
	return c.end(e)
}

func (c *Conn) end(e *Error) *Error {
	if c.broken == nil {
		c.broken = e
	}
	_ = c.raw.Close()
	return e
}
