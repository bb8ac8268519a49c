package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/source/mysql"
)

// mysqlChoice says which backup is meant, and what of it.
type mysqlChoice struct {
	at        string
	tags      []string
	hosts     []string
	paths     []string
	databases []string
	rename    map[string]string
}

func (o *mysqlChoice) addFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.databases, "database", nil, "only this `database`, or database.table; quote names with a dot as SQL does (can be given several times)")
	f.StringToStringVar(&o.rename, "rename-db", nil, "call a database otherwise: `old=new` (can be given several times)")
	f.StringVar(&o.at, "at", "", "only snapshots made at or before this `time`, so that latest is the newest then")
	f.StringArrayVar(&o.tags, "tag", nil, "only snapshots with this `tag`, or with all of a list a,b (can be given several times: all of them)")
	f.StringArrayVar(&o.paths, "path", nil, "only snapshots of this `path`, such as /mysql/local (can be given several times: all of them)")
	f.StringArrayVar(&o.hosts, "snapshot-host", nil, "only snapshots of this `host` (can be given several times: any of them)")
}

// selection makes the library's choice of the flags.
func (o *mysqlChoice) selection() (sel mysql.Selection, err error) {
	for _, text := range o.databases {
		w, err := mysql.ParseWanted(text)
		if err != nil {
			return sel, usage(fmt.Sprintf("--database %s is neither database nor database.table", text))
		}
		sel.Only = append(sel.Only, w)
	}
	for from, to := range o.rename {
		if from == "" || to == "" {
			return sel, usage(fmt.Sprintf("--rename-db %s=%s: one of the names is empty", from, to))
		}
	}
	sel.Rename = o.rename
	return sel, nil
}

func wantsSnapshot(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return wrongArgs(cmd, "which snapshot? latest is the newest one of a MariaDB or MySQL server")
	case 1:
		return nil
	}
	return wrongArgs(cmd, fmt.Sprintf("unexpected argument %q", args[1]))
}

// mysqlBackup is a backup in an open repository.
type mysqlBackup struct {
	r       *session
	snap    *repo.Snapshot
	details *mysql.Details
}

// kinds of backups.
const (
	ofSQL   = "logical"
	ofFiles = "physical"
)

// find finds the backup that is meant, of a kind; with a moment, one from which logs can lead to it. The flags and these count for latest,
// which has to be of one server.
func (o *mysqlChoice) find(ctx context.Context, r *session, name, kind string, moment *mysql.Until) (*mysqlBackup, error) {
	f, err := (&filterOptions{hosts: o.hosts, tags: o.tags, paths: o.paths, at: o.at}).filter()
	if err != nil {
		return nil, err
	}
	f.Where = func(s *repo.Snapshot) bool {
		d, err := mysql.ReadDetails([]byte(s.Details))
		if err != nil {
			return moment == nil // for a moment any backup before it will do
		}
		return d != nil && d.Kind == kind && (moment == nil || precedes(s, d, moment))
	}
	if strings.HasPrefix(name, "latest") {
		root := func(s *repo.Snapshot) string {
			d, err := mysql.ReadDetails([]byte(s.Details))
			if err != nil {
				return pathsOf(s)
			}
			return d.Root
		}
		if err := oneServer(ctx, r, f, root, "--snapshot-host and --path choose one"); err != nil {
			return nil, err
		}
	}
	snap, path, err := findSnapshot(ctx, r, name, f)
	if errors.Is(err, repo.ErrNotFound) && moment != nil {
		return nil, withHint(err, "--until takes a backup of all databases, from before that moment")
	}
	if errors.Is(err, repo.ErrNotFound) {
		f.Where = func(s *repo.Snapshot) bool {
			d, err := mysql.ReadDetails([]byte(s.Details))
			return d != nil || err != nil
		}
		if other, _, oerr := findSnapshot(ctx, r, name, f); oerr == nil {
			snap, err = other, nil // what is wrong with it is said below
		}
	}
	if err != nil {
		return nil, err
	}
	if path != "" {
		return nil, usage(fmt.Sprintf("%s: name databases and tables with --database", name))
	}
	d, err := mysql.ReadDetails([]byte(snap.Details))
	switch {
	case err != nil:
		return nil, fmt.Errorf("snapshot %s: %w", snap.ID.Short(), err)
	case d == nil:
		return nil, fmt.Errorf("snapshot %s is not of a MariaDB or MySQL server", snap.ID.Short())
	case d.Kind == ofFiles && kind == ofSQL:
		return nil, withHint(fmt.Errorf("snapshot %s has a server's files, not SQL", snap.ID.Short()), "kura mysql restore --target DIR --prepare restores them")
	case d.Kind == ofSQL && kind == ofFiles:
		return nil, withHint(fmt.Errorf("snapshot %s has SQL, not a server's files", snap.ID.Short()), "kura mysql restore without --target loads it into a server")
	}
	return &mysqlBackup{r, snap, d}, nil
}

// open opens a file of the backup.
func (b *mysqlBackup) open(ctx context.Context) mysql.Opener {
	return func(path string) (io.ReadCloser, error) {
		n, err := b.r.Find(ctx, b.snap, b.details.Root+"/"+path)
		if err != nil {
			return nil, explainFind(err)
		}
		return restore.NewReader(ctx, b.r.Repository, n)
	}
}

// manifest reads the manifest of a logical backup.
func (b *mysqlBackup) manifest(ctx context.Context) (*mysql.Manifest, error) {
	f, err := b.open(ctx)("+dump.json")
	if err != nil {
		return nil, err
	}
	m, err := mysql.ReadManifest(f)
	return m, errors.Join(err, f.Close())
}
