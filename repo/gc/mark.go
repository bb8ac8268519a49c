package gc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// marks are the blobs that snapshots need. They only grow, but for a walk that fails.
type marks struct {
	trees map[object.BlobID]struct{} // whole ids: what is below a marked page is not looked at again
	data  map[uint64]struct{}        // first 8 bytes of ids
	roots map[object.BlobID]struct{}
}

func newMarks() *marks {
	return &marks{
		trees: map[object.BlobID]struct{}{},
		data:  map[uint64]struct{}{},
		roots: map[object.BlobID]struct{}{},
	}
}

func prefix(id object.BlobID) uint64 { return binary.BigEndian.Uint64(id[:]) }

// has reports whether a blob of the given pack class is needed.
func (m *marks) has(class object.Class, id object.BlobID) bool {
	if class == object.TreePack {
		_, ok := m.trees[id]
		return ok
	}
	_, ok := m.data[prefix(id)]
	return ok
}

// add marks everything below a snapshot's root page. A walk that ends early has marked pages without
// what is below them, and the next one would pass over those: so all that says where a walk need not
// go is forgotten then.
func (m *marks) add(ctx context.Context, r *repo.Repository, root object.BlobID) error {
	if _, ok := m.roots[root]; ok {
		return nil
	}
	err := m.walk(ctx, r, root)
	if err != nil {
		clear(m.trees)
		clear(m.roots)
		return err
	}
	m.roots[root] = struct{}{}
	return nil
}

func (m *marks) walk(ctx context.Context, r *repo.Repository, root object.BlobID) error {
	// A stack instead of recursion: folders are nested as deep as somebody made them.
	stack := []object.BlobID{root}
	for len(stack) > 0 {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if _, ok := m.trees[id]; ok {
			continue
		}
		page, err := r.LoadTree(ctx, id)
		if err != nil {
			return err
		}
		for ref, err := range tree.Refs(page) {
			if err != nil {
				return &repo.DamageError{Blob: id, Err: err}
			}
			switch ref.Kind {
			case tree.RefPage:
				stack = append(stack, ref.ID)
			case tree.RefXAttr:
				m.trees[ref.ID] = struct{}{}
			case tree.RefData:
				m.data[prefix(ref.ID)] = struct{}{}
			default:
				return errors.New("gc: unknown kind of reference")
			}
		}
		m.trees[id] = struct{}{}
	}
	return nil
}

// addSnapshots marks what the snapshots need that are in the set.
func (m *marks) addSnapshots(ctx context.Context, r *repo.Repository, snaps []*repo.Snapshot) error {
	for _, s := range snaps {
		root, err := s.RootID()
		if err == nil {
			err = m.add(ctx, r, root)
		}
		if err != nil {
			return fmt.Errorf("snapshot %s: %w", s.ID.Short(), err)
		}
	}
	return nil
}
