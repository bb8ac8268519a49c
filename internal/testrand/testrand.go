// Package testrand gives tests random numbers that can be drawn again.
package testrand

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

const seedVar = "KURA_TEST_SEED"

// Seed returns a seed, which it logs, or the one that KURA_TEST_SEED has.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv(seedVar); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVar, err)
		}
	}
	t.Logf("%s=%d", seedVar, seed)
	return seed
}

// New returns a source of random numbers that starts from Seed. It is not safe for concurrent use.
func New(t testing.TB) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(Seed(t), 0))
}
