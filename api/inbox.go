package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"fanfare"
)

// Inbox reads and marks recipients' own inboxes.
type Inbox interface {
	// Who finds somebody by external id, and when somebody who had it before was erased last, zero: nobody was; fanfare.ErrNotFound.
	Who(ctx context.Context, externalID string) (who fanfare.Person, erased time.Time, err error)
	// Page reads a page; an error that is fanfare.ErrUsage says that the cursor is none.
	Page(ctx context.Context, who fanfare.Person, q InboxQuery) (InboxPage, error)
	Count(ctx context.Context, who fanfare.Person) (InboxCounts, error)
	// Mark notes a fact of a message; fanfare.ErrNotFound if it is not in this inbox.
	Mark(ctx context.Context, who fanfare.Person, m fanfare.MessageID, kind fanfare.ReceiptKind) error
	// Seen passes over what is not in this inbox.
	Seen(ctx context.Context, who fanfare.Person, messages []fanfare.MessageID) error
	// ReadAll reads everything up to a message (empty: all); fanfare.ErrNotFound.
	ReadAll(ctx context.Context, who fanfare.Person, upTo fanfare.MessageID) error
}

// InboxQuery asks for a page of an inbox.
type InboxQuery struct {
	Filter string // unread, all, archived; empty: what is not archived
	Cursor string
	Limit  int
}

// InboxCounts are of active messages: not expired, not recalled, not archived.
type InboxCounts struct {
	Unread int `json:"unread"`
	Unseen int `json:"unseen"`
	Total  int `json:"total"`
}

// InboxPage is a page of an inbox, newest start first.
type InboxPage struct {
	Items []InboxItem
	InboxCounts
	Next string
}

// InboxItem is a message in an inbox. Content holds the members title, body and url of a JSON object.
type InboxItem struct {
	Message                            fanfare.MessageID
	SentAt, SeenAt, ReadAt, ArchivedAt time.Time
	Content                            []byte
}

// The shapes of the answers, for the document: what is answered is written by hand, since it is asked for most.
type inboxPageView struct {
	Items  []inboxItemView `json:"items" nullable:"false"`
	Unread int             `json:"unread"`
	Unseen int             `json:"unseen"`
	Next   *string         `json:"next_cursor" doc:"Give it as cursor for the next page; null: this is the last one."`
}

type inboxItemView struct {
	Message    string     `json:"message"`
	Title      string     `json:"title"`
	Body       string     `json:"body" doc:"Plain text."`
	URL        string     `json:"url"`
	SentAt     time.Time  `json:"sent_at"`
	SeenAt     *time.Time `json:"seen_at"`
	ReadAt     *time.Time `json:"read_at"`
	ArchivedAt *time.Time `json:"archived_at"`
}

type inboxSeenIn struct {
	Messages []string `json:"messages" maxItems:"1000" nullable:"false"`
}

type inboxReadAllIn struct {
	UpTo *string `json:"up_to" required:"false" nullable:"true" doc:"The newest message that is read with them; null: all."`
}

// recipient is a request of a recipient's own.
type recipient struct {
	*http.Request
	who fanfare.Person
}

// recipientOf finds who a request's token is for, and until when it is good.
func (s *Server) recipientOf(r *http.Request) (who fanfare.Person, until time.Time, err error) {
	h, err := s.holder(r)
	if err != nil {
		return who, until, err
	}
	who, erased, err := s.Inbox.Who(r.Context(), h.sub)
	switch {
	case errors.Is(err, fanfare.ErrNotFound):
		err = problem(http.StatusUnauthorized, "wrong_token", "The token is not taken: nobody has the external id that its sub names.")
	case err == nil && !erased.IsZero() && !s.Tokens.since(&h, who, erased):
		err = problem(http.StatusUnauthorized, "token_of_erased", "The token is not taken: somebody who had the external id was erased, and it does not say that it was made for whoever has it now. "+
			"Sign a new one that says by iat when it was signed, a minute after the erasure or later, or get one from POST /v1/recipients/{external_id}/token.")
	}
	return who, h.until, err
}

// own registers a route of recipients themselves. Its handler answers a JSON body, or nil for none.
func (s *Server) own(o operation, body, answer reflect.Type, h func(ctx context.Context, r recipient) ([]byte, error)) {
	o.tag, o.public = "inbox", true
	described := o.huma()
	described.Security = []map[string][]string{{"recipient": {}}}
	for _, name := range pathNames(o.path) {
		described.Parameters = append(described.Parameters, &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	schemas := s.huma.OpenAPI().Components.Schemas
	if body != nil {
		described.RequestBody = &huma.RequestBody{Required: o.path != "/v1/inbox/read_all", Content: map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(body, true, "")}}}
	}
	described.Responses["204"] = &huma.Response{Description: http.StatusText(http.StatusNoContent)}
	if answer != nil {
		delete(described.Responses, "204")
		described.Responses["200"] = &huma.Response{Description: http.StatusText(http.StatusOK), Content: map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(answer, true, "")}}}
		if answer == reflect.TypeFor[inboxPageView]() {
			limit, most := 1.0, 1000.0
			described.Parameters = append(described.Parameters,
				&huma.Param{Name: "filter", In: "query", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"unread", "all", "archived"}}, Description: "Without it: what is not archived."},
				&huma.Param{Name: "cursor", In: "query", Schema: &huma.Schema{Type: huma.TypeString}, Description: "next_cursor of the page before."},
				&huma.Param{Name: "limit", In: "query", Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: &limit, Maximum: &most, Default: 50}, Description: "At most so many; contents of more than 4 MB end a page earlier."})
		}
	}
	s.huma.OpenAPI().AddOperation(&described)
	pattern := o.method + " " + o.path
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		c := callOf(r.Context())
		c.route, c.quiet = pattern, true
		w.Header().Set("Cache-Control", "no-store")
		who, _, err := s.recipientOf(r)
		var out []byte
		if err == nil {
			out, err = h(r.Context(), recipient{r, who})
		}
		switch {
		case err != nil:
			c.refuse(w, err)
		case out == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", strconv.Itoa(len(out)))
			_, _ = w.Write(out) // the client is gone
			s.pages.give(out)
		}
	})
}

func pathNames(path string) (names []string) {
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return names
}

func (s *Server) inboxRoutes() {
	op := func(method, path, id, summary string) operation {
		return operation{method: method, path: path, id: id, summary: summary, doc: "Of the recipient whose token it is."}
	}
	s.own(op(http.MethodGet, "/v1/inbox", "list-inbox", "A page of the inbox, newest start first"), nil, reflect.TypeFor[inboxPageView](), s.readInbox)
	s.own(op(http.MethodGet, "/v1/inbox/count", "count-inbox", "Count what is not archived"), nil, reflect.TypeFor[InboxCounts](), s.countInbox)
	for name, kind := range map[string]fanfare.ReceiptKind{"read": fanfare.ReceiptRead, "unread": fanfare.ReceiptUnread, "archive": fanfare.ReceiptArchived,
		"unarchive": fanfare.ReceiptUnarchived, "click": fanfare.ReceiptClicked} {
		s.own(op(http.MethodPost, "/v1/inbox/{message}/"+name, name+"-inbox-message", "Mark a message: "+name), nil, nil, func(ctx context.Context, r recipient) ([]byte, error) {
			if err := noBody(r.Request); err != nil {
				return nil, err
			}
			id := r.PathValue("message")
			if err := s.Inbox.Mark(ctx, r.who, fanfare.MessageID(id), kind); err != nil {
				return nil, missing(err, "message in this inbox", id)
			}
			return nil, nil
		})
	}
	s.own(op(http.MethodPost, "/v1/inbox/seen", "see-inbox", "Mark messages as seen"), reflect.TypeFor[inboxSeenIn](), nil, s.seeInbox)
	s.own(op(http.MethodPost, "/v1/inbox/read_all", "read-inbox", "Mark everything as read, not one page only"), reflect.TypeFor[inboxReadAllIn](), nil, s.readAllInbox)
}

// noBody refuses a body where none is expected, {} apart.
func noBody(r *http.Request) error {
	var none struct{}
	return smallBody(r, &none)
}

// smallBody reads a small JSON body; an empty one leaves to as it is.
func smallBody(r *http.Request, to any) error {
	raw, err := io.ReadAll(io.LimitReader(r.Body, 1<<20+1))
	switch {
	case err != nil:
		return err
	case len(raw) > 1<<20:
		return problem(http.StatusRequestEntityTooLarge, "too_large", "The body is larger than 1 MB.")
	case len(raw) == 0:
		return nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Header.Get("Content-Type") != "" && (err != nil || kind != "application/json") {
		return problem(http.StatusUnsupportedMediaType, "media_type", "Send the body as application/json.")
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		if !json.Valid(raw) {
			return problem(http.StatusBadRequest, "not_json", "The body is no JSON.")
		}
		return because(err, invalid("#", "invalid", "it has a field that is unknown, or of another type than it should be; /openapi.json lists what there is"))
	}
	if d.More() {
		return problem(http.StatusBadRequest, "not_json", "There is more behind the JSON.")
	}
	return nil
}

func (s *Server) readInbox(ctx context.Context, r recipient) ([]byte, error) {
	q := InboxQuery{Limit: 50}
	var given url.Values
	if r.URL.RawQuery != "" { // as a rule there is none
		given = r.URL.Query()
	}
	for name, values := range given {
		v := values[len(values)-1]
		switch name {
		case "filter":
			if q.Filter = v; !slices.Contains([]string{"unread", "all", "archived"}, v) {
				return nil, refuse(FieldDetail{Parameter: "filter", Code: "unknown_value", Detail: "must be unread, all or archived; left out: what is not archived"})
			}
		case "cursor":
			q.Cursor = v
		case "limit":
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 || n > 1000 {
				return nil, refuse(FieldDetail{Parameter: "limit", Code: "invalid", Detail: "must be a number from 1 to 1000"})
			}
			q.Limit = n
		default:
			return nil, refuse(FieldDetail{Parameter: name, Code: "unknown_field", Detail: "there is no such parameter; there are filter, cursor and limit"})
		}
	}
	p, err := s.Inbox.Page(ctx, r.who, q)
	if err != nil {
		return nil, badCursor(err)
	}
	return p.appendJSON(s.pages.take()), nil
}

// pageBuffers keeps what pages are written into from one to the next: at 20,000 a second they are most of what would be collected.
type pageBuffers struct{ sync.Pool }

const smallPage, largePage = 2 << 10, 64 << 10 // what is kept: not what is quickly made, nor what one long page needed

func (p *pageBuffers) take() []byte {
	if b, ok := p.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 8<<10)
}

// give takes a body that was written.
func (p *pageBuffers) give(b []byte) {
	if cap(b) >= smallPage && cap(b) <= largePage {
		p.Put(&b)
	}
}

func (p *InboxPage) appendJSON(b []byte) []byte {
	b = append(b, `{"items":[`...)
	for i := range p.Items {
		it := &p.Items[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = it.appendJSON(b)
	}
	b = strconv.AppendInt(append(b, `],"unread":`...), int64(p.Unread), 10)
	b = strconv.AppendInt(append(b, `,"unseen":`...), int64(p.Unseen), 10)
	b = append(b, `,"next_cursor":`...)
	if p.Next == "" {
		return append(b, `null}`...)
	}
	return append(append(append(b, '"'), p.Next...), `"}`...)
}

func (it *InboxItem) appendJSON(b []byte) []byte {
	b = append(append(b, `{"message":"`...), it.Message...) // letters, digits, _ and -
	b = append(append(b, `",`...), it.Content...)
	b = appendMoment(append(b, `,"sent_at":`...), it.SentAt)
	b = appendMoment(append(b, `,"seen_at":`...), it.SeenAt)
	b = appendMoment(append(b, `,"read_at":`...), it.ReadAt)
	return append(appendMoment(append(b, `,"archived_at":`...), it.ArchivedAt), '}')
}

func appendMoment(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	return append(t.UTC().AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

func (s *Server) countInbox(ctx context.Context, r recipient) ([]byte, error) {
	n, err := s.Inbox.Count(ctx, r.who)
	if err != nil {
		return nil, err
	}
	return json.Marshal(n)
}

func (s *Server) seeInbox(ctx context.Context, r recipient) ([]byte, error) {
	var in inboxSeenIn
	if err := smallBody(r.Request, &in); err != nil {
		return nil, err
	}
	if in.Messages == nil || len(in.Messages) > 1000 {
		return nil, invalid("#/messages", "required", "lists 1 to 1,000 messages")
	}
	ids := make([]fanfare.MessageID, len(in.Messages))
	for i, id := range in.Messages {
		ids[i] = fanfare.MessageID(id)
	}
	return nil, s.Inbox.Seen(ctx, r.who, ids)
}

func (s *Server) readAllInbox(ctx context.Context, r recipient) ([]byte, error) {
	var in inboxReadAllIn
	if err := smallBody(r.Request, &in); err != nil {
		return nil, err
	}
	upTo := or(in.UpTo, "")
	if err := s.Inbox.ReadAll(ctx, r.who, fanfare.MessageID(upTo)); err != nil {
		return nil, missing(err, "message in this inbox", upTo)
	}
	return nil, nil
}

type recallIn struct {
	MessagePath
	Body *struct {
		Scope string `json:"scope,omitempty" enum:"all,unread" default:"all" doc:"unread: out of the inboxes of those who have not read it."`
	}
}

// recallMessage takes a message out of inboxes. It is not sent to anybody else meanwhile only if it is paused or cancelled too.
func (s *Server) recallMessage(ctx context.Context, c *call, in *recallIn) (*reply[messageView], error) {
	scope := fanfare.RecallAll
	if in.Body != nil && in.Body.Scope == string(fanfare.RecallUnread) {
		scope = fanfare.RecallUnread
	}
	out, err := commit(ctx, c, func(tx fanfare.ControlTx) (*reply[messageView], error) {
		m, w, err := readIn(tx, in.ID)
		if err != nil {
			return nil, err
		}
		switch {
		case m.Channel != fanfare.ChannelInbox:
			return nil, conflict("not_inbox", "A message of channel %s has left and cannot be taken back; only those of the inbox can.", m.Channel)
		case m.StartedAt.IsZero():
			return nil, conflict("state", "It was never started, so it is in no inbox; cancel or delete it.")
		case m.Recall != scope && m.Recall != fanfare.RecallAll:
			m.Recall, m.UpdatedAt = scope, tx.Now()
			if err := tx.SaveMessage(&m, m.Phase, m.Generation); err != nil {
				return nil, err
			}
			if err := c.audit(tx, "message.recall", in.ID, string(scope)); err != nil {
				return nil, err
			}
		}
		return s.reply(http.StatusOK, &m, w), nil
	})
	return out, err
}
