package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/retain"
)

type snapshotsOptions struct {
	filterOptions
	latest int
}

func (a *app) snapshotsCommand() *cobra.Command {
	var o snapshotsOptions
	cmd := &cobra.Command{
		Use:   "snapshots [flags] [ID...]",
		Short: "list the snapshots",
		Long: `List the snapshots of a repository, oldest first.

A snapshot marked partial is of a run that was cut off, or is still under way: what is in it can be
restored, and the next run goes on from there. One with errors lacks what could not be read.`,
		Example: `  kura snapshots
  kura snapshots --host www --tag nightly --latest 3
  kura snapshots --json`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runSnapshots(cmd.Context(), o, args) },
	}
	o.addFlags(cmd.Flags())
	o.addAt(cmd.Flags())
	cmd.Flags().IntVar(&o.latest, "latest", 0, "only the newest `n` of each host and set of paths")
	return cmd
}

func (a *app) runSnapshots(ctx context.Context, o snapshotsOptions, ids []string) error {
	f, err := o.filter()
	if err != nil {
		return err
	}
	if o.latest < 0 {
		return usage("--latest must be at least 1")
	}
	return a.withRepository(ctx, func(r *session) error {
		list, err := selectSnapshots(ctx, r, f, ids)
		if err != nil {
			return err
		}
		if o.latest > 0 {
			list = newest(list, o.latest)
		}
		a.term.Snapshots(list)
		return nil
	})
}

// selectSnapshots returns the snapshots that were named or, without names, those that the filter
// selects.
func selectSnapshots(ctx context.Context, r *session, f repo.SnapshotFilter, names []string) ([]*repo.Snapshot, error) {
	if len(names) == 0 {
		list, err := r.Snapshots(ctx)
		if err != nil {
			return nil, err
		}
		return slices.DeleteFunc(list, func(s *repo.Snapshot) bool { return !f.Match(s) }), nil
	}
	var list []*repo.Snapshot
	for _, name := range names {
		s, path, err := r.FindSnapshot(ctx, name, f)
		if err != nil {
			return nil, explainFind(err)
		}
		if path != "" {
			return nil, usage("a snapshot was wanted, not a path in it: " + name)
		}
		if !slices.ContainsFunc(list, func(have *repo.Snapshot) bool { return have.ID == s.ID }) {
			list = append(list, s)
		}
	}
	return list, nil
}

// newest keeps the newest n of each group, in the order of the list.
func newest(list []*repo.Snapshot, n int) []*repo.Snapshot {
	wanted := map[string]bool{}
	for _, g := range retain.Group(retainable(list), retain.DefaultGroupBy) {
		for _, s := range g.Snapshots[:min(n, len(g.Snapshots))] {
			wanted[s.ID] = true
		}
	}
	return slices.DeleteFunc(list, func(s *repo.Snapshot) bool { return !wanted[s.ID.String()] })
}

// retainable is what a retention policy looks at.
func retainable(list []*repo.Snapshot) []retain.Snapshot {
	out := make([]retain.Snapshot, len(list))
	for i, s := range list {
		out[i] = retain.Snapshot{
			ID: s.ID.String(), Time: s.When(), Host: s.Host, Paths: s.PathStrings(), Tags: s.Tags,
			Sound: s.Complete() && s.Suspect == 0,
		}
	}
	return out
}
