package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
)

// A delta is verified in two steps: when its pack is read, that it is what was encrypted; and when all packs were read,
// that it becomes its blob with its bases. Deltas of one chain are verified one after the other then, each base while it
// is still in memory: as they lie in the packs, all that is below it would be decoded anew for each.

// deltaAt is a delta in a pack that was read.
type deltaAt struct {
	root   object.BlobID // of its chain
	id     object.BlobID
	pack   int // index into the packs that were read
	offset uint32
	depth  uint8
}

// readDeltas are the deltas of the packs that were read.
type readDeltas struct {
	packs []object.Ref
	all   []deltaAt
	said  map[string]struct{} // packs of bases that were reported
}

// addDeltas notes the deltas of a pack.
func (c *checker) addDeltas(ix *repo.Index, ref object.Ref, dir *pack.Directory) {
	var deltas []deltaAt
	for i := range dir.Segments {
		if seg := &dir.Segments[i]; seg.Coding == pack.Delta {
			deltas = append(deltas, deltaAt{rootOf(ix, seg), seg.IDs[0], 0, seg.Offset, seg.Depth})
		}
	}
	if len(deltas) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range deltas {
		d.pack = len(c.deltas.packs)
		c.deltas.all = append(c.deltas.all, d)
	}
	c.deltas.packs = append(c.deltas.packs, ref)
}

// rootOf returns the blob at the end of a delta's chain of first bases.
func rootOf(ix *repo.Index, seg *pack.Segment) object.BlobID {
	id := seg.Bases[0]
	for range pack.MaxDepth {
		p, err := ix.Lookup(id)
		if err != nil || p.Bases.Len() == 0 {
			break
		}
		id = p.Bases.At(0)
	}
	return id
}

// verifyDeltas verifies the deltas of all packs that were read.
func (c *checker) verifyDeltas(ctx context.Context, ix *repo.Index) error {
	all := c.deltas.all
	slices.SortFunc(all, func(a, b deltaAt) int {
		return cmp.Or(a.root.Compare(b.root), cmp.Compare(a.depth, b.depth), a.id.Compare(b.id), cmp.Compare(a.pack, b.pack), cmp.Compare(a.offset, b.offset))
	})
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].root == all[0].root {
			n++
		}
		chain := all[:n]
		all = all[n:]
		g.Go(func() error {
			for i := range chain {
				if err := c.verifyDelta(gctx, ix, &chain[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// verifyDelta verifies one. What the index does not list as the directory does was reported, and what lists say
// besides may be anything: one that is right is enough.
func (c *checker) verifyDelta(ctx context.Context, ix *repo.Index, d *deltaAt) error {
	ref := c.deltas.packs[d.pack]
	var wrong error
	for _, p := range ix.Listed(d.id, nil) {
		if in, _ := ix.Pack(p.Pack); in.Ref != ref || p.SegOffset != d.offset || p.Depth != d.depth {
			continue
		}
		err := c.verifyPlace(ctx, ix, d.id, p)
		if !isDamage(ctx, err) {
			return err
		}
		if errors.Is(err, repo.ErrNotFound) {
			return nil // it does not count: nothing needs it, or the walk through the trees finds what does
		}
		wrong = err
	}
	if wrong == nil {
		return nil
	}
	if dam := (*repo.DamageError)(nil); errors.Is(wrong, repo.ErrBase) && errors.As(wrong, &dam) {
		return c.baseDamaged(ctx, ref, dam)
	}
	wrong = &repo.DamageError{Object: ref.Name(), Blob: d.id, Err: fmt.Errorf("segment at %d: %w", d.offset, reason(wrong))}
	return c.packDamaged(ctx, ref, wrong)
}

func (c *checker) verifyPlace(ctx context.Context, ix *repo.Index, id object.BlobID, p local.Place) error {
	at, err := ix.Place(p)
	if err != nil {
		return err
	}
	verify := func(ciphertext []byte) error {
		return c.r.VerifySegment(ctx, ix, at.Pack, &at.Segment, []object.BlobID{id}, []uint32{at.Length}, ciphertext)
	}
	ciphertext, err := c.r.FetchRange(ctx, at.Pack, int64(at.At), int64(at.Stored), nil)
	if err == nil {
		err = verify(ciphertext)
	}
	if !isDamage(ctx, err) || errors.Is(err, repo.ErrBase) {
		return err
	}
	obj, mended, merr := c.r.LoadPack(ctx, at.Pack, at.PackSize, nil)
	end := int64(at.At) + int64(at.Stored)
	if merr != nil && !isDamage(ctx, merr) {
		return merr
	}
	if merr != nil || !mended || end > int64(len(obj)) {
		return err // which says what is the matter in the store
	}
	return verify(obj[at.At:end])
}

// packDamaged notes that something of a pack can not be read.
func (c *checker) packDamaged(ctx context.Context, ref object.Ref, err error) error {
	noted, err := c.noteCurrent(ctx, ref, err)
	if noted {
		c.isDamaged(ref)
		c.notVerified(ref)
	}
	return err
}

// baseDamaged notes that a delta can not be verified because of what is the matter with one of its bases. That is said
// once for each pack of bases, and is no damage of the delta's own pack.
func (c *checker) baseDamaged(ctx context.Context, ref object.Ref, wrong *repo.DamageError) error {
	c.notVerified(ref)
	c.mu.Lock()
	_, said := c.deltas.said[wrong.Object]
	if c.deltas.said == nil {
		c.deltas.said = map[string]struct{}{}
	}
	c.deltas.said[wrong.Object] = struct{}{}
	c.mu.Unlock()
	if said {
		return nil
	}
	err := &repo.DamageError{Object: wrong.Object, Blob: wrong.Blob, Err: fmt.Errorf("%w, such as one in %s", wrong.Err, ref.Name())}
	if base, perr := object.ParseRef(wrong.Object); perr == nil {
		return c.packDamaged(ctx, base, err)
	}
	return c.note(ctx, ref.Name(), err)
}

// notVerified makes a pack not count as one that was found whole.
func (c *checker) notVerified(ref object.Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.verified, ref.Hash)
}
