package repo

import (
	"context"
	"path"
	"sync"
	"sync/atomic"

	"github.com/kura-backup/kura/internal/object"
)

// treeCacheSize bounds the tree packs that are kept on disk: those of some twenty million files.
const treeCacheSize = 1 << 30

// maxCachedPack is the size up to which a pack is fetched as a whole: no tree pack is larger, unless its writer
// is not to be trusted.
const maxCachedPack = 16 << 20

// treeCache keeps tree packs of a far store in files, as they are in the store. Folders are read page by page, each
// page says which are the next: from a far store that would be a round trip for each. What is read from the
// cache is verified like what comes from the store, and read there if anything is wrong with it.
// Errors cost time only. It is safe for concurrent use, by several processes, too. Nil caches nothing.
type treeCache struct {
	diskCache
	full atomic.Bool // a pack could not be kept: none is fetched any more only to be kept

	fetching sync.Mutex                 // guards loading
	loading  map[object.Ref]*treeLoader // packs that are being fetched
}

// treeLoader is the fetching of a pack, of which others can wait for the end.
type treeLoader struct {
	done chan struct{}
	err  error
}

func newTreeCache(dir string) *treeCache {
	return &treeCache{diskCache: newDiskCache(dir, treeCacheSize), loading: map[object.Ref]*treeLoader{}}
}

// treeFile is the name of the file of a pack.
func treeFile(ref object.Ref) string { return path.Base(ref.Name()) }

// put keeps a pack.
func (c *treeCache) put(ref object.Ref, obj []byte) {
	if c == nil || ref.Class != object.TreePack {
		return
	}
	if c.keep(treeFile(ref), obj) != nil {
		c.full.Store(true)
	}
}

// fetch has load fetch a pack and keeps it. Of several that want the same pack one does so, the others wait.
func (c *treeCache) fetch(ctx context.Context, ref object.Ref, load func() ([]byte, error)) error {
	c.fetching.Lock()
	if l := c.loading[ref]; l != nil {
		c.fetching.Unlock()
		select {
		case <-l.done:
			return l.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	l := &treeLoader{done: make(chan struct{})}
	c.loading[ref] = l
	c.fetching.Unlock()

	obj, err := load()
	if err == nil {
		c.put(ref, obj)
	}
	l.err = err
	c.fetching.Lock()
	delete(c.loading, ref)
	c.fetching.Unlock()
	close(l.done)
	return err
}

// loadCached is loadSegment for tree packs of a far store: the whole of a pack is fetched and kept. It returns nil
// if the segment has to be read from the store alone.
func (r *Repository) loadCached(ctx context.Context, p *Place) []byte {
	c := r.trees
	if c == nil || p.Pack.Class != object.TreePack || p.PackSize > maxCachedPack || int64(p.At)+int64(p.Stored) > p.PackSize {
		return nil
	}
	for try := range 2 {
		ct := c.read(treeFile(p.Pack), int64(p.At), int64(p.Stored))
		if ct != nil {
			plain, err := r.decode(p, ct, nil) // trees have no deltas
			if err == nil {
				return plain
			}
			c.remove(treeFile(p.Pack))
		}
		if try > 0 || c.full.Load() {
			break
		}
		err := c.fetch(ctx, p.Pack, func() ([]byte, error) {
			return r.store.Get(ctx, p.Pack.Name(), 0, p.PackSize, nil)
		})
		if err != nil {
			break
		}
	}
	return nil
}

// DistrustCache makes everything be read from the store from now on, for those who are to find out what is in
// it. It must not be called beside anything else.
func (r *Repository) DistrustCache() { r.trees, r.segs = nil, newSegmentCache(segmentCacheSize) }
