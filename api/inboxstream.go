package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"fanfare"
)

// InboxFeed tells what is new in recipients' inboxes.
type InboxFeed interface {
	// Follow begins to follow an inbox behind the event that somebody had last (InboxNews.IDs); empty: from now on. It has to be closed.
	Follow(who fanfare.Person, last string) InboxFollower
	// Following tells how many follow this inbox, and any.
	Following(who fanfare.Person) (its, all int)
}

// InboxFollower follows one inbox, for one goroutine.
type InboxFollower interface {
	// Woken receives when there may be news.
	Woken() <-chan struct{}
	News(ctx context.Context) (InboxNews, error)
	Close()
}

// InboxNews is what is new in an inbox.
type InboxNews struct {
	Items   []InboxItem // that came, oldest delivery first
	IDs     []string    // of their events
	Counts  InboxCounts
	Changed bool // Counts are others than those told last, or the first
}

const (
	mostStreams   = 20_000 // of a node
	streamsOfOne  = 20     // of a recipient: each open page has one
	commentEvery  = 15 * time.Second
	expiresBefore = 30 * time.Second // the end of a token is told
)

func (s *Server) inboxStreamRoute() {
	o := operation{method: http.MethodGet, path: "/v1/inbox/stream", id: "stream-inbox", tag: "inbox", holder: true, summary: "What is new in the inbox, as server-sent events",
		doc: "Events: message (an item as GET /v1/inbox has it; its id is for Last-Event-ID, by which a stream goes on after a break), count (unread, unseen, total; at first and whenever they change), " +
			"expired (30 s before the token ends: come again with another one; the stream ends with the token, and within 15 s if its key is revoked or the recipient erased). A comment every 15 s. By fetch, so that no token stands in an address.",
		produces: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}}
	described := o.huma()
	described.Parameters = append(described.Parameters, &huma.Param{Name: "Last-Event-ID", In: "header", Schema: &huma.Schema{Type: huma.TypeString}})
	s.huma.OpenAPI().AddOperation(&described)
	pattern := o.method + " " + o.path
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		c := callOf(r.Context())
		c.route, c.quiet = pattern, true
		if err := s.streamInbox(w, r); err != nil {
			c.refuse(w, err)
		}
	})
}

// streamInbox answers an error only if nothing was written yet.
func (s *Server) streamInbox(w http.ResponseWriter, r *http.Request) error {
	who, until, err := s.recipientOf(r)
	if err != nil {
		return err
	}
	if its, all := s.Feed.Following(who); its >= streamsOfOne || all >= mostStreams {
		w.Header().Set("Retry-After", "10")
		return problem(http.StatusTooManyRequests, "too_many_streams", "There are too many open streams, of this recipient or of this server; close others, or ask GET /v1/inbox/count now and then.")
	}
	f := s.Feed.Follow(who, r.Header.Get("Last-Event-ID"))
	defer f.Close()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // of nginx, which would keep events back
	out := &inboxEvents{w: w, flush: http.NewResponseController(w)}
	if out.put(": welcome\n\n") != nil {
		return nil //nolint:nilerr // the client is gone
	}
	out.follow(r.Context(), s, f, until, func() bool { return s.stillHolds(r, who) })
	return nil
}

// stillHolds says whether a token opens the inbox that it opened: its key may be revoked, or its recipient erased, while a stream is open.
// A database that does not answer says nothing.
func (s *Server) stillHolds(r *http.Request, was fanfare.Person) bool {
	who, _, err := s.recipientOf(r)
	if p := (*Problem)(nil); errors.As(err, &p) {
		return p.Status != http.StatusUnauthorized
	}
	return err != nil || who == was
}

// inboxEvents writes events of one stream.
type inboxEvents struct {
	w     http.ResponseWriter
	flush *http.ResponseController
	b     []byte
}

func (e *inboxEvents) put(text string) error {
	_ = e.flush.SetWriteDeadline(time.Now().Add(slowMost)) // a connection that knows none has none
	if _, err := e.w.Write([]byte(text)); err != nil {
		return err
	}
	return e.flush.Flush()
}

// follow writes until the client is gone, the server stops, the token ends or holds no more, which is looked at with each comment.
func (e *inboxEvents) follow(ctx context.Context, s *Server, f InboxFollower, until time.Time, holds func() bool) {
	end := time.NewTimer(time.Until(until))
	defer end.Stop()
	soon := time.NewTimer(time.Until(until.Add(-expiresBefore)))
	defer soon.Stop()
	comment := time.NewTicker(commentEvery)
	defer comment.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-soon.C:
			err = e.put(fmt.Sprintf("event: expired\ndata: {\"expires_at\":%q}\n\n", until.Format(time.RFC3339)))
		case <-comment.C:
			if !holds() {
				return
			}
			err = e.put(":\n\n")
		case <-f.Woken():
			err = e.news(ctx, s, f)
		}
		if err != nil {
			return
		}
	}
}

// news writes what is new. A database that does not answer ends the stream: whoever comes again misses nothing.
func (e *inboxEvents) news(ctx context.Context, s *Server, f InboxFollower) error {
	n, err := f.News(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.Log.Warn("a stream of an inbox ends", "request", callOf(ctx).request, "error", err)
		}
		return err
	}
	b := e.b[:0]
	for i := range n.Items {
		b = append(append(append(b, "id: "...), n.IDs[i]...), "\nevent: message\ndata: "...)
		b = append(n.Items[i].appendJSON(b), "\n\n"...)
	}
	if n.Changed {
		counts, err := json.Marshal(n.Counts)
		if err != nil {
			return err
		}
		b = append(append(append(b, "event: count\ndata: "...), counts...), "\n\n"...)
	}
	if e.b = b; len(b) == 0 {
		return nil
	}
	return e.put(string(b))
}
