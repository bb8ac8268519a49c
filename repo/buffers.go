package repo

import (
	"context"
	"math/bits"
	"sync"

	"golang.org/x/sync/semaphore"
)

// The budget of bytes in flight is 96 MiB: pack buffers (four for data packs, two for tree packs,
// some 79 MiB with room for their directories), and inFlight for plaintext on its way into them.
const inFlight = 17 << 20

// budget hands out buffers whose sizes together stay below a limit, and reuses them. It is safe for
// concurrent use.
type budget struct {
	sem   *semaphore.Weighted
	limit int64
	pools [maxClass - minClass + 1]sync.Pool
}

// Buffers have sizes of powers of two, from 2^minClass to 2^maxClass.
const (
	minClass = 18
	maxClass = 24
)

// buffer is a piece of memory with one owner, who releases it.
type buffer struct {
	b     []byte
	from  *budget
	class int
}

func newBudget(limit int64) *budget {
	return &budget{sem: semaphore.NewWeighted(limit), limit: limit}
}

// get returns an empty buffer with room for n bytes, at most 16 MiB, when the budget allows it.
func (b *budget) get(ctx context.Context, n int) (*buffer, error) {
	class := max(bits.Len(uint(n-1)), minClass)
	if err := b.sem.Acquire(ctx, min(1<<class, b.limit)); err != nil {
		return nil, context.Cause(ctx)
	}
	if buf, ok := b.pools[class-minClass].Get().(*buffer); ok {
		buf.b = buf.b[:0]
		return buf, nil
	}
	return &buffer{b: make([]byte, 0, 1<<class), from: b, class: class}, nil
}

// copy returns a buffer that holds a copy of data.
func (b *budget) copy(ctx context.Context, data []byte) (*buffer, error) {
	buf, err := b.get(ctx, len(data))
	if err != nil {
		return nil, err
	}
	buf.b = append(buf.b, data...)
	return buf, nil
}

func (buf *buffer) release() {
	b := buf.from
	b.pools[buf.class-minClass].Put(buf)
	b.sem.Release(min(1<<buf.class, b.limit))
}
