// Package testrand gives tests random numbers that can be drawn again.
//
// All that a test draws follows from one seed, from the test's name, and from how often it has asked before: tests do not draw the
// same numbers, and neither do two calls in one test. The seed is that of the environment variable KURA_TEST_SEED; without it each
// test has another one each time, and logs it.
package testrand

import (
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
)

const seedVar = "KURA_TEST_SEED"

// asked is how often a test that runs has asked, and the seed that its numbers follow from.
type asked struct{ seed, times uint64 }

var (
	mu      sync.Mutex
	running = map[testing.TB]*asked{}
)

// Seed returns a seed that no other call returns, but for that of the same test in another run with the same KURA_TEST_SEED.
func Seed(t testing.TB) uint64 {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	a := running[t]
	if a == nil {
		a = &asked{seed: rand.Uint64()}
		if s := os.Getenv(seedVar); s != "" {
			var err error
			if a.seed, err = strconv.ParseUint(s, 10, 64); err != nil {
				t.Fatalf("%s: %v", seedVar, err)
			}
		}
		running[t] = a
		t.Cleanup(func() {
			mu.Lock()
			defer mu.Unlock()
			delete(running, t)
		})
		t.Logf("%s=%d", seedVar, a.seed)
	}
	a.times++
	h := fnv.New64a()
	h.Write([]byte(t.Name()))
	return h.Sum64() ^ rand.NewPCG(a.seed, a.times).Uint64()
}

// New returns a source of random numbers that starts from Seed. It is not safe for concurrent use.
func New(t testing.TB) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(Seed(t), 0))
}
