package check

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/freelist"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// packs compares the store with the state, directories with the index, and reads the packs that were chosen.
func (c *checker) packs(ctx context.Context) error {
	sizes, err := c.list(ctx)
	if err != nil {
		return err
	}
	if err := c.index(ctx, sizes); err != nil {
		return err
	}
	var ix *repo.Index // nil if there is none
	if !c.indexLost {
		if ix, err = c.r.VerifiedIndex(ctx); err != nil {
			return c.note(ctx, "", err)
		}
	}
	live := make([]candidate, 0, len(c.st.Packs))
	for ref, p := range c.st.Packs {
		live = append(live, candidate{ref, p.Size})
	}
	slices.SortFunc(live, func(a, b candidate) int { return a.ref.Compare(b.ref) })
	c.rep.Packs = len(live)
	c.rep.Seed = c.opts.Read.Seed
	read := c.opts.Read.choose(live, c.noted.Verified)
	if err := c.eachPack(ctx, ix, live, read, sizes); err != nil {
		return err
	}
	if err := c.verifyDeltas(ctx, ix); err != nil {
		return err
	}
	c.record(ctx)
	if c.opts.Read.All {
		if err := c.parity(ctx); err != nil {
			return err
		}
	}
	return c.findLost(ctx, ix)
}

// index checks that each valid index segment is there as it was written.
func (c *checker) index(ctx context.Context, sizes map[object.Ref]int64) error {
	for ref := range c.st.Index {
		var err error
		if _, ok := sizes[ref]; !ok {
			err = &repo.DamageError{Object: ref.Name(), Err: errors.New("a valid index segment is missing")}
		} else if _, err = c.r.LoadIndexSegment(ctx, ref); err == nil {
			err = c.mendedIndex(ctx, ref)
		}
		noted, err := c.noteCurrent(ctx, ref, err)
		if err != nil {
			return err
		}
		c.indexLost = c.indexLost || noted
	}
	return nil
}

// mendedIndex reports an index segment that can be read only because its parity mends it.
func (c *checker) mendedIndex(ctx context.Context, ref object.Ref) error {
	obj, err := c.store.Get(ctx, ref.Name(), 0, -1, nil)
	if err == nil && object.Sum(obj) != ref.Hash {
		c.problem(Problem{Object: ref.Name(), Mendable: true, Err: errors.New("damaged; its parity mends it: kura repair index writes it anew")})
	}
	return err
}

// list returns the sizes of packs and index segments, and counts those that the state does not name.
func (c *checker) list(ctx context.Context) (map[object.Ref]int64, error) {
	sizes := map[object.Ref]int64{}
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix, object.IndexPrefix, object.QuarantinePrefix} {
		for info, err := range c.store.List(ctx, prefix, "") {
			if err != nil {
				return nil, err
			}
			if prefix == object.QuarantinePrefix {
				c.rep.Quarantined++
				continue
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

// buffers holds memory for whole packs, from one to the next.
var buffers = freelist.New[[]byte](runtime.GOMAXPROCS(0))

func (c *checker) eachPack(ctx context.Context, ix *repo.Index, live []candidate, read map[object.Ref]struct{}, sizes map[object.Ref]int64) error {
	var done atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range live {
		g.Go(func() error {
			defer func() { c.step(int(done.Add(1)), len(live)) }()
			if gctx.Err() != nil {
				return context.Cause(gctx)
			}
			if ix != nil && !ix.State().Live(p.ref) {
				return nil // dropped since
			}
			size, there := sizes[p.ref]
			_, whole := read[p.ref]
			err := c.pack(gctx, ix, p, size, there, whole)
			noted, err := c.noteCurrent(gctx, p.ref, err)
			if noted {
				c.isDamaged(p.ref)
			}
			return err
		})
	}
	return g.Wait()
}

// isDamaged notes a pack of which something may be lost.
func (c *checker) isDamaged(ref object.Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.damaged[ref] = struct{}{}
}

// pack checks one live pack: that it is there with its size, that its directory opens and is what the index
// says, and if it is to be read, all of its bytes. What is wrong with it is an error, unless it can be mended.
func (c *checker) pack(ctx context.Context, ix *repo.Index, p candidate, size int64, there, whole bool) error {
	var wrong error
	var dir *pack.Directory
	switch {
	case !there:
		wrong = errors.New("a live pack is missing")
	case size != p.size:
		wrong = fmt.Errorf("it has %d bytes instead of %d", size, p.size)
	case !whole:
		var err error
		if dir, err = c.r.LoadDirectory(ctx, p.ref, size); err == nil {
			return c.directory(ix, p.ref, dir)
		}
		if !isDamage(ctx, err) {
			return err
		}
		wrong = reason(err)
	}
	buf, _ := buffers.Get()
	obj, mended, err := c.r.LoadPack(ctx, p.ref, p.size, buf)
	if err != nil {
		if wrong != nil && isDamage(ctx, err) {
			return &repo.DamageError{Object: p.ref.Name(), Err: wrong}
		}
		return err
	}
	defer buffers.Put(obj)
	if mended && wrong == nil {
		wrong = errors.New("damaged")
	}
	if wrong != nil {
		c.problem(Problem{Object: p.ref.Name(), Mendable: true, Err: fmt.Errorf("%w; parity mends it: kura repair packs writes it anew", wrong)})
	}
	if dir, err = pack.OpenDirectory(c.r.Keys(), p.ref.Class, obj); err != nil {
		return &repo.DamageError{Object: p.ref.Name(), Err: seal.AsWritten(err)} // its hash is right
	}
	if err := c.directory(ix, p.ref, dir); err != nil {
		return err
	}
	for i := range dir.Segments {
		if err := c.segment(ctx, p.ref, dir, &dir.Segments[i], obj); err != nil {
			return err
		}
	}
	if ix != nil && c.r.Keys().CanRead(kindOf(p.ref.Class)) {
		c.addDeltas(ix, p.ref, dir)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rep.PacksRead++
	c.rep.BytesRead += int64(len(obj))
	if _, bad := c.damaged[p.ref]; !bad && wrong == nil {
		c.verified[p.ref.Hash] = now()
	}
	return nil
}

// reason is what is wrong with an object whose name is said elsewhere.
func reason(err error) error {
	if d := (*repo.DamageError)(nil); errors.As(err, &d) {
		return d.Err
	}
	return err
}

// directory counts what a pack holds and checks that the index has it.
func (c *checker) directory(ix *repo.Index, ref object.Ref, dir *pack.Directory) error {
	blobs := uint64(0)
	for i := range dir.Segments {
		seg := &dir.Segments[i]
		blobs += uint64(len(seg.IDs))
		if ix == nil {
			continue
		}
		id, ok, err := ix.Lists(ref, dir, seg)
		if err != nil {
			return err
		}
		if !ok { // one of each segment is enough to know
			c.problem(Problem{Object: ref.Name(), Err: fmt.Errorf("blob %s: %w", id.Short(), ErrUnlisted)})
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rep.Blobs += blobs
	return nil
}

// segment decrypts and decodes a segment and verifies its blobs; of a delta, that it is what was encrypted. A key that
// can not read this kind of pack checks no more than the hash.
func (c *checker) segment(ctx context.Context, ref object.Ref, dir *pack.Directory, seg *pack.Segment, obj []byte) error {
	origin := dir.Origins[seg.Origin]
	if !c.r.Keys().CanRead(origin.Kind) {
		return nil
	}
	part := repo.SegmentOf(origin, seg)
	err := c.r.VerifySegment(ctx, nil, ref, &part, seg.IDs, seg.Lengths, obj[seg.Offset:seg.Offset+seg.Stored])
	if err == nil {
		return nil
	}
	if !errors.As(err, new(*repo.DamageError)) {
		return err
	}
	c.isDamaged(ref)
	c.problem(Problem{Object: ref.Name(), Err: fmt.Errorf("segment at %d with %d blobs: %w", seg.Offset, len(seg.IDs), reason(err))})
	return nil
}

// parity checks the parity of groups of packs, which nothing relies on.
func (c *checker) parity(ctx context.Context) error {
	count := func(size int) {
		c.rep.Groups++
		c.rep.GroupBytes += int64(size)
	}
	return c.hashed(ctx, []string{object.ParityPrefix}, count, func(info backends.Info, err error) {
		c.problem(Problem{Object: info.Name, Mendable: true, Err: fmt.Errorf("no pack can be rebuilt from it: %w", err)})
	})
}

// hashed reads all objects below the prefixes and reports those that do not have the hash in their name. count is
// called with the size of each, never twice at the same time.
func (c *checker) hashed(ctx context.Context, prefixes []string, count func(int), bad func(backends.Info, error)) error {
	for _, prefix := range prefixes {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(runtime.GOMAXPROCS(0))
		var listErr error
		for info, err := range c.store.List(gctx, prefix, "") {
			if err != nil {
				listErr = err
				break
			}
			g.Go(func() error {
				ref, err := object.ParseRef(info.Name)
				if err != nil {
					c.problem(Problem{Object: info.Name, Err: err, Hint: true})
					return nil
				}
				buf, _ := buffers.Get()
				obj, err := c.store.Get(gctx, info.Name, 0, -1, buf)
				switch {
				case errors.Is(err, backends.ErrNotExist):
					return nil // deleted meanwhile
				case err != nil && !repo.Unreadable(gctx, err):
					return err
				case err == nil && object.Sum(obj) != ref.Hash:
					err = repo.ErrHash
				}
				c.mu.Lock()
				count(len(obj))
				c.mu.Unlock()
				if err != nil {
					bad(info, err)
				}
				buffers.Put(obj)
				return nil
			})
		}
		if err := errors.Join(g.Wait(), listErr); err != nil {
			return err
		}
	}
	return nil
}

// kindOf says which key reads packs of a class.
func kindOf(class object.Class) seal.Kind {
	if class == object.TreePack {
		return seal.Meta
	}
	return seal.Data
}
