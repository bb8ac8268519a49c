package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/retain"
	"github.com/kura-backup/kura/ui"
)

type pruneOptions struct {
	dryRun bool
	hold   retain.Duration
	assume []object.SessionID // taken for forgotten in a dry run
}

func (a *app) pruneCommand() *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "free the space that no snapshot needs",
		Long: `Free the space that no snapshot needs: that of forgotten snapshots and of runs that were cut off. Forgotten
snapshots can not be brought back after it, but for those that --hold spares.

It can run at the same time as backups and restores.`,
		Example: `  kura prune --dry-run
  kura prune --hold 7d`,
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
}

// holdFor is how long the time to hold is now.
func (o *pruneOptions) holdFor() time.Duration {
	now := time.Now()
	return now.Sub(o.hold.Before(now))
}

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
	opts := gc.Options{DryRun: o.dryRun, Host: host, Hold: o.holdFor(), Forget: o.assume, Packing: packing}
	result, err := gc.Run(ctx, r.Repository, opts, gc.Events{Phase: steps.Phase, Step: steps.Step})
	stop()
	if err != nil {
		return err
	}
	a.term.Prune(result, o.dryRun)
	return nil
}
