package lease

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/clock"
)

// overwriting is a store without create-only.
type overwriting struct{ *mem.Store }

func (s overwriting) Put(ctx context.Context, name string, data []byte) error {
	if err := backends.CheckPut(name, data); err != nil {
		return &backends.Error{Op: "put", Name: name, Err: err}
	}
	if err := ctx.Err(); err != nil {
		return &backends.Error{Op: "put", Name: name, Err: err}
	}
	s.Tamper(name, data)
	return nil
}

func (overwriting) Caps() backends.Caps { return backends.Caps{} }

// world is a store and the clocks around it, in step unless a test moves one alone.
type world struct {
	mem   *mem.Store
	store *clock.Fake
	wall  *clock.Fake
	mu    sync.Mutex
	up    time.Duration
}

func newWorld() *world {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w := &world{store: clock.NewFake(start), wall: clock.NewFake(start)}
	w.mem = mem.NewWithClock(w.store)
	return w
}

func (w *world) advance(d time.Duration) {
	w.store.Advance(d)
	w.wall.Advance(d)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up += d
}

func (w *world) now() mark {
	w.mu.Lock()
	defer w.mu.Unlock()
	return mark{w.wall.Now(), w.up}
}

// options are those of a client whose pauses take time of the world.
func (w *world) options(host string) Options {
	return Options{Host: host, PID: 7, now: w.now, pause: func(ctx context.Context, _ int) error {
		w.advance(5 * time.Second)
		return ctx.Err()
	}}
}

func (w *world) client(host string) *Store { return New(overwriting{w.mem}, w.options(host)) }

// leases returns the names of all objects of leases.
func (w *world) leases(t *testing.T) []string {
	t.Helper()
	var out []string
	for info, err := range w.mem.List(t.Context(), class, "") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, info.Name)
	}
	return out
}

func put(t *testing.T, s backends.Store, name, text string) {
	t.Helper()
	if err := s.Put(t.Context(), name, []byte(text)); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

func wantsHeld(t *testing.T, err error, host string) {
	t.Helper()
	held, ok := errors.AsType[*HeldError](err)
	if !ok || !errors.Is(err, ErrHeld) || held.Holder.Host != host || host != "" && !strings.Contains(err.Error(), host) {
		t.Fatalf("%v, want a HeldError of %q", err, host)
	}
	if backends.KindOf(err) != backends.Permanent {
		t.Fatalf("%v is %v", err, backends.KindOf(err))
	}
}

func has(t *testing.T, s backends.Store, name, text string) {
	t.Helper()
	if got, err := s.Get(t.Context(), name, 0, -1, nil); err != nil || string(got) != text {
		t.Fatalf("%s is %q, %v, want %q", name, got, err, text)
	}
}
