package lease

import (
	"flag"
	"math/rand/v2"
	"testing"

	"github.com/kura-backup/kura/internal/testrand"
)

var (
	long  = flag.Bool("lease.long", false, "explore further")
	walks = flag.Int("lease.walks", 6000, "how many random walks")
	seed  = flag.Uint64("lease.seed", 0, "of the random walks; 0: a new one")
)

// explore runs every order that the budgets of x allow, at most limit, and returns how many.
func explore(x *explorer, limit int) (runs int, wrong string) {
	type point struct{ chosen, of int }
	var trail []point
	for {
		depth := 0
		x.choose = func(n int) int {
			if depth == len(trail) {
				trail = append(trail, point{0, n})
			}
			depth++
			return trail[depth-1].chosen
		}
		runs++
		if wrong := x.run(); wrong != "" || runs == limit {
			return runs, wrong
		}
		trail = trail[:depth]
		for len(trail) > 0 && trail[len(trail)-1].chosen+1 == trail[len(trail)-1].of {
			trail = trail[:len(trail)-1]
		}
		if len(trail) == 0 {
			return runs, ""
		}
		trail[len(trail)-1].chosen++
	}
}

// most is how many orders of a world are gone through by default, one after the other.
const most = 5000

// seeded returns the seed of a test.
func seeded(t *testing.T) uint64 {
	t.Helper()
	from := *seed
	if from == 0 {
		from = testrand.Seed(t)
	}
	t.Logf("-lease.seed=%d", from)
	return from
}

func TestExplore_SmallWorlds_NeverTwoHolders(t *testing.T) {
	notShort(t)
	for _, c := range []struct {
		name string
		x    explorer
		long bool
	}{
		{name: "switches", x: explorer{clients: 2, commits: 2, switches: 5}},
		{name: "pages", x: explorer{clients: 2, commits: 1, switches: 5, pages: true}},
		{name: "jump", x: explorer{clients: 2, commits: 1, switches: 3, jumps: 1}},
		{name: "two jumps", x: explorer{clients: 2, commits: 1, switches: 1, jumps: 2}},
		{name: "fault", x: explorer{clients: 2, commits: 1, switches: 2, faults: 1}},
		{name: "fault and jump", x: explorer{clients: 2, commits: 1, switches: 1, faults: 1, jumps: 1}},
		{name: "a wrong clock", x: explorer{clients: 2, commits: 1, switches: 2, clocks: 1}},
		{name: "a wrong clock and a jump", x: explorer{clients: 2, commits: 1, switches: 1, jumps: 1, clocks: 1}},
		{name: "marks", x: explorer{clients: 2, commits: 1, switches: 2, jumps: 1, noDelete: true}},
		{name: "three clients", x: explorer{clients: 3, commits: 1, switches: 3}},
		{name: "more jumps", x: explorer{clients: 2, commits: 2, switches: 2, jumps: 2}, long: true},
		{name: "more switches", x: explorer{clients: 2, commits: 2, switches: 4, jumps: 1}, long: true},
		{name: "two faults", x: explorer{clients: 2, commits: 1, switches: 1, faults: 2}, long: true},
		{name: "three clients and all", x: explorer{clients: 3, commits: 1, switches: 2, faults: 1}, long: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long && !*long {
				t.Skip("with -lease.long")
			}
			x := c.x
			limit := most
			if *long {
				limit = 0
			}
			runs, wrong := explore(&x, limit)
			if runs == limit && wrong == "" { // others, which differ in what comes first as well
				var more int
				more, wrong = randomWalk(&x, rand.New(rand.NewPCG(seeded(t), 0)), most/3)
				runs += more
			}
			if wrong != "" {
				t.Fatalf("%s:\n%s", wrong, x.how())
			}
			t.Logf("%d orders", runs)
		})
	}
}

func randomWalk(x *explorer, r *rand.Rand, n int) (runs int, wrong string) {
	x.choose = func(n int) int { return r.IntN(n) }
	for runs = 1; runs <= n; runs++ {
		if wrong = x.run(); wrong != "" {
			return runs, wrong
		}
	}
	return n, ""
}

func TestExplore_RandomWalks_NeverTwoHolders(t *testing.T) {
	notShort(t)
	r := rand.New(rand.NewPCG(seeded(t), 0))
	for _, noDelete := range []bool{false, true} {
		x := explorer{clients: 3, commits: 3, switches: 1000, faults: 3, jumps: 3, clocks: 1, pages: true, noDelete: noDelete}
		runs, wrong := randomWalk(&x, r, *walks/2)
		if wrong != "" {
			t.Fatalf("%s:\n%s", wrong, x.how())
		}
		t.Logf("%d walks", runs)
	}
}

// Each rule, and each thing that is assumed, is needed: without it the search finds what it was for.
func TestExplore_WithoutARule_FindsTheLoss(t *testing.T) {
	notShort(t)
	for name, x := range map[string]explorer{
		"a clock that does not count sleep":       {clients: 2, commits: 2, switches: 2, jumps: 1, noClock: true, noDelete: true},
		"a listing that lacks others' leases":     {clients: 2, commits: 1, switches: 1, stale: true},
		"a put that arrives a day late":           {clients: 2, commits: 1, switches: 1, faults: 1, jumps: 1, slow: true},
		"two wrong clocks":                        {clients: 2, commits: 1, switches: 1, clocks: 2},
		"giving back with a put under way":        {clients: 2, commits: 1, switches: 1, faults: 2, hasty: true},
		"a sleep between the look and the put":    {clients: 2, commits: 1, switches: 1, jumps: 1, slow: true},
		"giving back with a put under way, marks": {clients: 2, commits: 1, switches: 1, faults: 2, hasty: true, noDelete: true},
	} {
		t.Run(name, func(t *testing.T) {
			runs, wrong := explore(&x, 1_000_000)
			if wrong == "" {
				t.Fatalf("nothing was found in %d orders", runs)
			}
			t.Logf("after %d orders: %s\n%s", runs, wrong, x.how())
		})
	}
}

// notShort leaves the exploration out of the race run: its clients take turns.
func notShort(t *testing.T) {
	if testing.Short() {
		t.Skip("clients that take turns can not race")
	}
}
