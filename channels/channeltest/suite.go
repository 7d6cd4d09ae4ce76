package channeltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"fanfare"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// Run runs the suite.
func Run(t *testing.T, f Features, open Open) {
	s := suite{Features: f, open: open}
	s.all(t)
	if f.Streams {
		s.piece = 1
		t.Run("streamed one by one", s.all)
		s.piece = 3
		t.Run("streamed in threes", s.all)
	}
}

func (s *suite) all(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"description", s.description},
		{"all are sent", s.allSent},
		{"a big chunk", s.bigChunk},
		{"may", s.may},
		{"cancelled before", s.cancelledBefore},
		{"cancelled between", s.cancelledBetween},
		{"connections", s.connections},
		{"dialing", s.dialing},
		{"faults", s.faults},
		{"same item", s.sameItem},
		{"rendering", s.rendering},
		{"hostile values", s.hostileValues},
		{"skips", s.skips},
	} {
		t.Run(c.name, c.run)
	}
}

type suite struct {
	Features
	open  Open
	piece int // so many items at a time go into a stream; 0: no stream
}

func (s *suite) start(t *testing.T, trouble Trouble) *mailing {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after the backend's own cleanup
	m := newMailing(t, s.open(t, trouble))
	if m.piece = s.piece; m.Channel.Features().Streams != s.Streams {
		t.Errorf("the channel streams: %v", !s.Streams)
	}
	return m
}

// send hands items over on one connection and closes it.
func (m *mailing) send(t *testing.T, ctx context.Context, items []fanfare.Outgoing, may func(int) bool) ([]fanfare.SendAnswer, error) {
	t.Helper()
	c := m.dial(t)
	if m.Strike != nil {
		m.Strike()
	}
	a := newAnswers(t, len(items))
	err := c.Send(ctx, items, may, func(i int, said fanfare.SendAnswer) {
		a.take(i, said)
		if m.heard != nil {
			m.heard(i)
		}
	})
	got := a.settle()
	_ = c.Close()
	if err != nil && !errors.As(err, new(*fanfare.SendError)) {
		t.Errorf("no SendError: %v", err)
	}
	return got, err
}

func always(int) bool { return true }

func (s *suite) description(t *testing.T) {
	m := s.start(t, Trouble{Fault: Healthy})
	f := m.Channel.Features()
	if m.Channel.Name() == "" || f.Chunk < 1 || f.Connections < 1 {
		t.Errorf("%q %+v", m.Channel.Name(), f)
	}
	bad := m.Provider
	bad.URL = "nonsense://user:secret@example.org"
	if err := m.Channel.Check(bad); err == nil {
		t.Error("a provider of another kind is taken")
	} else if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error tells the password: %v", err)
	}
	if _, err := m.Channel.Dial(t.Context(), bad); !errors.As(err, new(*fanfare.SendError)) {
		t.Errorf("dialing it is no SendError: %v", err)
	}
}

func (s *suite) allSent(t *testing.T) {
	m := s.start(t, Trouble{Fault: Healthy})
	items := m.items(t, 0, 5)
	asked := make([]int, len(items))
	last := 0
	got, err := m.send(t, t.Context(), items, func(i int) bool {
		if i < last {
			t.Errorf("item %d is asked for after %d", i, last)
		}
		last = i
		asked[i]++
		return true
	})
	if err != nil {
		t.Error(err)
	}
	for i, a := range got {
		if a.Kind != fanfare.SendOK || asked[i] == 0 {
			t.Errorf("item %d: %+v, asked %d times", i, a, asked[i])
		}
	}
	m.truthful(t, items, got)
}

func (s *suite) bigChunk(t *testing.T) {
	m := s.start(t, Trouble{Fault: Healthy})
	items := m.items(t, 0, 500)
	got, err := m.send(t, t.Context(), items, always)
	if err != nil {
		t.Error(err)
	}
	for i, a := range got {
		if a.Kind != fanfare.SendOK {
			t.Fatalf("item %d: %+v", i, a)
		}
	}
	m.truthful(t, items, got)
}

// may: after the first no nothing is asked, nothing leaves, and the connection is as good as before unless Send said otherwise.
func (s *suite) may(t *testing.T) {
	for at := range 5 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			m := s.start(t, Trouble{Fault: Healthy})
			items := m.items(t, 0, 4)
			c := m.dial(t)
			defer func() { _ = c.Close() }()
			a, said := newAnswers(t, len(items)), false
			err := c.Send(t.Context(), items, func(i int) bool {
				if said {
					t.Errorf("item %d is asked for after a no", i)
				}
				said = i >= at
				return !said
			}, a.take)
			got := a.settle()
			for i, a := range got {
				if i < at && a.Kind != fanfare.SendOK || i >= at && a.Kind != fanfare.NotBegun {
					t.Errorf("item %d: %+v", i, a)
				}
			}
			if err == nil && at < len(items) {
				again := newAnswers(t, len(items)-at)
				if err := c.Send(t.Context(), items[at:], always, again.take); err != nil {
					t.Errorf("the rest: %v", err)
				}
				copy(got[at:], again.settle())
			}
			_ = c.Close()
			m.truthful(t, items, got)
		})
	}
}

func (s *suite) cancelledBefore(t *testing.T) {
	m := s.start(t, Trouble{Fault: Healthy})
	items := m.items(t, 0, 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, _ := m.send(t, ctx, items, always)
	for i, a := range got {
		if a.Kind != fanfare.NotBegun {
			t.Errorf("item %d: %+v", i, a)
		}
	}
	m.truthful(t, items, got)
	if c, err := m.Channel.Dial(ctx, m.Provider); err == nil {
		_ = c.Close()
	} else if !errors.As(err, new(*fanfare.SendError)) {
		t.Errorf("no SendError: %v", err)
	}
}

// cancelledBetween ends the context while an item is asked for. Who is told what is open, but it is true, and later ones never begin.
func (s *suite) cancelledBetween(t *testing.T) {
	for at := range 4 {
		m := s.start(t, Trouble{Fault: Healthy})
		items := m.items(t, 0, 6)
		ctx, cancel := context.WithCancel(t.Context())
		got, _ := m.send(t, ctx, items, func(i int) bool {
			if i > at {
				t.Errorf("item %d is asked for after the context ended at item %d", i, at)
			}
			if i == at {
				cancel()
			}
			return true
		})
		cancel()
		if n := len(items) - 1; got[n].Kind != fanfare.NotBegun {
			t.Errorf("cancelled at item %d, the last one: %+v", at, got[n])
		}
		m.truthful(t, items, got)
	}
}

// connections send at the same time and do not disturb each other.
func (s *suite) connections(t *testing.T) {
	m := s.start(t, Trouble{Fault: Healthy})
	const connections, chunk = 8, 20
	items := m.items(t, 0, connections*chunk)
	a := newAnswers(t, len(items))
	var wg sync.WaitGroup
	for n := range connections {
		wg.Go(func() {
			c, err := m.Channel.Dial(t.Context(), m.Provider)
			if err != nil {
				t.Error(err)
				return
			}
			first := n * chunk
			if err := c.Send(t.Context(), items[first:first+chunk], always, func(i int, said fanfare.SendAnswer) { a.take(first+i, said) }); err != nil {
				t.Error(err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	wg.Wait()
	got := a.settle()
	for i, a := range got {
		if a.Kind != fanfare.SendOK {
			t.Errorf("item %d: %+v", i, a)
		}
	}
	m.truthful(t, items, got)
}

// dialing: what the breaker and a person who reads the reason need to know.
func (s *suite) dialing(t *testing.T) {
	for _, fault := range s.Faults {
		if !fault.dialing() {
			continue
		}
		t.Run(string(fault), func(t *testing.T) {
			m := s.start(t, Trouble{Fault: fault})
			c, err := m.Channel.Dial(t.Context(), m.Provider)
			if err == nil {
				_ = c.Close()
				t.Fatal("dialed")
			}
			e, ok := errors.AsType[*fanfare.SendError](err)
			if !ok {
				t.Fatalf("no SendError: %v", err)
			}
			step := map[Fault]string{Down: "connect", GreetingRefused: "greeting", GreetingBusy: "greeting"}[fault]
			if step != "" && e.Step != step {
				t.Errorf("at %s: %v", e.Step, err)
			}
			if e.Busy != (fault == GreetingBusy) || e.Auth != (fault == AccountRefused) {
				t.Errorf("busy %v, auth %v: %v", e.Busy, e.Auth, err)
			}
			if fault != Down && e.Code == "" || fault == Down && e.Err == nil {
				t.Errorf("it does not tell why: %+v", e)
			}
		})
	}
}

func (s *suite) faults(t *testing.T) {
	for _, fault := range s.Faults {
		if fault.dialing() {
			continue
		}
		const chunk = 4
		for at := range chunk {
			if at > 0 && s.All {
				break
			}
			t.Run(fmt.Sprintf("%s at %d", fault, at), func(t *testing.T) { s.fault(t, Trouble{fault, at}, chunk) })
		}
	}
}

func (s *suite) fault(t *testing.T, trouble Trouble, chunk int) {
	m := s.start(t, trouble)
	items := m.items(t, 0, chunk)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if trouble.Fault.hangs() { // its context ends when all before it are answered
		before, over := make(chan struct{}), make(chan struct{})
		defer close(over)
		if m.heard = func(i int) {
			if i == trouble.At-1 {
				close(before)
			}
		}; trouble.At == 0 {
			close(before)
		}
		go func() {
			for _, wait := range []<-chan struct{}{m.Reached, before} {
				select {
				case <-wait:
				case <-over:
					return
				}
			}
			cancel()
		}()
	}
	got, err := m.send(t, ctx, items, always)
	if (err != nil) != trouble.Fault.ends() {
		t.Errorf("the connection ended with %v", err)
	}
	if e, ok := errors.AsType[*fanfare.SendError](err); ok && (e.Step == "" || e.Auth || e.Busy != (trouble.Fault == Busy)) {
		t.Errorf("%+v", e)
	}
	for i, a := range got {
		want := fanfare.SendOK
		switch {
		case i == trouble.At, s.All && i > trouble.At && err == nil:
			want = trouble.Fault.kind()
		case i > trouble.At && err != nil:
			want = fanfare.NotBegun
		}
		if a.Kind != want {
			t.Errorf("item %d: %+v, want kind %d", i, a, want)
		}
		if refused := a.Kind == fanfare.SendPermanent || a.Kind == fanfare.SendTemporary; refused && (a.Code == "" || a.Text == "") {
			t.Errorf("item %d: refused without code or text: %+v", i, a)
		}
	}
	m.truthful(t, items, got)
}

// sameItem: another attempt is the same item, with the same key and, on the same day, the same bytes.
func (s *suite) sameItem(t *testing.T) {
	m := s.start(t, Trouble{Fault: Healthy})
	first, err := m.item(person(1), 1)
	if err != nil {
		t.Fatal(err)
	}
	second, err := m.item(person(1), 2)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Rendered, second.Rendered) {
		t.Error(cmp.Diff(string(first.Rendered), string(second.Rendered)))
	}
	for _, it := range []fanfare.Outgoing{first, second} {
		if got, err := m.send(t, t.Context(), []fanfare.Outgoing{it}, always); err != nil || got[0].Kind != fanfare.SendOK {
			t.Fatal(got, err)
		}
	}
	if m.Arrived == nil {
		return
	}
	arrived := m.Arrived()
	if len(arrived) != 2 || arrived[0].Key != first.Key {
		t.Fatalf("%+v", arrived)
	}
	if diff := cmp.Diff(arrived[0].Bodies, arrived[1].Bodies); diff != "" || arrived[1].Key != first.Key {
		t.Error(diff, arrived[1].Key)
	}
}

// rendering: compiled content is used by many at once; what is rendered goes behind what is there; a preview shows the same values.
func (s *suite) rendering(t *testing.T) {
	m := s.start(t, Trouble{Fault: Healthy})
	items := m.items(t, 0, 50)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			before := []byte("before")
			for i := range items {
				got, err := m.compiled.Render(before, &items[i])
				if err != nil || !bytes.Equal(got, append([]byte("before"), items[i].Rendered...)) {
					t.Errorf("item %d: %q, %v", i, got, err)
				}
			}
		})
	}
	wg.Wait()
	shown, err := m.compiled.Preview(&items[7])
	if err != nil || len(shown) == 0 {
		t.Fatalf("preview: %v, %v", shown, err)
	}
	if !s.Renders {
		return
	}
	for name, want := range map[string]string{"subject": "Hello Name 7", "text": "Dear Name 7,", "html": "<p>Dear Name 7</p>"} {
		if !strings.Contains(shown[name], want) {
			t.Errorf("preview: %s is %q", name, shown[name])
		}
	}
}

// hostile are values that try to be more than a value.
func hostile() []string {
	return []string{
		"a\r\nBcc: evil@evil.example", "a\nBcc: evil@evil.example\n\nbody", "a\rBcc: evil@evil.example", "\r\n.\r\nMAIL FROM:<evil@evil.example>\r\nRCPT TO:<evil@evil.example>\r\nDATA\r\n",
		"a\u2028Bcc: x\u0085Bcc: y\x00\x0b\x0c", "\" <evil@evil.example>, \"", "evil@evil.example", "=?utf-8?q?=0D=0ABcc:_evil=40evil.example?=", "--=_boundary\r\nContent-Type: text/html\r\n\r\n<b>",
		"<script>alert(1)</script>", "{{ recipient.email }}{% for %}", strings.Repeat("x", 5000), strings.Repeat("北京", 500), "\xff\xfe\x00", ".", "..", "\r\n.", "  . ",
	}
}

func (s *suite) hostileValues(t *testing.T) {
	if !s.Renders {
		return // it makes nothing of values
	}
	m := s.start(t, Trouble{Fault: Healthy})
	items := m.items(t, 0, 1)
	for i, value := range hostile() {
		r := person(i + 1)
		r.Attributes["name"] = value
		it, err := m.item(r, 1)
		if errors.As(err, new(*fanfare.SkipError)) {
			continue
		}
		if err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		items = append(items, it)
	}
	if len(items) < len(hostile())-2 {
		t.Errorf("only %d of %d values can be sent", len(items)-1, len(hostile()))
	}
	got, err := m.send(t, t.Context(), items, always)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range got {
		if a.Kind != fanfare.SendOK {
			t.Errorf("item %d: %+v", i, a)
		}
	}
	m.truthful(t, items, got)
	if m.Arrived != nil {
		m.sameShape(t, items[0].Address)
	}
}

// sameShape: what arrived is made of the same fields and parts as the harmless one; sender and reply address are the same.
func (m *mailing) sameShape(t *testing.T, harmless string) {
	t.Helper()
	arrived := m.Arrived()
	at := slices.IndexFunc(arrived, func(a Arrival) bool { return a.Address == harmless })
	if at < 0 {
		t.Fatal("the harmless one did not arrive")
	}
	for _, a := range arrived {
		if diff := cmp.Diff(arrived[at].Shape, a.Shape); diff != "" {
			t.Errorf("%s: %s\n%v", a.Address, diff, a.Fields)
		}
		if a.Sender != arrived[at].Sender || len(a.Bodies) != len(arrived[at].Bodies) || !strings.HasSuffix(a.Fields["Reply-To"], "<help@example.org>") {
			t.Errorf("%s: %+v", a.Address, a)
		}
		for _, body := range a.Bodies {
			if strings.Contains(body, "<script>") && strings.Contains(body, "<p>") {
				t.Errorf("%s: a value became an element: %s", a.Address, body)
			}
		}
	}
}

// skips: whoever cannot be sent to is told apart from content that is wrong.
func (s *suite) skips(t *testing.T) {
	m := s.start(t, Trouble{Fault: Healthy})
	if m.Channel.Features().NeedsAddress {
		addresses := map[string]fanfare.Reason{"": fanfare.ReasonNoAddress}
		for _, bad := range append(hostile(), "a@x> SIZE=1 <b@x.example", "a b@x.example", "a@x.example,b@x.example", "a@", "@x.example", "A <a@x.example>") {
			if bad != "evil@evil.example" {
				addresses[bad] = fanfare.ReasonInvalid
			}
		}
		for address, want := range addresses {
			if got, why := m.Channel.Address(&fanfare.Recipient{ExternalID: "u", Email: address, Phone: address}); why != want || got != "" {
				t.Errorf("%q: %q, %s", address, got, why)
			}
		}
	}
	if !s.Renders {
		return
	}
	nameless := person(1)
	nameless.Attributes = nil
	_, err := m.item(nameless, 1)
	_, shown := m.compiled.Preview(&fanfare.Outgoing{Recipient: nameless, Person: nameless.Person, Address: nameless.Email, Key: "KEY", Message: m.message, Attempt: 1})
	for _, err := range []error{err, shown} {
		if e, ok := errors.AsType[*fanfare.SkipError](err); !ok || e.Reason != fanfare.ReasonMissingField || e.Detail != "name" {
			t.Errorf("without a name: %v", err)
		}
	}
}
