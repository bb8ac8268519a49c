package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

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
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 && !o.yes {
		return withHint(fmt.Errorf("%s is not empty", dir), "a server's files belong into a folder of their own; --yes restores them over what is there")
	}
	var from string
	var details *mysql.Details
	err = a.withRepository(ctx, func(r *session) error {
		b, err := o.find(ctx, r, name)
		if err != nil {
			return err
		}
		if b.details.Kind != "physical" {
			return withHint(fmt.Errorf("snapshot %s has SQL, not a server's files", b.snap.ID.Short()), "kura mysql restore without --target loads it into a server")
		}
		from, details = b.snap.ID.String()+":"+b.details.Root, b.details
		return nil
	})
	if err != nil {
		return err
	}
	if err := a.runRestore(ctx, restoreOptions{target: dir, overwrite: "always", delete: o.yes, dryRun: o.dryRun}, from); err != nil || o.dryRun {
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

// sayNextSteps says how a server gets to use restored files.
func (a *app) sayNextSteps(d *mysql.Details, dir string, prepared bool) {
	if !prepared {
		a.term.Info("next, with the mariadb-backup of " + d.Version + ": mariadb-backup --prepare --target-dir=" + dir)
	}
	a.term.Info("then, as root: chown -R mysql:mysql " + dir + ", and start a server of the same version with --datadir=" + dir)
}
