package deliver

import (
	"sync/atomic"

	"fanfare"
)

// sight is one reading of the messages' rows.
type sight struct {
	began  Instant
	states map[fanfare.MessageNum]fanfare.State
}

// sights is the latest reading, for every goroutine that sends.
type sights struct {
	last     atomic.Pointer[sight]
	stopping atomic.Bool
}

// Pass says whether a chunk's items may still leave. Any goroutine may ask it.
type Pass struct {
	sights     *sights
	lease      *atomic.Int64 // Instant until which the holder counts its claim
	message    fanfare.MessageNum
	generation fanfare.Generation
	blind      bool // a rule that a test broke
}

// May says whether one item may leave now: the lease holds, the node is not stopping, and a reading at most 750 ms old shows the
// message sending in the chunk's generation. It is asked immediately before the item's first byte.
func (p *Pass) May(now Instant) bool {
	if p.blind {
		return true
	}
	if p.sights.stopping.Load() || now >= Instant(p.lease.Load()) {
		return false
	}
	s := p.sights.last.Load()
	if s == nil || now.Since(s.began) > fanfare.LookValid {
		return false
	}
	state, ok := s.states[p.message]
	return ok && state.Phase == fanfare.PhaseSending && state.Generation == p.generation
}
