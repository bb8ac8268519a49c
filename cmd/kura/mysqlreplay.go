package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/source/mysql"
	"github.com/kura-backup/kura/ui"
)

// parseUntil reads a time, or a GTID. What could be both is a time, unless gtid: is in front.
func parseUntil(text string) (*mysql.Until, error) {
	gtid, named := strings.CutPrefix(text, "gtid:")
	at, err := parseTime("--until", text, false)
	if err == nil && !named {
		return &mysql.Until{Time: at}, nil
	}
	if g, err := mysql.ParseGTID(gtid); err == nil {
		return &mysql.Until{GTID: g}, nil
	}
	if named {
		err = usage("--until " + text + ": a GTID of MariaDB is domain-server-number")
	}
	return nil, err
}

// precedes reports whether a backup is one of a whole server, from before the moment.
func precedes(s *repo.Snapshot, d *mysql.Details, moment *mysql.Until) bool {
	if moment.GTID != nil {
		return whole(s, d) && !d.Has(*moment.GTID)
	}
	return whole(s, d) && !s.When().After(moment.Time)
}

func whole(s *repo.Snapshot, d *mysql.Details) bool {
	return slices.Equal(s.PathStrings(), []string{d.Root})
}

// findReplay finds out what leads from a backup to a moment.
func (a *app) findReplay(ctx context.Context, b *mysqlBackup, moment mysql.Until) (*mysql.Replay, error) {
	if !whole(b.snap, b.details) {
		return nil, withHint(fmt.Errorf("snapshot %s is not of all databases, and the logs are", b.snap.ID.Short()), "--until takes a backup that was made without --databases")
	}
	snaps, err := archivesOf(ctx, b)
	if err != nil {
		return nil, err
	}
	if len(snaps) == 0 {
		return nil, withHint(errors.New("there is no archive of the server's logs"), "kura mysql archive-binlogs makes one")
	}
	var archives []mysql.Archived
	var newer error // of the oldest that can not be read
	for _, snap := range snaps {
		d, err := mysql.ReadArchiveDetails([]byte(snap.Details))
		if err != nil {
			newer = fmt.Errorf("snapshot %s: %w", snap.ID.Short(), err)
			continue
		}
		logs := &mysqlBackup{b.r, snap, &mysql.Details{Root: d.Root}}
		archives = append(archives, mysql.Archived{Details: d, Open: logs.open(ctx)})
	}
	if len(archives) == 0 {
		return nil, newer
	}
	r, err := mysql.FindReplay(ctx, archives, b.details.At, moment)
	if errors.Is(err, mysql.ErrReach) && newer != nil {
		return nil, newer // which may have it
	}
	return r, explainReplay(err)
}

// archivesOf returns the archives of the logs of a backup's server, the newest first.
func archivesOf(ctx context.Context, b *mysqlBackup) ([]*repo.Snapshot, error) {
	all, err := b.r.Snapshots(ctx)
	if err != nil {
		return nil, err
	}
	want := mysql.ArchiveOf(b.details)
	f := repo.SnapshotFilter{Hosts: []string{b.snap.Host}, Where: func(s *repo.Snapshot) bool {
		d, err := mysql.ReadArchiveDetails([]byte(s.Details))
		return err != nil && pathsOf(s) == want || d != nil && d.Root == want
	}}
	fitting := slices.DeleteFunc(slices.Clone(all), func(s *repo.Snapshot) bool { return !s.Complete() || !f.Match(s) })
	slices.Reverse(fitting)
	return fitting, nil
}

// prepareReplay finds out what is to be replayed, and whether the server lets it: nil without --until.
func (a *app) prepareReplay(ctx context.Context, o *mysqlRestoreOptions, b *mysqlBackup, plan *mysql.Plan, s *mysql.Server) (*mysql.Replay, error) {
	if o.moment == nil {
		return nil, nil
	}
	others, err := plan.Others(ctx, s)
	if err != nil {
		return nil, err
	}
	if n := len(others); n > 0 {
		const most = 10
		if n > most {
			others = append(others[:most], fmt.Sprintf("and %d more", n-most))
		}
		return nil, withHint(fmt.Errorf("the server has what the backup has not: %s", strings.Join(others, ", ")),
			"the logs would act on these, too, also with --yes: drop them (an earlier replay may have made them), or restore into another server")
	}
	r, err := a.findReplay(ctx, b, *o.moment)
	if err != nil {
		return nil, err
	}
	if err := r.Ready(ctx, s); err != nil {
		return nil, withHint(err, "for as long as logs are replayed: SET GLOBAL event_scheduler = OFF, slave_run_triggers_for_rbr = NO")
	}
	return r, nil
}

func explainReplay(err error) error {
	switch {
	case errors.Is(err, mysql.ErrReach):
		return withHint(
			err, "--at chooses an earlier backup; kura mysql archive-binlogs adds what the server has now",
			"clients may set wrong times; --until gtid:… goes by the order in the log alone",
		)
	case errors.Is(err, mysql.ErrOrder):
		return withHint(err, "--until gtid:… says up to which transaction; clients may set the times of theirs, and long statements are noted when they end")
	}
	return err
}

// sayReplayed says how far the logs were replayed.
func sayReplayed(r *restoredMySQL, moment *mysql.Until) string {
	if r.Reached == nil {
		return ""
	}
	text := fmt.Sprintf(", and %s up to %s:%d", ui.Count(uint64(r.Transactions), "transaction"), r.Reached.File, r.Reached.Position)
	if r.Reached.GTID != "" {
		text += ", GTID " + r.Reached.GTID
	}
	if r.Last != nil {
		text += " of " + r.Last.Local().Format(time.DateTime)
	}
	if moment.GTID == nil {
		text += ", for " + moment.Time.Format(time.RFC3339)
	}
	return text
}
