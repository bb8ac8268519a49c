package process

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Patience is how long a command that was asked to end may take.
const Patience = 5 * time.Second

// Command is a command to be started with Start, and waited for with Wait, after which it has ended. When its context is
// cancelled it gets SIGTERM, and SIGKILL after Patience. Where there is no terminal it has a process group of its own, and
// both go to all of that; at a terminal an interrupt reaches all of them anyway, and in a group of its own it could not
// ask for a password. It is not safe for concurrent use.
type Command struct {
	*exec.Cmd
	ctx   context.Context // of the run
	group bool
}

// New returns a command. Its standard error is this process's.
func New(ctx context.Context, argv []string) *Command {
	c := &Command{ctx: ctx, Cmd: exec.CommandContext(ctx, argv[0], argv[1:]...)} //nolint:gosec // what the user has asked for
	c.Stderr = os.Stderr
	c.WaitDelay = Patience
	if c.group = !hasTerminal(); c.group {
		c.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	}
	c.Cancel = func() error { return c.signal(unix.SIGTERM) }
	return c
}

// hasTerminal reports whether this process has a controlling terminal.
var hasTerminal = sync.OnceValue(func() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = f.Close() // nothing was written
	return true
})

func (c *Command) signal(s unix.Signal) error {
	if c.group {
		return unix.Kill(-c.Process.Pid, s)
	}
	return c.Process.Signal(s)
}

// endGroup ends what an ended command has left behind. A shell ends at once when it is asked to, while what it has started may
// still be putting things in order: that has the same time as the command.
func (c *Command) endGroup() {
	const step = 20 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	for range Patience / step {
		if unix.Kill(-c.Process.Pid, 0) != nil {
			return // there is nobody
		}
		<-tick.C
	}
	_ = unix.Kill(-c.Process.Pid, unix.SIGKILL)
}

// Wait waits until the command has ended, and returns nil only if it says that all went well.
func (c *Command) Wait() error {
	err := c.Cmd.Wait()
	if c.group && c.ctx.Err() != nil {
		c.endGroup()
	}
	return err
}

// Run starts the command and waits for it.
func (c *Command) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}
