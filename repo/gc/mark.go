package gc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// marks are the blobs that snapshots need. They only grow, but for a walk that fails. A page is marked once,
// however many snapshots share it: what they take is some 50 bytes for each page and 8 for each data blob.
type marks struct {
	trees  map[object.BlobID]struct{} // whole ids: what is below a marked page is not looked at again
	values map[object.BlobID]struct{} // tree blobs that are values of attributes, and may be pages elsewhere
	data   prefixSet
	bases  prefixSet // data blobs that others are made of which have more copies than that one; see addBases
	gaps   bool      // whether a walk passed over what it could not read
	ev     *Events

	based   *repo.Index // for which bases were marked
	basedOn int         // of so many data blobs
}

func newMarks(ev *Events) *marks {
	return &marks{ev: ev, trees: map[object.BlobID]struct{}{}, values: map[object.BlobID]struct{}{}}
}

// has reports whether a blob of the given pack class is needed.
func (m *marks) has(class object.Class, id object.BlobID) bool {
	if class == object.TreePack {
		_, page := m.trees[id]
		_, value := m.values[id]
		return page || value
	}
	return m.data.has(prefix(id)) || m.bases.has(prefix(id))
}

// startAnew makes the next walk look at everything again.
func (m *marks) startAnew() {
	clear(m.trees)
	m.gaps = false
}

// enter marks a page, and reports whether it was not.
func (m *marks) enter(id object.BlobID) bool {
	_, marked := m.trees[id]
	m.trees[id] = struct{}{}
	return !marked
}

// take marks what a page refers to, and returns the pages that it was the first to.
func (m *marks) take(refs []tree.Ref) (pages []object.BlobID) {
	m.ev.step(uint64(len(m.trees)), 0)
	for _, ref := range refs {
		switch ref.Kind {
		case tree.RefPage:
			if m.enter(ref.ID) {
				pages = append(pages, ref.ID)
			}
		case tree.RefXAttr:
			m.values[ref.ID] = struct{}{}
		case tree.RefData:
			m.data.add(prefix(ref.ID))
		}
	}
	return pages
}

// addSnapshots marks what the snapshots need that are in the set. The live ones must be whole. Of one that
// was forgotten and is held, what can be read is enough: a forged one could not be got rid of otherwise.
//
// A walk that ends early has marked pages without what is below them, and the next one would pass over
// those: so all that says where a walk need not go is forgotten then.
func (m *marks) addSnapshots(ctx context.Context, r *repo.Repository, ix *repo.Index, snaps []*repo.Snapshot) error {
	if m.gaps {
		m.startAnew() // a page that was passed over may by now be part of a live snapshot
	}
	for _, must := range []bool{true, false} {
		some := slices.DeleteFunc(slices.Clone(snaps), func(s *repo.Snapshot) bool { return s.Entry.Live() != must })
		if err := m.addTrees(ctx, r, ix, some, must); err != nil {
			m.startAnew()
			return err
		}
	}
	return nil
}

// addTrees marks all below the snapshots' topmost pages. Unless they must be whole, it passes over pages that
// are damaged.
func (m *marks) addTrees(ctx context.Context, r *repo.Repository, ix *repo.Index, snaps []*repo.Snapshot, must bool) error {
	var roots []object.BlobID
	var of []*repo.Snapshot
	in := func(s *repo.Snapshot, err error) error { return fmt.Errorf("snapshot %s: %w", s.ID.Short(), err) }
	for _, s := range snaps {
		root, err := s.RootID()
		if err != nil {
			return in(s, err)
		}
		if m.enter(root) {
			roots, of = append(roots, root), append(of, s)
		}
	}
	w := walker{r: r, ix: ix, take: m.take, lost: func(p page, err error) error {
		// No forger can make a disk fail: what can not be read today may be read tomorrow.
		if errors.As(err, new(*repo.DamageError)) && !must && !errors.Is(err, syscall.EIO) {
			m.gaps = true
			delete(m.trees, p.id)
			return nil
		}
		return in(of[p.root], err)
	}}
	return w.walk(ctx, roots)
}
