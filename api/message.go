package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"fanfare"
)

// messageView is a message as the API shows it.
type messageView struct {
	ID          string       `json:"id"`
	Name        string       `json:"name"`
	Channel     string       `json:"channel"`
	Status      int          `json:"status" enum:"0,1,2,3" doc:"0 not started, 1 sending, 2 paused, 3 done."`
	Phase       string       `json:"phase" enum:"draft,scheduled,preparing,sending,pausing,cancelling,paused,completed,cancelled,expired"`
	PauseReason *string      `json:"pause_reason"`
	Outcome     *string      `json:"outcome"`
	Generation  int64        `json:"generation"`
	Revision    int64        `json:"revision" doc:"Rises with each change of content."`
	Audience    anyJSON      `json:"audience"`
	Content     content      `json:"content"`
	Provider    *string      `json:"provider"`
	Topic       string       `json:"topic"`
	Essential   bool         `json:"essential"`
	SendAt      *time.Time   `json:"send_at"`
	Trigger     *Trigger     `json:"trigger" doc:"Once it has come, send_at is the time that it gave."`
	Rate        *float64     `json:"rate"`
	Priority    string       `json:"priority"`
	Uncertain   string       `json:"uncertain"`
	StartGrace  int64        `json:"start_grace" doc:"Seconds."`
	NotAfter    *time.Time   `json:"not_after"`
	Dedupe      string       `json:"dedupe"`
	Data        anyJSON      `json:"data"`
	Metadata    anyJSON      `json:"metadata"`
	Tags        []string     `json:"tags" nullable:"false"`
	Recalled    *string      `json:"recalled" enum:"all,unread" doc:"Out of whose inboxes it was taken."`
	Test        bool         `json:"test" doc:"Made with a test key: nothing leaves."`
	CreatedAt   time.Time    `json:"created_at"`
	UpdatedAt   time.Time    `json:"updated_at"`
	StartedAt   *time.Time   `json:"started_at"`
	FinishedAt  *time.Time   `json:"finished_at"`
	Waiting     *waitingView `json:"waiting"`
}

// content is a fanfare.Content as requests and answers have it.
type content struct {
	Title   string             `json:"title,omitempty"`
	Body    string             `json:"body,omitempty"`
	URL     string             `json:"url,omitempty"`
	Expires *time.Time         `json:"expires_at,omitempty" nullable:"true"`
	Subject string             `json:"subject,omitempty"`
	Text    string             `json:"text,omitempty"`
	HTML    string             `json:"html,omitempty"`
	From    string             `json:"from,omitempty"`
	ReplyTo string             `json:"reply_to,omitempty"`
	Headers map[string]string  `json:"headers,omitempty"`
	Track   *track             `json:"track,omitempty" doc:"What mail tells of itself; absent: as the provider has it. Not in locales."`
	Locales map[string]content `json:"locales,omitempty"`
}

// track is a fanfare.Track.
type track struct {
	Opens  bool `json:"opens,omitempty" doc:"A picture tells when it is fetched: a guess, marked as inferred."`
	Clicks bool `json:"clicks,omitempty" doc:"Links whose host is written out lead through this server."`
}

func viewContent(c fanfare.Content) content {
	v := content{Title: c.Title, Body: c.Body, URL: c.URL, Expires: moment(c.ExpiresAt), Subject: c.Subject, Text: c.Text, HTML: c.HTML, From: c.From, ReplyTo: c.ReplyTo, Headers: c.Headers}
	if c.Track != nil {
		v.Track = new(track(*c.Track))
	}
	if c.Locales != nil {
		v.Locales = make(map[string]content, len(c.Locales))
		for name, in := range c.Locales {
			v.Locales[name] = viewContent(in)
		}
	}
	return v
}

func (v content) plain() fanfare.Content {
	c := fanfare.Content{Title: v.Title, Body: v.Body, URL: v.URL, ExpiresAt: or(v.Expires, time.Time{}).UTC(), Subject: v.Subject, Text: v.Text, HTML: v.HTML, From: v.From, ReplyTo: v.ReplyTo, Headers: v.Headers}
	if v.Track != nil {
		c.Track = new(fanfare.Track(*v.Track))
	}
	if v.Locales != nil {
		c.Locales = make(map[string]fanfare.Content, len(v.Locales))
		for name, in := range v.Locales {
			c.Locales[name] = in.plain()
		}
	}
	return c
}

// waitingView says why a message that is sending, or scheduled and without a time, does not move.
type waitingView struct {
	Reason    string     `json:"reason" enum:"provider_down,rate,shard,journal,backoff,trigger"`
	Provider  string     `json:"provider"`
	Detail    string     `json:"detail"`
	Since     time.Time  `json:"since"`
	NextTryAt *time.Time `json:"next_try_at"`
}

// anyJSON is JSON of any kind, kept as it is.
type anyJSON json.RawMessage

// Schema implements huma.SchemaProvider.
func (anyJSON) Schema(huma.Registry) *huma.Schema { return &huma.Schema{} }

// MarshalJSON gives the JSON, null where there is none.
func (a anyJSON) MarshalJSON() ([]byte, error) {
	if len(a) == 0 {
		return []byte("null"), nil
	}
	return a, nil
}

// UnmarshalJSON keeps a copy.
func (a *anyJSON) UnmarshalJSON(b []byte) error {
	*a = append((*a)[:0], b...)
	return nil
}

func (s *Server) view(m *fanfare.Message, waiting *fanfare.WaitingFor) messageView {
	v := messageView{ID: string(m.ID), Name: m.Name, Channel: string(m.Channel), Status: int(m.Phase.Status()), Phase: string(m.Phase), PauseReason: text(string(m.PauseReason)),
		Outcome: text(string(m.Outcome)), Generation: int64(m.Generation), Revision: int64(m.Revision), Audience: anyJSON(m.Audience), Content: viewContent(m.Content),
		Provider: text(m.Provider), Topic: m.Topic, Essential: m.Essential, SendAt: moment(m.SendAt), Priority: string(m.Priority), Uncertain: string(m.Uncertain),
		StartGrace: int64(m.StartGrace / time.Second), NotAfter: moment(m.NotAfter), Dedupe: string(m.Dedupe), Data: anyJSON(m.Data), Metadata: anyJSON(m.Metadata), Tags: m.Tags,
		Recalled: text(string(m.Recall)), Test: m.Test, CreatedAt: m.CreatedAt, UpdatedAt: m.UpdatedAt, StartedAt: moment(m.StartedAt), FinishedAt: moment(m.FinishedAt)}
	if m.Rate > 0 {
		v.Rate = &m.Rate
	}
	if v.Tags == nil {
		v.Tags = []string{}
	}
	v.Trigger = viewTrigger(m.Trigger)
	during := fanfare.PhaseSending // the reason was read before the move that is answered
	if waiting != nil && waiting.Reason == fanfare.WaitTrigger {
		during = fanfare.PhaseScheduled
	}
	if waiting != nil && m.Phase == during {
		v.Waiting = &waitingView{Reason: string(waiting.Reason), Provider: waiting.Provider, Detail: waiting.Detail, Since: waiting.Since, NextTryAt: moment(waiting.NextTryAt)}
	}
	return v
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// waiting gives why messages wait, as the nodes say; of several nodes the one that waits longest speaks.
func waiting(v fanfare.ControlView) (map[fanfare.MessageNum]fanfare.WaitingFor, error) {
	nodes, err := v.Nodes()
	if err != nil {
		return nil, err
	}
	found := make(map[fanfare.MessageNum]fanfare.WaitingFor)
	for _, n := range nodes {
		if !n.Alive(v.Now()) {
			continue
		}
		for m, w := range n.Waiting {
			if before, there := found[m]; !there || w.Since.Before(before.Since) {
				found[m] = w
			}
		}
	}
	return found, nil
}

// read reads a message, and why it waits if it does.
func (s *Server) read(ctx context.Context, id string) (m fanfare.Message, w *fanfare.WaitingFor, err error) {
	err = s.Store.View(ctx, func(v fanfare.ControlView) error {
		m, w, err = readIn(v, id)
		return err
	})
	return m, w, err
}

func readIn(v fanfare.ControlView, id string) (fanfare.Message, *fanfare.WaitingFor, error) {
	m, err := v.Message(fanfare.MessageID(id))
	if err != nil {
		return m, nil, missing(err, "message", id)
	}
	if m.Phase != fanfare.PhaseSending {
		w, err := waitsFor(v, &m)
		return m, w, err
	}
	all, err := waiting(v)
	if w, there := all[m.Num]; there {
		return m, &w, err
	}
	return m, nil, err
}
