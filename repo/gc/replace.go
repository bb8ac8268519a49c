package gc

import (
	"context"
	"iter"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
)

// smallIndex is how many index segments with few blobs may lie around before they are merged.
const smallIndex = 8

// lister stores index segments, of as many blobs as fit.
type lister struct {
	seg index.Segment
	put []log.PackRef
}

// flush stores what there is if so many blobs more do not fit.
func (l *lister) flush(ctx context.Context, r *repo.Repository, sid object.SessionID, more int) error {
	if len(l.seg.Blobs) == 0 || len(l.seg.Blobs)+more <= index.MaxBlobs {
		return nil
	}
	refs, err := r.PutIndex(ctx, sid, &l.seg)
	l.put = append(l.put, refs...)
	l.seg = index.Segment{}
	return err
}

func (l *lister) addPack(ctx context.Context, r *repo.Repository, sid object.SessionID, ref object.Ref, size int64, dir *pack.Directory) error {
	n := 0
	for i := range dir.Segments {
		n += len(dir.Segments[i].IDs)
	}
	if err := l.flush(ctx, r, sid, n); err != nil {
		return err
	}
	return l.seg.AddPack(ref, size, dir)
}

// replacement is a set of index segments and what was stored in their place.
type replacement struct {
	replace []object.Ref
	drop    []object.Ref
	lister
}

// staleIndex chooses the index segments to replace: those that list packs which are not live after the
// entry, and small ones if there are many or others are written anyway.
func (c *collector) staleIndex(ctx context.Context, ix *repo.Index, drop map[object.Ref]struct{}) ([]object.Ref, error) {
	stays := staying(ix.State(), drop)
	segments, err := ix.Segments(ctx)
	if err != nil {
		return nil, err
	}
	var stale, small []object.Ref
	for _, s := range segments {
		switch {
		case slices.ContainsFunc(s.Packs, func(n uint32) bool { p, _ := ix.Pack(n); return !stays(p.Ref) }):
			stale = append(stale, s.Ref)
		case s.Copies < index.MaxBlobs/4:
			small = append(small, s.Ref)
		}
	}
	if len(small) > smallIndex || len(small) > 0 && len(stale) > 0 {
		stale = append(stale, small...)
	}
	slices.SortFunc(stale, object.Ref.Compare)
	return stale, nil
}

// staying tells which packs are live when those of drop are not.
func staying(st *log.State, drop map[object.Ref]struct{}) func(object.Ref) bool {
	return func(ref object.Ref) bool {
		_, dropped := drop[ref]
		return st.Live(ref) && !dropped
	}
}

// replaceIndex stores index segments in place of stale ones. Together with those that stay, and those of the
// packs that are added, they list every copy in every live pack.
func (c *collector) replaceIndex(ctx context.Context, ix *repo.Index, drop map[object.Ref]struct{}) ([]object.Ref, []log.PackRef, error) {
	stale, err := c.staleIndex(ctx, ix, drop)
	if err != nil {
		return nil, nil, err
	}
	next := &replacement{replace: stale, drop: slices.SortedFunc(maps.Keys(drop), object.Ref.Compare)}
	// What was merged for an earlier try is right for this one if it was made from the same segments
	// and leaves out the same packs.
	if last := c.slice.replaced; last != nil && slices.Equal(last.replace, next.replace) && slices.Equal(last.drop, next.drop) {
		return last.replace, last.put, nil
	}
	c.uploaded = c.uploaded || len(stale) > 0
	if err := next.store(ctx, c.r, c.sid, ix.State(), staying(ix.State(), drop)); err != nil {
		return nil, nil, err
	}
	c.slice.replaced = next
	return next.replace, next.put, nil
}

// store stores the index segments of a replacement, in which only packs are listed that stay.
func (m *replacement) store(ctx context.Context, r *repo.Repository, sid object.SessionID, st *log.State, stays func(object.Ref) bool) error {
	for old, err := range loadSegments(ctx, r, st, m.replace) {
		if err != nil {
			return err
		}
		if err := m.flush(ctx, r, sid, len(old.Blobs)); err != nil {
			return err
		}
		if err := m.seg.Merge(old, stays); err != nil {
			return err
		}
	}
	return m.flush(ctx, r, sid, index.MaxBlobs)
}

// loadMost is how many bytes of index segments are read at once.
const loadMost = 8 << 20

// loadSegments yields index segments in the order of refs, and reads some ahead. An error ends it.
func loadSegments(ctx context.Context, r *repo.Repository, st *log.State, refs []object.Ref) iter.Seq2[*index.Segment, error] {
	type result struct {
		seg    *index.Segment
		err    error
		weight int64
	}
	return func(yield func(*index.Segment, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var g errgroup.Group
		defer func() { cancel(); _ = g.Wait() }() // none of them returns an error
		weights := semaphore.NewWeighted(loadMost)
		results := make(chan chan result, requests)
		g.Go(func() error {
			defer close(results)
			for _, ref := range refs {
				weight := max(1, min(st.Index[ref], loadMost))
				if weights.Acquire(ctx, weight) != nil {
					return nil
				}
				one := make(chan result, 1)
				g.Go(func() error {
					seg, err := r.LoadIndexSegment(ctx, ref)
					one <- result{seg, err, weight}
					return nil
				})
				select {
				case results <- one:
				case <-ctx.Done():
					return nil
				}
			}
			return nil
		})
		for one := range results {
			res := <-one
			if !yield(res.seg, res.err) || res.err != nil {
				return
			}
			weights.Release(res.weight)
		}
		if ctx.Err() != nil {
			yield(nil, context.Cause(ctx))
		}
	}
}
