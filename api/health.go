package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fanfare"
)

// readyTime is how long store and queue may take to answer.
const readyTime = 2 * time.Second

func (s *Server) healthRoutes() {
	s.plain(public("/healthz", "get-health", "Whether the process is alive", "application/json"), func(w http.ResponseWriter, r *http.Request) {
		callOf(r.Context()).quiet = true
		s.well(w)
	})
	s.plain(public("/readyz", "get-ready", "Whether store and queue answer; 503 if not", "application/json"), func(w http.ResponseWriter, r *http.Request) {
		c := callOf(r.Context())
		c.quiet = true
		if what, err := s.answers(r.Context()); err != nil {
			p := unavailable("not_ready", "The "+what+" does not answer; the log says more. Ask again in a moment.")
			p.cause = err
			c.refuse(w, p)
			return
		}
		s.well(w)
	})
	open := s.MetricsHandler()
	metrics := public("/metrics", "get-metrics", "Metrics for Prometheus", "text/plain")
	metrics.public, metrics.tag, metrics.scope = false, "administration", scopeMetricsRead
	s.plain(metrics, func(w http.ResponseWriter, r *http.Request) {
		c := callOf(r.Context())
		c.quiet = true
		err := s.authenticate(r.Context(), c, r)
		if err == nil {
			err = c.need(scopeMetricsRead)
		}
		if err != nil {
			c.refuse(w, err)
			return
		}
		open.ServeHTTP(w, r)
	})
	s.plain(public("/openapi.json", "get-openapi", "The OpenAPI document", "application/openapi+json"), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(s.document) // the client is gone
	})
}

// HealthHandler answers what every node answers, whatever its roles: /healthz, /readyz and /metrics.
func (s *Server) HealthHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz", "/readyz", "/metrics":
			s.ServeHTTP(w, r)
			return
		}
		problem(http.StatusNotFound, "no_role", "This node has not the role api; ask one that has (GET /v1/nodes there lists them all).").write(w, requestID(r.Header.Get("X-Request-Id")))
	})
}

func (s *Server) well(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]string{"status": "ok", "version": s.Version}) // the client is gone
}

// answers asks store and queue, and says which does not.
func (s *Server) answers(ctx context.Context) (what string, err error) {
	ctx, stop := context.WithTimeout(ctx, readyTime)
	defer stop()
	if _, err := s.Store.Look(ctx); err != nil {
		return "store", err
	}
	return "queue", s.Queue.Ping(ctx)
}

// MetricsHandler shows the metrics without a key: for an address that only administrators reach.
func (s *Server) MetricsHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, stop := context.WithTimeout(r.Context(), readyTime)
		defer stop()
		now := prometheus.NewRegistry()
		prometheus.WrapRegistererWithPrefix("fanfare_", now).MustRegister(s.state(ctx))
		promhttp.HandlerFor(prometheus.Gatherers{s.registry, now}, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	})
}

// measure makes the metrics.
func (s *Server) measure() {
	s.registry = prometheus.NewRegistry()
	ours := prometheus.WrapRegistererWithPrefix("fanfare_", s.registry)
	s.requests = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "http_request_seconds", Help: "HTTP requests by route, method and class of status.",
		Buckets: []float64{.001, .005, .02, .1, .5, 2, 10}}, []string{"route", "method", "status"})
	ours.MustRegister(s.requests, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

// state tells how things stand when it is asked.
type state struct {
	ctx                           context.Context // of the request that asks: a collector is given none
	server                        *Server
	messages, free, held, waiting *prometheus.Desc
}

func (s *Server) state(ctx context.Context) *state {
	return &state{ctx: ctx, server: s,
		messages: prometheus.NewDesc("messages", "Messages that are scheduled or under way, by phase.", []string{"phase"}, nil),
		free:     prometheus.NewDesc("claims_free", "Claims that a node could take, by node and provider.", []string{"node", "provider"}, nil),
		held:     prometheus.NewDesc("claims_held", "Claims that a node holds, by node and provider.", []string{"node", "provider"}, nil),
		waiting:  prometheus.NewDesc("queue_tasks", "Tasks that wait on the queue, roughly, by provider.", []string{"provider"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *state) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.messages, c.free, c.held, c.waiting} {
		to <- d
	}
}

// Collect implements prometheus.Collector. What cannot be read is told as an error of the scrape.
func (c *state) Collect(to chan<- prometheus.Metric) {
	ctx := c.ctx
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	looks, err := c.server.Store.Look(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.messages, err)
		return
	}
	phases := make(map[fanfare.Phase]int)
	for _, l := range looks {
		phases[l.State.Phase]++
	}
	for phase, n := range phases {
		gauge(c.messages, n, string(phase))
	}
	nodes, err := c.server.nodes(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.free, err)
		return
	}
	for _, n := range nodes {
		for provider, v := range n.Free {
			gauge(c.free, v, n.Name, provider)
		}
		for provider, v := range n.Claims {
			gauge(c.held, v, n.Name, provider)
		}
	}
	queues, err := c.server.queues(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.waiting, err)
		return
	}
	for _, q := range queues {
		gauge(c.waiting, q.Waiting, q.Provider)
	}
}
