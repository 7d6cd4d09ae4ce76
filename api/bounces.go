package api

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"fanfare"
	"fanfare/bounce"
)

// maxReport bounds a report with the mail that it returns.
const maxReport = 8 << 20

type bounceIn struct {
	To string `query:"to" maxLength:"1000" doc:"The address that it was delivered to, if your mail server tells; else it is looked for in the report."`
}

type bounceView struct {
	Accepted  bool    `json:"accepted" doc:"It was read and is known whose it is."`
	Kind      *string `json:"kind" enum:"bounced,complained,delivered" doc:"The receipt that was noted; null: none, as of what is only delayed."`
	New       bool    `json:"new" doc:"It was not known before."`
	Message   string  `json:"message"`
	Recipient string  `json:"recipient"`
	Status    string  `json:"status" doc:"Such as 5.1.1, as the report says."`
	Text      string  `json:"text" doc:"What the other server said."`
}

func (s *Server) bounceRoutes() {
	raw := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	route(s, operation{method: http.MethodPost, path: "/v1/bounces", id: "create-bounce", tag: "receipts", scope: scopeReceiptsWrite, stream: true, summary: "Take a mail that came back, raw, from a mail server's pipe",
		doc: "A report of delivery (RFC 3464) or of abuse (RFC 5965) of at most 8 MB. Whose it is says a signed token: the one of the provider's bounces address, wherever the report names it (to, its own headers, Return-Path of the returned mail), " +
			"else that of List-Unsubscribe in the returned headers. Failed with a status of class 5 is bounced, which suppresses the recipient until the address changes; delivered is delivered; abuse is complained; " +
			"what is delayed or failed for now is taken and ignored. It may be sent again: the same fact counts once.",
		body: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"message/rfc822": raw}}}, s.createBounce)
}

func (s *Server) createBounce(ctx context.Context, c *call, in *bounceIn) (*reply[bounceView], error) {
	raw, err := readReport(c.http)
	if err != nil {
		return nil, err
	}
	report, err := bounce.Read(raw)
	if e := (*bounce.Error)(nil); errors.As(err, &e) {
		return nil, problem(http.StatusUnprocessableEntity, "not_a_report", "Nothing can be learned of it: %s.", e.Detail)
	} else if err != nil {
		return nil, err
	}
	t, m, err := s.about(ctx, in.To, report)
	if errors.Is(err, fanfare.ErrNotFound) {
		return nil, problem(http.StatusNotFound, "unknown_item", "The report names no item of this installation: neither a token of the provider's bounces address nor a List-Unsubscribe link of ours stands in it, or its recipient is gone.")
	} else if err != nil {
		return nil, err
	}
	v := bounceView{Accepted: true, Message: string(m.ID), Recipient: t.recipient, Status: fanfare.CleanText(report.Status), Text: fanfare.CleanText(report.Text)}
	kind := map[bounce.Kind]fanfare.ReceiptKind{bounce.Delivered: fanfare.ReceiptDelivered, bounce.Failed: fanfare.ReceiptBounced, bounce.Complained: fanfare.ReceiptComplained}[report.Kind]
	if report.Kind == bounce.Undecided {
		return ok(v), nil
	}
	done, err := s.Receive(ctx, []fanfare.ReceiptReport{{Message: m.ID, Recipient: t.recipient, Kind: kind}})
	if err != nil {
		return nil, err
	}
	if len(done.Refused) > 0 {
		r := done.Refused[0]
		return nil, problem(http.StatusUnprocessableEntity, r.Code, "The report is read, and not taken: %s.", r.Detail)
	}
	v.Kind, v.New = text(kind.String()), done.Accepted > 0
	return ok(v), nil
}

// readReport takes the body in.
func readReport(r *http.Request) ([]byte, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || !slices.Contains([]string{"message/rfc822", "message/global", "application/octet-stream"}, kind) {
		return nil, problem(http.StatusUnsupportedMediaType, "media_type", "Send the mail as it came, with Content-Type: message/rfc822 (curl: --data-binary @-).")
	}
	raw, err := io.ReadAll(http.MaxBytesReader(nil, io.NopCloser(r.Body), maxReport))
	var most *http.MaxBytesError
	switch {
	case errors.As(err, &most):
		return nil, problem(http.StatusRequestEntityTooLarge, "too_large", "A report may have 8 MB.")
	case err != nil:
		p := problem(http.StatusBadRequest, "broken_body", "The body broke off; send it again.")
		p.cause = err
		return nil, p
	}
	return raw, nil
}

// about finds the item that a report is about. Only tokens that we signed are believed.
func (s *Server) about(ctx context.Context, to string, r *bounce.Report) (target, fanfare.Message, error) {
	for _, address := range slices.Concat([]string{to}, r.To, r.Subject["Return-Path"]) {
		if t, err := s.Links.returned(address); err == nil {
			return s.linkedTo(ctx, t)
		}
	}
	for _, header := range r.Subject["List-Unsubscribe"] {
		for part := range strings.SplitSeq(header, ",") {
			_, token, found := strings.Cut(strings.Join(strings.Fields(part), ""), "/u/") // it may have been folded
			token, _, closed := strings.Cut(token, ">")
			if found && closed {
				if t, err := s.Links.read(linkUnsubscribe, token); err == nil {
					return s.linkedTo(ctx, t)
				}
			}
		}
	}
	return target{}, fanfare.Message{}, fanfare.ErrNotFound
}
