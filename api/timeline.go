package api

import (
	"cmp"
	"context"
	"maps"
	"math/bits"
	"slices"
	"time"

	"fanfare"
)

type timelineIn struct {
	MessagePath
	Step string `query:"step" doc:"The width of a point, a whole number of seconds, such as 10s, 1m, 1h, 24h; absent: what gives at most 500 points since the start."`
}

type timelineView struct {
	At     time.Time `json:"at" doc:"When the point begins: a multiple of step since 1970."`
	Sent   int       `json:"sent"`
	Failed int       `json:"failed"`
	Read   int       `json:"read"`
}

// mostPoints bounds a timeline, and so the memory that it takes.
const mostPoints = 5000

// timesAsked is how many people's receipts are read together.
const timesAsked = 4096

func (s *Server) timelineRoute(o operation) {
	o.doc = "Points where something was, oldest first; their sums are the counts of progress. Failed is exact: when each answer was noted. Sent counts a batch (500 people at most; of the inbox 65,536) when the last of it was noted, " +
		"as sent_at of items does; a batch whose content was changed in the middle, at the last note of each revision, about. Read is to the minute, as read now: who took it back is in no point."
	route(s, o, s.timeline)
}

// points counts by time.
type points struct {
	step  time.Duration
	count map[int64]*timelineView
}

func (p *points) add(at time.Time, n int, of func(*timelineView) *int) error {
	if n == 0 {
		return nil
	}
	k := at.Unix() / int64(p.step/time.Second)
	v := p.count[k]
	if v == nil {
		if len(p.count) == mostPoints {
			return refuse(FieldDetail{Parameter: "step", Code: "invalid", Detail: "this step gives more than 5,000 points; ask for a wider one"})
		}
		v = &timelineView{At: time.Unix(k*int64(p.step/time.Second), 0).UTC()}
		p.count[k] = v
	}
	*of(v) += n
	return nil
}

func sentOf(v *timelineView) *int   { return &v.Sent }
func failedOf(v *timelineView) *int { return &v.Failed }
func readOf(v *timelineView) *int   { return &v.Read }

func (s *Server) timeline(ctx context.Context, _ *call, in *timelineIn) (*reply[[]timelineView], error) {
	m, _, err := s.read(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	p := points{count: make(map[int64]*timelineView)}
	if p.step, err = stepOf(in.Step, &m); err != nil {
		return nil, err
	}
	for i := range s.Store.Slots() {
		slot := fanfare.Slot(i) //nolint:gosec // slots fit
		if err := s.sentAndFailed(ctx, &p, &m, slot); err != nil {
			return nil, err
		}
		if err := s.reads(ctx, &p, &m, slot); err != nil {
			return nil, err
		}
	}
	out := slices.SortedFunc(maps.Values(p.count), func(a, b *timelineView) int { return cmp.Compare(a.At.Unix(), b.At.Unix()) })
	all := make([]timelineView, len(out))
	for i, v := range out {
		all[i] = *v
	}
	return ok(all), nil
}

// stepOf reads a step, or chooses one for what there may be to show.
func stepOf(text string, m *fanfare.Message) (time.Duration, error) {
	if text != "" {
		step, err := time.ParseDuration(text)
		if err != nil || step < time.Second || step%time.Second != 0 || step > 366*24*time.Hour {
			return 0, refuse(FieldDetail{Parameter: "step", Code: "invalid", Detail: "must be a duration of whole seconds, such as 10s, 1m or 24h"})
		}
		return step, nil
	}
	steps := []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour}
	for _, step := range steps {
		if m.StartedAt.IsZero() || time.Since(m.StartedAt) <= 500*step {
			return step, nil
		}
	}
	return 7 * 24 * time.Hour, nil
}

func (s *Server) sentAndFailed(ctx context.Context, p *points, m *fanfare.Message, slot fanfare.Slot) error {
	for from := fanfare.BatchNo(0); ; {
		rows, err := s.Store.Batches(ctx, m.Num, slot, from, batchesRead)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		for i := range rows {
			if err := sentByRun(p, m, &rows[i]); err != nil {
				return err
			}
		}
		from = rows[len(rows)-1].Batch + 1
	}
	for e, err := range s.Store.Exceptions(ctx, m.Num, slot, 0) {
		if err == nil && e.Result == fanfare.ResultFailed {
			err = p.add(e.At, 1, failedOf)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sentByRun counts a batch's sent by the revisions that they were sent with, newest first. A run's set holds who was to be sent to by it, so of
// those who failed in it as many others may be counted a revision too late; the sum is the batch's own counter.
func sentByRun(p *points, m *fanfare.Message, b *fanfare.Batch) error {
	left, at := b.Sent, m.StartedAt
	counted := make([]byte, (b.N+7)/8)
	for i := range b.Runs {
		at = b.Runs[i].At
		if i == len(b.Runs)-1 || b.Runs[i].Sent == nil {
			break
		}
		n := 0
		for k, byRank := range b.Runs[i].Sent[:min(len(b.Runs[i].Sent), len(counted))] {
			n += bits.OnesCount8(byRank &^ counted[k])
			counted[k] |= byRank
		}
		n = min(left, n)
		if err := p.add(at, n, sentOf); err != nil {
			return err
		}
		left -= n
	}
	return p.add(at, left, sentOf)
}

func (s *Server) reads(ctx context.Context, p *points, m *fanfare.Message, slot fanfare.Slot) error {
	who, err := s.Store.ReceiptSet(ctx, m.Num, slot, fanfare.ReceiptRead)
	if err != nil {
		return err
	}
	for from := 0; from < who.Len(); from += timesAsked {
		times, err := s.Store.ReceiptTimes(ctx, m.Num, slot, who.SelectRange(nil, from, min(from+timesAsked, who.Len())))
		if err != nil {
			return err
		}
		for i := range times {
			if at := times[i].At(fanfare.ReceiptRead); !at.IsZero() { // not: taken back meanwhile
				if err := p.add(at, 1, readOf); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
