package esmtp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"
)

// TestDialEachStep breaks each step before the first message in each way.
func TestDialEachStep(t *testing.T) {
	for _, step := range []Step{StepGreeting, StepEHLO, StepStartTLS, StepAuth} {
		for _, what := range []string{"454 4.3.0 later", "554 5.7.1 never", "421 4.3.2 closing", hangUp, hang, garbage, dripping, "299 odd", "399 odd"} {
			t.Run(fmt.Sprintf("%s/%.6s", step, what), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { dialStep(t, step, what) })
			})
		}
	}
}

func dialStep(t *testing.T, step Step, what string) {
	s := &script{caps: []string{"STARTTLS", "AUTH PLAIN"}, act: func(at Step, _ int) string {
		if at == step {
			return what
		}
		return fine
	}}
	cfg := Config{StartTLS: Off, Username: "u", Password: "p"}
	if step == StepStartTLS {
		cfg.StartTLS = Required
	}
	_, err := dialScript(t.Context(), s, cfg)
	<-s.done
	var e *Error
	if !errors.As(err, &e) || e.Step != step {
		t.Fatalf("got %v", err)
	}
	code := what[:3]
	if code[0] < '2' || code[0] > '5' {
		code = "0"
	}
	if fmt.Sprint(e.Code) != code || e.Is421() != (code == "421") || e.Temporary != (code[0] != '5') || e.BeforeGreeting() != (step == StepGreeting) {
		t.Errorf("got %+v", e)
	}
	if code[0] >= '4' && (e.Enhanced != what[4:9] || e.Text != what[10:]) {
		t.Errorf("got %+v", e)
	}
	if what == garbage && !errors.Is(err, ErrProtocol) || what == hangUp && !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

func TestDialRefusesByItself(t *testing.T) {
	for name, c := range map[string]struct {
		caps []string
		cfg  Config
		want error
	}{
		"no STARTTLS":     {nil, Config{}, ErrNoStartTLS},
		"no AUTH":         {[]string{"AUTH CRAM-MD5"}, Config{StartTLS: Off, Username: "u"}, ErrNoAuth},
		"plaintext AUTH":  {[]string{"AUTH PLAIN"}, Config{StartTLS: Opportunistic, Username: "u", Addr: "mail.example:25"}, ErrPlaintextAuth},
		"name that lies":  {[]string{"AUTH PLAIN"}, Config{StartTLS: Off, Username: "u", Addr: "localhost.example:25"}, ErrPlaintextAuth},
		"allowed":         {[]string{"AUTH=PLAIN"}, Config{StartTLS: Off, Username: "u", Addr: "mail.example:25", PlaintextAuth: true}, nil},
		"loopback":        {[]string{"AUTH PLAIN"}, Config{StartTLS: Off, Username: "u", Addr: "[::1]:25"}, nil},
		"injected answer": {[]string{"STARTTLS"}, Config{}, ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{caps: c.caps, act: func(step Step, _ int) string {
					if step == StepStartTLS {
						return "220 go\r\n250-evil\r\n250 AUTH PLAIN"
					}
					return fine
				}}
				ours, theirs := net.Pipe()
				go s.serve(theirs)
				if c.cfg.Addr == "" {
					c.cfg.Addr = "127.0.0.1:25"
				}
				c.cfg.Dial = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
				conn, err := Dial(t.Context(), c.cfg)
				if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if conn != nil {
					_ = conn.Close()
				}
				synctest.Wait()
				for _, l := range s.lines {
					if strings.HasPrefix(l, "AUTH") && c.want != nil {
						t.Errorf("sent %q", l)
					}
				}
			})
		})
	}
}

func TestDialNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	for _, cfg := range []Config{{Addr: l.Addr().String()}, {Addr: "127.0.0.1"}, {Addr: "127.0.0.1:25", Host: "a b"}} {
		var e *Error
		if _, err := Dial(t.Context(), cfg); !errors.As(err, &e) || e.Step == StepConnect != (cfg.Host == "") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestHeloFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{act: func(step Step, n int) string {
			if step == StepEHLO && n == 0 {
				return "502 5.5.1 what?"
			}
			return fine
		}}
		c, err := dialScript(t.Context(), s, Config{StartTLS: Off})
		if err != nil {
			t.Fatal(err)
		}
		if c.Caps() != (Caps{}) {
			t.Errorf("%+v", c.Caps())
		}
		got, err := sendAll(t.Context(), c, chunk(2), nil)
		if err != nil || got[1].Kind != Sent || s.lines[2] != "MAIL FROM:<news@x.example>" {
			t.Errorf("%+v, %v, %q", got, err, s.lines)
		}
		_ = c.Close()
	})
}

// TestAlive: an idle connection that the server ended is not used for a chunk.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Write([]byte("220 hi\r\n"))
			_, _ = theirs.Read(make([]byte, 100))
			_, _ = theirs.Write([]byte("250 hi\r\n"))
			time.Sleep(time.Minute)
			_, _ = theirs.Write([]byte("421 4.4.2 idle too long\r\n"))
			_ = theirs.Close()
		}()
		c, err := Dial(t.Context(), Config{Addr: "127.0.0.1:25", StartTLS: Off,
			Dial: func(context.Context, string, string) (net.Conn, error) { return ours, nil }})
		if err != nil {
			t.Fatal(err)
		}
		if !c.Alive() {
			t.Error("dead while idle")
		}
		time.Sleep(2 * time.Minute)
		if c.Alive() {
			t.Error("alive after the server's good-bye")
		}
		if got, err := sendAll(t.Context(), c, chunk(1), nil); err == nil || got[0].Kind != NotBegun || got[0].Is421() {
			t.Errorf("%+v, %v", got, err)
		}
		_ = c.Close()
	})
}

// certificate makes a self-signed one for 127.0.0.1 and both sides' configuration.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool}
}

// backend is go-smtp's side: it keeps what it got.
type backend struct {
	login bool // offer LOGIN only

	mu   sync.Mutex
	got  map[string]string // body by recipient
	user string
}

type session struct {
	b      *backend
	to     string
	signed bool
}

func (b *backend) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{b: b}, nil }

func (s *session) AuthMechanisms() []string {
	if s.b.login {
		return []string{"LOGIN"}
	}
	return []string{"PLAIN", "LOGIN"}
}

func (s *session) Auth(mech string) (sasl.Server, error) {
	check := func(user, password string) error {
		if user != "user" || password != "pässword" {
			return smtp.ErrAuthFailed
		}
		s.b.mu.Lock()
		s.b.user = mech
		s.b.mu.Unlock()
		s.signed = true
		return nil
	}
	if mech == "LOGIN" {
		return &loginServer{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
}

// loginServer is AUTH LOGIN, which go-sasl has as a client only.
type loginServer struct {
	check func(user, password string) error
	step  int
	user  string
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	l.step++
	switch l.step {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(response)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.user, string(response))
}

func (s *session) Reset()        { s.to = "" }
func (s *session) Logout() error { return nil }
func (s *session) Mail(string, *smtp.MailOptions) error {
	if !s.signed {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "no") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user"}
	}
	s.to = to
	return nil
}

func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.got[s.to] = string(b)
	return err
}

// serveSMTP starts a go-smtp server that ends with the test.
func serveSMTP(t *testing.T, b *backend, conf *tls.Config, implicit bool) string {
	t.Helper()
	b.got = map[string]string{}
	s := smtp.NewServer(b)
	s.Domain, s.TLSConfig, s.EnableSMTPUTF8, s.MaxMessageBytes = "test.example", conf, true, 1<<20
	s.AllowInsecureAuth = conf == nil
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if implicit {
		l = tls.NewListener(l, conf)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return addr
}

// TestGoSMTP sends to emersion/go-smtp by every way to secure and sign in.
func TestGoSMTP(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	server, client := certificate(t)
	for name, c := range map[string]struct {
		server *tls.Config
		cfg    Config
		login  bool
	}{
		"STARTTLS, PLAIN":      {server, Config{TLS: client}, false},
		"STARTTLS, LOGIN":      {server, Config{TLS: client}, true},
		"opportunistic":        {server, Config{TLS: client, StartTLS: Opportunistic}, false},
		"opportunistic, plain": {nil, Config{StartTLS: Opportunistic}, false},
		"implicit":             {server, Config{TLS: client, ImplicitTLS: true}, false},
		"off, LOGIN":           {nil, Config{StartTLS: Off}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := &backend{login: c.login}
			cfg := c.cfg
			cfg.Addr, cfg.Username, cfg.Password = serveSMTP(t, b, c.server, cfg.ImplicitTLS), "user", "pässword"
			conn, err := Dial(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			caps := conn.Caps()
			if !caps.Pipelining || !caps.EightBitMIME || !caps.SMTPUTF8 || !caps.Enhanced || caps.Size != 1<<20 || caps.TLS != (c.server != nil) || caps.StartTLS {
				t.Errorf("%+v", caps)
			}
			for round := range 3 {
				goSMTPRound(t, conn, b, round)
			}
			if !conn.Alive() {
				t.Error("dead while idle")
			}
			if err := conn.Quit(t.Context()); err != nil {
				t.Error(err)
			}
			if want := map[bool]string{true: "LOGIN", false: "PLAIN"}[c.login]; b.user != want {
				t.Errorf("signed in by %q", b.user)
			}
		})
	}
}

func goSMTPRound(t *testing.T, conn *Conn, b *backend, round int) {
	t.Helper()
	var msgs []Message
	for i := range 20 {
		to := fmt.Sprintf("r%d.%d@x.example", round, i)
		switch {
		case i%7 == 3:
			to = "no" + to
		case i == 19:
			to = "用户" + to
		}
		msgs = append(msgs, Message{From: "news@x.example", To: to, Body: fmt.Appendf(nil, "Subject: %d\r\n\r\n.\r\n..\r\nü%d\r\n", i, i)})
	}
	got, err := sendAll(t.Context(), conn, msgs, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range got {
		if strings.HasPrefix(msgs[i].To, "no") {
			if a.Kind != Failed || a.Temporary || a.Step != StepRcpt || a.Code != 550 || a.Enhanced != "5.1.1" || a.Text != "No such user" {
				t.Errorf("%s: %+v", msgs[i].To, a)
			}
			continue
		}
		b.mu.Lock()
		body := b.got[msgs[i].To]
		b.mu.Unlock()
		if a.Kind != Sent || a.Code != 250 || body != string(msgs[i].Body) {
			t.Errorf("%s: %+v, got %q", msgs[i].To, a, body)
		}
	}
}

// TestTLSRefused: a certificate that nobody vouches for, and a wrong password, are for good, and told apart.
func TestTLSRefused(t *testing.T) {
	server, client := certificate(t)
	addr := serveSMTP(t, &backend{}, server, false)
	var e *Error
	_, err := Dial(t.Context(), Config{Addr: addr, Username: "user", Password: "pässword"})
	if !errors.As(err, &e) || e.Step != StepStartTLS || e.Temporary || e.Code != 0 {
		t.Errorf("unknown authority: %v", err)
	}
	_, err = Dial(t.Context(), Config{Addr: addr, TLS: client, Username: "user", Password: "wrong"})
	if !errors.As(err, &e) || e.Step != StepAuth || e.Temporary || e.Code != 535 || e.Enhanced != "5.7.8" {
		t.Errorf("wrong password: %v", err)
	}
}
