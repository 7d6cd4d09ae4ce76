package bench

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"fanfare/cmd/fanfare/spawn"
)

// cpu adds up what processes have used.
func cpu(of ...*spawn.Process) (sum time.Duration, err error) {
	for _, p := range of {
		d, e := p.CPU()
		sum, err = sum+d, errors.Join(err, e)
	}
	return sum, err
}

// ownCPU is what this process has used.
func ownCPU() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // cannot fail for oneself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
