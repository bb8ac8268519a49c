package device

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Extent is a part of what is to be restored. They follow one another from 0 on.
type Extent struct {
	Start, Length int64
	Zero          bool
	// Is reports whether data are those of the extent, and Load fetches them. Both may be called by several goroutines. Of zeros
	// they are nil.
	Is   func(data []byte) bool
	Load func(ctx context.Context) ([]byte, error)
}

// Restored says what a restore has done, in bytes. It may be looked at while that goes on.
type Restored struct {
	Done    atomic.Int64 // of the size
	Same    atomic.Int64 // were there already
	Fetched atomic.Int64 // of extents that had to be loaded
	Written atomic.Int64
	Zeroed  atomic.Int64
	// Checked is how many were read again and compared.
	Checked atomic.Int64
}

// restorers is how many extents are worked on at once: with up to 8 MiB of what is there and what is to be in memory for each, and one request
// to a far store.
const restorers = 8

// zeroPiece is how much of a long range of zeros is looked at by one goroutine.
const zeroPiece = 64 << 20

// Restore writes all extents that are not there already. They must end with the size of the target. Several are
// worked on at once.
func (t *Target) Restore(ctx context.Context, extents iter.Seq2[Extent, error], r *Restored) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(restorers)
	at, err := t.spread(ctx, g, extents, r)
	if waited := g.Wait(); waited != nil {
		err = waited
	}
	if err == nil && at != t.size {
		err = fmt.Errorf("device: %d bytes are there to be restored, and not %d", at, t.size)
	}
	return err
}

func (t *Target) spread(ctx context.Context, g *errgroup.Group, extents iter.Seq2[Extent, error], r *Restored) (at int64, err error) {
	for e, err := range extents {
		switch {
		case err != nil:
			return at, err
		case ctx.Err() != nil:
			return at, context.Cause(ctx)
		case e.Start != at || e.Length < 0 || e.Length > t.size-at:
			return at, fmt.Errorf("device: an extent of %d bytes at %d, where %d was next", e.Length, e.Start, at)
		}
		at += e.Length
		if !e.Zero {
			g.Go(func() error { return t.restoreData(ctx, e, r) })
			continue
		}
		for next := e.Start; next < at; {
			from, stop := next, min(next-next%zeroPiece+zeroPiece, at)
			g.Go(func() error { return t.restoreZeros(ctx, from, stop-from, r) })
			next = stop
		}
	}
	return at, nil
}

// restoreData brings an extent to its place, and writes of it what differs.
func (t *Target) restoreData(ctx context.Context, e Extent, r *Restored) error {
	var old []byte
	if t.f != nil && !t.fresh {
		old = make([]byte, e.Length)
		if t.readAt(old, e.Start) != nil {
			old = nil // writing may still work
		} else if e.Is(old) {
			r.Same.Add(e.Length)
			r.Done.Add(e.Length)
			return nil
		}
	}
	r.Fetched.Add(e.Length)
	if t.dry {
		r.Done.Add(e.Length)
		return nil
	}
	data, err := e.Load(ctx)
	if err != nil {
		return err
	}
	if int64(len(data)) != e.Length {
		return fmt.Errorf("device: %d bytes were loaded for the %d at %d", len(data), e.Length, e.Start)
	}
	return t.writeDiffering(data, old, e.Start, r)
}

// writeDiffering writes what differs from the old bytes, if these are known.
func (t *Target) writeDiffering(data, old []byte, at int64, r *Restored) error {
	defer r.Done.Add(int64(len(data)))
	for from := 0; from < len(data); {
		n, same := alikeRun(data[from:], old[min(from, len(old)):], at+int64(from))
		if same {
			r.Same.Add(int64(n))
		} else {
			if err := t.writeAt(data[from:from+n], at+int64(from)); err != nil {
				return err
			}
			r.Written.Add(int64(n))
		}
		from += n
	}
	return nil
}

// alikeRun says how many bytes from the beginning on are the same as the old ones, or differ, in blocks of 4 KiB of the target, where
// they begin at an offset.
func alikeRun(data, old []byte, at int64) (n int, same bool) {
	for n < len(data) {
		next := min(n+align-int((at+int64(n))%align), len(data))
		alike := len(old) >= next && bytes.Equal(old[n:next], data[n:next])
		if n > 0 && alike != same {
			break
		}
		n, same = next, alike
	}
	return n, same
}

// restoreZeros makes blocks zero that are not.
func (t *Target) restoreZeros(ctx context.Context, at, length int64, r *Restored) error {
	end := at + length
	for at < end {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		from := at
		if t.f == nil || t.fresh {
			from = end
		} else if !t.block {
			from, _ = (&Device{f: t.f, size: end}).nextData(at)
		}
		if from > at {
			r.Same.Add(from - at)
			r.Done.Add(from - at)
			at = from
			continue
		}
		n := min(BlockSize-at%BlockSize, end-at)
		if err := t.zeroBlock(at, n, r); err != nil {
			return err
		}
		r.Done.Add(n)
		at += n
	}
	return nil
}

func (t *Target) zeroBlock(at, n int64, r *Restored) error {
	buf := make([]byte, n)
	if t.readAt(buf, at) == nil && isZero(buf) {
		r.Same.Add(n)
		return nil
	}
	r.Zeroed.Add(n)
	if t.dry {
		return nil
	}
	return t.zero(at, n)
}

// Finish syncs what was written, reads it again from the disk, and compares it: with the root hash if there is one, otherwise
// extent by extent. Only then a new file gets its name.
func (t *Target) Finish(ctx context.Context, root string, extents iter.Seq2[Extent, error], r *Restored) error {
	if t.dry {
		return nil
	}
	if err := t.sync(); err != nil {
		return err
	}
	d, err := t.again()
	if err != nil {
		return err
	}
	if root != "" {
		err = t.verifyRoot(ctx, d, root, r)
	} else {
		err = t.verifyExtents(ctx, d, extents, r)
	}
	if err != nil {
		return err
	}
	return t.finish()
}

// again returns the target as a device to read, past the page cache. It is the same open file: where locks keep others from reading, as over SMB,
// the one that this file has would keep another from it.
func (t *Target) again() (*Device, error) {
	named, err := os.Stat(t.at)
	if err != nil {
		return nil, err
	}
	info, err := t.f.Stat()
	if err == nil && !os.SameFile(info, named) {
		err = fmt.Errorf("%w: %s is another file now", ErrVerify, t.at)
	}
	if err != nil {
		return nil, err
	}
	d := &Device{path: t.at, f: t.f, block: t.block}
	if d.size, err = d.Now(); err != nil {
		return nil, err
	}
	if d.size < t.size {
		return nil, fmt.Errorf("%w: %s has only %d bytes now", ErrVerify, t.at, d.size)
	}
	return d, d.setDirect()
}

func (t *Target) verifyRoot(ctx context.Context, d *Device, root string, r *Restored) error {
	got, err := RootOf(ctx, d, t.size, func(n int64) { r.Checked.Add(n) })
	if err == nil && got.String() != root {
		err = fmt.Errorf("%w: the hash of %s is %v and was %s when it was backed up", ErrVerify, t.path, got, root)
	}
	return err
}

func (t *Target) verifyExtents(ctx context.Context, d *Device, extents iter.Seq2[Extent, error], r *Restored) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for e, err := range extents {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			_ = g.Wait() // this came first
			return err
		}
		g.Go(func() error { return verifyExtent(ctx, d, &e, r) })
	}
	return g.Wait()
}

func verifyExtent(ctx context.Context, d *Device, e *Extent, r *Restored) error {
	wrong := fmt.Errorf("%w: %s, in the %d bytes at %d", ErrVerify, d.path, e.Length, e.Start)
	step := e.Length
	if e.Zero {
		step = BlockSize
	}
	for at := e.Start; at < e.Start+e.Length; at += step {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if e.Zero && !d.block { // holes of a terabyte are not read
			from, _ := d.nextData(at)
			if r.Checked.Add(min(from, e.Start+e.Length) - at); from >= e.Start+e.Length {
				return nil
			}
			at = from
		}
		buf := alignedBuffer(int(min(step, e.Start+e.Length-at)))
		if _, err := d.ReadAt(buf, at); err != nil && err != io.EOF {
			return err
		}
		if e.Zero && !isZero(buf) || !e.Zero && !e.Is(buf) {
			return wrong
		}
		r.Checked.Add(int64(len(buf)))
	}
	return nil
}
