package esmtp

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// startTLS asks for TLS as configured. Whatever came before is forgotten: the server is greeted anew.
func (c *Conn) startTLS(ctx context.Context, cfg Config, host string) *Error {
	if cfg.StartTLS == Off || cfg.StartTLS == Opportunistic && !c.caps.StartTLS {
		return nil
	}
	if !c.caps.StartTLS {
		return c.end(&Error{Step: StepStartTLS, Err: ErrNoStartTLS})
	}
	r, err := c.command(ctx, StepStartTLS, "STARTTLS")
	if err != nil {
		return err
	}
	if r.code != 220 {
		return c.refused(StepStartTLS, r)
	}
	// Bytes that came with the answer are plaintext that somebody wants us to take for the server's word under TLS.
	if c.in.in.Buffered() > 0 {
		return c.end(&Error{Step: StepStartTLS, Err: fmt.Errorf("%w: plaintext after the answer to STARTTLS", ErrProtocol)})
	}
	if err := c.secure(ctx, cfg, host, StepStartTLS); err != nil {
		return err
	}
	return c.hello(ctx, cfg)
}

func (c *Conn) secure(ctx context.Context, cfg Config, host string, step Step) *Error {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.TLS != nil {
		conf = cfg.TLS.Clone()
	}
	if conf.ServerName == "" {
		conf.ServerName = host
	}
	secured := tls.Client(c.raw, conf)
	_ = c.raw.SetDeadline(time.Now().Add(c.t.Connect))
	if err := secured.HandshakeContext(ctx); err != nil {
		e := c.lost(ctx, step, fmt.Errorf("TLS: %w", err))
		var certificate *tls.CertificateVerificationError
		e.Temporary = !errors.As(err, &certificate)
		return e
	}
	_ = c.raw.SetDeadline(time.Time{})
	c.readBy, c.writeBy = deadline{}, deadline{}
	c.nc, c.in = secured, newReplies(secured)
	return nil
}

// auth signs in by PLAIN, or by LOGIN where only that is offered.
func (c *Conn) auth(ctx context.Context, cfg Config, host string) *Error {
	switch {
	case !c.caps.TLS && !cfg.PlaintextAuth && !loopback(host):
		return c.end(&Error{Step: StepAuth, Err: ErrPlaintextAuth})
	case strings.ContainsRune(cfg.Username+cfg.Password, 0):
		return c.end(&Error{Step: StepAuth, Err: errors.New("a user name or password with a NUL")})
	case c.caps.AuthPlain:
		token := base64.StdEncoding.EncodeToString([]byte("\x00" + cfg.Username + "\x00" + cfg.Password))
		return c.authSteps(ctx, "AUTH PLAIN "+token)
	case c.caps.AuthLogin:
		return c.authSteps(ctx, "AUTH LOGIN", base64.StdEncoding.EncodeToString([]byte(cfg.Username)),
			base64.StdEncoding.EncodeToString([]byte(cfg.Password)))
	default:
		return c.end(&Error{Step: StepAuth, Err: ErrNoAuth})
	}
}

// authSteps sends the lines: 334 after each but the last, 235 after that.
func (c *Conn) authSteps(ctx context.Context, lines ...string) *Error {
	defer func() { clear(c.out) }() // no password stays in a buffer
	for i, line := range lines {
		r, err := c.command(ctx, StepAuth, line)
		if err != nil {
			return err
		}
		want := 334
		if i == len(lines)-1 {
			want = 235
		}
		if r.code != want {
			return c.refused(StepAuth, r)
		}
	}
	return nil
}

// loopback says whether a host, as configured, is this machine. A name other than localhost is not looked up: names can lie.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
