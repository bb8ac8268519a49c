package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/transfer"
	"github.com/kura-backup/kura/ui"
)

type copyOptions struct {
	filterOptions
	from        access
	compression string
	similar     string
	dryRun      bool
}

func (a *app) copyCommand() *cobra.Command {
	var o copyOptions
	cmd := &cobra.Command{
		Use:   "copy [flags] --from-repo REPOSITORY [SNAPSHOT...]",
		Short: "copy snapshots from another repository into this one",
		Long: `Copy snapshots from another repository into this one: those that are named, or else all complete ones, or
those of them that --host, --tag and --path select. What was copied before, and what came from here, is passed
over. Only what this repository does not have is read, verified and stored. A copy that was cut off is run
again, and uses what it had stored.

A copy has an id of its own, and time, host, paths and tags of the original; pins are not copied. Forgetting
either leaves the other.

Make the new repository with "kura init --from-repo": then both call the same data by the same names, and
folders and chunks are copied as they are. Between other repositories every copy reads and names again all of
its snapshots.

The other repository, which $KURA_FROM_REPOSITORY can name as well, is opened with a key that may read
everything; for this one a writer's is enough. What says how to reach a store (-o, certificates) and how fast
holds for both.`,
		Example: `  kura copy -r s3:https://s3.example.com/backup --from-repo /mnt/disk/backup
  kura copy --from-repo /mnt/disk/backup --from-key-file local.key --host www latest
  kura copy --from-repo /mnt/disk/backup --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runCopy(cmd.Context(), &o, args) },
	}
	f := cmd.Flags()
	o.from.addFromFlags(f)
	o.addFlags(f)
	addCompression(f, &o.compression)
	addSimilar(f, &o.similar)
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "change nothing, but say what would be copied")
	return cmd
}

func (a *app) runCopy(ctx context.Context, o *copyOptions, names []string) error {
	opts, err := o.options(a)
	if err != nil {
		return err
	}
	f, err := o.filter()
	if err != nil {
		return err
	}
	source, err := o.from.fromPlace()
	if err != nil {
		return err
	}
	opened := false
	err = a.withRepository(ctx, func(to *session) error {
		opened = true
		return a.withPlace(ctx, source, func(from *session) error {
			if opts.Snapshots, err = selectSnapshots(ctx, from, f, names); err != nil {
				return err
			}
			if len(names) == 0 {
				opts.Snapshots = a.withoutPartial(opts.Snapshots)
			}
			return a.copy(ctx, from, to, opts)
		})
	})
	if !opened && exitCode(ctx, err) == exitNoRepository {
		to, _ := a.globals.named() // as it was named when it was not found
		err = withHint(err, fmt.Sprintf("to make one that copies are quick to: kura init -r %s --from-repo %v", to, source))
	}
	return err
}

// options makes the library's options of the flags.
func (o *copyOptions) options(a *app) (out transfer.Options, err error) {
	out.DryRun = o.dryRun
	if out.Host, err = os.Hostname(); err != nil {
		return out, err
	}
	if out.Compression, err = parseCompression(o.compression); err != nil {
		return out, err
	}
	if out.Similar, err = parseSimilar(o.similar); err != nil {
		return out, err
	}
	out.Packing, err = a.globals.packing()
	return out, err
}

// withoutPartial leaves out what runs that were cut off, or are under way, have committed so far.
func (a *app) withoutPartial(list []*repo.Snapshot) []*repo.Snapshot {
	all := len(list)
	list = slices.DeleteFunc(list, func(s *repo.Snapshot) bool { return s.Entry.Partial })
	if n := all - len(list); n > 0 {
		a.term.Info(fmt.Sprintf("%s left out; name a snapshot to copy it all the same", ui.Count(uint64(n), "partial snapshot")))
	}
	return list
}

func (a *app) copy(ctx context.Context, from, to *session, opts transfer.Options) error {
	if !from.Keys().SharesIDs(to.Keys()) {
		a.term.Info("the two repositories call the same data by different names: everything is read and named again; " +
			"a repository made with kura init --from-repo needs neither")
	}
	progress := new(transfer.Progress)
	stop := a.showProgress(ctx, ui.CopyStatus(progress), ui.CopyMessage)
	defer stop()
	result, err := transfer.Run(ctx, from.Repository, to.Repository, opts, transfer.Events{
		Progress: progress,
		Snapshot: func(i transfer.Item) { a.term.CopyItem(i, opts.DryRun) },
	})
	stop()
	switch {
	case errors.Is(err, transfer.ErrSame):
		return withHint(err, "name the one to copy to with -r, and the one to copy from with --from-repo")
	case errors.Is(err, transfer.ErrCanNotRead):
		return withHint(err, "open it with the owner's password or key file, by --from-password-file or --from-key-file")
	case err != nil:
		return err
	}
	a.term.Copied(result, opts.DryRun)
	if result.Damaged > 0 {
		return withHint(fmt.Errorf("%w: %s could not be copied", errDamageFound, ui.Count(uint64(result.Damaged), "snapshot")),
			fmt.Sprintf("kura check --read-data -r %v shows all that is damaged there", from.place))
	}
	return nil
}
