package fanfare

import (
	"errors"
	"time"
)

// TriggerDue tells when a message that waits for another one is to start: zero while that is not completed. Whoever schedules it, and the
// planner, write that time as its send_at, and from then on it is a message with a time like any other.
func TriggerDue(v ControlView, m *Message) (time.Time, error) {
	if m.Trigger == nil || m.Trigger.After == nil {
		return time.Time{}, nil
	}
	other, err := v.Message(m.Trigger.After.Message)
	if errors.Is(err, ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil || other.Phase != PhaseCompleted {
		return time.Time{}, err
	}
	return other.FinishedAt.Add(time.Duration(m.Trigger.After.DelaySeconds) * time.Second), nil
}

// Waits says whether the message waits for an event or for another message that has not come.
func (m *Message) Waits() bool {
	return m.Trigger != nil && m.SendAt.IsZero() && (m.Phase == PhaseScheduled || m.Phase == PhasePaused && m.PausedFrom == PhaseScheduled)
}
