package schedule

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// plan says which of the operations that wait happens next, and what goes wrong with it. n < 0 ends the
// schedule: nothing new would come of it.
type plan interface {
	next([]choice) (n int, f fault)
}

// faults draws what goes wrong, at random, a few times in a schedule.
type faults struct {
	rng  *rand.Rand
	rate float64
	left int
	of   []fault
}

// failures are the faults of stores and processes.
var failures = []fault{dieBefore, dieAfter, dieLate, dieTwice, lostBefore, lostAfter, lostLate, twice}

// oddities are those of time.
var oddities = []fault{sleepsBefore, sleepsAfter, jumps, storeJumps}

func (x *faults) draw(c choice) fault {
	if x.left == 0 || c.op == nil || c.op.again == nil || x.rng.Float64() >= x.rate {
		return none
	}
	x.left--
	return x.of[x.rng.IntN(len(x.of))]
}

// walk chooses at random.
type walk struct {
	rng    *rand.Rand
	faults faults
}

func (p *walk) next(cs []choice) (int, fault) {
	n := p.rng.IntN(len(cs))
	if cs[n].flight != nil && p.rng.IntN(8) > 0 { // it takes its time
		n = p.rng.IntN(len(cs))
	}
	return n, p.faults.draw(cs[n])
}

// priorities lets whoever has the highest priority go on, and gives him the lowest at a few places that were
// drawn before: an order that needs d changes is found with a probability that depends on d alone.
type priorities struct {
	rng     *rand.Rand
	faults  faults
	step    int
	changes []int
	rank    map[int]int // by actor; higher goes first
	lowest  int
}

func newPriorities(rng *rand.Rand, steps, changes int, f faults) *priorities {
	p := &priorities{rng: rng, faults: f, rank: map[int]int{}}
	for range changes {
		p.changes = append(p.changes, rng.IntN(max(steps, 1)))
	}
	return p
}

func (p *priorities) next(cs []choice) (int, fault) {
	best := -1
	for i, c := range cs {
		if _, ok := p.rank[c.actor]; !ok {
			p.rank[c.actor] = p.rng.IntN(1 << 20)
		}
		if best < 0 || p.rank[c.actor] > p.rank[cs[best].actor] {
			best = i
		}
	}
	p.step++
	if slices.Contains(p.changes, p.step) {
		p.lowest--
		p.rank[cs[best].actor] = p.lowest
	}
	return best, p.faults.draw(cs[best])
}

// search enumerates schedules: all orders of operations that do not commute, each once, by dynamic partial
// order reduction with source sets and sleep sets (Abdulla and others 2014). A schedule is run by repeating the
// beginning of the last one up to the deepest place where another choice is due.
type search struct {
	path []*node

	runs, steps int

	at       int // in path
	diverged int // schedules that did not repeat what they should
	tries    int // of them in a row
	given    int // schedules that were given up for that
	blocked  int // schedules that were ended, since others cover them
	lost     bool
	over     bool
}

// node is a place in a schedule: what could happen there, and what was tried.
type node struct {
	ready  map[int]access // by actor
	chosen int
	due    map[int]bool // to be tried
	done   map[int]bool
	asleep map[int]access // was tried before, and nothing since has to do with it
	clock  map[int]int    // of the event chosen: for each actor, how many of the path's first events precede it
}

func (s *search) next(cs []choice) (int, fault) {
	if s.lost {
		return 0, none
	}
	ready := map[int]access{}
	for _, c := range cs {
		ready[c.actor] = c.access
	}
	if s.at == len(s.path) {
		n := &node{ready: ready, due: map[int]bool{}, done: map[int]bool{}, asleep: s.sleepers()}
		n.chosen = s.first(n)
		if n.chosen < 0 {
			s.blocked++
			s.over = true
			return -1, none
		}
		n.due[n.chosen] = true
		s.path = append(s.path, n)
	}
	n := s.path[s.at]
	i := slices.IndexFunc(cs, func(c choice) bool { return c.actor == n.chosen })
	if i < 0 || !cs[i].repeats(n.ready[n.chosen]) {
		s.lost = true
		s.diverged++
		return 0, none
	}
	n.ready[n.chosen] = cs[i].access
	s.races(s.at)
	s.at++
	return i, none
}

// ended reports whether the last schedule was ended because others cover it.
func (s *search) ended() bool { return s.over }

// sleepers are the actors whose next operation need not be tried after the path.
func (s *search) sleepers() map[int]access {
	out := map[int]access{}
	if s.at == 0 {
		return out
	}
	last := s.path[s.at-1]
	event := last.ready[last.chosen]
	for actor, a := range last.asleep {
		if actor != last.chosen && event.commutes(a) {
			out[actor] = a
		}
	}
	for actor := range last.done {
		if a, ok := last.ready[actor]; ok && actor != last.chosen && event.commutes(a) {
			out[actor] = a
		}
	}
	return out
}

// first chooses who goes on at a new node: who went on last, if he can.
func (s *search) first(n *node) int {
	if s.at > 0 {
		last := s.path[s.at-1].chosen
		if _, ok := n.ready[last]; ok {
			if _, asleep := n.asleep[last]; !asleep {
				return last
			}
		}
	}
	for _, actor := range slices.Sorted(maps.Keys(n.ready)) {
		if _, asleep := n.asleep[actor]; !asleep {
			return actor
		}
	}
	return -1
}

// races notes where the event at the end of the path could have come before another one with which it does not
// commute.
func (s *search) races(at int) {
	n := s.path[at]
	event := n.ready[n.chosen]
	clock := map[int]int{}
	for i := at - 1; i >= 0; i-- { // the actor's own last event
		if s.path[i].chosen == n.chosen {
			maps.Copy(clock, s.path[i].clock)
			break
		}
	}
	var raced []int
	for i := at - 1; i >= 0; i-- {
		other := s.path[i]
		if other.chosen == n.chosen || event.commutes(other.ready[other.chosen]) {
			continue
		}
		if i >= clock[other.chosen] { // nothing between the two orders them
			raced = append(raced, i)
		}
		for actor, k := range other.clock {
			clock[actor] = max(clock[actor], k)
		}
	}
	clock[n.chosen] = at + 1
	n.clock = clock
	for _, i := range raced {
		s.try(i, at)
	}
}

// precedes reports whether event i comes before event k in every order.
func (s *search) precedes(i, k int) bool { return i < s.path[k].clock[s.path[i].chosen] }

// try makes it due that the event at a place of the path comes before event i: somebody goes on instead of event i who
// can be the first of those that are not after event i, and of which the one at the place is the last.
func (s *search) try(i, at int) {
	var rest []int
	for k := i + 1; k <= at; k++ {
		if k == at || !s.precedes(i, k) {
			rest = append(rest, k)
		}
	}
	n := s.path[i]
	first := -1
	for j, k := range rest {
		if slices.ContainsFunc(rest[:j], func(earlier int) bool { return s.precedes(earlier, k) }) {
			continue
		}
		actor := s.path[k].chosen
		if n.due[actor] {
			return
		}
		if _, ok := n.ready[actor]; ok && first < 0 {
			first = actor
		}
	}
	if first >= 0 {
		n.due[first] = true
		return
	}
	for actor := range n.ready { // nobody of them was there yet
		n.due[actor] = true
	}
}

// again prepares the next schedule, and reports whether there is one.
func (s *search) again() bool {
	lost := s.lost
	s.lost, s.over, s.at = false, false, 0
	if lost {
		s.tries++
		return s.tries < maxTries || s.giveUp()
	}
	s.tries = 0
	for len(s.path) > 0 {
		n := s.path[len(s.path)-1]
		n.done[n.chosen] = true
		for _, actor := range slices.Sorted(maps.Keys(n.due)) {
			if _, asleep := n.asleep[actor]; !n.done[actor] && !asleep {
				n.chosen = actor
				return true
			}
		}
		s.path = s.path[:len(s.path)-1]
	}
	return false
}

// maxTries is how often a schedule is begun again that did not repeat what it should. Some of what a client
// does has no order: what it writes first of two things that wait is left to chance.
const maxTries = 64

// giveUp passes over the schedule that can not be repeated.
func (s *search) giveUp() bool {
	s.given++
	s.tries = 0
	return s.again()
}

func newRNG(seed uint64, n int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(n))) }
