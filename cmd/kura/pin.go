package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
)

func (a *app) pinCommand() *cobra.Command {
	return a.pinning(&cobra.Command{
		Use:   "pin [flags] ID...",
		Short: "pin snapshots, so that they can not be forgotten",
		Long: `Pin snapshots. What is pinned can not be forgotten, by name or by a policy, until it is unpinned. It still
takes its place in a policy, so that pinning changes nothing for other snapshots.

--host, --tag and --path say latest of which.`,
		Example: `  kura pin 3f9a2c81
  kura pin latest --host www`,
	}, true)
}

func (a *app) unpinCommand() *cobra.Command {
	return a.pinning(&cobra.Command{
		Use:   "unpin [flags] ID...",
		Short: "unpin snapshots, so that they can be forgotten again",
		Long: `Unpin snapshots, so that they can be forgotten again.

--host, --tag and --path say latest of which.`,
		Example: `  kura unpin 3f9a2c81`,
	}, false)
}

func (a *app) pinning(cmd *cobra.Command, pin bool) *cobra.Command {
	var o filterOptions
	o.addFlags(cmd.Flags())
	cmd.Args = someIDs
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.runPin(cmd.Context(), o, args, pin) }
	return cmd
}

func (a *app) runPin(ctx context.Context, o filterOptions, names []string, pin bool) error {
	verb, do := "pinned", (*session).Pin
	if !pin {
		verb, do = "unpinned", (*session).Unpin
	}
	return a.changeSnapshots(ctx, o, names, verb, func(r *session, list []*repo.Snapshot) ([]object.SessionID, error) {
		return do(r, ctx, idsOf(list))
	})
}

// changeSnapshots does something to the snapshots that are named, and shows which ones it has changed.
func (a *app) changeSnapshots(ctx context.Context, o filterOptions, names []string, verb string, do func(*session, []*repo.Snapshot) ([]object.SessionID, error)) error {
	f, err := o.filter()
	if err != nil {
		return err
	}
	return a.withRepository(ctx, func(r *session) error {
		list, err := selectSnapshots(ctx, r, f, names)
		if err != nil {
			return err
		}
		done, err := do(r, list)
		if err != nil {
			return err
		}
		a.changed(verb, done)
		return nil
	})
}

func idsOf(list []*repo.Snapshot) []object.SessionID {
	ids := make([]object.SessionID, len(list))
	for i, s := range list {
		ids[i] = s.ID
	}
	return ids
}

// changed shows which snapshots a command has changed.
func (a *app) changed(verb string, ids []object.SessionID) {
	a.reportChanged(verb, ids)
	if a.term.JSON {
		a.term.Changed(ids)
	}
}

// someIDs wants at least one snapshot.
func someIDs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return wrongArgs(cmd, "which snapshots?")
	}
	return nil
}
