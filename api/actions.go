package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"fanfare"
)

type startIn struct {
	MessagePath
	Body *struct {
		Expect *int `json:"expect_recipients,omitempty" nullable:"true" minimum:"0" doc:"Start only if exactly so many would be sent to. They are counted just before the start; the audience is frozen just after it, so who joins or leaves in between is not asked about."`
	}
}

type resumeIn struct {
	MessagePath
	Body *struct {
		Scope   string   `json:"scope,omitempty" enum:"remaining,failed,uncertain" default:"remaining"`
		Reasons []string `json:"reasons,omitempty" nullable:"true" maxItems:"10" doc:"With scope failed: only these reasons (permanent, temporary_exhausted, technical, settled). null: all but whoever was in doubt twice."`
		Again   bool     `json:"again,omitempty" doc:"With scope uncertain: also whoever was in doubt twice, and may get a third copy."`
	}
}

type rateIn struct {
	MessagePath
	Body struct {
		PerSecond *float64 `json:"per_second" nullable:"true" exclusiveMinimum:"0" maximum:"10000000" doc:"null: as fast as the provider takes."`
	}
}

type previewIn struct {
	MessagePath
	Body struct {
		Recipient string `json:"recipient" doc:"An external id."`
	}
}

type previewView struct {
	Recipient string            `json:"recipient"`
	Content   map[string]string `json:"content" doc:"The rendered fields by name; empty if this recipient would be skipped."`
	Skipped   *skippedView      `json:"skipped"`
}

type skippedView struct {
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

type testIn struct {
	MessagePath
	Body struct {
		Recipients []string `json:"recipients,omitempty" maxItems:"20" doc:"External ids."`
		To         []string `json:"to,omitempty" maxItems:"20" doc:"Addresses."`
		As         string   `json:"as,omitempty" doc:"With to: render for this recipient."`
	}
}

type testView struct {
	Results []testResult `json:"results" nullable:"false"`
}

type testResult struct {
	To     string `json:"to"`
	Result string `json:"result" enum:"sent,failed,skipped,uncertain"`
	Reason string `json:"reason"`
	Code   string `json:"code"`
	Text   string `json:"text"`
}

type countIn struct {
	Body struct {
		Audience  anyJSON  `json:"audience"`
		Channel   *string  `json:"channel,omitempty" nullable:"true" enum:"inbox,email,null" doc:"null: nobody is skipped."`
		Topic     *string  `json:"topic,omitempty" nullable:"true" doc:"Default: general."`
		Essential bool     `json:"essential,omitempty" doc:"As an essential message: also to the unsubscribed."`
		Dedupe    *string  `json:"dedupe,omitempty" nullable:"true" enum:"recipient,address" doc:"As of a message. Default: the channel's, address for email."`
		Content   *content `json:"content,omitempty" doc:"As of a message. Whoever lacks a value that it needs is counted as skipped, missing_field, if the channel is inbox; elsewhere that is found out when it is sent."`
		Name      string   `json:"name,omitempty" maxLength:"200" doc:"Of the message, for a content that writes it out."`
		Data      anyJSON  `json:"data,omitempty" doc:"As of a message, for {{ data.… }}."`
		Metadata  anyJSON  `json:"metadata,omitempty" doc:"As of a message."`
	}
}

type countView struct {
	Recipients int            `json:"recipients"`
	Planned    int            `json:"planned"`
	Skipped    map[string]int `json:"skipped"`
	Scanned    []string       `json:"scanned" nullable:"false" doc:"Attributes for which profiles were read, which is slow: they have more than 4,096 values."`
}

type switchView struct {
	Messages []string `json:"messages" nullable:"false"`
}

type resumedView struct {
	Messages []string   `json:"messages" nullable:"false"`
	Kept     []keptView `json:"kept" nullable:"false" doc:"What stays paused, and why; the next resume_all looks at it again."`
}

type keptView struct {
	Message string `json:"message"`
	Code    string `json:"code"`
	Detail  string `json:"detail"`
}

func (s *Server) actionRoutes() {
	const at = "/v1/messages/{id}/"
	act := func(name, id, summary, doc string) operation {
		return operation{method: http.MethodPost, path: at + name, id: id, tag: "messages", scope: scopeMessagesStart, keyed: true, summary: summary, doc: doc}
	}
	drains := func(o operation) operation {
		o.also = http.StatusAccepted
		return o
	}
	route(s, act("start", "start-message", "Start a message now", "Another planned count than expect_recipients answers 409 audience_changed, and nothing is sent."), s.startMessage)
	route(s, drains(act("pause", "pause-message", "Pause a message", "No new send starts more than a second later. 202 while what is in flight drains, 200 when it is paused.")),
		func(ctx context.Context, c *call, in *MessagePath) (*reply[messageView], error) {
			return s.happen(ctx, c, in.ID, func(*fanfare.Message, time.Time) fanfare.Event { return fanfare.EventPause }, nil)
		})
	route(s, drains(act("cancel", "cancel-message", "Cancel a message for good", "Who remained counts as skipped. 202 while what is in flight drains.")),
		func(ctx context.Context, c *call, in *MessagePath) (*reply[messageView], error) {
			return s.happen(ctx, c, in.ID, func(*fanfare.Message, time.Time) fanfare.Event { return fanfare.EventCancel }, nil)
		})
	route(s, act("resume", "resume-message", "Resume what remains, or send again to the failed or the uncertain",
		"Scope failed or uncertain, of a message that is paused or completed: whoever it means remains again, with a fresh schedule of retries; whoever was in doubt twice only if asked for by name."), s.resumeMessage)
	route(s, act("settle", "settle-message", "Say what became of the uncertain", "What is settled as failed has the reason settled, and may be resumed by scope."), s.settleMessage)
	route(s, act("recall", "recall-message", "Take an inbox message out of inboxes", "For all, or for whoever has not read it. What is not sent yet is still sent: cancel it too."), s.recallMessage)
	route(s, operation{method: http.MethodPost, path: at + "rate", id: "rate-message", tag: "messages", scope: scopeMessagesWrite, keyed: true, summary: "Change the rate, also while sending"}, s.rateMessage)
	route(s, operation{method: http.MethodPost, path: at + "preview", id: "preview-message", tag: "messages", scope: scopeMessagesRead, summary: "Render it for one recipient"}, s.previewMessage)
	route(s, act("test", "test-message", "Send it to somebody; never counted", "To recipients, or to addresses as a recipient."), s.testMessage)
	route(s, operation{method: http.MethodPost, path: "/v1/audiences/count", id: "count-audience", tag: "messages", scope: scopeRecipientsRead, summary: "Count an audience, and who would be skipped for which reason"}, s.countAudience)
	route(s, operation{method: http.MethodPost, path: "/v1/pause_all", id: "pause-all", tag: "messages", scope: scopeMessagesStart, keyed: true, summary: "Pause everything that is scheduled or under way",
		doc: "The kill switch."},
		func(ctx context.Context, c *call, _ *struct{}) (*reply[switchView], error) { return s.pauseAll(ctx, c) })
	route(s, operation{method: http.MethodPost, path: "/v1/resume_all", id: "resume-all", tag: "messages", scope: scopeMessagesStart, keyed: true, summary: "Resume what pause_all paused"},
		func(ctx context.Context, c *call, _ *struct{}) (*reply[resumedView], error) {
			return s.resumeAll(ctx, c)
		})
}

// happen lets an event happen to a message: the state machine decides, one transaction keeps message, audit and answer, then the slots
// are told. edit may change fields of a message that moves.
func (s *Server) happen(ctx context.Context, c *call, id string, event func(*fanfare.Message, time.Time) fanfare.Event, edit func(*fanfare.Message)) (*reply[messageView], error) {
	var m fanfare.Message
	var verdict fanfare.Verdict
	out, err := commit(ctx, c, func(tx fanfare.ControlTx) (*reply[messageView], error) {
		now, w, err := readIn(tx, id)
		if err != nil {
			return nil, err
		}
		e := event(&now, tx.Now())
		if m, verdict, err = fanfare.TransitionIn(tx, now, e, edit); err != nil {
			return nil, unmoved(err, &now, e)
		}
		if verdict == fanfare.Moved {
			if err := c.audit(tx, "message."+string(e), id, essential(&m)); err != nil {
				return nil, err
			}
		}
		status := http.StatusOK
		if m.Phase == fanfare.PhasePausing || m.Phase == fanfare.PhaseCancelling {
			status = http.StatusAccepted
		}
		return s.reply(status, &m, w), nil
	})
	if err == nil && verdict == fanfare.Moved {
		s.moved(ctx, c, m)
	}
	return out, err
}

// unmoved says what can be done instead of an event that the state machine refuses.
func unmoved(err error, m *fanfare.Message, e fanfare.Event) error {
	if !errors.Is(err, fanfare.ErrState) {
		return err
	}
	hint := "Clone it to send it again."
	switch m.Phase {
	case fanfare.PhaseDraft:
		hint = "Start it first."
	case fanfare.PhaseScheduled, fanfare.PhasePreparing, fanfare.PhaseSending:
		hint = "It can be paused or cancelled."
	case fanfare.PhaseCompleted:
		hint = "Resume the failed or the uncertain by scope, or clone it."
	case fanfare.PhasePausing, fanfare.PhasePaused:
		hint = "Resume it, or cancel it."
	case fanfare.PhaseCancelling:
		hint = "It is being cancelled; clone it to send it again."
	}
	return conflict("state", "A message that is %s takes no %s. %s", m.Phase, e, hint)
}

// sends refuses a test key what would really send.
func (c *call) sends(m *fanfare.Message) error {
	if !c.key.Test || m.Test {
		return nil
	}
	return problem(http.StatusForbidden, "test_key", "A test key sends nothing that leaves, and this message was made with another key; clone it with the test key, or use a key of the other kind.")
}

func (s *Server) startMessage(ctx context.Context, c *call, in *startIn) (*reply[messageView], error) {
	m, _, err := s.read(ctx, in.ID)
	if err == nil {
		err = c.sends(&m)
	}
	if err != nil {
		return nil, err
	}
	provider, domain := m.Provider, m.Content.MessageIDDomain
	if m.Phase == fanfare.PhaseDraft || m.Phase == fanfare.PhaseScheduled {
		if err := s.startable(ctx, c, &m); err != nil {
			return nil, err
		}
		provider, domain = m.Provider, m.Content.MessageIDDomain
		if in.Body != nil && in.Body.Expect != nil {
			if err := s.expected(ctx, &m, *in.Body.Expect); err != nil {
				return nil, err
			}
		}
	}
	return s.happen(ctx, c, in.ID, func(*fanfare.Message, time.Time) fanfare.Event { return fanfare.EventStart },
		func(m *fanfare.Message) { m.Provider, m.Content.MessageIDDomain = provider, domain })
}

// startable looks again at what may have changed since the message was made, and settles its provider.
func (s *Server) startable(ctx context.Context, c *call, m *fanfare.Message) error {
	if m.Essential {
		if err := c.need(scopeMessagesEssential); err != nil {
			return err
		}
	}
	if err := s.ready(ctx, m); err != nil {
		return err
	}
	wrong, err := s.checkAudience(ctx, m)
	if err != nil {
		return err
	}
	if len(wrong) > 0 {
		return refuse(wrong...)
	}
	return s.compiles(m)
}

// expected refuses if another number would be sent to.
func (s *Server) expected(ctx context.Context, m *fanfare.Message, want int) error {
	n, err := s.Count(ctx, CountQuery{Audience: m.Audience, Channel: m.Channel, Topic: m.Topic, Essential: m.Essential, Dedupe: m.Dedupe, Message: m})
	if err != nil || n.Planned == want {
		return err
	}
	p := conflict("audience_changed", "%d were expected, but %d would be sent to now; nothing was sent. Look at the audience, then start with the new number.", want, n.Planned)
	p.Planned = &n.Planned
	return p
}

// resumable refuses what this caller may not resume, or what is not ready, and settles the message's provider.
func (s *Server) resumable(ctx context.Context, c *call, m *fanfare.Message) error {
	if err := c.sends(m); err != nil || m.Phase != fanfare.PhasePaused {
		return err
	}
	return s.ready(ctx, m)
}

// resumed is the event of a resume: what waited for a time that has passed meanwhile goes on at once.
func resumed(m *fanfare.Message, now time.Time) fanfare.Event {
	if !m.SendAt.IsZero() && !m.SendAt.After(now) {
		return fanfare.EventResumeDue
	}
	return fanfare.EventResume
}

func (s *Server) rateMessage(ctx context.Context, c *call, in *rateIn) (*reply[messageView], error) {
	out, err := commit(ctx, c, func(tx fanfare.ControlTx) (*reply[messageView], error) {
		m, w, err := readIn(tx, in.ID)
		if err != nil {
			return nil, err
		}
		if m.Phase.Final() || m.Phase == fanfare.PhaseCancelling {
			return nil, conflict("state", "A message that is %s has no rate any more.", m.Phase)
		}
		if rate := or(in.Body.PerSecond, 0); rate < m.Rate || rate > m.Rate {
			m.Rate, m.UpdatedAt = rate, tx.Now()
			if err := tx.SaveMessage(&m, m.Phase, m.Generation); err != nil {
				return nil, err
			}
			if err := c.audit(tx, "message.rate", in.ID, strconv.FormatFloat(rate, 'g', -1, 64)); err != nil {
				return nil, err
			}
		}
		return s.reply(http.StatusOK, &m, w), nil
	})
	if err == nil {
		s.Wake()
	}
	return out, err
}

func (s *Server) previewMessage(ctx context.Context, _ *call, in *previewIn) (*reply[previewView], error) {
	m, _, err := s.read(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	r, err := s.named(ctx, "#/recipient", in.Body.Recipient)
	if err != nil {
		return nil, err
	}
	channel, there := s.Channel(m.Channel)
	if !there {
		return nil, fanfare.ErrNotFound
	}
	compiled, err := channel.Compile(&m)
	if err != nil {
		return nil, err
	}
	out := previewView{Recipient: r.ExternalID, Content: map[string]string{}}
	address, why := channel.Address(&r)
	if why != "" && channel.Features().NeedsAddress {
		out.Skipped = &skippedView{Reason: string(why), Detail: "this recipient has no address that the channel can use"}
		return ok(out), nil
	}
	content, err := compiled.Preview(&fanfare.Outgoing{Recipient: &r, Person: r.Person, Address: address, Unsubscribe: s.Links.Unsubscribe(&m, &r), Message: &m,
		Attempt: 1, Date: time.Now().UTC()})
	var skip *fanfare.SkipError
	switch {
	case errors.As(err, &skip):
		out.Skipped = &skippedView{Reason: string(skip.Reason), Detail: skip.Detail}
	case err != nil:
		return nil, err
	default:
		out.Content = content
	}
	return ok(out), nil
}

// named finds a recipient that a body names.
func (s *Server) named(ctx context.Context, at, id string) (fanfare.Recipient, error) {
	r, err := s.Store.Recipient(ctx, id)
	if errors.Is(err, fanfare.ErrNotFound) {
		return r, invalid(at, "unknown_recipient", "nobody has the external id %q", id)
	}
	return r, err
}

func (s *Server) testMessage(ctx context.Context, c *call, in *testIn) (*reply[testView], error) {
	m, _, err := s.read(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	b := in.Body
	if (len(b.Recipients) == 0) == (len(b.To) == 0) {
		return nil, invalid("#/to", "several", "say either recipients (external ids) or to (addresses)")
	}
	var to []fanfare.Recipient
	for i, id := range b.Recipients {
		r, err := s.named(ctx, "#/recipients/"+itoa(i), id)
		if err != nil {
			return nil, err
		}
		to = append(to, r)
	}
	as := fanfare.Recipient{ExternalID: "test"}
	if b.As != "" {
		if as, err = s.named(ctx, "#/as", b.As); err != nil {
			return nil, err
		}
	}
	for _, address := range b.To {
		r := as
		r.Email = address
		to = append(to, r)
	}
	if channel, there := s.Channel(m.Channel); there && channel.Features().Inline {
		return nil, conflict("no_test", "Nothing of channel %s is sent anywhere: preview it for a recipient instead, or send it to a list of testers.", m.Channel)
	}
	m.Test = m.Test || c.key.Test
	if err := s.ready(ctx, &m); err != nil {
		return nil, err
	}
	results, err := s.SendTest(ctx, &m, to)
	if err != nil {
		return nil, err
	}
	out := testView{Results: []testResult{}}
	for _, r := range results {
		out.Results = append(out.Results, testResult{To: r.To, Result: string(r.Result), Reason: string(r.Reason), Code: r.Code, Text: r.Text})
	}
	return commit(ctx, c, func(tx fanfare.ControlTx) (*reply[testView], error) {
		return ok(out), c.audit(tx, "message.test", in.ID, itoa(len(to)))
	})
}

func (s *Server) countAudience(ctx context.Context, _ *call, in *countIn) (*reply[countView], error) {
	m := fanfare.Message{Channel: fanfare.ChannelName(or(in.Body.Channel, "")), Audience: json.RawMessage(in.Body.Audience)}
	wrong, err := s.checkAudience(ctx, &m)
	if err != nil {
		return nil, err
	}
	if len(wrong) > 0 {
		return nil, refuse(wrong...)
	}
	q := CountQuery{Audience: m.Audience, Channel: m.Channel, Topic: or(in.Body.Topic, generalTopic), Essential: in.Body.Essential,
		Dedupe: fanfare.Dedupe(or(in.Body.Dedupe, string(defaultDedupe(m.Channel))))}
	if in.Body.Content != nil && m.Channel != "" {
		m.Name, m.Content, m.Data, m.Metadata = in.Body.Name, in.Body.Content.plain(), json.RawMessage(in.Body.Data), json.RawMessage(in.Body.Metadata)
		if err := s.compiles(&m); err != nil {
			return nil, err
		}
		q.Message = &m
	}
	n, err := s.Count(ctx, q)
	if err != nil {
		return nil, err
	}
	v := countView{Recipients: n.Recipients, Planned: n.Planned, Skipped: make(map[string]int, len(n.Skipped)), Scanned: append([]string{}, n.Scanned...)}
	for reason, k := range n.Skipped {
		v.Skipped[string(reason)] = k
	}
	return ok(v), nil
}
