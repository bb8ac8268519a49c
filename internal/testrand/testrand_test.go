package testrand_test

import (
	"testing"

	"github.com/kura-backup/kura/internal/testrand"
)

// run is a run of a test of some name.
type run struct {
	testing.TB
	name string
}

func (r *run) Name() string { return r.name }

func TestNew_SeedFromTheEnvironment_RepeatsTheNumbersOfATest(t *testing.T) {
	t.Setenv("KURA_TEST_SEED", "7")
	draw := func(name string) (n [2]uint64) {
		r := &run{t, name}
		n[0], n[1] = testrand.New(r).Uint64(), testrand.New(r).Uint64()
		return n
	}
	first := draw("a test")
	if again := draw("a test"); again != first {
		t.Errorf("%d, then %d", first, again)
	}
	if first[0] == first[1] {
		t.Errorf("%d in both calls", first[0])
	}
	if other := draw("another"); other[0] == first[0] || other[1] == first[1] {
		t.Errorf("%d and %d in tests of other names", first, other)
	}
	t.Setenv("KURA_TEST_SEED", "8")
	if other := draw("a test"); other[0] == first[0] || other[1] == first[1] {
		t.Errorf("%d and %d of other seeds", first, other)
	}
}

func TestSeed_NoneGiven_DrawsAnother(t *testing.T) {
	t.Setenv("KURA_TEST_SEED", "")
	a, b := testrand.Seed(&run{t, "a test"}), testrand.Seed(&run{t, "a test"})
	if a == b {
		t.Errorf("%d twice", a)
	}
}
