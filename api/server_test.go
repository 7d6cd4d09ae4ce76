package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"fanfare"
	"fanfare/api"
	"fanfare/channels/email"
	"fanfare/channels/null"
	"fanfare/people"
	"fanfare/plan"
	queue "fanfare/queues/memory"
	"fanfare/receipts"
	"fanfare/stores/memory"
)

// world is a server on a model store, with the real channels, counting and checking behind it.
type world struct {
	*api.Server
	store *memory.Store
	links *api.Links
	key   string // has every scope

	mu    sync.Mutex
	woken int                 // guarded by mu
	sent  []fanfare.Recipient // guarded by mu; tests
}

const publicURL = "https://news.example.org"

func newWorld(t *testing.T, change ...func(*api.Config)) *world {
	t.Helper()
	w := &world{store: memory.Open(memory.Config{Slots: 4})}
	w.links = api.NewLinks(publicURL, []byte("installation"))
	q := queue.New()
	planner := plan.New(plan.Config{Store: w.store, Queue: q, Node: "n1", NeedsAddress: func(c fanfare.ChannelName) bool { return c == fanfare.ChannelEmail }})
	mail := email.New(email.Config{Provider: func(*fanfare.Message) fanfare.Provider { return fanfare.Provider{From: "News <news@example.org>"} }})
	c := api.Config{
		Store: w.store, Queue: q, Imports: (*files)(w), Providers: (*book)(w), Links: w.links, Tokens: api.NewTokens([]byte("installation")), InboxOrigins: []string{"https://app.example.com"}, PublicURL: publicURL, Version: "test",
		Channel: func(n fanfare.ChannelName) (fanfare.Channel, bool) {
			switch n {
			case fanfare.ChannelEmail:
				return mail, true
			case fanfare.ChannelNull:
				return null.New(), true
			}
			return nil, false
		},
		Count: func(ctx context.Context, q api.CountQuery) (api.Counts, error) {
			n, err := planner.Count(ctx, plan.CountQuery{Audience: q.Audience, Channel: q.Channel, Topic: q.Topic, Essential: q.Essential, Dedupe: q.Dedupe})
			return api.Counts(n), err
		},
		Receive: receipts.NewDesk(w.store).Accept,
		CheckRecipient: func(c *fanfare.RecipientChange) error {
			err := people.Check(c)
			if e, ok := err.(*people.FieldError); ok { //nolint:errorlint // as it comes
				return &api.FieldError{Field: e.Field, Code: e.Code, Detail: e.Detail}
			}
			return err
		},
		SendTest: func(_ context.Context, _ *fanfare.Message, to []fanfare.Recipient) (out []api.TestResult, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, r := range to {
				w.sent = append(w.sent, r)
				out = append(out, api.TestResult{To: r.Email, Result: fanfare.ResultSent})
			}
			return out, nil
		},
		Wake:   func() { w.mu.Lock(); defer w.mu.Unlock(); w.woken++ },
		Reload: func() {},
		Seal:   func(_, text string) string { return "sealed " + strings.ToUpper(fmt.Sprintf("%x", text)) },
		Open: func(_, text string) (string, error) {
			var b []byte
			_, err := fmt.Sscanf(strings.ToLower(strings.TrimPrefix(text, "sealed ")), "%x", &b)
			return string(b), err
		},
	}
	for _, f := range change {
		f(&c)
	}
	var err error
	if w.Server, err = api.New(c); err != nil {
		t.Fatal(err)
	}
	w.key = w.makeKey(t, "key_all", api.Scopes()...)
	return w
}

// makeKey keeps a key with these scopes and gives its text.
func (w *world) makeKey(t *testing.T, id string, scopes ...string) string {
	t.Helper()
	text := "fan_" + id
	err := w.store.Update(t.Context(), func(tx fanfare.ControlTx) error {
		return tx.InsertKey(fanfare.Key{ID: id, Name: id, Hash: sha256.Sum256([]byte(text)), Scopes: scopes, CreatedAt: tx.Now()})
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// files is an importer that keeps nothing but the row.
type files world

func (f *files) Accept(ctx context.Context, body io.Reader, o api.ImportOptions, then func(fanfare.ControlTx, fanfare.Import) error) (i fanfare.Import, err error) {
	b, err := io.ReadAll(body)
	if err != nil {
		return i, err
	}
	if len(b) == 0 {
		return i, fmt.Errorf("import: %w: the file is empty", fanfare.ErrUsage)
	}
	err = f.store.Update(ctx, func(tx fanfare.ControlTx) error {
		all, err := tx.Imports()
		if err != nil {
			return err
		}
		i = fanfare.Import{ID: fmt.Sprintf("imp_%d", len(all)+1), State: fanfare.ImportQueued, List: o.List, Rows: int64(bytes.Count(b, []byte("\n"))), CreatedAt: tx.Now()}
		if err := tx.PutImport(i); err != nil {
			return err
		}
		return then(tx, i)
	})
	return i, err
}

func (f *files) Refused(i fanfare.Import) (io.ReadCloser, error) {
	switch i.ID {
	case "imp_3":
		return nil, fmt.Errorf("import %s, node b: %w", i.ID, fanfare.ErrElsewhere)
	case "imp_2":
		return io.NopCloser(strings.NewReader("line,reason\n7,wrong\n")), nil
	}
	return nil, &fs.PathError{Op: "open", Path: i.ID, Err: fs.ErrNotExist}
}

func (f *files) Confirm(context.Context, string) (fanfare.Import, error) {
	return fanfare.Import{}, fmt.Errorf("import: %w: it is queued, only a held one waits for a word", fanfare.ErrState)
}

func (f *files) Cancel(ctx context.Context, id string) (i fanfare.Import, err error) {
	err = f.store.Update(ctx, func(tx fanfare.ControlTx) error {
		if i, err = tx.Import(id); err != nil {
			return err
		}
		i.State = fanfare.ImportCancelled
		return tx.PutImport(i)
	})
	return i, err
}

// Waiting says that imp_1 waits.
func (f *files) Waiting(i fanfare.Import) string {
	if i.ID == "imp_1" {
		return "there is no space left"
	}
	return ""
}

// book is the providers; "fixed" stands in a file.
type book world

func (b *book) All(ctx context.Context) (all []fanfare.Provider, err error) {
	err = b.store.View(ctx, func(v fanfare.ControlView) error {
		all, err = v.Providers()
		return err
	})
	return all, err
}

func (b *book) Fixed(name string) bool { return name == "fixed" }

func (b *book) Put(tx fanfare.ControlTx, p fanfare.Provider) error {
	return tx.PutProvider(p)
}

func (b *book) Check(p fanfare.Provider) error {
	if p.Channel == fanfare.ChannelEmail && !strings.HasPrefix(p.URL, "sandbox:") {
		return email.New(email.Config{}).Check(p)
	}
	return null.New().Check(p)
}

func (b *book) DKIMRecord(d fanfare.DKIM) (name, value string, err error) { return email.DKIMRecord(d) }

func (b *book) Try(_ context.Context, p fanfare.Provider) error {
	if strings.Contains(p.URL, "down") {
		return &fanfare.SendError{Step: "connect", Err: os.ErrDeadlineExceeded}
	}
	return nil
}

// request is one call.
type request struct {
	method, path string
	body         string
	header       map[string]string
	key          string // "": the world's
}

// answer is what came back.
type answer struct {
	*http.Response
	body string
}

func (w *world) do(t *testing.T, r request) answer {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), r.method, "http://localhost"+r.path, strings.NewReader(r.body))
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.key == "" {
		r.key = w.key
	}
	req.Header.Set("Authorization", "Bearer "+r.key)
	for name, v := range r.header {
		if v == "" {
			req.Header.Del(name)
		} else {
			req.Header.Set(name, v)
		}
	}
	out := httptest.NewRecorder()
	w.ServeHTTP(out, req)
	return answer{out.Result(), out.Body.String()}
}

// must calls and decodes a success.
func (w *world) must(t *testing.T, method, path, body string) map[string]any {
	t.Helper()
	a := w.do(t, request{method: method, path: path, body: body})
	if a.StatusCode >= 300 {
		t.Fatalf("%s %s %s: %d %s", method, path, body, a.StatusCode, a.body)
	}
	var out map[string]any
	if a.body != "" {
		if err := json.Unmarshal([]byte(a.body), &out); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, a.body)
		}
	}
	return out
}

// text gives a field of an answer as text.
func text(m map[string]any, field string) string { return fmt.Sprint(m[field]) }

// fill puts people, a list and a mail server.
func (w *world) fill(t *testing.T) {
	t.Helper()
	w.must(t, "POST", "/v1/lists", `{"name":"vip"}`)
	ids := []string{}
	for _, id := range []string{"ada", "bob", "cyd", "dee", "eve"} {
		w.must(t, "PUT", "/v1/recipients/"+id, fmt.Sprintf(`{"email":"%s@example.com","attributes":{"city":"Oslo","level":3}}`, id))
		ids = append(ids, `"`+id+`"`)
	}
	w.must(t, "PUT", "/v1/recipients/noaddress", `{}`)
	w.must(t, "POST", "/v1/lists/vip/members", `{"add":[`+strings.Join(ids, ",")+`]}`)
	w.must(t, "PUT", "/v1/providers/mail", `{"channel":"email","url":"smtp://127.0.0.1:2525?starttls=off","from":"News <news@example.org>"}`)
}
