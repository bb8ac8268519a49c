package repair

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// salvage carries what can be read of damaged packs.
type salvage struct {
	w        *writer
	o        *PacksOptions
	ix       *repo.Index            // nil if there is none that is whole
	places   map[object.Ref][]found // of packs without a directory
	carriers map[object.Class]*carrier
}

// remains is what there is of a pack.
type remains struct {
	raw   []byte // as it lies in the store, with zeros for what can not be read; nil if it is missing
	obj   []byte // as it was written, or raw
	whole bool   // obj is as it was written
	sound bool   // and so is raw
	dir   []found
	known bool // dir is complete: from the directory
	newer bool // there is a directory, which is not understood
}

func (s *salvage) all(ctx context.Context, damaged []object.Ref, res *PacksResult) error {
	want := map[object.Ref]struct{}{}
	for _, ref := range damaged {
		want[ref] = struct{}{}
	}
	var err error
	if s.ix, err = s.w.r.VerifiedIndex(ctx); err != nil && !isDamage(ctx, err) {
		return err
	}
	if s.places, err = s.w.placesOf(ctx, want); err != nil {
		return err
	}
	for i, ref := range damaged {
		s.w.ev.step(i, len(damaged))
		out, err := s.one(ctx, ref)
		if err != nil {
			return err
		}
		if out == nil {
			continue
		}
		res.Packs = append(res.Packs, *out)
		if s.w.ev.Pack != nil {
			s.w.ev.Pack(*out)
		}
	}
	for _, c := range s.carriers {
		if err := c.flush(ctx, true); err != nil {
			return err
		}
	}
	return nil
}

// one salvages a pack, unless nothing is wrong with it. It returns nil for one that a collector made go.
func (s *salvage) one(ctx context.Context, ref object.Ref) (*PackOutcome, error) {
	out := &PackOutcome{Ref: ref}
	rem, err := s.remains(ctx, ref)
	if err != nil {
		return nil, err
	}
	if rem.raw == nil {
		if err := s.w.r.Refresh(ctx); err != nil || !s.w.r.State().Live(ref) {
			return nil, err
		}
	}
	canRead := s.w.r.Keys().CanRead(kindOf(ref.Class))
	if !rem.whole && rem.raw != nil && !canRead {
		out.Fate = Sealed
		return out, nil
	}
	if rem.newer {
		out.Fate = Newer
		return out, nil
	}
	good, err := s.sort(ctx, ref, rem, canRead, out)
	if errors.Is(err, wire.ErrNewer) {
		return &PackOutcome{Ref: ref, Fate: Newer}, nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case rem.raw == nil:
		out.Fate = Missing
	case out.SegmentsLost > 0 || !rem.known:
		out.Fate = Salvaged
	case rem.sound:
		out.Fate = Whole
		return out, nil
	default:
		out.Fate = Mended
	}
	if s.o.DryRun {
		return out, nil
	}
	if out.Fate == Salvaged && len(rem.raw) > 0 {
		out.Quarantine = object.QuarantineName(ref)
		if err := s.w.setAside(ctx, out.Quarantine, rem.raw); err != nil {
			return nil, err
		}
	}
	for i := range good {
		if err := s.carry(ctx, ref.Class, &good[i], rem.obj); err != nil {
			return nil, err
		}
	}
	s.w.drop[ref] = struct{}{}
	return out, nil
}

// sort returns the segments that can be read, and counts them and the others.
func (s *salvage) sort(ctx context.Context, ref object.Ref, rem *remains, canRead bool, out *PackOutcome) (good []found, err error) {
	at := map[uint32]bool{} // offset → whether what is there can be read
	var open []found        // deltas of which nobody can tell, since what they are made of can not be read
	for i := range rem.dir {
		f := &rem.dir[i]
		if at[f.seg.Offset] {
			continue // an index segment said the same, or something else, of it
		}
		ok, err := s.verify(ctx, ref, rem, f, canRead)
		if errors.Is(err, repo.ErrBase) {
			open = append(open, *f)
			continue
		}
		if err != nil {
			return nil, err
		}
		if at[f.seg.Offset] = ok; ok {
			good = append(good, *f)
			out.Segments++
			out.Blobs += len(f.seg.IDs)
		}
	}
	for _, f := range open {
		if !at[f.seg.Offset] {
			good = append(good, f)
			out.Segments++
			out.Blobs += len(f.seg.IDs)
		}
	}
	for _, f := range open {
		at[f.seg.Offset] = true
	}
	lost := map[uint32]int{}
	for i := range rem.dir {
		if seg := &rem.dir[i].seg; !at[seg.Offset] {
			lost[seg.Offset] = max(lost[seg.Offset], len(seg.IDs))
		}
	}
	out.SegmentsLost = len(lost)
	for _, n := range lost {
		out.BlobsLost += n
	}
	return good, nil
}

// remains reads what there is of a pack and finds out what its segments should be.
func (s *salvage) remains(ctx context.Context, ref object.Ref) (*remains, error) {
	r := s.w.r
	size := r.State().Packs[ref].Size
	rem := &remains{}
	obj, mended, err := r.LoadPack(ctx, ref, size, nil)
	switch {
	case err == nil:
		rem.obj, rem.whole = obj, true
		if rem.sound, err = s.sound(ctx, ref, size, mended); err != nil {
			return nil, err
		}
		rem.raw = obj
	case isDamage(ctx, err):
		if rem.raw, err = r.ReadHoles(ctx, ref.Name()); err != nil {
			return nil, err
		}
		rem.obj = rem.raw
	default:
		return nil, err
	}
	if len(rem.obj) > 0 {
		dir, err := pack.OpenDirectory(r.Keys(), ref.Class, rem.obj)
		if err == nil {
			rem.known = true
			for i := range dir.Segments {
				rem.dir = append(rem.dir, found{dir.Origins[dir.Segments[i].Origin], dir.Segments[i]})
			}
			return rem, nil
		}
		if rem.whole {
			err = seal.AsWritten(err)
		}
		rem.newer = errors.Is(err, wire.ErrNewer)
	}
	rem.dir = s.places[ref]
	return rem, nil
}

// sound reports whether the object in the store is the pack, and not longer than it.
func (s *salvage) sound(ctx context.Context, ref object.Ref, size int64, mended bool) (bool, error) {
	if mended {
		return false, nil
	}
	for info, err := range s.w.r.Store().List(ctx, ref.Name(), "") {
		if err != nil {
			return false, err
		}
		if info.Name == ref.Name() {
			return info.Size == size, nil
		}
	}
	return false, nil
}

// verify reports whether a segment can be read, with the key; without it, a pack that is as it was written is
// believed. Of a delta that is what was encrypted, and of which a base can not be read, the error wraps ErrBase: where
// the base is stored again, it can be read again.
func (s *salvage) verify(ctx context.Context, ref object.Ref, rem *remains, f *found, canRead bool) (bool, error) {
	end := uint64(f.seg.Offset) + uint64(f.seg.Stored)
	if end > uint64(len(rem.obj)) {
		return false, nil
	}
	if !canRead {
		return rem.whole, nil
	}
	part := repo.SegmentOf(f.origin, &f.seg)
	verify := func(ix *repo.Index) error {
		return s.w.r.VerifySegment(ctx, ix, ref, &part, f.seg.IDs, f.seg.Lengths, bytes.Clone(rem.obj[f.seg.Offset:end]))
	}
	err := verify(nil)
	if err == nil && f.seg.Coding == pack.Delta {
		if s.ix == nil {
			return false, repo.ErrBase
		}
		if err = verify(s.ix); errors.Is(err, repo.ErrBase) {
			return false, err
		}
	}
	if err != nil && (!errors.As(err, new(*repo.DamageError)) || rem.known && errors.Is(err, wire.ErrNewer)) {
		return false, err // but not for what index segments alone say: those may be forged
	}
	return err == nil, nil
}

func kindOf(class object.Class) seal.Kind {
	if class == object.TreePack {
		return seal.Meta
	}
	return seal.Data
}

// carry puts a segment into an open pack, also if one with its number was carried before: that may be another's
// forgery.
func (s *salvage) carry(ctx context.Context, class object.Class, f *found, obj []byte) error {
	c := s.carriers[class]
	if c == nil {
		c = &carrier{w: s.w, class: class, opts: s.o.Packing.Options(class)}
		s.carriers[class] = c
	}
	return c.carry(ctx, f, obj[f.seg.Offset:f.seg.Offset+f.seg.Stored])
}

// carrier fills packs of one class.
type carrier struct {
	w     *writer
	class object.Class
	opts  pack.Options
	b     *pack.Builder
}

func (c *carrier) carry(ctx context.Context, f *found, ciphertext []byte) error {
	err := c.put(ctx, f, ciphertext)
	if !errors.Is(err, pack.ErrTwice) {
		return err
	}
	if err := c.flush(ctx, false); err != nil {
		return err
	}
	return c.put(ctx, f, ciphertext)
}

func (c *carrier) put(ctx context.Context, f *found, ciphertext []byte) error {
	if c.b != nil && !c.b.Fits(int(f.seg.Stored)) {
		if err := c.flush(ctx, false); err != nil {
			return err
		}
	}
	if c.b == nil {
		buf := make([]byte, 0, c.opts.BufferSize(c.class))
		var err error
		if c.b, err = pack.NewBuilder(c.w.r.Keys(), c.class, c.w.sid, nil, c.opts, buf); err != nil {
			return err
		}
	}
	return c.b.Carry(f.origin, f.seg, ciphertext)
}

// flush stores the open pack.
func (c *carrier) flush(ctx context.Context, pad bool) error {
	if c.b == nil || c.b.Empty() {
		return nil
	}
	obj, ref, dir, err := c.b.Finish(pad)
	c.b = nil
	if err != nil {
		return err
	}
	if err := c.w.r.PutNamed(ctx, ref.Name(), obj); err != nil {
		return err
	}
	c.w.add = append(c.w.add, &ownPack{ref: ref, size: int64(len(obj)), dir: dir})
	return nil
}

// setAside stores damaged bytes. What an earlier run has set aside under the name stays.
func (w *writer) setAside(ctx context.Context, name string, raw []byte) error {
	whatever := func([]byte) bool { return true }
	if _, err := backends.Settle(ctx, w.r.Store(), name, raw, whatever); err != nil {
		return fmt.Errorf("repair: set the damaged bytes aside: %w", err)
	}
	return nil
}
