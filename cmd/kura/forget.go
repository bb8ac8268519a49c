package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/retain"
	"github.com/kura-backup/kura/ui"
)

type forgetOptions struct {
	filterOptions
	keepLast int
	groupBy  string
	dryRun   bool
	prune    bool
}

func (a *app) forgetCommand() *cobra.Command {
	var o forgetOptions
	cmd := &cobra.Command{
		Use:   "forget [flags] (ID... | --keep-last N)",
		Short: "forget snapshots: those that are named, or all but the newest",
		Long: `Forget snapshots. They are no longer listed, and the next prune frees what only they needed.

With --keep-last N the newest N snapshots of each host and set of paths are kept, and the others
forgotten; --group-by makes other groups. --host, --tag and --path say of which snapshots; all others stay.
Snapshots of runs that were cut off do not count as one of the N; they are kept while they are newer
than every complete one.`,
		Example: `  kura forget 3f9a2c81 55e01d7f
  kura forget --keep-last 30 --prune
  kura forget --keep-last 3 --host www --tag nightly --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runForget(cmd.Context(), o, cmd.Flags().Changed("keep-last"), args)
		},
	}
	o.addFlags(cmd.Flags())
	cmd.Flags().IntVarP(&o.keepLast, "keep-last", "l", 0, "keep the newest `n` snapshots of each group")
	cmd.Flags().StringVarP(&o.groupBy, "group-by", "g", retain.DefaultGroupBy.String(), "what snapshots of a `group` have in common: host, paths, tags, or nothing")
	cmd.Flags().BoolVarP(&o.dryRun, "dry-run", "n", false, "change nothing, but say what would be forgotten")
	cmd.Flags().BoolVar(&o.prune, "prune", false, "free the space at once, as kura prune does")
	return cmd
}

func (a *app) runForget(ctx context.Context, o forgetOptions, policy bool, names []string) error {
	switch {
	case policy && len(names) > 0:
		return usage("both snapshots and --keep-last were given", "name the snapshots to forget, or say how many to keep")
	case !policy && len(names) == 0:
		return usage("forget which snapshots?", "name them, or say how many to keep: kura forget --keep-last 10")
	case policy && o.keepLast < 1:
		return usage("--keep-last must be at least 1", "to forget all snapshots, name them")
	}
	by, err := retain.ParseGroupBy(o.groupBy)
	if err != nil {
		return err
	}
	f, err := o.filter()
	if err != nil {
		return err
	}
	return a.withRepository(ctx, func(r *session) error {
		list, err := selectSnapshots(ctx, r, f, names)
		if err != nil {
			return err
		}
		remove := list
		if policy {
			groups := applyPolicy(retain.Policy{Last: o.keepLast}, by, list)
			a.term.Forget(groups)
			remove = nil
			for _, g := range groups {
				remove = append(remove, g.Remove...)
			}
		}
		forgotten, err := a.forget(ctx, r, remove, o.dryRun)
		if err != nil {
			return err
		}
		if o.prune && forgotten > 0 {
			return a.prune(ctx, r, o.dryRun)
		}
		return nil
	})
}

// forget forgets snapshots and returns how many.
func (a *app) forget(ctx context.Context, r *session, list []*repo.Snapshot, dryRun bool) (int, error) {
	ids := make([]object.SessionID, len(list))
	for i, s := range list {
		ids[i] = s.ID
	}
	did := "forgot "
	if dryRun {
		did = "would forget "
	} else {
		var err error
		if ids, err = r.Forget(ctx, ids); err != nil {
			return 0, err
		}
	}
	text := did + ui.Count(uint64(len(ids)), "snapshot")
	for i, id := range ids {
		switch {
		case i == 0:
			text += ": "
		case i == 10:
			text += fmt.Sprintf(" and %d more", len(ids)-i)
		default:
			text += ", "
		}
		if i == 10 {
			break
		}
		text += id.Short()
	}
	a.term.Info(text)
	return len(ids), nil
}

// applyPolicy returns what a policy keeps and removes of each group.
func applyPolicy(p retain.Policy, by retain.GroupBy, list []*repo.Snapshot) []ui.ForgetGroup {
	find := func(id string) *repo.Snapshot {
		return list[slices.IndexFunc(list, func(s *repo.Snapshot) bool { return s.ID.String() == id })]
	}
	var out []ui.ForgetGroup
	for _, g := range retain.Group(retainable(list), by) {
		fg := ui.ForgetGroup{By: by, Key: g.Key}
		keep, remove := retain.Apply(p, g.Snapshots)
		for _, k := range keep {
			fg.Keep = append(fg.Keep, find(k.Snapshot.ID))
			fg.Reasons = append(fg.Reasons, k.Reasons)
		}
		for _, s := range remove {
			fg.Remove = append(fg.Remove, find(s.ID))
		}
		out = append(out, fg)
	}
	return out
}
