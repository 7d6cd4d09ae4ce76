package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"fanfare"
	"fanfare/set"
)

// recipientView is a recipient as the API shows it.
type recipientView struct {
	ExternalID string         `json:"external_id"`
	Email      string         `json:"email"`
	Phone      string         `json:"phone"`
	Attributes map[string]any `json:"attributes"`
	Locale     string         `json:"locale"`
	TimeZone   string         `json:"time_zone"`
	UpdatedAt  time.Time      `json:"updated_at"`
}

func viewRecipient(r fanfare.Recipient) recipientView {
	v := recipientView{ExternalID: r.ExternalID, Email: r.Email, Phone: r.Phone, Attributes: r.Attributes, Locale: r.Locale, TimeZone: r.TimeZone, UpdatedAt: r.UpdatedAt}
	if v.Attributes == nil {
		v.Attributes = map[string]any{}
	}
	return v
}

// attributes are a recipient's attributes in a request: strings, numbers, booleans, lists of strings; null removes.
type attributes map[string]any

// Schema implements huma.SchemaProvider.
func (attributes) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Nullable: true, AdditionalProperties: &huma.Schema{
		Description: "a string, a number, a boolean, a list of strings, or null (no such attribute)"}}
}

// UnmarshalJSON makes lists of strings of JSON's lists.
func (a *attributes) UnmarshalJSON(b []byte) error {
	var raw map[string]any
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	for name, v := range raw {
		if list, ok := v.([]any); ok {
			raw[name] = texts(list)
		}
	}
	*a = raw
	return nil
}

// texts gives a list of strings, or the list as it is, to be refused with its name.
func texts(list []any) any {
	out := make([]string, 0, len(list))
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return list
		}
		out = append(out, s)
	}
	return out
}

type recipientBody struct {
	Email       *string    `json:"email,omitempty" nullable:"true"`
	Phone       *string    `json:"phone,omitempty" nullable:"true"`
	Attributes  attributes `json:"attributes,omitempty"`
	Locale      *string    `json:"locale,omitempty" nullable:"true"`
	TimeZone    *string    `json:"time_zone,omitempty" nullable:"true" doc:"As in the IANA database: Asia/Shanghai."`
	Resubscribe bool       `json:"resubscribe,omitempty" doc:"They consented anew: lifts what the erasure of an earlier recipient of this id or address left behind, and suppressions of the address, but not bounced and complained."`
}

// RecipientPath names a recipient.
type RecipientPath struct {
	ExternalID string `path:"external_id"`
}

type recipientIn struct {
	RecipientPath
	Body recipientBody
}

func (s *Server) recipientRoutes() {
	const at = "/v1/recipients/{external_id}"
	route(s, operation{method: http.MethodPut, path: at, id: "put-recipient", tag: "recipients", scope: scopeRecipientsWrite, also: http.StatusCreated, summary: "Create or replace a recipient",
		doc: "What is left out goes. An address that no mail can reach is kept and its owner skipped as invalid."}, s.putRecipient)
	route(s, operation{method: http.MethodPatch, path: at, id: "patch-recipient", tag: "recipients", scope: scopeRecipientsWrite, summary: "Change a recipient",
		doc: "A merge (RFC 7396): what is left out stays, null removes."}, s.patchRecipient)
	route(s, operation{method: http.MethodGet, path: at, id: "get-recipient", tag: "recipients", scope: scopeRecipientsRead, summary: "Read a recipient"},
		func(ctx context.Context, _ *call, in *RecipientPath) (*reply[recipientView], error) {
			return s.readRecipient(ctx, in.ExternalID)
		})
	route(s, operation{method: http.MethodGet, path: "/v1/recipients", id: "list-recipients", tag: "recipients", scope: scopeRecipientsRead, summary: "List recipients",
		doc: "A page may hold fewer than limit while next_cursor goes on."}, s.listRecipients)
	s.eraseRoutes()
	s.personRoutes()
}

func (s *Server) readRecipient(ctx context.Context, id string) (*reply[recipientView], error) {
	r, err := s.Store.Recipient(ctx, id)
	if err != nil {
		return nil, missing(err, "recipient", id)
	}
	return ok(viewRecipient(r)), nil
}

// missing names what was not found.
func missing(err error, what, name string) error {
	if ofKind(err).Status == http.StatusNotFound {
		return notFound(what, name)
	}
	return err
}

func (b *recipientBody) change(id string, kind fanfare.ChangeKind) fanfare.RecipientChange {
	return fanfare.RecipientChange{Kind: kind, ExternalID: id, Email: b.Email, Phone: b.Phone, Locale: b.Locale, TimeZone: b.TimeZone, Attributes: b.Attributes, Resubscribe: b.Resubscribe}
}

func (s *Server) putRecipient(ctx context.Context, _ *call, in *recipientIn) (*reply[recipientView], error) {
	done, err := s.upsert(ctx, in.Body.change(in.ExternalID, fanfare.ChangeReplace))
	if err != nil {
		return nil, err
	}
	out, err := s.readRecipient(ctx, in.ExternalID)
	if err == nil && done == fanfare.UpsertCreated {
		out.Status, out.Location = http.StatusCreated, "/v1/recipients/"+url.PathEscape(in.ExternalID)
	}
	return out, err
}

func (s *Server) upsert(ctx context.Context, c fanfare.RecipientChange) (fanfare.UpsertOutcome, error) {
	if err := s.CheckRecipient(&c); err != nil {
		return 0, err
	}
	done, err := s.Store.Upsert(ctx, fanfare.SlotOf(c.ExternalID, s.Store.Slots()), []fanfare.RecipientChange{c}, fanfare.UpsertOptions{})
	if err != nil {
		return 0, err
	}
	return done[0].Outcome, nil
}

// patchRecipient merges. A null field removes, so it is told from one that is left out by the raw body.
func (s *Server) patchRecipient(ctx context.Context, c *call, in *recipientIn) (*reply[recipientView], error) {
	old, err := s.Store.Recipient(ctx, in.ExternalID)
	if err != nil {
		return nil, missing(err, "recipient", in.ExternalID)
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(c.raw, &given); err != nil {
		return nil, because(err, problem(http.StatusBadRequest, "not_json", "The body is no JSON object; send one, such as {\"locale\": \"de\"}."))
	}
	change := in.Body.change(in.ExternalID, fanfare.ChangeMerge)
	for name, field := range map[string]**string{"email": &change.Email, "phone": &change.Phone, "locale": &change.Locale, "time_zone": &change.TimeZone} {
		if raw, there := given[name]; there && bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
			*field = new(string)
		}
	}
	if raw, there := given["attributes"]; there && bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		change.Attributes = make(map[string]any, len(old.Attributes))
		for name := range old.Attributes {
			change.Attributes[name] = nil
		}
	}
	if _, err := s.upsert(ctx, change); err != nil {
		return nil, err
	}
	return s.readRecipient(ctx, in.ExternalID)
}

type recipientsIn struct {
	Page
	Query string `query:"query" maxLength:"320" doc:"A part of an external id or an address."`
	List  string `query:"list" doc:"Only members of this list."`
}

func (s *Server) listRecipients(ctx context.Context, _ *call, in *recipientsIn) (*reply[list[recipientView]], error) {
	at, err := placeOf(in.Cursor, s.Store.Slots(), 0)
	if err != nil {
		return nil, err
	}
	var name fanfare.SetName
	if in.List != "" {
		l, err := s.list(ctx, in.List)
		if err != nil {
			return nil, err
		}
		name = fanfare.ListSet(l.ID)
	}
	found, next, err := s.people(ctx, at, in.Limit, in.Query, name)
	if err != nil {
		return nil, err
	}
	return ok(listOf(found, next)), nil
}

// people lists recipients slot by slot; members names the set that they are in, empty: all.
func (s *Server) people(ctx context.Context, at place, limit int, query string, members fanfare.SetName) (found []recipientView, next string, err error) {
	began := time.Now()
	for ; at.Slot < s.Store.Slots(); at = (place{Slot: at.Slot + 1}) {
		var in *set.Set
		if members != "" {
			if in, err = s.Store.LoadSet(ctx, fanfare.Slot(at.Slot), members); err != nil { //nolint:gosec // slots fit
				return nil, "", err
			}
			if in.Empty() {
				continue
			}
		}
		for {
			if len(found) == limit || time.Since(began) > patience {
				return found, at.String(), nil
			}
			rows, after, err := s.some(ctx, at, limit-len(found), query, in)
			if err != nil {
				return nil, "", err
			}
			for _, r := range rows {
				found = append(found, viewRecipient(r))
			}
			if after == 0 { // nobody behind
				break
			}
			at.At = after
		}
	}
	return found, "", nil
}

// scanMost is how many profiles are looked at together.
const scanMost = 1000

// some reads up to limit recipients of a slot from seq at.At on; after is where to go on, 0: nowhere.
func (s *Server) some(ctx context.Context, at place, limit int, query string, in *set.Set) (rows []fanfare.Recipient, after uint32, err error) {
	slot := fanfare.Slot(at.Slot) //nolint:gosec // slots fit
	if in != nil && query == "" {
		seqs := make([]uint32, 0, limit)
		for seq := range in.From(at.At) {
			if len(seqs) == limit {
				after = seq
				break
			}
			seqs = append(seqs, seq)
		}
		if len(seqs) == 0 {
			return nil, 0, nil
		}
		all, err := s.Store.Profiles(ctx, slot, seqs)
		for _, r := range all {
			if r.ExternalID != "" {
				rows = append(rows, r)
			}
		}
		return rows, after, err
	}
	most := limit
	if in != nil {
		most = scanMost
	}
	all, err := s.Store.Scan(ctx, slot, at.At, most, query)
	if err != nil {
		return nil, 0, err
	}
	for i, r := range all {
		if in == nil || in.Contains(r.Seq) {
			rows = append(rows, r)
		}
		if len(rows) == limit || i == most-1 {
			return rows, r.Seq + 1, nil
		}
	}
	return rows, 0, nil
}
