package repo

import (
	"sync"

	"github.com/kura-backup/kura/internal/object"
)

// knownSet is the set of blobs that a session stores. It is safe for concurrent use.
type knownSet struct {
	shards [64]struct {
		mu  sync.Mutex
		ids map[object.BlobID]struct{}
	}
}

// add reports whether id is new to the set.
func (k *knownSet) add(id object.BlobID) bool {
	s := &k.shards[id[0]%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.ids[id]; ok {
		return false
	}
	if s.ids == nil {
		s.ids = map[object.BlobID]struct{}{}
	}
	s.ids[id] = struct{}{}
	return true
}

func (k *knownSet) has(id object.BlobID) bool {
	s := &k.shards[id[0]%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.ids[id]
	return ok
}

func (k *knownSet) len() (n int) {
	for i := range k.shards {
		s := &k.shards[i]
		s.mu.Lock()
		n += len(s.ids)
		s.mu.Unlock()
	}
	return n
}
