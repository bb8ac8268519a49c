package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/mounts"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/ui"
)

type restoreOptions struct {
	filterOptions
	restoreChoice
	target    string
	overwrite string
	delete    bool
	sparse    bool
	byName    bool
	dryRun    bool
	verify    bool
	fsync     bool
}

// restoreChoice says what of a snapshot is restored.
type restoreChoice struct {
	restore.Patterns
	includeFiles, iincludeFiles, excludeFiles, iexcludeFiles []string
	xattrInclude, xattrExclude                               []string
}

func (o *restoreChoice) addChoice(f *pflag.FlagSet) {
	f.StringArrayVarP(&o.Include, "include", "i", nil, "restore only what matches this `pattern` (can be given several times)")
	f.StringArrayVar(&o.IInclude, "iinclude", nil, "the same, but upper and lower case are equal in the `pattern`")
	f.StringArrayVar(&o.includeFiles, "include-file", nil, "restore only what matches a pattern in this `file`, one a line (can be given several times)")
	f.StringArrayVar(&o.iincludeFiles, "iinclude-file", nil, "the same, but upper and lower case are equal in the patterns of the `file`")
	f.StringArrayVarP(&o.Exclude, "exclude", "e", nil, "leave out what matches this `pattern` (can be given several times)")
	f.StringArrayVar(&o.IExclude, "iexclude", nil, "the same, but upper and lower case are equal in the `pattern`")
	f.StringArrayVar(&o.excludeFiles, "exclude-file", nil, "leave out what matches a pattern in this `file`, one a line (can be given several times)")
	f.StringArrayVar(&o.iexcludeFiles, "iexclude-file", nil, "the same, but upper and lower case are equal in the patterns of the `file`")
	f.StringArrayVar(&o.xattrInclude, "include-xattr", nil, "restore only extended attributes with names like this `pattern`, as user.* (can be given several times)")
	f.StringArrayVar(&o.xattrExclude, "exclude-xattr", nil, "leave out extended attributes with names like this `pattern` (can be given several times)")
}

// patterns returns those of the flags and of the files that they name.
func (o *restoreChoice) patterns(a *app) (p restore.Patterns, err error) {
	p = o.Patterns
	for _, l := range []struct {
		flag  string
		files []string
		to    *[]string
	}{
		{"--include-file", o.includeFiles, &p.Include},
		{"--iinclude-file", o.iincludeFiles, &p.IInclude},
		{"--exclude-file", o.excludeFiles, &p.Exclude},
		{"--iexclude-file", o.iexcludeFiles, &p.IExclude},
	} {
		*l.to = slices.Clone(*l.to)
		for _, name := range l.files {
			more, err := a.readPatterns(l.flag, name)
			if err != nil {
				return p, err
			}
			if len(more) == 0 {
				return p, usage(fmt.Sprintf("%s: there is no pattern in %s", l.flag, name))
			}
			*l.to = append(*l.to, more...)
		}
	}
	return p, nil
}

// options makes the library's options of the flags.
func (o *restoreOptions) options(a *app) (out restore.Options, err error) {
	if o.target == "" {
		return out, usage("restore to where?", "name a folder with --target; --target / restores files to where they were")
	}
	out = restore.Options{
		Delete: o.delete, Sparse: o.sparse, OwnersByName: o.byName, DryRun: o.dryRun, Verify: o.verify, Sync: o.fsync,
		XAttrInclude: o.xattrInclude, XAttrExclude: o.xattrExclude,
	}
	if out.Target, err = filepath.Abs(o.target); err != nil {
		return out, err
	}
	if out.Overwrite, err = restore.ParseOverwrite(o.overwrite); err != nil {
		return out, usage(fmt.Sprintf("--overwrite %q is none of always, if-changed, if-newer, never", o.overwrite))
	}
	if out.Patterns, err = o.patterns(a); err != nil {
		return out, err
	}
	if err := out.Check(); err != nil {
		return out, asUsage(plain{err})
	}
	return out, nil
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

Of files that are in DIR already only what differs is fetched and written. --overwrite says what becomes of
them: "always" compares their content; "if-changed" takes a file of the same size and time for unchanged;
"if-newer" keeps a file unless the one in the snapshot is newer; "never" keeps it. Run the command again
after it was cut off: files that it left half written, which have mode 1600, are completed whatever
--overwrite says.

--delete also deletes what is in a restored folder and not in the snapshot, and that includes what the
backup left out by --exclude, markers or ignore files, unless the same patterns are given here. Folders
above what was backed up lose nothing, nor does a folder of which entries are missing in the backup, nor
one in which a file system was mounted that is not in it. The repository, the cache and the key files that
are in use stay. A partial snapshot is refused. --dry-run -vv says what would go.

Patterns are like those of backup, for the paths in the snapshot or below PATH; --include takes along the
folders above what matches. Includes and excludes can not be mixed.

A link that stands where the snapshot has a folder above what was backed up is kept, and what is below it not
restored. What only root can restore, such as owners, is summed up in a warning. What else can not be
restored is reported, and the rest is restored all the same: exit code 1, or 4 if the repository is
damaged there.`,
		Example: `  kura restore latest --target /mnt/restore
  kura restore latest:/home/me/Documents --target ~/Documents
  kura restore latest:/srv --target ssh://root@www/srv
  kura restore latest:/srv --target /srv --delete --dry-run -vv
  kura restore latest --target / --include /etc/nginx
  kura restore --at "2026-03-01 18:00" --host www --target /tmp/www --verify`,
		Args: func(cmd *cobra.Command, args []string) error { return whichSnapshot(cmd, args, o.at) },
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runRestore(cmd.Context(), o, append(args, "latest")[0])
		},
	}
	o.addFlags(cmd.Flags())
	o.addAt(cmd.Flags())
	cmd.Flags().StringVarP(&o.target, "target", "t", "", "`folder` to restore into")
	cmd.Flags().BoolVarP(&o.dryRun, "dry-run", "n", false, "write nothing, but say what would be done, and look whether everything needed is in the repository")
	cmd.Flags().BoolVar(&o.verify, "verify", false, "read the restored files again and compare them with the snapshot")
	f := cmd.Flags()
	o.addChoice(f)
	f.StringVar(&o.overwrite, "overwrite", "always", "which existing files to overwrite: `always`, if-changed, if-newer or never")
	f.BoolVar(&o.delete, "delete", false, "delete what is in restored folders but not in the snapshot")
	f.BoolVar(&o.sparse, "sparse", false, "make holes of all long runs of zeros, not only of what were holes")
	f.BoolVar(&o.byName, "ownership-by-name", false, "set owners by the names of users and groups, not by their numbers")
	f.BoolVar(&o.fsync, "fsync", false, "end only when everything is safe from a power failure")
	return cmd
}

func (a *app) runRestore(ctx context.Context, o restoreOptions, name string) error {
	opts, err := o.options(a)
	if err != nil {
		return err
	}
	f, err := o.filter()
	if err != nil {
		return err
	}
	return a.withRepository(ctx, func(r *session) error {
		if inRepository(r.place, opts.Target) {
			return usage("the target is in the repository, where a file of the snapshot could take the place of an object", "restore to somewhere else")
		}
		snap, path, err := findSnapshot(ctx, r, name, f)
		if err != nil {
			return err
		}
		a.term.Info("restoring " + ui.Describe(snap))
		start := clock.Now()
		progress := new(restore.Progress)
		stop := a.showProgress(ctx, ui.RestoreStatus(progress), ui.RestoreMessage)
		defer stop()
		opts.Path = path
		if opts.Spare, err = a.inUse(r); err != nil {
			return err
		}
		blocked := false
		result, err := restore.Run(ctx, r.Repository, snap, opts, restore.Events{
			Progress: progress,
			Error: func(path string, err error) {
				blocked = blocked || errors.Is(err, restore.ErrFolder)
				a.term.ItemError("restore", path, plain{err})
			},
			Item: a.term.RestoreItems(),
			Spared: func(path string, why error) {
				a.term.ItemWarning("restore", path, "stays, though the snapshot does not have it: "+plain{why}.Error())
			},
		})
		stop()
		if errors.Is(err, restore.ErrOptions) {
			var hints []string
			if o.delete && !snap.Complete() {
				hints = []string{"leave --delete out, or restore a snapshot that is complete: kura snapshots"}
			}
			return asUsage(plain{err}, hints...)
		}
		if err != nil {
			if !o.dryRun {
				err = fmt.Errorf("%w%w", err, hidden{errHalf})
			}
			return explainFind(err)
		}
		a.term.Restored(ui.RestoreResult{
			Result: result, SnapshotID: snap.ID.String(), Target: opts.Target, DryRun: o.dryRun, Verify: o.verify,
			Elapsed: clock.Since(start), Progress: progress,
		})
		if len(opts.Include)+len(opts.IInclude) > 0 && restoredNothing(result) {
			a.term.Info("warning: nothing in the snapshot matches what is to be included; kura ls shows what is in it")
		}
		err = restoreError(result)
		if blocked && !o.delete {
			err = withHint(err, "--delete also replaces folders that are where the snapshot has something else; with --dry-run -vv it says what would go")
		}
		return err
	})
}

// inUse are the paths of what this run itself needs, and the next one: the repository, the cache, and what opens the repository.
func (a *app) inUse(r *session) ([]string, error) {
	paths, err := a.ownFolders(r.place, hex.EncodeToString(idOf(r)))
	return append(paths, a.opens(r.place)...), err
}

// inRepository reports whether a folder is a repository in a local folder, or belongs to one, whatever links lead there. It need not exist.
func inRepository(p *place, target string) bool {
	folder, local := strings.CutPrefix(p.String(), "local:")
	if !local {
		return false
	}
	own, err := os.Stat(folder)
	if err != nil {
		return false
	}
	for at, below := mounts.RealPath(target), ""; ; at, below = filepath.Dir(at), filepath.Base(at) {
		if info, err := os.Stat(at); err == nil && os.SameFile(info, own) {
			// What lies beside a repository, as on a disk that also has photos, is not in it.
			return below == "" || slices.Contains(repositoryNames(), below) || holdsOnlyRepository(at)
		}
		if at == "/" {
			return false
		}
	}
}

func entriesAre(n uint64) string {
	if n == 1 {
		return "1 file or folder is"
	}
	return fmt.Sprintf("%d files or folders are", n)
}

// restoredNothing reports whether there was nothing to restore.
func restoredNothing(r *restore.Result) bool {
	return r.Files+r.Dirs+r.Others+r.Skipped+r.Errors+r.Damaged == 0 && len(r.Omitted) == 0
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
