package email

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fanfare"
	"fanfare/esmtp"
	"fanfare/merge/mailbody"
)

// settings are a provider's, read and found good.
type settings struct {
	smtp   esmtp.Config
	onlyTo patterns
	back   [2]string // before and behind the token in the envelope sender; empty: that is the sender's address
	sign   *signer   // nil: mail goes unsigned
}

// parse reads a provider's settings. An error says what to do, and never repeats the URL: it holds a password.
func parse(p fanfare.Provider) (settings, error) {
	s, err := parseURL(p.URL)
	if err == nil {
		err = checkFrom(p.From)
	}
	if err == nil && (p.Timeout < 0 || p.Connections < 0 || p.Chunk < 0 || p.Rate < 0) {
		err = errors.New("timeout, connections, chunk and rate_per_second cannot be negative; leave out what has no limit of its own")
	}
	if err == nil {
		s.onlyTo, err = newPatterns(p.OnlyTo)
	}
	if err == nil {
		s.sign, err = newSigner(p.DKIM)
	}
	if err == nil && p.Bounces != "" {
		s.back, err = returnAddress(p.Bounces)
	}
	if err != nil {
		return settings{}, fmt.Errorf("provider %s: %w", p.Name, err)
	}
	if t := p.Timeout; t > 0 {
		s.smtp.Timeouts = esmtp.Timeouts{Connect: min(t, 30*time.Second), Greeting: t, Command: t, Data: t, Final: max(t, 300*time.Second)}
	}
	return s, nil
}

const example = "write it like smtp://user:password@mail.example.org:587"

func parseURL(raw string) (settings, error) {
	var s settings
	if raw == "" {
		return s, errors.New("url is missing; " + example)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return s, errors.New("url cannot be read; " + example + " and percent-encode : / ? # @ and % in the user name and the password")
	}
	switch u.Scheme {
	case "smtp":
	case "smtps":
		s.smtp.ImplicitTLS = true
	default:
		return s, fmt.Errorf("url: the scheme %q is none of e-mail; it is smtp:// or smtps://", u.Scheme)
	}
	if u.Opaque != "" || u.Hostname() == "" {
		return s, errors.New("url names no host; " + example)
	}
	if u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return s, errors.New("url: nothing stands behind host:port but ?starttls=; percent-encode / ? # in the user name and the password")
	}
	if u.User != nil {
		s.smtp.Username = u.User.Username()
		s.smtp.Password, _ = u.User.Password()
		if s.smtp.Username == "" || s.smtp.Password == "" {
			return s, errors.New("url: a user name and a password are needed, or neither; " + example)
		}
	}
	port := u.Port()
	switch {
	case port != "":
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return s, fmt.Errorf("url: %s is no port; it is 1 to 65535", port)
		}
	case s.smtp.ImplicitTLS:
		port = "465"
	case s.smtp.Username != "":
		port = "587"
	default:
		port = "25"
	}
	s.smtp.Addr = net.JoinHostPort(u.Hostname(), port)
	return s, s.query(u)
}

func (s *settings) query(u *url.URL) error {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("url: what follows the ? cannot be read; write ?starttls=required, opportunistic or off")
	}
	for name, values := range q {
		if name != "starttls" {
			return fmt.Errorf("url: %q is unknown; there is only starttls", name)
		}
		if s.smtp.ImplicitTLS {
			return errors.New("url: smtps:// is TLS from the first byte; leave starttls out")
		}
		if len(values) > 1 {
			return errors.New("url: starttls is given twice; leave one")
		}
		switch values[0] {
		case "required":
			s.smtp.StartTLS = esmtp.Required
		case "opportunistic":
			s.smtp.StartTLS = esmtp.Opportunistic
		case "off":
			s.smtp.StartTLS = esmtp.Off
		default:
			return fmt.Errorf("url: starttls=%q is unknown; it is required (the default), opportunistic or off", values[0])
		}
	}
	if s.smtp.Username != "" && s.smtp.StartTLS == esmtp.Off && !loopback(u.Hostname()) {
		return errors.New("url: a password does not leave this machine without TLS; use smtps:// or starttls=required")
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

func checkFrom(from string) error {
	if strings.TrimSpace(from) == "" {
		return errors.New(`from is missing; write from = "News <news@example.org>"`)
	}
	_, err := mailbody.Compile(mailbody.Content{Subject: "x", Text: "x", From: wire(from)}, mailbody.Options{})
	if err == nil && domain(from) == "" {
		err = esmtp.ErrAddress
	}
	if err != nil {
		return fmt.Errorf(`from %q is no address; write "News <news@example.org>"`, from)
	}
	return nil
}

// TokenSize is how long an item's token in the envelope sender may be.
const TokenSize = 53

// returnAddress parts an address at the word KEY, which stands for the token.
func returnAddress(pattern string) (parts [2]string, err error) {
	const say = `bounces: write it like "b+KEY@bounce.example.org": an address with KEY before the @, once, and eleven more characters there at most`
	before, after, found := strings.Cut(pattern, "KEY")
	if !found || strings.Contains(after, "KEY") || strings.Contains(before, "@") {
		return parts, errors.New(say)
	}
	a, err := esmtp.ParseAddress(before + strings.Repeat("0", TokenSize) + after)
	if err != nil || a.UTF8 {
		return parts, errors.New(say)
	}
	before, after, _ = strings.Cut(a.Wire(), strings.Repeat("0", TokenSize))
	return [2]string{before, after}, nil
}

// patterns say to whom mail may go: an address in which each * stands for any characters. None: to everybody.
type patterns []string

func newPatterns(list []string) (patterns, error) {
	var ps patterns
	for _, p := range list {
		p = strings.ToLower(strings.TrimSpace(p))
		if strings.Count(p, "@") != 1 && p != "*" {
			return nil, fmt.Errorf(`only_to: %q is no pattern; write an address, or "*@example.com" for a whole domain`, p)
		}
		ps = append(ps, wirePattern(p))
	}
	return ps, nil
}

// wirePattern gives a pattern whose domain is written out, or all but its first labels, with A-labels.
func wirePattern(p string) string {
	if isASCII(p) {
		return p
	}
	at := strings.LastIndexByte(p, '@') + 1
	at += len(p[at:]) - len(strings.TrimPrefix(p[at:], "*."))
	a, err := esmtp.ParseAddress("x@" + p[at:])
	if err != nil {
		return p
	}
	return p[:at] + a.Wire()[len("x@"):]
}

// allow says whether mail may go to an address.
func (ps patterns) allow(address string) bool {
	if len(ps) == 0 {
		return true
	}
	a, err := esmtp.ParseAddress(address)
	if err != nil {
		return false
	}
	key := a.Key()
	for _, p := range ps {
		if match(p, key) {
			return true
		}
	}
	return false
}

// match compares s with a pattern in which * stands for any characters.
func match(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s = s[at+len(part):]
	}
	return true
}
