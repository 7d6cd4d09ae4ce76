package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fanfare"
	"fanfare/cmd/fanfare/config"
	"fanfare/cmd/fanfare/sink"
)

// running is a server in this process.
type running struct {
	t     *testing.T
	dir   string
	url   string
	key   string
	stop  context.CancelFunc
	ended chan error
	log   *lines

	idempotent string // the key of the next calls; empty: none
}

// lines is a log that tells where the server listens.
type lines struct {
	bytes.Buffer
	at chan string
}

func (l *lines) Write(b []byte) (int, error) {
	var entry struct{ Msg, Addr string }
	if json.Unmarshal(b, &entry) == nil && entry.Msg == "listening" {
		l.at <- entry.Addr
	}
	return l.Buffer.Write(b)
}

func start(t *testing.T, dir string, c Config) *running {
	t.Helper()
	r := begin(t, dir, c)
	key, err := os.ReadFile(filepath.Join(dir, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	r.key = strings.TrimSpace(string(key))
	return r
}

// begin starts a server; only the first one on a database has an admin key.
func begin(t *testing.T, dir string, c Config) *running {
	t.Helper()
	r := launch(t, dir, c)
	r.await()
	return r
}

// launch is begin that does not wait.
func launch(t *testing.T, dir string, c Config) *running {
	r := &running{t: t, dir: dir, ended: make(chan error, 1), log: &lines{at: make(chan string, 1)}}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	c.Data, c.Listen, c.Version = dir, "127.0.0.1:0", "test"
	if c.Queue == "" {
		c.Queue = "memory:"
	}
	if c.Roles == nil {
		c.Roles = []string{"api", "planner", "worker"}
	}
	c.Log = slog.New(slog.NewJSONHandler(r.log, nil))
	go func() { r.ended <- Run(ctx, c) }()
	return r
}

func (r *running) await() {
	r.t.Helper()
	select {
	case at := <-r.log.at:
		r.url = "http://" + at
	case err := <-r.ended:
		r.t.Fatalf("it does not start: %v", err)
	}
	r.t.Cleanup(func() { r.end() })
	if key, err := os.ReadFile(filepath.Join(r.dir, "admin.key")); err == nil {
		r.key = strings.TrimSpace(string(key))
	}
}

func (r *running) end() {
	r.stop()
	if err, open := <-r.ended; open {
		if err != nil {
			r.t.Error(err)
		}
		close(r.ended)
	}
}

// do calls and decodes; key empty: the admin's.
func (r *running) do(method, path, key, body string, out any) int {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if key == "" {
		key = r.key
	}
	req.Header.Set("Authorization", "Bearer "+key)
	if r.idempotent != "" {
		req.Header.Set("Idempotency-Key", r.idempotent)
	}
	if strings.HasPrefix(path, "/v1/imports") {
		req.Header.Set("Content-Type", "text/csv")
	}
	a, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer a.Body.Close() //nolint:errcheck // read to its end
	b, err := io.ReadAll(a.Body)
	if err == nil && out != nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		r.t.Fatalf("%s %s: %v: %s", method, path, err, b)
	}
	return a.StatusCode
}

// must calls and wants a success.
func (r *running) must(method, path, key, body string) (out map[string]any) {
	r.t.Helper()
	if status := r.do(method, path, key, body, &out); status >= 300 {
		r.t.Fatalf("%s %s: %d %v", method, path, status, out)
	}
	return out
}

// until asks every few milliseconds until a field has a value.
func (r *running) until(path, field, want string) map[string]any {
	r.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		out := r.must("GET", path, "", "")
		if out[field] == want {
			return out
		}
		select {
		case <-limit:
			r.t.Fatalf("%s: %s is %v, not %s", path, field, out[field], want)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func mailServer(t *testing.T) *sink.Server {
	t.Helper()
	k, err := sink.New(sink.Config{Keep: 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return k
}

const threePeople = "external_id,email,city\nu1,u1@people.example,Oslo\nu2,u2@people.example,Lima\nu3,,Pune\n"

// TestOneMessageAllTheWay: from a CSV file over real SMTP to a balance, then again after a restart, with what was kept.
func TestOneMessageAllTheWay(t *testing.T) {
	mail := mailServer(t)
	dir := t.TempDir()
	r := start(t, dir, Config{})
	imported := r.must("POST", "/v1/imports?list=all", "", threePeople)
	r.until("/v1/imports/"+imported["id"].(string), "state", "done")
	r.must("PUT", "/v1/providers/mail", "", `{"channel":"email","url":"smtp://`+mail.Addr()+`?starttls=off","from":"News <news@example.org>"}`)
	m := r.must("POST", "/v1/messages", "", `{"channel":"email","audience":{"list":"all"},"content":{"subject":"{{ city }}","text":"{{ unsubscribe_url }}"},"start":true}`)
	at := "/v1/messages/" + m["id"].(string)
	r.until(at, "phase", "completed")
	p := r.must("GET", at+"/progress", "", "")
	if k := p["counts"].(map[string]any); p["balanced"] != true || k["sent"] != 2.0 || k["skipped"] != 1.0 || k["audience"] != 3.0 || p["outcome"] != "all_sent" {
		t.Errorf("%v", p)
	}
	tested := r.must("POST", at+"/test", "", `{"recipients":["u1"]}`)
	if got := tested["results"].([]any)[0].(map[string]any); got["result"] != "sent" {
		t.Errorf("%v", tested)
	}
	if mail.Accepted() != 3 {
		t.Errorf("the mail server has %d messages", mail.Accepted())
	}
	if tried := r.must("POST", "/v1/providers/mail/test", "", ""); tried["ok"] != true {
		t.Errorf("%v", tried)
	}
	r.end()

	r = start(t, dir, Config{})
	if again := r.must("GET", at, "", ""); again["phase"] != "completed" {
		t.Errorf("%v", again)
	}
	if p := r.must("GET", "/v1/providers/mail", "", ""); p["url"] != "smtp://"+mail.Addr()+"?starttls=off" {
		t.Errorf("%v", p)
	}
}

// TestARepeatedUploadIsOneImport: also over a restart, and another file is refused.
func TestARepeatedUploadIsOneImport(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, Config{})
	r.idempotent = "upload"
	first := r.must("POST", "/v1/imports?list=all", "", threePeople)
	r.end()
	r = start(t, dir, Config{})
	r.idempotent = "upload"
	if again := r.must("POST", "/v1/imports?list=all", "", threePeople); again["id"] != first["id"] {
		t.Errorf("%v, then %v", first, again)
	}
	if status := r.do("POST", "/v1/imports?list=all", "", threePeople+"u4,,\n", nil); status != 422 {
		t.Errorf("another file: %d", status)
	}
	r.idempotent = ""
	r.until("/v1/imports/"+first["id"].(string), "state", "done")
	if all := r.must("GET", "/v1/imports", "", "")["items"].([]any); len(all) != 1 {
		t.Errorf("%d imports", len(all))
	}
	if l := r.must("GET", "/v1/lists/all", "", ""); l["recipients"] != 3.0 {
		t.Errorf("%v", l)
	}
}

// TestTestKeysSendNothing: what a test key sends goes by the sandbox, although there is a real provider.
func TestTestKeysSendNothing(t *testing.T) {
	mail := mailServer(t)
	r := start(t, t.TempDir(), Config{})
	imported := r.must("POST", "/v1/imports?list=all", "", threePeople)
	r.until("/v1/imports/"+imported["id"].(string), "state", "done")
	key, _ := r.must("POST", "/v1/keys", "", `{"name":"t","test":true,"scopes":["messages:read","messages:write","messages:start"]}`)["key"].(string)
	body := `{"channel":"email","audience":{"list":"all"},"content":{"subject":"x","text":"y"},"start":true}`
	first := r.must("POST", "/v1/messages", key, body) // there is no provider yet
	r.until("/v1/messages/"+first["id"].(string), "phase", "completed")
	r.must("PUT", "/v1/providers/mail", "", `{"channel":"email","url":"smtp://`+mail.Addr()+`?starttls=off","from":"News <news@example.org>"}`)
	second := r.must("POST", "/v1/messages", key, body)
	done := r.until("/v1/messages/"+second["id"].(string), "phase", "completed")
	if done["test"] != true || done["provider"] != "test-email" || mail.Accepted() != 0 {
		t.Errorf("%v; the mail server has %d messages", done, mail.Accepted())
	}
}

// TestTheFilesProvidersAreFixed: they are used like any other, and changed in the file only.
func TestTheFilesProvidersAreFixed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fanfare.toml")
	text := "[providers.rehearsal]\nchannel = \"email\"\nurl = \"sandbox:?fail=0\"\nfrom = \"a@example.org\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := config.Read(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, t.TempDir(), Config{File: f, AdminListen: "127.0.0.1:0", PublicURL: "https://news.example.org"})
	if p := r.must("GET", "/v1/providers/rehearsal", "", ""); p["fixed"] != true {
		t.Errorf("%v", p)
	}
	var problem map[string]any
	if status := r.do("PUT", "/v1/providers/rehearsal", "", `{"channel":"null","url":"null:"}`, &problem); status != 409 || problem["code"] != "provider_fixed" {
		t.Errorf("%d %v", status, problem)
	}
	imported := r.must("POST", "/v1/imports?list=all", "", threePeople)
	r.until("/v1/imports/"+imported["id"].(string), "state", "done")
	m := r.must("POST", "/v1/messages", "", `{"channel":"email","audience":{"list":"all"},"content":{"subject":"x","text":"{{ unsubscribe_url }}"},"start":true}`)
	if done := r.until("/v1/messages/"+m["id"].(string), "phase", "completed"); done["outcome"] != "all_sent" {
		t.Errorf("%v", done)
	}
}

// TestWhatCannotBeIsSaidAtOnce: before anything is made or opened.
func TestWhatCannotBeIsSaidAtOnce(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"a queue":      func(c *Config) { c.Queue = "zeromq://u:secret@x" },
		"its port":     func(c *Config) { c.Queue = "nats://u:secret@x:y" },
		"its option":   func(c *Config) { c.Queue = "nats://u:secret@x?replcas=3" },
		"a role":       func(c *Config) { c.Roles = []string{"cook"} },
		"some roles":   func(c *Config) { c.Roles = []string{"api", "worker"} },
		"no roles":     func(c *Config) { c.Roles = nil },
		"a public URL": func(c *Config) { c.PublicURL = "ftp://x" },
		"a store":      func(c *Config) { c.Stores = []string{"oracle://u:secret@x/y"} },
		"an address":   func(c *Config) { c.Listen = "nonsense" },
		"a provider": func(c *Config) {
			c.File = &config.File{Path: "f.toml", Providers: map[string]config.Provider{"p": {Channel: "sms"}}}
		},
	} {
		c := Config{Data: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:0", Queue: "memory:", Roles: []string{"api", "planner", "worker"}, Log: slog.New(slog.DiscardHandler)}
		change(&c)
		err := Run(t.Context(), c)
		if !errors.Is(err, fanfare.ErrUsage) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestADatabaseThatIsGoneIsNotMadeAnew: an emptied file became a new installation, with a new admin key over the old one.
func TestADatabaseThatIsGoneIsNotMadeAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := start(t, dir, Config{})
	r.must(http.MethodPost, "/v1/lists", r.key, `{"name":"everybody"}`)
	r.end()
	file := filepath.Join(dir, DatabaseFile)
	for _, lost := range []struct {
		name string
		lose func() error
	}{
		{"emptied", func() error { return os.Truncate(file, 0) }},
		{"gone", func() error { return os.Remove(file) }},
	} {
		if err := lost.lose(); err != nil {
			t.Fatal(err)
		}
		err := Run(t.Context(), Config{Data: dir, Listen: "127.0.0.1:0", Queue: "memory:", Roles: []string{"api", "planner", "worker"}, Log: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, fanfare.ErrDamaged) || !strings.Contains(err.Error(), "put a backup there") {
			t.Errorf("%s: %v", lost.name, err)
		}
		if key, err := os.ReadFile(filepath.Join(dir, "admin.key")); err != nil || strings.TrimSpace(string(key)) != r.key {
			t.Errorf("%s: the admin key is another: %v", lost.name, err)
		}
	}
}
