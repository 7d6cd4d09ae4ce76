package esmtp

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Step is a place in the dialogue.
type Step string

// The steps.
const (
	StepConnect  Step = "connect"
	StepGreeting Step = "greeting"
	StepEHLO     Step = "ehlo"
	StepStartTLS Step = "starttls"
	StepAuth     Step = "auth"
	StepRender   Step = "render" // the message's own Render failed; nothing left
	StepMail     Step = "mail"
	StepRcpt     Step = "rcpt"
	StepData     Step = "data"
	StepBody     Step = "body" // from the first byte of the message to the answer to its last dot
	StepRset     Step = "rset"
	StepQuit     Step = "quit"
)

// Error is a failure of the connection: a refusal by the server (Code is set) or a connection that could not be made, was lost,
// timed out or spoke nonsense (Err is set). After one from [Conn.Send] the connection is of no use any more.
type Error struct {
	Step      Step
	Code      int    // the reply's code; 0: no reply
	Enhanced  string // "4.7.1", empty without
	Text      string // at most 500 bytes of valid UTF-8 without control characters
	Temporary bool   // trying again later may help
	Err       error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("smtp ")
	b.WriteString(string(e.Step))
	b.WriteByte(':')
	if e.Code != 0 {
		b.WriteByte(' ')
		b.WriteString(strconv.Itoa(e.Code))
	}
	for _, s := range []string{e.Enhanced, e.Text} {
		if s != "" {
			b.WriteByte(' ')
			b.WriteString(s)
		}
	}
	if e.Err != nil {
		b.WriteByte(' ')
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Is421 says whether the server closed its service (RFC 5321, 3.8): it wants no more on this connection, whoever it is for.
func (e *Error) Is421() bool { return e.Code == 421 }

// BeforeGreeting says whether the server never said that it is ready: not reached, or no good greeting.
func (e *Error) BeforeGreeting() bool { return e.Step == StepConnect || e.Step == StepGreeting }

// What an [Error] wraps when no reply says it.
var (
	// ErrProtocol: the server's bytes are not a reply, or not one that the step allows.
	ErrProtocol = errors.New("the server does not speak SMTP as it should")
	// ErrNoStartTLS: TLS is required and the server does not offer STARTTLS.
	ErrNoStartTLS = errors.New("the server does not offer STARTTLS; use smtps:// or, on a trusted network only, starttls=off")
	// ErrNoAuth: a user name is configured and the server offers neither AUTH PLAIN nor AUTH LOGIN.
	ErrNoAuth = errors.New("the server offers neither AUTH PLAIN nor AUTH LOGIN; remove the user name or use another port")
	// ErrPlaintextAuth: credentials would leave without TLS.
	ErrPlaintextAuth = errors.New("credentials are not sent without TLS to a host that is not loopback; use smtps:// or starttls=required")
	// ErrNotPermitted: the permission to send was withdrawn between an envelope and its body.
	ErrNotPermitted = errors.New("the permission to send was withdrawn before the body left")
)

// maxText is how much of a server's text is kept.
const maxText = 500

// cleanText makes a server's words fit to store and show: valid UTF-8, controls as spaces, cut at a character's border.
func cleanText(raw []byte) string {
	if len(raw) > maxText*4 {
		raw = raw[:maxText*4]
	}
	clean := len(raw) <= maxText
	for _, b := range raw {
		if b < ' ' || b > '~' {
			clean = false
			break
		}
	}
	if clean {
		return string(raw)
	}
	out := make([]byte, 0, maxText)
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		raw = raw[n:]
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			r = ' '
		}
		if len(out)+utf8.RuneLen(r) > maxText {
			break
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}
