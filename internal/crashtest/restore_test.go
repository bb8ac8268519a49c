package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/treecmp"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
)

// childEnv tells a process of this test that it is a restore, and when it kills itself.
const childEnv = "KURA_CRASH_RESTORE"

// restoreOrder is a restore that a child makes.
type restoreOrder struct {
	Repo, Target, Path string
	Fetch, Item        int64 // the numbers of the fetch, or of the finished entry, at which it dies; 0: never
	Counts             string
}

// suicidal is a store whose reader dies when it has asked for data so many times.
type suicidal struct {
	backends.Store
	n   *atomic.Int64
	die int64
}

func (s *suicidal) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	if strings.HasPrefix(name, "data/") && s.n.Add(1) == s.die {
		killSelf()
	}
	return s.Store.Get(ctx, name, offset, length, buf)
}

func killSelf() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // it is under way
}

// restoreChild is the main function of the child.
func restoreChild(order string) error {
	var o restoreOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	dir, err := local.Open(o.Repo)
	if err != nil {
		return err
	}
	var fetches, items atomic.Int64
	r, err := repo.Open(context.Background(), &suicidal{dir, &fetches, o.Fetch}, repo.OpenOptions{Credential: testrepo.Credential})
	if err != nil {
		return err
	}
	err = restoreLatest(context.Background(), r, o.Target, o.Path, restore.Events{Item: func(restore.Item) {
		if items.Add(1) == o.Item {
			killSelf()
		}
	}})
	if err == nil && o.Counts != "" {
		err = os.WriteFile(o.Counts, fmt.Appendf(nil, "%d %d", fetches.Load(), items.Load()), 0o600)
	}
	return errors.Join(err, r.Close(), dir.Close())
}

// restoreLatest restores the newest snapshot and wants no trouble.
func restoreLatest(ctx context.Context, r *repo.Repository, target, path string, ev restore.Events) error {
	snap, _, err := r.FindSnapshot(ctx, "latest", repo.SnapshotFilter{})
	if err != nil {
		return err
	}
	ev.Error = func(path string, e error) { err = errors.Join(err, fmt.Errorf("%s: %w", path, e)) }
	_, rerr := restore.Run(ctx, r, snap, restore.Options{Target: target, Path: path}, ev)
	return errors.Join(rerr, err)
}

// killed is a restore by a child that is killed; it reports whether that was before its end.
func killed(t *testing.T, o restoreOrder, after time.Duration) bool {
	t.Helper()
	order, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	// A child that is killed leaves its throw-away cache.
	cmd.Env = append(os.Environ(), childEnv+"="+string(order), "TMPDIR="+t.TempDir())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if after > 0 {
		time.Sleep(after)
		_ = cmd.Process.Kill() // it may have ended
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Sys().(syscall.WaitStatus).Signaled() {
		return true
	}
	if err != nil {
		t.Fatalf("restore: %v\n%s", err, &stderr)
	}
	return false
}

// TestRestore_KilledAtEveryFetchAndEntry_TheNextOneCompletesIt kills restores with SIGKILL: when they ask for their
// k-th piece of data, when they have finished their k-th entry, and at random moments. The next restore into
// the same target has to make it what the source is.
func TestRestore_KilledAtEveryFetchAndEntry_TheNextOneCompletesIt(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 3))
	w := newWorld(t, rng)
	disk := filepath.Join(w.dir, "repo")
	store, err := local.Create(disk)
	w.must(err)
	defer store.Close()
	p := w.process(store)
	w.must(p.init())
	w.write(30, 3000)
	w.write(6, 800_000)
	w.must(os.Symlink("f1", filepath.Join(w.source, "link")))
	w.must(os.Link(filepath.Join(w.source, "link"), filepath.Join(w.source, "link2")))
	w.must(os.Mkdir(filepath.Join(w.source, "closed"), 0o500))
	for range 3 { // so that there is more than one fetch
		_, err := p.backup(backup.Options{})
		w.must(err)
		w.write(10, 300_000)
	}
	_, err = p.backup(backup.Options{})
	w.must(err)

	counts := filepath.Join(w.dir, "counts")
	begin := time.Now()
	order := restoreOrder{Repo: disk, Target: filepath.Join(w.dir, "target"), Path: w.source}
	clean := order
	clean.Counts = counts
	if killed(t, clean, 0) {
		t.Fatal("the clean run was killed")
	}
	typical := time.Since(begin)
	var fetches, items int64
	raw, err := os.ReadFile(counts)
	w.must(err)
	if _, err := fmt.Sscan(string(raw), &fetches, &items); err != nil || fetches < 3 || items < 20 {
		t.Fatalf("%d fetches, %d entries: %v", fetches, items, err)
	}
	w.wantRestored(order.Target)

	var orders []restoreOrder
	for _, k := range sample(rng, fetches) {
		o := order
		o.Fetch = k
		orders = append(orders, o)
	}
	for _, k := range sample(rng, items) {
		o := order
		o.Item = k
		orders = append(orders, o)
	}
	for range sample(rng, 20) {
		orders = append(orders, order)
	}
	deaths, outlived := 0, 0
	for i, o := range orders {
		o.Target = filepath.Join(w.dir, fmt.Sprint("target", i))
		var after time.Duration
		if o.Fetch == 0 && o.Item == 0 {
			after = time.Duration(1 + rng.Int64N(int64(typical)))
		}
		if killed(t, o, after) {
			deaths++
		} else {
			outlived++
		}
		w.must(p.with(func(r *repo.Repository) error {
			return restoreLatest(p.ctx, r, o.Target, o.Path, restore.Events{})
		}))
		w.wantRestored(o.Target)
		w.must(os.RemoveAll(o.Target))
	}
	t.Logf("restore: %d fetches, %d entries, %d deaths, %d outlived", fetches, items, deaths, outlived)
	if deaths == 0 {
		t.Error("nothing died")
	}
}

// sample returns some of the numbers 1 to n, or all.
func sample(rng *rand.Rand, n int64) (chosen []int64) {
	const few = 5
	for _, i := range rng.Perm(int(n)) {
		chosen = append(chosen, int64(i)+1)
	}
	if *crashLong {
		return chosen
	}
	return chosen[:min(few, len(chosen))]
}

// wantRestored compares a target with the source.
func (w *world) wantRestored(target string) {
	w.t.Helper()
	diffs, err := treecmp.Compare(w.source, target, treecmp.Options{})
	w.must(err)
	for _, d := range diffs {
		w.t.Errorf("%s: %v", target, d)
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
}
