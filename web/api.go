package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// problem is an answer of the API that is no success.
type problem struct {
	Status     int    `json:"status"`
	Title      string `json:"title"`
	Detail     string `json:"detail"`
	Code       string `json:"code"`
	Planned    *int   `json:"planned"` // with audience_changed: how many it would go to now
	RetryAfter string `json:"-"`
}

func (p *problem) Error() string {
	if p.Detail == "" {
		return fmt.Sprintf("%d %s", p.Status, p.Title)
	}
	return p.Detail
}

// answer is what the API wrote, in memory.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// request makes a request to the API as the visitor of r.
func request(r *http.Request, method, path string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(r.Context(), method, path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Host, req.RemoteAddr, req.TLS, req.RequestURI = r.Host, r.RemoteAddr, r.TLS, path
	req.Header.Set("Authorization", "Bearer "+key(r))
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if id := r.Header.Get("X-Request-Id"); id != "" {
		req.Header.Set("X-Request-Id", id)
	}
	return req, nil
}

// call asks the API as the visitor of r: in is the body (nil: none), once an Idempotency-Key or empty, out takes the answer (nil: thrown
// away). An answer that is no success is a *problem.
func (s *site) call(r *http.Request, method, path, once string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	req, err := request(r, method, path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if once != "" {
		req.Header.Set("Idempotency-Key", once)
	}
	a := &answer{header: http.Header{}}
	s.api.ServeHTTP(a, req)
	a.WriteHeader(http.StatusOK)
	if a.status >= 300 {
		p := &problem{}
		_ = json.Unmarshal(a.body.Bytes(), p) // no problem+json: the status says enough
		p.Status, p.RetryAfter = a.status, a.header.Get("Retry-After")
		if p.Title == "" {
			p.Title = http.StatusText(a.status)
		}
		return p
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(a.body.Bytes(), out); err != nil {
		return fmt.Errorf("%s %s: the answer cannot be read: %w", method, path, err)
	}
	return nil
}

// messagePath is the API's path of a message, and of what is below it.
func messagePath(id string, below ...string) string {
	return strings.Join(append([]string{"/v1/messages/" + url.PathEscape(id)}, below...), "/")
}

// relay hands the API's stream on as it comes, and only that: what is no stream of events is cut off, its status kept.
type relay struct {
	http.ResponseWriter
	header http.Header
	begun  bool
	events bool
}

func (l *relay) Header() http.Header { return l.header }

func (l *relay) WriteHeader(status int) {
	if l.begun || status < 200 {
		return
	}
	l.begun = true
	kind := l.header.Get("Content-Type")
	l.events = status == http.StatusOK && strings.HasPrefix(kind, "text/event-stream")
	if l.events {
		l.ResponseWriter.Header().Set("Content-Type", kind)
		l.ResponseWriter.Header().Set("X-Accel-Buffering", "no") // a proxy that collects would stop the numbers
	} else if status < 300 {
		status = http.StatusBadGateway
	}
	l.ResponseWriter.WriteHeader(status)
}

func (l *relay) Write(b []byte) (int, error) {
	l.WriteHeader(http.StatusOK)
	if !l.events {
		return len(b), nil
	}
	return l.ResponseWriter.Write(b)
}

func (l *relay) Flush() {
	l.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(l.ResponseWriter).Flush()
}

// Unwrap lets the API set its deadlines on the real connection.
func (l *relay) Unwrap() http.ResponseWriter { return l.ResponseWriter }

// stream relays a message's progress to the page's script. It ends when the API's does or when the visitor goes: the context is theirs.
func (s *site) stream(w http.ResponseWriter, r *http.Request) {
	if key(r) == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	path := messagePath(r.PathValue("id"), "progress", "stream")
	req, err := request(r, http.MethodGet, path, nil)
	if err != nil {
		s.log.Error("the progress stream cannot be asked for", "path", path, "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	req.Header.Set("Accept", "text/event-stream")
	l := &relay{ResponseWriter: w, header: http.Header{}}
	s.api.ServeHTTP(l, req)
	l.WriteHeader(http.StatusOK)
}
