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
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/process"
)

// The lock's command runs this program as a holder, which lives as long as the lock is wanted. The two find each other through
// a socket in a folder that an environment variable names: commands pass on their environment, though seldom open files.
const envHolder = "KURA_LOCK_SOCKET"

// envLongest says for how many milliseconds the holder holds the lock at most. It leaves by itself, whatever the run that wants it is
// doing: some of what is done under a lock can not be ended, and a run that hangs ends nothing.
const envLongest = "KURA_LOCK_LONGEST"

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
	name, opened, err := shortName(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	defer opened.Close()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: name})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	defer listener.Close()
	listener.SetUnlinkOnClose(false) // it goes with its folder
	h.cmd = exec.Command("/bin/sh", append([]string{"-c", t.Lock + ` "$@"`, "lock", self}, t.Holder...)...)
	h.cmd.Env = append(
		process.Environ(), envHolder+"="+dir, envLongest+"="+strconv.FormatInt(t.Watchdog.Longest.Milliseconds(), 10),
	)
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

// shortName returns a name for the socket in a folder, which is good while the folder is open: names of sockets have 107 bytes at
// most, and folders for temporary files may be anywhere.
func shortName(dir string) (string, *os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/socket", f.Fd()), f, nil
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
	name, opened, err := shortName(os.Getenv(envHolder))
	if err != nil {
		return fmt.Errorf("snapshot: the holder of a lock is not for people: %w", err)
	}
	defer opened.Close()
	conn, err := net.Dial("unix", name)
	if err != nil {
		return fmt.Errorf("snapshot: the holder of a lock is not for people: %w", err)
	}
	defer conn.Close()
	longest, err := strconv.ParseInt(os.Getenv(envLongest), 10, 32)
	if err != nil || longest <= 0 {
		return fmt.Errorf("snapshot: the holder of a lock is not for people: %q", os.Getenv(envLongest))
	}
	if err := json.NewEncoder(conn).Encode(saidBy(os.Environ())); err != nil {
		return err
	}
	if err := conn.SetDeadline(clock.Now().Add(time.Duration(longest) * time.Millisecond)); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: it was not held for longer than %d ms", ErrLock, longest)
	case strings.TrimSpace(line) != holderDone:
		return errors.Join(errors.New("snapshot: what was to be done under the lock has failed"), err)
	}
	return nil
}

// saidBy is what a lock's command says of itself in the environment. What it says is kept with the snapshot, where everybody can read it who can
// read the repository: nothing that it may have from a file of settings, such as passwords.
func saidBy(environ []string) map[string]string {
	said := map[string]string{}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		what, ours := strings.CutPrefix(name, envPrefix)
		if ours && name != envHolder && name != envLongest && !isSetting(what) && !hasUser(value) {
			said[saidName(name)] = value
		}
	}
	return said
}

// settings are what the names of settings of this program begin with, behind KURA_.
var settings = []string{"REPOSITORY", "FROM_", "CACHE_DIR", "CACERT", "S3_", "TLS_"}

// secrets are what the names of variables have in them that nobody should read.
var secrets = []string{"PASS", "PWD", "SECRET", "TOKEN", "KEY", "CREDENTIAL"}

func isSetting(name string) bool {
	name = strings.ToUpper(name)
	return slices.ContainsFunc(settings, func(s string) bool { return strings.HasPrefix(name, s) }) ||
		slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(name, s) })
}

// hasUser reports whether a value is a URL with a user, and with it a password.
func hasUser(value string) bool {
	_, rest, isURL := strings.Cut(value, "://")
	host, _, _ := strings.Cut(rest, "/")
	return isURL && strings.Contains(host, "@")
}
