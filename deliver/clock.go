package deliver

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// bootClock tells CLOCK_BOOTTIME, which runs on while the machine sleeps, where Go's monotonic clock stands still. It is read before
// every send, and a system call may take longer than such a send: so the monotonic clock is used from one true reading to the next.
// That the machine slept meanwhile shows by the wall clock, which then went on alone; so does a step of the wall clock, which costs one more reading.
type bootClock struct {
	start time.Time
	last  atomic.Pointer[bootReading]
}

// bootReading is one true reading.
type bootReading struct {
	boot  Instant
	mono  time.Duration // since start
	ahead time.Duration // the wall clock before the monotonic one
}

const (
	readBootEvery = 100 * time.Millisecond
	wallSlack     = time.Millisecond
)

// BootClock gives a clock that runs on while the machine sleeps.
func BootClock() func() Instant { return newBootClock().now }

func newBootClock() *bootClock { return &bootClock{start: time.Now()} }

// elapsed gives both clocks since the start.
func (c *bootClock) elapsed() (mono, ahead time.Duration) {
	t := time.Now()
	mono = t.Sub(c.start)
	return mono, time.Duration(t.UnixNano()-c.start.UnixNano()) - mono
}

func (c *bootClock) now() Instant {
	mono, ahead := c.elapsed()
	r := c.last.Load()
	if r != nil && mono-r.mono < readBootEvery && (ahead-r.ahead).Abs() < wallSlack {
		return r.boot.After(mono - r.mono)
	}
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return Never // no lease of ours holds then: nothing is sent
	}
	r = &bootReading{ // mono is from before the call: this clock may be early, so a lease ends early, never late
		boot: Instant(time.Duration(t.Nano())), mono: mono, ahead: ahead,
	}
	c.last.Store(r)
	return r.boot
}
