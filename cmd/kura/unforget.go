package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
)

func (a *app) unforgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unforget ID...",
		Short: "bring back snapshots that were forgotten",
		Long: `Bring back snapshots that were forgotten. That works until a prune has freed what only they needed.

"kura snapshots --forgotten" lists those that can be brought back.`,
		Example: `  kura snapshots --forgotten
  kura unforget 3f9a2c81`,
		Args: someIDs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runUnforget(cmd.Context(), args) },
	}
}

func (a *app) runUnforget(ctx context.Context, names []string) error {
	return a.withRepository(ctx, func(r *session) error {
		var ids []object.SessionID
		for _, name := range names {
			s, err := r.FindForgotten(ctx, name)
			if err != nil {
				return explainUnforget(err)
			}
			ids = append(ids, s.ID)
		}
		done, err := r.Unforget(ctx, ids)
		if err != nil {
			return err
		}
		a.changed("brought back", done)
		for _, id := range ids {
			// Somebody was faster: in bringing it back, which is well, or in pruning.
			if s := r.State().Snapshots[id]; s == nil && !slices.Contains(done, id) {
				return explainUnforget(fmt.Errorf("snapshot %s: %w", id.Short(), repo.ErrGone))
			}
		}
		return nil
	})
}

func explainUnforget(err error) error {
	switch {
	case isDamage(err):
		return err
	case errors.Is(err, repo.ErrGone):
		return withHint(err, "it can not be brought back; kura prune --hold 7d gives time to change one's mind")
	case errors.Is(err, repo.ErrNotFound), errors.Is(err, repo.ErrNotForgotten):
		return withHint(&notFound{err}, "kura snapshots --forgotten lists what can be brought back")
	}
	return err
}
