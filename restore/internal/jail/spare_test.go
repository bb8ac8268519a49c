package jail

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Not every kernel has file systems that take two names for one, so here a call says so.
func TestPlace_AnotherEntryHasTheName_IsSparedWhereThisRunMadeIt(t *testing.T) {
	for _, ours := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "target")
		d, _, err := Open(path, false)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if ours {
			d.SetOurs()
		}
		if err := os.WriteFile(filepath.Join(path, "README"), []byte("first"), 0o600); err != nil {
			t.Fatal(err)
		}
		calls := 0
		err = d.place("readme", func() error {
			if calls++; calls == 1 {
				return wrap("open", unix.EEXIST)
			}
			return nil
		})
		if spared := errors.Is(err, ErrSameName); spared != ours || !spared && err != nil || spared && calls != 1 {
			t.Errorf("ours %v: %v after %d calls", ours, err, calls)
		}
	}
}
