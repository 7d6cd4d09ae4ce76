package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"fanfare"
)

// Trigger is what a message waits for: an event, or the end of another message.
type Trigger struct {
	_     struct{}      `nullable:"true"`
	Event string        `json:"event,omitempty" maxLength:"200" doc:"Until POST /v1/events names it."`
	After *TriggerAfter `json:"after,omitempty"`
}

// TriggerAfter names another message.
type TriggerAfter struct {
	_            struct{} `nullable:"true"`
	Message      string   `json:"message" doc:"Until it is completed, and the delay is over. The audience is frozen then."`
	Phase        string   `json:"phase,omitempty" enum:"completed" default:"completed"`
	DelaySeconds int      `json:"delay_seconds,omitempty" minimum:"0" maximum:"31536000"`
}

func viewTrigger(t *fanfare.Trigger) *Trigger {
	if t == nil {
		return nil
	}
	v := &Trigger{Event: t.Event}
	if t.After != nil {
		v.After = &TriggerAfter{Message: string(t.After.Message), Phase: string(t.After.Phase), DelaySeconds: t.After.DelaySeconds}
	}
	return v
}

func (t *Trigger) plain() *fanfare.Trigger {
	if t == nil {
		return nil
	}
	p := &fanfare.Trigger{Event: t.Event}
	if t.After != nil {
		p.After = &fanfare.TriggerAfter{Message: fanfare.MessageID(t.After.Message), Phase: fanfare.PhaseCompleted, DelaySeconds: t.After.DelaySeconds}
	}
	return p
}

// checkTrigger looks at what a message waits for; in a circle all would wait for ever.
func (s *Server) checkTrigger(ctx context.Context, m *fanfare.Message) ([]FieldDetail, error) {
	t := m.Trigger
	switch {
	case t == nil:
		return nil, nil
	case (t.Event == "") == (t.After == nil):
		return fieldsOf(invalid("#/trigger", "several", "say either event (a name) or after (another message)")), nil
	case t.After == nil:
		return fieldsOf(checkName("#/trigger/event", t.Event)), nil
	}
	const at = "#/trigger/after/message"
	var wrong []FieldDetail
	err := s.Store.View(ctx, func(v fanfare.ControlView) error {
		wrong = nil
		seen := map[fanfare.MessageID]bool{}
		for next := t.After; next != nil; {
			if next.Message == m.ID || seen[next.Message] {
				wrong = fieldsOf(invalid(at, "circle", "waits in the end for this very message; name another"))
				return nil
			}
			seen[next.Message] = true
			other, err := v.Message(next.Message)
			if errors.Is(err, fanfare.ErrNotFound) {
				if len(seen) == 1 {
					wrong = fieldsOf(invalid(at, "unknown_message", "there is no message %q", next.Message))
				}
				return nil
			} else if err != nil {
				return err
			}
			if next = nil; other.Trigger != nil && !other.Phase.Final() {
				next = other.Trigger.After
			}
		}
		return nil
	})
	return wrong, err
}

// waitsFor says why a message that is scheduled has not come to its time; nil if its time is known.
func waitsFor(v fanfare.ControlView, m *fanfare.Message) (*fanfare.WaitingFor, error) {
	if m.Phase != fanfare.PhaseScheduled || !m.Waits() {
		return nil, nil
	}
	w := &fanfare.WaitingFor{Reason: fanfare.WaitTrigger, Since: m.UpdatedAt}
	if m.Trigger.After == nil {
		w.Detail = fmt.Sprintf("for the event %q", m.Trigger.Event)
		return w, nil
	}
	id := m.Trigger.After.Message
	other, err := v.Message(id)
	switch {
	case errors.Is(err, fanfare.ErrNotFound):
		w.Detail = fmt.Sprintf("for message %s, which is not there any more: start it, change its trigger, or cancel it", id)
	case err != nil:
		return nil, err
	case other.Phase.Final() && other.Phase != fanfare.PhaseCompleted:
		w.Detail = fmt.Sprintf("for message %s, which is %s and will not be completed: start it, change its trigger, or cancel it", id, other.Phase)
	default:
		w.Detail = fmt.Sprintf("until message %s, which is %s, is completed", id, other.Phase)
	}
	return w, nil
}

type eventIn struct {
	Body struct {
		Name      string  `json:"name" maxLength:"200"`
		DedupeKey *string `json:"dedupe_key,omitempty" nullable:"true" minLength:"1" maxLength:"255" doc:"The same event with the same key starts nothing again for 48 hours."`
	}
}

type eventView struct {
	Name      string   `json:"name"`
	Messages  []string `json:"messages" nullable:"false" doc:"Those that it started."`
	Duplicate bool     `json:"duplicate" doc:"It came before, with this dedupe_key; messages are those that it started then."`
}

func (s *Server) eventRoutes() {
	route(s, operation{method: http.MethodPost, path: "/v1/events", id: "post-event", tag: "messages", scope: scopeMessagesStart, keyed: true, summary: "Tell of an event",
		doc: "Starts every message that waits for it (trigger.event). A paused one starts when it is resumed. An event is not remembered for messages that are made later."}, s.postEvent)
}

// postEvent starts what waits for an event, all of it in one transaction with the note of its dedupe key.
func (s *Server) postEvent(ctx context.Context, c *call, in *eventIn) (*reply[eventView], error) {
	if err := checkName("#/name", in.Body.Name); err != nil {
		return nil, err
	}
	key := ""
	if in.Body.DedupeKey != nil {
		sum := sha256.Sum256([]byte(in.Body.Name + "\x00" + *in.Body.DedupeKey))
		key = fmt.Sprintf("event %v %s", c.key.Test, hex.EncodeToString(sum[:]))
	}
	var started []fanfare.Message
	out, err := commit(ctx, c, func(tx fanfare.ControlTx) (*reply[eventView], error) {
		started = nil
		v := eventView{Name: in.Body.Name, Messages: []string{}}
		if key != "" {
			before, err := tx.StoredAnswer(key)
			if err == nil {
				err = json.Unmarshal(before.Body, &v)
				v.Duplicate = true
				return ok(v), err
			} else if !errors.Is(err, fanfare.ErrNotFound) {
				return nil, err
			}
		}
		var all []fanfare.Message
		if err := unfinished(tx, func(m *fanfare.Message) error {
			if m.Waits() && m.Trigger.Event == in.Body.Name && c.sends(m) == nil {
				all = append(all, *m)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		for _, m := range all {
			next, err := c.due(tx, m, "event "+in.Body.Name)
			if err != nil {
				return nil, err
			}
			if next.Phase == fanfare.PhasePreparing {
				started = append(started, next)
				v.Messages = append(v.Messages, string(next.ID))
			}
		}
		if key != "" {
			body, err := json.Marshal(v)
			if err == nil {
				err = tx.StoreAnswer(fanfare.StoredAnswer{Key: key, Status: http.StatusOK, Body: body})
			}
			if err != nil {
				return nil, err
			}
		}
		return ok(v), c.audit(tx, "event", in.Body.Name, itoa(len(v.Messages)))
	})
	s.movedAll(ctx, c, err, started)
	return out, err
}

// due starts a message whose event has come; one that is paused gets the time, and goes on by it when it is resumed.
func (c *call) due(tx fanfare.ControlTx, m fanfare.Message, why string) (fanfare.Message, error) {
	if m.Phase == fanfare.PhasePaused {
		m.SendAt, m.UpdatedAt = tx.Now(), tx.Now()
		if err := tx.SaveMessage(&m, m.Phase, m.Generation); err != nil {
			return m, err
		}
		return m, c.audit(tx, "message.trigger", string(m.ID), why+"; it is paused")
	}
	m, _, err := fanfare.TransitionIn(tx, m, fanfare.EventDue, func(m *fanfare.Message) { m.SendAt = tx.Now() })
	if err != nil {
		return m, err
	}
	return m, c.audit(tx, "message."+string(fanfare.EventDue), string(m.ID), why)
}

// scheduled gives a message that waits for another one its time, if that is completed already: from now on, not since then.
func scheduled(tx fanfare.ControlTx, m *fanfare.Message) error {
	due, err := fanfare.TriggerDue(tx, m)
	if err == nil && !due.IsZero() {
		if m.SendAt = due; due.Before(tx.Now()) {
			m.SendAt = tx.Now()
		}
	}
	return err
}
