package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testsys"
)

// newSmallBox is newBox with the repository on a file system of its own, of so many bytes. It needs [testsys.AsMounter].
func newSmallBox(t *testing.T, size int) *box {
	t.Helper()
	b := &box{t: t, dir: t.TempDir()}
	b.tree = filepath.Join(b.dir, "tree")
	disk := filepath.Join(b.dir, "disk")
	for _, dir := range []string{b.tree, disk} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mount("kura-test", disk, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("mounting is not allowed here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	b.env = append(os.Environ(),
		"KURA_REPOSITORY="+filepath.Join(disk, "repo"), "KURA_CACHE_DIR="+filepath.Join(b.dir, "cache"),
		"KURA_KEY_FILE="+filepath.Join(b.dir, "key"), "HOME="+b.dir, "TMPDIR="+b.dir)
	b.kura("init", "--key-file", filepath.Join(b.dir, "key"))
	return b
}

func (b *box) disk() string { return filepath.Join(b.dir, "disk") }

// fails runs kura, which must end with the exit code, and returns what it prints on stderr.
func (b *box) fails(code int, args ...string) string {
	b.t.Helper()
	cmd := b.command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code {
		b.t.Fatalf("kura %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, &stderr)
	}
	return stderr.String()
}

// free is how many bytes the small disk has left.
func (b *box) free() int64 {
	b.t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(b.disk(), &st); err != nil {
		b.t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// fill lets somebody else take the rest of the disk but for left bytes.
func (b *box) fill(left int64) {
	b.t.Helper()
	f, err := os.OpenFile(filepath.Join(b.disk(), "other"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	if n := b.free() - left; n > 0 {
		if _, err := io.Copy(f, io.LimitReader(zeros{}, n)); err != nil {
			b.t.Fatal(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// replace gives the given files in the tree new content of size bytes each.
func (b *box) replace(rng *rand.Rand, size int, files ...int) {
	b.t.Helper()
	for _, i := range files {
		if err := os.WriteFile(filepath.Join(b.tree, fmt.Sprintf("f%d", i)), randomBytes(size, rng.Uint64()), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
}

var fullLeft = flag.Int64("full.left", 64<<10, "bytes that are left on the full disk when forget and prune begin")

const mib = 1 << 20

// TestFullDisk_BackupFailsAndForgetAndPruneMakeRoom fills a disk with backups until one fails, and lets others take
// what that left but for a little.
func TestFullDisk_BackupFailsAndForgetAndPruneMakeRoom(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared=%v", shared), func(t *testing.T) {
			rng := testrand.New(t)
			b := newSmallBox(t, 32*mib)
			reserve := filepath.Join(b.disk(), "reserve") // a backup may leave less than what forget and prune need
			if err := os.WriteFile(reserve, make([]byte, *fullLeft), 0o600); err != nil {
				t.Fatal(err)
			}
			b.replace(rng, mib, 0, 1, 2, 3, 4, 5)
			var ids []string
			contents := map[string]map[string]string{}
			for i := 0; ; i++ {
				if i > 10 {
					t.Fatal("the disk does not get full")
				}
				cmd := b.command("backup", "--json", b.tree)
				var stdout, stderr bytes.Buffer
				cmd.Stdout, cmd.Stderr = &stdout, &stderr
				if err := cmd.Run(); err != nil {
					if code := cmd.ProcessState.ExitCode(); code != exitError || !strings.Contains(stderr.String(), "no space left") {
						t.Fatalf("exit code %d: %s", code, &stderr)
					}
					break
				}
				_, id, _ := strings.Cut(stdout.String(), `"snapshot_id":"`)
				ids = append(ids, id[:8])
				contents[id[:8]] = list(t, b.tree)
				if shared {
					b.replace(rng, mib, 1, 3, 5) // every pack goes on being needed in part
				} else {
					b.replace(rng, mib, 0, 1, 2, 3, 4, 5)
				}
			}
			after := b.free()
			if err := os.Remove(reserve); err != nil {
				t.Fatal(err)
			}
			b.fill(*fullLeft)
			if n := strings.Count(b.kura("snapshots", "--json"), `"short_id"`); n != len(ids) || n < 3 {
				t.Fatalf("%d snapshots, want %d", n, len(ids))
			}
			for _, id := range ids {
				b.wantRestored(id, contents[id])
			}
			forgotten := ids[:len(ids)-1]
			b.kura(append([]string{"forget"}, forgotten...)...)
			b.kura("prune")
			t.Logf("%d snapshots fitted, %d bytes were left, %d after others came, %d after forget and prune", len(ids), after, *fullLeft, b.free())
			ids = append(ids[len(forgotten):], b.backup()[:8])
			contents[ids[1]] = list(t, b.tree)
			for _, id := range ids {
				b.wantRestored(id, contents[id])
			}
			b.wantNoGarbage()
		})
	}
}

// TestReadOnlyDisk_ReadingWorksAndWritingSaysWhy mounts the repository and the cache read-only.
func TestReadOnlyDisk_ReadingWorksAndWritingSaysWhy(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	rng := testrand.New(t)
	b := newSmallBox(t, 64*mib)
	cache := filepath.Join(b.disk(), "cache")
	b.replace(rng, mib, 0, 1, 2)
	first, want := b.backup(), list(t, b.tree)
	b.kura("snapshots", "--cache-dir", cache) // it knows the repository from now on
	if err := syscall.Mount("", b.disk(), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{filepath.Join(b.dir, "cache"), cache, filepath.Join(b.disk(), "new cache")} {
		b.env = append(b.env, "KURA_CACHE_DIR="+where)
		b.wantRestored(first, want)
		for _, args := range [][]string{{"ls", "latest"}, {"snapshots"}, {"check"}, {"check", "--read-data"}, {"key", "list"}} {
			b.kura(args...)
		}
		for _, args := range [][]string{{"backup", b.tree}, {"forget", first}} {
			if out := b.fails(exitError, args...); !strings.Contains(out, "read-only file system") || !strings.Contains(out, "hint:") {
				t.Errorf("kura %s does not say that the disk is read-only: %s", strings.Join(args, " "), out)
			}
		}
	}
	if err := syscall.Mount("", b.disk(), "", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	b.backup()
	b.wantRestored(first, want)
	b.wantNoGarbage()
}
