package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanfare/cmd/fanfare/client"
	"fanfare/cmd/fanfare/sink"
	"fanfare/cmd/fanfare/spawn"
)

// program is the binary under test, built once as a user builds it.
func program(t testing.TB) string {
	t.Helper()
	exe := os.Getenv(built)
	if exe == "" {
		t.Fatal("TestMain has built no binary")
	}
	return exe
}

const built = "E2E_PROGRAM"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fanfare-e2e-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // also for an ordinary user
	}
	if err == nil {
		exe := filepath.Join(dir, "fanfare")
		build := exec.Command("go", "build", "-o", exe, "fanfare/cmd/fanfare")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		err = errors.Join(build.Run(), os.Setenv(built, exe))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: build the program:", err)
	}
	m.Run()
	_ = os.RemoveAll(dir)
}

// place is a data folder with its server and a mail sink.
type place struct {
	t     *testing.T
	exe   string
	data  string
	args  []string // of serve
	store []string // the flag of the tools
	sink  *spawn.Sink
	*spawn.Server
}

// settle makes a place whose server runs.
func settle(t *testing.T, sinkArgs ...string) *place {
	t.Helper()
	return settleOn(t, "", sinkArgs...)
}

// settleOn is settle on a store; empty: the data folder's own.
func settleOn(t *testing.T, store string, sinkArgs ...string) *place {
	t.Helper()
	p := &place{t: t, exe: program(t), data: filepath.Join(t.TempDir(), "data")}
	if store != "" {
		p.store = []string{"--store", store}
		p.args = p.store
	}
	var err error
	p.sink, err = spawn.StartSink(ctx(t), p.exe, sinkArgs...)
	p.must(err)
	t.Cleanup(func() {
		if err := p.sink.Stop(); err != nil {
			t.Error(err)
		}
	})
	p.serve()
	t.Cleanup(func() {
		if p.Server != nil {
			if err := p.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
	return p
}

// ctx lives as long as the test's cleanups need it.
func ctx(t testing.TB) context.Context { return context.WithoutCancel(t.Context()) }

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// serve starts the server, on the port that it had before.
func (p *place) serve() {
	p.t.Helper()
	listen := "127.0.0.1:0"
	if p.Server != nil {
		listen = p.Addr
	}
	s, err := spawn.Serve(ctx(p.t), p.exe, p.data, listen, nil, p.args...)
	p.must(err)
	p.Server = s
}

func (p *place) do(method, path string, in, out any) {
	p.t.Helper()
	if err := p.Do(ctx(p.t), method, path, in, out); err != nil {
		p.t.Fatalf("%s %s: %v\nthe server says: %s", method, path, err, p.Said())
	}
}

// person gives the i-th person's id and address.
func person(i int) (id, address string) {
	id = fmt.Sprintf("u%d", i)
	return id, id + "@people.example"
}

// people imports n people into the list "everyone".
func (p *place) people(n int) {
	p.t.Helper()
	if state := p.imported(n); state.State != "done" || state.Created != n {
		p.t.Fatalf("the import: %+v", state)
	}
}

// imports is what became of an import.
type imports struct {
	ID, State, Detail string
	Created, Failed   int
}

func (p *place) imported(n int) (state imports) {
	p.t.Helper()
	var file bytes.Buffer
	file.WriteString("external_id,email,first_name\n")
	for i := range n {
		id, address := person(i)
		fmt.Fprintf(&file, "%s,%s,Name %d\n", id, address, i)
	}
	r, err := p.Send(ctx(p.t), http.MethodPost, "/v1/imports?list=everyone", "text/csv", &file, nil)
	p.must(err)
	p.must(json.NewDecoder(r.Body).Decode(&state))
	p.must(r.Body.Close())
	p.must(p.Until(ctx(p.t), "the import", 10*time.Millisecond, func() (bool, error) {
		err := p.Do(ctx(p.t), http.MethodGet, "/v1/imports/"+state.ID, nil, &state)
		return state.State != "queued" && state.State != "running", err
	}))
	return state
}

// provider makes the sink the provider of e-mail.
func (p *place) provider(connections int, more map[string]any) {
	p.t.Helper()
	in := map[string]any{"channel": "email", "url": "smtp://" + p.sink.SMTP + "?starttls=off", "from": "News <news@fanfare.example>",
		"connections": connections, "chunk": chunk}
	for k, v := range more {
		in[k] = v
	}
	p.do(http.MethodPut, "/v1/providers/mail", in, nil)
}

const chunk = 8

// send creates and starts an e-mail message to everyone.
func (p *place) send(more map[string]any) string {
	p.t.Helper()
	in := map[string]any{"name": "news", "channel": "email", "audience": map[string]string{"list": "everyone"}, "start": true,
		"content": map[string]string{"subject": "Hello {{ first_name }}", "text": "Dear {{ first_name }}, stop: {{ unsubscribe_url }}"}}
	for k, v := range more {
		in[k] = v
	}
	var m client.Message
	p.do(http.MethodPost, "/v1/messages", in, &m)
	return m.ID
}

func (p *place) progress(id string) (g client.Progress) {
	p.t.Helper()
	p.do(http.MethodGet, "/v1/messages/"+id+"/progress", nil, &g)
	return g
}

// until asks for progress until it is enough, and answers the last.
func (p *place) until(id, what string, enough func(client.Progress) bool) (g client.Progress) {
	p.t.Helper()
	p.must(p.Until(ctx(p.t), what, 20*time.Millisecond, func() (bool, error) {
		err := p.Do(ctx(p.t), http.MethodGet, "/v1/messages/"+id+"/progress", nil, &g)
		return err == nil && enough(g), err
	}))
	return g
}

func phase(name string) func(client.Progress) bool {
	return func(g client.Progress) bool { return g.Phase == name }
}

// begun waits until the sink has seen so many envelopes begin.
func (p *place) begun(n int64) {
	p.t.Helper()
	p.must(p.Until(ctx(p.t), fmt.Sprintf("%d envelopes", n), 10*time.Millisecond, func() (bool, error) {
		c, err := p.sink.Counts(ctx(p.t))
		return c.Begun >= n, err
	}))
}

func (p *place) counts() sink.Counts {
	p.t.Helper()
	c, err := p.sink.Counts(ctx(p.t))
	p.must(err)
	return c
}

// ledger is the sink's, by address.
func (p *place) ledger() map[string]sink.Entry {
	p.t.Helper()
	all, err := p.sink.Ledger(ctx(p.t))
	p.must(err)
	found := make(map[string]sink.Entry, len(all))
	for _, e := range all {
		found[e.Address] = e
	}
	return found
}

// item is what the API says of one person.
type item struct {
	Recipient, Result, Reason, Code, Text string
	Attempts, Doubted                     int
	SeenAt                                *time.Time `json:"seen_at"`
	ReadAt                                *time.Time `json:"read_at"`
}

// items lists a message's items, by recipient; each comes once.
func (p *place) items(id string, query url.Values) map[string]item {
	p.t.Helper()
	if query == nil {
		query = url.Values{}
	}
	query.Set("limit", "1000")
	found := make(map[string]item)
	for {
		var page struct {
			Items []item
			Next  *string `json:"next_cursor"`
		}
		p.do(http.MethodGet, "/v1/messages/"+id+"/items?"+query.Encode(), nil, &page)
		for _, it := range page.Items {
			if _, twice := found[it.Recipient]; twice {
				p.t.Fatalf("%s is listed twice", it.Recipient)
			}
			found[it.Recipient] = it
		}
		if page.Next == nil {
			return found
		}
		query.Set("cursor", *page.Next)
	}
}

// balanced fails unless the message accounts for n people, and the doctor agrees with the server stopped.
func (p *place) balanced(id string, n int) client.Counts {
	p.t.Helper()
	g := p.progress(id)
	k := g.Counts
	if sum := k.Sent + k.Failed + k.Skipped + k.Uncertain + k.Remaining + k.InFlight; !g.Balanced || k.Audience != n || sum != n {
		p.t.Errorf("it does not balance: %+v", g)
	}
	p.doctor()
	return k
}

// doctor stops the server and lets the doctor look.
func (p *place) doctor() {
	p.t.Helper()
	p.must(p.Stop())
	code, out := p.run(nil, append([]string{"doctor", "--data", p.data}, p.store...)...)
	if code != 0 {
		p.t.Errorf("doctor: exit %d\n%s", code, out)
	}
	p.serve()
}

// run runs the program to its end: exit code and all it wrote. edit may change how it is run.
func (p *place) run(edit func(*exec.Cmd), args ...string) (code int, out string) {
	p.t.Helper()
	return run(p.t, p.exe, edit, args...)
}

func run(t *testing.T, exe string, edit func(*exec.Cmd), args ...string) (code int, out string) {
	t.Helper()
	limit, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	c := exec.CommandContext(limit, exe, args...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	c.Dir = t.TempDir()
	if edit != nil {
		edit(c)
	}
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), said.String()
}

// quiet lets real time pass: nothing is expected to happen.
func quiet(d time.Duration) { <-time.After(d) }

// delivered fails unless the sink's books agree with what is said of n people: whoever is sent has mail, nobody has more than two,
// whoever has two is doubted, and both copies carry one Message-ID.
func (p *place) delivered(id string, n int) (twice int) {
	p.t.Helper()
	ledger := p.ledger()
	items := p.items(id, nil)
	doubted := p.items(id, url.Values{"doubted": {"true"}})
	for i := range n {
		who, address := person(i)
		it, e := items[who], ledger[address]
		_, doubt := doubted[who]
		switch {
		case it.Result == "sent" && e.Copies == 0:
			p.t.Errorf("%s is sent, but the mail server has nothing for %s", who, address)
		case e.Copies > 2:
			p.t.Errorf("%s got %d copies", who, e.Copies)
		case e.Copies == 2 && !doubt:
			p.t.Errorf("%s got two copies and is not among the doubted: %+v", who, it)
		case e.Copies == 2 && e.MessageIDs[0] != e.MessageIDs[1]:
			p.t.Errorf("%s got two copies with different Message-IDs: %q", who, e.MessageIDs)
		case e.Copies > 0 && it.Result != "sent" && !doubt:
			p.t.Errorf("%s has mail, but is %s", who, it.Result)
		case it.Result == "":
			p.t.Errorf("%s is not listed at all", who)
		}
		if e.Copies == 2 {
			twice++
		}
		if p.t.Failed() && i > 100 {
			break
		}
	}
	return twice
}

// post calls a path without the key, as a recipient's mail program does.
func post(t *testing.T, at, kind, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}
