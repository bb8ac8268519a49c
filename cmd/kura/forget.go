package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/retain"
	"github.com/kura-backup/kura/ui"
)

type forgetOptions struct {
	filterOptions
	pruneOptions
	policyOptions
	groupBy        string
	compact        bool
	prune          bool
	allowRemoveAll bool
}

func (a *app) forgetCommand() *cobra.Command {
	var o forgetOptions
	cmd := &cobra.Command{
		Use:   "forget [flags] (ID... | --keep-...)",
		Short: "forget snapshots: those that are named, or those that a policy does not keep",
		Long: `Forget snapshots. They are no longer listed, and the next prune frees what only they needed. Until then
"kura unforget" brings them back.

The --keep- flags are a policy: what none of them keeps is forgotten. Snapshots are grouped by host and
paths, or as --group-by says, and each group is treated by itself. --keep-daily 7 keeps the newest snapshot
of each of the last 7 days that have any, and so on, by the local time zone; while there are fewer, the
oldest snapshot is kept as well. --keep-within keeps all that are younger than the newest by less than a
duration such as 30d or 1y6m; --keep-within-daily the newest of each day in that time. A number can be
"unlimited". --host, --tag and --path say which snapshots it is about, without them all; others stay.

Some snapshots take no place in a policy, and displace nobody. One of a run that was cut off, or that kura
repair snapshots has made of a damaged one, is kept while no complete one is newer; once the damaged one is
forgotten the repaired one has its place. One whose time can not be right, an hour after its own commit or a
week before it, is always kept: "doubtful". So is one that is pinned.

A policy that would leave nothing of a group is refused without --unsafe-allow-remove-all. With it and
without a policy, all snapshots that --host, --tag or --path select are forgotten.

With --dry-run or --prune each snapshot that goes is shown with the bytes that only it and others that go
need; trees are read for that.`,
		Example: `  kura forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --prune
  kura forget --keep-within 30d --keep-tag release --dry-run
  kura forget --keep-last 3 --host www --tag nightly
  kura forget 3f9a2c81 55e01d7f`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd, args); err != nil {
				return err
			}
			if err := a.checkPrune(&o); err != nil {
				return err
			}
			return a.runForget(cmd.Context(), o, args)
		},
	}
	f := cmd.Flags()
	o.policyOptions.addFlags(f)
	o.filterOptions.addFlagsShort(f, "") // -H is --keep-hourly here
	f.StringVarP(&o.groupBy, "group-by", "g", retain.DefaultGroupBy.String(), "what snapshots of a `group` have in common: host, paths, tags, or nothing")
	f.BoolVarP(&o.compact, "compact", "c", false, "show less of each snapshot")
	f.BoolVar(&o.prune, "prune", false, "free the space at once, as kura prune does, if anything is forgotten")
	f.BoolVar(&o.allowRemoveAll, "unsafe-allow-remove-all", false, "allow that nothing is left of a group")
	o.pruneOptions.addFlags(f)
	return cmd
}

// check refuses flags that do not go together, or say nothing.
func (o *forgetOptions) check(cmd *cobra.Command, names []string) error {
	policy := !o.policy.IsZero()
	f, err := o.filter()
	switch {
	case err != nil:
		return err
	case policy && len(names) > 0:
		return usage("both snapshots and a policy were given", "name the snapshots to forget, or say which to keep")
	case len(names) > 0 && (o.allowRemoveAll || cmd.Flags().Changed("group-by")):
		return usage("--group-by and --unsafe-allow-remove-all are for policies", "snapshots that are named are forgotten in any case")
	case !policy && len(names) == 0 && !o.allowRemoveAll:
		return usage("forget which snapshots?", "name them, or say which to keep: kura forget --keep-last 10")
	case !policy && o.allowRemoveAll && len(f.Hosts)+len(f.Tags)+len(f.Paths) == 0:
		return usage("--unsafe-allow-remove-all without a policy needs --host, --tag or --path", "it forgets all that they select")
	case !o.prune:
		for _, name := range []string{"hold", "max-unused", "max-repack-size", "max-duration"} {
			if cmd.Flags().Changed(name) {
				return usage("--" + name + " is for --prune")
			}
		}
	}
	return nil
}

// checkPrune refuses what the prune would refuse, before anything is forgotten.
func (a *app) checkPrune(o *forgetOptions) error {
	if !o.prune {
		return nil
	}
	if o.maxDuration < 0 {
		return errNegativeDuration()
	}
	_, err := a.globals.packing()
	return err
}

func (a *app) runForget(ctx context.Context, o forgetOptions, names []string) error {
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
		if err := r.FindDoubtful(ctx, list); err != nil {
			return err
		}
		var groups []ui.ForgetGroup
		if len(names) > 0 {
			groups, err = forgetNamed(list)
		} else {
			policy := retain.Options{Policy: o.policy, GroupBy: by, Location: time.Local, AllowRemoveAll: o.allowRemoveAll}
			groups, err = applyPolicy(list, policy, inItsPlace(r.State(), list))
		}
		if err != nil {
			return err
		}
		var remove []*repo.Snapshot
		for _, g := range groups {
			remove = append(remove, g.Remove...)
		}
		freed, ferr := a.freed(ctx, r, &o, remove)
		a.term.Forget(groups, ui.ForgetOptions{Compact: o.compact, Freed: freed, Named: len(names) > 0})
		if ferr != nil && (o.dryRun || !errors.Is(ferr, wire.ErrNewer)) { // what is not understood holds up the prune, but can be forgotten
			return ferr
		}
		return a.forgetAndPrune(ctx, r, &o, remove)
	})
}

// freed finds out what forgetting the snapshots would free, where that is asked for.
func (a *app) freed(ctx context.Context, r *session, o *forgetOptions, remove []*repo.Snapshot) (map[object.SessionID]int64, error) {
	if len(remove) == 0 || !o.dryRun && !o.prune {
		return nil, nil
	}
	return gc.Freed(ctx, r.Repository, gc.Options{Hold: o.holdFor()}, remove)
}

func (a *app) forgetAndPrune(ctx context.Context, r *session, o *forgetOptions, remove []*repo.Snapshot) error {
	ids := make([]object.SessionID, len(remove))
	for i, s := range remove {
		ids[i] = s.ID
	}
	verb := "would forget"
	if !o.dryRun {
		verb = "forgot"
		var err error
		if ids, err = r.Forget(ctx, ids); err != nil {
			return err
		}
	}
	a.reportChanged(verb, ids)
	if !o.prune || len(ids) == 0 {
		return nil
	}
	opts := o.pruneOptions
	if o.dryRun {
		opts.assume = ids
	}
	return a.prune(ctx, r, opts)
}

// reportChanged says what was done to which snapshots.
func (a *app) reportChanged(verb string, ids []object.SessionID) {
	text := verb + " " + ui.Count(uint64(len(ids)), "snapshot")
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
}

// forgetNamed is the one group of snapshots that were named.
func forgetNamed(list []*repo.Snapshot) ([]ui.ForgetGroup, error) {
	for _, s := range list {
		if s.Entry.Pinned {
			return nil, withHint(fmt.Errorf("snapshot %s is pinned; nothing was forgotten", s.ID.Short()), "kura unpin "+s.ID.Short()+" lets it be forgotten")
		}
	}
	return []ui.ForgetGroup{{Remove: list}}, nil
}

// applyPolicy returns what a policy keeps and removes of each group.
func applyPolicy(list []*repo.Snapshot, o retain.Options, alone func(*repo.Snapshot) bool) ([]ui.ForgetGroup, error) {
	decisions, err := retain.Decide(retainable(list, alone), o)
	if errors.Is(err, retain.ErrRemovesAll) {
		return nil, withHint(err, "nothing was forgotten; --keep-last 1 beside the other rules keeps the newest, --unsafe-allow-remove-all allows it")
	}
	if err != nil {
		return nil, err
	}
	find := map[string]*repo.Snapshot{}
	for _, s := range list {
		find[s.ID.String()] = s
	}
	var out []ui.ForgetGroup
	for _, d := range decisions {
		g := ui.ForgetGroup{By: o.GroupBy, Key: d.Key, Lone: d.Lone}
		for _, k := range d.Keep {
			g.Keep = append(g.Keep, find[k.Snapshot.ID])
			g.Reasons = append(g.Reasons, k.Reasons)
		}
		for _, s := range d.Remove {
			g.Remove = append(g.Remove, find[s.ID])
		}
		out = append(out, g)
	}
	return out, nil
}
