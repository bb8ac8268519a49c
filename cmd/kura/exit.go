package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/lease"
	"github.com/kura-backup/kura/backends/location"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/repo/repair"
	"github.com/kura-backup/kura/retain"
	"github.com/kura-backup/kura/runbook"
	"github.com/kura-backup/kura/seal"
)

// The exit codes. Scripts rely on them.
const (
	exitOK           = 0
	exitError        = 1
	exitUsage        = 2
	exitIncomplete   = 3
	exitDamage       = 4
	exitNoRepository = 10
	exitBusy         = 11
	exitWrongKey     = 12
	exitInterrupted  = 130
)

var (
	errInterrupted = errors.New("interrupted")
	errIncomplete  = errors.New("the snapshot is incomplete")
	errDamageFound = errors.New("damage was found")

	// errHalf marks the error of a restore that had begun to write.
	errHalf = errors.New("files may be half restored")
)

// usageError is a command line that can not be followed.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usage returns a usageError with hints.
func usage(message string, hints ...string) error {
	return withHint(&usageError{errors.New(message)}, hints...)
}

// asUsage makes a usageError of what the command line's own packages say, with hints or those that always fit.
func asUsage(err error, hints ...string) error {
	if errors.As(err, new(*usageError)) {
		return err
	}
	if bad := (*pflag.InvalidValueError)(nil); errors.As(err, &bad) && errors.As(err, new(*strconv.NumError)) {
		wanted := "a whole number"
		if bad.GetFlag().Value.Type() == "bool" {
			wanted = "true or false"
		}
		err = fmt.Errorf("--%s %q is not %s", bad.GetFlag().Name, bad.GetValue(), wanted)
	}
	// cobra's messages have several lines; the first says what is wrong.
	first, _, _ := strings.Cut(err.Error(), "\n")
	if len(hints) == 0 {
		hints = []string{"kura help explains the commands, kura help COMMAND one of them"}
	}
	return usage(first, hints...)
}

// hintError is an error with advice.
type hintError struct {
	err   error
	hints []string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// withHint adds advice to an error: what to do next.
func withHint(err error, hints ...string) error {
	if err == nil || len(hints) == 0 {
		return err
	}
	return &hintError{err, hints}
}

// exitCode says how a run ended. Of several things that went wrong the gravest counts.
func exitCode(ctx context.Context, err error) int {
	var status exitStatus
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &status):
		return int(status)
	case isDamage(err):
		return exitDamage
	case errors.Is(context.Cause(ctx), errInterrupted):
		return exitInterrupted
	case errors.As(err, new(*usageError)), errors.Is(err, location.ErrLocation), errors.Is(err, retain.ErrGroupBy):
		return exitUsage
	case errors.Is(err, repo.ErrWrongKey), errors.Is(err, seal.ErrWrongKey), errors.Is(err, log.ErrWithdrawn):
		return exitWrongKey
	case errors.Is(err, repo.ErrNoRepository), errors.Is(err, backends.ErrNoStore):
		return exitNoRepository
	case errors.Is(err, repo.ErrStale), errors.Is(err, gc.ErrRevoked), errors.Is(err, repair.ErrRevoked),
		errors.Is(err, lease.ErrHeld), errors.Is(err, lease.ErrLost), errors.Is(err, log.ErrRotated), errors.Is(err, repo.ErrRotating),
		errors.Is(err, runbook.ErrBusy), errors.Is(err, runbook.ErrStillRunning):
		return exitBusy
	case errors.Is(err, errHook):
		return exitError
	case errors.Is(err, errIncomplete), errors.Is(err, runbook.ErrStays):
		return exitIncomplete
	}
	return exitError
}

// isDamage reports whether stored data is not what was written, which is not said of what is not understood. A history that was rolled back or
// exchanged is: what was written later is missing.
func isDamage(err error) bool {
	return errors.Is(err, errDamageFound) || errors.Is(err, log.ErrRollback) ||
		(errors.As(err, new(*repo.DamageError)) || errors.As(err, new(*log.DamageError))) && !errors.Is(err, wire.ErrNewer)
}

// explain returns an error's message and what to do next.
func explain(code int, err error) (message string, hints []string) {
	message = withoutPackages(err.Error())
	var h *hintError
	for e := err; errors.As(e, &h); e = h.err {
		hints = append(hints, h.hints...)
	}
	if code == exitInterrupted && !errors.Is(err, log.ErrOutcomeUnknown) && !errors.Is(err, errLeft) {
		if errors.Is(err, errHalf) {
			return "interrupted", []string{"the same command completes it; until then files that it was writing over, which have mode 1600, can be half old and half new"}
		}
		return "interrupted", []string{"nothing needs repair; run the command again when you like"}
	}
	if errors.Is(err, seal.ErrNoKey) { // the rest of the message says it better
		message = strings.TrimSuffix(message, ": "+withoutPackages(seal.ErrNoKey.Error()))
	}
	if len(hints) > 0 {
		return message, hints
	}
	var damage *repo.DamageError
	switch {
	case errors.Is(err, log.ErrRollback):
	case errors.Is(err, log.ErrOutcomeUnknown):
		hints = []string{"look at kura snapshots: the change may have arrived; if not, run the command again"}
	case errors.Is(err, wire.ErrNewer):
		hints = []string{newerHint}
	case errors.As(err, &damage) && strings.HasPrefix(damage.Object, "index/"):
		hints = []string{"kura repair index makes it again from the packs; no data is lost by this"}
	case code == exitDamage:
		hints = []string{"kura check --read-data finds out how much is damaged; keep the repository as it is until then"}
	case errors.Is(err, lease.ErrHeld):
		hints = []string{"into this repository one client at a time can write: wait until that one has ended", "if it is dead, kura unlock takes the lease from it; otherwise that ends by itself, 24 hours after it was seen"}
	case code == exitBusy:
		hints = []string{"run the command again"}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		hints = []string{"make room there and run the command again; nothing needs repair"}
	case errors.Is(err, syscall.EROFS):
		hints = []string{"mount it writable; a repository that can only be read is enough for snapshots, ls, restore and check"}
	case errors.Is(err, fs.ErrPermission):
		hints = []string{"run the command as a user who may do this"}
	case code == exitError && backends.KindOf(err) != backends.Permanent:
		hints = []string{"is the address right, and are network and server up? nothing needs repair; run the command again"}
	case errors.Is(err, seal.ErrNoKey):
		hints = []string{"use a password or key file with more rights, such as the owner's"}
	}
	return message, hints
}

// packageNames are what sentinels begin with, at the beginning of a message and behind a colon in it.
var packageNames = regexp.MustCompile(`(^|: )(?:(?:repo|log|backends|lease|probe|location|seal|gc|check|repair|records|retain|backup|restore|transfer|source|stream|tarfile|hook|archive|device|snapshot|mounts|mysql|dump|mbstream|redis|rdb|runbook|sshrun|remote): )+`)

// withoutPackages removes the names of packages, which tell the user nothing.
func withoutPackages(message string) string { return packageNames.ReplaceAllString(message, "$1") }

// plain is an error without the names of packages in its message.
type plain struct{ err error }

func (p plain) Error() string { return withoutPackages(p.err.Error()) }
func (p plain) Unwrap() error { return p.err }
