package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"fanfare"
	"fanfare/set"
)

type suppressionView struct {
	ID        string `json:"id"`
	Recipient string `json:"recipient"`
	Channel   string `json:"channel"`
	Topic     string `json:"topic" doc:"Empty: the whole channel."`
	Reason    string `json:"reason" enum:"unsubscribed,suppressed,bounced,complained"`
}

type suppressionIn struct {
	Body struct {
		Recipient string `json:"recipient" doc:"An external id."`
		Channel   string `json:"channel" enum:"email,null"`
		Topic     string `json:"topic,omitempty" doc:"Empty: the whole channel."`
		Reason    string `json:"reason,omitempty" enum:"unsubscribed,suppressed" default:"suppressed"`
	}
}

type suppressionsIn struct {
	Page
	Recipient string `query:"recipient" doc:"Only of this recipient."`
	Channel   string `query:"channel" enum:"email,null"`
	Reason    string `query:"reason" enum:"unsubscribed,suppressed,bounced,complained"`
}

type suppressionPath struct {
	ID string `path:"id"`
}

func (s *Server) suppressionRoutes() {
	const at = "/v1/suppressions"
	route(s, operation{method: http.MethodGet, path: at, id: "list-suppressions", tag: "suppressions", scope: scopeRecipientsRead, summary: "List who gets nothing, and why",
		doc: "A page may hold fewer than limit while next_cursor goes on."}, s.listSuppressions)
	route(s, operation{method: http.MethodPost, path: at, id: "create-suppression", tag: "suppressions", scope: scopeRecipientsWrite, status: http.StatusCreated, keyed: true, summary: "Send nothing to a recipient",
		doc: "Holds for whatever is handed to a provider from the moment of the answer on, also of messages that are being sent."}, s.createSuppression)
	routeNone(s, operation{method: http.MethodDelete, path: at + "/{id}", id: "delete-suppression", tag: "suppressions", scope: scopeRecipientsWrite, summary: "Send to a recipient again"}, s.deleteSuppression)
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
}

func (g ground) view(r fanfare.Recipient) suppressionView {
	b, _ := json.Marshal(suppressionID{g.channel, g.topic, g.reason, r.Slot, r.Seq}) // strings and numbers only
	return suppressionView{ID: base64.RawURLEncoding.EncodeToString(b), Recipient: r.ExternalID, Channel: string(g.channel), Topic: g.topic, Reason: string(g.reason)}
}

// settingTopics is the setting that lists the topics that were ever named.
const settingTopics = "topics"

func topics(v fanfare.ControlView) (all []string, err error) {
	raw, err := v.Setting(settingTopics)
	if errors.Is(err, fanfare.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	err = json.Unmarshal(raw, &all)
	return all, err
}

// noteTopic remembers a topic, so that its suppressions can be listed.
func noteTopic(tx fanfare.ControlTx, topic string) error {
	all, err := topics(tx)
	if err != nil || topic == "" || slices.Contains(all, topic) {
		return err
	}
	all = append(all, topic)
	slices.Sort(all)
	raw, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return tx.PutSetting(settingTopics, raw)
}

// grounds lists the sets that a listing goes through, in its order.
func (s *Server) grounds(ctx context.Context, in *suppressionsIn) (all []ground, err error) {
	var known []string
	err = s.Store.View(ctx, func(v fanfare.ControlView) error {
		known, err = topics(v)
		return err
	})
	for _, channel := range []fanfare.ChannelName{fanfare.ChannelEmail, fanfare.ChannelNull} {
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
	if in.Recipient != "" {
		return s.suppressionsOf(ctx, all, in.Recipient)
	}
	at, err := placeOf(in.Cursor, s.Store.Slots(), len(all))
	if err != nil {
		return nil, err
	}
	var found []suppressionView
	for began := time.Now(); at.Slot < s.Store.Slots(); at = (place{Slot: at.Slot + 1}) {
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
	r, err := s.Store.Recipient(ctx, in.Body.Recipient)
	if err != nil {
		if errors.Is(err, fanfare.ErrNotFound) {
			return nil, invalid("#/recipient", "unknown_recipient", "nobody has this external id; put the recipient first")
		}
		return nil, err
	}
	if in.Body.Topic != "" {
		if err := checkName("#/topic", in.Body.Topic); err != nil {
			return nil, err
		}
	}
	g := ground{fanfare.ChannelName(in.Body.Channel), in.Body.Topic, fanfare.Reason(in.Body.Reason)}
	if err := s.suppress(ctx, r.Person, g.set(), true); err != nil {
		return nil, err
	}
	return commit(ctx, c, func(tx fanfare.ControlTx) (*reply[suppressionView], error) {
		if err := noteTopic(tx, g.topic); err != nil {
			return nil, err
		}
		v := g.view(r)
		return created("/v1/suppressions/"+v.ID, v), c.audit(tx, "suppression.create", v.ID, in.Body.Reason)
	})
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
	if !slices.Contains([]fanfare.Reason{fanfare.ReasonUnsubscribed, fanfare.ReasonSuppressed, fanfare.ReasonBounced, fanfare.ReasonComplained}, g.reason) {
		return notFound("suppression", in.ID)
	}
	_, removed, err := s.Store.ChangeSet(ctx, id.Slot, g.set(), nil, set.Of(id.Seq))
	if err != nil {
		return err
	}
	if removed == 0 {
		return notFound("suppression", in.ID)
	}
	return s.Store.Update(ctx, func(tx fanfare.ControlTx) error { return c.audit(tx, "suppression.delete", in.ID, string(id.Reason)) })
}
