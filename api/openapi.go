package api

import (
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// describe is the frame of the OpenAPI document, and how huma speaks JSON.
func (s *Server) describe() huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	format := huma.DefaultJSONFormat
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{Title: "Fanfare", Version: "v1", License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
				Description: "Fanfare sends one message to millions of people and knows, for each of them, what became of it. Within /v1 changes only add: ignore answer fields that you do not know."},
			Components: &huma.Components{Schemas: registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer", Description: "An API key; the scopes of each operation are those it needs."},
					"recipient": {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "A recipient's token: POST /v1/recipients/{external_id}/token, or signed with a key of POST /v1/inbox_keys."}},
				Responses: map[string]*huma.Response{"Problem": {Description: "What is wrong and what to do next.", Content: map[string]*huma.MediaType{
					"application/problem+json": {Schema: problemSchema(registry)}}}},
			},
			Tags: tags(),
		},
		Formats: map[string]huma.Format{"application/json": format, "json": format}, DefaultFormat: "application/json",
		Transformers: []huma.Transformer{s.tell},
	}
}

// schemaName names a type in the document: messageView is Message there.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	return strings.TrimSuffix(strings.Replace(name, "InBody", "Body", 1), "View")
}

func tags() []*huma.Tag {
	return []*huma.Tag{
		{Name: "messages", Description: "What is sent to many."}, {Name: "reports", Description: "What became of everybody."},
		{Name: "recipients", Description: "People, lists of them, and imports."}, {Name: "suppressions", Description: "Who gets nothing."},
		{Name: "providers", Description: "The accounts that messages are sent by."}, {Name: "administration", Description: "Keys, nodes, queues, the audit trail."},
		{Name: "inbox", Description: "A recipient's own inbox, and who may open it."},
		{Name: "public", Description: "What takes no key."},
	}
}

func problemSchema(registry huma.Registry) *huma.Schema {
	ref := registry.Schema(reflect.TypeFor[Problem](), true, "Problem")
	codes := registry.SchemaFromRef(ref.Ref).Properties["code"]
	var text strings.Builder
	text.WriteString("Stable for programs. There are:\n")
	for _, c := range problemCodes() {
		codes.Examples = append(codes.Examples, c.code)
		text.WriteString("\n- `" + c.code + "` (" + strconv.Itoa(c.status) + "): " + c.meaning)
	}
	codes.Description = text.String()
	return ref
}

// code is one code of a problem.
type code struct {
	code    string
	status  int
	meaning string
}

// problemCodes lists the codes of problems. Codes of single fields stand in errors.
func problemCodes() []code {
	return []code{
		{"not_json", 400, "the body is no JSON"}, {"broken_body", 400, "the body broke off"}, {"no_body", 400, "a body is needed"}, {"bad_cursor", 400, "the cursor is none of this server's"},
		{"idempotency_key", 400, "the Idempotency-Key is too long"},
		{"no_key", 401, "no API key"}, {"wrong_key", 401, "an unknown or revoked API key"}, {"no_token", 401, "no recipient's token"}, {"wrong_token", 401, "a recipient's token that is not taken"}, {"token_expired", 401, "a recipient's token whose time is over"},
		{"scope", 403, "the key lacks a scope"}, {"test_key", 403, "a test key cannot send for real"},
		{"no_route", 404, "no such address"}, {"not_found", 404, "the thing named is not there"}, {"unknown_token", 404, "the link is none of this server's"}, {"unknown_item", 404, "the report names nothing that was sent from here"}, {"method", 405, "the address takes other methods"},
		{"state", 409, "not possible in this state"}, {"exists", 409, "the name is taken"}, {"conflict", 409, "changed by somebody else meanwhile"},
		{"audience_changed", 409, "another number of people than expected; nothing was sent"}, {"public_url_missing", 409, "mail needs an https --public-url for its unsubscribe links"},
		{"provider_missing", 409, "no provider for the channel"}, {"provider_ambiguous", 409, "several providers, none of them the default"},
		{"provider_fixed", 409, "the configuration file holds the provider"}, {"in_use", 409, "a message that is not finished needs it"}, {"last_key", 409, "the last key that can make keys"}, {"too_many", 409, "there are as many as there may be"},
		{"not_inbox", 409, "only a message of the inbox can be recalled"}, {"no_test", 409, "the channel has nothing to send a test by"},
		{"running", 409, "the first call with this Idempotency-Key is still running"},
		{"revision", 412, "If-Match names another revision"}, {"too_large", 413, "the body is too large"}, {"media_type", 415, "another Content-Type is needed"}, {"encoding", 415, "another Content-Encoding is needed"},
		{"invalid", 422, "errors says which fields to mend"}, {"nul", 422, "a text holds NUL"}, {"not_a_report", 422, "the mail is no report of a mail server"}, {"not_sent", 422, "the message was not sent to this recipient"}, {"idempotency_key_reused", 422, "the Idempotency-Key was used for another body"},
		{"too_many_streams", 429, "there are too many open streams"},
		{"internal", 500, "something failed in the server"}, {"damaged", 500, "the database is damaged"},
		{"full", 503, "no space left"}, {"read_only", 503, "the database cannot be written"}, {"stopping", 503, "the server is stopping"}, {"busy", 503, "not answered in time"}, {"moving", 503, "being moved to another database"}, {"not_ready", 503, "store or queue do not answer"},
	}
}

// tell makes of huma's own errors what all others look like.
func (s *Server) tell(ctx huma.Context, _ string, v any) (any, error) {
	c := callOf(ctx.Context())
	switch e := v.(type) {
	case *Problem:
		told := *e
		told.Instance = instance(c.request)
		return &told, nil
	case *huma.ErrorModel:
		p := s.told(e)
		p.Instance = instance(c.request)
		return p, nil
	}
	return v, nil
}

func (s *Server) told(e *huma.ErrorModel) *Problem {
	switch {
	case e.Status == http.StatusBadRequest && len(e.Errors) == 0:
		return problem(http.StatusBadRequest, "no_body", "This call needs a JSON body; /openapi.json says what is in it.")
	case e.Status != http.StatusUnprocessableEntity && e.Status != http.StatusBadRequest:
		p := problem(e.Status, "internal", "%s", e.Detail)
		return p
	}
	details := make([]FieldDetail, 0, len(e.Errors))
	for _, d := range e.Errors {
		if d != nil {
			details = append(details, detail(d))
		}
	}
	p := refuse(details...)
	p.Status = e.Status // the response line says so already
	return p
}

// detail gives a validation error the form of all others.
func detail(d *huma.ErrorDetail) FieldDetail {
	where, rest, _ := strings.Cut(d.Location, ".")
	if at := strings.IndexByte(where, '['); at >= 0 {
		where, rest = where[:at], d.Location[at:]
	}
	f := FieldDetail{}
	f.Code, f.Detail = reading(d.Message)
	if where != "body" {
		f.Parameter = rest
		if f.Code == "unknown_field" {
			f.Code, f.Detail = "unknown_parameter", "this call has no such parameter; remove it or mend its spelling"
		}
		return f
	}
	path := bodyPath(rest)
	if name, ok := strings.CutPrefix(d.Message, "expected required property "); ok {
		path = append(path, strings.TrimSuffix(name, " to be present"))
	}
	f.Pointer = pointer(path...)
	return f
}

// bodyPath takes a path like content.headers[0].x apart.
func bodyPath(path string) []string {
	var parts []string
	for _, part := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// reading gives the code and the words for a validation message.
func reading(message string) (code, text string) {
	switch {
	case message == "unexpected property" || message == "unknown query parameter":
		return "unknown_field", "there is no such field here; remove it or mend its spelling"
	case strings.HasPrefix(message, "expected required property"), strings.HasPrefix(message, "required "):
		return "required", "is missing; add it"
	case strings.Contains(message, "date-time") || strings.HasPrefix(message, "invalid date/time"):
		return "invalid", "must be a time in RFC 3339, such as 2027-01-31T08:00:00Z"
	case strings.HasPrefix(message, "json: "): // of the decoder, after the schema found nothing
		return "out_of_range", "holds a value that its field cannot take, such as a number that is too large"
	case strings.HasPrefix(message, "expected value to be one of"):
		return "unknown_value", "must be one of " + strings.Trim(strings.TrimPrefix(message, "expected value to be one of "), `"`)
	case strings.HasPrefix(message, "expected length"), strings.HasPrefix(message, "expected array length"), strings.HasPrefix(message, "expected object with"):
		return "length", "its " + strings.TrimPrefix(message, "expected ") + " is needed"
	case strings.HasPrefix(message, "expected number "):
		return "out_of_range", "must be a " + strings.TrimPrefix(message, "expected ")
	case strings.HasPrefix(message, "expected "):
		return "wrong_type", "must be another type or form: " + message
	}
	return "invalid", message
}
