package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/ui"
)

type pruneOptions struct {
	dryRun bool
}

func (a *app) pruneCommand() *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "free the space that no snapshot needs",
		Long: `Free the space that no snapshot needs: that of forgotten snapshots and of runs that were cut off. Forgotten
snapshots can not be brought back after it.

It can run at the same time as backups and restores.`,
		Example: `  kura prune --dry-run
  kura prune`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runPrune(cmd.Context(), o) },
	}
	cmd.Flags().BoolVarP(&o.dryRun, "dry-run", "n", false, "change nothing, but say what would be freed")
	return cmd
}

func (a *app) runPrune(ctx context.Context, o pruneOptions) error {
	return a.withRepository(ctx, func(r *session) error { return a.prune(ctx, r, o.dryRun) })
}

func (a *app) prune(ctx context.Context, r *session, dryRun bool) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	steps := new(ui.Steps)
	stop := a.showProgress(ctx, steps.Status, ui.StepsMessage)
	defer stop()
	result, err := gc.Run(ctx, r.Repository, gc.Options{DryRun: dryRun, Host: host}, gc.Events{Phase: steps.Phase, Step: steps.Step})
	stop()
	if err != nil {
		return err
	}
	a.term.Prune(result, dryRun)
	return nil
}
