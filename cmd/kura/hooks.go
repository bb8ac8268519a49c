package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/hook"
)

const (
	hookTitle   = "Commands beside the run (of a shell; $KURA_RESULT and others tell them how it went)"
	hookTimeout = time.Hour
)

// hookOptions are the commands that are run beside a backup.
type hookOptions struct {
	before, after, onFailure string
	timeout                  time.Duration
}

func (o *snapshotOptions) addHooks(f *pflag.FlagSet) {
	h := &o.hooks
	f.StringVar(&h.before, "before", "", "run this `command` first; if it fails, nothing is backed up")
	f.StringVar(&h.after, "after", "", "run this `command` in the end, whatever happened; if it fails, so does the run")
	f.StringVar(&h.onFailure, "on-failure", "", "run this `command` if the exit code is not 0")
	f.DurationVar(&h.timeout, "hook-timeout", hookTimeout, "end each of these commands after this `time`, such as 90s or 10m; 0: never")
}

func (h *hookOptions) check() error {
	if h.timeout < 0 {
		return usage("--hook-timeout is less than nothing")
	}
	return nil
}

func (h *hookOptions) hook(name, line string) hook.Hook {
	return hook.Hook{Name: name, Line: line, Timeout: h.timeout}
}

// errHook is wrapped by the error of a run that went well but for a hook.
var errHook = errors.New("but not all is as it should be")

// withHooks runs a backup with the commands before and after it. A dry run has none: they are there to change things.
func (a *app) withHooks(ctx context.Context, h *hookOptions, dryRun bool, run func() (*backup.Result, error)) error {
	if dryRun {
		_, err := run()
		return err
	}
	defer outliveOutput()() // what --before has stopped is started again
	start := clock.Now()
	var result *backup.Result
	err := h.hook("--before", h.before).Run(ctx, map[string]string{"KURA_HOOK": "before"})
	if err != nil {
		err = withHint(fmt.Errorf("nothing was backed up: %w", err), "what the command printed is above; run the backup again when it succeeds")
	} else {
		result, err = run()
	}
	over := context.WithoutCancel(ctx) // also for a run that was interrupted
	if err != nil {
		if failed := h.hook("--on-failure", h.onFailure).Run(over, a.hookVars(ctx, "on-failure", result, err, start)); failed != nil {
			a.term.ItemError("on-failure", "", plain{failed})
		}
	}
	failed := h.hook("--after", h.after).Run(over, a.hookVars(ctx, "after", result, err, start))
	switch {
	case failed == nil:
		return err
	case result != nil && result.Snapshot != nil:
		made := fmt.Errorf("snapshot %s was made, %w: %w", result.Snapshot.ID.Short(), errHook, failed)
		return withHint(errors.Join(err, made), "the snapshot is there and can be restored; what --after was to do was not done")
	case err == nil:
		return fmt.Errorf("%w: %w", errHook, failed)
	}
	return errors.Join(err, failed)
}

// maxHookError is how many bytes of an error hooks are told: it may name thousands of paths.
const maxHookError = 8 << 10

// hookVars says how a run went.
func (a *app) hookVars(ctx context.Context, name string, r *backup.Result, err error, start time.Time) map[string]string {
	code := exitCode(ctx, err)
	vars := map[string]string{
		"KURA_HOOK": name, "KURA_RESULT": "success", "KURA_EXIT_CODE": strconv.Itoa(code),
		"KURA_ERROR": "", "KURA_SNAPSHOT": "",
		"KURA_SECONDS": strconv.FormatFloat(clock.Now().Sub(start).Seconds(), 'f', 1, 64),
	}
	switch {
	case code == exitInterrupted:
		vars["KURA_RESULT"] = "interrupted"
	case r != nil && code != exitOK:
		vars["KURA_RESULT"] = "incomplete"
	case code != exitOK:
		vars["KURA_RESULT"] = "failure"
	}
	if err != nil {
		text, _ := explain(code, err)
		vars["KURA_ERROR"] = text[:min(len(text), maxHookError)] // too long a variable, and nothing is run at all
	}
	if r == nil {
		return vars
	}
	if r.Snapshot != nil {
		vars["KURA_SNAPSHOT"] = r.Snapshot.ID.String()
	}
	for name, n := range map[string]uint64{
		"KURA_FILES": r.Summary.Files, "KURA_BYTES": r.Summary.Bytes, "KURA_BYTES_ADDED": r.Summary.BytesAdded,
		"KURA_BYTES_STORED": r.Summary.BytesStored, "KURA_ERRORS": r.Summary.Errors,
	} {
		vars[name] = strconv.FormatUint(n, 10)
	}
	return vars
}
