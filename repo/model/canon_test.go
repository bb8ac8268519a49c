package model

import (
	"math/rand/v2"
	"testing"

	"github.com/kura-backup/kura/internal/testrand"
)

// wander calls f with the states of a random walk.
func wander(t *testing.T, steps int, f func(c *config, s *state)) {
	t.Helper()
	seed := *flagSeed
	if seed == 0 {
		seed = testrand.Seed(t)
	}
	t.Logf("-model.seed=%d", seed)
	wanderFrom(seed, steps, f)
}

func wanderFrom(seed uint64, steps int, f func(c *config, s *state)) {
	rng := rand.New(rand.NewPCG(seed, 1))
	c := withAll(walkedWorld)
	g := newGenerator(&c)
	s := newState(&c)
	for i := range steps {
		out := g.steps(&s)
		if len(out) == 0 || i%300 == 0 {
			s = newState(&c)
			continue
		}
		s = out[rng.IntN(len(out))].s
		s.tidy()
		f(&c, &s)
	}
}

// tally counts the steps of a state by kind.
func tally(c *config, s *state) (n [actions]int) {
	g := newGenerator(c)
	for i := range g.steps(s) {
		n[g.out[i].act]++
	}
	return n
}

func TestCanon_RenamedState_BehavesAlike(t *testing.T) {
	wander(t, 2000, func(c *config, s *state) {
		r := *s
		r.canon()
		if a, b := s.check(true), r.check(true); a != b {
			t.Fatalf("check says %q before, %q after", a, b)
		}
		// A full world has room in some order of slots and not in another
		// only for what is left out, so kinds are compared where there is room.
		if a, b := tally(c, s), tally(c, &r); a != b {
			t.Fatalf("steps by kind before %v\nafter %v", a, b)
		}
	})
}

func TestCanon_Twice_ChangesNothing(t *testing.T) {
	wander(t, 10000, func(_ *config, s *state) {
		r := *s
		r.canon()
		again := r
		again.canon()
		if again != r {
			t.Fatalf("renamed again:\n%+v\n%+v", r, again)
		}
	})
}

func TestCanon_ShuffledSlots_MostlyMeet(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	var met, all int
	wanderFrom(1, 10000, func(_ *config, s *state) { // of the states of other walks fewer might meet
		r := renaming{writers: [maxWriters]uint8{0, 1, 2}, collectors: [maxCollectors]uint8{0, 1}}
		for i, to := range rng.Perm(8) {
			r.packs[i] = uint8(to)
		}
		for i, to := range rng.Perm(8) {
			r.sess[i] = uint8(to)
		}
		for i, to := range rng.Perm(8) {
			r.segs[i] = uint8(to)
		}
		a, b := *s, *s
		b.rename(&r)
		if x, y := a.check(true), b.check(true); x != y {
			t.Fatalf("check says %q before, %q after a shuffle", x, y)
		}
		a.canon()
		b.canon()
		all++
		if a.hash() == b.hash() {
			met++
		}
	})
	t.Logf("%d of %d shuffled states got the same form", met, all)
	if met*10 < all*9 {
		t.Errorf("only %d of %d: the reduction hardly reduces", met, all)
	}
}

func TestHash_DifferentStates_Differ(t *testing.T) {
	seen := map[uint64]state{}
	wander(t, 20000, func(_ *config, s *state) {
		r := *s
		r.ever = 0
		if old, ok := seen[r.hash()]; ok && old != r {
			o := old
			o.flights, r.flights = [maxFlights]entry{}, [maxFlights]entry{}
			if o != r {
				t.Fatalf("two states, one hash:\n%+v\n%+v", old, r)
			}
			return
		}
		seen[r.hash()] = r
	})
}
