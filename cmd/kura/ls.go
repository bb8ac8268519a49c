package main

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

type lsOptions struct {
	filterOptions
	long      bool
	recursive bool
}

func (a *app) lsCommand() *cobra.Command {
	var o lsOptions
	cmd := &cobra.Command{
		Use:   "ls [flags] ID[:PATH] [DIR...]",
		Short: "list the files in a snapshot",
		Long: `List what is in a snapshot: everything, or, of the folders that are named, what lies directly in them.
--recursive goes down into those, too. ID is the beginning of a snapshot's id, latest, or latest~N for
the Nth before the latest.

With --json each entry is a line of its own, after one for the snapshot.`,
		Example: `  kura ls latest
  kura ls latest:/etc -l
  kura ls 3f9a2c /home/me/Documents /home/me/Mail --recursive
  kura ls latest --at 2026-03-01 --host www`,
		Args: func(cmd *cobra.Command, args []string) error { return whichSnapshot(cmd, args[:min(len(args), 1)], "") },
		RunE: func(cmd *cobra.Command, args []string) error { return a.runLs(cmd.Context(), o, args[0], args[1:]) },
	}
	o.addFlags(cmd.Flags())
	o.addAt(cmd.Flags())
	cmd.Flags().BoolVarP(&o.long, "long", "l", false, "print owners, sizes and times")
	cmd.Flags().BoolVar(&o.recursive, "recursive", false, "go down into the folders that are named")
	return cmd
}

func (a *app) runLs(ctx context.Context, o lsOptions, name string, dirs []string) error {
	f, err := o.filter()
	if err != nil {
		return err
	}
	return a.withRepository(ctx, func(r *session) error {
		snap, sub, err := findSnapshot(ctx, r, name, f)
		if err != nil {
			return err
		}
		switch {
		case sub != "" && len(dirs) == 0:
			dirs = []string{"/"}
		case len(dirs) == 0:
			dirs, o.recursive = []string{"/"}, true
		}
		a.term.ListedSnapshot(snap)
		for _, dir := range dirs {
			if err := a.list(ctx, r, snap, path.Join("/", sub, dir), o); err != nil {
				return err
			}
		}
		return nil
	})
}

// list prints what is in a folder, or an entry that is none.
func (a *app) list(ctx context.Context, r *session, snap *repo.Snapshot, dir string, o lsOptions) error {
	node, err := r.Find(ctx, snap, dir)
	if err != nil {
		return explainFind(err)
	}
	if node.Type != tree.Folder {
		a.term.ListedNode(dir, node, o.long)
		return a.term.Err()
	}
	if node.Subtree.IsZero() {
		return withHint(errors.New(dir+" could not be read when the snapshot was made: "+node.Error), "kura snapshots --json counts the errors of each snapshot")
	}
	if dir == "/" {
		dir = ""
	}
	return tree.Walk(ctx, node.Subtree, r.LoadTree, func(sub string, n *tree.Node) error {
		a.term.ListedNode(dir+sub, n, o.long)
		if err := a.term.Err(); err != nil {
			return err
		}
		if n.Type == tree.Folder && !o.recursive {
			return fs.SkipDir
		}
		return nil
	})
}
