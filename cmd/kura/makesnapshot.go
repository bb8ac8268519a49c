package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/retain"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/ui"
)

// snapshotOptions are what can be said of a snapshot whatever is backed up.
type snapshotOptions struct {
	parent      string
	host        string
	tags        []string
	time        string
	compression string
	similar     string
	dryRun      bool
	require     []string
	hooks       hookOptions
	saved       func() // called as soon as there is a snapshot; nil for nothing
}

// addFlags adds all of them, behind the groups of a command of its own, and shows the flags in groups.
func (o *snapshotOptions) addFlags(cmd *cobra.Command, groups *[]flagGroup) {
	o.addFlagsOf(cmd, groups, "host")
}

// addFlagsOf adds them with another name for the host, where --host is that of a server.
func (o *snapshotOptions) addFlagsOf(cmd *cobra.Command, groups *[]flagGroup, host string) {
	f := newGroup(groups, "The snapshot")
	o.addSnapshotOf(f, host)
	o.addParent(f)
	o.addRun(newGroup(groups, "The run"))
	o.addHooks(newGroup(groups, hookTitle))
	addGroups(cmd, *groups)
}

func (o *snapshotOptions) addSnapshot(f *pflag.FlagSet) { o.addSnapshotOf(f, "host") }

// addSnapshotOf is addSnapshot with another name for the host.
func (o *snapshotOptions) addSnapshotOf(f *pflag.FlagSet, host string) {
	f.StringArrayVar(&o.tags, "tag", nil, "`tag` of the snapshot, or a list a,b")
	f.StringVarP(&o.host, host, "H", "", "`name` of the host (default: that of this machine)")
	f.StringVar(&o.time, "time", "", "`time` of the snapshot (default: now)")
	addCompression(f, &o.compression)
	addSimilar(f, &o.similar)
}

func (o *snapshotOptions) addParent(f *pflag.FlagSet) {
	f.StringVar(&o.parent, "parent", "", "compare with this `snapshot` (default: the newest of the group that is not newer than --time)")
}

func (o *snapshotOptions) addRun(f *pflag.FlagSet) {
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "store nothing, but say what would be stored")
	f.StringArrayVar(&o.require, "require", nil, "fail, and make no snapshot, if nothing that was backed up matches this `pattern`; can be given several times")
}

// options makes the library's options of the flags, but for the parent and what is backed up.
func (o *snapshotOptions) options(a *app) (out backup.Options, err error) {
	out = backup.Options{Host: o.host, Program: program(), DryRun: o.dryRun, Require: o.require}
	if out.Tags, err = splitTags(o.tags); err != nil {
		return out, err
	}
	if o.time != "" {
		if out.Time, err = parseTime("--time", o.time, false); err != nil {
			return out, err
		}
	}
	if out.Compression, err = parseCompression(o.compression); err != nil {
		return out, err
	}
	if out.Similar, err = parseSimilar(o.similar); err != nil {
		return out, err
	}
	if err := backup.CheckRequire(o.require); err != nil {
		return out, usage("--require: " + err.Error())
	}
	if err := o.hooks.check(); err != nil {
		return out, err
	}
	out.Packing, err = a.globals.packing()
	return out, err
}

// runSource makes a snapshot of a source.
func (a *app) runSource(ctx context.Context, o snapshotOptions, src source.Source) error {
	opts, err := o.options(a)
	if err != nil {
		return err
	}
	opts.Source = src
	return a.makeSnapshot(ctx, &o, opts, func(*backup.Options) error { return nil })
}

// makeSnapshot makes a snapshot, and runs the commands beside it. What read adds to the options is read behind --before,
// which may be what makes it.
func (a *app) makeSnapshot(ctx context.Context, o *snapshotOptions, opts backup.Options, read func(*backup.Options) error) error {
	return a.withHooks(ctx, &o.hooks, o.dryRun, func() (*backup.Result, error) {
		if err := read(&opts); err != nil {
			return nil, err
		}
		p, err := a.placeOrOffer(ctx)
		if err != nil {
			return nil, err
		}
		var result *backup.Result
		err = a.withPlace(ctx, p, func(r *session) error {
			result, err = a.snapshotOf(ctx, o, opts, p, r)
			return err
		})
		return result, err
	})
}

// snapshotOf makes a snapshot in an open repository. Where it is incomplete there are both a result and an error.
func (a *app) snapshotOf(ctx context.Context, o *snapshotOptions, opts backup.Options, p *place, r *session) (_ *backup.Result, err error) {
	if opts.Parent, err = o.findParent(ctx, r, &opts); err != nil {
		return nil, err
	}
	if opts.Source == nil {
		own, err := a.ownPatterns(p, hex.EncodeToString(idOf(r)))
		if err != nil {
			return nil, err
		}
		opts.Own = own
	}
	progress := new(backup.Progress)
	stop := a.showProgress(ctx, ui.BackupStatus(progress), ui.BackupMessage)
	defer stop()
	result, err := backup.Run(ctx, r.Repository, opts, backup.Events{
		Progress: progress,
		Error:    func(path string, err error) { a.term.ItemError("archival", path, plain{err}) },
		Item:     a.term.BackupItems(),
	})
	stop()
	if err != nil {
		return nil, explainBackup(err)
	}
	if o.saved != nil && !o.dryRun {
		o.saved()
	}
	a.term.BackedUp(result, o.dryRun)
	if !o.dryRun && a.peer == nil { // who has the repository does it there
		a.mergeIndex(ctx, r)
		if result.Summary.BytesStored > 0 {
			a.readIndex(ctx, r)
		}
	}
	return result, backupError(result)
}

// findParent returns the snapshot that --parent names. For latest the group counts, as it does without the flag.
func (o *snapshotOptions) findParent(ctx context.Context, r *session, opts *backup.Options) (*repo.Snapshot, error) {
	if o.parent == "" {
		return nil, nil
	}
	f, err := groupOf(opts)
	if err != nil {
		return nil, err
	}
	s, path, err := findSnapshot(ctx, r, o.parent, f)
	if err == nil && path != "" {
		err = usage(fmt.Sprintf("--parent %s: the parent is a snapshot, without a path in it", o.parent))
	}
	return s, err
}

// groupOf returns the filter of the snapshots that could be the parent.
func groupOf(opts *backup.Options) (f repo.SnapshotFilter, err error) {
	f.At = opts.Time
	by := retain.DefaultGroupBy
	if opts.ParentBy != nil {
		by = *opts.ParentBy
	}
	host := opts.Host
	if host == "" {
		if host, err = os.Hostname(); err != nil {
			return f, err
		}
	}
	if by.Host {
		f.Hosts = []string{host}
	}
	if by.Paths {
		paths := opts.Paths
		if opts.Source != nil {
			paths = opts.Source.Paths()
		}
		for _, p := range paths {
			abs, err := backup.AbsPath(p)
			if err != nil {
				return f, err
			}
			f.Paths = append(f.Paths, abs)
		}
	}
	if by.Tags {
		f.Tags = opts.Tags
	}
	return f, nil
}
