package fanfare

// Status is the field's four numbers of a message.
type Status int

// The statuses.
const (
	NotStarted Status = 0
	Sending    Status = 1
	Paused     Status = 2
	Done       Status = 3
)

// Phase says more than [Status]. The table of transitions is in [Next].
type Phase string

// The phases.
const (
	PhaseDraft      Phase = "draft"
	PhaseScheduled  Phase = "scheduled"
	PhasePreparing  Phase = "preparing"
	PhaseSending    Phase = "sending"
	PhasePausing    Phase = "pausing"
	PhaseCancelling Phase = "cancelling"
	PhasePaused     Phase = "paused"
	PhaseCompleted  Phase = "completed"
	PhaseCancelled  Phase = "cancelled"
	PhaseExpired    Phase = "expired"
)

// Phases lists all phases in the order of a message's life.
func Phases() []Phase {
	return []Phase{PhaseDraft, PhaseScheduled, PhasePreparing, PhaseSending, PhasePausing, PhaseCancelling, PhasePaused,
		PhaseCompleted, PhaseCancelled, PhaseExpired}
}

// Status gives the phase's status; an unknown phase counts as done, so that nothing is sent for it.
func (p Phase) Status() Status {
	switch p {
	case PhaseDraft, PhaseScheduled, PhasePreparing:
		return NotStarted
	case PhaseSending:
		return Sending
	case PhasePausing, PhaseCancelling, PhasePaused:
		return Paused
	default:
		return Done
	}
}

// Final says whether the phase is one of status 3: nothing is sent any more.
func (p Phase) Final() bool { return p.Status() == Done }

// Slot gives what the latch rows (message_slots) carry while the message is in this phase.
func (p Phase) Slot() SlotPhase {
	switch p {
	case PhasePreparing:
		return SlotPreparing
	case PhaseSending, PhaseCompleted:
		return SlotSending
	default:
		return SlotStopped
	}
}

// SlotPhase is the phase as a latch row carries it. Within one generation it only rises.
type SlotPhase int

// The phases of a latch row.
const (
	SlotPreparing SlotPhase = 1
	SlotSending   SlotPhase = 2
	SlotStopped   SlotPhase = 3
)

// PauseReason says why a message is pausing or paused.
type PauseReason string

// The reasons of a pause.
const (
	PauseOperator PauseReason = "operator"
	PauseLate     PauseReason = "late"
	PauseRestored PauseReason = "restored"
	PauseRefused  PauseReason = "refused"
	PauseDamaged  PauseReason = "damaged"
)

// Outcome sums up a message that is done.
type Outcome string

// The outcomes.
const (
	AllSent       Outcome = "all_sent"
	WithFailures  Outcome = "with_failures"
	WithUncertain Outcome = "with_uncertain"
)

// Result is what became of an item; exactly one at a time.
type Result string

// The results.
const (
	ResultPending   Result = "pending"
	ResultInFlight  Result = "in_flight"
	ResultSent      Result = "sent"
	ResultFailed    Result = "failed"
	ResultSkipped   Result = "skipped"
	ResultUncertain Result = "uncertain"
)

// Results lists all results.
func Results() []Result {
	return []Result{ResultPending, ResultInFlight, ResultSent, ResultFailed, ResultSkipped, ResultUncertain}
}

// Reason says why an item failed, was skipped or is uncertain.
type Reason string

// The reasons. Of failed: permanent, temporary_exhausted, technical, settled (a person said so). Of uncertain: interrupted (the process died, or the lease
// or a commit was lost), no_answer (the provider's answer never came). Of a pending retry: temporary. The others: of skipped.
const (
	ReasonPermanent          Reason = "permanent"
	ReasonTemporaryExhausted Reason = "temporary_exhausted"
	ReasonTechnical          Reason = "technical"
	ReasonSettled            Reason = "settled"
	ReasonTemporary          Reason = "temporary"
	ReasonInterrupted        Reason = "interrupted"
	ReasonNoAnswer           Reason = "no_answer"
	ReasonUnsubscribed       Reason = "unsubscribed"
	ReasonBounced            Reason = "bounced"
	ReasonComplained         Reason = "complained"
	ReasonSuppressed         Reason = "suppressed"
	ReasonErased             Reason = "erased"
	ReasonNoAddress          Reason = "no_address"
	ReasonDuplicateAddress   Reason = "duplicate_address"
	ReasonMissingField       Reason = "missing_field"
	ReasonInvalid            Reason = "invalid"
	ReasonFiltered           Reason = "filtered"
	ReasonExpired            Reason = "expired"
	ReasonCancelled          Reason = "cancelled"
)

// Waiting says why a message that is sending or scheduled does not move.
type Waiting string

// The reasons to wait.
const (
	WaitProviderDown Waiting = "provider_down"
	WaitRate         Waiting = "rate"
	WaitShard        Waiting = "shard"
	WaitJournal      Waiting = "journal"
	WaitBackoff      Waiting = "backoff"
	WaitTrigger      Waiting = "trigger" // of one that is scheduled: for an event, or another message
)
