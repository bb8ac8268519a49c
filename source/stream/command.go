package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/process"
)

// silence is for how long nothing may come of a command that has ended, while something that it has started keeps its
// output open.
var silence = 10 * time.Second

// errHeldOpen is a command's output that does not end, though the command has.
var errHeldOpen = errors.New("the command has ended, but something that it has started in the background keeps its output open")

// Command is a running command. It is not safe for concurrent use.
type Command struct {
	cmd    *process.Command
	cancel context.CancelFunc
	out    *os.File

	waiting sync.WaitGroup
	ended   chan struct{} // closed when the command has ended and err is set
	err     error
}

// Start starts a program. Its standard error is this process's. It is ended when ctx is cancelled, first
// with SIGTERM.
func Start(ctx context.Context, command []string) (*Command, error) {
	if len(command) == 0 || command[0] == "" {
		return nil, errors.New("stream: no command")
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	widen(out)
	ctx, cancel := context.WithCancel(ctx)
	c := &Command{cmd: process.New(ctx, command), cancel: cancel, out: out, ended: make(chan struct{})}
	c.cmd.Stdout = in
	err = c.cmd.Start()
	_ = in.Close() // the command has its own
	if err != nil {
		cancel()
		_ = out.Close() // nothing was read
		return nil, err
	}
	c.waiting.Go(func() {
		c.err = c.cmd.Wait()
		_ = out.SetReadDeadline(clock.Now()) // a read that waits looks again
		close(c.ended)                       // not before that: reads set a deadline of their own then
	})
	return c, nil
}

// Output is what the command writes.
func (c *Command) Output() io.Reader { return (*output)(c) }

// output is what a command writes. Its end comes when all have closed it that have it open; that of a command that has
// ended may be open in a daemon, for ever.
type output Command

// Read is of io.Reader.
func (o *output) Read(p []byte) (int, error) {
	for {
		over := false
		select {
		case <-o.ended:
			over = true
			_ = o.out.SetReadDeadline(clock.Now().Add(silence)) // a pipe has deadlines
		default:
		}
		n, err := o.out.Read(p)
		switch {
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return n, err
		case over:
			return n, errHeldOpen
		case n > 0:
			return n, nil
		}
	}
}

// Wait waits until the command has ended, when all of its output was read. It returns nil only if
// the command says that all went well.
func (c *Command) Wait() error {
	defer c.cancel()
	c.waiting.Wait()
	_ = c.out.Close() // was only read
	return c.err
}

// Stop ends the command early.
func (c *Command) Stop() {
	c.cancel()
	_ = c.Wait() // ended by us
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
