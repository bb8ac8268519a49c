package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/source/mysql"
	"github.com/kura-backup/kura/ui"
)

type mysqlArchiveOptions struct {
	mysqlServer
	snapshotOptions
	every    time.Duration
	keep     time.Duration
	afterGap bool
	name     string
}

func (a *app) mysqlArchiveCommand() *cobra.Command {
	var o mysqlArchiveOptions
	cmd := &cobra.Command{
		Use:   "archive-binlogs [flags]",
		Short: "back up the binary logs of a MariaDB server",
		Long: `Back up the binary logs of a MariaDB server, by which "kura mysql restore --until" gets from a backup to any later
moment.

Each snapshot has all logs: those of the one before, which are not read again, and what the server has now. They
come over the connection, as to a replica, without a place on the server's disk being needed. Every event is
compared with its checksum, and every log with what came before it. If the server has removed logs before they were
archived, or has begun with others, the run fails; --after-gap begins a new archive. What the one before has stays
within reach.

With --every the command goes on until it is interrupted, and makes a snapshot each time that there is something new.
While nothing happens on the server it makes one after ten such times, or ten minutes if that is longer, so that
those moments are within reach, too. When the server or the repository can not be reached, it says so and tries again
the next time. What is lost with the server is at most what happened since the last time.`,
		Example: `  kura mysql archive-binlogs
  kura mysql archive-binlogs --every 1m --keep 720h --user backup --password-file /etc/kura/mysql-password`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runMySQLArchive(cmd.Context(), o) },
	}
	var groups []flagGroup
	o.mysqlServer.addFlags(a, newGroup(&groups, "The server"))
	f := newGroup(&groups, "What to back up")
	f.DurationVar(&o.every, "every", 0, "go on, and look for something new each time that this `time` has passed")
	f.DurationVar(&o.keep, "keep", 0, "leave logs out of new snapshots whose last event is older than this `time` (default: none)")
	addName(f, &o.name)
	f.BoolVar(&o.afterGap, "after-gap", false, "begin a new archive where logs are missing")
	o.addFlagsOf(cmd, &groups, "snapshot-host")
	return cmd
}

func (a *app) runMySQLArchive(ctx context.Context, o mysqlArchiveOptions) error {
	c, err := o.config()
	if err != nil {
		return err
	}
	if err := checkName(o.name); err != nil {
		return err
	}
	c.Label = o.name
	if o.every < 0 || o.keep < 0 {
		return usage("--every and --keep are times")
	}
	if o.every == 0 {
		_, err := a.archiveOnce(ctx, o, c)
		return explainArchive(err)
	}
	ticker := time.NewTicker(o.every)
	defer ticker.Stop()
	var last *mysql.ArchiveDetails
	for {
		err := a.archiveNew(ctx, &o, c, &last)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, mysql.ErrGap), errors.Is(err, mysql.ErrPrivileges), err != nil && last == nil:
			return explainArchive(err)
		case err != nil:
			message, _ := explain(exitError, err)
			a.term.Error("kura: error: " + message + "; trying again in " + o.every.String())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// A server that does nothing is archived when it was looked at so often, and not more often than this.
const (
	idleRounds = 10
	leastIdle  = 10 * time.Minute
)

// archiveNew makes a snapshot if there is something new, or if the last one does not say for how long there has been nothing.
func (a *app) archiveNew(ctx context.Context, o *mysqlArchiveOptions, c mysql.Config, last **mysql.ArchiveDetails) error {
	if *last != nil {
		due, err := (&mysql.Archive{Config: c}).Due(ctx, *last, max(idleRounds*o.every, leastIdle))
		if err != nil || !due {
			return err
		}
	}
	d, err := a.archiveOnce(ctx, *o, c)
	if err == nil {
		*last = d
		o.afterGap = false // that was meant for the first time
	}
	return err
}

func (a *app) archiveOnce(ctx context.Context, o mysqlArchiveOptions, c mysql.Config) (*mysql.ArchiveDetails, error) {
	src := &mysql.Archive{Config: c, AfterGap: o.afterGap, Keep: o.keep}
	if err := a.runSource(ctx, o.snapshotOptions, src); err != nil {
		return nil, err
	}
	d := src.Details()
	if src.Anew() {
		a.term.Info("this archive is a new one, and continues no other")
	}
	a.term.Info(fmt.Sprintf("%s up to %s:%d, whose last event is of %s", ui.Count(uint64(len(d.Logs)), "log"), d.At.File, d.At.Position, d.Last.Local().Format(time.DateTime)))
	return d, nil
}

func explainArchive(err error) error {
	if errors.Is(err, mysql.ErrGap) {
		return withHint(err, "make a backup with kura mysql backup, and begin a new archive with --after-gap",
			"the server should keep logs for longer than the time between two runs: binlog_expire_logs_seconds")
	}
	return err
}
