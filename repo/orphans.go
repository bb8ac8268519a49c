package repo

import (
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

// maxOrphans bounds how many packs of unfinished sessions are considered for adoption: some 64 GiB.
const maxOrphans = 4096

// orphans are packs that belong to no entry yet, of sessions that may be dead: those of a backup that
// was cut off. A session that needs a blob of one adopts the pack instead of storing the blob again.
// It is safe for concurrent use.
type orphans struct {
	packs []*finishedPack
	blobs map[object.BlobID]orphan

	mu     sync.Mutex
	chosen map[int]struct{}
}

// orphan is a blob in an orphaned pack.
type orphan struct {
	pack  int             // index into packs
	depth uint8           // 0: it is no delta
	bases []object.BlobID // of a delta
}

// unfinished lists the sessions that gave a sign of life, but for those that have made their entry. Their first sign must be genuine, and
// of the epoch that counts: its name could be put by anybody, and packs that were kept from elsewhere beside it.
func (r *Repository) unfinished(ctx context.Context) ([]object.SessionID, error) {
	var sids []object.SessionID
	var first []string
	st := r.State()
	for info, err := range r.store.List(ctx, object.SessionsPrefix, "") {
		if err != nil {
			return nil, err
		}
		sid, _, err := object.ParseSignName(info.Name)
		if err == nil && st.Open(sid) && (len(sids) == 0 || sids[len(sids)-1] != sid) {
			sids, first = append(sids, sid), append(first, info.Name)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(farRequests)
	for i, name := range first {
		g.Go(func() error {
			_, epoch, err := r.loadSign(gctx, name)
			switch {
			case err != nil && (gctx.Err() != nil || backends.KindOf(err) != backends.Permanent):
				return err
			case err != nil || epoch != st.Epoch.Number:
				sids[i] = object.SessionID{} // which no session has
			}
			return nil
		})
	}
	err := g.Wait()
	return slices.DeleteFunc(sids, func(sid object.SessionID) bool { return sid == object.SessionID{} }), err
}

// farRequests is how many small requests are made at once to a store that may be far away.
const farRequests = 8

// findOrphans reads the directories of packs of the given sessions. Those of an epoch that is over do not count: who
// was shut out by its end can still make them. Nor do those with the same header, which has random numbers in it: all but one are copies
// with other segments, and to make such takes no key.
func (r *Repository) findOrphans(ctx context.Context, ix *Index, unfinished []object.SessionID) (*orphans, error) {
	found := make([][]*finishedPack, 2*len(unfinished))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(farRequests)
	for i, sid := range unfinished {
		for k, prefix := range []string{object.DataPrefix, object.TreePrefix} {
			g.Go(func() (err error) {
				found[2*i+k], err = r.addablePacks(gctx, ix, prefix+sid.String()+"-")
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := slices.Concat(found...)
	all = all[:min(len(all), maxOrphans)]
	headers := make([]seal.Header, len(all))
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(farRequests)
	for i, p := range all {
		g.Go(func() (err error) {
			dir, h, err := r.loadDirectory(gctx, p.ref, p.size)
			if errors.As(err, new(*DamageError)) || err == nil && h.Epoch != ix.state.Epoch.Number {
				return nil // nobody relies on it yet: leave it to the collector
			}
			p.dir, headers[i] = dir, h
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	packs := map[seal.Header]int{}
	for _, h := range headers {
		packs[h]++
	}
	o := &orphans{blobs: map[object.BlobID]orphan{}, chosen: map[int]struct{}{}}
	for i, p := range all {
		if p.dir != nil && packs[headers[i]] == 1 {
			o.add(p)
		}
	}
	return o, nil
}

// addablePacks lists the packs whose names have the prefix, and that the index's state lets one add.
func (r *Repository) addablePacks(ctx context.Context, ix *Index, prefix string) (packs []*finishedPack, err error) {
	for info, err := range r.store.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		ref, err := object.ParseRef(info.Name)
		if err == nil && !ix.state.Live(ref) && ix.state.Addable(ref) {
			packs = append(packs, &finishedPack{ref: ref, size: info.Size})
		}
	}
	return packs, nil
}

func (o *orphans) add(p *finishedPack) {
	for i := range p.dir.Segments {
		seg := &p.dir.Segments[i]
		for _, id := range seg.IDs {
			if old, twice := o.blobs[id]; !twice || seg.Depth < old.depth {
				o.blobs[id] = orphan{len(o.packs), seg.Depth, seg.Bases}
			}
		}
	}
	o.packs = append(o.packs, p)
}

// adopt reports whether an orphan holds the blob, and adopts that orphan. A delta counts if copies of its bases
// do that are in the index; the session then relies on those.
func (o *orphans) adopt(s *Session, id object.BlobID) bool {
	found, ok := o.blobs[id]
	if !ok {
		return false
	}
	g := newGround(s.ix, s.r.avoided(s.ix))
	for _, base := range found.bases {
		if _, ok := g.find(base, found.depth); !ok {
			return false
		}
	}
	for _, base := range found.bases {
		if !g.allPacks(base, s.relyOn) {
			return false
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.chosen[found.pack] = struct{}{}
	return true
}

// adopted returns the packs that were adopted.
func (o *orphans) adopted() []*finishedPack {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []*finishedPack
	for n := range o.chosen {
		out = append(out, o.packs[n])
	}
	slices.SortFunc(out, func(a, b *finishedPack) int { return a.ref.Compare(b.ref) })
	return out
}
