package gc

import (
	"context"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
)

// What a delta is made of is needed as long as the delta is. Whether a copy counts, and by which chain of others, is
// not asked here: whoever holds a writer's key could make the answer take long, and a copy that seems to count could
// hide the one that does. So all that is listed of a needed blob stays, with all that is listed of all of its bases,
// down to the plain ones; then each copy that counts goes on doing so. A blob is looked at a few times at most,
// whatever the depths of its copies are said to be.

// baseWalk is one marking of bases.
type baseWalk struct {
	m      *marks
	ix     *repo.Index
	passed object.BlobID          // the blobs up to this one
	done   map[object.BlobID]bool // deltas among these that were met as bases since; true: as vital ones
	todo   []base
}

// base is a blob that a delta is made of.
type base struct {
	id object.BlobID
	// vital is set if without the base something is lost that a snapshot needs: if it is one of the only copy of such a
	// blob, or of another vital base.
	vital bool
}

// addBases marks what the needed data blobs are made of that an index has as deltas. Most bases are met as the index
// is passed; only those that were passed before, and are deltas themselves, have to be remembered.
func (m *marks) addBases(ctx context.Context, ix *repo.Index) error {
	if m.based == ix && m.basedOn == m.data.len() {
		return nil
	}
	w := baseWalk{m: m, ix: ix, done: map[object.BlobID]bool{}}
	var buf []local.Place
	for e, err := range ix.AllListed(ctx) {
		if err != nil {
			return err
		}
		at := prefix(e.ID)
		vital := m.data.has(at)
		if !vital && !m.bases.has(at) {
			continue
		}
		w.passed = e.ID
		w.follow(e.Places, vital)
		for len(w.todo) > 0 {
			b := w.todo[len(w.todo)-1]
			w.todo = w.todo[:len(w.todo)-1]
			if done, met := w.done[b.id]; met && (done || !b.vital) {
				continue
			}
			if buf = ix.Listed(b.id, buf[:0]); w.follow(buf, b.vital) {
				w.done[b.id] = b.vital
			}
		}
	}
	m.based, m.basedOn = ix, m.data.len()
	return nil
}

// follow marks the bases of a blob's copies, and reports whether any is a delta. What was passed is to be looked up.
func (w *baseWalk) follow(places []local.Place, vital bool) (deltas bool) {
	vital = vital && len(places) == 1
	for i := range places {
		for k := range places[i].Bases.Len() {
			deltas = true
			b := base{places[i].Bases.At(k), vital}
			if vital {
				w.m.data.add(prefix(b.id))
			} else {
				w.m.bases.add(prefix(b.id))
			}
			if b.id.Compare(w.passed) <= 0 {
				w.todo = append(w.todo, b)
			}
		}
	}
	return deltas
}
