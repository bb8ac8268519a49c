package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// alter runs a program of LVM that changes something. While it does, all who write to the volume are made to wait, and one that was killed
// then would leave them waiting for ever. So it is never told to end, whatever happens to the context, the terminal or this process: it
// takes as long as it takes.
func alter(ctx context.Context, argv ...string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	said, err := unix.MemfdCreate("lvm", unix.MFD_CLOEXEC) // and no pipe, which would break with this process
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(said), "lvm")
	defer f.Close()
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec // one of LVM's
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := cmd.Run(); err != nil {
		text, _ := io.ReadAll(io.NewSectionReader(f, 0, maxOutput)) // it is in memory
		text = bytes.TrimSpace(text)
		// What comes before the last line is what it has done differently than it was asked to.
		return &CommandError{Command: argv, Output: firstLine(text[bytes.LastIndexByte(text, '\n')+1:]), Err: err}
	}
	return nil
}

// resume lets a volume go on that a program of LVM has left standing still, because somebody else has killed it. It waits so long for LVM to say
// whether it does: for longer where nobody else is kept waiting, since a machine on which programs are killed is a busy one.
func resume(ctx context.Context, name string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	v, err := lvs(ctx, name)
	switch {
	case errors.Is(err, errNoVolume):
		return nil // nobody waits for it
	case err != nil:
		return fmt.Errorf("snapshot: it is not known whether %s stands still: if it does, all who write to it wait until dmsetup resume lets them go on: %w", name, err)
	case !v.suspended():
		return nil
	}
	if err := alter(context.WithoutCancel(ctx), "lvchange", "--refresh", name); err != nil {
		return fmt.Errorf("snapshot: %s STANDS STILL: all who write to it wait until dmsetup resume lets them go on: %w", name, err)
	}
	return nil
}

// untilMade waits until LVM no longer makes a snapshot for a run that is dead: it goes on when that is killed, waiting for others who use the volume
// group maybe, and what it makes would be nobody's.
func untilMade(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, removeTime, errors.New("snapshot: lvcreate is still at work on it"))
	defer cancel()
	for {
		making, err := isMade(name)
		if err != nil || !making {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(removePause):
		}
	}
}

// isMade reports whether lvcreate is at work on a snapshot.
func isMade(name string) (bool, error) {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return false, err
	}
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(text), "\x00")
		if slices.Contains(args, name) && slices.ContainsFunc(args, func(arg string) bool { return filepath.Base(arg) == "lvcreate" }) {
			return true, nil
		}
	}
	return false, nil
}
