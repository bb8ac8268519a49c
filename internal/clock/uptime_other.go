//go:build !linux

package clock

import "time"

// Uptime returns for how long this process has been running. Where the system has no clock that counts the
// time in which the machine slept, it is left out.
func Uptime() time.Duration { return time.Since(start) }

var start = time.Now()
