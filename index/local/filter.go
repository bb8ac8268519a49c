package local

import (
	"encoding/binary"
	"math/bits"
)

// A level has a filter that tells most ids it does not have without a search: a lookup asks all
// levels, of which at most a few have the blob. It is a Bloom filter in blocks of one cache
// line. Ids are keyed hashes, so their own bits choose the block and the bits in it. The block
// is chosen by the first bits: ascending ids fill ascending blocks, so the filter is written as
// a stream, in chunks that are the values of a bucket, and read where bbolt maps them.
const (
	filterBlock = 64      // bytes
	filterChunk = 1 << 16 // bytes, a multiple of filterBlock; the last chunk is shorter
	filterKeys  = 40      // ids that a block is meant for: 12.8 bits for each
	filterBits  = 7       // set by each id, chosen by 9 bits each
)

// filterBlocks returns how many blocks a filter for at most n ids has.
func filterBlocks(n uint64) uint64 { return n/filterKeys + 1 }

// filterAt returns which of n blocks an id belongs to, and the bits that choose the bits in it.
func filterAt(id []byte, n uint64) (block, choice uint64) {
	block, _ = bits.Mul64(binary.BigEndian.Uint64(id), n)
	return block, binary.BigEndian.Uint64(id[8:])
}

func filterSet(block []byte, choice uint64) {
	for range filterBits {
		block[choice>>3&(filterBlock-1)] |= 1 << (choice & 7)
		choice >>= 9
	}
}

func filterHas(block []byte, choice uint64) bool {
	for range filterBits {
		if block[choice>>3&(filterBlock-1)]&(1<<(choice&7)) == 0 {
			return false
		}
		choice >>= 9
	}
	return true
}

// filterWriter collects a level's ids, in ascending order, and hands over the chunks.
type filterWriter struct {
	blocks uint64
	first  uint64 // block of the chunk at hand
	chunk  []byte
	put    func(number uint32, chunk []byte) error
}

func newFilterWriter(ids uint64, put func(number uint32, chunk []byte) error) *filterWriter {
	f := &filterWriter{blocks: filterBlocks(ids), put: put}
	f.begin(0)
	return f
}

const blocksPerChunk = filterChunk / filterBlock

func (f *filterWriter) begin(first uint64) {
	f.first = first
	f.chunk = make([]byte, min(blocksPerChunk, f.blocks-first)*filterBlock) // bbolt keeps it
}

func (f *filterWriter) add(id []byte) error {
	block, choice := filterAt(id, f.blocks)
	for block >= f.first+blocksPerChunk {
		if err := f.next(); err != nil {
			return err
		}
	}
	filterSet(f.chunk[(block-f.first)*filterBlock:][:filterBlock], choice)
	return nil
}

// next hands over the chunk and begins the one after it, of which there must be one.
func (f *filterWriter) next() error {
	if err := f.put(uint32(f.first/blocksPerChunk), f.chunk); err != nil {
		return err
	}
	f.begin(f.first + blocksPerChunk)
	return nil
}

func (f *filterWriter) finish() error {
	for f.first+blocksPerChunk < f.blocks {
		if err := f.next(); err != nil {
			return err
		}
	}
	return f.put(uint32(f.first/blocksPerChunk), f.chunk)
}

// filter is a level's filter, in mapped memory: it is touched under guard.
type filter struct {
	blocks uint64
	chunks [][]byte
}

// mayHave reports whether the level may have an id. Only a false is certain.
func (f *filter) mayHave(id []byte) bool {
	block, choice := filterAt(id, f.blocks)
	chunk := f.chunks[block/blocksPerChunk]
	return filterHas(chunk[block%blocksPerChunk*filterBlock:][:filterBlock], choice)
}

// valid reports whether the chunks are those of so many blocks.
func (f *filter) valid() bool {
	left := f.blocks
	for _, c := range f.chunks {
		n := min(blocksPerChunk, left)
		if uint64(len(c)) != n*filterBlock {
			return false
		}
		left -= n
	}
	return left == 0 && len(f.chunks) > 0
}
