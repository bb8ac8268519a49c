// Package budget hands out buffers whose sizes together stay below a limit: the bound on the bytes in
// flight of a backup or a restore. Who asks for more than is left waits.
//
// Buffers have sizes of powers of two and are kept for reuse, also through garbage collections. What is
// kept and what is in use are together never more than the limit, or what [Budget.Keep] has set.
package budget

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// Sizes of buffers are powers of two from 2^minClass to 2^maxClass; larger ones have exactly the size
// that was asked for, and are not kept.
const (
	minClass = 16
	maxClass = 24
)

// Budget hands out buffers. It is safe for concurrent use.
type Budget struct {
	sem   *semaphore.Weighted
	limit int64
	most  int64 // bytes in idle and in use

	mu   sync.Mutex
	idle [maxClass - minClass + 1][][]byte
	kept int64
}

// New returns a budget of limit bytes. A single buffer may be larger; it waits until nothing else is in
// use.
func New(limit int64) *Budget {
	return &Budget{sem: semaphore.NewWeighted(limit), limit: limit, most: limit}
}

// Keep sets how many bytes may be kept and in use together, at least the limit, and returns b. Where sizes vary much the mix that is
// kept is seldom the one that is asked for next, and with no more than the limit memory is let go and allocated
// all the time. It must be called before b is used.
func (b *Budget) Keep(most int64) *Budget {
	b.most = max(most, b.limit)
	return b
}

// Buffer is memory with one user, or several after Share. The last one to release it gives it back.
type Buffer struct {
	B     []byte
	from  *Budget
	mem   []byte
	cost  int64
	users atomic.Int32
}

// Get returns an empty buffer with room for n bytes when the budget allows it, or what ctx ended with.
func (b *Budget) Get(ctx context.Context, n int) (*Buffer, error) {
	class, size, cost := b.price(n)
	if err := b.sem.Acquire(ctx, cost); err != nil {
		return nil, context.Cause(ctx)
	}
	return b.buffer(class, size, cost), nil
}

// TryGet is Get that does not wait: if the budget does not allow it now, or others wait, ok is false.
func (b *Budget) TryGet(n int) (buf *Buffer, ok bool) {
	class, size, cost := b.price(n)
	if !b.sem.TryAcquire(cost) {
		return nil, false
	}
	return b.buffer(class, size, cost), true
}

func (b *Budget) price(n int) (class, size int, cost int64) {
	class, size = max(bits.Len(uint(n-1)), minClass), n
	if class <= maxClass {
		size = 1 << class
	}
	return class, size, min(int64(size), b.limit)
}

func (b *Budget) buffer(class, size int, cost int64) *Buffer {
	buf := &Buffer{from: b, cost: cost, mem: b.take(class, size)}
	buf.B = buf.mem
	buf.users.Store(1)
	return buf
}

// Copy returns a buffer that holds a copy of data.
func (b *Budget) Copy(ctx context.Context, data []byte) (*Buffer, error) {
	buf, err := b.Get(ctx, len(data))
	if err != nil {
		return nil, err
	}
	buf.B = append(buf.B, data...)
	return buf, nil
}

// take returns memory of a class, idle or new. Idle memory of other classes is let go if both together
// would be too much.
func (b *Budget) take(class, size int) []byte {
	if class > maxClass {
		return make([]byte, 0, size)
	}
	b.mu.Lock()
	idle := &b.idle[class-minClass]
	if last := len(*idle) - 1; last >= 0 {
		mem := (*idle)[last]
		*idle = (*idle)[:last]
		b.mu.Unlock()
		return mem
	}
	b.kept += int64(size)
	for c := len(b.idle) - 1; c >= 0 && b.kept > b.most; {
		last := len(b.idle[c]) - 1
		if last < 0 {
			c--
			continue
		}
		b.kept -= int64(cap(b.idle[c][last]))
		b.idle[c][last] = nil
		b.idle[c] = b.idle[c][:last]
	}
	b.mu.Unlock()
	return make([]byte, 0, size)
}

// Share adds users.
func (buf *Buffer) Share(users int) { buf.users.Add(int32(users)) }

// Release ends the use by one user, who must not touch the buffer any more.
func (buf *Buffer) Release() {
	if buf.users.Add(-1) > 0 {
		return
	}
	b := buf.from
	if class := bits.Len(uint(cap(buf.mem) - 1)); class <= maxClass {
		b.mu.Lock()
		b.idle[class-minClass] = append(b.idle[class-minClass], buf.mem[:0])
		b.mu.Unlock()
	}
	buf.B, buf.mem = nil, nil
	b.sem.Release(buf.cost)
}
