package treecmp_test

import (
	"testing"

	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/internal/treecmp"
)

func TestCompare_TwoGalleries_AreEqual(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	t.Logf("lacking: %q", testsys.Gallery(t, a))
	testsys.Gallery(t, b)
	n := treecmp.MustEqual(t, a, b, treecmp.Options{Holes: true, Below: true})
	t.Logf("%d entries", n)
	if n < 150 {
		t.Error("too few entries to mean anything")
	}
}
