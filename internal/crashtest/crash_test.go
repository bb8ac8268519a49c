package crashtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/repo"
)

var (
	crashSeed = flag.Uint64("crash.seed", 0, "seed of the crash-point tests; 0 draws one")
	crashLong = flag.Bool("crash.long", false, "ten times as many deaths")
)

func TestMain(m *testing.M) {
	if order := os.Getenv(childEnv); order != "" {
		if err := restoreChild(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	debug.SetGCPercent(400) // buffers of packs come and go thousands of times
	goleak.VerifyTestMain(m)
}

// seed returns the seed of a test and says how to repeat it.
func seed(t *testing.T) uint64 {
	s := *crashSeed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (repeat with -crash.seed)", s)
	return s
}

func (s *scenario) rng(seed uint64, world int) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, s.name, world)
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// tally counts what a test did, for its summary.
type tally struct {
	mu                       sync.Mutex
	worlds, mutations        int
	deaths, outlived, inVain int
	leftovers                map[string]int
}

func (y *tally) add(o *tally) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.worlds += o.worlds
	y.mutations += o.mutations
	y.deaths += o.deaths
	y.outlived += o.outlived
	y.inVain += o.inVain
	if y.leftovers == nil {
		y.leftovers = map[string]int{}
	}
	for what, n := range o.leftovers {
		y.leftovers[what] += n
	}
}

func (y *tally) String() string {
	return fmt.Sprintf("%d repositories, %d mutations, %d deaths, %d outlived", y.worlds, y.mutations, y.deaths, y.outlived)
}

// TestCommands_DeathAtEveryMutation_NothingLostAndNoHelpNeeded lets every command die at each of its
// mutations of the store, in each way.
func TestCommands_DeathAtEveryMutation_NothingLostAndNoHelpNeeded(t *testing.T) {
	seed := seed(t)
	sums := make([]tally, len(scenarios))
	t.Run("all", func(t *testing.T) {
		for i := range scenarios {
			s := &scenarios[i]
			worlds := s.worlds
			switch {
			case *crashLong:
				worlds *= 10
			case testing.Short():
				worlds = 1
			}
			for n := range worlds {
				t.Run(fmt.Sprint(s.name, " ", n), func(t *testing.T) {
					t.Parallel()
					sum := tally{leftovers: map[string]int{}}
					s.dieInWorld(t, s.rng(seed, n), &sum)
					sums[i].add(&sum)
				})
			}
		}
	})
	var all tally
	for i := range sums {
		t.Logf("%-30s %v, %d kinds of leftovers", scenarios[i].name+":", &sums[i], len(sums[i].leftovers))
		all.add(&sums[i])
	}
	t.Logf("in all: %v", &all)
	want := 0
	for i := range scenarios {
		want += scenarios[i].worlds
	}
	if all.worlds == want && all.deaths < 10_000 { // nothing was left out
		t.Errorf("%d deaths are fewer than 10000", all.deaths)
	}
}

// dieInWorld goes through all deaths of a command in one repository.
func (s *scenario) dieInWorld(t *testing.T, rng *rand.Rand, sum *tally) {
	w := newWorld(t, rng)
	prepared := mem.New()
	p := w.process(prepared)
	s.prepare(w, p)
	w.look()

	clean := prepared.Clone()
	m := newMortal(clean, 0, before, rng, func() {})
	q := w.process(m)
	w.must(s.run(q))
	n := m.count()
	q.store = clean
	w.must(s.aftermath(q, &haunted{Store: clean}, true))
	sum.worlds++
	sum.mutations += n
	before := objects(t, prepared)
	for i := 1; i <= n; i++ {
		deaths := sum.deaths
		for _, way := range ways {
			store := prepared.Clone()
			died, err := s.die(w, store, before, i, way, sum)
			if err != nil {
				t.Fatalf("%s, death %q at mutation %d of %d (seed of the run repeats it): %v", s.name, way, i, n, err)
			}
			if died {
				sum.deaths++
			} else {
				sum.outlived++
			}
		}
		if sum.deaths == deaths {
			break // how many partial snapshots there are is a matter of time: there were fewer than in the clean run
		}
	}
}

// die lets the command die once, and others find what it left.
func (s *scenario) die(w *world, store *mem.Store, was []backends.Info, dieAt int, way way, sum *tally) (died bool, err error) {
	ctx, kill := context.WithCancel(w.t.Context())
	defer kill()
	m := newMortal(store, dieAt, way, w.rng, kill)
	p := w.process(m)
	defer os.RemoveAll(p.cache)
	p.ctx = ctx
	runErr := s.run(p)
	died = m.isDead()
	if !died && runErr != nil {
		return died, fmt.Errorf("it did not even die: %w", runErr)
	}
	sum.leftovers[leftover(was, objects(w.t, store))]++

	next := &process{ctx: w.t.Context(), w: w, store: store, cache: p.cache}
	if w.rng.IntN(2) == 0 {
		next.cache = w.newCache()
		defer os.RemoveAll(next.cache)
	}
	return died, s.aftermath(next, &haunted{Store: store, flights: m.took()}, runErr == nil)
}

// aftermath is what must hold after a death, or after a run that ended well: the next process goes on
// without help, and one more tidies up.
func (s *scenario) aftermath(p *process, h *haunted, succeeded bool) error {
	p.store = h
	if succeeded {
		if err := p.with(func(r *repo.Repository) error { return s.wantDone(p, r) }); err != nil {
			return fmt.Errorf("after a run that succeeded: %w", err)
		}
	}
	if err := s.run(p); err != nil {
		return fmt.Errorf("the next command: %w", err)
	}
	return p.with(func(r *repo.Repository) error {
		if err := errors.Join(s.wantDone(p, r), p.wantSnapshots(r)); err != nil {
			return fmt.Errorf("after the next command: %w", err)
		}
		if !s.prunes {
			if err := p.collect(r); err != nil {
				return fmt.Errorf("first prune: %w", err)
			}
		}
		h.landAll(p.ctx)
		if err := p.collect(r); err != nil {
			return fmt.Errorf("second prune: %w", err)
		}
		if err := errors.Join(p.wantNoGarbage(r), p.wantSnapshots(r), p.wantClean(r)); err != nil {
			return fmt.Errorf("after two prunes: %w", err)
		}
		return nil
	})
}

func (s *scenario) wantDone(p *process, r *repo.Repository) error {
	if s.done == nil {
		return nil
	}
	return s.done(p, r)
}

// objects lists a store.
func objects(t testing.TB, store backends.Store) []backends.Info {
	var all []backends.Info
	for info, err := range store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info)
	}
	return slices.Clip(all)
}
