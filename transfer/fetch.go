package transfer

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
)

// flush fetches and stores what was planned.
func (w *walk) flush(ctx context.Context) error {
	b, c := w.batch, w.c
	w.batch = newBatch()
	if c.opts.DryRun {
		return c.pretendAll(b)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.workers)
	for _, f := range b.fetches(c.reach) {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error { return c.fetch(gctx, &f) })
	}
	for _, id := range b.lost {
		g.Go(func() error { return c.singly(gctx, id) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx) // not all may have been begun
}

// pretendAll counts what would be fetched.
func (c *copier) pretendAll(b *batch) error {
	for _, id := range b.lost {
		_, err := b.ix.Lookup(id)
		return &lostError{err}
	}
	for _, p := range b.order {
		for _, n := range p.needs {
			c.pretend(n.id, uint64(n.Length))
		}
	}
	return nil
}

// fetch reads a range of a pack and stores the blobs that are needed of it. What can not be had from it is looked
// for elsewhere.
func (c *copier) fetch(ctx context.Context, f *fetch) error {
	buf, err := c.fetched.Get(ctx, int(f.length))
	if err != nil {
		return err
	}
	defer buf.Release()
	b, err := c.from.FetchRange(ctx, f.pack, f.from, f.length, buf.B)
	if err != nil && !errors.As(err, new(*repo.DamageError)) {
		return err
	}
	for len(f.needs) > 0 {
		n := 1
		for n < len(f.needs) && f.needs[n].At == f.needs[0].At {
			n++
		}
		segment := f.needs[:n]
		f.needs = f.needs[n:]
		from := int64(segment[0].At) - f.from
		end := from + int64(segment[0].Stored)
		if err != nil || end > int64(len(b)) {
			if err := c.allSingly(ctx, segment); err != nil {
				return err
			}
			continue
		}
		// With its own capacity: it is decrypted in place.
		if err := c.segment(ctx, segment, b[from:end:end]); err != nil {
			return err
		}
	}
	return nil
}

// segment decodes a segment and stores the blobs that are needed of it.
func (c *copier) segment(ctx context.Context, needs []need, ciphertext []byte) error {
	at := &needs[0].Place
	if at.Coding == pack.Delta {
		for i := range needs { // a delta is one blob, but forged lists may say that several are there
			if err := c.delta(ctx, &needs[i]); err != nil {
				return err
			}
		}
		return nil
	}
	key, err := c.from.OpenOrigin(at.Pack, at.Origin)
	if err != nil {
		return c.allSingly(ctx, needs) // which says what is the matter
	}
	buf, err := c.decoded.Get(ctx, int(at.Plain))
	if err != nil {
		return err
	}
	defer buf.Release()
	plain, err := repo.DecodeSegment(buf.B, key, &at.Segment, ciphertext, nil)
	if err != nil && !errors.Is(err, pack.ErrCoding) {
		return c.allSingly(ctx, needs)
	}
	if err != nil {
		return err
	}
	for i := range needs {
		n := &needs[i]
		b, err := c.from.ExtractChecked(object.DataBlob, n.id, &n.Place, plain)
		if err != nil {
			err = c.singly(ctx, n.id)
		} else {
			err = c.save(n.id, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// delta stores a blob that is a delta in the source. What it is made of is at hand then: so it can be a delta of the same
// blobs in the destination, if that has them.
func (c *copier) delta(ctx context.Context, n *need) error {
	b, err := c.load(ctx, object.DataBlob, n.id)
	if err != nil {
		return err
	}
	var bases []repo.CheckedBlob
	joined := 0
	for i := range n.Bases.Len() {
		base, err := c.from.LoadChecked(ctx, object.DataBlob, n.Bases.At(i))
		if err != nil && !errors.As(err, new(*repo.DamageError)) {
			return err
		}
		if err == nil { // otherwise the blob was read from another copy
			bases = append(bases, base)
			joined += len(base.Bytes())
		}
		if joined > pack.MaxJoined { // and here, too: nothing is a delta of so much
			bases = nil
			break
		}
	}
	return c.save(n.id, b, bases...)
}

func (c *copier) allSingly(ctx context.Context, needs []need) error {
	for i := range needs {
		if err := c.singly(ctx, needs[i].id); err != nil {
			return err
		}
	}
	return nil
}

// singly looks for a blob in all of its places, in mended packs, and by a newer state of the source.
func (c *copier) singly(ctx context.Context, id object.BlobID) error {
	b, err := c.load(ctx, object.DataBlob, id)
	if err != nil {
		return err
	}
	return c.save(id, b)
}
