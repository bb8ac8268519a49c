package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/tree"
	"github.com/kura-backup/kura/ui"
)

func (a *app) catCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cat {config | log N | snapshot ID | tree ID[:PATH] | blob ID | pack NAME | index NAME}",
		Short: "print an object of the repository",
		Long: `Print an object of the repository: a blob as it is, everything else as JSON.

  config            what the repository says of itself
  log N             entry N of the log
  snapshot ID       what a snapshot says of itself
  tree ID[:PATH]    the entries of a folder in a snapshot
  blob ID           the contents of a blob, given its whole id
  pack NAME         the directory of a pack
  index NAME        what an index segment lists

NAME is as in the store: data/…, tree/… or index/…`,
		Example: `  kura cat config
  kura cat tree latest:/etc
  kura cat log 12`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return wrongArgs(cmd, "print what?")
			case catalogue[args[0]] == nil:
				return wrongArgs(cmd, fmt.Sprintf("there are no objects of the kind %q", args[0]))
			case len(args) > 2 || args[0] == "config" && len(args) > 1:
				return wrongArgs(cmd, fmt.Sprintf("unexpected argument %q", args[len(args)-1]))
			case len(args) == 1 && args[0] != "config":
				return wrongArgs(cmd, "which "+args[0]+"?")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.runCat(cmd.Context(), args) },
	}
}

// catalogue has the kinds of objects and how each is printed.
var catalogue = map[string]func(a *app, ctx context.Context, r *session, name string) error{
	"config":   (*app).catConfig,
	"log":      (*app).catLog,
	"snapshot": (*app).catSnapshot,
	"tree":     (*app).catTree,
	"blob":     (*app).catBlob,
	"pack":     (*app).catPack,
	"index":    (*app).catIndex,
}

func (a *app) runCat(ctx context.Context, args []string) error {
	return a.withRepository(ctx, func(r *session) error {
		return catalogue[args[0]](a, ctx, r, append(args, "")[1])
	})
}

func (a *app) catConfig(_ context.Context, r *session, _ string) error {
	c := r.Config()
	a.term.Document(struct {
		Version      int       `json:"version"`
		ID           string    `json:"id"`
		Created      time.Time `json:"created"`
		SingleWriter bool      `json:"single_writer,omitempty"`
	}{repo.FormatNumber, hex.EncodeToString(c.ID[:]), time.Unix(0, c.Created), c.SingleWriter})
	return nil
}

func (a *app) catSnapshot(ctx context.Context, r *session, name string) error {
	s, _, err := findSnapshot(ctx, r, name, repo.SnapshotFilter{})
	if err != nil {
		return err
	}
	a.term.Document(ui.MakeSnapshot(s))
	return nil
}

func (a *app) catTree(ctx context.Context, r *session, name string) error {
	s, path, err := findSnapshot(ctx, r, name, repo.SnapshotFilter{})
	if err != nil {
		return err
	}
	dir, err := r.Find(ctx, s, path)
	if err != nil {
		return explainFind(err)
	}
	if dir.Type != tree.Folder || dir.Subtree.IsZero() {
		return withHint(fmt.Errorf("%s has no entries: it is a %v", path, dir.Type), "kura ls -l "+name+" shows it")
	}
	prefix := "/" + strings.Trim(path, "/")
	nodes := []ui.Node{}
	for n, err := range tree.ReadDir(ctx, dir.Subtree, r.LoadTree) {
		if err != nil {
			return err
		}
		nodes = append(nodes, ui.MakeNode(strings.TrimSuffix(prefix, "/")+"/"+n.Name, n))
	}
	a.term.Document(struct {
		Page  string    `json:"page"`
		Nodes []ui.Node `json:"nodes"`
	}{dir.Subtree.String(), nodes})
	return nil
}

func (a *app) catBlob(ctx context.Context, r *session, name string) error {
	id, err := object.ParseBlobID(name)
	if err != nil {
		return usage(err.Error(), "kura cat tree and kura cat pack show ids of blobs")
	}
	// The type is not in the id; with the wrong one the id does not fit the bytes.
	var data []byte
	for _, t := range []object.BlobType{object.DataBlob, object.TreeBlob} {
		if data, err = r.LoadBlob(ctx, t, id); err == nil {
			_, err = a.term.Write(data)
			return err
		}
		if errors.Is(err, repo.ErrNotFound) {
			return withHint(fmt.Errorf("there is no blob %s", id.Short()), "kura cat tree and kura cat pack show ids of blobs")
		}
	}
	return err
}

func (a *app) catLog(ctx context.Context, r *session, name string) error {
	n, err := strconv.ParseUint(name, 10, 64)
	if err != nil || n == 0 {
		return usage(fmt.Sprintf("%q is not the number of a log entry: they begin with 1", name))
	}
	if tail := r.State().N; n > tail {
		return fmt.Errorf("there is no log entry %d: the last one is %d", n, tail)
	}
	found := errors.New("found")
	err = r.Log().Entries(ctx, func(rec *log.Record) error {
		if rec.N < n {
			return nil
		}
		a.term.Document(logEntry(rec))
		return found
	})
	if errors.Is(err, found) {
		return nil
	}
	return err
}
