package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"fanfare"
	"fanfare/audience"
)

type messageIn struct {
	Body newMessage
}

// MessagePath names a message.
type MessagePath struct {
	ID string `path:"id"`
}

type messageChangeIn struct {
	MessagePath
	IfMatch string `header:"If-Match" doc:"The ETag of the message as you read it; another one answers 412."`
	Body    changedMessage
}

type cloneIn struct {
	MessagePath
	Body *struct {
		Name     *string `json:"name,omitempty" maxLength:"200" doc:"Instead of the name it has."`
		Audience anyJSON `json:"audience,omitempty" doc:"Instead of the audience it has, for example {\"message\": ID, \"read\": false}."`
	}
}

type messagesIn struct {
	Page
	Status       string    `query:"status" enum:"0,1,2,3"`
	Phase        string    `query:"phase" enum:"draft,scheduled,preparing,sending,pausing,cancelling,paused,completed,cancelled,expired"`
	Tag          string    `query:"tag"`
	Name         string    `query:"name" doc:"A part of the name."`
	CreatedAfter time.Time `query:"created_after"`
}

func itoa(i int) string { return strconv.Itoa(i) }

func (s *Server) messageRoutes() {
	const at = "/v1/messages/{id}"
	route(s, operation{method: http.MethodPost, path: "/v1/messages", id: "create-message", tag: "messages", scope: scopeMessagesWrite, status: http.StatusCreated, keyed: true, summary: "Create a message",
		doc: "Without send_at, trigger and start: a draft. send_at or trigger: scheduled. start: now (scope messages:start for all three)."}, s.createMessage)
	route(s, operation{method: http.MethodGet, path: "/v1/messages", id: "list-messages", tag: "messages", scope: scopeMessagesRead, summary: "List messages, newest first"}, s.listMessages)
	route(s, operation{method: http.MethodGet, path: at, id: "get-message", tag: "messages", scope: scopeMessagesRead, summary: "Read a message"},
		func(ctx context.Context, _ *call, in *MessagePath) (*reply[messageView], error) {
			m, w, err := s.read(ctx, in.ID)
			return s.reply(http.StatusOK, &m, w), err
		})
	route(s, operation{method: http.MethodPatch, path: at, id: "change-message", tag: "messages", scope: scopeMessagesWrite, summary: "Change a message",
		doc: "A merge (RFC 7396); audience is replaced whole. Draft and scheduled: every field; paused: content, rate, priority, provider, not_after, uncertain; completed, of the inbox: content, which whoever reads from then on finds."}, s.changeMessage)
	routeNone(s, operation{method: http.MethodDelete, path: at, id: "delete-message", tag: "messages", scope: scopeMessagesWrite, summary: "Delete a draft or a scheduled message"}, s.deleteMessage)
	route(s, operation{method: http.MethodPost, path: at + "/clone", id: "clone-message", tag: "messages", scope: scopeMessagesWrite, status: http.StatusCreated, keyed: true, summary: "Make a draft of the same content and audience, or for another audience"}, s.cloneMessage)
}

// reply gives a message with its ETag.
func (s *Server) reply(status int, m *fanfare.Message, w *fanfare.WaitingFor) *reply[messageView] {
	return &reply[messageView]{Status: status, ETag: s.etag(m), Body: s.view(m, w)}
}

// etag changes with whatever the message shows.
func (s *Server) etag(m *fanfare.Message) string {
	b, err := json.Marshal(s.view(m, nil))
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

func (s *Server) createMessage(ctx context.Context, c *call, in *messageIn) (*reply[messageView], error) {
	m := fanfare.Message{ID: fanfare.MessageID("msg_" + rand.Text()), Revision: 1, State: fanfare.State{Phase: fanfare.PhaseDraft, Generation: 1}, Test: c.key.Test}
	in.Body.fill(&m)
	event := fanfare.Event("")
	switch {
	case in.Body.Start:
		event = fanfare.EventStart
	case in.Body.SendAt != nil, in.Body.Trigger != nil:
		event = fanfare.EventSchedule
	}
	return s.insert(ctx, c, &in.Body, &m, event)
}

// insert checks a new message, keeps it, and lets the event happen to it in the same transaction.
func (s *Server) insert(ctx context.Context, c *call, f *newMessage, m *fanfare.Message, event fanfare.Event) (*reply[messageView], error) {
	if err := s.check(ctx, c, f, m); err != nil {
		return nil, err
	}
	if event != "" {
		if err := c.need(scopeMessagesStart); err != nil {
			return nil, err
		}
		if err := s.ready(ctx, m); err != nil {
			return nil, err
		}
	}
	out, err := commit(ctx, c, func(tx fanfare.ControlTx) (*reply[messageView], error) {
		now := *m
		now.CreatedAt, now.UpdatedAt = tx.Now(), tx.Now()
		if err := fanfare.NoteTopics(tx, now.Topic); err != nil {
			return nil, err
		}
		if event == fanfare.EventSchedule {
			if err := scheduled(tx, &now); err != nil {
				return nil, err
			}
		}
		if err := tx.InsertMessage(&now); err != nil {
			return nil, err
		}
		if err := c.audit(tx, "message.create", string(now.ID), now.Name); err != nil {
			return nil, err
		}
		if event != "" {
			var err error
			if now, _, err = fanfare.TransitionIn(tx, now, event, nil); err != nil {
				return nil, err
			}
			if err := c.audit(tx, "message."+string(event), string(now.ID), essential(&now)); err != nil {
				return nil, err
			}
		}
		*m = now
		waits, err := waitsFor(tx, m)
		if err != nil {
			return nil, err
		}
		made := s.reply(http.StatusCreated, m, waits)
		made.Location = "/v1/messages/" + string(m.ID)
		return made, nil
	})
	if err == nil && event != "" {
		s.moved(ctx, c, *m)
	}
	return out, err
}

// essential is what the audit trail says of a message that also goes to the unsubscribed.
func essential(m *fanfare.Message) string {
	if m.Essential {
		return "essential: also to the unsubscribed"
	}
	return ""
}

// moved tells the slots of a message's new state and has everybody look. What fails here the planner does.
func (s *Server) moved(ctx context.Context, c *call, m fanfare.Message) {
	if err := fanfare.SpreadAll(context.WithoutCancel(ctx), s.Store, s.Store.Slots(), m); err != nil {
		s.Log.Warn("the planner will tell the slots", "request", c.request, "error", err)
	}
	s.Wake()
}

func (s *Server) listMessages(ctx context.Context, _ *call, in *messagesIn) (*reply[list[messageView]], error) {
	f := fanfare.MessageFilter{Phase: fanfare.Phase(in.Phase), Tag: in.Tag, Name: in.Name, CreatedAfter: in.CreatedAfter, Cursor: in.Cursor, Limit: in.Limit}
	if in.Status != "" {
		n, err := strconv.Atoi(in.Status)
		if err != nil {
			return nil, err
		}
		status := fanfare.Status(n)
		f.Status = &status
	}
	var views []messageView
	var next string
	err := s.Store.View(ctx, func(v fanfare.ControlView) error {
		rows, after, err := v.Messages(f)
		if err != nil {
			return badCursor(err)
		}
		why, err := waiting(v)
		if err != nil {
			return err
		}
		views, next = make([]messageView, len(rows)), after
		for i := range rows {
			w, err := waitsFor(v, &rows[i])
			if err != nil {
				return err
			}
			if of, there := why[rows[i].Num]; there {
				w = &of
			}
			views[i] = s.view(&rows[i], w)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ok(listOf(views, next)), nil
}

// whilePaused are the fields that may change while a message is paused.
func whilePaused() []string {
	return []string{"content", "rate", "priority", "provider", "not_after", "uncertain"}
}

func (s *Server) changeMessage(ctx context.Context, c *call, in *messageChangeIn) (*reply[messageView], error) {
	old, _, err := s.read(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if in.IfMatch != "" && in.IfMatch != "*" && !slices.Contains(strings.Split(strings.ReplaceAll(in.IfMatch, " ", ""), ","), s.etag(&old)) {
		return nil, problem(http.StatusPreconditionFailed, "revision", "The message was changed since you read it. Read it again, then repeat the change.")
	}
	next, changed, err := s.changed(ctx, c, &old, c.raw)
	if err != nil {
		return nil, err
	}
	if err := allowed(&old, changed); err != nil {
		return nil, err
	}
	if old.Phase == fanfare.PhaseScheduled && next.SendAt.IsZero() && next.Trigger == nil {
		return nil, conflict("state", "A scheduled message needs its send_at or its trigger; give another time, start it, or cancel it.")
	}
	schedule := old.Phase == fanfare.PhaseDraft && (!next.SendAt.IsZero() || next.Trigger != nil)
	if schedule || old.Phase != fanfare.PhaseDraft && slices.ContainsFunc([]string{"provider", "channel"}, func(f string) bool { return slices.Contains(changed, f) }) {
		if err := s.ready(ctx, next); err != nil {
			return nil, err
		}
	}
	if schedule {
		if err := errors.Join(c.need(scopeMessagesStart), c.sends(&old)); err != nil {
			return nil, err
		}
	}
	out, err := commit(ctx, c, func(tx fanfare.ControlTx) (*reply[messageView], error) {
		now, err := tx.Message(old.ID)
		if err != nil {
			return nil, err
		}
		if s.etag(&now) != s.etag(&old) {
			return nil, fanfare.ErrConflict
		}
		m := *next
		m.UpdatedAt = tx.Now()
		if slices.Contains(changed, "trigger") {
			if err := scheduled(tx, &m); err != nil {
				return nil, err
			}
		}
		if err := fanfare.NoteTopics(tx, m.Topic); err != nil {
			return nil, err
		}
		if len(changed) > 0 {
			if err := tx.SaveMessage(&m, old.Phase, old.Generation); err != nil {
				return nil, err
			}
			if err := c.audit(tx, "message.change", string(m.ID), strings.Join(changed, ", ")); err != nil {
				return nil, err
			}
		}
		if schedule {
			if m, _, err = fanfare.TransitionIn(tx, m, fanfare.EventSchedule, nil); err != nil {
				return nil, err
			}
			if err := c.audit(tx, "message."+string(fanfare.EventSchedule), string(m.ID), essential(&m)); err != nil {
				return nil, err
			}
		}
		waits, err := waitsFor(tx, &m)
		if err != nil {
			return nil, err
		}
		return s.reply(http.StatusOK, &m, waits), nil
	})
	if err == nil {
		s.Wake()
	}
	return out, err
}

// changed gives the message after a merge patch, checked, and the names of the fields that differ.
func (s *Server) changed(ctx context.Context, c *call, old *fanfare.Message, patch []byte) (*fanfare.Message, []string, error) {
	doc, err := document(old)
	if err != nil {
		return nil, nil, err
	}
	if doc, err = merge(doc, patch, ""); err != nil {
		return nil, nil, err
	}
	var f newMessage
	if err := json.Unmarshal(doc, &f); err != nil {
		return nil, nil, because(err, problem(http.StatusUnprocessableEntity, "invalid", "The message after this change cannot be read: a field has another type than it should. /openapi.json says which it has."))
	}
	next := *old
	f.fill(&next)
	if old.Test {
		next.Provider = old.Provider
	}
	if old.Trigger != nil && sameTrigger(old.Trigger, next.Trigger) {
		next.SendAt = old.SendAt
	}
	changed := changes(old, &next)
	if err := s.check(ctx, c, &f, &next); err != nil {
		if err = kept(err, old, changed); err == nil {
			err = c.mayWrite(&next) // not looked at while a field was wrong
		}
		if err != nil {
			return nil, nil, err
		}
	}
	changed = changes(old, &next)
	if slices.Contains(changed, "content") {
		next.Revision++
	}
	return &next, changed, nil
}

// kept drops from a problem what the change did not touch: a time that has passed meanwhile is nobody's mistake.
func kept(err error, old *fanfare.Message, changed []string) error {
	var p *Problem
	if !errors.As(err, &p) || len(p.Errors) == 0 || old.Phase == fanfare.PhaseDraft {
		return err
	}
	details := slices.DeleteFunc(slices.Clone(p.Errors), func(d FieldDetail) bool {
		field, _, _ := strings.Cut(strings.TrimPrefix(d.Pointer, "#/"), "/")
		return d.Code == "past" && !slices.Contains(changed, field)
	})
	if len(details) == 0 {
		return nil
	}
	return refuse(details...)
}

// allowed says whether these fields may change in the message's phase.
func allowed(m *fanfare.Message, changed []string) error {
	if len(changed) == 0 {
		return nil
	}
	switch m.Phase {
	case fanfare.PhaseDraft, fanfare.PhaseScheduled:
		return nil
	case fanfare.PhasePaused:
		for _, name := range changed {
			if !slices.Contains(whilePaused(), name) {
				p := conflict("state", "While a message is paused, %s cannot change any more; %s can. Clone it for another.", name, strings.Join(whilePaused(), ", "))
				p.Errors = []FieldDetail{{Pointer: pointer(name), Code: "fixed", Detail: "leave it out"}}
				return p
			}
		}
		return nil
	case fanfare.PhaseCompleted:
		if m.Channel == fanfare.ChannelInbox && len(changed) == 1 && changed[0] == "content" { // whoever reads from now on finds the new one
			return nil
		}
	case fanfare.PhasePreparing, fanfare.PhaseSending, fanfare.PhasePausing:
		return conflict("state", "A message that is %s cannot be changed; pause it first. Its rate alone changes at once: POST …/rate.", m.Phase)
	}
	return conflict("state", "A message that is %s cannot be changed any more; clone it.", m.Phase)
}

func (s *Server) deleteMessage(ctx context.Context, c *call, in *MessagePath) error {
	return s.Store.Update(ctx, func(tx fanfare.ControlTx) error {
		m, err := tx.Message(fanfare.MessageID(in.ID))
		if err != nil {
			return missing(err, "message", in.ID)
		}
		if m.Phase != fanfare.PhaseDraft && m.Phase != fanfare.PhaseScheduled {
			return conflict("state", "A message that is %s cannot be deleted; only drafts and scheduled ones can. Cancel it instead.", m.Phase)
		}
		if err := unnamed(tx, audience.Message{ID: in.ID}); err != nil {
			return err
		}
		if err := unfinished(tx, func(other *fanfare.Message) error {
			if t := other.Trigger; t == nil || t.After == nil || t.After.Message != m.ID || other.Phase != fanfare.PhaseScheduled {
				return nil
			}
			return conflict("in_use", "Message %s waits until this one is completed; give it another trigger or cancel it first.", other.ID)
		}); err != nil {
			return err
		}
		if err := tx.DeleteMessage(m.ID); err != nil {
			return err
		}
		return c.audit(tx, "message.delete", in.ID, m.Name)
	})
}

func (s *Server) cloneMessage(ctx context.Context, c *call, in *cloneIn) (*reply[messageView], error) {
	old, _, err := s.read(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	doc, err := document(&old)
	if err != nil {
		return nil, err
	}
	var f newMessage
	if err := json.Unmarshal(doc, &f); err != nil {
		return nil, err
	}
	f.SendAt, f.NotAfter, f.Trigger = nil, nil, nil
	if e := f.Content.Expires; e != nil && e.Before(time.Now()) { // the old one's
		f.Content.Expires = nil
	}
	if in.Body != nil {
		f.Name = or(in.Body.Name, f.Name)
		if len(in.Body.Audience) > 0 {
			f.Audience = in.Body.Audience
		}
	}
	m := fanfare.Message{ID: fanfare.MessageID("msg_" + rand.Text()), Revision: 1, State: fanfare.State{Phase: fanfare.PhaseDraft, Generation: 1}, Test: c.key.Test}
	f.fill(&m)
	return s.insert(ctx, c, &f, &m, "")
}
