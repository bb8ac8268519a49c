package testserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const redisVar = "KURA_TEST_REDIS"

// Redis is a running redis-server on a socket, with a folder of its own. It is safe for concurrent use, but for Stop and
// Start.
type Redis struct {
	Dir    string // where it saves
	Socket string

	server  string
	base    string
	args    []string
	program *process
}

// RedisServer is the path of the server that the environment names (KURA_TEST_REDIS), or of the system's. Without any the
// test is skipped.
func RedisServer(t testing.TB) string {
	t.Helper()
	path := os.Getenv(redisVar)
	if path == "" {
		path = "redis-server"
	}
	path, err := exec.LookPath(path)
	if err != nil {
		t.Skipf("%v; `make apt` installs it", err)
	}
	return path
}

// NewRedis starts a redis-server for one test, which saves only when it is told to and listens to a socket alone unless the
// arguments, as on its command line, say otherwise.
func NewRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	r := &Redis{server: RedisServer(t), args: args}
	// Not t.TempDir: a socket's path must be short.
	var err error
	if r.base, err = os.MkdirTemp("", "kura-redis-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(r.base) })
	r.Dir, r.Socket = filepath.Join(r.base, "data"), filepath.Join(r.base, "s")
	if err := os.Mkdir(r.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.Start(t)
	t.Cleanup(r.kill)
	return r
}

// Start starts the server again after Stop or Kill, with further arguments.
func (r *Redis) Start(t testing.TB, args ...string) {
	t.Helper()
	all := append([]string{
		"--port", "0", "--unixsocket", r.Socket, "--dir", r.Dir, "--save", "", "--enable-debug-command", "yes",
		"--repl-diskless-sync-delay", "0",
	}, r.args...)
	var err error
	if r.program, err = start(r.base, r.server, append(all, args...), nil); err != nil {
		t.Fatalf("testserver: %v", err)
	}
	if err := r.program.await(r.ready); err != nil {
		r.kill()
		t.Fatalf("testserver: %v", err)
	}
}

// ready reports whether the server answers and has loaded its data. What it answers to those that it does not know is good
// enough.
func (r *Redis) ready(ctx context.Context) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", r.Socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprint(c, "PING\r\n"); err != nil {
		return err
	}
	_ = c.SetReadDeadline(deadline(ctx))
	buf := make([]byte, 128)
	n, err := c.Read(buf)
	if err != nil {
		return err
	}
	if answer := string(buf[:n]); !strings.HasPrefix(answer, "+PONG") && !strings.HasPrefix(answer, "-NOAUTH") && !strings.HasPrefix(answer, "-NOPERM") {
		return errors.New(answer)
	}
	return nil
}

func deadline(ctx context.Context) time.Time {
	t, _ := ctx.Deadline()
	return t
}

// Stop ends the server without saving anything.
func (r *Redis) Stop() { r.kill() }

// Signal sends the server a signal.
func (r *Redis) Signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := r.program.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// Pid is the server's process.
func (r *Redis) Pid() int { return r.program.cmd.Process.Pid }

func (r *Redis) kill() {
	if r.program != nil {
		r.program.stop()
		r.program = nil
	}
	_ = os.Remove(r.Socket) // a new one is waited for
}
