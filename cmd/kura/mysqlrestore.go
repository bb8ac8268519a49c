package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/source/mysql"
	"github.com/kura-backup/kura/ui"
)

type mysqlRestoreOptions struct {
	mysqlServer
	mysqlChoice
	users, yes, dryRun, verify bool
	until                      string
	moment                     *mysql.Until // that until means
	target                     string
	prepare                    bool
}

func (a *app) mysqlRestoreCommand() *cobra.Command {
	var o mysqlRestoreOptions
	cmd := &cobra.Command{
		Use:   "restore [flags] ID",
		Short: "restore a backup of a MariaDB or MySQL server",
		Long: `Restore databases, or tables of them, into a running MariaDB or MySQL server.

ID is the beginning of a snapshot's id, latest, or latest~N, of which only snapshots of such servers count.

What there is already on the server is not overwritten unless --yes is given; then tables of the backup
replace those of the same name, and others stay. The vendor's client executes the SQL as it comes from the repository.
Then the rows of each table are counted, and with --verify the databases are dumped again and every row and
structure is compared with the backup: a difference is an error. A restore that fails leaves what it had done
so far; run it again with --yes.

With --until the server's logs, which "kura mysql archive-binlogs" has backed up, are replayed from the moment of
the backup up to a later one. This takes all databases to a server that has none of them, and that runs no events
meanwhile; latest is the newest backup from before that moment. Before anything is restored kura looks whether the
logs are those of the backup's server and reach that far. If the server has tables or views that are not in the
backup nothing is restored, also with --yes: the logs would act on these, too.

Accounts are restored only with --users, before all else: those that are there keep their passwords. (What the
logs of --until say of accounts is done in any case.) Views,
routines, triggers and events that belong to accounts which are not there are told of.

--rename-db gives a database another name. What a view, routine, trigger or event says in its own text is not
changed; those that name the old database are told of. Its events are switched off.

Files of a backup made with --physical are restored into a folder, with --target, and made ready for a server by
--prepare, for which mariadb-backup must be of the series of the server that was backed up. No server may work in the
folder. If there is something in it, --yes moves it aside as a whole (DIR.old-1), and deletes nothing.`,
		Example: `  kura mysql restore latest --dry-run
  kura mysql restore latest --database shop --rename-db shop=shop_yesterday
  kura mysql restore 1a2b3c4d --database shop.orders --yes --verify
  kura mysql restore latest --users --socket /run/new/mysqld.sock
  kura mysql restore latest --until "2026-03-01 17:59:59" --socket /run/new/mysqld.sock
  kura mysql restore latest --target /var/lib/mysql-restored --prepare`,
		Args: wantsSnapshot,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.target != "" {
				return a.runMySQLFiles(cmd.Context(), o, args[0])
			}
			if o.prepare {
				return wrongArgs(cmd, "--prepare is for files: name a folder with --target")
			}
			return a.runMySQLRestore(cmd.Context(), o, args[0])
		},
	}
	f := cmd.Flags()
	o.mysqlServer.addFlags(a, f)
	o.mysqlChoice.addFlags(f)
	f.BoolVar(&o.users, "users", false, "restore accounts and what they may do, too")
	f.BoolVar(&o.yes, "yes", false, "overwrite what there is on the server; with --target, move aside what there is in the folder")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "restore nothing, but say what would be restored, and whether it would overwrite something")
	f.BoolVar(&o.verify, "verify", false, "dump what was restored and compare every row with the backup")
	f.StringVar(&o.until, "until", "", "then replay the server's logs up to the first transaction of this `time` or later, or up to a GTID, with that transaction")
	f.StringVarP(&o.target, "target", "t", "", "`folder` for the files of a backup made with --physical; it must be empty or missing")
	f.BoolVar(&o.prepare, "prepare", false, "make those files ready for a server, by mariadb-backup --prepare")
	return cmd
}

func (a *app) runMySQLRestore(ctx context.Context, o mysqlRestoreOptions, name string) error {
	sel, err := o.selection()
	if err != nil {
		return err
	}
	c, err := o.config()
	if err != nil {
		return err
	}
	if o.until != "" {
		if len(o.databases)+len(o.rename) > 0 {
			return usage("--until replays everything: it does not go with --database and --rename-db", "restore into another server, and take from there what is wanted")
		}
		if o.moment, err = parseUntil(o.until); err != nil {
			return err
		}
	}
	return a.withRepository(ctx, func(r *session) error {
		b, err := o.find(ctx, r, name, ofSQL, o.moment)
		if err != nil {
			return err
		}
		m, err := b.manifest(ctx)
		if err != nil {
			return err
		}
		plan, err := m.Plan(sel)
		if err != nil {
			return plain{err}
		}
		if o.users && !m.Users {
			return fmt.Errorf("snapshot %s has no accounts", b.snap.ID.Short())
		}
		a.term.Info("restoring " + ui.Describe(b.snap))
		return explainMySQL(a.restoreMySQL(ctx, &o, c, b, plan))
	})
}

// restoredMySQL is the result of kura mysql restore --json.
type restoredMySQL struct {
	MessageType string   `json:"message_type"` // "summary"
	Databases   []string `json:"databases"`
	Tables      int      `json:"tables"`
	Rows        int64    `json:"rows"`
	Bytes       int64    `json:"bytes"`
	Overwrites  []string `json:"overwrites,omitempty"`
	DryRun      bool     `json:"dry_run,omitempty"`
	Compared    string   `json:"compared,omitempty"` // counts or rows
	// With --until: how many transactions were replayed, the place in the log that was reached, and the time of the last of them.
	Transactions int                `json:"transactions,omitempty"`
	Reached      *mysql.Coordinates `json:"reached,omitempty"`
	Last         *time.Time         `json:"last,omitempty"`
}

func (a *app) restoreMySQL(ctx context.Context, o *mysqlRestoreOptions, c mysql.Config, b *mysqlBackup, plan *mysql.Plan) (err error) {
	s, err := mysql.Open(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	result := restoredMySQL{MessageType: "summary", Tables: len(plan.Tables), Bytes: plan.Bytes, DryRun: o.dryRun}
	for _, t := range plan.Tables {
		result.Rows += t.Rows
	}
	for _, t := range plan.Databases {
		result.Databases = append(result.Databases, t.Name)
	}
	if result.Overwrites, err = plan.Conflicts(ctx, s); err != nil {
		return err
	}
	if len(result.Overwrites) > 0 && !o.yes && !o.dryRun {
		return withHint(fmt.Errorf("the server has already: %s", strings.Join(result.Overwrites, ", ")),
			"--rename-db restores a database beside it", "--yes overwrites what is of the same name")
	}
	replay, err := a.prepareReplay(ctx, o, b, plan, s)
	if err != nil {
		return err
	}
	if replay != nil {
		result.Transactions, result.Reached = replay.Transactions, &replay.To
		if replay.Transactions > 0 {
			result.Last = &replay.Last
		}
	}
	if !o.dryRun {
		if result.Compared, err = a.loadMySQL(ctx, o, c, b, s, plan); err != nil {
			return err
		}
		if replay != nil {
			if err := replay.Run(ctx, s); err != nil {
				return fmt.Errorf("replaying the logs: %w", err)
			}
		}
	}
	a.sayMySQLRestored(&result, o.moment)
	return nil
}

// loadMySQL loads a plan, and says what it was compared by.
func (a *app) loadMySQL(ctx context.Context, o *mysqlRestoreOptions, c mysql.Config, b *mysqlBackup, s *mysql.Server, plan *mysql.Plan) (compared string, err error) {
	open := b.open(ctx)
	if o.users {
		if err := s.LoadUsers(ctx, open); err != nil {
			return "", fmt.Errorf("accounts: %w", err)
		}
	}
	renamed, err := plan.Load(ctx, s, open)
	if err != nil {
		return "", err
	}
	a.sayRenamed(renamed)
	if err := plan.Count(ctx, s); err != nil {
		return "", err
	}
	compared = "counts"
	if o.verify {
		if err := plan.Compare(ctx, c); err != nil {
			return "", err
		}
		compared = "rows"
	}
	missing, err := plan.MissingDefiners(ctx, s)
	if err == nil && len(missing) > 0 {
		a.term.Info("views, routines, triggers or events run as accounts that are not there: " + strings.Join(missing, ", "))
	}
	return compared, err
}

// sayRenamed says what became of databases that were renamed, beyond their names.
func (a *app) sayRenamed(r mysql.Renamed) {
	for _, p := range r.Mention {
		a.term.Info(fmt.Sprintf("%v names the database that was renamed, by its old name", p))
	}
	for _, p := range r.Disabled {
		a.term.Info(fmt.Sprintf("%v are switched off, since the database that was renamed has them, too: ALTER EVENT … ENABLE", p))
	}
}

func (a *app) sayMySQLRestored(r *restoredMySQL, moment *mysql.Until) {
	if a.term.JSON {
		a.term.Message(r)
		return
	}
	what := fmt.Sprintf("%s of %s in %s", ui.Count(uint64(r.Rows), "row"), ui.Count(uint64(r.Tables), "table"), strings.Join(r.Databases, ", ")) + sayReplayed(r, moment)
	switch {
	case r.DryRun && len(r.Overwrites) > 0:
		a.term.Print("would restore " + what + ", and needs --yes to overwrite: " + strings.Join(r.Overwrites, ", "))
	case r.DryRun:
		a.term.Print("would restore " + what)
	case r.Compared == "rows":
		a.term.Print("restored " + what + "; every row is as it was backed up")
	default:
		a.term.Print("restored " + what + "; the numbers of rows are as they were backed up")
	}
}
