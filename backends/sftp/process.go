package sftp

import (
	"bytes"
	"fmt"
	"io"
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

// process is a running ssh. It is safe for concurrent use.
type process struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     io.ReadCloser
	said    *tail
	done    chan struct{} // closed when it has ended
	waitErr error         // set before done is closed

	killing sync.Once
}

// startProcess starts ssh, in a process group of its own: Ctrl-C is for us to hear, and ours to decide what
// becomes of the connections. If mayAsk, it has the terminal until handBack is called.
func startProcess(argv []string, mayAsk bool) (p *process, handBack func(), err error) {
	p = &process{cmd: exec.Command(argv[0], argv[1:]...), said: new(tail), done: make(chan struct{})}
	p.cmd.Stderr = p.said
	// A process that ssh leaves behind, such as the master of shared connections, may keep its outputs open.
	p.cmd.WaitDelay = termGrace
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, nil, err
	}
	if p.out, err = p.cmd.StdoutPipe(); err != nil {
		return nil, nil, err
	}
	if handBack, err = startApart(p.cmd, mayAsk); err != nil {
		return nil, nil, err
	}
	go func() {
		p.waitErr = p.cmd.Wait()
		close(p.done)
	}()
	return p, handBack, nil
}

// end ends the process, and waits for that. ssh is asked to, as it may have changed the terminal to ask
// something.
func (p *process) end() {
	p.in.Close()
	terminate(p.cmd.Process, false)
	if !p.ended(termGrace) {
		p.kill()
	}
}

// kill ends a process that speaks with the server, and waits for that.
func (p *process) kill() {
	p.killing.Do(func() {
		p.in.Close()
		terminate(p.cmd.Process, true)
	})
	<-p.done
}

// close lets the process end by itself, if it does so soon.
func (p *process) close() {
	p.in.Close()
	if !p.ended(closeGrace) {
		p.end()
	}
}

func (p *process) ended(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// failure is what there is to say about a connection that failed with err, after the process has ended.
func (p *process) failure(err error) *ConnectionError {
	<-p.done
	said := p.said.String()
	if p.waitErr != nil {
		err = fmt.Errorf("%w (%s: %w)", err, p.cmd.Args[0], p.waitErr)
	}
	return &ConnectionError{Err: err, Said: said, denied: isInVain(said)}
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
	var lines []string
	for line := range bytes.Lines(t.buf) {
		if l := strings.TrimSpace(printable(line)); l != "" {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines[max(0, len(lines)-lastLines):], "; ")
}

// lastLines is about the length of ssh's longest message with a point, that about a changed host key.
const lastLines = 12

func printable(line []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return -1
		}
		return r
	}, string(line))
}
