package testserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/clock"
)

const (
	startTimeout = 3 * time.Minute
	tryTimeout   = 5 * time.Second
	pollEvery    = 10 * time.Millisecond
	startTries   = 3
)

// process is a running server with its folder.
type process struct {
	dir  string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	log  *os.File
}

// start runs a program until stop is called. It is killed when this process ends in any way.
func start(dir, program string, args, env []string) (*process, error) {
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	p := &process{dir: dir, cmd: exec.Command(program, args...), done: make(chan struct{}), log: log}
	p.cmd.Dir = dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		// The kernel sends the signal when the thread ends that has started the process.
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // it is killed
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		log.Close()
		return nil, err
	}
	return p, nil
}

// asUser returns the command that runs a program as somebody else where this is root, which servers refuse to be.
func asUser(name string, argv ...string) []string { return setUser(name, nil, argv) }

// serveAs is asUser for start. A program that changes its user itself would not be killed when this process ends: the kernel forgets about
// that then.
func serveAs(name string, argv ...string) []string {
	return setUser(name, []string{"--pdeathsig=SIGKILL"}, argv)
}

func setUser(name string, options, argv []string) []string {
	if os.Getuid() != 0 {
		return argv
	}
	group := "nogroup"
	if u, err := user.Lookup(name); err == nil {
		group = u.Gid
	}
	return slices.Concat([]string{"setpriv", "--reuid=" + name, "--regid=" + group, "--clear-groups"}, options, []string{"--"}, argv)
}

// await returns when ready does without an error.
func (p *process) await(ready func(context.Context) error) error {
	for deadline := clock.Now().Add(startTimeout); ; {
		ctx, cancel := context.WithTimeout(context.Background(), tryTimeout)
		err := ready(ctx)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("the server ended: %s", p.tail())
		case <-time.After(pollEvery):
		}
		if clock.Now().After(deadline) {
			return fmt.Errorf("the server does not get ready: %w: %s", err, p.tail())
		}
	}
}

// httpOK asks whether url answers with 200.
func httpOK(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// tail is the end of what the server has printed.
func (p *process) tail() []byte {
	out, err := os.ReadFile(p.log.Name())
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(out[max(0, len(out)-2000):])
}

// stop kills the server; its folder stays.
func (p *process) stop() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	<-p.done
	p.log.Close()
}

// shared is a server that the tests of a binary have in common.
type shared[S any] struct {
	start func() (server S, stop func(), err error)

	mu     sync.Mutex
	users  int
	keep   bool
	on     bool
	server S
	stop   func()
}

func (s *shared[S]) use(t testing.TB) S {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on {
		var err error
		if s.server, s.stop, err = s.start(); err != nil {
			t.Fatalf("testserver: %v", err)
		}
		s.on = true
	}
	s.users++
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.users--
		s.stopUnused()
	})
	return s.server
}

// setKeep says whether the server stays when nobody uses it.
func (s *shared[S]) setKeep(keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep = keep
	s.stopUnused()
}

func (s *shared[S]) stopUnused() {
	if s.on && !s.keep && s.users == 0 {
		s.stop()
		s.on = false
	}
}

// Keep keeps servers running from one test to the next until stop is called.
func Keep() (stop func()) {
	versitygwServer.setKeep(true)
	minioServer.setKeep(true)
	mariadbServer.setKeep(true)
	return func() {
		versitygwServer.setKeep(false)
		minioServer.setKeep(false)
		mariadbServer.setKeep(false)
	}
}
