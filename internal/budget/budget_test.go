package budget

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func TestGet_BeyondTheLimit_WaitsForARelease(t *testing.T) {
	b := New(1 << 20)
	first, err := b.Get(t.Context(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := b.Get(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got a buffer beyond the limit: %v", err)
	}
	first.Share(1)
	first.Release()
	ready := make(chan error)
	go func() {
		second, err := b.Get(t.Context(), 100)
		if err == nil && cap(second.B) < 100 {
			err = errors.New("too small")
		}
		ready <- err
	}()
	first.Release() // the second user's
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
}

func TestTryGet_BeyondTheLimit_DoesNotWait(t *testing.T) {
	b := New(1 << 20)
	first, ok := b.TryGet(1 << 20)
	if !ok || cap(first.B) < 1<<20 {
		t.Fatal("the whole budget was refused")
	}
	if _, ok := b.TryGet(1); ok {
		t.Error("got a buffer beyond the limit")
	}
	first.Release()
	if _, ok := b.TryGet(40 << 20); !ok {
		t.Error("a single larger buffer was refused")
	}
}

func TestGet_LargerThanTheBudget_IsHandedOutAlone(t *testing.T) {
	b := New(1 << 16)
	for _, n := range []int{1 << 20, 40 << 20} {
		buf, err := b.Get(t.Context(), n)
		if err != nil || cap(buf.B) < n {
			t.Fatal(err)
		}
		buf.Release()
	}
}

func TestBudget_ManyUsers_KeepNoMoreThanTheLimit(t *testing.T) {
	const limit = 8 << 20
	keepsNoMoreThan(t, New(limit), limit)
	keepsNoMoreThan(t, New(limit).Keep(12<<20), 12<<20)
}

func keepsNoMoreThan(t *testing.T, b *Budget, limit int64) {
	t.Helper()
	var wg sync.WaitGroup
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		wg.Go(func() {
			for range 200 {
				n := 1 + rng.IntN(1<<(10+rng.IntN(12)))
				buf, err := b.Copy(t.Context(), make([]byte, n))
				if err != nil {
					t.Error(err)
					return
				}
				if len(buf.B) != n {
					t.Errorf("%d bytes instead of %d", len(buf.B), n)
				}
				b.mu.Lock()
				if b.kept > limit {
					t.Errorf("%d bytes are kept, limit %d", b.kept, limit)
				}
				b.mu.Unlock()
				buf.Release()
			}
		})
	}
	wg.Wait()
}

func TestKeep_SizesThatVary_MemoryIsKept(t *testing.T) {
	const limit = 8 << 20
	b := New(limit).Keep(2 * limit)
	made := testing.AllocsPerRun(10, func() {
		for _, n := range []int{1 << 20, 8 << 20, 2 << 20, 4 << 20} {
			buf, err := b.Get(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			buf.Release()
		}
	})
	if made > 4 { // the four Buffers
		t.Errorf("%v allocations", made)
	}
}
