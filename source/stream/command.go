package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kura-backup/kura/internal/process"
)

// Command is a running command. It is not safe for concurrent use.
type Command struct {
	cmd    *process.Command
	cancel context.CancelFunc
	out    io.ReadCloser
}

// Start starts a program. Its standard error is this process's. It is ended when ctx is cancelled, first
// with SIGTERM.
func Start(ctx context.Context, command []string) (*Command, error) {
	if len(command) == 0 || command[0] == "" {
		return nil, errors.New("stream: no command")
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := process.New(ctx, command)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return &Command{cmd: cmd, cancel: cancel, out: out}, nil
}

// Output is what the command writes.
func (c *Command) Output() io.Reader { return c.out }

// Wait waits until the command has ended, when all of its output was read. It returns nil only if
// the command says that all went well.
func (c *Command) Wait() error {
	defer c.cancel()
	return c.cmd.Wait()
}

// Stop ends the command early.
func (c *Command) Stop() {
	c.cancel()
	_ = c.cmd.Wait() // ended by us
}

// CommandError is a command that failed, so that nothing it has written is kept.
type CommandError struct {
	Command []string
	Err     error // what os/exec says
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("stream: command %q failed: %v. Nothing was saved", strings.Join(e.Command, " "), e.Err)
}

// Unwrap returns the reason.
func (e *CommandError) Unwrap() error { return e.Err }
