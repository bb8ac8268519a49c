package gc

import (
	"context"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// Freed returns for each of the live snapshots how many stored bytes only it needs, or others of the
// list: what no snapshot needs any more when all of them are forgotten, and held no longer. A blob that
// shares a segment with others counts for its share of it; what two of the snapshots need counts for
// both. It reads the trees of all snapshots, for which there is no short cut: a blob does not know who
// needs it.
func Freed(ctx context.Context, r *repo.Repository, o Options, snaps []*repo.Snapshot) (map[object.SessionID]int64, error) {
	c := newCollector(r, o, new(Events))
	c.weighing = true
	for _, s := range snaps {
		c.assumed[s.ID] = struct{}{}
	}
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	c.now = clock.Now()
	if err := c.lookForgotten(ctx, r.State()); err != nil {
		return nil, err
	}
	ix, err := c.mark(ctx)
	if err != nil {
		return nil, err
	}
	out := map[object.SessionID]int64{}
	for _, s := range snaps {
		if s.Err != nil {
			continue // what it needs is not known
		}
		root, err := s.RootID()
		if err != nil {
			return nil, err
		}
		w := &weigher{c: c, ix: ix, seen: map[object.BlobID]struct{}{}}
		if err := w.walk(ctx, root); err != nil {
			return nil, err
		}
		out[s.ID] = int64(w.bytes)
	}
	return out, nil
}

// weigher adds up what a snapshot needs and the marked ones do not.
type weigher struct {
	c      *collector
	ix     *repo.Index
	seen   map[object.BlobID]struct{}
	places []local.Place
	todo   []object.BlobID
	bytes  float64
}

func (w *weigher) walk(ctx context.Context, root object.BlobID) error {
	if !w.add(object.TreePack, root) {
		return nil
	}
	walk := walker{r: w.c.r, ix: w.ix, take: w.take, lost: func(_ page, err error) error { return err }}
	return walk.walk(ctx, []object.BlobID{root})
}

// take weighs what a page refers to, and returns the pages among that.
func (w *weigher) take(refs []tree.Ref) (pages []object.BlobID) {
	for _, ref := range refs {
		switch ref.Kind {
		case tree.RefPage:
			if w.add(object.TreePack, ref.ID) {
				pages = append(pages, ref.ID)
			}
		case tree.RefXAttr:
			w.add(object.TreePack, ref.ID)
		case tree.RefData:
			w.add(object.DataPack, ref.ID)
		}
	}
	return pages
}

// add weighs a blob with all that it is made of, and reports whether it was not marked and not met before.
func (w *weigher) add(class object.Class, id object.BlobID) bool {
	if !w.enter(class, id) {
		return false
	}
	w.todo = append(w.todo[:0], id)
	for len(w.todo) > 0 {
		id := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		w.places = w.ix.Listed(id, w.places[:0])
		for _, p := range w.places {
			w.bytes += float64(p.Stored) * float64(p.Length) / float64(max(p.Plain, 1))
			for i := range p.Bases.Len() {
				if base := p.Bases.At(i); w.enter(object.DataPack, base) {
					w.todo = append(w.todo, base)
				}
			}
		}
	}
	return true
}

// enter reports whether a blob was not marked and not met before.
func (w *weigher) enter(class object.Class, id object.BlobID) bool {
	if _, ok := w.seen[id]; ok || w.c.marks.has(class, id) {
		return false
	}
	w.seen[id] = struct{}{}
	return true
}
