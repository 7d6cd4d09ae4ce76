package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"fanfare"
	"fanfare/audience"
	"fanfare/merge/mailbody"
)

// Problem is an answer of kind application/problem+json (RFC 9457). It is an error, too.
type Problem struct {
	Type     string        `json:"type" doc:"Where the code is explained, relative to this server."`
	Title    string        `json:"title"`
	Status   int           `json:"status"`
	Detail   string        `json:"detail" doc:"What is wrong, and what to do next."`
	Instance string        `json:"instance,omitempty" doc:"The request, as in the log."`
	Code     string        `json:"code"`
	Errors   []FieldDetail `json:"errors,omitempty" nullable:"false"`
	Planned  *int          `json:"planned,omitempty" doc:"With audience_changed: how many would be sent to now."`

	after int // Retry-After, in seconds; 0: none
	cause error
}

// FieldDetail is one thing that is wrong with a request.
type FieldDetail struct {
	Pointer   string `json:"pointer,omitempty" doc:"The field, as a JSON pointer in a URI fragment: #/audience/every/0/list."`
	Parameter string `json:"parameter,omitempty" doc:"The parameter of the query, the path or the header."`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
}

func (p *Problem) Error() string {
	if p.cause != nil {
		return p.cause.Error()
	}
	return p.Detail
}

func (p *Problem) Unwrap() error { return p.cause }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	if p.after == 0 {
		return nil
	}
	return http.Header{"Retry-After": {strconv.Itoa(p.after)}}
}

// ContentType implements huma.ContentTypeFilter.
func (*Problem) ContentType(string) string { return "application/problem+json" }

// problem makes a problem; detail says what is wrong and what to do next.
func problem(status int, code, detail string, args ...any) *Problem {
	if len(args) > 0 {
		detail = fmt.Sprintf(detail, args...)
	}
	return &Problem{Type: "/docs#" + code, Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// invalid is a 422 about one field.
func invalid(pointer, code, detail string, args ...any) *Problem {
	return refuse(FieldDetail{Pointer: pointer, Code: code, Detail: sprintf(detail, args...)})
}

// refuse is a 422 about several fields.
func refuse(details ...FieldDetail) *Problem {
	p := problem(http.StatusUnprocessableEntity, "invalid", "The request cannot be carried out as it is; errors says which fields to mend.")
	p.Errors = details
	return p
}

// conflict is a 409.
func conflict(code, detail string, args ...any) *Problem {
	return problem(http.StatusConflict, code, detail, args...)
}

// because notes for the log what a problem comes from.
func because(err error, p *Problem) *Problem {
	p.cause = err
	return p
}

func notFound(what, name string) *Problem {
	return problem(http.StatusNotFound, "not_found", "There is no %s %q; look at the list of them for what there is.", what, name)
}

func sprintf(format string, args ...any) string {
	if len(args) == 0 {
		return format
	}
	return fmt.Sprintf(format, args...)
}

// pointer gives the JSON pointer, as a URI fragment, of a path in the body.
func pointer(path ...string) string {
	var b strings.Builder
	b.WriteByte('#')
	for _, part := range path {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(part)))
	}
	return b.String()
}

// asProblem makes of any error what the caller is told. What is not the caller's doing is told without its insides.
func asProblem(err error) *Problem {
	var p *Problem
	var fields *FieldError
	var problems audience.Problems
	var content *mailbody.FieldError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &fields):
		return invalid(fieldPointer(fields.Field), fields.Code, "%s", fields.Detail)
	case errors.As(err, &problems):
		return audienceProblem(problems)
	case errors.As(err, &content):
		return invalid(fieldPointer(content.Field), "invalid", "%s", content.Err.Error())
	}
	made := ofKind(err)
	made.cause = err
	return made
}

func ofKind(err error) *Problem {
	switch {
	case errors.Is(err, context.Canceled):
		return problem(statusGone, "cancelled", "The request ended before it was answered; ask again.")
	case errors.Is(err, fanfare.ErrNotFound):
		return problem(http.StatusNotFound, "not_found", "%v. Look at the list of them for what there is.", err)
	case errors.Is(err, fanfare.ErrExists):
		return conflict("exists", "%v. Choose another name, or change the one that is there.", err)
	case errors.Is(err, fanfare.ErrState):
		return conflict("state", "%v. Read it again to see where it stands.", err)
	case errors.Is(err, fanfare.ErrConflict):
		return conflict("conflict", "Somebody else changed it meanwhile. Read it again and repeat the call.")
	case errors.Is(err, fanfare.ErrUsage):
		return problem(http.StatusUnprocessableEntity, "invalid", "%v", err)
	case errors.Is(err, fanfare.ErrFull), errors.Is(err, syscall.ENOSPC):
		return unavailable("full", "There is no space left on the server's disk. Make room; then repeat the call.")
	case errors.Is(err, fanfare.ErrReadOnly):
		return unavailable("read_only", "The server's database cannot be written. Give its account the right to write there; then repeat the call.")
	case errors.Is(err, fanfare.ErrDamaged):
		return problem(http.StatusInternalServerError, "damaged", "What was read from the database is not what was written. Run fanfare doctor; it names the place.")
	case errors.Is(err, fanfare.ErrMoving):
		return unavailable("moving", "What the call needs is just being moved to another database. Repeat the call in a moment.")
	case errors.Is(err, fanfare.ErrClosed):
		return unavailable("stopping", "The server is stopping. Repeat the call in a moment.")
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable("busy", "The server did not come to it in time. Repeat the call in a moment.")
	}
	return problem(http.StatusInternalServerError, "internal", "Something failed in the server; its log says more under this request's id. Repeating the call does no harm with an Idempotency-Key.")
}

// statusGone is what the log says of a client that went away; nobody reads the answer.
const statusGone = 499

func unavailable(code, detail string) *Problem {
	p := problem(http.StatusServiceUnavailable, code, "%s", detail)
	p.after = 5
	return p
}

// fieldPointer makes a pointer of a field named with dots. Names of attributes and headers may hold dots of their own.
func fieldPointer(field string) string {
	for _, free := range []string{"attributes.", "content.headers.", "headers."} {
		if rest, ok := strings.CutPrefix(field, free); ok {
			return pointer(append(strings.Split(strings.TrimSuffix(free, "."), "."), rest)...)
		}
	}
	if rest, ok := strings.CutPrefix(field, "content.locales."); ok {
		locale, rest, inner := strings.Cut(rest, ".")
		at := pointer("content", "locales", locale)
		if inner {
			at += strings.TrimPrefix(fieldPointer(rest), "#")
		}
		return at
	}
	return pointer(strings.Split(field, ".")...)
}

func audienceProblem(problems audience.Problems) *Problem {
	details := make([]FieldDetail, len(problems))
	for i, one := range problems.At("#/audience") {
		details[i] = FieldDetail{Pointer: one.Pointer, Code: one.Code, Detail: one.Detail}
	}
	return refuse(details...)
}

// write answers with the problem; request names the call in the log.
func (p *Problem) write(w http.ResponseWriter, request string) {
	told := *p
	told.Instance = instance(request)
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	if p.after > 0 {
		h.Set("Retry-After", strconv.Itoa(p.after))
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(&told) // the client is gone
}

func instance(request string) string {
	if request == "" {
		return ""
	}
	return "urn:fanfare:request:" + request
}
