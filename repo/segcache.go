package repo

import (
	"container/list"
	"context"
	"sync"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
)

// segmentCacheSize bounds the plaintext of decoded segments that LoadBlob keeps.
const segmentCacheSize = 24 << 20

// segmentKey is all that the plaintext of a segment depends on that can be decrypted: lists may say different things of
// one. Whoever loads one of a depth waits only for others of less depth.
type segmentKey struct {
	pack   object.Ref
	at     uint32
	plain  uint32
	coding pack.Coding
	depth  uint8
	bases  local.Bases
}

func keyOf(p *Place) segmentKey { return segmentKey{p.Pack, p.At, p.Plain, p.Coding, p.Depth, p.Bases} }

// segmentCache keeps the plaintext of segments that were read last. Several goroutines that want the
// same segment wait for one of them to load it. Safe for concurrent use.
type segmentCache struct {
	mu      sync.Mutex
	limit   int
	size    int
	entries map[segmentKey]*segmentEntry
	order   list.List // of *segmentEntry, the last used in front
}

type segmentEntry struct {
	key   segmentKey
	size  int
	place *list.Element
	ready chan struct{} // closed when plain or err is set
	plain []byte
	err   error
}

func newSegmentCache(limit int) *segmentCache {
	return &segmentCache{limit: limit, entries: map[segmentKey]*segmentEntry{}}
}

func (c *segmentCache) get(ctx context.Context, key segmentKey, size int, load func() ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	if e, ok := c.entries[key]; ok {
		c.order.MoveToFront(e.place)
		c.mu.Unlock()
		select {
		case <-e.ready:
			if e.err != nil && ctx.Err() == nil {
				return load() // the error may be that of another caller's context
			}
			return e.plain, e.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	e := &segmentEntry{key: key, size: size, ready: make(chan struct{})}
	e.place = c.order.PushFront(e)
	c.entries[key] = e
	c.size += size
	for c.size > c.limit && c.order.Len() > 1 {
		c.remove(c.order.Back().Value.(*segmentEntry))
	}
	c.mu.Unlock()

	e.plain, e.err = load()
	close(e.ready)
	if e.err != nil {
		c.mu.Lock()
		c.remove(e)
		c.mu.Unlock()
	}
	return e.plain, e.err
}

// remove forgets an entry that may have been forgotten before. Who waits for it still gets it.
func (c *segmentCache) remove(e *segmentEntry) {
	if c.entries[e.key] == e {
		delete(c.entries, e.key)
		c.order.Remove(e.place)
		c.size -= e.size
	}
}
