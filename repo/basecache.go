package repo

import (
	"encoding/hex"
	"sync/atomic"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/pack"
)

// baseCacheSize bounds the blobs that are kept on disk to be bases of deltas.
const baseCacheSize = 2 << 30

// baseCache keeps the plaintexts of blobs to which the next generation may be similar, where they can not be read
// from the store: because it is far, or because the key is one that can only write. They are sealed under a key that
// every role has: who takes both the cache and a writer's key of a host can read what the host stored lately, though
// not the repository. Nil keeps nothing. It is safe for concurrent use.
type baseCache struct {
	diskCache
	r    *Repository
	room atomic.Int64 // bytes that this process may still keep: more would only push each other out
}

func newBaseCache(r *Repository, dir string) *baseCache {
	c := &baseCache{diskCache: newDiskCache(dir, baseCacheSize), r: r}
	c.room.Store(baseCacheSize / 2)
	return c
}

// binding is what the sealed bytes belong to.
func (c *baseCache) binding(id object.BlobID) []byte {
	repo := c.r.Keys().RepoID()
	return append(append([]byte("kura/1 base cache"), repo[:]...), id[:]...)
}

func baseFile(id object.BlobID) string { return hex.EncodeToString(id[:]) }

// get returns a blob, verified, or nil.
func (c *baseCache) get(id object.BlobID) []byte {
	if c == nil {
		return nil
	}
	obj := c.read(baseFile(id), 0, -1)
	if obj == nil {
		return nil
	}
	_, frame, err := c.r.Keys().Open(object.DataPack, c.binding(id), obj)
	if err == nil {
		plain, err := zst.Decode(nil, frame, object.MaxBlobSize)
		if err == nil && c.r.hasher.ID(object.DataBlob, plain) == id {
			return plain
		}
	}
	c.remove(baseFile(id))
	return nil
}

// put keeps a blob that was just stored. One that does not compress is kept only if it is part of something of which
// there is an earlier content.
func (c *baseCache) put(id object.BlobID, n *pack.NewSegment, again bool) {
	if c == nil || n.Coding == pack.Raw && !again || c.room.Load() <= 0 || c.has(baseFile(id)) {
		return
	}
	frame := n.Stored
	if n.Coding != pack.Zstd {
		frame = zst.Encode(nil, n.Plain, zst.Fastest)
	}
	obj, err := c.r.Keys().Seal(object.DataPack, nil, c.binding(id), frame)
	if err == nil {
		err = c.keep(baseFile(id), obj)
	}
	if err != nil {
		c.room.Store(0)
		return
	}
	c.room.Add(-int64(len(obj)))
}
