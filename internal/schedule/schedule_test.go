package schedule

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/internal/zst"
)

var (
	seedFlag  = flag.Uint64("schedule.seed", 0, "seed of the random schedules; 0 draws one")
	runsFlag  = flag.Int("schedule.runs", 150, "random schedules")
	limitFlag = flag.Int("schedule.limit", 40, "schedules of each exhaustive search; 0: all that there are")
)

func TestMain(m *testing.M) {
	flag.Parse()
	warm()
	clock.System = clocks{}
	if dir, remove, err := testsys.NewMemoryDir(); err == nil { // caches, made anew for each schedule
		os.Setenv("TMPDIR", dir)
		defer func() { _ = remove() }()
	}
	debug.SetGCPercent(400) // buffers of packs come and go thousands of times
	// One client runs at a time.
	runtime.GOMAXPROCS(1)
	m.Run()
}

// warm fills the lists of idle encoders. One that was made in a bubble can not be used in another.
func warm() {
	text := []byte(strings.Repeat("kura", 1<<20))
	var g sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		g.Go(func() {
			for _, level := range []zst.Level{zst.Fastest, zst.Default, zst.Better, zst.Best} {
				for _, n := range []int{1 << 20, len(text)} {
					if _, err := zst.Decode(nil, zst.Encode(nil, text[:n], level), n); err != nil {
						panic(err)
					}
				}
			}
		})
	}
	g.Wait()
}

// seed returns the seed of a test with random schedules.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := *seedFlag
	if n == 0 {
		n = testrand.Seed(t)
	}
	t.Logf("seed %d (repeat with -schedule.seed)", n)
	return n
}

// report describes a schedule that went wrong.
func report(w *world, out outcome) string {
	return fmt.Sprintf("%s: %v\nafter %d operations:\n  %s", w.name, out.err, len(out.trace), strings.Join(out.trace, "\n  "))
}

// exhaust runs every order of a world, or as many as limit says, until one goes wrong.
func exhaust(t *testing.T, w *world, limit int) (s *search, last outcome, complete bool) {
	s = &search{}
	for {
		out := w.run(t, newRNG(1, 0), false, s)
		if !out.covered && !s.lost {
			s.runs++
			s.steps += out.steps
		}
		if out.err != nil {
			return s, out, false
		}
		if !s.again() {
			return s, out, s.given == 0
		}
		if limit > 0 && s.runs >= limit {
			return s, out, false
		}
	}
}

// random runs a random schedule: every other one at each step at random, the rest with priorities.
func random(t *testing.T, w *world, seed uint64, n, most int, of []fault) outcome {
	rng := newRNG(seed, n)
	f := faults{rng: rng, rate: 0.05, left: rng.IntN(most + 1), of: of}
	if n%2 == 0 {
		return w.run(t, rng, n%4 == 0, &walk{rng, f})
	}
	return w.run(t, rng, n%4 == 1, newPriorities(rng, 60*len(w.clients), 1+rng.IntN(6), f))
}

// TestSmallWorlds_EveryOrder_LosesNothing searches the small worlds.
func TestSmallWorlds_EveryOrder_LosesNothing(t *testing.T) {
	schedules, steps := 0, 0
	for _, w := range small() {
		s, out, complete := exhaust(t, w, *limitFlag)
		if out.err != nil {
			t.Fatal(report(w, out))
		}
		end := "all that there are"
		if !complete {
			end = "and more"
		}
		t.Logf("%-50s %5d schedules, %s; %d ended early, %d repeated, %d given up", w.name, s.runs, end, s.blocked, s.diverged, s.given)
		schedules, steps = schedules+s.runs, steps+s.steps
	}
	t.Logf("%d schedules, %d operations", schedules, steps)
}

// TestLargeWorlds_RandomOrdersAndFaults_LoseNothing walks through the large worlds.
func TestLargeWorlds_RandomOrdersAndFaults_LoseNothing(t *testing.T) {
	from, steps, died, unclear := seed(t), 0, 0, 0
	worlds := append(large(), small()...)
	for n := range *runsFlag {
		w := worlds[n%len(worlds)]
		out := random(t, w, from, n, 4, failures)
		if out.err != nil {
			t.Fatalf("schedule %d of seed %d: %s", n, from, report(w, out))
		}
		steps += out.steps
		died += out.died
		unclear += out.unclear
	}
	t.Logf("%d schedules in %d worlds, %d operations, %d clients died, %d answers were lost or came late", *runsFlag, len(worlds), steps, died, unclear)
	if *runsFlag >= 100 && (died == 0 || unclear == 0) {
		t.Error("nobody died, or no answer was lost: that shows nothing")
	}
}
