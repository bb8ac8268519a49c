package crashtest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
)

var (
	crashSeed  = flag.Uint64("crash.seed", 0, "seed of the crash-point tests; 0 draws one")
	crashLong  = flag.Bool("crash.long", false, "all repositories, with every single death in each, and every step of disks")
	crashTimes = flag.Int("crash.times", 1, "with -crash.long: how many times as many repositories")
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
	testsys.VerifyMain(m)
}

// seed returns the seed of a test and says how to repeat it.
func seed(t *testing.T) uint64 {
	s := *crashSeed
	if s == 0 {
		s = testrand.Seed(t)
	}
	t.Logf("seed %d (repeat with -crash.seed)", s)
	return s
}

func (s *scenario) rng(seed uint64, world int) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, s.name, world)
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// rowLength is how many processes may die one after the other, sampleRows how often they do in a repository of the default run.
const rowLength, sampleRows = 16, 3

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
			worlds := 2
			if *crashLong {
				worlds = s.worlds * *crashTimes
			}
			for n := range worlds {
				t.Run(fmt.Sprint(s.name, " ", n), func(t *testing.T) {
					t.Parallel()
					sum := tally{leftovers: map[string]int{}}
					s.dieInWorld(t, s.rng(seed, n), n, &sum)
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
	if all.deaths == 0 {
		t.Error("nothing died")
	}
}

// dieInWorld goes through deaths of a command in one repository. In the first one of each scenario it dies at a mutation of each
// kind in each way, or at every one, and the next run ends well. In the others the next processes die as well, again and again.
func (s *scenario) dieInWorld(t *testing.T, rng *rand.Rand, world int, sum *tally) {
	w := newWorld(t, rng)
	prepared := mem.New()
	p := w.process(prepared)
	s.prepare(w, p)
	w.look()

	clean := prepared.Clone()
	m := newMortal(clean, end{}, rng, func() {})
	q := w.process(m)
	w.must(s.run(q))
	asked := m.asked()
	n := asked[""]
	q.store = clean
	w.must(s.aftermath(q, &haunted{Store: clean}, true))
	sum.worlds++
	sum.mutations += n
	was := objects(t, prepared)
	for _, ends := range rows(rng, world, asked) {
		c := chain{w: w, store: prepared.Clone(), cache: w.newCache()}
		if err := s.die(&c, ends, was, sum); err != nil {
			t.Fatalf("%s, deaths %v of %d mutations, %d died (seed of the run repeats it): %v", s.name, ends, n, c.died, err)
		}
		w.must(os.RemoveAll(c.cache))
		sum.deaths += c.died
		if c.died < len(ends) {
			sum.outlived++
		}
	}
}

// rows returns how processes end in one repository, one after the other in each row. A clean run has asked for so many
// mutations of each kind.
func rows(rng *rand.Rand, world int, asked map[string]int) (all [][]end) {
	n := asked[""]
	switch {
	case *crashLong:
		for i := range n {
			for _, way := range ways {
				all = append(all, []end{{i + 1, "", way}})
			}
			if world > 0 {
				all = append(all, row(rng, i+1, n))
			}
		}
	case world == 0:
		for _, kind := range slices.Sorted(maps.Keys(asked)) {
			for _, way := range ways {
				all = append(all, []end{{1 + rng.IntN(asked[kind]), kind, way}})
			}
		}
	default:
		for range sampleRows {
			all = append(all, row(rng, 1+rng.IntN(n), n))
		}
	}
	return all
}

// row returns how processes end whose first one dies at the ith of n mutations.
func row(rng *rand.Rand, i, n int) []end {
	row := []end{{i, "", ways[rng.IntN(len(ways))]}}
	left := n - i // of what there was to do, for commands that go on where they were cut off
	for range rowLength - 1 {
		at := 1 + rng.IntN(max(1, left/5))
		if rng.IntN(4) == 0 { // for those that begin again
			at = 1 + rng.IntN(n)
		}
		row = append(row, end{at, "", ways[rng.IntN(len(ways))]})
		left -= at
	}
	return row
}

// chain is a row of processes on one repository that die one after the other.
type chain struct {
	w     *world
	store *mem.Store
	cache string // of the machine that the next process runs on
	died  int
}

// die lets the command die, again and again, until it does not any more, and others find what it left.
func (s *scenario) die(c *chain, ends []end, was []backends.Info, sum *tally) error {
	h := &haunted{Store: c.store}
	var succeeded bool
	for i, e := range ends {
		died, err := s.dieOnce(c, h, e)
		succeeded = err == nil
		if i == 0 {
			sum.leftovers[leftover(was, objects(c.w.t, c.store))]++
		}
		if !died && err != nil {
			return fmt.Errorf("process %d did not even die: %w", i+1, err)
		}
		if c.w.rng.IntN(2) == 0 {
			c.w.must(os.RemoveAll(c.cache))
			c.cache = c.w.newCache()
		}
		if !died {
			break
		}
		c.died++
	}
	return s.aftermath(&process{ctx: c.w.t.Context(), w: c.w, cache: c.cache, dead: c.died}, h, succeeded)
}

// dieOnce runs the command until it dies. Its error is that of the command, which may succeed all the same.
func (s *scenario) dieOnce(c *chain, h *haunted, e end) (died bool, err error) {
	ctx, kill := context.WithCancel(c.w.t.Context())
	defer kill()
	m := newMortal(h, e, c.w.rng, kill)
	err = s.run(&process{ctx: ctx, w: c.w, store: m, cache: c.cache, dead: c.died})
	h.add(m.took())
	return m.isDead(), err
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
