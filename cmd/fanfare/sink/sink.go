// Package sink is the mail server behind `fanfare sink`: it takes mail on the loopback as fast as it comes, delivers nothing, and
// remembers for each address how many copies it accepted, under which Message-IDs, and when their envelopes were begun. The demo,
// the bench and the tests hold Fanfare's own books against it.
//
// What it refuses is decided by a hash of the address (see [Config.Verdict]), so whoever knows the configuration knows who is
// refused. It can be told, while it runs, to answer 421 or to be down.
//
// [BareLoop] is the bench's bare client: the same prepared bytes again and again, nothing rendered, journaled or kept.
package sink

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Rate is a part of the whole: 0.01, written 1%.
type Rate float64

var _ encoding.TextUnmarshaler = (*Rate)(nil)

// UnmarshalText reads "1%" or "0.01".
func (r *Rate) UnmarshalText(text []byte) error {
	s, percent := strings.CutSuffix(strings.TrimSpace(string(text)), "%")
	f, err := strconv.ParseFloat(s, 64)
	if percent {
		f /= 100
	}
	if err != nil || !(f >= 0 && f <= 1) {
		return fmt.Errorf("rate %q: write a part of the whole, such as 1%% or 0.01", text)
	}
	*r = Rate(f)
	return nil
}

// MarshalText writes "1%".
func (r Rate) MarshalText() ([]byte, error) {
	return []byte(strconv.FormatFloat(float64(r)*100, 'f', -1, 64) + "%"), nil
}

// Config says what the sink does. The zero value listens on a free port of the loopback and accepts everything at once.
type Config struct {
	Listen    string        // host:port; empty: 127.0.0.1:0
	Refuse    Rate          // of the addresses are refused for good: 550 5.1.1
	Temporary Rate          // of the addresses are refused at first: 450 4.2.0
	Times     int           // how often each of those; 0: once
	Delay     time.Duration // before the answer to each message
	Status    string        // host:port of the status pages; empty: none
	Ledger    string        // file to which each accepted copy is appended: time, address, Message-ID; empty: none
	Keep      int           // messages kept whole; 0: 20, negative: none
	MaxSize   int           // bytes of a message; 0: 32 MiB
	Hostname  string        // empty: sink.localhost
	TLS       *tls.Config   // nil: no STARTTLS
	Implicit  bool          // TLS from the first byte
	// Without takes capabilities away, by their EHLO keyword: PIPELINING, SMTPUTF8, …
	Without []string
}

// Verdict is what happens to an address.
type Verdict int

// The verdicts.
const (
	Accepted         Verdict = iota
	RefusedForGood           // 550 5.1.1, always
	RefusedAtFirst           // 450 4.2.0, the first Config.Times times
	maxLine          = 4096
	defaultKeep      = 20
	defaultMaxSize   = 32 << 20
	ledgerFlushEvery = 100 * time.Millisecond
)

// Verdict tells what happens to an address: upper and lower case are the same.
func (c Config) Verdict(address string) Verdict { return c.verdict(hash([]byte(address))) }

func (c Config) verdict(h uint64) Verdict {
	u := float64(h>>11) / (1 << 53)
	switch {
	case u < float64(c.Refuse):
		return RefusedForGood
	case u < float64(c.Refuse)+float64(c.Temporary):
		return RefusedAtFirst
	}
	return Accepted
}

// Server is a sink. Its methods may be called at any time, from anywhere.
type Server struct {
	cfg    Config
	ledger ledger
	kept   kept

	begun, accepted, permanent, temporary, connections atomic.Int64
	lastBegun                                          atomic.Int64 // Unix nanoseconds
	busy                                               atomic.Bool  // answer 421

	addr   string
	status net.Listener

	mu     sync.Mutex // guards what follows
	listen net.Listener
	conns  map[net.Conn]struct{}
	ctx    context.Context // of Run; nil before and after
	wg     sync.WaitGroup

	fileMu sync.Mutex // guards file and out
	file   *os.File
	out    *bufio.Writer
}

// New opens the ports and the ledger file; [Server.Run] serves them.
func New(cfg Config) (*Server, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Keep == 0 {
		cfg.Keep = defaultKeep
	}
	if cfg.MaxSize <= 0 {
		cfg.MaxSize = defaultMaxSize
	}
	if cfg.Hostname == "" {
		cfg.Hostname = "sink.localhost"
	}
	cfg.Times = max(cfg.Times, 1)
	if cfg.Refuse+cfg.Temporary > 1 {
		return nil, errors.New("sink: more than all are refused; lower the rates")
	}
	s := &Server{cfg: cfg, conns: map[net.Conn]struct{}{}}
	s.ledger.init()
	s.kept.ring = make([]Message, max(cfg.Keep, 0))
	var err error
	if s.listen, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	s.addr = s.listen.Addr().String()
	if cfg.Status != "" {
		if s.status, err = net.Listen("tcp", cfg.Status); err != nil {
			_ = s.listen.Close()
			return nil, fmt.Errorf("sink: status: %w", err)
		}
	}
	if cfg.Ledger != "" {
		s.file, err = os.OpenFile(cfg.Ledger, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("sink: ledger: %w", err)
		}
		s.out = bufio.NewWriterSize(s.file, 64<<10)
	}
	return s, nil
}

// Addr gives host:port of the mail server, also while it is down.
func (s *Server) Addr() string { return s.addr }

// StatusAddr gives host:port of the status pages; empty without.
func (s *Server) StatusAddr() string {
	if s.status == nil {
		return ""
	}
	return s.status.Addr().String()
}

// Run serves until ctx ends, then cuts every connection and writes the ledger file out. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.ctx = ctx
	if s.listen != nil {
		s.accept(ctx, s.listen)
	}
	s.mu.Unlock()
	failed := make(chan error, 1)
	web := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second}
	if s.status != nil {
		s.wg.Go(func() {
			if err := web.Serve(s.status); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("sink: status: %w", err)
			}
		})
	}
	var err error
	flush := time.NewTicker(ledgerFlushEvery)
	defer flush.Stop()
loop:
	for {
		select {
		case <-ctx.Done():
			break loop
		case err = <-failed:
			break loop
		case <-flush.C:
			if err = s.flush(); err != nil {
				break loop
			}
		}
	}
	cancel()
	_ = web.Close()
	s.close()
	s.wg.Wait()
	return errors.Join(err, s.closeFile())
}

// Run is `fanfare sink`: it says where it listens, serves until ctx ends, and prints the sum.
func Run(ctx context.Context, cfg Config, out io.Writer) error {
	s, err := New(cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "mail sink on smtp://%s, use starttls=off\n", s.Addr())
	if a := s.StatusAddr(); a != "" {
		fmt.Fprintf(out, "status on http://%s\n", a)
	}
	err = s.Run(ctx)
	c := s.Counts()
	fmt.Fprintf(out, "begun %d, accepted %d for %d addresses (%d got more than one), refused %d for good and %d for now\n",
		c.Begun, c.Accepted, c.Recipients, c.Duplicates, c.RefusedForGood, c.RefusedForNow)
	return err
}

// Answer421 makes every connection answer 421 at its next command or greeting and end, until it is taken back.
func (s *Server) Answer421(on bool) { s.busy.Store(on) }

// Down closes the port and cuts every connection; Down(false) opens the same port again.
func (s *Server) Down(down bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !down {
		if s.listen != nil {
			return nil
		}
		l, err := net.Listen("tcp", s.addr)
		if err != nil {
			return fmt.Errorf("sink: up again: %w", err)
		}
		s.listen = l
		if s.ctx != nil {
			s.accept(s.ctx, l)
		}
		return nil
	}
	s.cutLocked()
	return nil
}

// Mode tells whether the sink is down and whether it answers 421.
func (s *Server) Mode() (down, answer421 bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listen == nil, s.busy.Load()
}

func (s *Server) cutLocked() {
	if s.listen != nil {
		_ = s.listen.Close()
		s.listen = nil
	}
	for c := range s.conns {
		_ = c.Close()
	}
}

func (s *Server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx = nil
	s.cutLocked()
	if s.status != nil {
		_ = s.status.Close()
	}
}

// accept takes connections until the listener is closed.
func (s *Server) accept(ctx context.Context, l net.Listener) {
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // out of files: wait for some to close
				select {
				case <-ctx.Done():
					return
				case <-time.After(50 * time.Millisecond):
				}
				continue
			}
			s.mu.Lock()
			if s.ctx == nil || s.listen != l {
				_ = c.Close()
			} else {
				s.conns[c] = struct{}{}
				s.wg.Go(func() { s.serve(ctx, c) })
			}
			s.mu.Unlock()
		}
	})
}

func (s *Server) serve(ctx context.Context, c net.Conn) {
	s.connections.Add(1)
	newSession(s, c).run(ctx)
	_ = c.Close()
	s.connections.Add(-1)
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// writeCopy appends one accepted copy to the ledger file.
func (s *Server) writeCopy(at time.Time, address, id []byte) {
	if s.file == nil {
		return
	}
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	b := at.UTC().AppendFormat(s.out.AvailableBuffer(), time.RFC3339Nano)
	b = append(append(b, '\t'), address...)
	b = append(append(b, '\t'), id...)
	_, _ = s.out.Write(append(b, '\n')) // flush reports it
}

func (s *Server) flush() error {
	if s.file == nil {
		return nil
	}
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("sink: ledger: %w", err)
	}
	return nil
}

func (s *Server) closeFile() error {
	if s.file == nil {
		return nil
	}
	return errors.Join(s.flush(), s.file.Close())
}
