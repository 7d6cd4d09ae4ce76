package api

import (
	"context"
	"math"
	"sync"
	"time"

	"fanfare"
)

// The times of progress.
const (
	progressFresh = 250 * time.Millisecond // for which an answer is shared by all who ask
	progressKept  = 10 * time.Minute       // after which nobody asks any more
	rateSpan      = 5 * time.Second        // over which the rate is taken
)

type countsView struct {
	Audience     int `json:"audience" doc:"sent + failed + skipped + uncertain + remaining + in_flight"`
	Planned      int `json:"planned"`
	Sent         int `json:"sent"`
	Failed       int `json:"failed"`
	Skipped      int `json:"skipped"`
	Uncertain    int `json:"uncertain"`
	Remaining    int `json:"remaining"`
	InFlight     int `json:"in_flight"`
	Doubted      int `json:"doubted" doc:"Ever in doubt: who may have got two."`
	Delivered    int `json:"delivered"`
	Bounced      int `json:"bounced"`
	Complained   int `json:"complained"`
	Unsubscribed int `json:"unsubscribed" doc:"By a link of this message; each person once."`
	Seen         int `json:"seen"`
	Read         int `json:"read"`
	Clicked      int `json:"clicked"`
}

type batchesView struct {
	Total int `json:"total"`
	Done  int `json:"done"`
}

type progressView struct {
	Status      int          `json:"status"`
	Phase       string       `json:"phase"`
	PauseReason *string      `json:"pause_reason"`
	Outcome     *string      `json:"outcome"`
	Counts      countsView   `json:"counts"`
	Balanced    bool         `json:"balanced"`
	Rate        float64      `json:"rate_per_second"`
	ETA         *float64     `json:"eta_seconds"`
	Batches     batchesView  `json:"batches"`
	Waiting     *waitingView `json:"waiting"`
}

// sums are a message's counts as its slots have them.
type sums struct {
	tally    fanfare.Tally
	parts    map[fanfare.Part]int
	balanced bool
	at       time.Time
	took     time.Duration
}

// progressBook keeps what was counted last, so that a hundred watchers cost as much as one.
type progressBook struct {
	mu  sync.Mutex
	all map[fanfare.MessageNum]*watched // guarded by mu
}

// watched is one message that somebody looks at.
type watched struct {
	asked time.Time // guarded by the book's mu

	mu      sync.Mutex // guards what follows, held while counting
	sums    sums
	state   fanfare.State // of the message, as of sums
	samples []sample
	shown   progressView // the last answer
	shownAt time.Time
}

type sample struct {
	at   time.Time
	over int // sent, failed and uncertain
}

func (b *progressBook) open() { b.all = make(map[fanfare.MessageNum]*watched) }

func (b *progressBook) of(n fanfare.MessageNum, now time.Time) *watched {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.all[n]
	if w == nil {
		for other, old := range b.all {
			if now.Sub(old.asked) > progressKept {
				delete(b.all, other)
			}
		}
		w = &watched{}
		b.all[n] = w
	}
	w.asked = now
	return w
}

// stale makes the next answer count anew: somebody changed what no sending changes, and was told so.
func (b *progressBook) stale(n fanfare.MessageNum) {
	b.mu.Lock()
	w := b.all[n]
	b.mu.Unlock()
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sums.at = time.Time{}
}

// count gives progress. The counts are at most a quarter of a second old, or four times as old as it took to take them; the phase is
// as it is now.
func (s *Server) count(ctx context.Context, id string) (progressView, *watched, error) {
	m, why, err := s.read(ctx, id)
	if err != nil {
		return progressView{}, nil, err
	}
	w := s.progress.of(m.Num, time.Now())
	w.mu.Lock()
	defer w.mu.Unlock()
	err = s.countIn(ctx, w, &m, why)
	return w.shown, w, err
}

// follow gives progress to a stream: all that follow a message share one look at it.
func (s *Server) follow(ctx context.Context, id string, w *watched) (progressView, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.shownAt) < progressFresh {
		return w.shown, nil
	}
	m, why, err := s.read(ctx, id)
	if err == nil {
		err = s.countIn(ctx, w, &m, why)
	}
	return w.shown, err
}

// countIn counts if what is known is too old. It holds the message's lock: who comes meanwhile gets the same answer.
func (s *Server) countIn(ctx context.Context, w *watched, m *fanfare.Message, why *fanfare.WaitingFor) error {
	now := time.Now()
	done := m.Phase.Final() && w.state == m.State && w.sums.tally.Uncertain == 0 // nothing moves any more; receipts settle the uncertain
	fresh := w.state == m.State && now.Sub(w.sums.at) < max(progressFresh, 4*w.sums.took)
	if w.sums.at.IsZero() || !done && !fresh {
		next, err := s.sum(ctx, m.Num)
		if err != nil {
			return err
		}
		next.at, next.took = time.Now(), time.Since(now)
		if w.state != m.State { // a pause is no slowness
			w.samples = nil
		}
		w.sums, w.state = next, m.State
		w.note()
	}
	receipts, err := s.receiptCounts(ctx, m.Num) // however often somebody asks: a mark that was answered is counted in the next answer
	if err != nil {
		return err
	}
	w.shown, w.shownAt = s.progressOf(m, w, why), now
	k := &w.shown.Counts
	k.Delivered, k.Bounced, k.Complained = receipts[fanfare.ReceiptDelivered], receipts[fanfare.ReceiptBounced], receipts[fanfare.ReceiptComplained]
	k.Unsubscribed = receipts[fanfare.ReceiptUnsubscribed]
	k.Seen, k.Read, k.Clicked = receipts[fanfare.ReceiptSeen], receipts[fanfare.ReceiptRead], receipts[fanfare.ReceiptClicked]
	return nil
}

// sum adds the slots up. A slot that is frozen between its two reads is read again.
func (s *Server) sum(ctx context.Context, n fanfare.MessageNum) (sums, error) {
	total := sums{parts: make(map[fanfare.Part]int), balanced: true}
	for i := range s.Store.Slots() {
		slot := fanfare.Slot(i) //nolint:gosec // slots fit
		var parts map[fanfare.Part]int
		var tally fanfare.Tally
		for range 2 {
			var err error
			if parts, err = s.Store.Parts(ctx, n, slot); err != nil {
				return total, err
			}
			if tally, err = s.Store.Tally(ctx, n, slot); err != nil {
				return total, err
			}
			if tally.N == parts[fanfare.PartSend] {
				break
			}
		}
		total.balanced = total.balanced && tally.Balanced(parts[fanfare.PartSend])
		total.tally.Add(tally)
		for name, k := range parts {
			total.parts[name] += k
		}
	}
	return total, nil
}

// note keeps a sample, those of the span, and the last one before it: whoever asks seldom is told the mean since the last question.
func (w *watched) note() {
	t := &w.sums.tally
	at := sample{w.sums.at, t.Sent + t.Failed + t.Uncertain}
	for len(w.samples) > 1 && at.at.Sub(w.samples[1].at) > rateSpan {
		w.samples = w.samples[1:]
	}
	w.samples = append(w.samples, at)
}

// rate is how many got their answer a second, lately.
func (w *watched) rate() float64 {
	if len(w.samples) < 2 {
		return 0
	}
	first, last := w.samples[0], w.samples[len(w.samples)-1]
	span := last.at.Sub(first.at).Seconds()
	if span <= 0 {
		return 0
	}
	return float64(last.over-first.over) / span
}

func (s *Server) progressOf(m *fanfare.Message, w *watched, why *fanfare.WaitingFor) progressView {
	t := &w.sums.tally
	v := progressView{Status: int(m.Phase.Status()), Phase: string(m.Phase), PauseReason: text(string(m.PauseReason)), Outcome: text(string(m.Outcome)),
		Waiting: s.view(m, why).Waiting, Batches: batchesView{Total: t.Batches, Done: t.Done}}
	k := countsView{Planned: w.sums.parts[fanfare.PartSend], Sent: t.Sent, Failed: t.Failed, Skipped: t.Skipped, Uncertain: t.Uncertain, Remaining: t.Pending,
		InFlight: t.InFlight, Doubted: t.Doubted}
	for name, n := range w.sums.parts {
		k.Audience += n
		if name != fanfare.PartSend {
			k.Skipped += n
		}
	}
	if m.Phase == fanfare.PhaseCancelled || m.Phase == fanfare.PhaseExpired { // who remained is skipped, though no row says so
		k.Skipped += k.Remaining
		k.Remaining = 0
	}
	v.Counts = k
	v.Balanced = w.sums.balanced && k.Audience == k.Sent+k.Failed+k.Skipped+k.Uncertain+k.Remaining+k.InFlight
	if m.Phase == fanfare.PhaseSending {
		rate := w.rate()
		v.Rate = tenths(rate)
		if left := k.Remaining + k.InFlight; rate > 0 {
			eta := tenths(float64(left) / rate)
			v.ETA = &eta
		}
	}
	return v
}

func tenths(f float64) float64 { return math.Round(f*10) / 10 }
