package repair

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/internal/freelist"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// PacksOptions say how to repair packs.
type PacksOptions struct {
	Packs  []object.Ref // those to look at; none: read all and find the damaged
	DryRun bool
	Host   string // written into the run's signs of life

	Packing repo.Packing // of new packs; groups are for the collector
}

// Fate is what becomes of a pack.
type Fate uint8

// The fates of packs.
const (
	Whole    Fate = iota // nothing is wrong with it
	Mended               // all of it is in new packs
	Salvaged             // what can be read of it is in new packs, the rest is lost
	Missing              // there is nothing of it
	Sealed               // this key can not tell what of it is whole: it stays as it is
	Newer                // this program can not tell: it stays as it is
)

// PackOutcome is what became of a pack, or for a dry run would become.
type PackOutcome struct {
	Ref  object.Ref
	Fate Fate
	// Of a salvaged pack: segments, and blobs in them, that could be read, and those known to be lost. What a
	// pack held is not known when neither its directory nor the index can be read.
	Segments, Blobs         int
	SegmentsLost, BlobsLost int
	Quarantine              string // name under which the damaged bytes are kept, if anything is lost
}

// PacksResult says what a run did, or for a dry run would do.
type PacksResult struct {
	Entry    uint64 // number of the log entry; 0 if none was needed
	Read     int    // packs that were read to find the damaged ones
	Packs    []PackOutcome
	Added    int          // new packs
	Unlisted []object.Ref // as in IndexResult
}

// Count returns how many packs have a fate.
func (r *PacksResult) Count(f Fate) (n int) {
	for i := range r.Packs {
		if r.Packs[i].Fate == f {
			n++
		}
	}
	return n
}

// Packs mends damaged packs: all that can be read of them is carried into new packs, and the damaged ones are
// dropped. Of those that lost something the bytes are set aside first. Missing packs are dropped, so that the
// next backup stores again what it meets of them.
//
// Without the key that reads a pack nobody can tell its whole segments from its damaged ones. So with a
// maintainer's key data packs are repaired only if they can be mended as a whole, or are missing.
func Packs(ctx context.Context, r *repo.Repository, o PacksOptions, ev Events) (*PacksResult, error) {
	if err := mayCollect(r); err != nil {
		return nil, err
	}
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	w := newWriter(r, &ev)
	s := &salvage{w: w, o: &o, carriers: map[object.Class]*carrier{}}
	res := &PacksResult{}
	damaged := o.Packs
	if len(damaged) == 0 {
		var err error
		if damaged, res.Read, err = findDamaged(ctx, r, &ev); err != nil {
			return nil, err
		}
	}
	for _, ref := range damaged {
		if !r.State().Live(ref) {
			return nil, fmt.Errorf("%w: %v", ErrNotLive, ref)
		}
	}
	if len(damaged) == 0 {
		return res, nil
	}
	if !o.DryRun {
		defer live(ctx, r, w.sid, o.Host)()
	}
	ev.phase("carrying what can be read into new packs")
	if err := s.all(ctx, damaged, res); err != nil {
		return nil, err
	}
	if len(o.Packs) == 0 {
		missing := map[object.Ref]bool{}
		for i := range res.Packs {
			missing[res.Packs[i].Ref] = res.Packs[i].Fate == Missing
		}
		if err := tooMany(r.State().Packs, func(ref object.Ref) bool { return missing[ref] }); err != nil {
			return nil, err
		}
	}
	if o.DryRun || len(w.drop) == 0 {
		return res, nil
	}
	ev.phase("writing the index")
	if err := w.commit(ctx); err != nil {
		return nil, err
	}
	res.Entry, res.Added, res.Unlisted = w.entry, len(w.add), w.refused
	return res, nil
}

// buffers holds memory for whole packs, from one to the next.
var buffers = freelist.New[[]byte](runtime.GOMAXPROCS(0))

// findDamaged reads all live packs and returns those that are missing or not what was written.
func findDamaged(ctx context.Context, r *repo.Repository, ev *Events) (damaged []object.Ref, read int, err error) {
	ev.phase("reading all packs")
	sizes := map[object.Ref]int64{}
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix} {
		for info, err := range r.Store().List(ctx, prefix, "") {
			if err != nil {
				return nil, 0, err
			}
			if ref, err := object.ParseRef(info.Name); err == nil {
				sizes[ref] = info.Size
			}
		}
	}
	packs := r.State().Packs
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for ref, p := range packs {
		size := sizes[ref]
		g.Go(func() error {
			sound, err := isSound(gctx, r, ref, p.Size)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			read++
			ev.step(read, len(packs))
			if !sound || size != p.Size {
				damaged = append(damaged, ref)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, 0, err
	}
	// What a collector has made go since is not damaged.
	if err := r.Refresh(ctx); err != nil {
		return nil, 0, err
	}
	packs = r.State().Packs
	damaged = slices.DeleteFunc(damaged, func(ref object.Ref) bool { return !r.State().Live(ref) })
	missing := map[object.Ref]bool{}
	for _, ref := range damaged {
		_, there := sizes[ref]
		missing[ref] = !there
	}
	if err := tooMany(packs, func(ref object.Ref) bool { return missing[ref] }); err != nil {
		return nil, 0, err
	}
	slices.SortFunc(damaged, object.Ref.Compare)
	return damaged, read, nil
}

// isSound reports whether a pack is, as it lies in the store, what was written, and has a directory.
func isSound(ctx context.Context, r *repo.Repository, ref object.Ref, size int64) (bool, error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	buf, _ := buffers.Get()
	obj, mended, err := r.LoadPack(ctx, ref, size, buf)
	if err != nil {
		if isDamage(ctx, err) {
			return false, nil
		}
		return false, err
	}
	defer buffers.Put(obj)
	if mended {
		return false, nil
	}
	_, err = pack.OpenDirectory(r.Keys(), ref.Class, obj)
	return err == nil || errors.Is(seal.AsWritten(err), wire.ErrNewer), nil
}
