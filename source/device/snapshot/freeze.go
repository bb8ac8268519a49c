package snapshot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
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

// frozen is a file system that is frozen, or going to be, with the watchdog that thaws it if this process does not.
type frozen struct {
	place
	dog     *exec.Cmd
	ended   chan error // of the watchdog: has an element when it has
	tell    io.WriteCloser
	longest time.Duration
	begun   time.Time // when the watchdog was told that its time counts
	since   time.Time
	over    bool // the watchdog was waited for
}

// Watchdog says how the process is started that thaws what this one does not.
type Watchdog struct {
	Args    []string      // with which this program, and one more argument, calls RunWatchdog
	Longest time.Duration // after which it thaws
	Stderr  *os.File      // for what it has to say; nil is nowhere
}

// watched starts the watchdogs of file systems that are going to be frozen. To start a program takes its time, and nobody has to wait for
// it yet. Each has to be dismissed.
func (all places) watched(ctx context.Context, w Watchdog) (out []*frozen, err error) {
	for _, p := range all {
		f := &frozen{place: p, ended: make(chan error, 1), longest: w.Longest}
		if err := f.watch(ctx, w); err != nil {
			return out, err
		}
		out = append(out, f)
	}
	return out, nil
}

// freeze freezes the file system. After an error it is not frozen.
func (f *frozen) freeze(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f.begun = clock.Now()
	if err := f.say(watchdogBegin); err != nil {
		return fmt.Errorf("snapshot: the watchdog of %s is dead: %w", f.at, err)
	}
	f.since = clock.Now()
	if err := ioctl(f.dir, fiFreeze, nil); err != nil {
		_ = f.say(watchdogIdle) // if it is dead, waiting for it says so
		return fmt.Errorf("snapshot: freezing %s: %w", f.at, err)
	}
	// Writing what was dirty takes as long as it takes: the time may be over, or nobody watching any more.
	select {
	case err := <-f.ended:
		f.ended <- err
		_, thawErr := f.thaw()
		return errors.Join(fmt.Errorf("snapshot: the watchdog of %s is dead", f.at), thawErr)
	default:
	}
	if f.late() {
		_, err := f.thaw()
		return err
	}
	return nil
}

// late reports whether the time is over, and the watchdog at work.
func (f *frozen) late() bool { return clock.Since(f.begun) >= f.longest }

// watch starts the watchdog and waits until it is ready.
func (f *frozen) watch(ctx context.Context, w Watchdog) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// It must outlive this context: it ends when it is told to, when its input ends, or when it has thawed.
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
	go func() { f.ended <- f.dog.Wait() }() // which dismiss waits for
	if err == nil && strings.TrimSpace(line) != watchdogReady {
		err = fmt.Errorf("it said %.80q", line)
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("snapshot: the watchdog: %w", err), f.dismiss())
	}
	return nil
}

// thaw thaws the file system and returns how long it was frozen. If it was not any more, or for too long, that is ErrThawed.
func (f *frozen) thaw() (time.Duration, error) {
	if f.late() {
		return f.thawLate()
	}
	err := ioctl(f.dir, fiThaw, nil)
	held := clock.Since(f.since)
	word := watchdogThawed
	switch {
	case errors.Is(err, unix.EINVAL):
		err = fmt.Errorf("%w: %s", ErrThawed, f.at)
	case err != nil:
		err = fmt.Errorf("snapshot: thawing %s: %w", f.at, err)
		word = watchdogLate // then the watchdog tries it, too
	}
	_ = f.say(word) // if it is dead, waiting for it says so
	return held, err
}

// thawLate leaves it to the watchdog, which has done it already, or does it now: if somebody else has frozen the file system since
// then, that is not for this process to undo.
func (f *frozen) thawLate() (time.Duration, error) {
	_ = f.say(watchdogLate)
	err := f.dismiss()
	if err != nil { // it is dead
		if thawErr := ioctl(f.dir, fiThaw, nil); thawErr != nil && !errors.Is(thawErr, unix.EINVAL) {
			err = errors.Join(err, fmt.Errorf("snapshot: thawing %s: %w", f.at, thawErr))
		}
	}
	return clock.Since(f.since), errors.Join(fmt.Errorf("%w: %s, after %v", ErrThawed, f.at, f.longest), err)
}

// say tells the watchdog something.
func (f *frozen) say(word string) error {
	_, err := io.WriteString(f.tell, word+"\n")
	return err
}

// dismiss waits for the end of the watchdog, which has nothing more to hear.
func (f *frozen) dismiss() error {
	if f.over {
		return nil
	}
	f.over = true
	_ = f.tell.Close()
	if err := <-f.ended; err != nil {
		return fmt.Errorf("snapshot: the watchdog of %s: %w", f.at, err)
	}
	return nil
}
