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
// cancelled it and what it has started get SIGTERM, and SIGKILL after WaitDelay, which is Patience. Where there is no terminal it has a process
// group of its own, and both go to all of that. At a terminal it is in the group of this process, since in one of its own it could not
// ask for a password: there its descendants are looked for. What has left the group goes on. It is not safe for concurrent use.
type Command struct {
	*exec.Cmd
	ctx    context.Context // of the run
	group  bool
	family *family // at a terminal, of a command that was asked to end
}

// New returns a command. Its standard error is this process's, and its environment what a command of the user's has (Environ).
func New(ctx context.Context, argv []string) *Command {
	c := &Command{ctx: ctx, Cmd: exec.CommandContext(ctx, argv[0], argv[1:]...)} //nolint:gosec // what the user has asked for
	c.Stderr = os.Stderr
	c.Env = Environ()
	c.WaitDelay = Patience
	if c.group = !hasTerminal(); c.group {
		c.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	}
	c.Cancel = c.end
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

// end asks the command to end, and what it has started. It is over before Wait goes on.
func (c *Command) end() error {
	if c.group {
		return unix.Kill(-c.Process.Pid, unix.SIGTERM)
	}
	c.family = newFamily(c.Process.Pid)
	c.family.signal(unix.SIGTERM) // before their parents are gone, by which they are found
	return c.Process.Signal(unix.SIGTERM)
}

// left sends a signal to what an ended command has left behind, and reports whether there is anything.
func (c *Command) left(s unix.Signal) bool {
	if c.group {
		return unix.Kill(-c.Process.Pid, s) == nil
	}
	return c.family != nil && c.family.signal(s) > 0
}

// endRest ends what an ended command has left behind. A shell ends at once when it is asked to, while what it has started may
// still be putting things in order: that has the same time as the command.
func (c *Command) endRest() {
	const step = 20 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	for range c.WaitDelay / step {
		if !c.left(0) {
			return
		}
		<-tick.C
	}
	c.left(unix.SIGKILL)
}

// Wait waits until the command has ended, and returns nil only if it says that all went well.
func (c *Command) Wait() error {
	err := c.Cmd.Wait()
	if c.ctx.Err() != nil {
		c.endRest()
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
