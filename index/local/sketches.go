package local

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"sort"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/object"
)

// A level's sketches are entries: a feature, the complement of the number of the index segment that it comes from, so
// that of one feature the newest is first, and the beginning of the blob's id, enough to find it in the same level. All
// are big-endian, so that they are sorted as bytes. They lie in blocks: a key for each would take as much again.
const (
	featureSize = 6
	sourceSize  = 4
	prefixSize  = 6
	entrySize   = featureSize + sourceSize + prefixSize
	prefixAt    = featureSize + sourceSize

	blockSize = 59 * entrySize // four of them, with their keys, fill a page
	maxAlike  = 4              // entries of one feature in a level: the newest
)

func appendFeature(dst []byte, f uint64) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(f>>32))
	return binary.BigEndian.AppendUint32(dst, uint32(f))
}

func appendEntry(dst []byte, feature uint64, source uint32, id *object.BlobID) []byte {
	dst = appendFeature(dst, feature)
	dst = binary.BigEndian.AppendUint32(dst, ^source)
	return append(dst, id[:prefixSize]...)
}

func entrySource(e []byte) uint32 { return ^binary.BigEndian.Uint32(e[featureSize:]) }
func entryPrefix(e []byte) []byte { return e[prefixAt:entrySize] }

// validBlock reports whether a block has the form of one: whole entries, the last one with the key's feature.
func validBlock(key, block []byte) bool {
	return len(key) == featureSize && len(block) >= entrySize && len(block)%entrySize == 0 &&
		bytes.Equal(block[len(block)-entrySize:][:featureSize], key)
}

// entriesOf returns the entries of a feature in a block.
func entriesOf(block, feature []byte) []byte {
	n := len(block) / entrySize
	at := func(i int) []byte { return block[i*entrySize:][:featureSize] }
	first := sort.Search(n, func(i int) bool { return bytes.Compare(at(i), feature) >= 0 })
	end := first
	for end < n && end < first+maxAlike && bytes.Equal(at(end), feature) {
		end++
	}
	return block[first*entrySize : end*entrySize]
}

// sketchSorter sorts the entries of a batch.
type sketchSorter struct {
	*sorter
	entry []byte
}

func (s *sketchSorter) add(sketch delta.Sketch, source uint32, id *object.BlobID) error {
	for _, f := range sketch {
		s.entry = appendEntry(s.entry[:0], f, source, id)
		if err := s.sorter.add(s.entry, nil); err != nil {
			return err
		}
	}
	return nil
}

// sketchWriter makes blocks of entries that come in ascending order. A block has the key of its last feature, so that
// the block with a feature, if there is one, is the first one whose key is not below. What is more than maxAlike of a
// feature is left out, and so memory, blocks and lookups stay small whatever somebody claims to be alike.
type sketchWriter struct {
	put   func(key, block []byte) error
	group []byte // entries of one feature
	block []byte
}

func newSketchWriter(w *writer) (*sketchWriter, error) {
	return &sketchWriter{put: w.putSketches}, w.begin(bucketSketches)
}

func (s *sketchWriter) add(entry []byte) error {
	if len(s.group) > 0 && !bytes.Equal(s.group[:featureSize], entry[:featureSize]) {
		if err := s.endGroup(); err != nil {
			return err
		}
	}
	if len(s.group) == maxAlike*entrySize {
		return nil
	}
	for known := range slices.Chunk(s.group, entrySize) {
		if bytes.Equal(entryPrefix(known), entryPrefix(entry)) {
			return nil // the same blob in an older index segment
		}
	}
	s.group = append(s.group, entry...)
	return nil
}

func (s *sketchWriter) endGroup() error {
	if len(s.block)+len(s.group) > blockSize {
		if err := s.endBlock(); err != nil {
			return err
		}
	}
	s.block = append(s.block, s.group...)
	s.group = s.group[:0]
	return nil
}

func (s *sketchWriter) endBlock() error {
	if len(s.block) == 0 {
		return nil
	}
	err := s.put(s.block[len(s.block)-entrySize:][:featureSize], s.block)
	s.block = s.block[:0]
	return err
}

func (s *sketchWriter) finish() error {
	if err := s.endGroup(); err != nil {
		return err
	}
	return s.endBlock()
}

// sketchInput is what a level has of sketches, at its current entry.
type sketchInput struct {
	input
	entry []byte
	rest  []byte // of the block
}

// advance goes to the next entry. It reports false after the last one.
func (in *sketchInput) advance() (bool, error) {
	if len(in.rest) == 0 {
		if len(in.entry) > 0 {
			if err := in.next(); err != nil {
				return false, err
			}
		}
		if in.end {
			return false, nil
		}
		if !validBlock(in.key, in.value) {
			return false, in.level.damaged("block of sketches")
		}
		in.rest = in.value
	}
	next := in.rest[:entrySize]
	if len(in.entry) > 0 && bytes.Compare(in.entry, next) >= 0 {
		return false, in.level.damaged("sketches do not ascend")
	}
	in.entry, in.rest = append(in.entry[:0], next...), in.rest[entrySize:]
	return true, nil
}

// mergeSketches calls fn with the entries of several levels, in ascending order. They are valid only during the call.
func mergeSketches(ctx context.Context, levels []*openLevel, fn func(entry []byte) error) error {
	var inputs []*sketchInput
	for _, o := range levels {
		in := &sketchInput{input: input{level: o}}
		defer in.close()
		if err := in.open(bucketSketches); err != nil {
			return err
		}
		more, err := in.advance()
		if err != nil {
			return err
		}
		if more {
			inputs = append(inputs, in)
		}
	}
	for n := 0; len(inputs) > 0; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		first := 0
		for i := 1; i < len(inputs); i++ {
			if bytes.Compare(inputs[i].entry, inputs[first].entry) < 0 {
				first = i
			}
		}
		if err := fn(inputs[first].entry); err != nil {
			return err
		}
		more, err := inputs[first].advance()
		if err != nil {
			return err
		}
		if !more {
			inputs = slices.Delete(inputs, first, first+1)
		}
	}
	return nil
}
