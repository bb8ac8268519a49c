package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/repo/caches"
	"github.com/kura-backup/kura/ui"
)

type cacheOptions struct {
	cleanup bool
	maxAge  int // days
	noSize  bool
}

func (a *app) cacheCommand() *cobra.Command {
	var o cacheOptions
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "list the caches of repositories, and free those that are no longer used",
		Long: `List the folders in which kura keeps what makes it fast, one for each repository: where the repository was
when it was last used, when that was, and how much is kept.

With --cleanup, free those that were not used for 30 days, or for the days of --max-age; 0 is all. A cache in
use is left alone. What is freed is made again when the repository is next used. Kura's memory of how long each
repository's log was stays: by it a repository that was rolled back is noticed.`,
		Example: `  kura cache
  kura cache --cleanup
  kura cache --cleanup --max-age 0`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runCache(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.cleanup, "cleanup", false, "free old caches")
	f.IntVar(&o.maxAge, "max-age", 30, "a cache is old when it was not used for this many `days`")
	f.BoolVar(&o.noSize, "no-size", false, "do not look up how large the caches are")
	return cmd
}

func (a *app) runCache(ctx context.Context, o cacheOptions) error {
	if o.maxAge < 0 {
		return usage("--max-age must be a number of days, or 0 for all")
	}
	root, err := a.globals.cache()
	if err != nil {
		return err
	}
	if root == "" {
		return usage("with --no-cache there are no caches")
	}
	list, err := caches.List(root, !o.noSize)
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	before := time.Now().AddDate(0, 0, -o.maxAge)
	var shown []ui.Cache
	for _, f := range list {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c := ui.Cache{Folder: f}
		empty, err := f.Empty()
		if err != nil {
			return fmt.Errorf("cache: %w", err)
		}
		c.Old = !empty && !f.InUse && !f.Used.After(before)
		if c.Old && o.cleanup {
			switch err := f.Free(); {
			case errors.Is(err, caches.ErrInUse):
				c.InUse = true
			case err != nil:
				return fmt.Errorf("cache: %w", err)
			default:
				c.Freed = true
			}
		}
		shown = append(shown, c)
	}
	a.term.Caches(root, shown, o.cleanup)
	return nil
}
