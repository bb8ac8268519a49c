package repair

import (
	"context"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
)

// IndexOptions say how to repair the index.
type IndexOptions struct {
	// AllPacks makes all of the index again from the directories of the packs, also where nothing seems to be
	// wrong with it, or a newer program wrote what this one does not understand (otherwise Index returns an error that
	// wraps [wire.ErrNewer], and nothing is changed).
	AllPacks bool
	DryRun   bool
	Host     string // written into the run's signs of life
}

// IndexResult says what a run did, or for a dry run would do.
type IndexResult struct {
	Entry    uint64       // number of the log entry; 0 if none was needed
	Bad      []object.Ref // index segments that were lost or damaged
	Read     int          // packs whose directories were read
	Replaced int          // index segments
	Added    int
	// Unlisted are packs whose directories can not be read: what is in them, unless another index segment
	// lists it, can not be found. Packs carries what it can out of them.
	Unlisted []object.Ref
	Newer    []object.Ref // likewise, since a newer program wrote them; Packs leaves them as they are
}

// Index makes lost and damaged index segments again. It needs no local index.
func Index(ctx context.Context, r *repo.Repository, o IndexOptions, ev Events) (*IndexResult, error) {
	if err := mayCollect(r); err != nil {
		return nil, err
	}
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	w := newWriter(r, &ev)
	w.all = o.AllPacks
	ev.phase("reading the index")
	b, err := w.plan(ctx, r.State())
	if err != nil {
		return nil, err
	}
	res := &IndexResult{Bad: b.bad, Read: len(b.list), Replaced: len(b.replace)}
	if o.DryRun || len(b.replace)+len(b.list) == 0 {
		return res, nil
	}
	defer live(ctx, r, w.sid, o.Host)()
	ev.phase("writing the index")
	if err := w.commit(ctx); err != nil {
		return nil, err
	}
	if last := w.last; last != nil {
		res.Newer = last.newer
		res.Bad, res.Read, res.Replaced, res.Added = last.bad, len(last.list)-len(last.unread)-len(last.newer), len(last.replace), len(last.put)
	}
	res.Entry, res.Unlisted = w.entry, w.refused
	return res, nil
}
