package gc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// marks are the blobs that snapshots need. They only grow, but for a walk that fails.
type marks struct {
	trees  map[object.BlobID]struct{} // whole ids: what is below a marked page is not looked at again
	values map[object.BlobID]struct{} // tree blobs that are values of attributes, and may be pages elsewhere
	data   map[uint64]struct{}        // first 8 bytes of ids
	roots  map[object.BlobID]struct{}
	gaps   bool // whether a walk passed over what it could not read
}

func newMarks() *marks {
	return &marks{
		trees:  map[object.BlobID]struct{}{},
		values: map[object.BlobID]struct{}{},
		data:   map[uint64]struct{}{},
		roots:  map[object.BlobID]struct{}{},
	}
}

func prefix(id object.BlobID) uint64 { return binary.BigEndian.Uint64(id[:]) }

// has reports whether a blob of the given pack class is needed.
func (m *marks) has(class object.Class, id object.BlobID) bool {
	if class == object.TreePack {
		_, page := m.trees[id]
		_, value := m.values[id]
		return page || value
	}
	_, ok := m.data[prefix(id)]
	return ok
}

// add marks everything below a snapshot's root page. A walk that ends early has marked pages without
// what is below them, and the next one would pass over those: so all that says where a walk need not
// go is forgotten then.
func (m *marks) add(ctx context.Context, r *repo.Repository, root object.BlobID, must bool) error {
	if _, ok := m.roots[root]; ok {
		return nil
	}
	err := m.walk(ctx, r, root, must)
	if err != nil {
		m.startAnew()
		return err
	}
	m.roots[root] = struct{}{}
	return nil
}

// startAnew makes the next walks look at everything again.
func (m *marks) startAnew() {
	clear(m.trees)
	clear(m.roots)
	m.gaps = false
}

// walk marks all below a root. Unless it must be whole, it passes over pages that are damaged.
func (m *marks) walk(ctx context.Context, r *repo.Repository, root object.BlobID, must bool) error {
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
		if err == nil {
			stack, err = m.page(id, page, stack)
		}
		// No forger can make a disk fail: what can not be read today may be read tomorrow.
		if errors.As(err, new(*repo.DamageError)) && !must && !errors.Is(err, syscall.EIO) {
			m.gaps = true
			continue
		}
		if err != nil {
			return err
		}
		m.trees[id] = struct{}{}
	}
	return nil
}

// page marks what a page refers to, and puts the pages among that on the stack.
func (m *marks) page(id object.BlobID, page []byte, stack []object.BlobID) ([]object.BlobID, error) {
	for ref, err := range tree.Refs(page) {
		if err != nil {
			return stack, &repo.DamageError{Blob: id, Err: err}
		}
		switch ref.Kind {
		case tree.RefPage:
			stack = append(stack, ref.ID)
		case tree.RefXAttr:
			m.values[ref.ID] = struct{}{}
		case tree.RefData:
			m.data[prefix(ref.ID)] = struct{}{}
		default:
			return stack, errors.New("gc: unknown kind of reference")
		}
	}
	return stack, nil
}

// addSnapshots marks what the snapshots need that are in the set. The live ones must be whole. Of one that
// was forgotten and is held, what can be read is enough: a forged one could not be got rid of otherwise.
func (m *marks) addSnapshots(ctx context.Context, r *repo.Repository, snaps []*repo.Snapshot) error {
	if m.gaps {
		m.startAnew() // a page that was passed over may by now be part of a live snapshot
	}
	for _, must := range []bool{true, false} {
		for _, s := range snaps {
			if s.Entry.Live() != must {
				continue
			}
			root, err := s.RootID()
			if err == nil {
				err = m.add(ctx, r, root, must)
			}
			if err != nil {
				return fmt.Errorf("snapshot %s: %w", s.ID.Short(), err)
			}
		}
	}
	return nil
}
