package local

import (
	"context"
	"errors"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/object"
)

const (
	maxBatchBlobs   = 4 << 20
	maxBatchNumbers = 32 << 10 // packs, and origins, that are held in memory
)

// batch collects index segments for one new level.
type batch struct {
	sorter   *sorter
	sketches sketchSorter
	packs    *numbering
	origins  *numbering
	secrets  *numbering
	sources  []source
	blobs    int
	value    []byte
}

// newBatch begins a batch. The levels must stay open until it is closed.
func newBatch(dir durable.FS, levels []*openLevel) (*batch, error) {
	infos := make([]level, len(levels))
	for i, o := range levels {
		infos[i] = o.level
	}
	packs, origins, secrets := next(infos)
	b := &batch{sorter: newSorter(dir, idSize, arenaSize)}
	b.sketches.sorter = newSorter(dir, entrySize, sketchArena)
	var errs [3]error
	b.packs, errs[0] = newNumbering(levels, bucketPacks, bucketPackRefs, packs)
	b.origins, errs[1] = newNumbering(levels, bucketOrigins, bucketOriginIDs, origins)
	b.secrets, errs[2] = newNumbering(levels, bucketSecrets, bucketSecretIDs, secrets)
	if err := errors.Join(errs[:]...); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *batch) close() {
	b.sorter.close()
	b.sketches.close()
	b.closeLevels()
}

func (b *batch) closeLevels() {
	for _, n := range []*numbering{b.packs, b.origins, b.secrets} {
		if n != nil {
			n.close()
		}
	}
}

// full reports whether the level should be written before more is added.
func (b *batch) full() bool {
	return b.blobs >= maxBatchBlobs || b.packs.size() >= maxBatchNumbers || b.origins.size() >= maxBatchNumbers
}

func (b *batch) empty() bool { return len(b.sources) == 0 }

// add takes in an index segment. Nothing of it is kept.
func (b *batch) add(ref object.Ref, number uint32, seg *index.Segment) error {
	packs := make([]uint32, len(seg.Packs))
	for i, p := range seg.Packs {
		var err error
		if packs[i], err = b.packs.number(packKey(p.Ref), func(dst []byte) ([]byte, error) { return appendPack(dst, p), nil }); err != nil {
			return err
		}
	}
	origins := make([]uint32, len(seg.Origins))
	for i, o := range seg.Origins {
		key, err := originKey(o)
		if err != nil {
			return err
		}
		origins[i], err = b.origins.number(key, func(dst []byte) ([]byte, error) {
			secret, err := b.secrets.number(object.Sum(o.Sealed), func(dst []byte) ([]byte, error) { return append(dst, o.Sealed...), nil })
			return appendOrigin(dst, o, secret), err
		})
		if err != nil {
			return err
		}
	}
	for i := range seg.Blobs {
		blob := &seg.Blobs[i]
		in := &seg.Segments[blob.Segment]
		p := sourcedPlace{source: number, Place: Place{
			Pack: packs[in.Pack], Origin: origins[in.Origin], Ordinal: in.Ordinal,
			SegOffset: in.Offset, Stored: in.Stored, Plain: in.Plain, Coding: in.Coding,
			Offset: blob.Offset, Length: blob.Length,
			Depth: in.Depth, ChainSum: in.ChainSum, Bases: JoinBases(in.Bases),
		}}
		b.value = appendPlace(b.value[:0], &p)
		if err := b.sorter.add(blob.ID[:], b.value); err != nil {
			return err
		}
		if in.HasSketch {
			if err := b.sketches.add(in.Sketch, number, &blob.ID); err != nil {
				return err
			}
		}
	}
	b.blobs += len(seg.Blobs)
	b.sources = append(b.sources, source{Session: ref.Session, Hash: ref.Hash, Number: number, Places: uint64(len(seg.Blobs))})
	return nil
}

// write makes the level.
func (b *batch) write(ctx context.Context, dir durable.FS, path string) (level, error) {
	w, err := newWriter(ctx, dir, path, level{
		Packs: b.packs.span(), Origins: b.origins.span(), Secrets: b.secrets.span(), Sources: b.sources,
	}, uint64(b.blobs))
	if err != nil {
		return level{}, err
	}
	if err := b.fill(w); err != nil {
		w.discard()
		return level{}, err
	}
	return w.finish()
}

func (b *batch) fill(w *writer) error {
	if err := w.begin(bucketBlobs); err != nil {
		return err
	}
	if err := b.sorter.merge(w.putBlob); err != nil {
		return err
	}
	if err := w.endBlobs(); err != nil {
		return err
	}
	if err := b.writeSketches(w); err != nil {
		return err
	}
	for _, n := range []*numbering{b.packs, b.origins, b.secrets} {
		if err := n.write(w); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) writeSketches(w *writer) error {
	s, err := newSketchWriter(w)
	if err != nil {
		return err
	}
	if err := b.sketches.merge(func(entry, _ []byte) error { return s.add(entry) }); err != nil {
		return err
	}
	return s.finish()
}
