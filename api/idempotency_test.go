package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"fanfare"
	"fanfare/api"
)

func keyed(key string) map[string]string { return map[string]string{"Idempotency-Key": key} }

const draft = `{"channel":"null","audience":{"all":true},"name":"once"}`

func (w *world) messages(t *testing.T) int {
	t.Helper()
	items, _ := w.must(t, "GET", "/v1/messages?limit=1000", "")["items"].([]any)
	return len(items)
}

func TestARepeatedCallGetsTheFirstAnswer(t *testing.T) {
	w := newWorld(t)
	r := request{method: "POST", path: "/v1/messages", body: draft, header: keyed("k1")}
	first := w.do(t, r)
	again := w.do(t, r)
	if first.StatusCode != 201 || again.StatusCode != 201 || again.body != first.body || again.Header.Get("Location") != first.Header.Get("Location") ||
		again.Header.Get("ETag") != first.Header.Get("ETag") || again.Header.Get("Content-Type") != first.Header.Get("Content-Type") {
		t.Errorf("first %d %s\nagain %d %s", first.StatusCode, first.body, again.StatusCode, again.body)
	}
	if first.Header.Get("Idempotency-Replayed") != "" || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Error("Idempotency-Replayed is wrong")
	}
	r.body = strings.Replace(draft, "once", "twice", 1)
	if a := w.do(t, r); a.StatusCode != 422 || !strings.Contains(a.body, "idempotency_key_reused") {
		t.Errorf("another body: %d %s", a.StatusCode, a.body)
	}
	r.body, r.key = draft, w.makeKey(t, "other", api.Scopes()...)
	if a := w.do(t, r); a.StatusCode != 201 || a.Header.Get("Idempotency-Replayed") != "" {
		t.Errorf("another API key: %d %s", a.StatusCode, a.body)
	}
	if a := w.do(t, request{method: "POST", path: "/v1/messages", body: draft, header: keyed(strings.Repeat("k", 256))}); a.StatusCode != 400 {
		t.Errorf("a long key: %d", a.StatusCode)
	}
	if n := w.messages(t); n != 2 {
		t.Errorf("%d messages", n)
	}
}

func TestARefusedCallMayBeRepeated(t *testing.T) {
	w := newWorld(t)
	r := request{method: "POST", path: "/v1/messages", body: `{"channel":"null","audience":{"list":"late"}}`, header: keyed("k")}
	if a := w.do(t, r); a.StatusCode != 422 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	w.must(t, "POST", "/v1/lists", `{"name":"late"}`)
	if a := w.do(t, r); a.StatusCode != 201 || a.Header.Get("Idempotency-Replayed") != "" {
		t.Errorf("after it was mended: %d %s", a.StatusCode, a.body)
	}
}

// TestRacesMakeOneMessage: many at once, through two servers on one store, as two processes are.
func TestRacesMakeOneMessage(t *testing.T) {
	w := newWorld(t)
	other := newWorld(t, func(c *api.Config) { c.Store = w.store })
	const callers, keys = 16, 8
	bodies := make([][]string, keys)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for k := range keys {
		for i := range callers {
			server := w
			if i%2 == 1 {
				server = &world{Server: other.Server, key: w.key}
			}
			wg.Go(func() {
				a := server.do(t, request{method: "POST", path: "/v1/messages", body: draft, header: keyed(fmt.Sprint("k", k))})
				switch {
				case a.StatusCode == http.StatusConflict && strings.Contains(a.body, `"code":"running"`) && a.Header.Get("Retry-After") != "":
				case a.StatusCode == http.StatusCreated:
					mu.Lock()
					bodies[k] = append(bodies[k], a.body)
					mu.Unlock()
				default:
					t.Errorf("%d %s", a.StatusCode, a.body)
				}
			})
		}
	}
	wg.Wait()
	for k, all := range bodies {
		if len(all) == 0 {
			t.Errorf("key %d: nobody got an answer", k)
		}
		for _, b := range all {
			if b != all[0] {
				t.Errorf("key %d: two answers:\n%s%s", k, all[0], b)
			}
		}
	}
	if n := w.messages(t); n != keys {
		t.Errorf("%d messages of %d keys", n, keys)
	}
}

// meanwhile lets something happen between the look for a first answer and the transaction.
type meanwhile struct {
	api.Store
	once sync.Once
	do   func()
}

func (m *meanwhile) Update(ctx context.Context, fn func(fanfare.ControlTx) error) error {
	m.once.Do(m.do)
	return m.Store.Update(ctx, fn)
}

// TestAnotherProcessWasFirst: its answer is found in the transaction, and what this one did is undone.
func TestAnotherProcessWasFirst(t *testing.T) {
	w := newWorld(t)
	r := request{method: "POST", path: "/v1/messages", body: draft, header: keyed("k"), key: w.key}
	var first answer
	late := newWorld(t, func(c *api.Config) { c.Store = &meanwhile{Store: w.store, do: func() { first = w.do(t, r) }} })
	second := late.do(t, r)
	if first.StatusCode != 201 || second.StatusCode != 201 || second.body != first.body || second.Header.Get("Idempotency-Replayed") != "true" ||
		second.Header.Get("Location") != first.Header.Get("Location") {
		t.Errorf("%d %s\n%d %s", first.StatusCode, first.body, second.StatusCode, second.body)
	}
	if n := w.messages(t); n != 1 {
		t.Errorf("%d messages", n)
	}
	other := r
	other.header, other.body = keyed("k2"), strings.Replace(draft, "once", "twice", 1)
	late = newWorld(t, func(c *api.Config) {
		c.Store = &meanwhile{Store: w.store, do: func() { w.do(t, request{method: "POST", path: r.path, body: draft, header: keyed("k2"), key: w.key}) }}
	})
	if a := late.do(t, other); a.StatusCode != 422 || w.messages(t) != 2 {
		t.Errorf("another body: %d, %d messages", a.StatusCode, w.messages(t))
	}
}

func TestAStreamedBodyIsComparedToo(t *testing.T) {
	w := newWorld(t)
	r := request{method: "POST", path: "/v1/imports?list=vip", body: "external_id\nu1\n", header: map[string]string{"Content-Type": "text/csv", "Idempotency-Key": "k"}}
	first, again := w.do(t, r), w.do(t, r)
	if first.StatusCode != 202 || again.StatusCode != 202 || again.body != first.body || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%d %s / %d %s", first.StatusCode, first.body, again.StatusCode, again.body)
	}
	r.body = "external_id\nu2\n"
	if a := w.do(t, r); a.StatusCode != 422 {
		t.Errorf("another file: %d", a.StatusCode)
	}
	items, _ := w.must(t, "GET", "/v1/imports", "")["items"].([]any)
	if len(items) != 1 {
		t.Errorf("%d imports", len(items))
	}
}

// TestAStoredSecretIsSealed: the answer that shows a new key is repeated, and cannot be read where it is kept.
func TestAStoredSecretIsSealed(t *testing.T) {
	sealed := ""
	w := newWorld(t, func(c *api.Config) {
		seal := c.Seal
		c.Seal = func(name, text string) string {
			sealed = seal(name, text)
			return sealed
		}
	})
	r := request{method: "POST", path: "/v1/keys", body: `{"name":"x","scopes":["messages:read"]}`, header: keyed("k")}
	first, again := w.do(t, r), w.do(t, r)
	if first.StatusCode != 201 || again.body != first.body || !strings.Contains(first.body, `"key":"fan_`) {
		t.Errorf("%s / %s", first.body, again.body)
	}
	if sealed == "" || strings.Contains(sealed, "fan_") {
		t.Errorf("kept as %q", sealed)
	}
}

func TestStateActionsAreKeyedToo(t *testing.T) {
	w := newWorld(t)
	m := text(w.must(t, "POST", "/v1/messages", draft), "id")
	start := request{method: "POST", path: "/v1/messages/" + m + "/start", header: keyed("s")}
	first := w.do(t, start)
	w.must(t, "POST", "/v1/messages/"+m+"/pause", "")
	again := w.do(t, start)
	if first.StatusCode != 200 || again.body != first.body || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%s / %s", first.body, again.body)
	}
	if phase := text(w.must(t, "GET", "/v1/messages/"+m, ""), "phase"); phase != "paused" {
		t.Errorf("the repeated start moved it: %s", phase)
	}
}
