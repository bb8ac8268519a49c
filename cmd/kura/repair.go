package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/repair"
	"github.com/kura-backup/kura/ui"
)

type repairOptions struct {
	dryRun   bool
	allPacks bool
	forget   bool
}

func (a *app) repairCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "repair what damage has left: index, packs, snapshots",
		Long: `Repair what damage has left. Nothing is ever deleted: what can be mended is written anew, and of what can not
the damaged bytes are set aside in quarantine/ before the repository lets go of them.

In this order:
  kura repair index       if the index is damaged: makes it again from the packs
  kura repair packs       carries what can be read of damaged packs into new ones
  kura backup ...         stores again what the repair could not save, if it is still there
  kura repair snapshots   makes snapshots without what is lost for good

Each of them can be cut off at any moment and run again.`,
		Example: `  kura check --read-data
  kura repair packs
  kura backup ~
  kura check --read-data`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.repairIndexCommand(), a.repairPacksCommand(), a.repairSnapshotsCommand())
	return cmd
}

func (a *app) repairIndexCommand() *cobra.Command {
	var o repairOptions
	cmd := &cobra.Command{
		Use:   "index",
		Short: "make lost or damaged parts of the index again",
		Long: `Make lost or damaged parts of the index again, from the directories of the packs that no good part lists.
No cache is needed. With --read-all-packs all of the index is made again.`,
		Example: `  kura repair index
  kura repair index --read-all-packs`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runRepairIndex(cmd.Context(), o) },
	}
	cmd.Flags().BoolVarP(&o.dryRun, "dry-run", "n", false, "change nothing, but say what would be done")
	cmd.Flags().BoolVar(&o.allPacks, "read-all-packs", false, "read the directories of all packs and make all of the index again")
	return cmd
}

func (a *app) repairPacksCommand() *cobra.Command {
	var o repairOptions
	cmd := &cobra.Command{
		Use:   "packs [flags] [PACK...]",
		Short: "save what can be read of damaged packs",
		Long: `Save what can be read of damaged packs. All packs are read to find the damaged ones, unless some are named,
by the names that kura check prints.

A pack that its parity mends is written anew. Of others every part that can still be read is carried into
new packs, the damaged bytes are kept in quarantine/, and what could not be read is forgotten: the next
backup that meets it in its source stores it again, which makes the old snapshots whole again, too.

It can run at the same time as backups and restores.`,
		Example: `  kura repair packs --dry-run
  kura repair packs`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runRepairPacks(cmd.Context(), o, args) },
	}
	cmd.Flags().BoolVarP(&o.dryRun, "dry-run", "n", false, "change nothing, but say what would be done")
	return cmd
}

func (a *app) repairSnapshotsCommand() *cobra.Command {
	var o repairOptions
	cmd := &cobra.Command{
		Use:   "snapshots [flags] [ID...]",
		Short: "make snapshots without what is lost",
		Long: `Make, of each snapshot that has lost something, a new one without that, with the same time, host, paths and
tags. Files that lost anything stay in it without content. The damaged snapshots stay as they are, unless
--forget is given.

Run kura repair packs first, and a backup: what the backup stores again is not lost.`,
		Example: `  kura repair snapshots --dry-run
  kura repair snapshots --forget`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runRepairSnapshots(cmd.Context(), o, args) },
	}
	cmd.Flags().BoolVarP(&o.dryRun, "dry-run", "n", false, "change nothing, but say what would be done")
	cmd.Flags().BoolVar(&o.forget, "forget", false, "forget the damaged snapshots")
	return cmd
}

// repairing runs a repair and shows how it goes.
func (a *app) repairing(ctx context.Context, run func(host string, ev repair.Events) error) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	steps := new(ui.Steps)
	stop := a.showProgress(ctx, steps.Status, ui.StepsMessage)
	defer stop()
	return explainRepair(run(host, repair.Events{
		Phase: steps.Phase, Step: steps.Step,
		Pack: a.term.RepairPack,
		Snapshot: func(s repair.SnapshotOutcome) {
			s.Lost = slices.Clone(s.Lost)
			for i := range s.Lost {
				s.Lost[i].What = plain{s.Lost[i].What}
			}
			if s.Gone != nil {
				s.Gone = plain{s.Gone}
			}
			if s.Newer != nil {
				s.Newer = plain{s.Newer}
			}
			a.term.RepairSnapshot(s)
		},
	}))
}

func explainRepair(err error) error {
	if errors.Is(err, repair.ErrManyMissing) {
		return withHint(err, "is all of the repository mounted, and the copy complete?",
			"if the packs are gone for good, name them: kura repair packs data/... tree/...; kura check lists them")
	}
	return err
}

func (a *app) runRepairIndex(ctx context.Context, o repairOptions) error {
	return a.withRepository(ctx, func(r *session) error {
		var res *repair.IndexResult
		err := a.repairing(ctx, func(host string, ev repair.Events) (err error) {
			res, err = repair.Index(ctx, r.Repository, repair.IndexOptions{AllPacks: o.allPacks, DryRun: o.dryRun, Host: host}, ev)
			return err
		})
		if errors.Is(err, wire.ErrNewer) && errors.As(err, new(*repo.DamageError)) { // a part of the index, and no entry of the log
			return withHint(err, newerHint, "kura repair index --read-all-packs makes the index without it: what only a newer kura understands is not found then, so repair no snapshots before that has made the index once more")
		}
		if err != nil {
			return err
		}
		a.term.RepairIndex(res, o.dryRun)
		if err := unlisted(res.Unlisted); err != nil {
			return err
		}
		return notUnderstood(len(res.Newer), "pack")
	})
}

// unlisted is the error of packs whose directories were lost together with the index.
func unlisted(packs []object.Ref) error {
	if len(packs) == 0 {
		return nil
	}
	return withHint(fmt.Errorf("%w: the directories of %s can not be read, such as %v", errDamageFound, ui.Count(uint64(len(packs)), "pack"), packs[0]),
		"kura repair packs sets them aside")
}

func (a *app) runRepairPacks(ctx context.Context, o repairOptions, names []string) error {
	var refs []object.Ref
	for _, name := range names {
		ref, err := object.ParseRef(name)
		if err != nil || !ref.Class.IsPack() {
			return usage(fmt.Sprintf("%q is not the name of a pack", name), "kura check prints names: data/... and tree/...")
		}
		refs = append(refs, ref)
	}
	packing, err := a.globals.packing()
	if err != nil {
		return err
	}
	return a.withRepository(ctx, func(r *session) error {
		var res *repair.PacksResult
		err := a.repairing(ctx, func(host string, ev repair.Events) (err error) {
			res, err = repair.Packs(ctx, r.Repository, repair.PacksOptions{
				Packs: refs, DryRun: o.dryRun, Host: host, Packing: packing,
			}, ev)
			return err
		})
		if err != nil {
			return err
		}
		a.term.RepairPacks(res, o.dryRun)
		if sealed := res.Count(repair.Sealed); sealed > 0 {
			return withHint(fmt.Errorf("%w: %s can not be mended, and this key can not read what is left of them", errDamageFound, ui.Count(uint64(sealed), "pack")),
				"run it again with the owner's password or key file")
		}
		if err := unlisted(res.Unlisted); err != nil {
			return err
		}
		return notUnderstood(res.Count(repair.Newer), "pack")
	})
}

// notUnderstood is the error of things that could not be looked at because a newer program wrote them.
func notUnderstood(n int, what string) error {
	if n == 0 {
		return nil
	}
	return withHint(fmt.Errorf("%s: %w, and not understood", ui.Count(uint64(n), what), wire.ErrNewer), newerHint)
}

func (a *app) runRepairSnapshots(ctx context.Context, o repairOptions, names []string) error {
	packing, err := a.globals.packing()
	if err != nil {
		return err
	}
	return a.withRepository(ctx, func(r *session) error {
		ids, err := snapshotIDs(r, names)
		if err != nil {
			return err
		}
		var res *repair.SnapshotsResult
		err = a.repairing(ctx, func(host string, ev repair.Events) (err error) {
			res, err = repair.Snapshots(ctx, r.Repository, repair.SnapshotsOptions{
				Snapshots: ids, Forget: o.forget, DryRun: o.dryRun, Host: host, Program: program(), Packing: packing,
			}, ev)
			return err
		})
		if err != nil {
			return err
		}
		a.term.RepairSnapshots(res, o.dryRun)
		return notUnderstood(res.Newer(), "snapshot")
	})
}

// snapshotIDs finds live snapshots by the beginnings of their ids, without opening their manifests: one of those
// may be what is damaged.
func snapshotIDs(r *session, names []string) ([]object.SessionID, error) {
	var ids []object.SessionID
	for _, name := range names {
		var found []object.SessionID
		for id, s := range r.State().Snapshots {
			if s.Live() && strings.HasPrefix(id.String(), name) {
				found = append(found, id)
			}
		}
		if len(found) != 1 || len(name) < 4 {
			return nil, withHint(fmt.Errorf("%q fits %s", name, ui.Count(uint64(len(found)), "snapshot")), "name snapshots by the first digits of their ids, at least four")
		}
		ids = append(ids, found[0])
	}
	return ids, nil
}
