package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/mysql"
	"github.com/kura-backup/kura/ui"
)

type mysqlBackupOptions struct {
	mysqlServer
	snapshotOptions
	databases        []string
	all              bool
	name             string
	noUsers          bool
	noHistory        bool
	checksums        bool
	nonTransactional string
	limits           mysql.Limits
	physical         bool
}

func (a *app) mysqlBackupCommand() *cobra.Command {
	var o mysqlBackupOptions
	cmd := &cobra.Command{
		Use:   "backup [flags]",
		Short: "back up a MariaDB or MySQL server",
		Long: `Back up a MariaDB or MySQL server into a new snapshot, while it works.

All databases, but for the server's own, are backed up as they were at one moment, with views, triggers,
routines and events, and with accounts and what they may do. The dump program of the server's vendor,
mariadb-dump or mysqldump, makes SQL of them, which is stored as a file for each table: tables that have not changed cost
nothing, and those that have cost what is new. Where the server's log was at that moment is in the snapshot's
details (kura snapshots --json). How many rows each table has is stored beside it, with a digest of
them, by which a restore is checked.

Tables that keep their history (WITH SYSTEM VERSIONING) are backed up with it; --no-history leaves it out.

Tables of engines without transactions, such as MyISAM, are not of that moment. They are refused, or with
--non-transactional lock kept from being written while the dump runs.

With --physical the server's files are backed up by mariadb-backup, which must be of the server's series
and run on its machine as somebody who may read them.

If the account lacks privileges, kura says which, and the GRANT statement that gives them.`,
		Example: `  kura mysql backup --tag nightly
  kura mysql backup --databases shop,wiki --user backup --password-file /etc/kura/mysql-password
  kura mysql backup --host db1.example.com --defaults-file /etc/kura/db1.cnf
  kura mysql backup --physical`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runMySQLBackup(cmd.Context(), o) },
	}
	var groups []flagGroup
	o.mysqlServer.addFlags(a, newGroup(&groups, "The server"))
	f := newGroup(&groups, "What to back up")
	f.StringSliceVar(&o.databases, "databases", nil, "back up the databases of this `list` a,b")
	f.BoolVar(&o.all, "all", false, "back up all databases, but for the server's own (the default)")
	f.BoolVar(&o.noUsers, "no-users", false, "leave out accounts and what they may do")
	f.BoolVar(&o.noHistory, "no-history", false, "leave out the history of tables that keep it (WITH SYSTEM VERSIONING): only the rows of now")
	f.BoolVar(&o.checksums, "checksums", false, "also note CHECKSUM TABLE of each table at the moment of the dump (MariaDB): nothing is committed while both views are opened")
	f.StringVar(&o.nonTransactional, "non-transactional", string(mysql.Refuse), "what to do about tables whose engine has no transactions: `refuse` or lock")
	addLimits(f, &o.limits, time.Hour)
	addName(f, &o.name)
	f.BoolVar(&o.physical, "physical", false, "back up the server's files by mariadb-backup")
	o.addFlagsOf(cmd, &groups, "snapshot-host")
	return cmd
}

// source makes the source of the flags.
func (o *mysqlBackupOptions) source(a *app) (source.Source, func() *mysql.Details, error) {
	c, err := o.config()
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(checkLimits(o.limits), checkName(o.name)); err != nil {
		return nil, nil, err
	}
	c.Label = o.name
	if o.physical {
		if len(o.databases) > 0 || o.noUsers || o.noHistory || o.checksums || o.nonTransactional != string(mysql.Refuse) {
			return nil, nil, usage("--physical backs up the whole server: it does not go with --databases, --no-users, --no-history, --checksums and --non-transactional")
		}
		b := &mysql.Physical{Config: c, Looked: a.sayFacts}
		return b, b.Details, nil
	}
	if o.all && len(o.databases) > 0 {
		return nil, nil, usage("both --all and --databases were given")
	}
	tables := mysql.NonTransactional(o.nonTransactional)
	if tables != mysql.Refuse && tables != mysql.Lock {
		return nil, nil, usage(fmt.Sprintf("--non-transactional %q is neither refuse nor lock", o.nonTransactional))
	}
	b := &mysql.Logical{
		Config: c, Databases: o.databases, NoUsers: o.noUsers, NoHistory: o.noHistory, Checksums: o.checksums, Tables: tables, Limits: o.limits, Looked: a.sayLogicalFacts,
		Warn: a.term.Info,
	}
	return b, b.Details, nil
}

func (a *app) sayFacts(f *mysql.Facts) {
	a.term.Info(fmt.Sprintf("%s %s: %s, %s", f.Vendor, f.Version, ui.Count(uint64(len(f.Databases)), "database"), ui.Count(uint64(f.Tables), "table")))
	if !f.Binlog {
		a.term.Info("the server keeps no binary log: what happens after the backup can not be replayed")
	}
}

// sayLogicalFacts also says what a dump does not have.
func (a *app) sayLogicalFacts(f *mysql.Facts) {
	a.sayFacts(f)
	if n := len(f.Floats); n > 0 {
		have := "have"
		if n == 1 {
			have = "has"
		}
		a.term.Info(fmt.Sprintf("%s %s columns of the type FLOAT, such as %s.%s: servers print six digits of it, and a dump has no more (DOUBLE, or --physical, is exact)",
			ui.Count(uint64(n), "table"), have, f.Floats[0].Database, f.Floats[0].Table))
	}
}

func (a *app) runMySQLBackup(ctx context.Context, o mysqlBackupOptions) error {
	src, details, err := o.source(a)
	if err != nil {
		return err
	}
	err = a.runSource(ctx, o.snapshotOptions, src)
	if d := details(); d.Bytes > 0 && (err == nil || exitCode(ctx, err) == exitIncomplete) {
		a.term.Info(describeMySQL(d))
	}
	return explainMySQL(err)
}

// describeMySQL says in a line what was backed up.
func describeMySQL(d *mysql.Details) string {
	var parts []string
	if d.Kind == "logical" {
		parts = append(parts, fmt.Sprintf("%s of %s", ui.Count(uint64(d.Rows), "row"), ui.Count(uint64(d.Tables), "table")))
	}
	if d.At.File != "" {
		parts = append(parts, fmt.Sprintf("as of %s:%d", d.At.File, d.At.Position))
	}
	if d.At.GTID != "" {
		parts = append(parts, "GTID "+d.At.GTID)
	}
	for _, r := range d.Replicas {
		parts = append(parts, fmt.Sprintf("a replica of %s at %s:%d", r.Source, r.At.File, r.At.Position))
	}
	if d.Locked > 0 {
		parts = append(parts, fmt.Sprintf("%s locked for %d ms", ui.Count(uint64(d.Locked), "table"), d.LockMS))
	}
	return strings.Join(parts, ", ")
}
