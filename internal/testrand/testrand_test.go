package testrand_test

import (
	"testing"

	"github.com/kura-backup/kura/internal/testrand"
)

func TestNew_SeedFromTheEnvironment_RepeatsTheNumbers(t *testing.T) {
	t.Setenv("KURA_TEST_SEED", "7")
	if a, b := testrand.New(t).Uint64(), testrand.New(t).Uint64(); a != b {
		t.Errorf("%d and %d of one seed", a, b)
	}
	if seed := testrand.Seed(t); seed != 7 {
		t.Errorf("seed %d", seed)
	}
}

func TestSeed_NoneGiven_DrawsAnother(t *testing.T) {
	t.Setenv("KURA_TEST_SEED", "")
	if a, b := testrand.Seed(t), testrand.Seed(t); a == b {
		t.Errorf("%d twice", a)
	}
}
