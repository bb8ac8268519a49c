package crashtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/kura-backup/kura/backends"
)

// way is how a process dies at a mutation of the store.
type way int

const (
	// before: the mutation is not done.
	before way = iota
	// unanswered: it is done, and nobody hears of it.
	unanswered
	// late: it is under way, together with those that other goroutines began at the same time. It is done
	// when later processes have begun their work; each of the others at once, later, or never.
	late
	// twice: it is done, and once more later, as a request is that was sent again.
	twice
)

var ways = []way{before, unanswered, late, twice}

func (w way) String() string { return [...]string{"before", "unanswered", "late", "twice"}[w] }

// errDead is the answer to everything that a dead process asks for.
var errDead = errors.New("crashtest: this process is dead")

// flight is a mutation whose process is dead and that will still be done, when so many others have been.
type flight struct {
	after int
	do    func(context.Context)
}

// mortal is the store as a process sees it that dies at one of its mutations. Of what it asks for from
// then on nothing is done. It is safe for concurrent use.
type mortal struct {
	backends.Store
	end
	rng  *rand.Rand
	kill context.CancelFunc // ends what waits in the process

	mu      sync.Mutex
	counts  map[string]int // mutations by their kind; that of all is empty
	dying   bool
	dead    chan struct{} // closed when it is
	flights []flight
}

// end is when a process dies, and how.
type end struct {
	at   int    // number of the mutation, from 1; 0: never
	kind string // among those of this kind; empty: among all
	way
}

func (e end) String() string { return fmt.Sprintf("%v at %s %d", e.way, e.kind, e.at) }

func newMortal(s backends.Store, e end, rng *rand.Rand, kill context.CancelFunc) *mortal {
	return &mortal{Store: s, end: e, rng: rng, kill: kill, counts: map[string]int{}, dead: make(chan struct{})}
}

// kindOf says what a mutation does to which class of objects.
func kindOf(op, name string) string {
	class, rest, _ := strings.Cut(name, "/")
	if strings.HasSuffix(rest, ".copy") {
		class += ".copy"
	}
	return op + " " + class
}

func (m *mortal) isDead() bool {
	select {
	case <-m.dead:
		return true
	default:
		return false
	}
}

// soon is how many mutations of later processes may pass before one lands.
const soon = 30

// mutate does one mutation, or dies.
func (m *mortal) mutate(ctx context.Context, kind string, do func(context.Context) error) error {
	if m.isDead() {
		return errDead
	}
	m.mu.Lock()
	m.counts[""]++
	m.counts[kind]++
	switch {
	case m.dying: // under way when the end came
		if m.rng.IntN(3) > 0 {
			m.fly(m.rng.IntN(soon), do)
		}
		m.mu.Unlock()
		<-m.dead
		return errDead
	case m.kind != "" && m.kind != kind || m.counts[m.kind] != m.at:
		m.mu.Unlock()
		return do(ctx)
	}
	m.dying = m.way == late
	if m.way == late || m.way == twice {
		m.fly(m.rng.IntN(soon), do)
	}
	m.mu.Unlock()
	if m.way == late {
		for range 20 { // let others set out
			runtime.Gosched()
		}
	}
	if m.way == unanswered || m.way == twice {
		_ = do(ctx) // whatever it says: it is not heard
	}
	m.mu.Lock()
	close(m.dead)
	m.mu.Unlock()
	m.kill()
	return errDead
}

func (m *mortal) fly(after int, do func(context.Context) error) {
	m.flights = append(m.flights, flight{after, func(ctx context.Context) { _ = do(ctx) }})
}

// took returns what is still under way.
func (m *mortal) took() []flight {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.flights
}

// asked is how many mutations of each kind were asked for.
func (m *mortal) asked() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.counts)
}

func (m *mortal) Put(ctx context.Context, name string, data []byte) error {
	data = slices.Clone(data) // the process may use the memory again before it lands
	return m.mutate(ctx, kindOf("put", name), func(ctx context.Context) error { return m.Store.Put(ctx, name, data) })
}

func (m *mortal) Delete(ctx context.Context, name string) error {
	return m.mutate(ctx, kindOf("delete", name), func(ctx context.Context) error { return m.Store.Delete(ctx, name) })
}

func (m *mortal) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	if m.isDead() {
		return nil, errDead
	}
	return m.Store.Get(ctx, name, offset, length, buf)
}

func (m *mortal) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		for info, err := range m.Store.List(ctx, prefix, after) {
			if m.isDead() {
				info, err = backends.Info{}, errDead
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
		if m.isDead() {
			yield(backends.Info{}, errDead)
		}
	}
}

// haunted is the store as the processes see it that come after dead ones: what those had sent arrives among
// their own mutations. It is safe for concurrent use.
type haunted struct {
	backends.Store

	mu      sync.Mutex
	flights []flight
}

// add takes over what a dead process had sent.
func (h *haunted) add(flights []flight) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flights = append(h.flights, flights...)
}

// tick lands what is due before another mutation.
func (h *haunted) tick(ctx context.Context) {
	h.mu.Lock()
	var due []flight
	h.flights = slices.DeleteFunc(h.flights, func(f flight) bool {
		if f.after > 0 {
			return false
		}
		due = append(due, f)
		return true
	})
	for i := range h.flights {
		h.flights[i].after--
	}
	h.mu.Unlock()
	land(ctx, due)
}

// landAll lands the rest.
func (h *haunted) landAll(ctx context.Context) {
	h.mu.Lock()
	rest := h.flights
	h.flights = nil
	h.mu.Unlock()
	land(ctx, rest)
}

func land(ctx context.Context, flights []flight) {
	for _, f := range flights {
		f.do(context.WithoutCancel(ctx))
	}
}

func (h *haunted) Put(ctx context.Context, name string, data []byte) error {
	h.tick(ctx)
	return h.Store.Put(ctx, name, data)
}

func (h *haunted) Delete(ctx context.Context, name string) error {
	h.tick(ctx)
	return h.Store.Delete(ctx, name)
}
