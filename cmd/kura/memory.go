package main

import (
	"os"
	"runtime/debug"
)

// What the program may use of memory. Bytes in flight are bounded by the repository's budget of 96 MiB;
// these bound what the collector lets pile up beside them, so that the process stays under 200 MiB of
// anonymous memory.
const (
	gcPercent   = 50
	memoryLimit = 180 << 20 // a soft limit: the collector works harder as it comes near
)

// tuneMemory sets the collector's targets, unless the user has set them.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
