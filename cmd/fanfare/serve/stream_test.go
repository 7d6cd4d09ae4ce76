package serve

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// event is one server-sent event.
type event struct{ id, name, data string }

// stream is an open stream of an inbox.
type stream struct {
	t      *testing.T
	answer *http.Response
	lines  *bufio.Scanner
	close  func()
}

// open opens a stream; last is the id of the last event that was had.
func (r *running) open(token, last string) *stream {
	r.t.Helper()
	ctx, stop := context.WithTimeout(r.t.Context(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/v1/inbox/stream", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Origin", "https://app.example.com")
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	a, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	s := &stream{t: r.t, answer: a, lines: bufio.NewScanner(a.Body), close: func() { stop(); _ = a.Body.Close() }}
	r.t.Cleanup(s.close)
	return s
}

// next reads an event; false: the stream has ended.
func (s *stream) next() (e event, ok bool) {
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.name != "" {
				return e, true
			}
		}
	}
	return e, false
}

// want reads events until one of the name comes whose data holds a part.
func (s *stream) want(name, part string) event {
	s.t.Helper()
	for {
		e, ok := s.next()
		if !ok {
			s.t.Fatalf("the stream ended before %s %s: %v", name, part, s.lines.Err())
		}
		if e.name == name && strings.Contains(e.data, part) {
			return e
		}
	}
}

// TestStream: who is there hears of messages and of their own marks; who comes again goes on; the token's end is told, and ends the stream.
func TestStream(t *testing.T) {
	r := start(t, t.TempDir(), Config{InboxOrigins: []string{"https://app.example.com"}})
	r.importPeople(4)
	one := r.token("u0")
	r.broadcast(map[string]any{"audience": map[string]any{"list": "all"}, "content": map[string]any{"title": "Old"}})
	s, other := r.open(one, ""), r.open(r.token("u1"), "")
	if got := s.answer.Header; s.answer.StatusCode != 200 || got.Get("Content-Type") != "text/event-stream" || got.Get("Access-Control-Allow-Origin") != "https://app.example.com" {
		t.Fatalf("%d %v", s.answer.StatusCode, got)
	}
	if e, _ := s.next(); e.name != "count" || e.data != `{"unread":1,"unseen":1,"total":1}` { // what was there before is no news
		t.Errorf("%+v", e)
	}
	first := r.broadcast(map[string]any{"audience": map[string]any{"recipients": []string{"u0"}}, "content": map[string]any{"title": "Hello {{ first_name }}", "body": "a\nb"}})
	e := s.want("message", first)
	var item struct {
		Message, Title, Body string
		ReadAt               *time.Time `json:"read_at"`
	}
	if err := json.Unmarshal([]byte(e.data), &item); err != nil || item.Title != "Hello Name0" || item.Body != "a\nb" || item.ReadAt != nil || e.id == "" {
		t.Errorf("%+v %v", e, err)
	}
	s.want("count", `"unread":2`)
	r.want(204, "POST", "/v1/inbox/"+first+"/read", one, "", nil)
	s.want("count", `"unread":1`)
	s.close()
	second := r.broadcast(map[string]any{"audience": map[string]any{"list": "all"}, "content": map[string]any{"title": "Second"}})
	s = r.open(one, e.id)
	if e, _ := s.next(); e.name != "message" || !strings.Contains(e.data, second) {
		t.Errorf("after a break: %+v", e)
	}
	if e := other.want("message", ""); !strings.Contains(e.data, second) {
		t.Errorf("another's: %+v", e)
	}
	if bad := r.open("nonsense", ""); bad.answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("%d", bad.answer.StatusCode)
	}
	var short struct {
		Token   string
		Expires string `json:"expires_at"`
	}
	r.want(200, "POST", "/v1/recipients/u0/token", "", `{"ttl_seconds":2}`, &short)
	s = r.open(short.Token, "")
	if e := s.want("expired", ""); e.data != fmt.Sprintf(`{"expires_at":%q}`, short.Expires) {
		t.Errorf("%+v", e)
	}
	for {
		if _, ok := s.next(); !ok {
			break
		}
	}
	if err := s.lines.Err(); err != nil {
		t.Errorf("the stream does not end well: %v", err)
	}
}

// TestManyStreams: all hear of a message; a recipient has 20 at most.
func TestManyStreams(t *testing.T) {
	const n = 300
	r := start(t, t.TempDir(), Config{})
	r.importPeople(n)
	var streams []*stream
	for i := range n {
		streams = append(streams, r.open(r.token(fmt.Sprint("u", i)), ""))
	}
	token := r.token("u0")
	for range 19 {
		if s := r.open(token, ""); s.answer.StatusCode != 200 {
			t.Fatal(s.answer.StatusCode)
		}
	}
	if s := r.open(token, ""); s.answer.StatusCode != http.StatusTooManyRequests || s.answer.Header.Get("Retry-After") == "" {
		t.Errorf("%d", s.answer.StatusCode)
	}
	id := r.broadcast(map[string]any{"audience": map[string]any{"list": "all"}, "content": map[string]any{"title": "Hello {{ first_name }}"}})
	var wg sync.WaitGroup
	for i, s := range streams {
		wg.Go(func() {
			for {
				e, ok := s.next()
				if !ok || e.name == "message" {
					if !strings.Contains(e.data, id) || !strings.Contains(e.data, fmt.Sprintf("Hello Name%d\"", i)) {
						t.Errorf("u%d: %+v", i, e)
					}
					return
				}
			}
		})
	}
	wg.Wait()
}
