package local

import (
	"context"
	"encoding/binary"

	"github.com/kura-backup/kura/internal/durable"
)

// compaction rewrites the newest levels as one, without the places of dead sources and without
// the packs, origins and secrets that only those used.
type compaction struct {
	levels  []*openLevel // those that are rewritten
	live    bitset
	packs   *renumbering
	origins *renumbering
	secrets *renumbering
	places  map[uint32]uint64 // kept, by source
}

// compact writes levels[from:] as one level. It has no places if all were dead.
func compact(ctx context.Context, dir durable.FS, path string, levels []*openLevel, from int, live bitset) (level, error) {
	first, last := &levels[from].level, &levels[len(levels)-1].level
	c := &compaction{
		levels:  levels[from:],
		live:    live,
		packs:   newRenumbering(first.Packs.Base, last.Packs.end()),
		origins: newRenumbering(first.Origins.Base, last.Origins.end()),
		secrets: newRenumbering(first.Secrets.Base, last.Secrets.end()),
		places:  make(map[uint32]uint64),
	}
	ids := uint64(0)
	for _, o := range c.levels {
		ids += o.Blobs
	}
	w, err := newWriter(ctx, dir, path, level{}, ids)
	if err != nil {
		return level{}, err
	}
	if err := c.fill(ctx, w); err != nil {
		w.discard()
		return level{}, err
	}
	w.level.Packs, w.level.Origins, w.level.Secrets = c.packs.span(), c.origins.span(), c.secrets.span()
	for _, o := range c.levels {
		for _, s := range o.Sources {
			if live.has(s.Number) {
				s.Places = c.places[s.Number]
				w.level.Sources = append(w.level.Sources, s)
			}
		}
	}
	return w.finish()
}

func (c *compaction) fill(ctx context.Context, w *writer) error {
	if err := w.begin(bucketBlobs); err != nil {
		return err
	}
	var value []byte
	err := mergeBuckets(ctx, c.levels, bucketBlobs, func(id, places []byte) error {
		if len(id) != idSize {
			return c.levels[0].damaged("blob id of %d bytes", len(id))
		}
		var err error
		if value, err = c.keep(value[:0], places); err != nil || len(value) == 0 {
			return err
		}
		return w.putBlob(id, value)
	})
	if err != nil {
		return err
	}
	if err := w.endBlobs(); err != nil {
		return err
	}
	if err := c.sketches(ctx, w); err != nil {
		return err
	}
	if err := c.table(ctx, w, bucketPacks, bucketPackRefs, c.packs, nil); err != nil {
		return err
	}
	err = c.table(ctx, w, bucketOrigins, bucketOriginIDs, c.origins, func(record []byte) error {
		if len(record) != originRecord {
			return c.levels[0].damaged("origin of %d bytes", len(record))
		}
		secret, ok := c.secrets.number(binary.LittleEndian.Uint32(record[secretAt:]))
		if !ok {
			return c.levels[0].damaged("origin refers to a secret that is not there")
		}
		binary.LittleEndian.PutUint32(record[secretAt:], secret)
		return nil
	})
	if err != nil {
		return err
	}
	return c.table(ctx, w, bucketSecrets, bucketSecretIDs, c.secrets, nil)
}

// keep appends the living places to dst, with their new numbers.
func (c *compaction) keep(dst, places []byte) ([]byte, error) {
	r := placeReader{rest: places}
	var p sourcedPlace
	for r.next(&p) {
		if !c.live.has(p.source) {
			continue
		}
		var ok1, ok2 bool
		p.Pack, ok1 = c.packs.number(p.Pack)
		p.Origin, ok2 = c.origins.number(p.Origin)
		if !ok1 || !ok2 {
			r.bad = true
			break
		}
		c.places[p.source]++
		dst = appendPlace(dst, &p)
	}
	if r.bad {
		return nil, c.levels[0].damaged("a place refers to what is not there")
	}
	return dst, nil
}

// sketches writes those of living sources: their blobs have been kept.
func (c *compaction) sketches(ctx context.Context, w *writer) error {
	s, err := newSketchWriter(w)
	if err != nil {
		return err
	}
	err = mergeSketches(ctx, c.levels, func(entry []byte) error {
		if !c.live.has(entrySource(entry)) {
			return nil
		}
		return s.add(entry)
	})
	if err != nil {
		return err
	}
	return s.finish()
}

// table writes the records that are still used, under their new numbers, and their keys.
func (c *compaction) table(ctx context.Context, w *writer, records, keys []byte, n *renumbering, edit func(record []byte) error) error {
	if err := w.begin(records); err != nil {
		return err
	}
	for i, old := range n.used {
		record, err := c.record(records, old)
		if err != nil {
			return err
		}
		if edit != nil {
			if err := edit(record); err != nil {
				return err
			}
		}
		if err := w.put(numberKey(n.base+uint32(i)), record); err != nil {
			return err
		}
	}
	if err := w.begin(keys); err != nil {
		return err
	}
	return mergeBuckets(ctx, c.levels, keys, func(key, value []byte) error {
		if len(value) != 4 {
			return c.levels[0].damaged("number of %d bytes", len(value))
		}
		number, used := n.existing(binary.BigEndian.Uint32(value))
		if !used {
			return nil
		}
		return w.put(key, numberKey(number))
	})
}

// record finds the record of an old number.
func (c *compaction) record(bucket []byte, old uint32) ([]byte, error) {
	for _, o := range c.levels {
		record, err := o.get(bucket, numberKey(old))
		if record != nil || err != nil {
			return record, err
		}
	}
	return nil, c.levels[0].damaged("no record %d in %s", old, bucket)
}
