package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/kura-backup/kura/internal/testrand"
)

var (
	killTimes  = flag.Int("kill.times", 20, "how many backups TestKill ends with SIGKILL")
	killRounds = flag.Int("kill.rounds", 8, "how many backups each of the two processes of TestProcesses makes")
)

// box is a repository with its cache and a source tree, used through the real program.
type box struct {
	t    *testing.T
	dir  string
	env  []string
	tree string
}

func newBox(t *testing.T) *box {
	b := emptyBox(t)
	b.kura("init", "--key-file", filepath.Join(b.dir, "key"))
	return b
}

// emptyBox returns a box in which there is no repository yet.
func emptyBox(t *testing.T) *box {
	b := &box{t: t, dir: t.TempDir()}
	b.tree = filepath.Join(b.dir, "tree")
	b.env = append(os.Environ(),
		"KURA_REPOSITORY="+filepath.Join(b.dir, "repo"), "KURA_CACHE_DIR="+filepath.Join(b.dir, "cache"),
		"KURA_KEY_FILE="+filepath.Join(b.dir, "key"), "HOME="+b.dir, "TMPDIR="+b.dir)
	if err := os.Mkdir(b.tree, 0o755); err != nil {
		t.Fatal(err)
	}
	return b
}

// command is a kura process that has not begun. cache names its cache folder, empty for the common one.
func (b *box) command(args ...string) *exec.Cmd {
	cmd := exec.Command("kura", args...)
	cmd.Env = b.env
	return cmd
}

// kura runs kura, which must succeed, and returns what it prints on stdout.
func (b *box) kura(args ...string) string {
	b.t.Helper()
	cmd := b.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		b.t.Fatalf("kura %s: %v\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

// write changes some of the files in the tree: those whose number is drawn get new content.
func (b *box) write(rng *rand.Rand, files, change, maxSize int) {
	b.t.Helper()
	for range change {
		name := filepath.Join(b.tree, fmt.Sprintf("d%d", rng.IntN(8)), fmt.Sprintf("f%d", rng.IntN(files)))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.t.Fatal(err)
		}
		data := make([]byte, rng.IntN(maxSize))
		var key [32]byte
		for i := range key {
			key[i] = byte(rng.Uint32())
		}
		rand.NewChaCha8(key).Read(data)
		if err := os.WriteFile(name, data, 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
}

// list describes every entry below a folder: type, mode, size, time, and the hash of its content.
func list(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		line := fmt.Sprint(info.Mode(), " ", info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %x", len(data), blake3.Sum256(data))
		}
		out[rel] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wantRestored restores a snapshot and compares it with what list said of its source.
func (b *box) wantRestored(id string, want map[string]string) {
	b.t.Helper()
	target := filepath.Join(b.dir, "restored")
	b.kura("restore", id+":"+b.tree, "--target", target)
	got := list(b.t, target)
	delete(got, ".") // the target folder itself is the caller's
	for name, line := range want {
		if name != "." && got[name] != line {
			b.t.Errorf("snapshot %s: %s is %q, want %q", id, name, got[name], line)
		}
		delete(got, name)
	}
	for name := range got {
		b.t.Errorf("snapshot %s: %s was not in the source", id, name)
	}
	if err := os.RemoveAll(target); err != nil {
		b.t.Fatal(err)
	}
}

// backup makes a snapshot and returns its id.
func (b *box) backup() string {
	b.t.Helper()
	return snapshotID(b.t, b.kura("backup", "--json", b.tree))
}

// snapshotID returns the id of the snapshot that a command with --json has made.
func snapshotID(t *testing.T, out string) string {
	t.Helper()
	i := strings.LastIndex(out, `"snapshot_id":"`)
	if i < 0 {
		t.Fatalf("no snapshot id in %s", out)
	}
	id, _, _ := strings.Cut(out[i+len(`"snapshot_id":"`):], `"`)
	return id
}

// wantNoGarbage prunes twice and fails if objects are left that nothing in the log names.
func (b *box) wantNoGarbage() {
	b.t.Helper()
	b.kura("prune")
	b.kura("prune")
	out := b.kura("check", "--read-data", "--json")
	for _, part := range []string{`"num_errors":0`, `"garbage_objects":0`, `"unfinished_objects":0`} {
		if !strings.Contains(out, part) {
			b.t.Errorf("check after two prunes lacks %s: %s", part, out)
		}
	}
	tmp, err := filepath.Glob(filepath.Join(b.dir, "repo", "tmp", "*"))
	if err != nil || len(tmp) > 0 {
		b.t.Errorf("left behind: %q %v", tmp, err)
	}
}

// TestKill_BackupKilledAtRandomMoments_NothingIsLost kills backups with SIGKILL. Snapshots made before stay
// what they were, the next backup needs no help, and in the end there is no damage and no garbage.
func TestKill_BackupKilledAtRandomMoments_NothingIsLost(t *testing.T) {
	t.Parallel()
	rng := testrand.New(t)
	b := newBox(t)
	b.write(rng, 10, 60, 200_000)
	snapshots := map[string]map[string]string{}
	begin := time.Now()
	snapshots[b.backup()] = list(t, b.tree)
	within := max(time.Since(begin), 1)
	runs := 0
	for killed := 0; killed < *killTimes; runs++ {
		b.write(rng, 10, 20, 200_000)
		cmd := b.command("backup", "--pack-size", "4", b.tree)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rng.Int64N(int64(within))))
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		err := cmd.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Sys().(syscall.WaitStatus).Signaled() {
			within += within / 12
			if killed++; killed%10 == 0 {
				snapshots[b.backup()] = list(t, b.tree)
				b.kura("check")
			}
		} else {
			within = max(within-within/4, 1) // for three of four to be killed
		}
	}
	t.Logf("%d of %d backups were killed while they ran", *killTimes, runs)
	for id, want := range snapshots {
		b.wantRestored(id, want)
	}
	b.wantNoGarbage()
	for id, want := range snapshots {
		b.wantRestored(id, want)
	}
}

// TestProcesses_TwoBackupsAndAPrune_EverySnapshotRestores lets two processes back up different trees with
// much in common, while a third forgets and prunes again and again.
func TestProcesses_TwoBackupsAndAPrune_EverySnapshotRestores(t *testing.T) {
	t.Parallel()
	rng := testrand.New(t)
	b := newBox(t)
	type made struct {
		box  *box
		want map[string]string
	}
	var mu sync.Mutex
	snapshots := map[string]made{}
	var writers sync.WaitGroup
	stop := make(chan struct{})
	shared := rng.Uint64()
	for w := range 2 {
		own := *b
		own.tree = filepath.Join(b.dir, fmt.Sprintf("tree%d", w))
		own.env = append(slices.Clone(b.env), "KURA_CACHE_DIR="+filepath.Join(b.dir, fmt.Sprintf("cache%d", w)))
		if err := os.Mkdir(own.tree, 0o755); err != nil {
			t.Fatal(err)
		}
		draw := rand.New(rand.NewPCG(shared, 7)) // the same content in both trees, most of the time
		mine := rand.New(rand.NewPCG(shared, uint64(w)))
		writers.Go(func() {
			for range *killRounds {
				own.write(draw, 8, 20, 100_000)
				own.write(mine, 8, 3, 100_000)
				id := own.backup()
				want := list(t, own.tree)
				mu.Lock()
				snapshots[id] = made{&own, want}
				mu.Unlock()
			}
		})
	}
	prunes := 0
	var pruner sync.WaitGroup
	pruner.Go(func() {
		for {
			mu.Lock()
			ids := slices.Sorted(maps.Keys(snapshots))
			var victim string
			if len(ids) > 3 {
				victim = ids[rng.IntN(len(ids))]
				delete(snapshots, victim)
			}
			mu.Unlock()
			if victim != "" {
				b.kura("forget", victim)
			}
			b.kura("prune")
			prunes++
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	writers.Wait()
	close(stop)
	pruner.Wait()
	t.Logf("%d snapshots are left, %d prunes ran beside the backups", len(snapshots), prunes)
	for id, m := range snapshots {
		m.box.wantRestored(id, m.want)
	}
	b.wantNoGarbage()
}
