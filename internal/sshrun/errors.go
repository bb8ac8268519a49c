package sshrun

import (
	"errors"
	"fmt"
)

var (
	// ErrConnection is wrapped by every [*ConnectionError].
	ErrConnection = errors.New("sshrun: no connection")

	// ErrMachine is wrapped by the error about a machine for which this program was not made.
	ErrMachine = errors.New("sshrun: the program is not for that machine")

	// ErrFolder is wrapped by the error about a machine on which there is no folder for the program.
	ErrFolder = errors.New("sshrun: there is no folder for the program")

	// ErrUpload is wrapped by the error about a program that did not arrive there as it is here.
	ErrUpload = errors.New("sshrun: the program did not arrive")

	// ErrBusy is wrapped by the error about an earlier connection whose program does not end.
	ErrBusy = errors.New("sshrun: what was cut off there has not ended")

	// ErrShell is wrapped by the error about a machine that runs something else in place of commands.
	ErrShell = errors.New("sshrun: no shell answers there")

	// errNoise is wrapped by the error about a shell that prints and prints.
	errNoise = fmt.Errorf("it printed more than %d KiB before the first command ran", noiseLimit>>10)

	// errSilent is wrapped by the error about a machine from which nothing came, and which took nothing, for too long.
	errSilent = errors.New("sshrun: nothing has moved")
)

// ConnectionError is a connection that was not established, or broke before the program ran. It wraps [ErrConnection].
type ConnectionError struct {
	Machine Machine
	Err     error
	Said    string // what ssh printed last
}

func (e *ConnectionError) Error() string {
	if e.Said != "" {
		return fmt.Sprintf("no connection to %v: ssh says: %s", e.Machine, e.Said)
	}
	return fmt.Sprintf("no connection to %v: %v", e.Machine, e.Err)
}

// Unwrap keeps the cause to itself: that ssh was not found is not that a file was not.
func (e *ConnectionError) Unwrap() error { return ErrConnection }

// InVain reports whether another attempt would end the same way.
func (e *ConnectionError) InVain() bool { return IsInVain(e.Said) }
