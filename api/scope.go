package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"fanfare"
	"fanfare/set"
)

// failedReasons are the reasons that scope failed may name.
func failedReasons() []fanfare.Reason {
	return []fanfare.Reason{fanfare.ReasonPermanent, fanfare.ReasonTemporaryExhausted, fanfare.ReasonTechnical, fanfare.ReasonSettled}
}

// scopeOf reads what a resume asks for; nil: what remains.
func scopeOf(in *resumeIn) (*fanfare.Scope, error) {
	if in.Body == nil {
		return nil, nil
	}
	b := in.Body
	var wrong []FieldDetail
	if b.Scope != "failed" && len(b.Reasons) > 0 {
		wrong = append(wrong, FieldDetail{Pointer: "#/reasons", Code: "invalid", Detail: "belongs to scope failed; leave it out"})
	}
	if b.Scope != "uncertain" && b.Again {
		wrong = append(wrong, FieldDetail{Pointer: "#/again", Code: "invalid", Detail: "belongs to scope uncertain; leave it out"})
	}
	s := &fanfare.Scope{Result: fanfare.Result(b.Scope), Again: b.Again}
	for i, name := range b.Reasons {
		if !slices.Contains(failedReasons(), fanfare.Reason(name)) {
			wrong = append(wrong, FieldDetail{Pointer: "#/reasons/" + itoa(i), Code: "unknown_value", Detail: "is no reason of failed; use permanent, temporary_exhausted, technical or settled"})
		}
		s.Reasons = append(s.Reasons, fanfare.Reason(name))
	}
	if len(wrong) > 0 {
		return nil, refuse(wrong...)
	}
	if b.Scope != "failed" && b.Scope != "uncertain" {
		return nil, nil
	}
	return s, nil
}

// resumeScope lets what remains grow by whoever the scope means. The planner adds them, slot by slot, before anybody is sent to.
func (s *Server) resumeScope(ctx context.Context, c *call, m *fanfare.Message, scope fanfare.Scope) (*reply[messageView], error) {
	if m.Phase == fanfare.PhaseCompleted || m.Phase == fanfare.PhasePausing {
		if err := s.ready(ctx, m); err != nil {
			return nil, err
		}
	}
	told := string(scope.Result)
	for _, r := range scope.Reasons {
		told += " " + string(r)
	}
	if scope.Again {
		told += " again"
	}
	var moved fanfare.Message
	verdict := fanfare.Same
	out, err := commit(ctx, c, func(tx fanfare.ControlTx) (*reply[messageView], error) {
		now, w, err := readIn(tx, string(m.ID))
		if err != nil {
			return nil, err
		}
		asked := func(o fanfare.Scope) bool {
			return o.Result == scope.Result && o.Again == scope.Again && slices.Equal(o.Reasons, scope.Reasons)
		}
		if now.Phase == fanfare.PhaseSending && now.Reopens && slices.ContainsFunc(now.Scopes, asked) { // the call came twice
			return s.reply(http.StatusOK, &now, w), nil
		}
		if !now.NotAfter.IsZero() && !tx.Now().Before(now.NotAfter) {
			return nil, conflict("state", "Its not_after has passed, so nothing of it is sent any more. Make another message with the audience {\"message\":%q,\"result\":%q}.", m.ID, scope.Result)
		}
		moved, verdict, err = fanfare.TransitionIn(tx, now, fanfare.EventResumeScope, func(m2 *fanfare.Message) {
			m2.Provider = m.Provider
			m2.Scopes = append(slices.Clone(now.Scopes), scope)
		})
		if err != nil {
			return nil, unmoved(err, &now, "resume of the "+fanfare.Event(scope.Result))
		}
		if err := c.audit(tx, "message."+string(fanfare.EventResumeScope), string(m.ID), told); err != nil {
			return nil, err
		}
		return s.reply(http.StatusOK, &moved, w), nil
	})
	if err == nil && verdict == fanfare.Moved {
		s.moved(ctx, c, moved)
	}
	return out, err
}

type settleIn struct {
	MessagePath
	Body struct {
		As         string   `json:"as" enum:"sent,failed"`
		Recipients []string `json:"recipients,omitempty" nullable:"true" maxItems:"10000" doc:"External ids. null: all whose result is uncertain."`
	}
}

type settledView struct {
	Settled int      `json:"settled" doc:"Items that were uncertain and are not any more."`
	Busy    int      `json:"busy" doc:"Uncertain items whose batch is just being sent: pause the message, or settle again in a moment."`
	Left    []string `json:"left" nullable:"false" doc:"Of the recipients that were named, those whose item is not uncertain, or busy."`
	Outcome *string  `json:"outcome" doc:"Of a message that is done, with what was settled."`
}

// settleMessage takes a person's word for what became of the uncertain.
func (s *Server) settleMessage(ctx context.Context, c *call, in *settleIn) (*reply[settledView], error) {
	m, _, err := s.read(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if m.StartedAt.IsZero() || m.Phase == fanfare.PhasePreparing {
		return nil, conflict("state", "A message that is %s has sent nothing that could be settled.", m.Phase)
	}
	all := in.Body.Recipients == nil
	var who map[fanfare.Slot]*set.Set
	v := settledView{Left: []string{}}
	if !all {
		if who, v.Left, err = s.resolve(ctx, in.Body.Recipients); err != nil {
			return nil, err
		}
	}
	settled := make(map[fanfare.Slot][]fanfare.Seq)
	for n := range s.Store.Slots() {
		slot := fanfare.Slot(n) //nolint:gosec // slots fit
		var seqs []fanfare.Seq
		if !all {
			if who[slot] == nil || who[slot].Empty() {
				continue
			}
			seqs = who[slot].ToArray()
		}
		done, err := fanfare.Settle(ctx, s.Store, &m, slot, fanfare.Result(in.Body.As), seqs)
		if err != nil {
			return nil, err
		}
		settled[slot] = done.Who
		v.Settled += len(done.Who)
		v.Busy += done.Busy
	}
	if !all {
		if v.Left, err = s.left(ctx, in.Body.Recipients, settled); err != nil {
			return nil, err
		}
	}
	s.progress.stale(m.Num)
	if m, err = fanfare.SumUp(ctx, s.Store, m.ID); err != nil {
		return nil, err
	}
	v.Outcome = text(string(m.Outcome))
	defer s.Wake()
	return commit(ctx, c, func(tx fanfare.ControlTx) (*reply[settledView], error) {
		return ok(v), c.audit(tx, "message.settle", in.ID, in.Body.As+": "+itoa(v.Settled))
	})
}

// left names those of ids whose seq is not among the settled.
func (s *Server) left(ctx context.Context, ids []string, settled map[fanfare.Slot][]fanfare.Seq) ([]string, error) {
	left := []string{}
	err := s.eachResolved(ctx, ids, func(slot fanfare.Slot, id string, seq int64) {
		if _, done := slices.BinarySearch(settled[slot], fanfare.Seq(max(seq, 0))); seq < 0 || !done { //nolint:gosec // a store's seq
			left = append(left, id)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(left, strings.Compare)
	return slices.Compact(left), nil
}

// resumeMessage resumes what remains, or more by scope.
func (s *Server) resumeMessage(ctx context.Context, c *call, in *resumeIn) (*reply[messageView], error) {
	scope, err := scopeOf(in)
	if err != nil {
		return nil, err
	}
	m, _, err := s.read(ctx, in.ID)
	if err == nil {
		err = s.resumable(ctx, c, &m)
	}
	if err != nil {
		return nil, err
	}
	if scope != nil {
		return s.resumeScope(ctx, c, &m, *scope)
	}
	return s.happen(ctx, c, in.ID, resumed, func(now *fanfare.Message) { now.Provider = m.Provider })
}
