package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/source/device/snapshot"
)

// asProgram is what this program does as one of those that a test of it starts, and reports whether it is one.
func asProgram() bool {
	if filepath.Base(os.Args[0]) == hiddenServer {
		hide()
		return true
	}
	if len(os.Args) < 2 {
		return false
	}
	var err error
	switch os.Args[1] {
	case "watchdog":
		_, err = snapshot.RunWatchdog(os.Args[2], os.Stdin, os.Stdout)
	case "holder":
		err = snapshot.RunHolder()
	case "lock":
		err = runLocked(os.Args[2], os.Args[3:])
	default:
		return false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// runLocked does what kura mysql lock does.
func runLocked(socket string, command []string) error {
	var before, after time.Time
	held, err := Hold(context.Background(), Config{Socket: socket, User: "root"}, patient, func(ctx context.Context, h *Held) error {
		before = time.Now()
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Env = append(os.Environ(), "KURA_MYSQL_FILE="+h.At.File, fmt.Sprintf("KURA_MYSQL_POSITION=%d", h.At.Position), "KURA_MYSQL_GTID="+h.At.GTID)
		cmd.Stderr = os.Stderr
		err := cmd.Run()
		after = time.Now()
		return err
	})
	fmt.Fprintf(os.Stderr, "the server stood still for %d ms, of which %d for the command\n", held.Time.Milliseconds(), after.Sub(before).Milliseconds())
	return err
}

// A copy of the volume that is made under the lock, while two clients write, is what the server had at the coordinates. So is what comes back from
// a repository, by the command line: cmd/kura TestDevice_MariaDBUnderLockAndFreeze_RestoredIsAsAtTheCoordinates.
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
	volume := testsys.MountShort(t, "ext4", testsys.Loop(t, image))
	t.Setenv("TMPDIR", volume)
	// What was committed has to be on the volume.
	b := testserver.NewBank(t, "--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1")
	t.Setenv("TMPDIR", "/tmp")

	var taken *snapshot.Taken
	for range 3 {
		if taken != nil {
			if err := taken.Remove(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		taken = takeLocked(t, b.MariaDB, image)
	}
	b.Rest()
	at := Coordinates{File: taken.Lock["mysql_file"], GTID: taken.Lock["mysql_gtid"]}
	if _, err := fmt.Sscan(taken.Lock["mysql_position"], &at.Position); err != nil {
		t.Fatalf("%v: %v", taken.Lock, err)
	}

	data, err := filepath.Rel(volume, b.Data)
	if err != nil {
		t.Fatal(err)
	}
	restored := testserver.MariaDBOn(t, filepath.Join(testsys.MountShort(t, "ext4", testsys.Loop(t, taken.Copies[0].At)), data))
	testserver.CheckBank(t, restored)
	if diff := cmp.Diff(testserver.BankSums(t, b.Replay(t, at.File, at.Position)), testserver.BankSums(t, restored)); diff != "" {
		t.Errorf("at %+v: %s", at, diff)
	}
	t.Logf("at %+v, %s moves", at, restored.SQL(t, "SELECT COUNT(*) FROM bank.moves"))
	if err := taken.Remove(t.Context()); err != nil {
		t.Error(err)
	}
}

// takeLocked makes a copy of an image, on which a server's volume is, under the server's lock.
func takeLocked(t *testing.T, s *testserver.MariaDB, image string) *snapshot.Taken {
	t.Helper()
	provider, err := snapshot.New("reflink", snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	leases, err := snapshot.OpenLeases(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = leases.Close() })
	said, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	taker := snapshot.Taker{
		Kind: "reflink", Provider: provider, Leases: leases, FreezeDevices: true, Watchdog: snapshot.Watchdog{Args: []string{"watchdog"}, Longest: time.Minute, Stderr: said},
		Lock: fmt.Sprintf("'%s' lock '%s'", self, s.Socket), Holder: []string{"holder"}, Stderr: said,
	}
	taken, err := taker.Take(t.Context(), []string{image})
	text, rerr := os.ReadFile(said.Name())
	if err != nil || rerr != nil {
		t.Fatalf("%v, %v: %s", err, rerr, text)
	}
	t.Logf("the file system stood still for %v; %s", taken.Frozen, bytes.TrimSpace(text))
	return taken
}
