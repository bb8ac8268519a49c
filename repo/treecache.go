package repo

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kura-backup/kura/internal/clock"
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
	dir  string
	full atomic.Bool // a pack could not be kept: none is fetched any more only to be kept

	mu      sync.Mutex
	size    int64                      // about; -1: the files were not looked at yet
	used    map[object.Ref]struct{}    // packs that were used since the cache was opened
	loading map[object.Ref]*treeLoader // packs that are being fetched
}

// treeLoader is the fetching of a pack, of which others can wait for the end.
type treeLoader struct {
	done chan struct{}
	err  error
}

func newTreeCache(dir string) *treeCache {
	return &treeCache{dir: dir, size: -1, used: map[object.Ref]struct{}{}, loading: map[object.Ref]*treeLoader{}}
}

// file is where a pack is kept.
func (c *treeCache) file(ref object.Ref) string {
	return filepath.Join(c.dir, filepath.Base(filepath.FromSlash(ref.Name())))
}

// get returns part of a pack, or nil.
func (c *treeCache) get(ref object.Ref, offset, length int64) []byte {
	f, err := os.Open(c.file(ref))
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, length)
	if _, err := f.ReadAt(b, offset); err != nil {
		return nil
	}
	c.touch(ref)
	return b
}

// touch makes a pack one that was used last.
func (c *treeCache) touch(ref object.Ref) {
	c.mu.Lock()
	_, done := c.used[ref]
	c.used[ref] = struct{}{}
	c.mu.Unlock()
	if !done {
		now := clock.Now()
		_ = os.Chtimes(c.file(ref), now, now)
	}
}

// put keeps a pack.
func (c *treeCache) put(ref object.Ref, obj []byte) {
	if c == nil || ref.Class != object.TreePack {
		return
	}
	if err := c.write(ref, obj); err != nil {
		c.full.Store(true)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size >= 0 {
		c.size += int64(len(obj))
	}
	if c.size < 0 || c.size > treeCacheSize {
		c.size = c.tidy()
	}
}

func (c *treeCache) write(ref object.Ref, obj []byte) (err error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(c.dir, tempTree)
	if err != nil {
		return err
	}
	_, err = f.Write(obj)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), c.file(ref))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// tempTree begins the names of files that are being written, and of those whose writer died.
const tempTree = "new-"

// tidy removes the packs that were not used for longest, until a quarter of the room is free, and returns
// what is left.
func (c *treeCache) tidy() (size int64) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return 0
	}
	var files []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if strings.HasPrefix(info.Name(), tempTree) && clock.Since(info.ModTime()) > time.Hour {
			_ = os.Remove(filepath.Join(c.dir, info.Name()))
			continue
		}
		files = append(files, info)
		size += info.Size()
	}
	if size <= treeCacheSize {
		return size
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range files {
		if size <= treeCacheSize*3/4 {
			break
		}
		if os.Remove(filepath.Join(c.dir, info.Name())) == nil {
			size -= info.Size()
		}
	}
	return size
}

// remove forgets a pack.
func (c *treeCache) remove(ref object.Ref) { _ = os.Remove(c.file(ref)) }

// fetch has load fetch a pack and keeps it. Of several that want the same pack one does so, the others wait.
func (c *treeCache) fetch(ctx context.Context, ref object.Ref, load func() ([]byte, error)) error {
	c.mu.Lock()
	if l := c.loading[ref]; l != nil {
		c.mu.Unlock()
		select {
		case <-l.done:
			return l.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	l := &treeLoader{done: make(chan struct{})}
	c.loading[ref] = l
	c.mu.Unlock()

	obj, err := load()
	if err == nil {
		c.put(ref, obj)
	}
	l.err = err
	c.mu.Lock()
	delete(c.loading, ref)
	c.mu.Unlock()
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
		ct := c.get(p.Pack, int64(p.At), int64(p.Stored))
		if ct != nil {
			plain, err := r.decode(p, ct)
			if err == nil {
				return plain
			}
			c.remove(p.Pack)
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
