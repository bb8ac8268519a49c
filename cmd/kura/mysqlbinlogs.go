package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/internal/clock"
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
the next time.

What happens after the server was asked for its logs is lost with it, until the next run. Up to when the archive is
complete, how long it took until that was saved, and with --every how much can be lost, is said after each run.`,
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
			a.term.ItemError("archival", "", errors.New(message+"; trying again in "+o.every.String()+"; the archive is complete up to "+last.AsOf.Local().Format(time.DateTime)))
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
	var lag *time.Duration // nil if nothing was saved
	o.saved = func() { lag = new(clock.Since(src.Asked())) }
	if err := a.runSource(ctx, o.snapshotOptions, src); err != nil {
		return nil, err
	}
	d := src.Details()
	if src.Anew() {
		a.term.Info("this archive is a new one, and continues no other")
	}
	a.term.Info(fmt.Sprintf("%s up to %s:%d, whose last event is of %s", ui.Count(uint64(len(d.Logs)), "log"), d.At.File, d.At.Position, d.Last.Local().Format(time.DateTime)))
	if lag == nil {
		return d, nil
	}
	a.term.Info(describeLag(d.AsOf, *lag, o.every))
	if a.term.JSON {
		a.term.Message(archivedLogs{
			MessageType: "archive", Logs: len(d.Logs), At: d.At, Last: d.Last.UTC(), AsOf: d.AsOf.UTC(), Lag: lag.Seconds(), Every: o.every.Seconds(),
		})
	}
	return d, nil
}

// archivedLogs is what kura mysql archive-binlogs --json adds to the summary.
type archivedLogs struct {
	MessageType string            `json:"message_type"` // "archive"
	Logs        int               `json:"logs"`
	At          mysql.Coordinates `json:"at"`
	Last        time.Time         `json:"last"`
	AsOf        time.Time         `json:"as_of"`
	Lag         float64           `json:"lag_seconds"` // from when the server was asked to when that was saved
	Every       float64           `json:"every_seconds,omitempty"`
}

// describeLag says up to when an archive is complete, and what can be lost.
func describeLag(asOf time.Time, lag, every time.Duration) string {
	text := fmt.Sprintf("complete up to %s, saved %v later; ", asOf.Local().Format(time.DateTime), lag.Round(time.Millisecond))
	if every == 0 {
		return text + "what happens from then on is lost with the server, until the next run"
	}
	// Until the next time is saved there is only this one. Runs that take longer than every follow one another.
	lost := max(every, lag) + lag
	return text + fmt.Sprintf("with --every %v the last %v can be lost with the server", every, lost.Round(time.Millisecond))
}

func explainArchive(err error) error {
	if errors.Is(err, mysql.ErrGap) {
		return withHint(err, "make a backup with kura mysql backup, and begin a new archive with --after-gap",
			"the server should keep logs for longer than the time between two runs: binlog_expire_logs_seconds")
	}
	return err
}
