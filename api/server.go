package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// Server answers the API. It is an http.Handler.
type Server struct {
	Config

	mux      *http.ServeMux
	huma     huma.API
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	progress progressBook
	document []byte
	pages    pageBuffers
	keys     keyCache

	mu      sync.Mutex
	running map[string]struct{} // guarded by mu; stored-answer keys of calls under way
}

// New makes a server. It fails only if the OpenAPI document cannot be made.
func New(c Config) (*Server, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Alone == nil {
		c.Alone = func() bool { return true }
	}
	s := &Server{Config: c, mux: http.NewServeMux(), running: make(map[string]struct{})}
	s.progress.open()
	s.measure()
	s.huma = huma.NewAPI(s.describe(), adapter{s})
	s.routes()
	var docs []byte
	s.plain(public("/docs", "get-docs", "The API as a page", "text/html"), func(w http.ResponseWriter, _ *http.Request) { s.showDocs(w, docs) })
	var err error
	if s.document, err = json.MarshalIndent(s.huma.OpenAPI(), "", "  "); err != nil {
		return nil, err
	}
	s.document = append(s.document, '\n')
	if docs, err = s.docs(); err != nil {
		return nil, err
	}
	return s, nil
}

// OpenAPI gives the OpenAPI 3.1 document of the API.
func OpenAPI() ([]byte, error) {
	s, err := New(Config{})
	if err != nil {
		return nil, err
	}
	return s.document, nil
}

// routes registers everything.
func (s *Server) routes() {
	s.recipientRoutes()
	s.listRoutes()
	s.segmentRoutes()
	s.importRoutes()
	s.suppressionRoutes()
	s.messageRoutes()
	s.actionRoutes()
	s.eventRoutes()
	s.reportRoutes()
	s.providerRoutes()
	s.adminRoutes()
	s.shardRoutes()
	s.healthRoutes()
	s.inboxKeyRoutes()
	s.unsubscribeRoutes()
	s.trackRoutes()
	s.receiptRoutes()
	s.bounceRoutes()
	s.inboxRoutes()
	s.inboxStreamRoute()
}

// Owns says whether a path belongs to the API, so that whoever serves pages beside it leaves it alone.
func Owns(path string) bool {
	switch path {
	case "/v1", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs":
		return true
	}
	return strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/u/") || strings.HasPrefix(path, "/t/")
}

// Metrics is the registry that /metrics shows; names begin with fanfare_.
func (s *Server) Metrics() *prometheus.Registry { return s.registry }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	c := &call{server: s, request: requestID(r.Header.Get("X-Request-Id")), method: r.Method}
	out := &recorder{ResponseWriter: w, call: c}
	out.Header().Set("X-Request-Id", c.request)
	out.Header().Set("X-Content-Type-Options", "nosniff")
	defer func() {
		if e := recover(); e != nil {
			if e == http.ErrAbortHandler { //nolint:errorlint // a panic's value, never wrapped
				if c.failure != nil && r.Context().Err() == nil {
					s.Log.Error("an answer was cut off", "request", c.request, "route", c.route, "error", c.failure)
				}
				panic(e)
			}
			s.Log.Error("a request failed", "request", c.request, "route", c.route, "panic", e, "stack", string(debug.Stack()))
			if !out.begun {
				problem(http.StatusInternalServerError, "internal", "Something failed in the server; its log says more under this request's id.").write(out, c.request)
			}
		}
		s.log(r, c, out.status, time.Since(began))
	}()
	if s.share(c, out, r) {
		return
	}
	s.mux.ServeHTTP(out, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
	if c.route == "" {
		out.refuse()
	}
}

func (s *Server) log(r *http.Request, c *call, status int, took time.Duration) {
	level := slog.LevelInfo
	route := c.route
	switch {
	case route == "":
		route, level = "none", slog.LevelDebug
	case status >= 500 && status != http.StatusServiceUnavailable:
		level = slog.LevelError
	case c.quiet, status < 400 && r.Method == http.MethodGet: // who watches asks often
		level = slog.LevelDebug
	}
	s.requests.WithLabelValues(route, r.Method, statusClass(status)).Observe(took.Seconds())
	if !s.Log.Enabled(r.Context(), level) {
		return
	}
	args := []any{"route", route, "status", status, "ms", took.Milliseconds(), "request", c.request}
	if c.key.ID != "" {
		args = append(args, "key", c.key.ID)
	}
	if c.failure != nil {
		args = append(args, "error", c.failure)
	}
	s.Log.Log(context.WithoutCancel(r.Context()), level, "request", args...)
}

func statusClass(status int) string { return string(rune('0'+status/100)) + "xx" }

// requestID echoes the caller's, if it is fit for a log, or makes one.
func requestID(given string) string {
	if given == "" || len(given) > 128 {
		return rand.Text()
	}
	for i := range len(given) {
		c := given[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("-_.:/+=", c) < 0 {
			return rand.Text()
		}
	}
	return given
}

// recorder knows what was answered. What the mux says by itself (no such path, no such method) is held back and told as a problem.
type recorder struct {
	http.ResponseWriter
	call   *call
	status int
	begun  bool
}

func (r *recorder) WriteHeader(status int) {
	if !r.begun {
		r.status = status
	}
	if r.call.route == "" {
		return
	}
	r.begun = true
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.call.route == "" {
		return len(b), nil
	}
	if !r.begun {
		r.WriteHeader(http.StatusOK)
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// refuse tells what the mux found.
func (r *recorder) refuse() {
	p := problem(http.StatusNotFound, "no_route", "There is nothing at this address; /openapi.json lists what there is.")
	if allowed := r.Header().Get("Allow"); r.status == http.StatusMethodNotAllowed {
		p = problem(http.StatusMethodNotAllowed, "method", "This address does not take %s; it takes %s.", r.call.method, allowed)
	}
	r.Header().Del("Location")
	r.call.route = "none"
	p.write(r, r.call.request)
}

// public describes a route that takes no key.
func public(path, id, summary, kind string) operation {
	return operation{method: http.MethodGet, path: path, id: id, tag: "public", summary: summary, public: true,
		produces: map[string]*huma.MediaType{kind: {Schema: &huma.Schema{Type: huma.TypeString}}}}
}

// plain registers a handler that speaks HTTP by itself.
func (s *Server) plain(o operation, h http.HandlerFunc) {
	described := o.huma()
	if strings.Contains(o.path, "{token}") {
		described.Parameters = append(described.Parameters, &huma.Param{Name: "token", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	if o.status == http.StatusFound {
		described.Responses["302"] = &huma.Response{Description: http.StatusText(o.status)}
	}
	s.huma.OpenAPI().AddOperation(&described)
	pattern := o.method + " " + o.path
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		callOf(r.Context()).route = pattern
		h(w, r)
	})
}
