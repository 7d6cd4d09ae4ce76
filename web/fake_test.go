package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
)

const goodKey = "fan_live_0123456789"

// fakeAPI answers the documented shapes for a few messages and remembers what it was told. Its stream sends what a test puts in.
type fakeAPI struct {
	mu       sync.Mutex
	order    []string
	messages map[string]map[string]any
	progress map[string]map[string]any
	failures []map[string]any
	items    []map[string]any
	refuse   map[string]problem // by "METHOD path"; Detail is sent as it is
	calls    []string           // "METHOD path?query body"
	once     []string           // the Idempotency-Keys

	events chan string   // one a progress event of any stream
	opened chan struct{} // one for each stream that has begun
	closed chan struct{} // one for each stream whose visitor went
}

func newFake() *fakeAPI {
	return &fakeAPI{
		messages: map[string]map[string]any{}, progress: map[string]map[string]any{}, refuse: map[string]problem{},
		events: make(chan string), opened: make(chan struct{}, 10), closed: make(chan struct{}, 10),
	}
}

// put adds a message of a phase; counts are audience, sent, failed, skipped, uncertain, in flight, remaining, doubted.
func (f *fakeAPI) put(id, name, phase string, status int, counts ...int) {
	m := map[string]any{
		"id": id, "name": name, "channel": "email", "status": status, "phase": phase, "pause_reason": nil, "outcome": nil, "generation": 1, "revision": 1,
		"audience": map[string]any{"list": "customers"}, "topic": "general", "provider": "mail", "rate": nil, "content": map[string]any{"subject": "Hello {{ first_name }}"},
		"created_at": "2026-11-24T08:00:00Z", "send_at": nil, "started_at": nil, "finished_at": nil, "not_after": nil, "waiting": nil, "added_later": []int{1},
	}
	c := make([]int, 8)
	copy(c, counts)
	if len(counts) > 0 {
		m["started_at"] = "2026-11-24T08:01:00Z"
	}
	p := map[string]any{"status": status, "phase": phase, "balanced": true, "rate_per_second": 0.0, "eta_seconds": nil, "batches": map[string]any{"total": 0, "done": 0}, "waiting": nil,
		"counts": map[string]any{"audience": c[0], "planned": c[0] - c[3], "sent": c[1], "failed": c[2], "skipped": c[3], "uncertain": c[4], "in_flight": c[5], "remaining": c[6], "doubted": c[7],
			"delivered": 0, "bounced": 0, "complained": 0, "unsubscribed": 0, "seen": 0, "read": 0, "clicked": 0}}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.order, f.messages[id], f.progress[id] = append(f.order, id), m, p
}

// turn changes the phase of a message.
func (f *fakeAPI) turn(id, phase string, status int) {
	f.messages[id]["phase"], f.messages[id]["status"] = phase, status
	f.progress[id]["phase"], f.progress[id]["status"] = phase, status
}

// count changes counts of a message and gives the progress as an event.
func (f *fakeAPI) count(id string, counts map[string]int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, n := range counts {
		f.progress[id]["counts"].(map[string]any)[name] = n
	}
	b, _ := json.Marshal(f.progress[id])
	return string(b)
}

func (f *fakeAPI) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, p problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	if p.RetryAfter != "" {
		w.Header().Set("Retry-After", p.RetryAfter)
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "about:blank", "title": http.StatusText(p.Status), "status": p.Status, "detail": p.Detail, "code": p.Code, "planned": p.Planned})
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.calls = append(f.calls, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
	if k := r.Header.Get("Idempotency-Key"); k != "" {
		f.once = append(f.once, k)
	}
	refusal, refused := f.refuse[r.Method+" "+r.URL.Path]
	f.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "Bearer "+goodKey:
		refuse(w, problem{Status: http.StatusUnauthorized, Detail: "unknown key"})
		return
	case refused:
		refuse(w, refusal)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/messages", f.list)
	mux.HandleFunc("GET /v1/messages/{id}", func(w http.ResponseWriter, r *http.Request) { f.one(w, f.messages, r) })
	mux.HandleFunc("GET /v1/messages/{id}/progress", func(w http.ResponseWriter, r *http.Request) { f.one(w, f.progress, r) })
	mux.HandleFunc("GET /v1/messages/{id}/failures", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, f.failures) })
	mux.HandleFunc("GET /v1/messages/{id}/items", func(w http.ResponseWriter, r *http.Request) {
		var next any = "c 2&x"
		if r.URL.Query().Get("cursor") != "" {
			next = nil
		}
		answerJSON(w, map[string]any{"items": f.items, "next_cursor": next})
	})
	mux.HandleFunc("GET /v1/messages/{id}/progress/stream", f.stream)
	mux.HandleFunc("POST /v1/audiences/count", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, map[string]any{"recipients": 1250, "planned": 1234, "skipped": map[string]int{"no_address": 9, "unsubscribed": 7}, "scanned": []string{}})
	})
	mux.HandleFunc("POST /v1/messages/{id}/{action}", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		id := r.PathValue("id")
		switch r.PathValue("action") {
		case "start", "resume":
			f.turn(id, "sending", 1)
		case "pause":
			f.turn(id, "paused", 2)
			f.messages[id]["pause_reason"] = "operator"
		case "cancel":
			f.turn(id, "cancelled", 3)
		case "clone":
			id = "draft"
			r.SetPathValue("id", id)
			f.messages[id]["name"] = "Clone of a message"
		}
		f.mu.Unlock()
		f.one(w, f.messages, r)
	})
	mux.ServeHTTP(w, r)
}

func (f *fakeAPI) one(w http.ResponseWriter, from map[string]map[string]any, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v, ok := from[r.PathValue("id")]; ok {
		answerJSON(w, v)
		return
	}
	refuse(w, problem{Status: http.StatusNotFound, Detail: "no such message"})
}

func (f *fakeAPI) list(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	items := []any{}
	for _, id := range f.order {
		m := f.messages[id]
		if s := r.URL.Query().Get("status"); s == "" || s == fmt.Sprint(m["status"]) {
			items = append(items, m)
		}
	}
	var next any
	if len(items) > 1 && r.URL.Query().Get("cursor") == "" {
		next = "c+2"
	}
	answerJSON(w, map[string]any{"items": items, "next_cursor": next})
}

func (f *fakeAPI) stream(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	_, known := f.messages[r.PathValue("id")]
	f.mu.Unlock()
	if !known {
		refuse(w, problem{Status: http.StatusNotFound, Detail: "no such message"})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	_ = control.Flush()
	f.opened <- struct{}{}
	for id := 1; ; id++ {
		select {
		case data := <-f.events:
			fmt.Fprintf(w, "id: %d\nevent: progress\ndata: %s\n\n", id, data)
			_ = control.Flush()
			if strings.Contains(data, `"status":3`) {
				return
			}
		case <-r.Context().Done():
			f.closed <- struct{}{}
			return
		}
	}
}

// quiet fails the test if the pages log: they do only for what should not be.
func quiet(t *testing.T) *slog.Logger {
	var b bytes.Buffer
	t.Cleanup(func() {
		if b.Len() > 0 {
			t.Errorf("logged: %s", b.Bytes())
		}
	})
	return textLogger(&b)
}

func textLogger(to io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(to, nil)) }
