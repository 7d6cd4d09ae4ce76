package email

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"

	"fanfare"
	"fanfare/esmtp"
)

// Config is what an installation decides for all its e-mail.
type Config struct {
	// Provider gives the provider that a message is sent by: its from is the sender of content that names none, its only_to says who
	// is skipped. The zero Provider where there is none yet. It is called by Compile. Nil: always the zero one.
	Provider func(m *fanfare.Message) fanfare.Provider
	// Links makes the links that tell of opens and clicks; nil: nothing is told.
	Links Links
	// Host is our name in EHLO; empty: our address as a literal.
	Host string
	// TLS replaces the system's authorities; nil: those.
	TLS *tls.Config
	// Dial makes the connections; nil: TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Channel is the e-mail channel. It is used by many goroutines at once.
type Channel struct{ cfg Config }

// New gives the e-mail channel.
func New(cfg Config) *Channel { return &Channel{cfg: cfg} }

// Name implements fanfare.Channel.
func (*Channel) Name() fanfare.ChannelName { return fanfare.ChannelEmail }

// Features implements fanfare.Channel.
func (*Channel) Features() fanfare.ChannelFeatures {
	return fanfare.ChannelFeatures{NeedsProfile: true, NeedsAddress: true, Leaves: true, Chunk: 8, Connections: 32, Streams: true}
}

// Check implements fanfare.Channel.
func (*Channel) Check(p fanfare.Provider) error {
	_, err := parse(p)
	return err
}

// Address implements fanfare.Channel. The address is as it is sent: its domain as A-labels.
func (*Channel) Address(r *fanfare.Recipient) (string, fanfare.Reason) {
	if r.Email == "" {
		return "", fanfare.ReasonNoAddress
	}
	a, err := esmtp.ParseAddress(r.Email)
	if err != nil {
		return "", fanfare.ReasonInvalid
	}
	return a.Wire(), ""
}

// Dial implements fanfare.Channel.
func (c *Channel) Dial(ctx context.Context, p fanfare.Provider) (fanfare.Connection, error) {
	s, err := parse(p)
	if err != nil {
		return nil, &fanfare.SendError{Step: string(esmtp.StepConnect), Auth: true, Err: err}
	}
	conn := &connection{settings: s, links: c.cfg.Links, bye: context.WithoutCancel(ctx)}
	conn.smtp.Host, conn.smtp.TLS, conn.smtp.Dial = c.cfg.Host, c.cfg.TLS, c.cfg.Dial
	if err := conn.open(ctx); err != nil {
		return nil, err
	}
	return conn, nil
}

// wire gives a mailbox, "Name <address>" or an address, with its domain as A-labels. What it cannot read stays as it is: it may be a
// template, and whoever compiles it says what is wrong.
func wire(mailbox string) string {
	at := strings.LastIndexByte(mailbox, '@')
	if at < 0 || isASCII(mailbox[at:]) {
		return mailbox
	}
	from, to := 0, len(mailbox)
	if strings.HasSuffix(strings.TrimSpace(mailbox), ">") {
		from, to = strings.LastIndexByte(mailbox, '<')+1, strings.LastIndexByte(mailbox, '>')
	}
	if from > at {
		return mailbox
	}
	a, err := esmtp.ParseAddress(strings.TrimSpace(mailbox[from:to]))
	if err != nil {
		return mailbox
	}
	return mailbox[:from] + a.Wire() + mailbox[to:]
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// sendError makes of the client's error what it means for the provider.
func sendError(err error) error {
	e, ok := errors.AsType[*esmtp.Error](err)
	if !ok {
		return &fanfare.SendError{Step: string(esmtp.StepConnect), Err: err}
	}
	// An account is refused for good by a 5xx, and by what only other settings mend: no way to sign in, no way to be private.
	mend := e.Step == esmtp.StepAuth && !e.Temporary || errors.Is(e.Err, esmtp.ErrNoStartTLS)
	return &fanfare.SendError{Step: string(e.Step), Busy: e.Is421(), Auth: mend, Code: code(e.Code, e.Enhanced), Text: e.Text, Err: e.Err}
}
