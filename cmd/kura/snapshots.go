package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/retain"
)

type snapshotsOptions struct {
	filterOptions
	latest    int
	forgotten bool
}

func (a *app) snapshotsCommand() *cobra.Command {
	var o snapshotsOptions
	cmd := &cobra.Command{
		Use:   "snapshots [flags] [ID...]",
		Short: "list the snapshots",
		Long: `List the snapshots of a repository, oldest first.

A snapshot marked partial is of a run that was cut off, or is still under way: what is in it can be
restored, and the next run goes on from there. One with errors lacks what could not be read. A pinned one
can not be forgotten. One that is doubtful has a time that can not be right. One that is unreadable was made
by nobody's backup but with a stolen key: kura forget ID removes it.

With --forgotten, list instead those that were forgotten and that kura unforget can bring back.`,
		Example: `  kura snapshots
  kura snapshots --host www --tag nightly --latest 3
  kura snapshots --json`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runSnapshots(cmd.Context(), o, args) },
	}
	o.addFlags(cmd.Flags())
	o.addAt(cmd.Flags())
	cmd.Flags().IntVar(&o.latest, "latest", 0, "only the newest `n` of each host and set of paths")
	cmd.Flags().BoolVar(&o.forgotten, "forgotten", false, "those that were forgotten and can be brought back")
	return cmd
}

func (a *app) runSnapshots(ctx context.Context, o snapshotsOptions, ids []string) error {
	f, err := o.filter()
	if err != nil {
		return err
	}
	if o.latest < 0 {
		return usage("--latest must be at least 0, which is all")
	}
	if o.forgotten && len(ids) > 0 {
		return usage("--forgotten lists all that are; no snapshots can be named")
	}
	return a.withRepository(ctx, func(r *session) error {
		choose := func() ([]*repo.Snapshot, error) { return selectSnapshots(ctx, r, f, ids) }
		if o.forgotten {
			choose = func() ([]*repo.Snapshot, error) { return filtered(f)(r.Forgotten(ctx)) }
		}
		list, err := choose()
		if err != nil {
			return err
		}
		if err := r.FindDoubtful(ctx, list); err != nil {
			return err
		}
		if o.latest > 0 {
			list = newest(list, o.latest, inItsPlace(r.State(), list))
		}
		a.term.Snapshots(list)
		return nil
	})
}

// selectSnapshots returns the snapshots that were named or, without names, those that the filter
// selects.
func selectSnapshots(ctx context.Context, r *session, f repo.SnapshotFilter, names []string) ([]*repo.Snapshot, error) {
	if len(names) == 0 {
		return filtered(f)(r.Snapshots(ctx))
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

// filtered leaves what the filter selects of a list that was read.
func filtered(f repo.SnapshotFilter) func([]*repo.Snapshot, error) ([]*repo.Snapshot, error) {
	return func(list []*repo.Snapshot, err error) ([]*repo.Snapshot, error) {
		return slices.DeleteFunc(list, func(s *repo.Snapshot) bool { return !f.Match(s) }), err
	}
}

// newest keeps the newest n of each group, in the order of the list.
func newest(list []*repo.Snapshot, n int, alone func(*repo.Snapshot) bool) []*repo.Snapshot {
	wanted := map[string]bool{}
	for _, g := range retain.Group(retainable(list, alone), retain.DefaultGroupBy) {
		for _, s := range g.Snapshots[:min(n, len(g.Snapshots))] {
			wanted[s.ID] = true
		}
	}
	return slices.DeleteFunc(list, func(s *repo.Snapshot) bool { return !wanted[s.ID.String()] })
}

// inItsPlace returns a function that reports whether a snapshot is what repair could save of one that is no longer live: then it is all
// there is of that time, and displaces nobody. Of what was copied the original may be a copy in the list.
func inItsPlace(st *log.State, list []*repo.Snapshot) func(*repo.Snapshot) bool {
	sources := map[object.SessionID]bool{}
	for _, s := range list {
		sources[s.SourceID()] = true
	}
	return func(s *repo.Snapshot) bool {
		if len(s.Original) != len(s.ID) {
			return false
		}
		original := object.SessionID(s.Original)
		e := st.Snapshots[original]
		return !sources[original] && (e == nil || !e.Live())
	}
}

// retainable is what a retention policy looks at. A snapshot that lacks something takes no place in it, but for one that is alone.
func retainable(list []*repo.Snapshot, alone func(*repo.Snapshot) bool) []retain.Snapshot {
	out := make([]retain.Snapshot, len(list))
	for i, s := range list {
		out[i] = retain.Snapshot{
			ID: s.ID.String(), Time: s.When(), Host: s.Host, Paths: s.PathStrings(), Tags: s.Tags,
			Sound: s.Complete() && (s.Suspect == 0 || alone(s)), Pinned: s.Entry.Pinned, Doubtful: s.Doubtful || s.Err != nil,
		}
	}
	return out
}
