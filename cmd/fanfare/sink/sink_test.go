package sink_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fanfare/cmd/fanfare/sink"
	"fanfare/esmtp"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(t testing.TB, s *sink.Server) *esmtp.Conn {
	t.Helper()
	c, err := esmtp.Dial(t.Context(), esmtp.Config{Addr: s.Addr(), StartTLS: esmtp.Off})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// send sends a message with its own Message-ID to each address.
func send(t testing.TB, c *esmtp.Conn, to ...string) ([]esmtp.Answer, error) {
	t.Helper()
	var msgs []esmtp.Message
	for _, a := range to {
		msgs = append(msgs, esmtp.Message{From: "news@example.org", To: a, Body: []byte("Subject: hi\r\nmessage-id: <" + a + ">\r\n\r\nMessage-ID: <no>\r\n.\r\n")})
	}
	answers := make([]esmtp.Answer, len(to))
	err := c.Send(t.Context(), msgs, nil, func(i int, a esmtp.Answer) { answers[i] = a })
	return answers, err
}

func addresses(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("u%d@example.com", i))
	}
	return out
}

func TestRefusals(t *testing.T) {
	cfg := sink.Config{Refuse: 0.1, Temporary: 0.1}
	s := run(t, cfg)
	c := dial(t, s)
	to := addresses(2000)
	want := map[sink.Verdict]int{}
	for attempt := range 2 {
		got, err := send(t, c, to...)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range got {
			v := cfg.Verdict(strings.ToUpper(to[i]))
			want[v]++
			code := 250
			switch {
			case v == sink.RefusedForGood:
				code = 550
			case v == sink.RefusedAtFirst && attempt == 0:
				code = 450
			}
			if a.Code != code || a.Kind != map[int]esmtp.Kind{250: esmtp.Sent, 450: esmtp.Failed, 550: esmtp.Failed}[code] || a.Temporary != (code == 450) {
				t.Fatalf("attempt %d: %s: %+v, want %d", attempt, to[i], a, code)
			}
		}
	}
	good, first, fine := want[sink.RefusedForGood]/2, want[sink.RefusedAtFirst]/2, want[sink.Accepted]/2
	if good < 150 || good > 250 || first < 150 || first > 250 {
		t.Errorf("of 2,000: %d refused for good, %d at first", good, first)
	}
	got := s.Counts()
	if got.LastBegun == nil {
		t.Error("no time of the last envelope")
	}
	got.LastBegun = nil
	if diff := cmp.Diff(sink.Counts{Begun: 4000, Accepted: int64(2*fine + first), Recipients: int64(fine + first), Duplicates: int64(fine),
		RefusedForGood: int64(2 * good), RefusedForNow: int64(first), Connections: 1}, got); diff != "" {
		t.Error(diff)
	}
	if n := len(s.Duplicates()); n != fine {
		t.Errorf("%d duplicates, want %d", n, fine)
	}
}

func TestLedger(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ledger.tsv")
	s, err := sink.New(sink.Config{Ledger: file, Keep: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	c := dial(t, s)
	if _, err := send(t, c, "a@x.example", "b@x.example", "a@X.example"); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(t.Context(), []esmtp.Message{{To: "a@x.example", Body: []byte("no header\r\n")}}, nil, func(int, esmtp.Answer) {}); err != nil {
		t.Fatal(err)
	}
	want := []sink.Dup{{Address: "a@x.example", Copies: 3, MessageIDs: []string{"a@x.example", "a@X.example", ""}}}
	if diff := cmp.Diff(want, s.Duplicates()); diff != "" {
		t.Error(diff)
	}
	e, ok := s.Lookup("B@x.example")
	if !ok || e.Copies != 1 || e.First.IsZero() || e.Last.Before(e.First) {
		t.Errorf("%+v", e)
	}
	if _, ok := s.Lookup("c@x.example"); ok {
		t.Error("c got nothing")
	}
	kept := s.Messages(10)
	if len(kept) != 2 || kept[0].From != "" || kept[0].Raw != "no header\r\n" || kept[1].From != "news@example.org" || !slices.Equal(kept[1].To, []string{"a@X.example"}) ||
		!strings.HasSuffix(kept[1].Raw, "\r\n\r\nMessage-ID: <no>\r\n.\r\n") {
		t.Errorf("%+v", kept)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		lines = append(lines, rest)
	}
	if diff := cmp.Diff([]string{"a@x.example\ta@x.example", "b@x.example\tb@x.example", "a@X.example\ta@X.example", "a@x.example\t"}, lines); diff != "" {
		t.Error(diff)
	}
}

func TestModes(t *testing.T) {
	s := run(t, sink.Config{})
	c := dial(t, s)
	s.Answer421(true)
	got, err := send(t, c, "a@x.example")
	var e *esmtp.Error
	if !errors.As(err, &e) || !e.Is421() || got[0].Kind != esmtp.NotAccepted {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := esmtp.Dial(t.Context(), esmtp.Config{Addr: s.Addr(), StartTLS: esmtp.Off}); !errors.As(err, &e) || !e.Is421() || e.Step != esmtp.StepGreeting {
		t.Error(err)
	}
	s.Answer421(false)
	c = dial(t, s)
	for range 2 {
		if err := s.Down(true); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := send(t, c, "a@x.example"); err == nil || got[0].Kind != esmtp.NotAccepted && got[0].Kind != esmtp.NotBegun {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := esmtp.Dial(t.Context(), esmtp.Config{Addr: s.Addr()}); !errors.As(err, &e) || e.Step != esmtp.StepConnect {
		t.Error(err)
	}
	if down, _ := s.Mode(); !down {
		t.Error("not down")
	}
	for range 2 {
		if err := s.Down(false); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := send(t, dial(t, s), "a@x.example"); err != nil || got[0].Kind != esmtp.Sent || s.Accepted() != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestStatus(t *testing.T) {
	s := run(t, sink.Config{Status: "127.0.0.1:0"})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(method, path, body string, want int) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.StatusAddr()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != want {
			t.Errorf("%s %s: %d %s %v", method, path, resp.StatusCode, b, err)
		}
		return string(b)
	}
	if got := get("GET", "/counts", "", 200); !strings.Contains(got, `"last_begun":null`) {
		t.Error(got)
	}
	if _, err := send(t, dial(t, s), "a@x.example", "b@x.example", "b@x.example"); err != nil {
		t.Fatal(err)
	}
	var c sink.Counts
	if err := json.Unmarshal([]byte(get("GET", "/counts", "", 200)), &c); err != nil || c.Accepted != 3 || c.Recipients != 2 || c.Duplicates != 1 || c.LastBegun == nil {
		t.Errorf("%+v, %v", c, err)
	}
	rows := strings.Split(get("GET", "/ledger", "", 200), "\n")
	slices.Sort(rows)
	if len(rows) != 4 || !strings.HasPrefix(rows[2], "address\tcopies\t") && !strings.HasPrefix(rows[2], "a@x.example\t1\t") || !strings.HasSuffix(rows[3], "\tb@x.example,b@x.example") {
		t.Errorf("%q", rows)
	}
	var kept []sink.Message
	if err := json.Unmarshal([]byte(get("GET", "/messages?limit=2", "", 200)), &kept); err != nil || len(kept) != 2 || kept[0].To[0] != "b@x.example" {
		t.Errorf("%+v, %v", kept, err)
	}
	if got := get("GET", "/", "", 200); !strings.Contains(got, "accepted         3") || !strings.Contains(got, "Subject: hi") {
		t.Error(got)
	}
	if got := get("GET", "/duplicates", "", 200); !strings.Contains(got, `"copies":2`) {
		t.Error(got)
	}
	get("POST", "/mode", `{"dwon":true}`, 400)
	if got := get("POST", "/mode", `{"down":true,"answer_421":true}`, 200); !strings.Contains(got, `"down":true,"answer_421":true`) {
		t.Error(got)
	}
	if got := get("POST", "/mode", `{"down":false,"answer_421":false}`, 200); !strings.Contains(got, `"down":false,"answer_421":false`) {
		t.Error(got)
	}
}

func TestWithout(t *testing.T) {
	s := run(t, sink.Config{Without: []string{"PIPELINING", "SMTPUTF8"}})
	c := dial(t, s)
	if caps := c.Caps(); caps.Pipelining || caps.SMTPUTF8 || !caps.EightBitMIME || !caps.Enhanced || caps.Size != 32<<20 || !caps.AuthPlain || !caps.AuthLogin {
		t.Errorf("%+v", caps)
	}
	if got, err := send(t, c, "a@x.example", "b@x.example"); err != nil || got[1].Kind != esmtp.Sent {
		t.Errorf("%+v, %v", got, err)
	}
	for _, user := range []string{"", "anybody"} {
		c, err := esmtp.Dial(t.Context(), esmtp.Config{Addr: s.Addr(), StartTLS: esmtp.Off, Username: user})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Quit(t.Context())
	}
}

// TestPieces sends the same dialogue cut into any pieces: the sink keeps what was sent.
func TestPieces(t *testing.T) {
	s := run(t, sink.Config{Keep: 1, MaxSize: 100_000})
	rapid.Check(t, func(r *rapid.T) {
		lines := rapid.SliceOfN(rapid.SampledFrom([]string{"", ".", "..", "a", ".a", strings.Repeat("long", 6000), "MAIL FROM:<x>"}), 0, 6).Draw(r, "body")
		var body, wire strings.Builder
		for _, l := range lines {
			body.WriteString(l + "\r\n")
			if strings.HasPrefix(l, ".") {
				wire.WriteByte('.')
			}
			wire.WriteString(l + "\r\n")
		}
		// The 354 is not waited for: the sink does not mind.
		all := "EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n" + wire.String() + ".\r\nNOOP\r\nQUIT\r\n"
		before := s.Accepted()
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			r.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		for _, cut := range rapid.SliceOfN(rapid.IntRange(1, 5000), 0, 10).Draw(r, "pieces") {
			cut = min(cut, len(all))
			if _, err := io.WriteString(c, all[:cut]); err != nil {
				r.Fatal(err)
			}
			all = all[cut:]
		}
		if _, err := io.WriteString(c, all); err != nil {
			r.Fatal(err)
		}
		answers, err := io.ReadAll(c)
		if err != nil || !bytes.HasSuffix(answers, []byte("\r\n250 2.0.0 OK\r\n221 2.0.0 bye\r\n")) {
			r.Fatalf("%q, %v", answers, err)
		}
		if s.Accepted() != before+1 || s.Messages(1)[0].Raw != body.String() {
			r.Fatalf("kept %q, sent %q", s.Messages(1)[0].Raw, body.String())
		}
	})
}

// TestHostile: nonsense is refused, too much ends the connection, and the sink lives on.
func TestHostile(t *testing.T) {
	s := run(t, sink.Config{MaxSize: 1000})
	for in, want := range map[string]string{
		"MAIL FROM:<a@x>":                           "503 5.5.1",
		"EHLO x\r\nRCPT TO:<a@x>":                   "503 5.5.1",
		"EHLO x\r\nDATA":                            "503 5.5.1",
		"EHLO x\r\nMAIL FROM:a@x":                   "501 5.1.7",
		"EHLO x\r\nMAIL FROM:<a@x":                  "501 5.1.7",
		"EHLO x\r\nMAIL FROM:<>\r\nMAIL FROM:<>":    "503 5.5.1",
		"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a b@x>": "553 5.1.3",
		"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>x":  "501 5.1.3",
		"EHLO x\r\nMAIL FROM:<>\r\nDATA":            "554 5.5.1",
		"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>\r\nDATA\r\n" + strings.Repeat("x", 1200) + "\r\n.": "552 5.3.4",
		"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@x>\r\nDATA\r\n.":                                      "250 2.0.0",
		"HELO x\r\nVRFY a":        "252 ",
		"STARTTLS":                "500 5.5.1",
		"AUTH X":                  "504 5.5.4",
		"\x00\xff":                "500 5.5.1",
		"":                        "500 5.5.1",
		strings.Repeat("x", 5000): "500 5.5.2",
	} {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, in+"\r\n"); err != nil {
			t.Fatal(err)
		}
		_ = c.(*net.TCPConn).CloseWrite()
		var last string
		for lines := bufio.NewScanner(c); lines.Scan(); {
			last = lines.Text()
		}
		if !strings.HasPrefix(last, want) {
			t.Errorf("%.60q: %q, want %q", in, last, want)
		}
		_ = c.Close()
	}
}

func TestBareLoop(t *testing.T) {
	s := run(t, sink.Config{})
	if _, err := sink.BareLoop(t.Context(), s.Addr(), 4, 1000, mail(500)); err != nil {
		t.Fatal(err)
	}
	if c := s.Counts(); c.Begun != 1000 || c.Accepted != 1000 || c.Recipients != 1000 || c.Duplicates != 0 {
		t.Errorf("%+v", c)
	}
	head, tail, _ := strings.Cut(string(mail(500)), "Message-ID: <")
	got, ok := strings.CutPrefix(s.Messages(1)[0].Raw, head+"Message-ID: <")
	if !ok || len(got) != len(tail) || got[12:] != tail[12:] {
		t.Errorf("%q", got)
	}
	// Each message has an id of its own, that of its address, also in a second run.
	s = run(t, sink.Config{})
	for range 2 {
		if _, err := sink.BareLoop(t.Context(), s.Addr(), 4, 500, []byte("From: a@x.example\r\nMessage-ID: <abcdefghijklmnopqrstuv@x.example>\r\n\r\nhi\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for e := range s.Entries() {
		number := strings.TrimSuffix(strings.TrimPrefix(e.Address, "bare-"), "@example.com")
		if n++; len(number) != 12 || e.Copies != 1 || e.MessageIDs[0] != number+"mnopqrstuv@x.example" {
			t.Fatalf("%+v", e)
		}
	}
	if n != 1000 {
		t.Errorf("%d addresses", n)
	}
	refusing := run(t, sink.Config{Refuse: 1})
	if _, err := sink.BareLoop(t.Context(), refusing.Addr(), 4, 10, mail(500)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}

func TestRate(t *testing.T) {
	for in, want := range map[string]sink.Rate{"1%": 0.01, "0.5": 0.5, " 100% ": 1, "0": 0, "0.01%": 0.0001} {
		var r sink.Rate
		if err := r.UnmarshalText([]byte(in)); err != nil || r != want {
			t.Errorf("%q: %v, %v", in, r, err)
		}
	}
	for _, in := range []string{"", "%", "x", "101%", "-1%", "NaN", "1.1", "1%%"} {
		var r sink.Rate
		if err := r.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q: %v", in, r)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	s := run(t, sink.Config{})
	for name, cfg := range map[string]sink.Config{"port in use": {Listen: s.Addr()}, "rates": {Refuse: 0.6, Temporary: 0.6},
		"ledger": {Ledger: filepath.Join(t.TempDir(), "none", "x")}, "status": {Status: s.Addr()}} {
		if _, err := sink.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := sink.Run(ctx, sink.Config{Status: "127.0.0.1:0"}, &out); err != nil || !strings.Contains(out.String(), "smtp://127.0.0.1:") {
		t.Errorf("%v, %q", err, out.String())
	}
}
