package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testsys"
)

// deviceBox is a box on whose machine there is an image with a file system that is mounted and written to, on a file system with reflinks.
type deviceBox struct {
	*box
	outer          string // where the image lies
	image, mounted string
	writes         atomic.Int64
}

// newImageBox returns one whose image is not mounted yet.
func newImageBox(t *testing.T, kind, inside string, outer, size int64) *deviceBox {
	t.Helper()
	b := &deviceBox{box: newBox(t)}
	b.env = append(b.env, "XDG_STATE_HOME="+filepath.Join(b.dir, "state"))
	b.outer = testsys.Mount(t, kind, outer)
	b.image = filepath.Join(b.outer, "disk.img")
	if err := errors.Join(os.WriteFile(b.image, nil, 0o600), os.Truncate(b.image, size)); err != nil {
		t.Fatal(err)
	}
	testsys.Format(t, inside, b.image)
	return b
}

func newDeviceBox(t *testing.T, kind, inside string) *deviceBox {
	t.Helper()
	b := newImageBox(t, kind, inside, 600<<20, 64<<20)
	b.mounted = testsys.MountDevice(t, inside, testsys.Loop(t, b.image))
	if err := os.WriteFile(filepath.Join(b.mounted, "large"), randomBytes(8<<20, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// keepWriting writes to the mounted file system until the test ends: files that hold the number of the write before them.
func (b *deviceBox) keepWriting() {
	var stop atomic.Bool
	var done sync.WaitGroup
	done.Go(func() {
		for !stop.Load() {
			n := b.writes.Load()
			name := filepath.Join(b.mounted, "sequence")
			if err := os.WriteFile(name, bytes.Repeat([]byte{byte(n)}, 4096), 0o600); err != nil {
				b.t.Error(err)
				return
			}
			b.writes.Add(1)
			time.Sleep(time.Millisecond) // others want to run, too
		}
	})
	b.t.Cleanup(func() {
		stop.Store(true)
		done.Wait()
	})
	b.goesOn()
}

func (b *deviceBox) goesOn() {
	b.t.Helper()
	from := b.writes.Load()
	waitUntil(b.t, "another write: it is frozen", func() bool { return b.writes.Load() >= from+2 })
}

var bytesRead = regexp.MustCompile(`read ([0-9.]+) (MiB|KiB) of .*`)

func TestDevice_ImageInUse_SnapshotsAreCleanAndOnlyChangesAreRead(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	for _, c := range []struct{ kind, provider string }{{"xfs", "reflink"}, {"btrfs", "btrfs"}} {
		t.Run(c.provider, func(t *testing.T) {
			b := newDeviceBox(t, c.kind, "ext4")
			if out := b.kura("device", "backup", b.image); !strings.Contains(out, "snapshot") {
				t.Errorf("%s", out)
			}
			b.keepWriting()
			for i := range 3 {
				out := b.kura("device", "backup", b.image, "--snapshot", c.provider, "--changes", "--freeze", "--max-hold", "1h", "--tag", "kept")
				t.Logf("%s", bytesRead.FindString(out))
				if !strings.Contains(out, "frozen for") || i > 0 && !strings.Contains(out, "the rest is as before") {
					t.Errorf("%s", out)
				}
				b.goesOn()
			}
			// A file system that was frozen needs no recovery: what is restored is clean as it is.
			copied := filepath.Join(b.dir, "copy.img")
			b.kura("device", "restore", "latest", "--tag", "kept", "--to", copied)
			if out, err := exec.Command("e2fsck", "-fn", copied).CombinedOutput(); err != nil {
				t.Errorf("e2fsck: %v\n%s", err, out)
			}
			if got := b.kura("device", "cleanup", "--kept"); !strings.Contains(got, "removed the "+c.provider+" snapshot") {
				t.Errorf("%s", got)
			}
			all, err := os.ReadDir(b.outer)
			if err != nil || len(all) != 1 {
				t.Errorf("left: %v, %v", all, err)
			}
		})
	}
}

func TestDevice_LoopDevice_ComesBackInPlace(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	b := &deviceBox{box: newBox(t)}
	b.image = filepath.Join(b.dir, "disk.img")
	data := randomBytes(20<<20, 1)
	if err := os.WriteFile(b.image, data, 0o600); err != nil {
		t.Fatal(err)
	}
	loop := testsys.Loop(t, b.image)
	b.kura("device", "backup", loop)
	f, err := os.OpenFile(loop, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt(make([]byte, 12345), 5<<20)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	out := b.kura("device", "restore", "latest", "--to", loop)
	t.Logf("%s", out)
	if got, err := os.ReadFile(b.image); err != nil || !bytes.Equal(got, data) {
		t.Errorf("other bytes: %v", err)
	}
	if !strings.Contains(out, "wrote 16.000 KiB, found 19.984 MiB there already") || !strings.Contains(out, "the hash of all of it") {
		t.Errorf("%s", out)
	}

	// What can not be read makes no snapshot.
	if err := os.Truncate(b.image, 7<<20); err != nil {
		t.Fatal(err)
	}
	if said := b.fails(exitError, "device", "backup", loop); !strings.Contains(said, "can not be read at byte 7340032: input/output error") {
		t.Errorf("%s", said)
	}
	if out := b.kura("snapshots"); !strings.Contains(out, "1 snapshot\n") {
		t.Errorf("%s", out)
	}
}

func TestDevice_KilledInTheMiddle_NothingIsLeftBehindForLong(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	b := newDeviceBox(t, "xfs", "ext4")
	b.keepWriting()
	begun := filepath.Join(b.dir, "begun")
	slow := "test $KURA_SNAPSHOT != create || { echo > " + begun + "; sleep 60; }"
	for name, end := range map[string]func(*os.Process) error{
		"killed":      (*os.Process).Kill,
		"interrupted": func(p *os.Process) error { return p.Signal(syscall.SIGINT) },
		"terminated":  func(p *os.Process) error { return p.Signal(unix.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(begun)
			cmd := b.command("device", "backup", b.image, "--freeze", "--max-hold", "1h", "--snapshot", "command", "--snapshot-command", slow)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			await(t, begun)
			if err := end(cmd.Process); err != nil {
				t.Fatal(err)
			}
			b.goesOn()
			err := cmd.Wait()
			if name != "killed" && cmd.ProcessState.ExitCode() != exitInterrupted {
				t.Errorf("%v", err)
			}
			out := b.kura("device", "backup", b.image, "--snapshot", "reflink")
			if cleaned := strings.Contains(out, "removed the command snapshot"); cleaned != (name == "killed") {
				t.Errorf("%s", out)
			}
			left, err := os.ReadDir(filepath.Join(b.dir, "state", "kura", "snapshots"))
			if err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

func TestDevice_RepositoryOnWhatIsFrozen_IsRefused(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	b := newDeviceBox(t, "xfs", "ext4")
	b.env = append(b.env, "KURA_REPOSITORY="+filepath.Join(b.mounted, "repo"))
	b.kura("init", "--key-file", filepath.Join(b.dir, "key"))
	said := b.fails(exitError, "device", "backup", b.image, "--snapshot", "reflink", "--freeze")
	if !strings.Contains(said, "must not be frozen") || !strings.Contains(said, "repo") {
		t.Errorf("%s", said)
	}
	if err := os.WriteFile(filepath.Join(b.mounted, "x"), nil, 0o600); err != nil {
		t.Error(err)
	}
}
