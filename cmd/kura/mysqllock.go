package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/internal/process"
	"github.com/kura-backup/kura/source/mysql"
)

type mysqlLockOptions struct {
	mysqlServer
	limits mysql.Limits
}

func (a *app) mysqlLockCommand() *cobra.Command {
	var o mysqlLockOptions
	cmd := &cobra.Command{
		Use:   "lock [flags] -- COMMAND [ARGUMENT...]",
		Short: "run a command while a MariaDB or MySQL server stands still",
		Long: `Run a command, such as one that makes a snapshot of a volume, while nothing is committed on a server and no
table is altered. A snapshot of all volumes with the server's data, made by the command, is what the server
had at the coordinates that the command finds in its environment:

  KURA_MYSQL_FILE, KURA_MYSQL_POSITION   place in the server's binary log
  KURA_MYSQL_GTID                        the same as GTIDs
  KURA_MYSQL_VERSION                     of the server

MariaDB is held by BACKUP STAGE BLOCK_COMMIT, MySQL by LOCK INSTANCE FOR BACKUP and FLUSH TABLES WITH READ LOCK.
Everybody who writes waits meanwhile. So the lock is only asked for while no query has been running
for longer than --long-query, for behind such a query it would keep everybody waiting; it is waited for no
longer than --lock-wait; and after --max-hold it is released whatever the command does, which
then is ended, and the run fails. The lock goes in any case, even if kura is killed.

What can be slow, such as sync, should be done before.`,
		Example: `  sync; kura mysql lock --max-hold 5s -- lvcreate --snapshot --size 10G --name shop-now vg/shop
  kura mysql lock --user backup --password-file /etc/kura/mysql-password -- sh -c 'cp --reflink /srv/db.img /srv/db-now.img; echo $KURA_MYSQL_GTID'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "" {
				return wrongArgs(cmd, "run which command under the lock?")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.runMySQLLock(cmd.Context(), o, args) },
	}
	f := cmd.Flags()
	o.addFlags(a, f)
	addLimits(f, &o.limits, 30*time.Second)
	f.DurationVar(&o.limits.LongQuery, "long-query", 10*time.Second, "do not ask for the lock while a query has been running for longer than this `time`")
	return cmd
}

// lockMessage is the result of kura mysql lock --json.
type lockMessage struct {
	MessageType string            `json:"message_type"` // "lock"
	Server      string            `json:"server"`
	At          mysql.Coordinates `json:"at"`
	Replicas    []mysql.Replica   `json:"replicas,omitempty"`
	LockMS      int64             `json:"lock_ms"`
}

func (a *app) runMySQLLock(ctx context.Context, o mysqlLockOptions, command []string) error {
	c, err := o.config()
	if err != nil {
		return err
	}
	if err := checkLimits(o.limits); err != nil {
		return err
	}
	if o.limits.LongQuery <= 0 {
		return usage(fmt.Sprintf("--long-query %v is no time", o.limits.LongQuery))
	}
	defer outliveOutput()()
	held, err := mysql.Hold(ctx, c, o.limits, func(ctx context.Context, h *mysql.Held) error {
		cmd := process.New(ctx, command)
		cmd.Stdin, cmd.Stdout = a.stdin, os.Stdout
		cmd.Env = append(
			os.Environ(), "KURA_MYSQL_FILE="+h.At.File, "KURA_MYSQL_POSITION="+strconv.FormatUint(h.At.Position, 10),
			"KURA_MYSQL_GTID="+h.At.GTID, "KURA_MYSQL_VERSION="+h.Server,
		)
		if err := cmd.Run(); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("%s: %w", command[0], err)
		}
		return nil
	})
	if err != nil {
		return explainMySQL(err)
	}
	if a.term.JSON {
		a.term.Message(lockMessage{"lock", held.Server, held.At, held.Replicas, held.Time.Milliseconds()})
		return nil
	}
	at := "the server keeps no binary log"
	if held.At.File != "" {
		at = fmt.Sprintf("at %s:%d", held.At.File, held.At.Position)
	}
	if held.At.GTID != "" {
		at += ", GTID " + held.At.GTID
	}
	a.term.Info(fmt.Sprintf("the server stood still for %d ms, %s", held.Time.Milliseconds(), at))
	return nil
}
