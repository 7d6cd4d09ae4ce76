package email

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare"
	"fanfare/channels/channeltest"
	"fanfare/esmtp"
)

func always(int) bool { return true }

// rendered prepares one item.
func rendered(t *testing.T, c *Channel, email string) fanfare.Outgoing {
	t.Helper()
	m := testMessage(fanfare.Content{Subject: "s", Text: "t"})
	compiled, err := c.Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	it := outgoing(m, &fanfare.Recipient{ExternalID: "u", Email: email})
	if it.Rendered, err = compiled.Render(nil, it); err != nil {
		t.Fatal(err)
	}
	return *it
}

// sendOne sends one item and gives its answer.
func sendOne(t *testing.T, c fanfare.Connection, it fanfare.Outgoing) (said fanfare.SendAnswer, err error) {
	t.Helper()
	err = c.Send(t.Context(), []fanfare.Outgoing{it}, always, func(_ int, a fanfare.SendAnswer) { said = a })
	return said, err
}

func sendErrorOf(t *testing.T, err error) *fanfare.SendError {
	t.Helper()
	e, ok := errors.AsType[*fanfare.SendError](err)
	if !ok {
		t.Fatalf("no SendError: %v", err)
	}
	return e
}

// TestPrivacyIsRequired: without ?starttls= nothing is said in the clear, and no certificate is taken that nobody vouches for.
func TestPrivacyIsRequired(t *testing.T) {
	server, client := certificate(t)
	for _, c := range []struct {
		name, url string
		server    bool // offers STARTTLS
		trusted   bool
		step      esmtp.Step
		mend      bool // only a person can
	}{
		{"no STARTTLS", "smtp://user:pass%2Fw%C3%B6rd@", false, true, esmtp.StepStartTLS, true},
		{"an unknown certificate", "smtp://user:pass%2Fw%C3%B6rd@", true, false, esmtp.StepStartTLS, false},
		{"a wrong password", "smtp://user:wrong@", true, true, esmtp.StepAuth, true},
		{"all well", "smtp://user:pass%2Fw%C3%B6rd@", true, true, "", false},
	} {
		g := newGoSMTP(t, channeltest.Trouble{Fault: channeltest.Healthy})
		conf, trust := server, client
		if !c.server {
			conf = nil
		}
		if !c.trusted {
			trust = nil
		}
		conn, err := trusting(trust).Dial(t.Context(), fanfare.Provider{URL: c.url + g.serve(conf, false, true), From: news})
		if c.step == "" {
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil {
			t.Fatalf("%s: dialed", c.name)
		}
		if e := sendErrorOf(t, err); e.Step != string(c.step) || e.Auth != c.mend {
			t.Errorf("%s: %+v", c.name, e)
		}
		if g.mech != "" {
			t.Errorf("%s: signed in", c.name)
		}
	}
}

// TestAccountWanted: a server that wants an account before it takes anything has refused nobody.
func TestAccountWanted(t *testing.T) {
	g := newGoSMTP(t, channeltest.Trouble{Fault: channeltest.Healthy})
	c := testChannel(fanfare.Provider{})
	conn, err := c.Dial(t.Context(), fanfare.Provider{URL: "smtp://" + g.serve(nil, false, true) + "?starttls=off", From: news})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's
	said, err := sendOne(t, conn, rendered(t, c, "a@x.example"))
	if e := sendErrorOf(t, err); !e.Auth || e.Step != string(esmtp.StepMail) || e.Code != "502 5.7.0" || said.Kind != fanfare.NotBegun {
		t.Errorf("%+v, %+v", said, e)
	}
}

// TestSMTPUTF8: an address beyond ASCII is sent to where the server offers it, and refused for good where it does not. A domain alone
// needs nothing: it goes as A-labels.
func TestSMTPUTF8(t *testing.T) {
	for _, offers := range []bool{true, false} {
		g := newGoSMTP(t, channeltest.Trouble{Fault: channeltest.Healthy})
		c := testChannel(fanfare.Provider{})
		conn, err := c.Dial(t.Context(), fanfare.Provider{URL: "smtp://user:pass%2Fw%C3%B6rd@" + g.serve(nil, false, offers) + "?starttls=off", From: news})
		if err != nil {
			t.Fatal(err)
		}
		said, err := sendOne(t, conn, rendered(t, c, "用户@例子.广告"))
		if err != nil {
			t.Fatal(err)
		}
		if offers && (said.Kind != fanfare.SendOK || !g.options.UTF8 || g.all()[0].Address != "用户@xn--fsqu00a.xn--4rr70v") {
			t.Errorf("%+v, %+v, %+v", said, g.options, g.all())
		}
		if !offers && (said.Kind != fanfare.SendPermanent || said.Text == "" || len(g.all()) > 0) {
			t.Errorf("%+v", said)
		}
		said, err = sendOne(t, conn, rendered(t, c, "ada@bücher.example"))
		if all := g.all(); err != nil || said.Kind != fanfare.SendOK || g.options.UTF8 || all[len(all)-1].Address != "ada@xn--bcher-kva.example" {
			t.Errorf("%+v, %v, %+v", said, err, g.options)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOnlyTo: who is left out is skipped when the item is made; were the pattern set afterwards, nothing would leave either,
// and nobody would be used up: they failed for good.
func TestOnlyTo(t *testing.T) {
	patterns := []string{"*@example.com"}
	staging := testChannel(fanfare.Provider{OnlyTo: patterns})
	m := testMessage(fanfare.Content{Subject: "s", Text: "t"})
	compiled, err := staging.Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	for email, want := range map[string]fanfare.Reason{"ada@example.com": "", "ADA@EXAMPLE.com": "", "ada@example.org": fanfare.ReasonFiltered, "ada@example.com.evil.example": fanfare.ReasonFiltered} {
		_, err := compiled.Render(nil, outgoing(m, &fanfare.Recipient{ExternalID: "u", Email: email}))
		skip, ok := errors.AsType[*fanfare.SkipError](err)
		if ok != (want != "") || ok && skip.Reason != want || !ok && err != nil {
			t.Errorf("%s: %v", email, err)
		}
	}
	h := newHostile(t, channeltest.Trouble{Fault: channeltest.Healthy}, "")
	p := h.provider()
	p.OnlyTo = patterns
	open := testChannel(fanfare.Provider{})
	conn, err := open.Dial(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := rendered(t, open, "a@example.com"), rendered(t, open, "b@example.org"), rendered(t, open, "c@example.com")
	for _, items := range [][]fanfare.Outgoing{{a, b, c}, {b}} {
		var got []string
		err = conn.Send(t.Context(), items, always, func(i int, a fanfare.SendAnswer) {
			if a.Kind != fanfare.NotBegun && a.Kind != fanfare.SendOK {
				t.Errorf("%+v", a)
			}
			if a.Kind == fanfare.SendOK {
				got = append(got, items[i].Address)
			}
		})
		if e := sendErrorOf(t, err); e.Step != string(esmtp.StepRender) || e.Auth || e.Busy {
			t.Error(err)
		}
		if len(items) == 3 && !slices.Equal(got, []string{a.Address, c.Address}) || len(items) == 1 && len(got) > 0 || len(h.all()) != 2 {
			t.Errorf("%v, %+v", got, h.all())
		}
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// TestEnvelope: what is said to the server: the sender is the From address, and a good-bye at the end.
func TestEnvelope(t *testing.T) {
	h := newHostile(t, channeltest.Trouble{Fault: channeltest.Healthy}, "")
	c := testChannel(fanfare.Provider{})
	conn, err := c.Dial(t.Context(), h.provider())
	if err != nil {
		t.Fatal(err)
	}
	if said, err := sendOne(t, conn, rendered(t, c, "a@x.example")); err != nil || said.Kind != fanfare.SendOK {
		t.Fatalf("%+v, %v", said, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"MAIL FROM:<news@example.org>", "RCPT TO:<a@x.example>", "QUIT"} {
		if !slices.ContainsFunc(h.lines, func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("%q is not among %q", want, h.lines)
		}
	}
}

// TestNotRendered: an item without its bytes is a mistake of the caller, and nothing leaves.
func TestNotRendered(t *testing.T) {
	h := newHostile(t, channeltest.Trouble{Fault: channeltest.Healthy}, "")
	c := testChannel(fanfare.Provider{})
	conn, err := c.Dial(t.Context(), h.provider())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's
	it := rendered(t, c, "a@x.example")
	it.Rendered = nil
	said, err := sendOne(t, conn, it)
	if e := sendErrorOf(t, err); e.Step != string(esmtp.StepRender) || said.Kind != fanfare.NotBegun {
		t.Errorf("%+v, %v", said, err)
	}
}

// TestIdleConnection: a server that closed an idle connection is asked for another one; nobody is told that it is down.
func TestIdleConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hostile{t: t, trouble: channeltest.Trouble{Fault: channeltest.Healthy}, reached: make(chan struct{})}
		var theirs net.Conn
		dialed := 0
		c := New(Config{Provider: func(*fanfare.Message) fanfare.Provider { return fanfare.Provider{From: news} },
			Dial: func(context.Context, string, string) (net.Conn, error) {
				var ours net.Conn
				ours, theirs = net.Pipe()
				server := theirs
				h.conns.Go(func() { h.serve(server) })
				dialed++
				return ours, nil
			}})
		conn, err := c.Dial(t.Context(), fanfare.Provider{URL: "smtp://127.0.0.1:25?starttls=off", From: news})
		if err != nil {
			t.Fatal(err)
		}
		it := rendered(t, c, "a@x.example")
		for i, c := range []struct {
			idle   time.Duration
			closes bool
			dialed int
		}{{0, false, 1}, {2 * time.Second, false, 1}, {time.Minute, false, 1}, {time.Minute, true, 2}, {0, false, 2}} {
			time.Sleep(c.idle)
			if c.closes {
				_ = theirs.Close()
			}
			said, err := sendOne(t, conn, it)
			if err != nil || said.Kind != fanfare.SendOK || dialed != c.dialed {
				t.Errorf("%d: %+v, %v, dialed %d times", i, said, err, dialed)
			}
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		h.conns.Wait()
		if len(h.all()) != 5 {
			t.Errorf("%d arrived", len(h.all()))
		}
	})
}
