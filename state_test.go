package fanfare_test

import (
	"testing"

	"fanfare"
)

// TestAScopeIsAddedBeforeAnybodyIsSentTo: from completed and from a pause while sending; until it is added nothing completes the message,
// a pause keeps it, and an end drops it.
func TestAScopeIsAddedBeforeAnybodyIsSentTo(t *testing.T) {
	is := func(s fanfare.State, e fanfare.Event, want fanfare.State, verdict fanfare.Verdict) fanfare.State {
		t.Helper()
		next, v := fanfare.Next(s, e)
		if v != verdict || verdict == fanfare.Moved && next != want {
			t.Errorf("%s of %+v: %+v, verdict %d; want %+v, %d", e, s, next, v, want, verdict)
		}
		return next
	}
	none := fanfare.State{}
	reopening := fanfare.State{Phase: fanfare.PhaseSending, Generation: 5, Reopens: true}
	is(fanfare.State{Phase: fanfare.PhaseCompleted, Generation: 4}, fanfare.EventResumeScope, reopening, fanfare.Moved)
	for _, p := range []fanfare.Phase{fanfare.PhasePausing, fanfare.PhasePaused} {
		s := fanfare.State{Phase: p, Generation: 4, PauseReason: fanfare.PauseRefused, PausedFrom: fanfare.PhaseSending}
		is(s, fanfare.EventResumeScope, reopening, fanfare.Moved)
		s.PausedFrom = fanfare.PhaseScheduled
		is(s, fanfare.EventResumeScope, none, fanfare.Refused)
	}
	for _, p := range []fanfare.Phase{fanfare.PhaseDraft, fanfare.PhaseScheduled, fanfare.PhasePreparing, fanfare.PhaseSending, fanfare.PhaseCancelling, fanfare.PhaseCancelled, fanfare.PhaseExpired} {
		is(fanfare.State{Phase: p, Generation: 4}, fanfare.EventResumeScope, none, fanfare.Refused)
	}
	is(reopening, fanfare.EventAllDone, none, fanfare.Refused)
	is(reopening, fanfare.EventReopened, fanfare.State{Phase: fanfare.PhaseSending, Generation: 5}, fanfare.Moved)
	is(fanfare.State{Phase: fanfare.PhaseSending, Generation: 5}, fanfare.EventReopened, none, fanfare.Refused)
	if reopening.Slot() != fanfare.SlotPreparing {
		t.Error("a slot may be claimed while it is reopened")
	}

	pausing := is(reopening, fanfare.EventPause, fanfare.State{Phase: fanfare.PhasePausing, Generation: 6, PauseReason: fanfare.PauseOperator, PausedFrom: fanfare.PhaseSending, Reopens: true}, fanfare.Moved)
	paused := pausing
	paused.Phase = fanfare.PhasePaused
	is(pausing, fanfare.EventDrained, paused, fanfare.Moved)
	again := reopening
	again.Generation = 7
	is(paused, fanfare.EventResume, again, fanfare.Moved)
	is(paused, fanfare.EventCancel, fanfare.State{Phase: fanfare.PhaseCancelled, Generation: 7}, fanfare.Moved)
	is(pausing, fanfare.EventCancel, fanfare.State{Phase: fanfare.PhaseCancelling, Generation: 7, Ending: fanfare.PhaseCancelled}, fanfare.Moved)
	is(reopening, fanfare.EventExpire, fanfare.State{Phase: fanfare.PhaseCancelling, Generation: 6, Ending: fanfare.PhaseExpired}, fanfare.Moved)
}
