package snapshot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/clock"
)

// What linux/fs.h says, and x/sys does not.
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// frozen is a file system that is frozen, with the watchdog that thaws it if this process does not.
type frozen struct {
	at    string
	dir   *os.File
	dog   *exec.Cmd
	tell  io.WriteCloser
	since time.Time
}

// Watchdog says how the process is started that thaws what this one does not.
type Watchdog struct {
	Args    []string      // with which this program, and one more argument, calls RunWatchdog
	Longest time.Duration // after which it thaws
	Stderr  *os.File      // for what it has to say; nil is nowhere
}

// freeze freezes the file system that is mounted at a place, after a watchdog was started.
func freeze(ctx context.Context, at string, w Watchdog) (_ *frozen, err error) {
	dir, err := os.Open(at)
	if err != nil {
		return nil, err
	}
	f := &frozen{at: at, dir: dir}
	if err := f.watch(ctx, w); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	f.since = clock.Now()
	if err := ioctl(dir, fiFreeze, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot: freezing %s: %w", at, err), f.dismiss("nothing"), dir.Close())
	}
	return f, nil
}

// watch starts the watchdog and waits until it is ready.
func (f *frozen) watch(ctx context.Context, w Watchdog) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// It must outlive this context: it ends when it is told to, when its input ends, or with the time.
	f.dog = exec.Command(self, append(slices.Clone(w.Args), strconv.FormatInt(w.Longest.Milliseconds(), 10))...)
	f.dog.ExtraFiles = []*os.File{f.dir}
	f.dog.SysProcAttr = &unix.SysProcAttr{Setsid: true} // what kills this process with its group does not kill the watchdog
	if w.Stderr != nil {
		f.dog.Stderr = w.Stderr
	}
	ready, err := f.dog.StdoutPipe()
	if err != nil {
		return err
	}
	if f.tell, err = f.dog.StdinPipe(); err != nil {
		return err
	}
	if err := f.dog.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(ready).ReadString('\n')
	if err == nil && strings.TrimSpace(line) != watchdogReady {
		err = fmt.Errorf("it said %.80q", line)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("snapshot: the watchdog: %w", err), f.dismiss("nothing"))
	}
	return nil
}

// thaw thaws the file system and returns how long it was frozen. If it was not any more that is ErrThawed.
func (f *frozen) thaw() (time.Duration, error) {
	err := ioctl(f.dir, fiThaw, nil)
	held := clock.Since(f.since)
	word := watchdogThawed
	switch {
	case errors.Is(err, unix.EINVAL):
		err = fmt.Errorf("%w: %s", ErrThawed, f.at)
	case err != nil:
		err = fmt.Errorf("snapshot: thawing %s: %w", f.at, err)
		word = "failed" // then the watchdog tries it, too
	}
	return held, errors.Join(err, f.dismiss(word), f.dir.Close())
}

// dismiss ends the watchdog.
func (f *frozen) dismiss(word string) error {
	_, _ = io.WriteString(f.tell, word+"\n") // if it is dead, waiting for it says so
	_ = f.tell.Close()
	if err := f.dog.Wait(); err != nil {
		return fmt.Errorf("snapshot: the watchdog of %s: %w", f.at, err)
	}
	return nil
}

// What the watchdog and the process that has started it say to one another.
const (
	watchdogReady  = "ready"
	watchdogThawed = "thawed"
	watchdogIdle   = "nothing"
)

// watchdogFD is what the watchdog finds the mounted folder at.
const watchdogFD = 3

// RunWatchdog is the watchdog: it thaws what is mounted at file descriptor 3 when its input ends without a word, or after
// as many milliseconds as arg says. It returns whether it had to.
func RunWatchdog(arg string, in io.Reader, out io.Writer) (thawed bool, err error) {
	ms, err := strconv.ParseInt(arg, 10, 32)
	if err != nil || ms <= 0 {
		return false, fmt.Errorf("snapshot: the watchdog is not for people: %q", arg)
	}
	dir := os.NewFile(watchdogFD, "the frozen file system")
	var st unix.Stat_t
	if err := unix.Fstat(watchdogFD, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false, errors.New("snapshot: the watchdog has nothing to watch")
	}
	defer dir.Close()
	// Whoever ends the whole group, or session, or service, must not end what undoes the freeze.
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE)
	// What is paged in now need not be read when a file system stands still.
	_ = unix.Mlockall(unix.MCL_CURRENT) // not allowed: as good as it gets
	word := make(chan string, 1)
	go func() { // ends with the process
		line, _ := bufio.NewReader(in).ReadString('\n')
		word <- strings.TrimSpace(line)
	}()
	timer := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer timer.Stop()
	if _, err := fmt.Fprintln(out, watchdogReady); err != nil {
		return false, err
	}
	select {
	case w := <-word:
		if w == watchdogThawed || w == watchdogIdle {
			return false, nil
		}
	case <-timer.C:
	}
	return thawAnyway(dir)
}

// thawAnyway thaws a file system. The freeze may still be under way when the process that has asked for it dies: then it is
// not frozen yet, and will be.
func thawAnyway(dir *os.File) (thawed bool, err error) {
	for range thawTries {
		err = ioctl(dir, fiThaw, nil)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, unix.EINVAL) {
			return false, fmt.Errorf("snapshot: thawing: %w", err)
		}
		time.Sleep(thawPause)
	}
	return false, nil
}

const (
	thawTries = 20
	thawPause = 50 * time.Millisecond
)
