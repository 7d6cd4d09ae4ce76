package email

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"fanfare"
	"fanfare/channels/channeltest"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// gosmtp is an emersion/go-smtp server with one fault: the truth to hold answers against.
type gosmtp struct {
	t       *testing.T
	trouble channeltest.Trouble
	login   bool          // offers AUTH LOGIN alone
	over    chan struct{} // closed at the end of the test

	mu      sync.Mutex // guards all below
	offered int        // envelopes
	arrived []channeltest.Arrival
	raw     [][]byte // the mails as they came
	mech    string
	options smtp.MailOptions // of the last one
	reached chan struct{}
}

func newGoSMTP(t *testing.T, trouble channeltest.Trouble) *gosmtp {
	return &gosmtp{t: t, trouble: trouble, over: make(chan struct{}), reached: make(chan struct{})}
}

// serve listens until the test ends; implicit: TLS from the first byte.
func (g *gosmtp) serve(conf *tls.Config, implicit, utf8 bool) (addr string) {
	g.t.Helper()
	s := smtp.NewServer(g)
	s.Domain, s.TLSConfig, s.EnableSMTPUTF8, s.MaxMessageBytes, s.AllowInsecureAuth = "test.example", conf, utf8, 1<<20, conf == nil
	s.ErrorLog = log.New(io.Discard, "", 0) // it trips over connections that were closed under it
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatal(err)
	}
	addr = l.Addr().String()
	if implicit {
		l = tls.NewListener(l, conf)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	g.t.Cleanup(func() { close(g.over); _ = l.Close(); _ = s.Close(); <-done }) // Serve may not have begun
	return addr
}

func (g *gosmtp) backend(c *Channel, url string) channeltest.Backend {
	return channeltest.Backend{Channel: c, Provider: fanfare.Provider{Name: "mail", Channel: fanfare.ChannelEmail, URL: url, From: news},
		Reached: g.reached, Arrived: g.all}
}

func (g *gosmtp) all() []channeltest.Arrival {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.arrived
}

// NewSession implements smtp.Backend.
func (g *gosmtp) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &mailSession{g: g, c: c}, nil
}

type mailSession struct {
	g        *gosmtp
	c        *smtp.Conn
	signed   bool
	meets    bool // the fault meets this envelope
	from, to string
}

func (s *mailSession) AuthMechanisms() []string {
	if s.g.login {
		return []string{sasl.Login}
	}
	return []string{sasl.Plain}
}

func (s *mailSession) Auth(mech string) (sasl.Server, error) {
	check := func(user, password string) error {
		if s.g.trouble.Fault == channeltest.AccountRefused || user != "user" || password != "pass/wörd" {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "who are you"}
		}
		s.g.mu.Lock()
		defer s.g.mu.Unlock()
		s.signed, s.g.mech = true, mech
		return nil
	}
	if mech == sasl.Login {
		return &loginServer{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
}

// loginServer is the server's side of AUTH LOGIN, which go-sasl has as a client only.
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

func (s *mailSession) Reset()        { s.from, s.to = "", "" }
func (s *mailSession) Logout() error { return nil }

func (s *mailSession) Mail(from string, options *smtp.MailOptions) error {
	if !s.signed {
		return smtp.ErrAuthRequired
	}
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	s.from, s.g.options = from, *options
	s.meets = s.g.offered == s.g.trouble.At
	s.g.offered++
	return nil
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	if !s.meets {
		return nil
	}
	switch s.g.trouble.Fault {
	case channeltest.RefusedForGood:
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	case channeltest.RefusedForNow:
		return &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 1}, Message: "mailbox busy"}
	case channeltest.Busy:
		return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "closing"}
	case channeltest.ClosedBefore:
		_ = s.c.Conn().Close()
	case channeltest.HangsBefore:
		s.hang()
	}
	return nil
}

func (s *mailSession) hang() {
	close(s.g.reached)
	<-s.g.over
}

func (s *mailSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	a, err := channeltest.Mail(s.from, s.to, raw)
	if err != nil {
		s.g.t.Error(err)
	}
	s.g.mu.Lock()
	s.g.arrived, s.g.raw = append(s.g.arrived, a), append(s.g.raw, raw)
	s.g.mu.Unlock()
	if s.meets && s.g.trouble.Fault == channeltest.ClosedAfter {
		_ = s.c.Conn().Close()
	}
	if s.meets && s.g.trouble.Fault == channeltest.HangsAfter {
		s.hang()
	}
	return nil
}

// certificate makes what a server on 127.0.0.1 shows, and what its client trusts.
func certificate(t testing.TB) (server, client *tls.Config) {
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

// trusting is a channel that trusts a certificate.
func trusting(client *tls.Config) *Channel {
	return New(Config{Provider: func(*fanfare.Message) fanfare.Provider { return fanfare.Provider{From: news} }, TLS: client})
}

// nowhere is an address where nobody listens.
func nowhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it was never used
	return l.Addr().String()
}

// TestGoSMTP holds the channel to its contract against emersion/go-smtp, by every way to be private and to sign in.
func TestGoSMTP(t *testing.T) {
	server, client := certificate(t)
	const account = "user:pass%2Fw%C3%B6rd@"
	for _, c := range []struct {
		name, scheme, query string
		tls                 *tls.Config
		implicit, login     bool
	}{
		{"STARTTLS and PLAIN", "smtp://", "", server, false, false},
		{"STARTTLS and LOGIN", "smtp://", "?starttls=required", server, false, true},
		{"TLS and PLAIN", "smtps://", "", server, true, false},
		{"LOGIN on loopback without TLS", "smtp://", "?starttls=opportunistic", nil, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			channeltest.Run(t, channeltest.Features{Ledger: true, Renders: true, Streams: true, Faults: []channeltest.Fault{channeltest.Down, channeltest.AccountRefused,
				channeltest.RefusedForGood, channeltest.RefusedForNow, channeltest.Busy, channeltest.ClosedBefore, channeltest.ClosedAfter,
				channeltest.HangsBefore, channeltest.HangsAfter}},
				func(t *testing.T, trouble channeltest.Trouble) channeltest.Backend {
					g := newGoSMTP(t, trouble)
					g.login = c.login
					addr := g.serve(c.tls, c.implicit, true)
					if trouble.Fault == channeltest.Down {
						addr = nowhere(t)
					}
					return g.backend(trusting(client), c.scheme+account+addr+c.query)
				})
		})
	}
}
