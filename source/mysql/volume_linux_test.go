package mysql

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/internal/testsys"
)

// mountShort mounts an image where names of sockets do not get too long.
func mountShort(t *testing.T, image string) string {
	t.Helper()
	at, err := os.MkdirTemp("/tmp", "kura-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(at) })
	if err := unix.Mount(testsys.Loop(t, image), at, "ext4", 0, ""); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	return at
}

// A copy of the volume that is made under the lock, while two clients write, is what the server had at the coordinates.
func TestHold_CopyOfTheVolume_IsAsAtTheCoordinates(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	outer := testsys.Mount(t, "xfs", 900<<20)
	image := filepath.Join(outer, "disk.img")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 500<<20)); err != nil {
		t.Fatal(err)
	}
	testsys.Format(t, "ext4", image)
	volume := mountShort(t, image)
	t.Setenv("TMPDIR", volume)
	// What was committed has to be on the volume.
	b := newBank(t, "--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1")
	t.Setenv("TMPDIR", "/tmp")
	copied := filepath.Join(outer, "copy.img")
	var frozen time.Duration
	held, err := Hold(t.Context(), configOf(b.MariaDB), Limits{}, func(ctx context.Context, _ *Held) error {
		start := time.Now()
		for _, args := range [][]string{{"fsfreeze", "-f", volume}, {"cp", "--reflink=always", image, copied}, {"fsfreeze", "-u", volume}} {
			if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
				_ = exec.Command("fsfreeze", "-u", volume).Run() // whatever it was
				return fmt.Errorf("%v: %w: %s", args, err, out)
			}
		}
		frozen = time.Since(start)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b.rest()
	t.Logf("held for %v, of which %v freezing and copying; at %+v", held.Time, frozen, held.At)

	data, err := filepath.Rel(volume, b.Data)
	if err != nil {
		t.Fatal(err)
	}
	restored := testserver.MariaDBOn(t, filepath.Join(mountShort(t, copied), data))
	b.check(t, restored)
	sum := func(s *testserver.MariaDB) string { return s.SQL(t, "CHECKSUM TABLE bank.accounts, bank.moves") }
	if diff := cmp.Diff(sum(b.replay(t, held.At)), sum(restored)); diff != "" {
		t.Errorf("at %+v: %s", held.At, diff)
	}
	t.Logf("%s moves", restored.SQL(t, "SELECT COUNT(*) FROM bank.moves"))
}
