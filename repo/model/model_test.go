package model

import (
	"flag"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/kura-backup/kura/internal/testrand"
)

var (
	flagStates = flag.Uint64("model.states", 100_000, "states visited in each large world")
	flagSteps  = flag.Uint64("model.steps", 2_000_000, "random steps in all")
	flagSeed   = flag.Uint64("model.seed", 0, "seed of the random walks; 0 draws one")
	flagLong   = flag.Bool("model.long", false, "twenty times the states and steps, every state checked with a collection alone")
)

// raceEnabled is set by the race detector's build: what it looks for shows in a
// small part of the search, and it makes the rest ten times as slow.
var raceEnabled bool

func brief() bool { return raceEnabled || testing.Short() }

// size returns how far to go.
func size(n uint64) uint64 {
	switch {
	case *flagLong:
		return 20 * n
	case brief():
		return n / 30
	}
	return n
}

// report prints what was searched.
func report(t *testing.T, name string, r *result) {
	t.Helper()
	t.Logf("%s: %d states, %d steps, %d deep, exhausted %v, %d steps left out for want of room, %d collections alone",
		name, r.states, r.steps, r.depth, r.exhausted, r.full, r.cleaned)
	if r.bad != nil {
		t.Errorf("%s: %s", name, r.bad)
	}
}

// everyAction prints how often each action fired and fails for those that never did.
func everyAction(t *testing.T, counts *[actions]uint64) {
	t.Helper()
	var out strings.Builder
	for a := range removedRule {
		fmt.Fprintf(&out, "\n%12d %s", counts[a], a)
		if counts[a] == 0 {
			t.Errorf("no step was ever %q", a)
		}
	}
	if counts[removedRule] != 0 {
		t.Errorf("%d steps broke a rule though none was removed", counts[removedRule])
	}
	t.Logf("steps by kind:%s", out.String())
}

func TestSearch_AllRules_FindsNothing(t *testing.T) {
	var counts [actions]uint64
	var states, steps uint64
	var ran int
	run := func(c config, limit uint64, whole bool) {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			c := withAll(c)
			c.cleanEvery = 8
			if *flagLong {
				c.cleanEvery = 1
			}
			r := search(t.Context(), &c, limit, runtime.GOMAXPROCS(0))
			report(t, c.name, &r)
			if whole && r.bad == nil && !r.exhausted && !brief() {
				t.Errorf("%s is meant to be searched to its end", c.name)
			}
			if r.cleaned == 0 {
				t.Errorf("%s: no collection alone was tried", c.name)
			}
			ran++
			states += r.states
			steps += r.steps
			for a := range counts {
				counts[a] += r.counts[a]
			}
		})
	}
	for _, c := range smallWorlds {
		limit := uint64(5_000_000)
		if brief() {
			limit = size(*flagStates)
		}
		run(c, limit, true)
	}
	for _, c := range largeWorlds {
		run(c, size(*flagStates), false)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("in all %d states, %d steps; %d MiB from the system", states, steps, m.Sys>>20)
	if ran == len(smallWorlds)+len(largeWorlds) { // all of them were asked for
		everyAction(t, &counts)
	}
}

func TestWalk_AllRules_FindsNothing(t *testing.T) {
	seed := *flagSeed
	if seed == 0 {
		seed = testrand.Seed(t)
	}
	walkers := uint64(runtime.GOMAXPROCS(0))
	results := make([]result, walkers)
	var wg sync.WaitGroup
	for k := range walkers {
		wg.Go(func() {
			c := withAll(walkedWorld)
			results[k] = walk(t.Context(), &c, seed+k, size(*flagSteps)/walkers, 400)
		})
	}
	wg.Wait()
	var counts [actions]uint64
	for k := range results {
		report(t, fmt.Sprintf("walk with -model.seed=%d, walker %d", seed, k), &results[k])
		for a := range counts {
			counts[a] += results[k].counts[a]
		}
	}
	everyAction(t, &counts)
}
