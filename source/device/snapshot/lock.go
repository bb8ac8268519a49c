package snapshot

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/clock"
)

// The lock's command runs this program as a holder, which lives as long as the lock is wanted. The two find each other through
// a socket that an environment variable names: commands pass on their environment, though seldom open files.
const envHolder = "KURA_LOCK_SOCKET"

// envPrefix is what variables begin with by which a lock's command says something of itself, such as coordinates.
const envPrefix = "KURA_"

// maxSaid bounds what a lock's command says of itself.
const maxSaid = 16 << 10

// lockTime is how long the command may take to get its lock, if it has no limit of its own.
const lockTime = 10 * time.Minute

// hold is a lock that a command holds.
type hold struct {
	cmd   *exec.Cmd
	done  chan error
	conn  net.Conn
	dir   string
	since time.Time
	said  map[string]string
}

// lock takes the lock, or returns nil if there is none to take.
func (t *Taker) lock(ctx context.Context) (_ *hold, err error) {
	if t.Lock == "" {
		return nil, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kura-lock-")
	if err != nil {
		return nil, err
	}
	h := &hold{dir: dir, done: make(chan error, 1)}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "socket")})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	defer listener.Close()
	h.cmd = exec.Command("/bin/sh", append([]string{"-c", t.Lock + ` "$@"`, "lock", self}, t.Holder...)...)
	h.cmd.Env = append(os.Environ(), envHolder+"="+listener.Addr().String())
	if t.Stderr != nil {
		h.cmd.Stdout, h.cmd.Stderr = t.Stderr, t.Stderr
	}
	h.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := h.cmd.Start(); err != nil {
		return nil, errors.Join(&CommandError{Command: []string{t.Lock}, Err: err}, os.RemoveAll(dir))
	}
	go func() { // ends with the command
		h.done <- h.cmd.Wait()
		_ = listener.Close()
	}()
	if err := h.wait(ctx, listener); err != nil {
		return nil, errors.Join(err, h.end())
	}
	h.since = clock.Now()
	return h, nil
}

// wait waits until the holder says that the lock is held.
func (h *hold) wait(ctx context.Context, listener *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	if err := listener.SetDeadline(clock.Now().Add(lockTime)); err != nil {
		return err
	}
	conn, err := listener.AcceptUnix()
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: the lock was not there: %w", ErrLock, err)
	}
	h.conn = conn
	if err := conn.SetDeadline(clock.Now().Add(patience)); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(conn, maxSaid)).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &h.said)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLock, err)
	}
	for _, v := range os.Environ() { // what it was given, such as passwords, is nothing that it says
		name, _, _ := strings.Cut(v, "=")
		delete(h.said, saidName(name))
	}
	return conn.SetDeadline(time.Time{})
}

// release lets go of the lock, and returns how long it was held. If it was given up meanwhile, or the command does not end well, that is an error.
func (h *hold) release(well bool) (time.Duration, error) {
	word := "failed"
	if well {
		word = holderDone
	}
	_, err := fmt.Fprintln(h.conn, word)
	held := clock.Since(h.since)
	if err != nil {
		err = fmt.Errorf("%w: the lock was given up meanwhile: %w", ErrLock, err)
	}
	if ended := h.end(); ended != nil && well {
		err = errors.Join(err, ended)
	}
	return held, err
}

// end waits for the command.
func (h *hold) end() (err error) {
	if h.conn != nil {
		_ = h.conn.Close()
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err = <-h.done:
	case <-timer.C:
		_ = unix.Kill(-h.cmd.Process.Pid, unix.SIGTERM)
		select {
		case err = <-h.done:
		case <-time.After(patience):
			_ = unix.Kill(-h.cmd.Process.Pid, unix.SIGKILL)
			err = <-h.done
		}
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrLock, err)
	}
	return errors.Join(err, os.RemoveAll(h.dir))
}

const holderDone = "done"

// saidName is what a variable is called in what is said of the lock: mysql_gtid for KURA_MYSQL_GTID.
func saidName(variable string) string {
	return strings.ToLower(strings.TrimPrefix(variable, envPrefix))
}

// RunHolder is what the lock's command runs while it holds the lock. It returns an error if the copies could not be made, so that
// the command knows.
func RunHolder() error {
	conn, err := net.Dial("unix", os.Getenv(envHolder))
	if err != nil {
		return fmt.Errorf("snapshot: the holder of a lock is not for people: %w", err)
	}
	defer conn.Close()
	said := map[string]string{}
	for _, v := range os.Environ() {
		if name, value, ok := strings.Cut(v, "="); ok && strings.HasPrefix(name, envPrefix) && name != envHolder {
			said[saidName(name)] = value
		}
	}
	if err := json.NewEncoder(conn).Encode(said); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if strings.TrimSpace(line) != holderDone {
		return errors.Join(errors.New("snapshot: what was to be done under the lock has failed"), err)
	}
	return nil
}
