package sshrun

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	closeGrace = 3 * time.Second // for ssh to end by itself once its input is closed
	termGrace  = time.Second     // and once it was asked to
	saidLimit  = 4 << 10
)

// Process is a running ssh. It is safe for concurrent use.
type Process struct {
	In  io.WriteCloser // what it reads
	Out io.ReadCloser  // what it prints

	cmd     *exec.Cmd
	said    *tail
	done    chan struct{}
	waitErr error // set before done is closed

	killing sync.Once
}

// StartProcess starts ssh, in a process group of its own: Ctrl-C is for us to hear, and ours to decide what
// becomes of the connections. If mayAsk, it has the terminal until handBack is called.
func StartProcess(argv []string, mayAsk bool) (p *Process, handBack func(), err error) {
	p = &Process{cmd: exec.Command(argv[0], argv[1:]...), said: new(tail), done: make(chan struct{})} //nolint:gosec // ssh, or what the user has named
	p.cmd.Stderr = p.said
	// A process that ssh leaves behind, such as the master of shared connections, may keep its outputs open.
	p.cmd.WaitDelay = termGrace
	if p.In, err = p.cmd.StdinPipe(); err != nil {
		return nil, nil, err
	}
	// Not StdoutPipe, of which Wait would take away what has not been read yet.
	out, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	p.Out, p.cmd.Stdout = out, w
	handBack, err = startApart(p.cmd, mayAsk)
	_ = w.Close() // it is the command's
	if err != nil {
		_ = out.Close() // nothing was read
		return nil, nil, err
	}
	go func() {
		p.waitErr = p.cmd.Wait()
		close(p.done)
	}()
	return p, handBack, nil
}

// Pid is the process's.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// End ends the process, and waits for that. ssh is asked to, as it may have changed the terminal to ask
// something.
func (p *Process) End() {
	_ = p.In.Close() // it may be closed
	terminate(p.cmd.Process, false)
	if !p.ended(termGrace) {
		p.Kill()
	}
	_ = p.Out.Close() // whoever else has the other end
}

// Kill ends a process that speaks with the server, with all that it has started, and waits for that. What it has printed can not
// be read any more.
func (p *Process) Kill() {
	p.killing.Do(func() {
		_ = p.In.Close() // it may be closed
		terminate(p.cmd.Process, true)
	})
	<-p.done
	_ = p.Out.Close() // whoever else has the other end
}

// Close lets the process end by itself, if it does so soon.
func (p *Process) Close() { p.closeWithin(closeGrace) }

func (p *Process) closeWithin(grace time.Duration) {
	_ = p.In.Close() // it may be closed
	if !p.ended(grace) {
		p.End()
	}
	_ = p.Out.Close() // whoever else has the other end
}

func (p *Process) ended(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// Failure waits for the end of the process, and returns what it printed last and err, with how it ended.
func (p *Process) Failure(err error) (said string, _ error) {
	<-p.done
	if p.waitErr != nil {
		err = fmt.Errorf("%w (%s: %w)", err, p.cmd.Args[0], p.waitErr)
	}
	return p.said.String(), err
}

// tail keeps the end of what is written to it. It is safe for concurrent use.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - saidLimit; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
	return len(p), nil
}

// String returns the last lines on one, without what could play tricks with a terminal.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return onOneLine(t.buf)
}

// lastLines is about the length of ssh's longest message with a point, that about a changed host key.
const lastLines = 12

func onOneLine(text []byte) string {
	var lines []string
	for line := range bytes.Lines(text) {
		if l := strings.TrimSpace(printable(line)); l != "" {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines[max(0, len(lines)-lastLines):], "; ")
}

func printable(line []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffd {
			return -1
		}
		return r
	}, string(line))
}

// inVain are messages of ssh after which another attempt would end the same way. What start-up files there print comes beside them, and may be
// that they were denied something else.
var inVain = []string{
	"Permission denied (", "Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED", "Too many authentication failures",
	"subsystem request failed", "Bad configuration option", "no such identity", "unknown option", "Bad port", "usage: ssh",
}

// IsInVain reports whether ssh would fail again after what it has said.
func IsInVain(said string) bool {
	for _, message := range inVain {
		if strings.Contains(said, message) {
			return true
		}
	}
	return false
}
