package restore

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// What is in flight together: ranges of packs, and plaintext of segments that were compressed. Plaintext that was not
// lies in the range that it came in.
const (
	fetchedBudget = 24 << 20
	decodedBudget = 24 << 20
)

// Buffers have sizes of powers of two, from 2^minClass to 2^maxClass; larger ones are not reused.
const (
	minClass = 16
	maxClass = 24
)

// memory hands out buffers whose sizes together stay below a limit, and reuses them. It is safe for
// concurrent use.
type memory struct {
	sem   *semaphore.Weighted
	limit int64
	pools [maxClass - minClass + 1]sync.Pool
}

func newMemory(limit int64) *memory {
	return &memory{sem: semaphore.NewWeighted(limit), limit: limit}
}

// buffer is memory with several users; the last one to release it gives it back.
type buffer struct {
	b     []byte
	from  *memory
	class int
	cost  int64
	users atomic.Int32
}

// get returns an empty buffer with room for n bytes and one user, when the budget allows it.
func (m *memory) get(ctx context.Context, n int) (*buffer, error) {
	class, size := max(bits.Len(uint(n-1)), minClass), n
	if class <= maxClass {
		size = 1 << class
	}
	cost := min(int64(size), m.limit)
	if err := m.sem.Acquire(ctx, cost); err != nil {
		return nil, context.Cause(ctx)
	}
	buf := &buffer{from: m, class: class, cost: cost}
	if class <= maxClass {
		if old, ok := m.pools[class-minClass].Get().(*buffer); ok {
			buf = old
		}
	}
	if buf.b == nil {
		buf.b = make([]byte, 0, size)
	}
	buf.users.Store(1)
	return buf, nil
}

// share adds users.
func (b *buffer) share(users int) { b.users.Add(int32(users)) }

func (b *buffer) release() {
	if b.users.Add(-1) > 0 {
		return
	}
	if b.class <= maxClass {
		b.from.pools[b.class-minClass].Put(b)
	}
	b.from.sem.Release(b.cost)
}
