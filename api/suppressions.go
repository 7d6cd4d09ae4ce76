package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"fanfare"
	"fanfare/set"
)

type suppressionView struct {
	ID        string `json:"id"`
	Recipient string `json:"recipient" doc:"Empty: it is one of an address, for whoever has it."`
	Channel   string `json:"channel" doc:"Empty: all channels."`
	Topic     string `json:"topic" doc:"Empty: the whole channel."`
	Reason    string `json:"reason" enum:"unsubscribed,suppressed,bounced,complained,erased" doc:"erased: somebody of this id or address was erased before; put the recipient with \"resubscribe\": true to lift it."`
	Address   string `json:"address" doc:"As it was given in this call. Empty in listings: only a keyed hash of it is kept."`
}

type suppressionIn struct {
	Body struct {
		Recipient string `json:"recipient,omitempty" doc:"An external id. This or address."`
		Address   string `json:"address,omitempty" maxLength:"320" doc:"An e-mail address, whoever has it now or gets it later."`
		Channel   string `json:"channel" enum:"email,inbox,null"`
		Topic     string `json:"topic,omitempty" doc:"Empty: the whole channel. Bounced and complained have none."`
		Reason    string `json:"reason,omitempty" enum:"unsubscribed,suppressed,bounced,complained" default:"suppressed"`
	}
}

type suppressionsIn struct {
	Page
	Recipient string `query:"recipient" doc:"Only of this recipient."`
	Address   string `query:"address" maxLength:"320" doc:"Only those of this address itself, whoever has it."`
	Channel   string `query:"channel" enum:"email,inbox,null"`
	Reason    string `query:"reason" enum:"unsubscribed,suppressed,bounced,complained,erased"`
}

type suppressionPath struct {
	ID string `path:"id"`
}

func (s *Server) suppressionRoutes() {
	const at = "/v1/suppressions"
	route(s, operation{method: http.MethodGet, path: at, id: "list-suppressions", tag: "suppressions", scope: scopeRecipientsRead, summary: "List who gets nothing, and why",
		doc: "A page may hold fewer than limit while next_cursor goes on."}, s.listSuppressions)
	route(s, operation{method: http.MethodPost, path: at, id: "create-suppression", tag: "suppressions", scope: scopeRecipientsWrite, status: http.StatusCreated, keyed: true, summary: "Send nothing to a recipient",
		doc: "Holds for whatever is handed to a provider from the moment of the answer on, also of messages that are being sent. By address: for whoever has it now or gets it later; bounced and complained hold until the address changes."}, s.createSuppression)
	route(s, operation{method: http.MethodPost, path: at + "/import", id: "import-suppressions", tag: "suppressions", scope: scopeRecipientsWrite, status: http.StatusAccepted, keyed: true, stream: true,
		summary: "Import suppressions from CSV", doc: "Columns: external_id or address, channel (email), topic (the whole channel), reason (suppressed). As POST /v1/imports: gzip, any size, 202 when all of it is on disk; what becomes of it is told by GET /v1/imports/{id} and …/errors. created: suppressions that are new.",
		body: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"text/csv": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}}, s.importSuppressions)
	routeNone(s, operation{method: http.MethodDelete, path: at + "/{id}", id: "delete-suppression", tag: "suppressions", scope: scopeRecipientsWrite, summary: "Send to a recipient again",
		doc: "One of an address is forgotten for whoever gets the address later; whoever has it now is suppressed by themselves, and stays so."}, s.deleteSuppression)
}

type suppressionsFile struct {
	Map string `query:"map" doc:"Names of columns: 邮箱:address"`
}

func (s *Server) importSuppressions(ctx context.Context, c *call, in *suppressionsFile) (*reply[importView], error) {
	if nd, err := isNDJSON(c.http.Header.Get("Content-Type")); err != nil || nd {
		return nil, problem(http.StatusUnsupportedMediaType, "media_type", "Suppressions are imported as CSV: Content-Type: text/csv.")
	}
	return s.accept(ctx, c, ImportOptions{Suppressions: true}, in.Map)
}

// ground is one of the sets of the suppressions.
type ground struct {
	channel fanfare.ChannelName
	topic   string
	reason  fanfare.Reason
}

func (g ground) set() fanfare.SetName { return fanfare.SuppressionSet(g.channel, g.topic, g.reason) }

// suppressionID names one recipient in one set.
type suppressionID struct {
	Channel fanfare.ChannelName `json:"c"`
	Topic   string              `json:"t,omitempty"`
	Reason  fanfare.Reason      `json:"r"`
	Slot    fanfare.Slot        `json:"s"`
	Seq     fanfare.Seq         `json:"q"`
	Hash    *uint64             `json:"h,omitempty"` // of an address; then slot and seq are nobody's
}

func (id suppressionID) String() string {
	b, _ := json.Marshal(id) // strings and numbers only
	return base64.RawURLEncoding.EncodeToString(b)
}

// suppressible lists the channels that people may want nothing from.
func suppressible() []fanfare.ChannelName {
	return []fanfare.ChannelName{fanfare.ChannelEmail, fanfare.ChannelInbox, fanfare.ChannelNull}
}

func (g ground) view(r fanfare.Recipient) suppressionView {
	id := suppressionID{Channel: g.channel, Topic: g.topic, Reason: g.reason, Slot: r.Slot, Seq: r.Seq}
	return suppressionView{ID: id.String(), Recipient: r.ExternalID, Channel: string(g.channel), Topic: g.topic, Reason: string(g.reason)}
}

// entry gives the view of an address's suppression.
func (g ground) entry(e fanfare.AddressEntry) suppressionView {
	id := suppressionID{Channel: g.channel, Topic: g.topic, Reason: g.reason, Hash: &e.Hash}
	return suppressionView{ID: id.String(), Channel: string(g.channel), Topic: g.topic, Reason: string(g.reason)}
}

func groundOf(n fanfare.SetName) (g ground, ok bool) {
	g.channel, g.topic, g.reason, ok = n.Suppression()
	return g, ok
}

// grounds lists the sets that a listing goes through, in its order.
func (s *Server) grounds(ctx context.Context, in *suppressionsIn) (all []ground, err error) {
	var known []string
	err = s.Store.View(ctx, func(v fanfare.ControlView) error {
		known, err = fanfare.Topics(v)
		return err
	})
	if in.Channel == "" && (in.Reason == "" || in.Reason == string(fanfare.ReasonErased)) {
		all = append(all, ground{"", "", fanfare.ReasonErased})
	}
	for _, channel := range suppressible() {
		for _, reason := range []fanfare.Reason{fanfare.ReasonUnsubscribed, fanfare.ReasonSuppressed, fanfare.ReasonBounced, fanfare.ReasonComplained} {
			if in.Channel != "" && in.Channel != string(channel) || in.Reason != "" && in.Reason != string(reason) {
				continue
			}
			all = append(all, ground{channel, "", reason})
			if reason == fanfare.ReasonUnsubscribed || reason == fanfare.ReasonSuppressed {
				for _, topic := range known {
					all = append(all, ground{channel, topic, reason})
				}
			}
		}
	}
	return all, err
}

func (s *Server) listSuppressions(ctx context.Context, _ *call, in *suppressionsIn) (*reply[list[suppressionView]], error) {
	all, err := s.grounds(ctx, in)
	if err != nil {
		return nil, err
	}
	switch {
	case in.Recipient != "" && in.Address != "":
		return nil, refuse(FieldDetail{Parameter: "address", Code: "several", Detail: "ask by recipient or by address, not by both"})
	case in.Recipient != "":
		return s.suppressionsOf(ctx, all, in.Recipient)
	case in.Address != "":
		return s.entriesOf(ctx, all, in.Address)
	}
	at, err := placeOf(in.Cursor, s.Store.Slots(), len(all))
	if err != nil {
		return nil, err
	}
	var found []suppressionView
	began := time.Now()
	for ; at.Slot < s.Store.Slots(); at = (place{Slot: at.Slot + 1}) {
		for ; at.Part < len(all); at.Part, at.At = at.Part+1, 0 {
			if len(found) == in.Limit {
				return ok(listOf(found, at.String())), nil
			}
			rows, after, err := s.suppressed(ctx, at, all[at.Part], in.Limit-len(found))
			if err != nil {
				return nil, err
			}
			found = append(found, rows...)
			if after > 0 {
				at.At = after
				return ok(listOf(found, at.String())), nil
			}
			if time.Since(began) > patience {
				return ok(listOf(found, place{Slot: at.Slot, Part: at.Part + 1}.String())), nil
			}
		}
	}
	return s.listEntries(ctx, at, all, found, in.Limit, began)
}

// listEntries ends a listing with those of addresses, from at on.
func (s *Server) listEntries(ctx context.Context, at place, all []ground, found []suppressionView, limit int, began time.Time) (*reply[list[suppressionView]], error) {
	for {
		if len(found) == limit || time.Since(began) > patience {
			return ok(listOf(found, at.String())), nil
		}
		page, err := s.Store.AddressEntries(ctx, fanfare.AddressEntry{Hash: at.Hash, Set: fanfare.SetName(at.Name)}, limit-len(found))
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if g, known := groundOf(e.Set); known && slices.Contains(all, g) {
				found = append(found, g.entry(e))
			}
			at.Hash, at.Name = e.Hash, string(e.Set)
		}
		if len(page) == 0 {
			return ok(listOf(found, "")), nil
		}
	}
}

// mailbox gives the key of an e-mail address.
func (s *Server) mailbox(address string) (uint64, error) {
	c := fanfare.RecipientChange{ExternalID: "x", Email: &address}
	err := s.CheckRecipient(&c)
	if err == nil && c.EmailState != fanfare.AddressUsable {
		err = fanfare.ErrUsage
	}
	if err != nil {
		return 0, invalid("#/address", "invalid", "is no e-mail address; write one like ada@example.com")
	}
	return c.Mailbox, nil
}

func (s *Server) entriesOf(ctx context.Context, all []ground, address string) (*reply[list[suppressionView]], error) {
	mailbox, err := s.mailbox(address)
	if err != nil {
		return nil, refuse(FieldDetail{Parameter: "address", Code: "invalid", Detail: "is no e-mail address; write one like ada@example.com"})
	}
	entries, err := s.Store.EntriesOf(ctx, mailbox)
	if err != nil {
		return nil, err
	}
	var found []suppressionView
	for _, e := range entries {
		if g, known := groundOf(e.Set); known && slices.Contains(all, g) {
			v := g.entry(e)
			v.Address = address
			found = append(found, v)
		}
	}
	return ok(listOf(found, "")), nil
}

// suppressed reads up to limit of one set in one slot; after is where to go on, 0: nobody is left.
func (s *Server) suppressed(ctx context.Context, at place, g ground, limit int) (found []suppressionView, after uint32, err error) {
	members, err := s.Store.LoadSet(ctx, fanfare.Slot(at.Slot), g.set()) //nolint:gosec // slots fit
	if err != nil || members.Empty() {
		return nil, 0, err
	}
	rows, after, err := s.some(ctx, at, limit, "", members)
	for _, r := range rows {
		found = append(found, g.view(r))
	}
	return found, after, err
}

func (s *Server) suppressionsOf(ctx context.Context, all []ground, id string) (*reply[list[suppressionView]], error) {
	r, err := s.Store.Recipient(ctx, id)
	if err != nil {
		return nil, missing(err, "recipient", id)
	}
	var found []suppressionView
	for _, g := range all {
		members, err := s.Store.LoadSet(ctx, r.Slot, g.set())
		if err != nil {
			return nil, err
		}
		if members.Contains(r.Seq) {
			found = append(found, g.view(r))
		}
	}
	return ok(listOf(found, "")), nil
}

func (s *Server) createSuppression(ctx context.Context, c *call, in *suppressionIn) (*reply[suppressionView], error) {
	b := &in.Body
	g := ground{fanfare.ChannelName(b.Channel), b.Topic, fanfare.Reason(b.Reason)}
	ofAddress := g.reason == fanfare.ReasonBounced || g.reason == fanfare.ReasonComplained
	var err error
	switch {
	case b.Recipient == "" && b.Address == "":
		err = invalid("#/recipient", "required", "is missing; give an external id here, or an address")
	case b.Recipient != "" && b.Address != "":
		err = invalid("#/address", "several", "give a recipient or an address, not both")
	case b.Address != "" && g.channel != fanfare.ChannelEmail:
		err = invalid("#/channel", "invalid", "an address is one of the channel email; name a recipient instead")
	case g.topic != "" && ofAddress:
		err = invalid("#/topic", "invalid", "%s holds for the whole channel; leave the topic out", g.reason)
	case g.topic != "":
		err = checkName("#/topic", g.topic)
	}
	if err != nil {
		return nil, err
	}
	if err := s.Store.Update(ctx, func(tx fanfare.ControlTx) error { return fanfare.NoteTopics(tx, g.topic) }); err != nil {
		return nil, err // before there is anybody under it: so nothing is there that cannot be listed
	}
	v, err := s.suppressBody(ctx, g, b.Recipient, b.Address)
	if err != nil {
		return nil, err
	}
	return commit(ctx, c, func(tx fanfare.ControlTx) (*reply[suppressionView], error) {
		return created("/v1/suppressions/"+v.ID, v), c.audit(tx, "suppression.create", v.ID, b.Reason)
	})
}

func (s *Server) suppressBody(ctx context.Context, g ground, recipient, address string) (v suppressionView, err error) {
	if address == "" {
		r, err := s.Store.Recipient(ctx, recipient)
		if errors.Is(err, fanfare.ErrNotFound) {
			return v, invalid("#/recipient", "unknown_recipient", "nobody has this external id; put the recipient first")
		}
		if err == nil {
			err = s.suppress(ctx, r.Person, g.set(), true)
		}
		return g.view(r), err
	}
	mailbox, err := s.mailbox(address)
	if err != nil {
		return v, err
	}
	if _, err := fanfare.SuppressAddresses(ctx, s.Store, map[fanfare.SetName][]uint64{g.set(): {mailbox}}); err != nil {
		return v, err
	}
	entries, err := s.Store.EntriesOf(ctx, mailbox)
	if err != nil {
		return v, err
	}
	at := slices.IndexFunc(entries, func(e fanfare.AddressEntry) bool { return e.Set == g.set() })
	if at < 0 {
		return v, conflict("deleted", "Somebody deleted this suppression at the same moment; send it again if it is to hold.")
	}
	v = g.entry(entries[at])
	v.Address = address
	return v, nil
}

func (s *Server) deleteSuppression(ctx context.Context, c *call, in *suppressionPath) error {
	var id suppressionID
	b, err := base64.RawURLEncoding.DecodeString(in.ID)
	if err == nil {
		err = json.Unmarshal(b, &id)
	}
	if err != nil || int(id.Slot) >= s.Store.Slots() {
		return notFound("suppression", in.ID)
	}
	g := ground{id.Channel, id.Topic, id.Reason}
	if g.set() == fanfare.SetErased {
		return conflict("erased", "Somebody of this id or address was erased; only consent lifts that: put the recipient with \"resubscribe\": true.")
	}
	if !slices.Contains([]fanfare.Reason{fanfare.ReasonUnsubscribed, fanfare.ReasonSuppressed, fanfare.ReasonBounced, fanfare.ReasonComplained}, g.reason) {
		return notFound("suppression", in.ID)
	}
	was := false
	if id.Hash != nil {
		was, err = s.Store.ForgetAddress(ctx, fanfare.AddressEntry{Hash: *id.Hash, Set: g.set()})
	} else {
		var removed int
		_, removed, err = s.Store.ChangeSet(ctx, id.Slot, g.set(), nil, set.Of(id.Seq))
		was = removed > 0
	}
	if err != nil {
		return err
	}
	if !was {
		return notFound("suppression", in.ID)
	}
	return s.Store.Update(ctx, func(tx fanfare.ControlTx) error { return c.audit(tx, "suppression.delete", in.ID, string(id.Reason)) })
}
