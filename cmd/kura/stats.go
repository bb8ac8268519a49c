package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/repo/stats"
	"github.com/kura-backup/kura/ui"
)

// verifiedDays is how far back kura stats calls a pack proven readable.
const verifiedDays = 30

// The modes of stats, named as restic names them.
const (
	modeRestoreSize = "restore-size"
	modeRawData     = "raw-data"
)

type statsOptions struct {
	filterOptions
	mode string
}

func (a *app) statsCommand() *cobra.Command {
	var o statsOptions
	cmd := &cobra.Command{
		Use:   "stats [flags] [SNAPSHOT...]",
		Short: "show what snapshots and the repository take, and what of it was proven readable",
		Long: `Show how much restoring all snapshots would write, what the repository takes, and what share of it was
read and found whole in the last 30 days (by kura check --read-data and its relatives).

--mode restore-size looks only through snapshots: the ones named, or those that --host, --tag and --path
select. --mode raw-data shows only what all of the repository takes, which is quick.`,
		Example: `  kura stats
  kura stats --mode restore-size latest
  kura stats --mode raw-data`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runStats(cmd.Context(), o, args) },
	}
	o.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&o.mode, "mode", "", "only one of the `parts`: restore-size or raw-data (default: both)")
	return cmd
}

func (a *app) runStats(ctx context.Context, o statsOptions, names []string) error {
	chosen := len(names)+len(o.hosts)+len(o.tags)+len(o.paths) > 0
	switch {
	case o.mode != "" && o.mode != modeRestoreSize && o.mode != modeRawData:
		return usage(fmt.Sprintf("--mode %q is not known", o.mode), "use "+modeRestoreSize+" or "+modeRawData)
	case o.mode == modeRawData && chosen:
		return usage("--mode raw-data is of all of the repository", "leave out the snapshots, or use --mode "+modeRestoreSize)
	}
	f, err := o.filter()
	if err != nil {
		return err
	}
	return a.withRepository(ctx, func(r *session) error {
		steps := new(ui.Steps)
		stop := a.showProgress(ctx, steps.Status, nil) // as JSON it is one document
		defer stop()
		var restored *stats.Restored
		var raw *stats.Raw
		snapshots := 0
		if o.mode != modeRawData {
			list, err := selectSnapshots(ctx, r, f, names)
			if err != nil {
				return err
			}
			steps.Phase("looking through snapshots")
			if restored, err = stats.OfSnapshots(ctx, r.Repository, list, steps.Step); err != nil {
				return err
			}
			snapshots = len(list)
		} else {
			for _, s := range r.State().Snapshots {
				if s.Live() {
					snapshots++
				}
			}
		}
		if o.mode != modeRestoreSize && !chosen {
			steps.Phase("reading the index")
			now := time.Now()
			if raw, err = stats.OfRepository(ctx, r.Repository, now.AddDate(0, 0, -verifiedDays), now); err != nil {
				return err
			}
		}
		stop()
		a.term.Stats(restored, raw, snapshots, verifiedDays)
		return nil
	})
}
