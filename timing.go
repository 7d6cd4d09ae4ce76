package fanfare

import (
	"math"
	"time"
)

// The times of the design (§3, §4).
const (
	LeaseTime     = 30 * time.Second       // by the database's clock
	HolderTime    = 25 * time.Second       // as the holder counts, from before the statement left
	RenewEvery    = 10 * time.Second       // a claim without another record is renewed
	LookEvery     = 250 * time.Millisecond // a node reads all message rows
	LookValid     = 750 * time.Millisecond // and may send on a look this old at most
	RepublishTime = 10 * time.Second       // what nobody claimed within is published again
	RateWindow    = 200 * time.Millisecond
	GraceTime     = 10 * time.Second // what is under way may end when a node stops
)

// Window gives the number of the rate window that holds t.
func Window(t time.Time) int64 { return t.UnixMilli() / RateWindow.Milliseconds() }

// Permits is what window w of a rate of r a second grants: ⌊(w+1)·r/5⌋ − ⌊w·r/5⌋, so that any rate is met.
func Permits(w int64, r float64) int {
	if r <= 0 {
		return 0
	}
	// w·r is about 8e9·r: whole windows of five are taken out first, so that the difference keeps its precision.
	const windows = 5 * 60 * 60 * 24
	w %= windows
	return int(math.Floor(float64(w+1)*r/5) - math.Floor(float64(w)*r/5))
}

// Delay is how long the member waits after its attempt-th temporary refusal (from 1): First × 4 each, at most Most, ± 20 % by seed.
func (r Retry) Delay(attempt int, seed uint64) time.Duration {
	d := r.First
	for range attempt - 1 {
		if d >= r.Most {
			break
		}
		d *= 4
	}
	d = min(d, r.Most)
	h := (seed + uint64(attempt)) * 0x9E3779B97F4A7C15 //nolint:gosec // a hash
	h ^= h >> 29
	h *= 0xBF58476D1CE4E5B9
	h ^= h >> 32
	share := float64(h%4001)/10000 - 0.2
	return d + time.Duration(float64(d)*share)
}

// DefaultRetry is the schedule of a provider that names none.
func DefaultRetry() Retry { return Retry{Attempts: 6, First: 5 * time.Second, Most: time.Hour} }
