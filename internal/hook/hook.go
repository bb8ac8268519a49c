package hook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/process"
)

// ErrTimeout is wrapped by the error of a command that did not end in time.
var ErrTimeout = errors.New("it did not end in time and was stopped")

// Hook is a command line for a shell.
type Hook struct {
	Name    string // what the user calls it: "--before"
	Line    string // empty: nothing is run
	Timeout time.Duration
}

// Error is a hook that failed.
type Error struct {
	Hook Hook
	Err  error // what os/exec says, or ErrTimeout
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s (%s) failed: %v", e.Hook.Name, e.Hook.Line, e.Err)
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// ours are the variables that tell hooks how a run went.
var ours = []string{
	"KURA_HOOK", "KURA_RESULT", "KURA_EXIT_CODE", "KURA_ERROR", "KURA_SNAPSHOT", "KURA_SECONDS",
	"KURA_FILES", "KURA_BYTES", "KURA_BYTES_ADDED", "KURA_BYTES_STORED", "KURA_ERRORS",
}

// isOurs reports whether a variable is one of another run, in a hook of which this one runs.
func isOurs(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return slices.Contains(ours, name)
}

// Run runs the command with variables added to the environment, and waits for it. It is ended when ctx is. The error is an
// Error, or that of ctx.
func (h Hook) Run(ctx context.Context, vars map[string]string) error {
	if h.Line == "" {
		return nil
	}
	argv, err := process.Shell(h.Line)
	if err != nil {
		return &Error{h, err}
	}
	limited := ctx
	if h.Timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, h.Timeout)
		defer cancel()
	}
	cmd := process.New(limited, argv)
	cmd.Stdout = cmd.Stderr
	cmd.Env = slices.DeleteFunc(cmd.Env, isOurs)
	for name, value := range vars {
		cmd.Env = append(cmd.Env, name+"="+strings.ReplaceAll(value, "\x00", ""))
	}
	err = cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case limited.Err() != nil:
		err = fmt.Errorf("%w (after %v)", ErrTimeout, h.Timeout)
	}
	return &Error{h, err}
}
