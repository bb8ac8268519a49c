package gc

import (
	"context"
	"errors"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// ownPack is a pack that this run has stored.
type ownPack struct {
	ref  object.Ref
	size int64
	dir  *pack.Directory
}

// carrier fills packs of one class with segments of others.
type carrier struct {
	c     *collector
	class object.Class
	b     *pack.Builder
	buf   []byte
}

// carry writes the live segments of the packs to be dropped into new packs, as ciphertext. A pack that is
// damaged and can not be mended is left alone: its damage must not get a new name.
func (c *collector) carry(ctx context.Context) error {
	if len(c.plan.repack) == 0 {
		return nil
	}
	c.ev.phase("repacking")
	total := uint64(len(c.plan.repack))
	carriers := map[object.Class]*carrier{}
	var buf []byte
	for i, k := range c.plan.repack {
		c.ev.step(uint64(i), total)
		obj, _, err := c.r.LoadPack(ctx, k.ref, k.size, buf)
		if errors.As(err, new(*repo.DamageError)) && !errors.Is(err, backends.ErrNotExist) {
			delete(c.plan.drop, k.ref)
			c.res.Damaged = append(c.res.Damaged, k.ref)
			continue
		}
		if err != nil {
			return err
		}
		buf = obj
		dir, err := pack.OpenDirectory(c.r.Keys(), k.ref.Class, obj)
		if err != nil {
			return &repo.DamageError{Object: k.ref.Name(), Err: err}
		}
		if !k.listedTruly(dir) {
			delete(c.plan.drop, k.ref) // there is more or less in it than the index says: it stays as it is
			continue
		}
		to := carriers[k.ref.Class]
		if to == nil {
			to = &carrier{c: c, class: k.ref.Class}
			carriers[k.ref.Class] = to
		}
		if err := to.carryPack(ctx, k, obj, dir); err != nil {
			return err
		}
	}
	for _, to := range carriers {
		if err := to.flush(ctx, true); err != nil {
			return err
		}
	}
	c.ev.step(total, total)
	return nil
}

func (to *carrier) carryPack(ctx context.Context, k *candidate, obj []byte, dir *pack.Directory) error {
	for i := range dir.Segments {
		seg := &dir.Segments[i]
		if _, live := k.live[seg.Offset]; !live {
			continue
		}
		ciphertext := obj[seg.Offset : uint64(seg.Offset)+uint64(seg.Stored)]
		err := to.put(ctx, k, dir.Origins[seg.Origin], seg, ciphertext)
		if errors.Is(err, pack.ErrTwice) { // two collectors have carried it once, and both copies are kept
			if err = to.flush(ctx, false); err == nil {
				err = to.put(ctx, k, dir.Origins[seg.Origin], seg, ciphertext)
			}
		}
		if err != nil {
			return err
		}
		to.c.plan.carried[spot{k.ref, seg.Offset}] = struct{}{}
		to.c.res.BytesRepacked += int64(seg.Stored)
	}
	return nil
}

// put puts a segment into the open pack.
func (to *carrier) put(ctx context.Context, k *candidate, origin *seal.Origin, seg *pack.Segment, ciphertext []byte) error {
	if to.b != nil && !to.b.Fits(int(seg.Stored)) {
		if err := to.flush(ctx, false); err != nil {
			return err
		}
	}
	if to.b == nil {
		opts := to.c.opts.Packing.Options(to.class)
		if to.buf == nil {
			to.buf = make([]byte, 0, opts.BufferSize(to.class))
		}
		var err error
		if to.b, err = pack.NewBuilder(to.c.r.Keys(), to.class, to.c.sid, nil, opts, to.buf); err != nil {
			return err
		}
	}
	if err := to.b.Carry(origin, *seg, ciphertext); err != nil {
		return &repo.DamageError{Object: k.ref.Name(), Err: err}
	}
	return nil
}

// listedTruly reports whether the pack's directory has all segments that are to be carried.
func (k *candidate) listedTruly(dir *pack.Directory) bool {
	found := 0
	for i := range dir.Segments {
		if _, live := k.live[dir.Segments[i].Offset]; live {
			found++
		}
	}
	return found == len(k.live)
}

// flush stores the open pack.
func (to *carrier) flush(ctx context.Context, pad bool) error {
	if to.b == nil || to.b.Empty() {
		return nil
	}
	obj, ref, dir, err := to.b.Finish(pad)
	to.b = nil
	if err != nil {
		return err
	}
	to.c.uploaded = true
	if err := to.c.r.PutNamed(ctx, ref.Name(), obj); err != nil {
		return err
	}
	to.buf = obj[:0]
	to.c.plan.added = append(to.c.plan.added, &ownPack{ref: ref, size: int64(len(obj)), dir: dir})
	return nil
}
