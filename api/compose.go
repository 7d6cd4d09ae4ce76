package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"fanfare"
	"fanfare/audience"
)

// MessageFields are what a message may be told, beside its channel and its audience. A field that is null or left out has its default.
type MessageFields struct {
	Name       string     `json:"name,omitempty" maxLength:"200" doc:"For people."`
	Content    content    `json:"content,omitzero" doc:"inbox: title, body, url, expires_at (default: 90 days after the start); email: subject, text, html, from, reply_to, headers; values are templates. locales: {\"zh-CN\": {…}}."`
	Provider   *string    `json:"provider,omitempty" nullable:"true" doc:"Needed where the channel has several and none is the default."`
	Topic      *string    `json:"topic,omitempty" nullable:"true" maxLength:"100" doc:"Whoever unsubscribes does so for the channel and this topic. Default: general."`
	Essential  bool       `json:"essential,omitempty" doc:"Also to the unsubscribed (scope messages:essential)."`
	SendAt     *time.Time `json:"send_at,omitempty" nullable:"true"`
	Trigger    *Trigger   `json:"trigger,omitempty" doc:"Scheduled until then. Only one of send_at, trigger and start."`
	Rate       *float64   `json:"rate,omitempty" nullable:"true" exclusiveMinimum:"0" maximum:"10000000" doc:"At most so many a second."`
	Priority   string     `json:"priority,omitempty" enum:"normal,high,low" default:"normal"`
	Uncertain  string     `json:"uncertain,omitempty" enum:"resend,hold" default:"resend" doc:"What happens to whoever is in doubt for the first time."`
	StartGrace *int64     `json:"start_grace,omitempty" nullable:"true" minimum:"0" maximum:"31536000" doc:"Seconds by which a start may be late; later it waits for a person. Default: 3600."`
	NotAfter   *time.Time `json:"not_after,omitempty" nullable:"true" doc:"Nothing is sent after it."`
	Dedupe     *string    `json:"dedupe,omitempty" nullable:"true" enum:"recipient,address" doc:"address: one mail a mailbox, the default for email."`
	Data       anyJSON    `json:"data,omitempty" doc:"An object, for {{ data.… }}."`
	Metadata   anyJSON    `json:"metadata,omitempty" doc:"An object of yours."`
	Tags       []string   `json:"tags,omitempty" maxItems:"20" maxLength:"100"`
}

type newMessage struct {
	Channel  string  `json:"channel" enum:"inbox,email,null"`
	Audience anyJSON `json:"audience" doc:"{\"all\": true}, {\"list\": NAME}, {\"recipients\": [ID…]}, {\"attribute\": NAME, \"eq\": VALUE}, {\"segment\": NAME}, {\"message\": ID, \"read\": false}, and any, every, not of them."`
	MessageFields
	Start bool `json:"start,omitempty" doc:"Start it at once."`
}

type changedMessage struct {
	Channel  string  `json:"channel,omitempty" enum:"inbox,email,null"`
	Audience anyJSON `json:"audience,omitempty"`
	MessageFields
}

const (
	generalTopic = "general"
	defaultGrace = time.Hour
)

// document gives a message's fields as a request would have them: a PATCH is merged into it.
func document(m *fanfare.Message) ([]byte, error) {
	grace := int64(m.StartGrace / time.Second)
	dedupe := string(m.Dedupe)
	d := newMessage{Channel: string(m.Channel), Audience: anyJSON(m.Audience), MessageFields: MessageFields{Name: m.Name, Content: viewContent(m.Content), Provider: text(m.Provider),
		Topic: &m.Topic, Essential: m.Essential, SendAt: moment(m.SendAt), Priority: string(m.Priority), Uncertain: string(m.Uncertain), StartGrace: &grace,
		NotAfter: moment(m.NotAfter), Dedupe: &dedupe, Data: anyJSON(m.Data), Metadata: anyJSON(m.Metadata), Tags: m.Tags}}
	if m.Rate > 0 {
		d.Rate = &m.Rate
	}
	if m.Test {
		d.Provider = nil
	}
	if d.Trigger = viewTrigger(m.Trigger); d.Trigger != nil {
		d.SendAt = nil // the time that the trigger gave it
	}
	return json.Marshal(d)
}

// merge applies a merge patch (RFC 7396). An audience and a trigger are replaced whole: half of one means nothing.
func merge(doc, patch []byte, at string) ([]byte, error) {
	var to, from map[string]json.RawMessage
	if json.Unmarshal(patch, &from) != nil || from == nil {
		return patch, nil
	}
	if json.Unmarshal(doc, &to) != nil || to == nil {
		to = make(map[string]json.RawMessage)
	}
	for name, v := range from {
		if bytes.Equal(bytes.TrimSpace(v), []byte("null")) {
			delete(to, name)
			continue
		}
		if at == "" && (name == "audience" || name == "trigger") {
			to[name] = v
			continue
		}
		next, err := merge(to[name], v, at+"/"+name)
		if err != nil {
			return nil, err
		}
		to[name] = next
	}
	return json.Marshal(to)
}

// fill puts a request's fields into a message, defaults included. What no request tells stays.
func (f *newMessage) fill(m *fanfare.Message) {
	m.Channel, m.Audience = fanfare.ChannelName(f.Channel), json.RawMessage(f.Audience)
	domain := m.Content.MessageIDDomain
	m.Name, m.Content, m.Essential = f.Name, f.Content.plain(), f.Essential
	m.Content.MessageIDDomain = domain
	m.Provider, m.Topic = or(f.Provider, ""), or(f.Topic, generalTopic)
	m.SendAt, m.NotAfter = or(f.SendAt, time.Time{}).UTC(), or(f.NotAfter, time.Time{}).UTC()
	m.Trigger = f.Trigger.plain()
	m.Rate = or(f.Rate, 0)
	m.Priority, m.Uncertain = fanfare.PriorityNormal, fanfare.PolicyResend
	if f.Priority != "" {
		m.Priority = fanfare.Priority(f.Priority)
	}
	if f.Uncertain != "" {
		m.Uncertain = fanfare.Policy(f.Uncertain)
	}
	m.StartGrace = time.Duration(or(f.StartGrace, int64(defaultGrace/time.Second))) * time.Second
	m.Dedupe = fanfare.Dedupe(or(f.Dedupe, string(defaultDedupe(m.Channel))))
	m.Data, m.Metadata, m.Tags = object(f.Data), object(f.Metadata), f.Tags
}

func defaultDedupe(c fanfare.ChannelName) fanfare.Dedupe {
	if c == fanfare.ChannelEmail {
		return fanfare.DedupeAddress
	}
	return fanfare.DedupeRecipient
}

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// object gives JSON as it is kept: nothing for null.
func object(raw anyJSON) json.RawMessage {
	if len(raw) == 0 || bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		return nil
	}
	return json.RawMessage(raw)
}

// check looks at everything that can be wrong with a message's fields and tells all of it at once. It makes the audience canonical.
func (s *Server) check(ctx context.Context, c *call, f *newMessage, m *fanfare.Message) error {
	var wrong []FieldDetail
	add := func(at, code, detail string) {
		wrong = append(wrong, FieldDetail{Pointer: at, Code: code, Detail: detail})
	}
	switch {
	case f.Start && f.SendAt != nil:
		add("#/send_at", "several", "send_at and start are both there; leave one of them out")
	case f.Trigger != nil && f.SendAt != nil:
		add("#/send_at", "several", "send_at and trigger are both there; leave one of them out")
	case f.Trigger != nil && f.Start:
		add("#/trigger", "several", "trigger and start are both there; leave one of them out")
	}
	waits, err := s.checkTrigger(ctx, m)
	if err != nil {
		return err
	}
	wrong = append(wrong, waits...)
	if m.Name != "" {
		wrong = append(wrong, fieldsOf(checkName("#/name", m.Name))...)
	}
	wrong = append(wrong, fieldsOf(checkName("#/topic", m.Topic))...)
	for i, tag := range m.Tags {
		wrong = append(wrong, fieldsOf(checkName(pointer("tags")+"/"+itoa(i), tag))...)
	}
	for name, raw := range map[string]json.RawMessage{"data": m.Data, "metadata": m.Metadata} {
		if raw != nil && bytes.TrimSpace(raw)[0] != '{' {
			add(pointer(name), "wrong_type", "must be an object")
		}
	}
	now := time.Now()
	if f.SendAt != nil && m.SendAt.Add(m.StartGrace).Before(now) { // the year 1 is a time of the past, too, and not none
		add("#/send_at", "past", "lies longer ago than start_grace allows; use start to send now")
	}
	if f.NotAfter != nil && (m.NotAfter.Before(now) || !m.SendAt.IsZero() && !m.NotAfter.After(m.SendAt)) {
		add("#/not_after", "past", "nothing could be sent any more; choose a time that lies ahead of the start")
	}
	if e := m.Content.ExpiresAt; f.Content.Expires != nil && (e.Before(now) || !m.SendAt.IsZero() && !e.After(m.SendAt)) {
		add("#/content/expires_at", "past", "nobody would find it in the inbox any more; choose a time that lies ahead of the start")
	}
	more, err := s.checkAudience(ctx, m)
	if err != nil {
		return err
	}
	wrong = append(wrong, more...)
	if err := s.checkProvider(ctx, m); err != nil {
		wrong = append(wrong, fieldsOf(err)...)
		if len(fieldsOf(err)) == 0 {
			return err
		}
	}
	if err := s.compiles(m); err != nil {
		fields := fieldsOf(asProblem(err))
		if len(fields) == 0 {
			return err
		}
		wrong = append(wrong, fields...)
	}
	if len(wrong) > 0 {
		slices.SortStableFunc(wrong, func(a, b FieldDetail) int { return strings.Compare(a.Pointer, b.Pointer) })
		return refuse(wrong...)
	}
	return c.mayWrite(m)
}

// mayWrite says whether the caller may make or change such a message.
func (c *call) mayWrite(m *fanfare.Message) error {
	if !m.Essential {
		return nil
	}
	return c.need(scopeMessagesEssential)
}

func fieldsOf(err error) []FieldDetail {
	var p *Problem
	if errors.As(err, &p) {
		return p.Errors
	}
	return nil
}

// compiles has the channel compile the content; its error names the field. It settles the domain of Message-IDs until the first start.
func (s *Server) compiles(m *fanfare.Message) error {
	channel, ok := s.Channel(m.Channel)
	if !ok {
		return invalid("#/channel", "unknown_value", "there is no channel %q", m.Channel)
	}
	if m.StartedAt.IsZero() {
		m.Content.MessageIDDomain = ""
	}
	compiled, err := channel.Compile(m)
	if named, ok := compiled.(interface{ Domain() string }); ok && err == nil {
		m.Content.MessageIDDomain = named.Domain()
	}
	if err == nil || len(fieldsOf(asProblem(err))) > 0 {
		return err
	}
	return invalid("#/content", "invalid", "%v", err)
}

// checkAudience parses the audience, makes it canonical, and looks whether its lists and recipients are there.
func (s *Server) checkAudience(ctx context.Context, m *fanfare.Message) ([]FieldDetail, error) {
	expr, err := parseAudience(m.Audience)
	if err != nil {
		return fieldsOf(err), nil
	}
	if m.Audience, err = json.Marshal(expr); err != nil {
		return nil, err
	}
	return s.checkLeaves(ctx, expr)
}

// checkLeaves looks whether what an audience names is there.
func (s *Server) checkLeaves(ctx context.Context, expr audience.Expr) (wrong []FieldDetail, err error) {
	for at, leaf := range audience.LeavesAt(expr) {
		at = "#/audience" + strings.TrimPrefix(at, "#")
		switch leaf := leaf.(type) {
		case audience.List:
			if _, err := s.list(ctx, leaf.Name); statusOf(err) == http.StatusNotFound {
				wrong = append(wrong, FieldDetail{Pointer: at, Code: "unknown_list", Detail: "there is no list of this name; make it with POST /v1/lists, or mend the name"})
			} else if err != nil {
				return nil, err
			}
		case audience.Segment:
			more, err := s.checkSegment(ctx, at, leaf)
			if err != nil {
				return nil, err
			}
			wrong = append(wrong, more...)
		case audience.Message:
			if _, _, err := s.read(ctx, leaf.ID); statusOf(err) == http.StatusNotFound {
				wrong = append(wrong, FieldDetail{Pointer: at, Code: "unknown_message", Detail: "there is no message of this id; GET /v1/messages lists them"})
			} else if err != nil {
				return nil, err
			}
		case audience.Recipients:
			if leaf.SkipUnknown {
				continue
			}
			more, err := s.unknown(ctx, at, leaf.IDs)
			if err != nil {
				return nil, err
			}
			wrong = append(wrong, more...)
		}
	}
	return wrong, nil
}

// statusOf is the status that an error answers with; 0 if there is none.
func statusOf(err error) int {
	if err == nil {
		return 0
	}
	return asProblem(err).Status
}

// parseAudience reads an audience and refuses what this server cannot evaluate yet.
func parseAudience(doc []byte) (audience.Expr, error) {
	if len(doc) == 0 {
		return nil, invalid("#/audience", "required", "is missing; say who it is for, for example {\"all\": true}")
	}
	expr, err := audience.Parse(doc)
	if err != nil {
		return nil, asProblem(err)
	}
	if problems := audience.Check(expr, audience.KindAll, audience.KindList, audience.KindRecipients, audience.KindAttribute, audience.KindSegment, audience.KindMessage); len(problems) > 0 {
		return nil, audienceProblem(problems)
	}
	return expr, nil
}

// unknown names the recipients that are not there, at most a hundred.
func (s *Server) unknown(ctx context.Context, at string, ids []string) (wrong []FieldDetail, err error) {
	_, unknown, err := s.resolve(ctx, ids)
	if err != nil || len(unknown) == 0 {
		return nil, err
	}
	for i, id := range ids {
		if _, there := slices.BinarySearch(unknown, id); there && len(wrong) < 100 {
			wrong = append(wrong, FieldDetail{Pointer: at + "/" + itoa(i), Code: "unknown_recipient", Detail: `nobody has this external id; put the recipient first, or say "unknown": "skip"`})
		}
	}
	return wrong, nil
}

// testPrefix begins the names of the sandbox providers that messages of test keys go by.
const testPrefix = "test-"

// TestProvider names the sandbox that messages of test keys go by.
func TestProvider(c fanfare.ChannelName) string { return testPrefix + string(c) }

// IsTestProvider says whether a provider is one of these, and of which channel.
func IsTestProvider(name string) (fanfare.ChannelName, bool) {
	c, ok := strings.CutPrefix(name, testPrefix)
	return fanfare.ChannelName(c), ok
}

// checkProvider looks whether the provider that a message names is there.
func (s *Server) checkProvider(ctx context.Context, m *fanfare.Message) error {
	if m.Provider == "" || m.Test {
		return nil
	}
	_, _, err := s.choose(ctx, m)
	var p *Problem
	if errors.As(err, &p) {
		return invalid("#/provider", "unknown_provider", "%s", p.Detail)
	}
	return err
}

// choose finds the provider that a message goes by: the one it names, its channel's only one, or the default. needed is false where the
// channel does without.
func (s *Server) choose(ctx context.Context, m *fanfare.Message) (p fanfare.Provider, needed bool, err error) {
	all, err := s.Providers.All(ctx)
	if err != nil && len(all) == 0 {
		return p, false, err
	}
	all = slices.DeleteFunc(slices.Clone(all), func(p fanfare.Provider) bool { return p.Channel != m.Channel })
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.Name
		if p.Name == m.Provider {
			return p, true, nil
		}
	}
	channel, _ := s.Channel(m.Channel)
	at := slices.IndexFunc(all, func(p fanfare.Provider) bool { return p.Default })
	switch {
	case m.Provider != "":
		return p, false, conflict("provider_missing", "Channel %s has no provider %q; it has: %s. Name one of these, or put it with PUT /v1/providers/%s.", m.Channel, m.Provider, orNone(names), url.PathEscape(m.Provider))
	case len(all) == 1:
		return all[0], true, nil
	case at >= 0:
		return all[at], true, nil
	case len(all) > 1:
		return p, false, conflict("provider_ambiguous", "Channel %s has several providers: %s. Name one in provider, or make one the default.", m.Channel, orNone(names))
	case channel != nil && channel.Features().Leaves:
		return p, false, conflict("provider_missing", "Channel %s has no provider yet; put one with PUT /v1/providers/NAME, or into the configuration file.", m.Channel)
	}
	return p, false, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// ready settles what has to be so before a message is scheduled or started: its provider, and where its links lead.
func (s *Server) ready(ctx context.Context, m *fanfare.Message) error {
	if m.Test {
		m.Provider = TestProvider(m.Channel)
		return nil
	}
	p, needed, err := s.choose(ctx, m)
	if err != nil || !needed {
		return err
	}
	m.Provider = p.Name
	if s.unlinked(p) {
		return conflict("public_url_missing", "Mail that leaves this machine needs links to unsubscribe that work: start the server with --public-url https://…, where recipients reach it.")
	}
	return nil
}

// unlinked says whether what goes by this provider would leave the machine with links that lead nowhere.
func (s *Server) unlinked(p fanfare.Provider) bool {
	u, err := url.Parse(p.URL)
	return err == nil && (u.Scheme == "smtp" || u.Scheme == "smtps") && !strings.HasPrefix(s.PublicURL, "https://") && !loopback(u.Hostname()) // its channel has checked the URL
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// changes names the fields that differ.
func changes(a, b *fanfare.Message) []string {
	var names []string
	diff := func(name string, same bool) {
		if !same {
			names = append(names, name)
		}
	}
	diff("name", a.Name == b.Name)
	diff("channel", a.Channel == b.Channel)
	diff("audience", sameJSON(a.Audience, b.Audience))
	diff("content", sameContent(a.Content, b.Content))
	diff("provider", a.Provider == b.Provider)
	diff("topic", a.Topic == b.Topic)
	diff("essential", a.Essential == b.Essential)
	diff("send_at", a.SendAt.Equal(b.SendAt))
	diff("trigger", sameTrigger(a.Trigger, b.Trigger))
	diff("rate", a.Rate == b.Rate)
	diff("priority", a.Priority == b.Priority)
	diff("uncertain", a.Uncertain == b.Uncertain)
	diff("start_grace", a.StartGrace == b.StartGrace)
	diff("not_after", a.NotAfter.Equal(b.NotAfter))
	diff("dedupe", a.Dedupe == b.Dedupe)
	diff("data", sameJSON(a.Data, b.Data))
	diff("metadata", sameJSON(a.Metadata, b.Metadata))
	diff("tags", slices.Equal(a.Tags, b.Tags))
	return names
}

func sameTrigger(a, b *fanfare.Trigger) bool {
	if a == nil || b == nil || a.After == nil || b.After == nil {
		return (a == nil) == (b == nil) && (a == nil || a.Event == b.Event && (a.After == nil) == (b.After == nil))
	}
	return *a.After == *b.After && a.Event == b.Event
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y bytes.Buffer
	if json.Compact(&x, a) != nil || json.Compact(&y, b) != nil {
		return len(a) == 0 && len(b) == 0
	}
	return bytes.Equal(x.Bytes(), y.Bytes())
}

func sameContent(a, b fanfare.Content) bool {
	return a.Title == b.Title && a.Body == b.Body && a.URL == b.URL && a.ExpiresAt.Equal(b.ExpiresAt) && or(a.Track, fanfare.Track{}) == or(b.Track, fanfare.Track{}) &&
		(a.Track == nil) == (b.Track == nil) && a.Subject == b.Subject && a.Text == b.Text && a.HTML == b.HTML && a.From == b.From && a.ReplyTo == b.ReplyTo && maps.Equal(a.Headers, b.Headers) &&
		maps.EqualFunc(a.Locales, b.Locales, sameContent)
}
