package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"fanfare"
)

// settingSwitch is the setting that lists what the kill switch paused.
const settingSwitch = "switched_off"

// switchedOff is one of them. Whoever resumes it raises its generation: if it is paused again later, that was somebody else's will.
type switchedOff struct {
	Message    fanfare.MessageID  `json:"message"`
	Generation fanfare.Generation `json:"generation"`
}

// pauseAll pauses everything in one transaction.
func (s *Server) pauseAll(ctx context.Context, c *call) (*reply[switchView], error) {
	var paused []fanfare.Message
	out, err := commit(ctx, c, func(tx fanfare.ControlTx) (*reply[switchView], error) {
		paused = nil
		known, err := switched(tx)
		if err != nil {
			return nil, err
		}
		var all []fanfare.Message
		if err := unfinished(tx, func(m *fanfare.Message) error { all = append(all, *m); return nil }); err != nil {
			return nil, err
		}
		v := switchView{Messages: []string{}}
		for _, m := range all {
			next, verdict, err := fanfare.TransitionIn(tx, m, fanfare.EventPause, nil)
			if errors.Is(err, fanfare.ErrState) || err == nil && verdict == fanfare.Same {
				continue
			} else if err != nil {
				return nil, err
			}
			if err := c.audit(tx, "message."+string(fanfare.EventPause), string(next.ID), "pause_all"); err != nil {
				return nil, err
			}
			paused = append(paused, next)
			v.Messages = append(v.Messages, string(next.ID))
			known = slices.DeleteFunc(known, func(k switchedOff) bool { return k.Message == next.ID })
			known = append(known, switchedOff{next.ID, next.Generation})
		}
		if err := keepSwitched(tx, known); err != nil {
			return nil, err
		}
		return ok(v), c.audit(tx, "pause_all", "", itoa(len(v.Messages)))
	})
	s.movedAll(ctx, c, err, paused)
	return out, err
}

// stopped is a message that the kill switch paused: by what it would go on, or why it cannot.
type stopped struct {
	provider string
	why      *Problem
}

// stopped looks at what pauseAll paused, as resumeMessage does at one message.
func (s *Server) stopped(ctx context.Context, c *call) (map[fanfare.MessageID]stopped, error) {
	var all []fanfare.Message
	err := s.Store.View(ctx, func(v fanfare.ControlView) error {
		known, err := switched(v)
		if err != nil {
			return err
		}
		for _, k := range known {
			m, err := v.Message(k.Message)
			if errors.Is(err, fanfare.ErrNotFound) {
				continue
			} else if err != nil {
				return err
			}
			all = append(all, m)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	found := make(map[fanfare.MessageID]stopped, len(all))
	for i := range all {
		m := &all[i]
		err := s.resumable(ctx, c, m)
		var why *Problem
		if err != nil && !errors.As(err, &why) {
			return nil, err
		}
		found[m.ID] = stopped{m.Provider, why}
	}
	return found, nil
}

// resumeAll resumes what pauseAll paused and nobody resumed or cancelled since. What this caller may not resume, or what is not ready,
// waits for the next call.
func (s *Server) resumeAll(ctx context.Context, c *call) (*reply[resumedView], error) {
	looked, err := s.stopped(ctx, c)
	if err != nil {
		return nil, err
	}
	var again []fanfare.Message
	out, err := commit(ctx, c, func(tx fanfare.ControlTx) (*reply[resumedView], error) {
		again = nil
		known, err := switched(tx)
		if err != nil {
			return nil, err
		}
		v := resumedView{Messages: []string{}, Kept: []keptView{}}
		var rest []switchedOff
		for _, k := range known {
			m, err := tx.Message(k.Message)
			if errors.Is(err, fanfare.ErrNotFound) || err == nil && m.Generation != k.Generation {
				continue
			} else if err != nil {
				return nil, err
			}
			l, there := looked[k.Message]
			if !there { // paused meanwhile
				return nil, fanfare.ErrConflict
			}
			if l.why != nil {
				rest, v.Kept = append(rest, k), append(v.Kept, keptView{string(k.Message), l.why.Code, l.why.Detail})
				continue
			}
			next, verdict, err := fanfare.TransitionIn(tx, m, resumed(&m, tx.Now()), func(m *fanfare.Message) { m.Provider = cmp.Or(m.Provider, l.provider) })
			if errors.Is(err, fanfare.ErrState) || err == nil && verdict == fanfare.Same {
				continue
			} else if err != nil {
				return nil, err
			}
			if err := c.audit(tx, "message."+string(fanfare.EventResume), string(next.ID), "resume_all"); err != nil {
				return nil, err
			}
			again = append(again, next)
			v.Messages = append(v.Messages, string(k.Message))
		}
		if err := keepSwitched(tx, rest); err != nil {
			return nil, err
		}
		return ok(v), c.audit(tx, "resume_all", "", itoa(len(v.Messages)))
	})
	s.movedAll(ctx, c, err, again)
	return out, err
}

func (s *Server) movedAll(ctx context.Context, c *call, err error, all []fanfare.Message) {
	if err != nil {
		return
	}
	for _, m := range all {
		s.moved(ctx, c, m)
	}
}

func switched(v fanfare.ControlView) (known []switchedOff, err error) {
	raw, err := v.Setting(settingSwitch)
	if errors.Is(err, fanfare.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	err = json.Unmarshal(raw, &known)
	return known, err
}

func keepSwitched(tx fanfare.ControlTx, known []switchedOff) error {
	raw, err := json.Marshal(known)
	if err != nil {
		return err
	}
	return tx.PutSetting(settingSwitch, raw)
}
