package gc

import (
	"encoding/binary"

	"github.com/kura-backup/kura/internal/object"
)

// prefixSet is a set of blob ids of which it keeps 6 bytes: 2 choose a shard, 4 are kept in it. With ids
// that are keyed hashes the shards are alike, and one that is full grows alone: the whole takes 5 to 8
// bytes for each id, and never much more while it grows. Not for concurrent use.
type prefixSet struct {
	shards []shard // 1 << shardBits of them, or none
	n      int
}

// shard is a hash table of values that are never 0, at most three quarters full.
type shard struct {
	slots []uint32
	n     int
}

const shardBits = 16

// prefix is what a prefixSet keeps of an id. It ascends with the ids.
func prefix(id object.BlobID) uint64 {
	p := binary.BigEndian.Uint64(id[:]) >> (64 - shardBits - 32)
	if uint32(p) == 0 {
		p++ // 0 is an empty slot: two ids are one then
	}
	return p
}

// add reports whether the prefix is new.
func (s *prefixSet) add(p uint64) bool {
	if s.shards == nil {
		s.shards = make([]shard, 1<<shardBits)
	}
	if !s.shards[p>>32].add(uint32(p)) {
		return false
	}
	s.n++
	return true
}

func (s *prefixSet) has(p uint64) bool {
	if s.shards == nil {
		return false
	}
	sh := &s.shards[p>>32]
	if sh.n == 0 {
		return false
	}
	_, found := sh.find(uint32(p))
	return found
}

func (s *prefixSet) len() int { return s.n }

// find returns the slot of a value, or the empty one where it belongs.
func (s *shard) find(v uint32) (slot int, found bool) {
	i := int(uint64(v) * uint64(len(s.slots)) >> 32)
	for s.slots[i] != 0 {
		if s.slots[i] == v {
			return i, true
		}
		if i++; i == len(s.slots) {
			i = 0
		}
	}
	return i, false
}

func (s *shard) add(v uint32) bool {
	if 4*(s.n+1) > 3*len(s.slots) {
		old := s.slots
		s.slots = make([]uint32, len(old)*3/2+8)
		for _, o := range old {
			if o != 0 {
				i, _ := s.find(o)
				s.slots[i] = o
			}
		}
	}
	i, found := s.find(v)
	if !found {
		s.slots[i] = v
		s.n++
	}
	return !found
}
