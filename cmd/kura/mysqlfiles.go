package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/kura-backup/kura/internal/mounts"
	"github.com/kura-backup/kura/source/mysql"
)

// runMySQLFiles restores the files of a physical backup.
func (a *app) runMySQLFiles(ctx context.Context, o mysqlRestoreOptions, name string) error {
	if len(o.databases)+len(o.rename) > 0 || o.users || o.verify || o.until != "" {
		return usage("--target restores a server's files: it does not go with --database, --rename-db, --users, --verify and --until")
	}
	dir, err := filepath.Abs(o.target)
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real // the folder is moved aside, not the link to it
	}
	if err := mysql.Running(dir); err != nil {
		return explainMySQL(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	full := len(entries) > 0
	if full && !o.yes {
		return withHint(fmt.Errorf("%s is not empty", dir), "a server's files belong into a folder of their own; --yes moves aside what is there")
	}
	if full {
		if err := a.alone(dir); err != nil {
			return err
		}
	}
	var from string
	var details *mysql.Details
	err = a.withRepository(ctx, func(r *session) error {
		b, err := o.find(ctx, r, name, ofFiles, nil)
		if err != nil {
			return err
		}
		from, details = b.snap.ID.String()+":"+b.details.Root, b.details
		return nil
	})
	if err != nil {
		return err
	}
	if full && o.dryRun {
		a.term.Info("what is in " + dir + " would be moved aside")
		return nil
	}
	if full {
		if err := a.moveAside(dir); err != nil {
			return err
		}
	}
	if err := a.runRestore(ctx, restoreOptions{target: dir, overwrite: "always", dryRun: o.dryRun}, from); err != nil || o.dryRun {
		return err
	}
	if o.prepare {
		a.term.Info("making the files ready for a server")
		if err := mysql.Prepare(ctx, details, dir); err != nil {
			return err
		}
	}
	a.sayNextSteps(details, dir, o.prepare)
	return nil
}

// alone returns an error if a folder can not be moved aside without what is needed afterwards, or without other file systems.
func (a *app) alone(dir string) error {
	if p, err := a.place(); err == nil && inRepository(p, dir) {
		return usage(dir+" is in the repository", "restore to somewhere else")
	}
	for _, path := range a.usedFiles() {
		if mounts.Within(mounts.RealPath(path), dir) {
			return withHint(fmt.Errorf("%s lies in %s, is needed, and would be moved aside with it", path, dir), "restore into another folder")
		}
	}
	all, err := mounts.List()
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.At != dir && mounts.Within(m.At, dir) { // of dir itself moveAside says so
			return withHint(fmt.Errorf("something is mounted on %s, which lies in %s, and would be moved aside with it", m.At, dir), "unmount it, or restore into another folder")
		}
	}
	return nil
}

// moveAside gives a folder that no server works in another name. Files of two servers in one folder are none of either.
func (a *app) moveAside(dir string) error {
	if err := mysql.Running(dir); err != nil { // finding the snapshot has taken a while
		return explainMySQL(err)
	}
	old := ""
	for n := 1; ; n++ {
		old = fmt.Sprintf("%s.old-%d", dir, n)
		if _, err := os.Lstat(old); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
	}
	err := os.Rename(dir, old)
	if errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EXDEV) {
		return withHint(err, "a volume is mounted there: move away by hand what is in it, or name a folder in it")
	}
	if err == nil {
		a.term.Info("what was there is now " + old)
	}
	return err
}

// sayNextSteps says how a server gets to use restored files.
func (a *app) sayNextSteps(d *mysql.Details, dir string, prepared bool) {
	if !prepared {
		a.term.Info("next, with the mariadb-backup of " + d.Version + ": mariadb-backup --prepare --target-dir=" + dir)
	}
	a.term.Info("then, as root: chown -R mysql:mysql " + dir + ", and start a server of the same version with --datadir=" + dir)
}
