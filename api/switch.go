package api

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"fanfare"
)

// settingSwitch is the setting that lists what the kill switch paused.
const settingSwitch = "pause_all"

// pauseAll pauses everything in one transaction.
func (s *Server) pauseAll(ctx context.Context, c *call) (*reply[switchView], error) {
	var paused []fanfare.Message
	out, err := commit(ctx, c, func(tx fanfare.ControlTx) (*reply[switchView], error) {
		paused = nil
		ids, err := switched(tx)
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
			paused = append(paused, next)
			v.Messages = append(v.Messages, string(next.ID))
		}
		for _, id := range v.Messages {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		if err := keepSwitched(tx, ids); err != nil {
			return nil, err
		}
		return ok(v), c.audit(tx, "pause_all", "", itoa(len(v.Messages)))
	})
	s.movedAll(ctx, c, err, paused)
	return out, err
}

// resumeAll resumes what pauseAll paused and nobody resumed or cancelled since.
func (s *Server) resumeAll(ctx context.Context, c *call) (*reply[switchView], error) {
	var again []fanfare.Message
	out, err := commit(ctx, c, func(tx fanfare.ControlTx) (*reply[switchView], error) {
		again = nil
		ids, err := switched(tx)
		if err != nil {
			return nil, err
		}
		v := switchView{Messages: []string{}}
		for _, id := range ids {
			m, err := tx.Message(fanfare.MessageID(id))
			if errors.Is(err, fanfare.ErrNotFound) || err == nil && (m.PauseReason != fanfare.PauseOperator || c.sends(&m) != nil) {
				continue
			} else if err != nil {
				return nil, err
			}
			next, verdict, err := fanfare.TransitionIn(tx, m, resumed(&m, tx.Now()), nil)
			if errors.Is(err, fanfare.ErrState) || err == nil && verdict == fanfare.Same {
				continue
			} else if err != nil {
				return nil, err
			}
			again = append(again, next)
			v.Messages = append(v.Messages, id)
		}
		if err := keepSwitched(tx, nil); err != nil {
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

func switched(v fanfare.ControlView) (ids []string, err error) {
	raw, err := v.Setting(settingSwitch)
	if errors.Is(err, fanfare.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	err = json.Unmarshal(raw, &ids)
	return ids, err
}

func keepSwitched(tx fanfare.ControlTx, ids []string) error {
	raw, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	return tx.PutSetting(settingSwitch, raw)
}
