package local

import (
	"context"
	"slices"

	"github.com/kura-backup/kura/internal/object"
)

// Source is an index segment that a view was made from.
type Source struct {
	Ref    object.Ref
	Copies uint64   // that it lists
	Packs  []uint32 // numbers of the packs that it lists copies in, ascending
}

// Sources returns the wanted index segments, in no order. It goes through the whole index, once, and
// takes memory for each pack, not for each blob.
func (v *View) Sources(ctx context.Context) ([]Source, error) {
	r, err := v.take() // keeps the files open
	if err != nil {
		return nil, err
	}
	defer v.put(r)
	pairs := map[uint64]struct{}{} // number of the source, number of the pack
	var p sourcedPlace
	err = mergeBuckets(ctx, v.levels, bucketBlobs, func(_, values []byte) error {
		places := placeReader{rest: values}
		for places.next(&p) {
			if v.live.has(p.source) {
				pairs[uint64(p.source)<<32|uint64(p.Pack)] = struct{}{}
			}
		}
		if places.bad {
			return v.levels[0].damaged("places of a blob")
		}
		return nil
	})
	if err != nil {
		return nil, v.fail(err)
	}
	packs := map[uint32][]uint32{}
	for pair := range pairs {
		packs[uint32(pair>>32)] = append(packs[uint32(pair>>32)], uint32(pair))
	}
	var out []Source
	for _, o := range v.levels {
		for i := range o.Sources {
			s := &o.Sources[i]
			if !v.live.has(s.Number) {
				continue
			}
			slices.Sort(packs[s.Number])
			out = append(out, Source{Ref: s.ref(), Copies: s.Places, Packs: packs[s.Number]})
		}
	}
	return out, nil
}
