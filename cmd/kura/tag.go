package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/ui"
)

type tagOptions struct {
	filterOptions
	set, add, remove []string
	isSet            bool
}

func (a *app) tagCommand() *cobra.Command {
	var o tagOptions
	cmd := &cobra.Command{
		Use:   "tag [flags] [ID...]",
		Short: "change the tags of snapshots",
		Long: `Change the tags of snapshots: of those that are named, or else of all that --host, --tag and --path
select. A snapshot keeps its id.

--set gives them these tags in place of those they have; --set '' takes all away. --add and --remove change
single ones, and can be given together.`,
		Example: `  kura tag --add release 3f9a2c81
  kura tag --remove nightly --host www
  kura tag --set a,b latest`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.isSet = cmd.Flags().Changed("set")
			return a.runTag(cmd.Context(), o, args)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.set, "set", nil, "`tags` in place of those that the snapshots have, as a list a,b (can be given several times)")
	f.StringArrayVar(&o.add, "add", nil, "`tags` to add, as a list a,b (can be given several times)")
	f.StringArrayVar(&o.remove, "remove", nil, "`tags` to take away, as a list a,b (can be given several times)")
	o.addFlags(f)
	return cmd
}

// change returns what is done to the tags of each snapshot.
func (o *tagOptions) change() (func([]string) []string, error) {
	switch {
	case !o.isSet && len(o.add)+len(o.remove) == 0:
		return nil, usage("change tags in which way?", "kura tag --add TAG ID, --remove TAG or --set TAG,TAG")
	case o.isSet && len(o.add)+len(o.remove) > 0:
		return nil, usage("--set can not be given with --add or --remove")
	}
	if o.isSet && !slices.Equal(o.set, []string{""}) {
		set, err := splitTags(o.set)
		return func([]string) []string { return set }, err
	}
	add, err := splitTags(o.add)
	if err != nil {
		return nil, err
	}
	remove, err := splitTags(o.remove)
	if err != nil {
		return nil, err
	}
	return func(old []string) []string {
		if o.isSet {
			return nil
		}
		left := slices.DeleteFunc(old, func(tag string) bool { return slices.Contains(remove, tag) })
		return append(left, add...)
	}, nil
}

func (a *app) runTag(ctx context.Context, o tagOptions, names []string) error {
	change, err := o.change()
	if err != nil {
		return err
	}
	var list []*repo.Snapshot
	err = a.changeSnapshots(ctx, o.filterOptions, names, "changed the tags of", func(r *session, selected []*repo.Snapshot) ([]object.SessionID, error) {
		list = selected
		return r.SetTags(ctx, idsOf(selected), change)
	})
	if err != nil {
		return err
	}
	return a.passedOver(list)
}

// passedOver reports which of the snapshots got no tags, since they can not be read. The others have theirs.
func (a *app) passedOver(list []*repo.Snapshot) error {
	damaged, newer := 0, 0
	for _, s := range list {
		switch {
		case s.Err == nil:
			continue
		case errors.Is(s.Err, wire.ErrNewer):
			newer++
		default:
			damaged++
		}
		a.term.ItemError("tag", "", plain{s.Err})
	}
	if damaged > 0 {
		return withHint(fmt.Errorf("%w: %s can not be read, and got no tags", errDamageFound, ui.Count(uint64(damaged), "snapshot")),
			"kura forget ID removes a snapshot that nobody can read")
	}
	return notUnderstood(newer, "snapshot")
}
