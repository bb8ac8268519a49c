package snapshot

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrOverflow is returned for a copy that is no longer one: there was no room for what has changed meanwhile.
	ErrOverflow = errors.New("snapshot: the snapshot is full and no longer valid")
	// ErrPool is returned when there is no room left in the thin pool that a copy is in: nobody can write to its volumes.
	ErrPool = errors.New("snapshot: the thin pool is full")
	// ErrProvider is returned for a kind of snapshot that does not exist, or not for this device.
	ErrProvider = errors.New("snapshot: can not be made this way")
	// ErrFreeze is returned for a file system that must not be frozen.
	ErrFreeze = errors.New("snapshot: must not be frozen")
	// ErrThawed is returned when the file system was not frozen any more when the copies were there.
	ErrThawed = errors.New("snapshot: the file system was thawed too early")
	// ErrLock is returned when the command that holds the lock fails, or ends too early.
	ErrLock = errors.New("snapshot: the command that takes the lock has failed")
	// ErrLease is returned for a lease that can not be understood.
	ErrLease = errors.New("snapshot: not a lease")
)

// CommandError is a command that failed.
type CommandError struct {
	Command []string
	Output  string // what it said on standard error: the first line, or the last of one that had begun its work
	Err     error

	all string // everything that it said, up to maxOutput
}

func (e *CommandError) Error() string {
	text := fmt.Sprintf("snapshot: %s: %v", strings.Join(e.Command, " "), e.Err)
	if e.Output != "" {
		text += ": " + e.Output
	}
	return text
}

func (e *CommandError) Unwrap() error { return e.Err }
