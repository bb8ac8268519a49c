package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/find"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
	"github.com/kura-backup/kura/ui"
)

type findOptions struct {
	filterOptions
	snapshots  []string
	ignoreCase bool
}

func (a *app) findCommand() *cobra.Command {
	var o findOptions
	cmd := &cobra.Command{
		Use:   "find [flags] PATTERN...",
		Short: "find files in all snapshots, with their versions",
		Long: `Find files by their names in all snapshots, or in some, and show the versions that there are of each, oldest
first, with the snapshots that have them.

A PATTERN without a slash is matched with names, one with a slash with the ends of paths, and one that begins
with a slash with whole paths; * and ? stay within a name, ** stands for any number of folders. What is in a
folder that matches is not found by that: "/etc/nginx/**" finds it. Quote patterns, or the shell replaces them.

A version is what differs in type, size, time of change or content. Of a folder only its own time counts, and
not what is in it.

All snapshots are looked through, or those that --host, --tag, --path and --at select, or those that --snapshot
names; for latest the others say latest of which. What snapshots share is read once, so that many of them take
hardly longer than one.

With --json each version is a line of its own. Nothing found is no error: the exit code is 0.`,
		Example: `  kura find report.odt
  kura find '*.key' --host www --at 2026-03-01
  kura find /home/me/report.odt
  kura find -i 'photos/*.jpg' --snapshot latest --snapshot latest~7`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return wrongArgs(cmd, "what is to be found?")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.runFind(cmd.Context(), o, args) },
	}
	o.addFlags(cmd.Flags())
	o.addAt(cmd.Flags())
	cmd.Flags().StringArrayVarP(&o.snapshots, "snapshot", "s", nil, "look only in this snapshot: an `id`, latest or latest~N (can be given several times)")
	cmd.Flags().BoolVarP(&o.ignoreCase, "ignore-case", "i", false, "make no difference between upper and lower case")
	return cmd
}

func (a *app) runFind(ctx context.Context, o findOptions, patterns []string) error {
	f, err := o.filter()
	if err != nil {
		return err
	}
	p, err := find.NewPatterns(patterns, o.ignoreCase)
	if err != nil {
		return asUsage(plain{err})
	}
	return a.withRepository(ctx, func(r *session) error {
		list, err := selectSnapshots(ctx, r, f, o.snapshots)
		if err != nil {
			return err
		}
		s := &search{a: a, r: r}
		roots := s.open(list)
		stop := a.showProgress(ctx, s.status, func(st ui.Status, t ui.Timing) any {
			st.Current = "looking through folders" // programs get the name of a phase, people the path
			return ui.StepsMessage(st, t)
		})
		defer stop()
		err = find.Run(ctx, roots, r.LoadTree, p, find.Events{
			Found:   s.show,
			Damaged: func(path string, in []int32, err error) error { return s.damaged(ctx, path, in, err) },
			Folder:  s.folder,
		})
		stop()
		if err != nil {
			return err
		}
		return s.end(list)
	})
}

// maxLost is how many parts of snapshots that can not be read are listed, as many as a check lists. The rest is counted.
const maxLost = 1000

// search is one run of kura find.
type search struct {
	a     *app
	r     *session
	list  []*repo.Snapshot // those that can be opened, by their time
	found bool
	lost  uint64 // parts of snapshots that could not be read
	newer uint64 // of these, what a newer kura wrote

	folders atomic.Uint64
	current atomic.Pointer[string]
}

// open returns the roots of the snapshots, but for those that can not be opened: these are reported.
func (s *search) open(list []*repo.Snapshot) (roots []object.BlobID) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b *repo.Snapshot) int { return a.When().Compare(b.When()) }) // they may have been named in any order
	for _, snap := range list {
		root, err := snap.RootNode()
		if err != nil {
			s.lose("", fmt.Errorf("snapshot %s: %w", snap.ID.Short(), plain{err}))
			continue
		}
		s.list, roots = append(s.list, snap), append(roots, root.Subtree)
	}
	return roots
}

func (s *search) folder(path string) {
	s.folders.Add(1)
	s.current.Store(&path)
}

func (s *search) status() ui.Status {
	st := ui.Status{Noun: "folder", Done: s.folders.Load()}
	if path := s.current.Load(); path != nil {
		st.Current = *path
	}
	return st
}

func (s *search) show(path string, versions []find.Version) error {
	s.found = true
	out := make([]ui.FoundVersion, len(versions))
	for i, v := range versions {
		out[i] = ui.FoundVersion{Node: v.Node, Snapshots: s.snapshots(v.In)}
	}
	s.a.term.Found(path, out)
	return s.a.term.Err()
}

func (s *search) snapshots(in []int32) []*repo.Snapshot {
	out := make([]*repo.Snapshot, len(in))
	for i, n := range in {
		out[i] = s.list[n]
	}
	return out
}

// damaged reports a part of a folder that can not be read. All but damage ends the search.
func (s *search) damaged(ctx context.Context, path string, in []int32, err error) error {
	if !errors.As(err, new(*repo.DamageError)) && !errors.As(err, new(*tree.PageError)) && !repo.Unreadable(ctx, err) {
		return err
	}
	if err := s.r.Refresh(ctx); err != nil {
		return err
	}
	// What somebody has forgotten meanwhile may have been collected, and is missed by nobody.
	live := slices.DeleteFunc(s.snapshots(in), func(snap *repo.Snapshot) bool {
		now := s.r.State().Snapshots[snap.ID]
		return now == nil || !now.Live()
	})
	if len(live) == 0 {
		return nil
	}
	are := "lost"
	if errors.Is(err, wire.ErrNewer) {
		are = "not understood"
	}
	s.lose(path, fmt.Errorf("entries of this folder are %s in %s: %w", are, ui.SnapshotRange(live), plain{err}))
	return nil
}

// lose counts a part of snapshots that can not be read, and reports it unless there were many.
func (s *search) lose(path string, err error) {
	if errors.Is(err, wire.ErrNewer) {
		s.newer++
	}
	if s.lost++; s.lost <= maxLost {
		s.a.term.ItemError("find", path, err)
	}
}

// end says what there is to say at the end.
func (s *search) end(list []*repo.Snapshot) error {
	switch {
	case s.lost > 0:
		parts := "1 folder or snapshot"
		if s.lost > 1 {
			parts = fmt.Sprintf("%d folders or snapshots", s.lost)
		}
		if s.lost > maxLost {
			parts += fmt.Sprintf(" (the first %d are listed)", maxLost)
		}
		if s.newer == s.lost {
			return withHint(fmt.Errorf("%s could not be looked through: %w, and not understood", parts, wire.ErrNewer), "what else there is was looked through", newerHint)
		}
		return withHint(fmt.Errorf("%w: %s could not be looked through", errDamageFound, parts),
			"what else there is was looked through", "kura check shows all that is damaged")
	case len(list) == 0:
		s.a.term.Info("no snapshots")
	case !s.found:
		s.a.term.Info("nothing found in " + ui.Count(uint64(len(list)), "snapshot"))
	}
	return nil
}
