package email

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"fanfare"
	"fanfare/channels/channeltest"
)

// hostile is a server that keeps to the protocol until its fault, which comes at one step of one envelope.
type hostile struct {
	t       *testing.T
	trouble channeltest.Trouble
	step    string // MAIL, RCPT, DATA or . (the last dot)
	l       net.Listener
	conns   sync.WaitGroup
	reached chan struct{}

	mu      sync.Mutex // guards all below
	offered int
	arrived []channeltest.Arrival
	lines   []string
	open    []net.Conn
}

func newHostile(t *testing.T, trouble channeltest.Trouble, step string) *hostile {
	t.Helper()
	h := &hostile{t: t, trouble: trouble, step: step, reached: make(chan struct{})}
	var err error
	if h.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	h.conns.Go(func() {
		for {
			c, err := h.l.Accept()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.open = append(h.open, c)
			h.mu.Unlock()
			h.conns.Go(func() { h.serve(c) })
		}
	})
	t.Cleanup(h.stop)
	return h
}

func (h *hostile) stop() {
	_ = h.l.Close()
	h.mu.Lock()
	for _, c := range h.open {
		_ = c.Close()
	}
	h.mu.Unlock()
	h.conns.Wait()
}

func (h *hostile) serve(c net.Conn) {
	defer c.Close() //nolint:errcheck // a test's
	d := &dialog{h: h, c: c, in: bufio.NewReader(c)}
	switch h.trouble.Fault {
	case channeltest.GreetingRefused:
		_ = d.say("554 5.3.2 no service here")
		return
	case channeltest.GreetingBusy:
		_ = d.say("421 4.3.2 too many connections")
		return
	}
	_ = d.say("220 hostile ESMTP")
	for d.next() {
	}
}

// dialog is one connection.
type dialog struct {
	h        *hostile
	c        net.Conn
	in       *bufio.Reader
	from, to string
	meets    bool
}

func (d *dialog) say(line string) bool {
	_, err := io.WriteString(d.c, line+"\r\n")
	return err == nil
}

// next answers one command; false at the end.
func (d *dialog) next() bool {
	line, err := d.in.ReadString('\n')
	if err != nil {
		return false
	}
	line = strings.TrimSuffix(line, "\r\n")
	d.h.mu.Lock()
	d.h.lines = append(d.h.lines, line)
	d.h.mu.Unlock()
	verb, _, _ := strings.Cut(line, " ")
	switch verb {
	case "EHLO":
		return d.say("250-hostile\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN")
	case "AUTH":
		if d.h.trouble.Fault == channeltest.AccountRefused {
			return d.say("535 5.7.8 who are you")
		}
		return d.say("235 2.7.0 welcome")
	case "MAIL":
		d.h.mu.Lock()
		d.meets = d.h.offered == d.h.trouble.At
		d.h.offered++
		d.h.mu.Unlock()
		d.from, d.to = path(line), ""
		return d.at(verb, "250 2.1.0 ok", func() { d.from = "" })
	case "RCPT":
		if d.from == "" {
			return d.say("503 5.5.1 MAIL first")
		}
		d.to = path(line)
		return d.at(verb, "250 2.1.5 ok", func() { d.to = "" })
	case "DATA":
		if d.to == "" {
			return d.say("554 5.5.1 no valid recipients")
		}
		begins := true
		return d.at(verb, "354 go", func() { begins = false }) && (!begins || d.body())
	case "RSET":
		d.from, d.to = "", ""
		return d.say("250 2.0.0 ok")
	case "QUIT":
		_ = d.say("221 2.0.0 bye")
		return false
	}
	return d.say("500 5.5.2 what?")
}

func path(line string) string {
	_, rest, _ := strings.Cut(line, "<")
	address, _, _ := strings.Cut(rest, ">")
	return address
}

func (d *dialog) body() bool {
	var raw strings.Builder
	for {
		line, err := d.in.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		raw.WriteString(strings.TrimPrefix(line, "."))
	}
	fault := d.h.trouble.Fault
	refuses := d.meets && d.h.step == "." && (fault == channeltest.RefusedForGood || fault == channeltest.RefusedForNow || fault == channeltest.Busy)
	if !refuses {
		a, err := channeltest.Mail(d.from, d.to, []byte(raw.String()))
		if err != nil {
			d.h.t.Error(err)
		}
		d.h.mu.Lock()
		d.h.arrived = append(d.h.arrived, a)
		d.h.mu.Unlock()
	}
	d.from, d.to = "", ""
	return d.at(".", "250 2.0.0 taken", func() {})
}

// at answers a step: as usual, or with the fault.
func (d *dialog) at(step, usual string, refused func()) bool {
	if !d.meets || step != d.h.step {
		return d.say(usual)
	}
	switch d.h.trouble.Fault {
	case channeltest.RefusedForGood:
		refused()
		return d.say("550-5.7.1 refused\r\n550 5.7.1 for good")
	case channeltest.RefusedForNow:
		refused()
		return d.say("451 4.7.1 later")
	case channeltest.Busy:
		_ = d.say("421 4.3.2 going down")
		return false
	case channeltest.ClosedBefore, channeltest.ClosedAfter:
		return false
	case channeltest.HangsBefore, channeltest.HangsAfter:
		close(d.h.reached)
		_, _ = io.Copy(io.Discard, d.in)
		return false
	}
	return d.say(usual)
}

func (h *hostile) all() []channeltest.Arrival {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.arrived
}

func (h *hostile) provider() fanfare.Provider {
	return fanfare.Provider{Name: "mail", Channel: fanfare.ChannelEmail, URL: fmt.Sprintf("smtp://user:secret@%s?starttls=off", h.l.Addr()), From: news}
}

// TestHostile holds the channel to its contract against a server that breaks off, refuses and hangs at each step of the dialogue.
func TestHostile(t *testing.T) {
	before := []channeltest.Fault{channeltest.RefusedForGood, channeltest.RefusedForNow, channeltest.Busy, channeltest.ClosedBefore, channeltest.HangsBefore}
	for step, faults := range map[string][]channeltest.Fault{
		"MAIL": append([]channeltest.Fault{channeltest.Down, channeltest.GreetingRefused, channeltest.GreetingBusy, channeltest.AccountRefused}, before...),
		"RCPT": before,
		"DATA": before,
		".":    {channeltest.RefusedForGood, channeltest.RefusedForNow, channeltest.Busy, channeltest.ClosedAfter, channeltest.HangsAfter},
	} {
		t.Run(step, func(t *testing.T) {
			channeltest.Run(t, channeltest.Features{Ledger: true, Renders: true, Streams: true, Faults: faults}, func(t *testing.T, trouble channeltest.Trouble) channeltest.Backend {
				h := newHostile(t, trouble, step)
				if trouble.Fault == channeltest.Down {
					h.stop()
				}
				return channeltest.Backend{Channel: testChannel(fanfare.Provider{}), Provider: h.provider(), Reached: h.reached, Arrived: h.all}
			})
		})
	}
}
