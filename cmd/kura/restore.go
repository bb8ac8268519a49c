package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/ui"
)

type restoreOptions struct {
	filterOptions
	target string
	dryRun bool
	verify bool
}

func (a *app) restoreCommand() *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use:   "restore [flags] ID[:PATH] --target DIR",
		Short: "restore a snapshot, or a part of it, into a folder",
		Long: `Restore a snapshot into a folder, which is made if it is missing.

Without PATH everything is restored, under its full path: /etc/hosts becomes DIR/etc/hosts. With PATH, what
lies in that folder is restored directly into DIR; a PATH that is a file becomes DIR/name.

ID is the beginning of a snapshot's id, latest, or latest~N for the Nth before the latest; --host, --tag,
--path and --at say latest of which. With --at and no ID, latest is meant.

Existing files and links of the same names are replaced; others in the folder stay as they are. A link
that stands where the snapshot has a folder above what was backed up is kept, and what is below it not
restored. What only root can restore, such as owners, is summed up in a warning. What else can not be
restored is reported, and the rest is restored all the same: exit code 1, or 4 if the repository is
damaged there.`,
		Example: `  kura restore latest --target /mnt/restore
  kura restore latest:/home/me/Documents --target ~/Documents
  kura restore --at "2026-03-01 18:00" --host www --target /tmp/www --verify`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return wrongArgs(cmd, fmt.Sprintf("unexpected argument %q", args[1]))
			case len(args) == 0 && o.at == "":
				return wrongArgs(cmd, "which snapshot? latest is the newest one")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runRestore(cmd.Context(), o, append(args, "latest")[0])
		},
	}
	o.addFlags(cmd.Flags())
	o.addAt(cmd.Flags())
	cmd.Flags().StringVarP(&o.target, "target", "t", "", "`folder` to restore into")
	cmd.Flags().BoolVarP(&o.dryRun, "dry-run", "n", false, "write nothing, but look whether everything needed is in the repository")
	cmd.Flags().BoolVar(&o.verify, "verify", false, "read the restored files again and compare them with the snapshot")
	return cmd
}

func (a *app) runRestore(ctx context.Context, o restoreOptions, name string) error {
	if o.target == "" {
		return usage("restore to where?", "name a folder with --target; --target / restores files to where they were")
	}
	f, err := o.filter()
	if err != nil {
		return err
	}
	target, err := filepath.Abs(o.target)
	if err != nil {
		return err
	}
	return a.withRepository(ctx, func(r *session) error {
		snap, path, err := findSnapshot(ctx, r, name, f)
		if err != nil {
			return err
		}
		a.term.Info("restoring " + ui.Describe(snap))
		start := clock.Now()
		progress := new(restore.Progress)
		stop := a.showProgress(ctx, ui.RestoreStatus(progress), ui.RestoreMessage)
		defer stop()
		result, err := restore.Run(ctx, r.Repository, snap, restore.Options{
			Target: target, Path: path, DryRun: o.dryRun, Verify: o.verify,
		}, restore.Events{
			Progress: progress,
			Error:    func(path string, err error) { a.term.ItemError("restore", path, plain{err}) },
			Item:     a.term.RestoreItem,
		})
		stop()
		if err != nil {
			return explainFind(err)
		}
		a.term.Restored(ui.RestoreResult{
			Result: result, SnapshotID: snap.ID.String(), Target: target, DryRun: o.dryRun, Verify: o.verify,
			Elapsed: clock.Since(start), Progress: progress,
		})
		return restoreError(result)
	})
}

func entriesAre(n uint64) string {
	if n == 1 {
		return "1 file or folder is"
	}
	return fmt.Sprintf("%d files or folders are", n)
}

// restoreError is how a restore that ran to its end failed.
func restoreError(r *restore.Result) error {
	switch {
	case r.Damaged > 0:
		return withHint(fmt.Errorf("%w: %s restored in part or not at all", errDamageFound, entriesAre(r.Damaged)),
			"an older snapshot may have them: kura snapshots",
			"kura check --read-data shows all that is damaged")
	case r.Errors > 0:
		return withHint(fmt.Errorf("%s: not everything was restored", ui.Count(r.Errors, "error")), "the errors above say what is missing")
	}
	return nil
}
