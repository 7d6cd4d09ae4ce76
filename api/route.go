package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"fanfare"
)

// The scopes of keys.
const (
	scopeMessagesRead      = "messages:read"
	scopeMessagesWrite     = "messages:write"
	scopeMessagesStart     = "messages:start"
	scopeMessagesEssential = "messages:essential"
	scopeRecipientsRead    = "recipients:read"
	scopeRecipientsWrite   = "recipients:write"
	scopeRecipientsExport  = "recipients:export"
	scopeReceiptsWrite     = "receipts:write"
	scopeInboxToken        = "inbox:token"
	scopeProvidersWrite    = "providers:write"
	scopeKeysWrite         = "keys:write"
	scopeMetricsRead       = "metrics:read"
)

// Scopes lists all scopes; the first key has them all.
func Scopes() []string {
	return []string{scopeMessagesRead, scopeMessagesWrite, scopeMessagesStart, scopeMessagesEssential, scopeRecipientsRead, scopeRecipientsWrite,
		scopeRecipientsExport, scopeReceiptsWrite, scopeInboxToken, scopeProvidersWrite, scopeKeysWrite, scopeMetricsRead}
}

// operation describes one route.
type operation struct {
	method, path string
	id           string
	summary      string
	doc          string
	tag          string
	scope        string // empty: any key
	status       int    // of success; 0: 200
	also         int    // another status of success; 0: none
	keyed        bool   // takes an Idempotency-Key
	public       bool   // takes no key
	holder       bool   // takes a recipient's token instead of a key; see call.recipient
	stream       bool   // the body is no JSON: the handler reads it
	secret       bool   // the answer holds a secret: it is sealed where it is stored
	nul          bool   // the handler refuses texts with NUL itself
	body         *huma.RequestBody
	produces     map[string]*huma.MediaType // of a success that is no JSON
}

// call is one request under way.
type call struct {
	server  *Server
	request string // its id
	method  string
	route   string // empty until the mux found one
	quiet   bool   // not worth a line in the log
	key     fanfare.Key

	failure error // for the log
	http    *http.Request
	raw     []byte // the JSON body

	answerKey string // of its stored answer; empty: none is kept
	hash      func() [32]byte
	kept      bool
	secret    bool
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// actor names who calls, for the audit trail.
func (c *call) actor() string { return c.key.ID }

func (c *call) audit(tx fanfare.ControlTx, action, object, detail string) error {
	return tx.AddAudit(fanfare.AuditEntry{Actor: c.actor(), Action: action, Object: object, Detail: detail})
}

// may says whether the call's key has a scope.
func (c *call) may(scope string) bool { return slices.Contains(c.key.Scopes, scope) }

func (c *call) need(scope string) error {
	if scope == "" || c.may(scope) {
		return nil
	}
	return problem(http.StatusForbidden, "scope", "This key lacks the scope %s; use one that has it, or make one with POST /v1/keys.", scope)
}

// reply is a success.
type reply[B any] struct {
	Status   int
	Location string `header:"Location"`
	ETag     string `header:"ETag"`
	Body     B
}

func ok[B any](body B) *reply[B] { return &reply[B]{Status: http.StatusOK, Body: body} }

func created[B any](location string, body B) *reply[B] {
	return &reply[B]{Status: http.StatusCreated, Location: location, Body: body}
}

// none is a success without a body.
type none struct{ Status int }

// list is one page of a listing.
type list[T any] struct {
	Items []T     `json:"items" nullable:"false"`
	Next  *string `json:"next_cursor" doc:"Give it as cursor for the next page; null: this is the last one."`
}

func listOf[T any](items []T, next string) list[T] {
	l := list[T]{Items: items}
	if items == nil {
		l.Items = []T{}
	}
	if next != "" {
		l.Next = &next
	}
	return l
}

// Page is what every listing takes. Like the other embedded parts of requests it is exported for the OpenAPI document only.
type Page struct {
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
}

// pageOf cuts the page that is asked for out of a whole list; its cursor is the id of the last item before it.
func pageOf[T any](all []T, in *Page, id func(T) string) (page []T, next string, err error) {
	if in.Cursor != "" {
		at := slices.IndexFunc(all, func(one T) bool { return id(one) == in.Cursor })
		if at < 0 {
			return nil, "", badCursor(fanfare.ErrUsage)
		}
		all = all[at+1:]
	}
	if len(all) > in.Limit {
		all = all[:in.Limit]
		next = id(all[in.Limit-1])
	}
	return all, next, nil
}

// badCursor makes a refused cursor a 400.
func badCursor(err error) error {
	if errors.Is(err, fanfare.ErrUsage) {
		p := problem(http.StatusBadRequest, "bad_cursor", "The cursor is none that this server gave; begin again without one.")
		p.cause = err
		return p
	}
	return err
}

// route registers an operation whose answer is JSON.
func route[I, B any](s *Server, o operation, h func(ctx context.Context, c *call, in *I) (*reply[B], error)) {
	described := o.huma()
	huma.Register(s.huma, described, func(ctx context.Context, in *I) (*reply[B], error) {
		c := callOf(ctx)
		out, err := h(ctx, c, in)
		if err == nil {
			err = keepLast(ctx, c, out)
		}
		if err != nil {
			return nil, c.told(err)
		}
		return out, nil
	})
	if o.also != 0 {
		other := *described.Responses[strconv.Itoa(described.DefaultStatus)]
		other.Description = http.StatusText(o.also)
		described.Responses[strconv.Itoa(o.also)] = &other
	}
}

// routeNone registers an operation whose success has no body.
func routeNone[I any](s *Server, o operation, h func(ctx context.Context, c *call, in *I) error) {
	o.status = http.StatusNoContent
	huma.Register(s.huma, o.huma(), func(ctx context.Context, in *I) (*none, error) {
		c := callOf(ctx)
		if err := h(ctx, c, in); err != nil {
			return nil, c.told(err)
		}
		return &none{http.StatusNoContent}, nil
	})
}

// streamed is a success whose body is written piece by piece.
type streamed struct {
	Body func(huma.Context)
}

// routeStream registers an operation whose handler answers a function that writes the body.
func routeStream[I any](s *Server, o operation, h func(ctx context.Context, c *call, in *I) (func(w http.ResponseWriter), error)) {
	huma.Register(s.huma, o.huma(), func(ctx context.Context, in *I) (*streamed, error) {
		c := callOf(ctx)
		write, err := h(ctx, c, in)
		if err != nil {
			return nil, c.told(err)
		}
		return &streamed{func(hc huma.Context) {
			_, w := humago.Unwrap(hc)
			write(w)
		}}, nil
	})
}

// told makes of an error what is answered, and notes it for the log.
func (c *call) told(err error) error {
	var again *replayed
	if errors.As(err, &again) {
		return again
	}
	p := asProblem(err)
	if p.Status >= 500 || p.Status == statusGone {
		c.failure = err
	}
	return p
}

func (o operation) huma() huma.Operation {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	h := huma.Operation{Method: o.method, Path: o.path, OperationID: o.id, Summary: o.summary, Description: o.doc, Tags: []string{o.tag},
		DefaultStatus: o.status, BodyReadTimeout: -1, MaxBodyBytes: -1, RejectUnknownQueryParameters: true, RequestBody: o.body,
		Metadata:  map[string]any{"operation": o},
		Responses: map[string]*huma.Response{"default": {Description: "What is wrong and what to do next.", Ref: "#/components/responses/Problem"}},
	}
	h.Security = []map[string][]string{{"key": nonEmpty(o.scope)}}
	if o.public {
		h.Security = []map[string][]string{{}}
	}
	if o.holder {
		h.Security = []map[string][]string{{"recipient": {}}}
	}
	if o.keyed {
		h.Parameters = append(h.Parameters, &huma.Param{Name: "Idempotency-Key", In: "header", Schema: &huma.Schema{Type: huma.TypeString, MaxLength: new(maxAnswerKey)},
			Description: "A repeated call with the same key and body gets the first answer again, for 48 hours."})
	}
	if o.produces != nil {
		h.Responses["200"] = &huma.Response{Description: http.StatusText(http.StatusOK), Content: o.produces}
	}
	return h
}

func nonEmpty(s string) []string {
	if s == "" {
		return []string{}
	}
	return []string{s}
}

// bodyTime is how long a JSON body may take to come.
const bodyTime = time.Minute

// adapter lets huma register on the mux. Before huma sees a request, its key, its body and its Idempotency-Key were looked at.
type adapter struct{ server *Server }

// Handle implements huma.Adapter.
func (a adapter) Handle(h *huma.Operation, next func(huma.Context)) {
	o, _ := h.Metadata["operation"].(operation)
	pattern := h.Method + " " + h.Path
	a.server.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		c := callOf(r.Context())
		c.route, c.secret, c.http = pattern, o.secret, r
		w.Header().Set("Cache-Control", "no-store")
		if !o.stream && r.ContentLength != 0 {
			slow := http.NewResponseController(w)
			_ = slow.SetReadDeadline(time.Now().Add(bodyTime)) // a connection that knows none has none
			defer slow.SetReadDeadline(time.Time{})            //nolint:errcheck // likewise
		}
		done, err := a.server.admit(c, o, r)
		defer done()
		if err == nil && h.RequestBody == nil && r.Method != http.MethodGet {
			err = noFields(c.raw)
		} else if err == nil && h.RequestBody != nil {
			err = miscased(a.server.huma.OpenAPI().Components.Schemas, h.RequestBody, c.raw)
		}
		if err != nil {
			c.refuse(w, err)
			return
		}
		next(humago.NewContext(h, r, w))
	})
}

// ServeHTTP implements huma.Adapter.
func (a adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.server.ServeHTTP(w, r) }

func (c *call) refuse(w http.ResponseWriter, err error) {
	switch e := c.told(err).(type) { //nolint:errorlint // told made it
	case *replayed:
		e.write(w)
	case *Problem:
		if e.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="fanfare"`)
		}
		e.write(w, c.request)
	}
}

// admit looks at the key, the body and the Idempotency-Key. done is to be called in any case.
func (s *Server) admit(c *call, o operation, r *http.Request) (done func(), err error) {
	done = func() {}
	if o.holder {
		if _, err := s.holder(r); err != nil {
			return done, err
		}
	} else if err := s.authenticate(r.Context(), c, r); err != nil {
		return done, err
	}
	if err := c.need(o.scope); !o.holder && err != nil {
		return done, err
	}
	body := sha256.New()
	_, _ = io.WriteString(body, r.URL.RawQuery+"\n")
	c.hash = func() [32]byte { return [32]byte(body.Sum(nil)) }
	if o.stream {
		r.Body = readCloser{io.TeeReader(r.Body, body), r.Body}
	} else if err := readJSON(c, r, body, o.nul); err != nil {
		return done, err
	}
	if given := r.Header.Get("Idempotency-Key"); given != "" && o.keyed {
		return s.begin(c, r, given)
	}
	return done, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// authenticate finds the key of the request.
func (s *Server) authenticate(ctx context.Context, c *call, r *http.Request) error {
	scheme, text, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || text == "" {
		return problem(http.StatusUnauthorized, "no_key", "Give an API key: Authorization: Bearer KEY. The first one lies in admin.key of the server's data folder.")
	}
	var err error
	c.key, err = s.keyOf(ctx, sha256.Sum256([]byte(strings.TrimSpace(text))))
	if errors.Is(err, fanfare.ErrNotFound) {
		return problem(http.StatusUnauthorized, "wrong_key", "This key is unknown, or was revoked; use another one.")
	}
	return err
}
