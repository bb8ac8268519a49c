package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/retain"
	"github.com/kura-backup/kura/ui"
)

type pruneOptions struct {
	dryRun      bool
	hold        retain.Duration
	maxUnused   unusedValue
	maxRepack   sizeValue
	maxDuration time.Duration
	assume      []object.SessionID // taken for forgotten in a dry run
}

func (a *app) pruneCommand() *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "free the space that no snapshot needs",
		Long: `Free the space that no snapshot needs: that of forgotten snapshots and of runs that were cut off. Forgotten
snapshots can not be brought back after it, but for those that --hold spares.

A pack of which only a part is needed is written again without the rest, until no more than --max-unused of all
that is stored is unneeded. --max-repack-size and --max-duration bound that work; what is done is kept, and
the next prune goes on.

It can run at the same time as backups and restores, and be cut off at any time.`,
		Example: `  kura prune --dry-run
  kura prune --hold 7d
  kura prune --max-unused 10% --max-repack-size 50g --max-duration 2h`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runPrune(cmd.Context(), o) },
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// addFlags adds those that forget --prune has, too.
func (o *pruneOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "change nothing, but say what would be done")
	f.Var((*durationValue)(&o.hold), "hold", "spare what was forgotten less than a `duration` ago, such as 7d")
	f.Var(&o.maxUnused, "max-unused", "leave a `limit` of unneeded bytes alone rather than write packs again: 5% (the default) of all, a size such as 10g, or unlimited")
	f.Var(&o.maxRepack, "max-repack-size", "write at most a `size` such as 50g again; 0: nothing")
	f.DurationVar(&o.maxDuration, "max-duration", 0, "after a `time` such as 90m write no more packs again")
}

// unusedValue is a flag that is a share, a size, or unlimited.
type unusedValue struct {
	share float64 // as in [gc.Options]; 0 if nothing was given
	bytes int64
	text  string
}

func (v *unusedValue) Set(s string) error {
	var next unusedValue
	digits, percent := strings.CutSuffix(s, "%")
	switch {
	case s == "unlimited":
		next.share = 1
	case percent:
		n, err := strconv.ParseFloat(digits, 64)
		if err != nil || !(n >= 0 && n <= 100) {
			return fmt.Errorf("%q is no percentage from 0%% to 100%%", s)
		}
		next.share = n / 100
	default:
		n, err := parseSize("--max-unused", s)
		if err != nil {
			return errors.New("want a percentage such as 5%, a size such as 10g, or unlimited")
		}
		next.bytes = n
	}
	if next.share == 0 && next.bytes == 0 {
		next.share = -1 // none at all
	}
	next.text = s
	*v = next
	return nil
}

func (v *unusedValue) String() string { return v.text }
func (v *unusedValue) Type() string   { return "limit" }

// sizeValue is a flag that is a size, of which 0 is one, too.
type sizeValue struct {
	n     int64
	given bool
}

func (v *sizeValue) Set(s string) error {
	n, err := parseSize("", s)
	if err != nil {
		return errors.New("a size is a number of bytes, or one with k, m, g or t behind it, such as 500m")
	}
	*v = sizeValue{n, true}
	return nil
}

func (v *sizeValue) String() string {
	if !v.given {
		return ""
	}
	return strconv.FormatInt(v.n, 10)
}

func (v *sizeValue) Type() string { return "size" }

// limit is the size as [gc.Options] have it, where 0 is no limit, and negative means nothing.
func (v *sizeValue) limit() int64 {
	if v.given && v.n == 0 {
		return -1
	}
	return v.n
}

// holdFor is how long the time to hold is now.
func (o *pruneOptions) holdFor() time.Duration {
	now := time.Now()
	return now.Sub(o.hold.Before(now))
}

func errNegativeDuration() error { return usage("--max-duration is negative") }

func (a *app) runPrune(ctx context.Context, o pruneOptions) error {
	return a.withRepository(ctx, func(r *session) error { return a.prune(ctx, r, o) })
}

func (a *app) prune(ctx context.Context, r *session, o pruneOptions) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	packing, err := a.globals.packing()
	if err != nil {
		return err
	}
	steps := new(ui.Steps)
	stop := a.showProgress(ctx, steps.Status, ui.StepsMessage)
	defer stop()
	if o.maxDuration < 0 {
		return errNegativeDuration()
	}
	opts := gc.Options{
		DryRun: o.dryRun, Host: host, Hold: o.holdFor(), Forget: o.assume, Packing: packing,
		MaxUnused: o.maxUnused.share, MaxUnusedBytes: o.maxUnused.bytes, MaxRepack: o.maxRepack.limit(), MaxDuration: o.maxDuration,
	}
	result, err := gc.Run(ctx, r.Repository, opts, gc.Events{Phase: steps.Phase, Step: steps.Step})
	stop()
	if result != nil {
		a.term.Prune(result, o.dryRun)
	}
	return explainPrune(err)
}

// explainPrune says what to do where the credentials are not enough.
func explainPrune(err error) error {
	var denied *gc.DeniedError
	switch {
	case errors.As(err, &denied):
		return withHint(err,
			"what was dropped takes up room until a prune deletes it whose credentials may: on S3 that takes s3:DeleteObject (and s3:DeleteObjectVersion where the bucket has versions) for data/, tree/, index/, sessions/, checkpoints/ and parity/ of the repository; on SFTP and disks, write access to these folders",
			"everything else is done and nothing needs repair")
	case errors.Is(err, backends.ErrDenied):
		return withHint(err, "prune reads and lists everything, creates objects, and deletes below data/, tree/, index/, sessions/, checkpoints/ and parity/; with Object Lock it also renews retention: s3:GetObjectRetention and s3:PutObjectRetention")
	}
	return err
}
