package deliver

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime runs on while the machine sleeps; Go's monotonic clock stands still then.
func bootTime() Instant {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0 // no lease of ours holds at 0: nothing is sent
	}
	return Instant(time.Duration(t.Nano()))
}
