package fanfare

// State is what the state machine knows of a message.
type State struct {
	Phase       Phase
	Generation  Generation
	PauseReason PauseReason // set while pausing and paused
	PausedFrom  Phase       // where resume goes back to: scheduled, preparing or sending; set while pausing and paused
	Ending      Phase       // cancelled or expired; set while cancelling
	Reopens     bool        // a scope is yet to be added to what remains: until then nobody is sent to; also while pausing and paused
}

// Event is what happens to a message.
type Event string

// The events.
const (
	EventSchedule    Event = "schedule"     // start of a draft that has a time or an event to wait for
	EventStart       Event = "start"        // a person starts it now
	EventDue         Event = "due"          // its time has come
	EventDueLate     Event = "due_late"     // its time passed longer ago than start_grace
	EventPause       Event = "pause"        // a person pauses it
	EventResume      Event = "resume"       // a person resumes what remains
	EventResumeDue   Event = "resume_due"   // the same, and its send_at has passed
	EventResumeScope Event = "resume_scope" // a person resumes the failed or the uncertain
	EventCancel      Event = "cancel"       // a person cancels it
	EventExpire      Event = "expire"       // not_after has passed
	EventFrozen      Event = "frozen"       // all slots are frozen
	EventReopened    Event = "reopened"     // whoever the scope means remains again in all slots
	EventDrained     Event = "drained"      // no claim lives and every latch row carries the generation
	EventAllDone     Event = "all_done"     // no slot has an unfinished batch
	EventRefused     Event = "refused"      // too many permanent refusals in a row
	EventDamaged     Event = "damaged"      // only held batches are left
	EventRestored    Event = "restored"     // the restore guard
)

// Events lists all events.
func Events() []Event {
	return []Event{EventSchedule, EventStart, EventDue, EventDueLate, EventPause, EventResume, EventResumeDue, EventResumeScope,
		EventCancel, EventExpire, EventFrozen, EventReopened, EventDrained, EventAllDone, EventRefused, EventDamaged, EventRestored}
}

// Verdict says what the state machine makes of an event.
type Verdict int

// The verdicts.
const (
	Refused Verdict = iota // 409: not in this state
	Same                   // 200: it is there already, nothing changes
	Moved                  // the state changes
)

// Next is the state machine of messages: the only place that decides a transition. A store carries the answer out in one
// statement guarded by the former phase and generation. Pause, resume and cancel raise the generation.
//
//	          schedule          due, start            frozen             all_done
//	draft ──────────────> scheduled ──────> preparing ──────> sending ──────────────> completed
//	  │ start                │  │ late, pause  │ │ pause        │ │ pause, refused,      │
//	  └──────────────────────┼──┼──────────────┤ │              │ │ damaged, restored    │ resume failed
//	                         │  └────> paused <┼─┘   drained    │ v                      │ or uncertain:
//	                         │          │  ^   │  ┌──────────── pausing                  │ sending
//	          resume: where it was <────┘  └───┼──┘             │ │                      v
//	                         │ cancel,         │ cancel         │ │ cancel, not_after
//	                         v not_after       v                v v          drained
//	                      cancelled or expired  <──────────── cancelling
//
// A scope leads to sending with Reopens, which only reopened ends: all slots have it then.
func Next(s State, e Event) (State, Verdict) {
	switch s.Phase {
	case PhaseDraft:
		switch e {
		case EventSchedule:
			return s.to(PhaseScheduled)
		case EventStart:
			return s.to(PhasePreparing)
		case EventCancel:
			return s.raise().to(PhaseCancelled)
		}
	case PhaseScheduled, PhasePreparing:
		return nextUnsent(s, e)
	case PhaseSending:
		return nextSending(s, e)
	case PhasePausing, PhasePaused:
		return nextPaused(s, e)
	case PhaseCancelling:
		switch e {
		case EventCancel, EventExpire, EventRestored:
			return s, Same
		case EventDrained:
			return s.to(s.Ending)
		}
	case PhaseCompleted:
		if e == EventResumeScope {
			return s.raise().reopen()
		}
	case PhaseCancelled, PhaseExpired:
		if e == EventCancel {
			return s, Same
		}
	}
	return s, Refused
}

func nextUnsent(s State, e Event) (State, Verdict) {
	switch e {
	case EventStart:
		if s.Phase == PhasePreparing {
			return s, Same
		}
		return s.to(PhasePreparing)
	case EventDue:
		if s.Phase == PhaseScheduled {
			return s.to(PhasePreparing)
		}
	case EventDueLate:
		if s.Phase == PhaseScheduled {
			return s.pause(PhasePaused, PauseLate)
		}
	case EventPause:
		return s.pause(PhasePaused, PauseOperator)
	case EventRestored:
		return s.pause(PhasePaused, PauseRestored)
	case EventResume, EventResumeDue:
		if s.Phase == PhasePreparing {
			return s, Same
		}
	case EventFrozen:
		if s.Phase == PhasePreparing {
			return s.to(PhaseSending)
		}
	case EventCancel:
		return s.raise().to(PhaseCancelled)
	case EventExpire:
		return s.raise().to(PhaseExpired)
	}
	return s, Refused
}

func nextSending(s State, e Event) (State, Verdict) {
	switch e {
	case EventStart, EventResume, EventResumeDue:
		return s, Same
	case EventPause:
		return s.pause(PhasePausing, PauseOperator)
	case EventRefused:
		return s.pause(PhasePausing, PauseRefused)
	case EventDamaged:
		return s.pause(PhasePausing, PauseDamaged)
	case EventRestored:
		return s.pause(PhasePausing, PauseRestored)
	case EventCancel:
		return s.end(PhaseCancelled)
	case EventExpire:
		return s.end(PhaseExpired)
	case EventReopened:
		if s.Reopens {
			s.Reopens = false
			return s, Moved
		}
	case EventAllDone:
		if !s.Reopens {
			return s.to(PhaseCompleted)
		}
	}
	return s, Refused
}

func nextPaused(s State, e Event) (State, Verdict) {
	from := s.PausedFrom
	switch e {
	case EventPause, EventRestored:
		return s, Same
	case EventResume:
		return s.raise().to(from)
	case EventResumeDue:
		if from == PhaseScheduled {
			from = PhasePreparing
		}
		return s.raise().to(from)
	case EventResumeScope:
		if from == PhaseSending {
			return s.raise().reopen()
		}
	case EventCancel:
		if s.Phase == PhasePausing {
			return s.end(PhaseCancelled)
		}
		return s.raise().to(PhaseCancelled)
	case EventExpire:
		if s.Phase == PhasePausing {
			return s.end(PhaseExpired)
		}
		return s.raise().to(PhaseExpired)
	case EventDrained:
		if s.Phase == PhasePausing {
			s.Phase = PhasePaused
			return s, Moved
		}
	}
	return s, Refused
}

func (s State) to(p Phase) (State, Verdict) {
	return State{Phase: p, Generation: s.Generation, Reopens: s.Reopens && p == PhaseSending}, Moved
}

func (s State) reopen() (State, Verdict) {
	return State{Phase: PhaseSending, Generation: s.Generation, Reopens: true}, Moved
}

func (s State) raise() State {
	s.Generation++
	return s
}

func (s State) pause(p Phase, why PauseReason) (State, Verdict) {
	return State{Phase: p, Generation: s.Generation + 1, PauseReason: why, PausedFrom: s.Phase, Reopens: s.Reopens}, Moved
}

func (s State) end(as Phase) (State, Verdict) {
	return State{Phase: PhaseCancelling, Generation: s.Generation + 1, Ending: as}, Moved
}
