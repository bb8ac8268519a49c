package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/tree"
)

// LoadTree returns a tree blob, verified. It must not be changed. It is what package tree loads
// pages with.
func (r *Repository) LoadTree(ctx context.Context, id object.BlobID) ([]byte, error) {
	return r.LoadBlob(ctx, object.TreeBlob, id)
}

// RootNode returns a node for the snapshot's topmost folder, which has no name.
func (s *Snapshot) RootNode() (*tree.Node, error) {
	if s.Err != nil {
		return nil, s.Err
	}
	id, err := s.RootID()
	if err != nil {
		return nil, &DamageError{Object: object.LogName(s.Entry.N), Err: err}
	}
	return &tree.Node{Type: tree.Folder, Mode: 0o755, Subtree: id}, nil
}

// Find returns the node at a slash-separated path of the snapshot. The topmost folder, which has no
// name, is at "/" and "". The error wraps ErrNotFound and says which element is not there.
func (r *Repository) Find(ctx context.Context, snap *Snapshot, path string) (*tree.Node, error) {
	node, err := snap.RootNode()
	if err != nil {
		return nil, err
	}
	done := ""
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if node.Type != tree.Folder {
			return nil, fmt.Errorf("%s in snapshot %s is a %v, not a folder: %w", done, snap.ID.Short(), node.Type, ErrNotFound)
		}
		child, err := r.child(ctx, node, name)
		if errors.Is(err, errNoEntry) {
			return nil, fmt.Errorf("no %q in %s/ of snapshot %s: %w", name, done, snap.ID.Short(), ErrNotFound)
		}
		if err != nil {
			return nil, err
		}
		node, done = child, done+"/"+name
	}
	return node, nil
}

// errNoEntry is a folder that lacks a name. It is not ErrNotFound, which lost blobs are.
var errNoEntry = errors.New("repo: no such entry")

func (r *Repository) child(ctx context.Context, dir *tree.Node, name string) (*tree.Node, error) {
	if dir.Subtree.IsZero() { // a folder that could not be read
		return nil, errNoEntry
	}
	for n, err := range tree.ReadDir(ctx, dir.Subtree, r.LoadTree) {
		if err != nil {
			return nil, err
		}
		if n.Name == name {
			found := *n
			return &found, nil
		}
		if n.Name > name {
			break
		}
	}
	return nil, errNoEntry
}
