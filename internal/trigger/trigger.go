// Package trigger decides on which of the calls that a rule is about the rule fires. It is for things that fail on
// purpose: stores, and proxies in front of real ones.
package trigger

import "math/rand/v2"

// When says on which matching calls something happens. It is a value.
type When struct {
	Nth   int     // the first call that counts, from 1
	Times int     // how often it happens; negative without end
	Rate  float64 // the probability with which a call that counts is one; 0 means always
	Seed  uint64  // of the probability
}

// Once is the first call.
var Once = When{Nth: 1, Times: 1}

// Armed counts calls. It is not safe for concurrent use.
type Armed struct {
	when    When
	matched int
	fired   int
	random  *rand.Rand
}

// Arm begins to count.
func (w When) Arm() *Armed { return &Armed{when: w, random: rand.New(rand.NewPCG(w.Seed, 0))} }

// Fires counts a matching call and reports whether it is one.
func (a *Armed) Fires() bool {
	a.matched++
	if a.matched < a.when.Nth || a.when.Times >= 0 && a.fired >= a.when.Times {
		return false
	}
	if a.when.Rate > 0 && a.random.Float64() >= a.when.Rate {
		return false
	}
	a.fired++
	return true
}

// Fired is how often it has happened.
func (a *Armed) Fired() int { return a.fired }
