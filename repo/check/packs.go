package check

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// packs compares the store with the state, and directories with the index.
func (c *checker) packs(ctx context.Context) error {
	sizes, err := c.list(ctx)
	if err != nil {
		return err
	}
	for ref := range c.st.Index {
		if _, ok := sizes[ref]; !ok {
			if err := c.noteCurrent(ctx, ref, &repo.DamageError{Object: ref.Name(), Err: errors.New("a valid index segment is missing")}); err != nil {
				return err
			}
			continue
		}
		_, err := c.r.LoadIndexSegment(ctx, ref)
		if err := c.noteCurrent(ctx, ref, err); err != nil {
			return err
		}
	}
	if c.rep.Damaged() > 0 {
		// Without its index segments the rest of the check would only name followers.
		if missing := c.missingIndex(); missing != nil {
			return nil
		}
	}
	ix, err := c.r.Index(ctx)
	if err != nil {
		return c.note("", err)
	}
	var refs []object.Ref
	for ref := range c.st.Packs {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, object.Ref.Compare)
	c.rep.Packs = len(refs)
	var done atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, ref := range refs {
		g.Go(func() error {
			defer func() { c.step(int(done.Add(1)), len(refs)) }()
			if !ix.State().Live(ref) {
				return nil // dropped since
			}
			want := c.st.Packs[ref].Size
			size, ok := sizes[ref]
			var err error
			switch {
			case !ok:
				err = &repo.DamageError{Object: ref.Name(), Err: errors.New("a live pack is missing")}
			case size != want:
				err = &repo.DamageError{Object: ref.Name(), Err: fmt.Errorf("it has %d bytes instead of %d", size, want)}
			default:
				err = c.pack(gctx, ix, ref, size)
			}
			return c.noteCurrent(gctx, ref, err)
		})
	}
	return g.Wait()
}

// missingIndex returns an index segment that could not be read, or nil.
func (c *checker) missingIndex() *Problem {
	for i, p := range c.rep.Problems {
		if ref, err := object.ParseRef(p.Object); err == nil && ref.Class == object.Index {
			return &c.rep.Problems[i]
		}
	}
	return nil
}

// list returns the sizes of packs and index segments, and counts those that the state does not name.
func (c *checker) list(ctx context.Context) (map[object.Ref]int64, error) {
	sizes := map[object.Ref]int64{}
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix, object.IndexPrefix} {
		for info, err := range c.store.List(ctx, prefix, "") {
			if err != nil {
				return nil, err
			}
			ref, err := object.ParseRef(info.Name)
			if err != nil {
				c.problem(Problem{Object: info.Name, Err: err, Hint: true})
				continue
			}
			sizes[ref] = info.Size
			_, valid := c.st.Index[ref]
			switch {
			case valid || c.st.Live(ref):
			case c.st.Garbage(ref):
				c.rep.Garbage++
			default:
				c.rep.Adoptable++
			}
		}
	}
	return sizes, nil
}

// pack checks one pack that is there with the right size.
func (c *checker) pack(ctx context.Context, ix *repo.Index, ref object.Ref, size int64) error {
	var obj []byte
	var dir *pack.Directory
	var err error
	if c.opts.ReadData {
		if obj, err = c.r.FetchRange(ctx, ref, 0, size, nil); err != nil {
			return err
		}
		if object.Sum(obj) != ref.Hash {
			// What follows says what it means for whom: blobs that still read well are not lost.
			c.problem(Problem{Object: ref.Name(), Err: errors.New("its bytes do not have the hash in its name")})
		}
		if dir, err = pack.OpenDirectory(c.r.Keys(), ref.Class, obj); err != nil {
			return &repo.DamageError{Object: ref.Name(), Err: err}
		}
	} else if dir, err = c.r.LoadDirectory(ctx, ref, size); err != nil {
		return err
	}
	blobs := uint64(0)
	for i := range dir.Segments {
		seg := &dir.Segments[i]
		blobs += uint64(len(seg.IDs))
		if err := c.listed(ix, ref, dir, seg); err != nil {
			return err
		}
		if obj != nil {
			if err := c.segment(ref, dir, seg, obj); err != nil {
				return err
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rep.Blobs += blobs
	c.rep.BytesRead += int64(len(obj))
	return nil
}

// listed checks that the index has every blob of a segment where the directory has it.
func (c *checker) listed(ix *repo.Index, ref object.Ref, dir *pack.Directory, seg *pack.Segment) error {
	id, ok, err := ix.Lists(ref, dir, seg)
	if !ok && err == nil { // one is enough to know
		c.problem(Problem{Object: ref.Name(), Err: fmt.Errorf("the index does not list blob %s of it", id.Short())})
	}
	return err
}

// segment decrypts and decodes a segment and verifies its blobs. A key that can not read this kind of
// pack checks no more than the hash.
func (c *checker) segment(ref object.Ref, dir *pack.Directory, seg *pack.Segment, obj []byte) error {
	origin := dir.Origins[seg.Origin]
	if !c.r.Keys().CanRead(origin.Kind) {
		return nil
	}
	key, err := c.r.OpenOrigin(ref, origin)
	if err != nil {
		return err
	}
	part := repo.Segment{
		At: seg.Offset, Stored: seg.Stored, Plain: seg.Plain, Coding: seg.Coding, Ordinal: seg.Ordinal, Origin: origin,
	}
	plain, err := repo.DecodeSegment(nil, key, &part, obj[seg.Offset:seg.Offset+seg.Stored])
	if err != nil {
		c.problem(Problem{Object: ref.Name(), Err: fmt.Errorf("segment at %d with %d blobs: %w", seg.Offset, len(seg.IDs), err)})
		return nil
	}
	t := object.DataBlob
	if origin.Kind == seal.Meta {
		t = object.TreeBlob
	}
	for i, id := range seg.IDs {
		n := seg.Lengths[i]
		if c.r.BlobID(t, plain[:n]) != id {
			c.problem(Problem{Object: ref.Name(), Err: fmt.Errorf("blob %s does not have its id", id.Short())})
		}
		plain = plain[n:]
	}
	return nil
}
