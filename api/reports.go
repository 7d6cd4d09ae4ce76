package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"fanfare"
)

type failureView struct {
	Reason string `json:"reason"`
	Code   string `json:"code"`
	Sample string `json:"sample"`
	Count  int    `json:"count"`
}

func (s *Server) reportRoutes() {
	const at = "/v1/messages/{id}/"
	read := func(name, id, summary, doc string) operation {
		return operation{method: http.MethodGet, path: at + name, id: id, tag: "reports", scope: scopeMessagesRead, summary: summary, doc: doc}
	}
	route(s, read("progress", "get-progress", "How far a message has come", "balanced: audience = sent + failed + skipped + uncertain + remaining + in_flight, in every batch, by counters and by sets."),
		func(ctx context.Context, _ *call, in *MessagePath) (*reply[progressView], error) {
			v, _, err := s.count(ctx, in.ID)
			return ok(v), err
		})
	stream := read("progress/stream", "stream-progress", "Progress as server-sent events", "Events named progress, ids from 1, the whole object at least once a second; one last event after the final phase, then the stream ends.")
	stream.produces = map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}
	routeStream(s, stream, s.streamProgress)
	route(s, read("items", "list-items", "What became of each recipient", "A page may hold fewer than limit while next_cursor goes on."), s.listItems)
	route(s, read("items/{external_id}", "get-item", "What became of one recipient", ""), s.getItem)
	export := read("items/export", "export-items", "All items, streamed", "")
	export.scope = scopeRecipientsExport
	export.produces = map[string]*huma.MediaType{"application/x-ndjson": {Schema: &huma.Schema{Type: huma.TypeString}}, "text/csv": {Schema: &huma.Schema{Type: huma.TypeString}}}
	routeStream(s, export, s.exportItems)
	route(s, read("failures", "list-failures", "The failed, grouped by reason, code and text", "The most frequent hundred of each slot."), s.listFailures)
	s.timelineRoute(read("timeline", "get-timeline", "What was sent, failed and read when", ""))
}

const (
	streamEvery = 250 * time.Millisecond // a stream looks
	quietMost   = time.Second            // it says nothing
	slowMost    = 30 * time.Second       // its reader may take for an event
)

func (s *Server) streamProgress(ctx context.Context, c *call, in *MessagePath) (func(http.ResponseWriter), error) {
	now, watched, err := s.count(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no") // a proxy would hold events back
		e := events{w: w, flush: http.NewResponseController(w)}
		tick := time.NewTicker(streamEvery)
		defer tick.Stop()
		for {
			if err := e.send(now); err != nil || fanfare.Phase(now.Phase).Final() {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if now, err = s.follow(ctx, in.ID, watched); err != nil {
				c.failure = err // the client asks again
				return
			}
		}
	}, nil
}

// events writes server-sent events, numbered from 1. What equals the one before is sent once a second only.
type events struct {
	w     http.ResponseWriter
	flush *http.ResponseController
	n     int
	last  string
	at    time.Time
}

func (e *events) send(v progressView) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if e.n > 0 && string(b) == e.last && time.Since(e.at) < quietMost-streamEvery/2 {
		return nil
	}
	e.n++
	e.last, e.at = string(b), time.Now()
	_ = e.flush.SetWriteDeadline(time.Now().Add(slowMost)) // a connection that knows none has none
	if _, err := fmt.Fprintf(e.w, "id: %d\nevent: progress\ndata: %s\n\n", e.n, b); err != nil {
		return err
	}
	return e.flush.Flush()
}

func (s *Server) listFailures(ctx context.Context, _ *call, in *MessagePath) (*reply[[]failureView], error) {
	m, _, err := s.read(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	counts := make(map[fanfare.FailureGroup]int)
	for slot := range s.Store.Slots() {
		groups, err := s.Store.Failures(ctx, m.Num, fanfare.Slot(slot), 100) //nolint:gosec // slots fit
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			n := g.Count
			g.Count = 0
			counts[g] += n
		}
	}
	out := make([]failureView, 0, len(counts))
	for g, n := range counts {
		out = append(out, failureView{Reason: string(g.Reason), Code: g.Code, Sample: g.Sample, Count: n})
	}
	slices.SortFunc(out, func(a, b failureView) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Sample, b.Sample))
	})
	return ok(out), nil
}
