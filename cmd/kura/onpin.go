package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/source/mysql"
)

// chooser finds the snapshot that a command's name for one stands for, by the command's flags.
type chooser func(ctx context.Context, cmd *cobra.Command, r *session, name string) (*repo.Snapshot, error)

// pin puts the id of the snapshot that is meant in the place of latest: a restore that is cut off goes on with the same one, whatever has been
// saved meanwhile. What is chosen by a time is chosen here, so that --until must mean the same time there.
func (j *job) pin(ctx context.Context, r *session) error {
	if f := j.cmd.Flags().Lookup("until"); f != nil && f.Changed {
		if at, err := parseTime("--until", f.Value.String(), false); err == nil { // or it is a GTID
			if err := f.Value.Set(at.Format(time.RFC3339Nano)); err != nil {
				return err
			}
		}
	}
	defer func() { j.argv = argvOf(j.cmd, j.args, j.target, j.there) }()
	name := append(j.args, "latest")[0]
	if j.choose == nil || !strings.HasPrefix(name, "latest") {
		return nil
	}
	snap, err := j.choose(ctx, j.cmd, r, name)
	if err != nil {
		return err
	}
	pinned := snap.ID.String()
	if _, path, ok := strings.Cut(name, ":"); ok {
		pinned += ":" + path
	}
	j.args = []string{pinned}
	return nil
}

// filterOfFlags is the filter that a command's flags ask for.
func filterOfFlags(cmd *cobra.Command, host string) (o filterOptions, err error) {
	f := cmd.Flags()
	for name, to := range map[string]*[]string{host: &o.hosts, "tag": &o.tags, "path": &o.paths} {
		if *to, err = f.GetStringArray(name); err != nil {
			return o, err
		}
	}
	o.at, err = f.GetString("at")
	return o, err
}

func chooseAny(ctx context.Context, cmd *cobra.Command, r *session, name string) (*repo.Snapshot, error) {
	return chooseFiltered(ctx, cmd, r, name, findSnapshot)
}

func chooseRedis(ctx context.Context, cmd *cobra.Command, r *session, name string) (*repo.Snapshot, error) {
	return chooseFiltered(ctx, cmd, r, name, findRedis)
}

func chooseFiltered(ctx context.Context, cmd *cobra.Command, r *session, name string,
	find func(context.Context, *session, string, repo.SnapshotFilter) (*repo.Snapshot, string, error),
) (*repo.Snapshot, error) {
	o, err := filterOfFlags(cmd, "host")
	if err != nil {
		return nil, err
	}
	f, err := o.filter()
	if err != nil {
		return nil, err
	}
	snap, _, err := find(ctx, r, name, f)
	return snap, err
}

func chooseMySQL(ctx context.Context, cmd *cobra.Command, r *session, name string) (*repo.Snapshot, error) {
	o, err := filterOfFlags(cmd, "snapshot-host")
	if err != nil {
		return nil, err
	}
	until, err := cmd.Flags().GetString("until")
	if err != nil {
		return nil, err
	}
	c := &mysqlChoice{at: o.at, tags: o.tags, hosts: o.hosts, paths: o.paths}
	kind, moment := ofSQL, (*mysql.Until)(nil)
	switch {
	case cmd.Flags().Changed("target"):
		kind = ofFiles
	case until != "":
		if moment, err = parseUntil(until); err != nil {
			return nil, err
		}
	}
	b, err := c.find(ctx, r, name, kind, moment)
	if err != nil {
		return nil, err
	}
	return b.snap, nil
}
