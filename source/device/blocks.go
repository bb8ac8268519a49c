package device

import (
	"context"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/source"
)

const (
	readers = 4  // blocks that are read, and hashed, at once
	slots   = 16 // blocks that are read ahead at most: memory
)

// blocks are those of a device in order, read and hashed ahead of who uses them. One goroutine may use it.
type blocks struct {
	d     *Device
	size  int64
	known []source.Range

	group  *errgroup.Group
	ctx    context.Context // of the readers
	cancel context.CancelFunc

	mu      sync.Mutex
	taken   int64 // the next block that a reader takes
	slots   [slots]slot
	ordinal int64 // the next block that is used
	at      int   // what was used of it
	open    bool  // that one is in its slot
	root    rootHasher
	read    int64 // bytes that were not known
}

// slot has a block while it is on its way.
type slot struct {
	free  chan struct{} // has an element while nobody uses the slot
	full  chan struct{}
	buf   []byte
	data  []byte
	zero  bool
	known bool // and was not read
	leaf  [32]byte
	err   error
}

// startBlocks begins to read the first size bytes of a device, but for what is known to be zero.
func startBlocks(ctx context.Context, d *Device, size int64, known []source.Range) *blocks {
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	b := &blocks{d: d, size: size, known: known, group: g, ctx: ctx, cancel: cancel, root: newRootHasher(size)}
	for i := range b.slots {
		b.slots[i].free, b.slots[i].full = make(chan struct{}, 1), make(chan struct{}, 1)
		b.slots[i].free <- struct{}{}
	}
	for range readers {
		g.Go(b.readOn)
	}
	return b
}

// stop ends the readers.
func (b *blocks) stop() {
	b.cancel()
	_ = b.group.Wait() // what went wrong next has said
}

// readOn reads blocks until there are no more.
func (b *blocks) readOn() error {
	at := 0 // in known
	for {
		n, err := b.take()
		off := n * BlockSize
		if err != nil || off >= b.size {
			return err
		}
		s := &b.slots[n%slots]
		for at < len(b.known) && b.known[at].Start+b.known[at].Length <= off {
			at++
		}
		s.fill(b.d, off, int(min(BlockSize, b.size-off)), b.known[at:])
		s.full <- struct{}{}
	}
}

// take waits for the slot of the next block. Others wait meanwhile: theirs are freed later.
func (b *blocks) take() (n int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n = b.taken
	select {
	case <-b.ctx.Done():
		return n, context.Cause(b.ctx)
	case <-b.slots[n%slots].free:
	}
	b.taken++
	return n, nil
}

// fill brings a block into the slot. known begins with the range that the block begins in.
func (s *slot) fill(d *Device, off int64, length int, known []source.Range) {
	stop := off + int64(length)
	s.err = nil
	s.known = len(known) > 0 && known[0].Kind == source.Zero && known[0].Start+known[0].Length >= stop
	if s.zero = s.known; s.zero {
		s.data = zeros[:length]
	} else {
		if s.buf == nil {
			s.buf = alignedBuffer(BlockSize)
		}
		s.data = s.buf[:length]
		if _, s.err = d.ReadAt(s.data, off); s.err != nil {
			return
		}
		for _, r := range known { // whatever was read there
			if r.Start >= stop {
				break
			}
			if r.Kind == source.Zero {
				clear(s.data[max(r.Start-off, 0):min(r.Start+r.Length-off, int64(length))])
			}
		}
		s.zero = isZero(s.data)
	}
	s.leaf = leafOf(s.data, s.zero)
}

// next waits for the next block, if all of the last one was used, and returns what is left of it. It is zero if zero
// says so. Behind the last one it returns io.EOF.
func (b *blocks) next() (n int64, err error) {
	s := &b.slots[b.ordinal%slots]
	if !b.open {
		if b.ordinal*BlockSize >= b.size {
			return 0, io.EOF
		}
		select {
		case <-b.ctx.Done():
			return 0, context.Cause(b.ctx)
		case <-s.full:
		}
		b.open = true
	}
	if s.err != nil {
		return 0, s.err
	}
	return int64(len(s.data) - b.at), nil
}

// isZero reports whether the block that next has returned is zero.
func (b *blocks) isZero() bool { return b.slots[b.ordinal%slots].zero }

// skip says that the block was used.
func (b *blocks) skip() {
	s := &b.slots[b.ordinal%slots]
	b.root.add(&s.leaf)
	if !s.known {
		b.read += int64(len(s.data))
	}
	b.open, b.at = false, 0
	b.ordinal++
	s.free <- struct{}{}
}

// Read reads blocks up to the next one that is zero, or the end: there it returns io.EOF.
func (b *blocks) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if _, err := b.next(); err != nil {
		return 0, err
	}
	if b.isZero() {
		return 0, io.EOF
	}
	s := &b.slots[b.ordinal%slots]
	n := copy(p, s.data[b.at:])
	if b.at += n; b.at == len(s.data) {
		b.skip()
	}
	return n, nil
}
