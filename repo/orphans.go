package repo

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
)

// maxOrphans bounds how many packs of unfinished sessions are considered for adoption: some 64 GiB.
const maxOrphans = 4096

// orphans are packs that belong to no entry yet, of sessions that may be dead: those of a backup that
// was cut off. A session that needs a blob of one adopts the pack instead of storing the blob again.
// It is safe for concurrent use.
type orphans struct {
	packs []*finishedPack
	blobs map[object.BlobID]int // index into packs

	mu     sync.Mutex
	chosen map[int]struct{}
}

// findOrphans lists the packs of sessions that gave a sign of life and made no entry.
func (r *Repository) findOrphans(ctx context.Context, ix *Index, dryRun bool) (*orphans, error) {
	o := &orphans{blobs: map[object.BlobID]int{}, chosen: map[int]struct{}{}}
	if dryRun {
		return o, nil
	}
	var sids []object.SessionID
	for info, err := range r.store.List(ctx, object.SessionsPrefix, "") {
		if err != nil {
			return nil, err
		}
		sid, _, err := object.ParseSignName(info.Name)
		if err == nil && ix.state.Open(sid) && (len(sids) == 0 || sids[len(sids)-1] != sid) {
			sids = append(sids, sid)
		}
	}
	for _, sid := range sids {
		for _, prefix := range []string{object.DataPrefix, object.TreePrefix} {
			if err := r.addOrphans(ctx, o, ix, prefix+sid.String()+"-"); err != nil {
				return nil, err
			}
		}
	}
	return o, nil
}

func (r *Repository) addOrphans(ctx context.Context, o *orphans, ix *Index, prefix string) error {
	for info, err := range r.store.List(ctx, prefix, "") {
		if err != nil {
			return err
		}
		ref, err := object.ParseRef(info.Name)
		if err != nil || len(o.packs) == maxOrphans || ix.state.Live(ref) || !ix.state.Addable(ref) {
			continue
		}
		dir, err := r.LoadDirectory(ctx, ref, info.Size)
		if damaged := (*DamageError)(nil); errors.As(err, &damaged) {
			continue // nobody relies on it yet: leave it to the collector
		}
		if err != nil {
			return err
		}
		o.add(&finishedPack{ref: ref, size: info.Size, dir: dir})
	}
	return nil
}

func (o *orphans) add(p *finishedPack) {
	for i := range p.dir.Segments {
		seg := &p.dir.Segments[i]
		if seg.Coding == pack.Delta {
			continue // would rely on its base, too
		}
		for _, id := range seg.IDs {
			o.blobs[id] = len(o.packs)
		}
	}
	o.packs = append(o.packs, p)
}

// adopt reports whether an orphan holds the blob, and adopts that orphan.
func (o *orphans) adopt(id object.BlobID) bool {
	n, ok := o.blobs[id]
	if !ok {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.chosen[n] = struct{}{}
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
