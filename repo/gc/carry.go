package gc

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// ownPack is a pack that this run has stored.
type ownPack struct {
	ref  object.Ref
	size int64
}

// carrier fills packs of one class with segments of others. A full pack is stored beside the filling of the next.
type carrier struct {
	c       *collector
	class   object.Class
	b       *pack.Builder
	from    []spot      // of the segments in b, in their order
	buffers chan []byte // for the pack that is filled, and for the one that is stored
	puts    *errgroup.Group
	ctx     context.Context // of puts
}

func (c *collector) newCarrier(ctx context.Context, class object.Class) *carrier {
	to := &carrier{c: c, class: class, buffers: make(chan []byte, 2)}
	to.puts, to.ctx = errgroup.WithContext(ctx)
	for range cap(to.buffers) {
		to.buffers <- nil
	}
	return to
}

// loaded is a pack that was read to be carried.
type loaded struct {
	obj []byte
	err error
}

// carry writes the live segments of the packs to be dropped into new packs, as ciphertext. A pack that is
// damaged and can not be mended is left alone: its damage must not get a new name. What is not carried when
// the slice's or the run's time is over goes back into the plan.
func (c *collector) carry(ctx context.Context) (err error) {
	s := c.slice
	if len(s.repack) == 0 {
		return nil
	}
	ix, err := c.mark(ctx)
	if err != nil {
		return err
	}
	// The plan is older than the state where an entry was made since: another collector may have dropped some.
	s.repack = slices.DeleteFunc(s.repack, func(k *candidate) bool { return !ix.State().Live(k.ref) })
	if err := c.fill(ctx, ix, s.repack); err != nil {
		return err
	}
	c.ev.phase("repacking")
	start := clock.Now()
	carriers := map[object.Class]*carrier{}
	defer func() { // whatever happens, no put is left behind
		for _, to := range carriers {
			if err == nil {
				err = to.flush(ctx, true)
			}
			if perr := to.puts.Wait(); err == nil {
				err = perr
			}
		}
		if err == nil {
			err = s.list.flush(ctx, c.r, c.sid, index.MaxBlobs)
		}
	}()
	rctx, cancel := context.WithCancel(ctx)
	packs, reading := c.readAhead(rctx, s.repack)
	defer func() {
		cancel()
		_ = reading.Wait() // what it has met was in packs, or nobody wants to know any more
	}()
	for i, k := range s.repack {
		c.ev.step(uint64(c.repacked), uint64(c.repacked+len(s.repack)-i+len(c.plan.repack)))
		if c.late() || i > 0 && clock.Since(start) > sliceTime {
			c.plan.giveBack(s, i)
			return nil
		}
		var l loaded
		select {
		case l = <-packs:
		case <-ctx.Done(): // which ends the reading, too
			return context.Cause(ctx)
		}
		to := carriers[k.ref.Class]
		if to == nil {
			to = c.newCarrier(ctx, k.ref.Class)
			carriers[k.ref.Class] = to
		}
		if err := to.carryPack(ctx, k, l); err != nil {
			return err
		}
		c.repacked++
	}
	return nil
}

// sliceTime is how long a slice is carried before it is committed.
const sliceTime = 15 * time.Minute

// late reports whether the time for repacking is used up.
func (c *collector) late() bool {
	return c.opts.MaxDuration > 0 && clock.Since(c.started) >= c.opts.MaxDuration
}

// readAhead reads packs, one while another is at work on the one before.
func (c *collector) readAhead(ctx context.Context, all []*candidate) (<-chan loaded, *errgroup.Group) {
	packs := make(chan loaded)
	g := new(errgroup.Group)
	g.Go(func() error {
		var bufs [2][]byte // a pack is used until the next one is taken
		for i, k := range all {
			obj, _, err := c.r.LoadPack(ctx, k.ref, k.size, bufs[i%2])
			bufs[i%2] = obj
			select {
			case packs <- loaded{obj, err}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	return packs, g
}

// carryPack carries what is live in a pack, unless it is not what the index says.
func (to *carrier) carryPack(ctx context.Context, k *candidate, l loaded) error {
	c := to.c
	damaged := errors.As(l.err, new(*repo.DamageError)) && !errors.Is(l.err, backends.ErrNotExist)
	if l.err != nil && !damaged {
		return l.err
	}
	var dir *pack.Directory
	if !damaged {
		var err error
		dir, err = pack.OpenDirectory(c.r.Keys(), k.ref.Class, l.obj)
		damaged = err != nil // whoever made the pack made it so
	}
	if damaged {
		delete(c.slice.drop, k.ref)
		c.slice.damaged = append(c.slice.damaged, k.ref)
		return nil
	}
	if !k.listedTruly(dir) {
		delete(c.slice.drop, k.ref) // there is more or less in it than the index says: it stays as it is
		return nil
	}
	for i := range dir.Segments {
		seg := &dir.Segments[i]
		if _, live := k.live[seg.Offset]; !live {
			continue
		}
		ciphertext := l.obj[seg.Offset : uint64(seg.Offset)+uint64(seg.Stored)]
		err := to.put(ctx, k, dir.Origins[seg.Origin], seg, ciphertext)
		if errors.Is(err, pack.ErrTwice) { // two collectors have carried it once, and both copies are kept
			if err = to.flush(ctx, false); err == nil {
				err = to.put(ctx, k, dir.Origins[seg.Origin], seg, ciphertext)
			}
		}
		if err != nil {
			return err
		}
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
		var buf []byte
		select {
		case buf = <-to.buffers:
		case <-to.ctx.Done():
			return errors.Join(context.Cause(to.ctx), to.puts.Wait())
		}
		opts := to.c.opts.Packing.Options(to.class)
		if buf == nil {
			buf = make([]byte, 0, opts.BufferSize(to.class))
		}
		var err error
		if to.b, err = pack.NewBuilder(to.c.r.Keys(), to.class, to.c.sid, nil, opts, buf); err != nil {
			return err
		}
	}
	if err := to.b.Carry(origin, *seg, ciphertext); err != nil {
		return &repo.DamageError{Object: k.ref.Name(), Err: err}
	}
	to.from = append(to.from, spot{k.ref, seg.Offset})
	return nil
}

// listedTruly reports whether the pack's directory has all segments that are to be carried. They are carried as the
// directory says, and what deltas are made of was marked as the lists do.
func (k *candidate) listedTruly(dir *pack.Directory) bool {
	found := 0
	for i := range dir.Segments {
		seg := &dir.Segments[i]
		said, live := k.live[seg.Offset]
		if !live {
			continue
		}
		if said.depth != seg.Depth || said.bases != local.JoinBases(seg.Bases) {
			return false
		}
		found++
	}
	return found == len(k.live) && !k.torn
}

// flush begins to store the open pack, and lists what is in it.
func (to *carrier) flush(ctx context.Context, pad bool) error {
	if to.b == nil || to.b.Empty() {
		return nil
	}
	obj, ref, dir, err := to.b.Finish(pad)
	to.b = nil
	if err != nil {
		return err
	}
	c, s := to.c, to.c.slice
	c.uploaded = true
	s.added = append(s.added, &ownPack{ref: ref, size: int64(len(obj))})
	for i, from := range to.from {
		s.carried[from] = spot{ref, dir.Segments[i].Offset}
		s.bytes += int64(dir.Segments[i].Stored)
	}
	to.from = to.from[:0]
	to.puts.Go(func() error {
		err := c.r.PutNamed(to.ctx, ref.Name(), obj)
		to.buffers <- obj[:0]
		return err
	})
	return s.list.addPack(ctx, c.r, c.sid, ref, int64(len(obj)), dir)
}
