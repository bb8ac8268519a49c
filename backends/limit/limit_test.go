package limit

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/backends/storetest"
	"github.com/kura-backup/kura/internal/clock"
)

// Rates high enough to be no hindrance, or none at all, or pieces so small that every read has many.
func TestStore_Conforms(t *testing.T) {
	for name, r := range map[string]Rates{"none": {}, "both": {1 << 40, 1 << 40}, "upload": {Upload: 1 << 40}} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(*testing.T) backends.Store { return New(mem.New(), r) })
		})
	}
	t.Run("pieces", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) backends.Store {
			s := New(mem.New(), Rates{1 << 40, 1 << 40})
			s.piece = 1000
			return s
		})
	})
}

// stopwatch is a clock that moves only by what is waited for.
type stopwatch struct {
	clock.Fake
	mu      sync.Mutex
	longest time.Duration // of a single wait
}

func (w *stopwatch) sleep(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.longest = max(w.longest, d)
	w.Advance(max(d, 0))
	return ctx.Err()
}

func newStopwatch() *stopwatch {
	w := new(stopwatch)
	w.Advance(time.Since(time.Time{}))
	return w
}

func TestStore_BytesOfAllRequests_TakeTheirTime(t *testing.T) {
	const rate, burst = 100_000, 10_000
	data := bytes.Repeat([]byte("x"), 1_000_000)
	ctx := t.Context()
	for name, c := range map[string]struct {
		rates Rates
		bytes int
		do    func(s *Store) error
	}{
		"upload": {Rates{Upload: rate}, len(data), func(s *Store) error { return s.Put(ctx, "data/new", data) }},
		"download": {Rates{Download: rate}, len(data), func(s *Store) error {
			_, err := s.Get(ctx, "data/old", 0, int64(len(data)), nil)
			return err
		}},
		"a part of it": {Rates{Download: rate}, 500_000, func(s *Store) error {
			_, err := s.Get(ctx, "data/old", 1, 500_000, nil)
			return err
		}},
		"all of it": {Rates{Download: rate}, len(data), func(s *Store) error {
			_, err := s.Get(ctx, "data/old", 0, -1, nil)
			return err
		}},
		"the other direction": {Rates{Upload: rate}, 0, func(s *Store) error {
			_, err := s.Get(ctx, "data/old", 0, -1, nil)
			return err
		}},
		"many": {Rates{Upload: rate}, 50 * 3000, func(s *Store) error {
			for i := range 50 {
				if err := s.Put(ctx, "data/"+strings.Repeat("n", i+1), data[:3000]); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		w := newStopwatch()
		start := w.Now()
		inner := mem.New()
		if err := inner.Put(ctx, "data/old", data); err != nil {
			t.Fatal(err)
		}
		s := newStore(inner, c.rates, w, w.sleep)
		if err := c.do(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want := time.Duration(max(0, c.bytes-burst)) * time.Second / rate
		if got := w.Now().Sub(start); (got - want).Abs() > time.Millisecond {
			t.Errorf("%s: %v for %d bytes, want %v", name, got, c.bytes, want)
		}
		if limit := time.Duration(burst) * time.Second / rate; w.longest > limit+time.Millisecond {
			t.Errorf("%s: waits for %v at once", name, w.longest)
		}
	}
}

func TestStore_ManyAtOnce_ShareTheRate(t *testing.T) {
	const rate, burst, each, n = 1_000_000, 100_000, 300_000, 8
	standing := clock.NewFake(time.Unix(1_800_000_000, 0)) // so waits add up
	var mu sync.Mutex
	var last time.Duration
	s := newStore(mem.New(), Rates{Upload: rate}, standing, func(_ context.Context, d time.Duration) error {
		mu.Lock()
		defer mu.Unlock()
		last = max(last, d)
		return nil
	})
	var g errgroup.Group
	for i := range n {
		g.Go(func() error { return s.Put(t.Context(), "data/"+strings.Repeat("o", i+1), make([]byte, each)) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	want := time.Duration(n*each-burst) * time.Second / rate
	if (last - want).Abs() > time.Millisecond {
		t.Errorf("the last one waits %v, want %v", last, want)
	}
}

func TestStore_LargeRead_IsAskedForInPieces(t *testing.T) {
	w := newStopwatch()
	f := fault.New(mem.New())
	s := newStore(f, Rates{Download: 1000}, w, w.sleep)
	data := bytes.Repeat([]byte("0123456789abcdef"), 60_000)
	if err := s.Put(t.Context(), "data/a", data); err != nil {
		t.Fatal(err)
	}
	for name, buf := range map[string][]byte{"own memory": nil, "given": make([]byte, len(data)), "too small": make([]byte, 300_000)} {
		f.Reset()
		got, err := s.Get(t.Context(), "data/a", 5, int64(len(data)-5), buf)
		if err != nil || !bytes.Equal(got, data[5:]) {
			t.Fatalf("%s: %d bytes, %v", name, len(got), err)
		}
		if cap(buf) == len(data) && &got[0] != &buf[0] {
			t.Errorf("%s: the memory is not used", name)
		}
		if n := f.Count(fault.Get, ""); n != 4 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
	for _, length := range []int64{int64(len(data)) + 1, backends.MaxObject, math.MaxInt64} {
		_, err := s.Get(t.Context(), "data/a", 0, length, nil)
		wrong, ok := errors.AsType[*backends.RangeError](err)
		if !ok || *wrong != (backends.RangeError{Name: "data/a", Length: length, Size: int64(len(data))}) {
			t.Errorf("%d bytes: %v", length, err)
		}
	}
}

func TestStore_CanceledWhileItWaits_GivesUpAndReturnsItsTurn(t *testing.T) {
	s := New(mem.New(), Rates{Upload: 1, Download: 1})
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error)
	go func() { done <- s.Put(ctx, "data/a", make([]byte, 1<<20)) }()
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	if _, err := s.Get(t.Context(), "data/a", 0, 1, nil); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("it was put: %v", err)
	}
	inner, ok := backends.As[*mem.Store](s)
	if !ok || inner == nil {
		t.Error("the Store beneath is not found")
	}
}
