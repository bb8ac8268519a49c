package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// Uptime returns for how long the machine has been running, with the time in which it slept: what
// [Since] and timers leave out. Nobody can set it.
func Uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Since(start) // an old kernel, which does not count sleep
	}
	return time.Duration(ts.Nano())
}

var start = time.Now()
