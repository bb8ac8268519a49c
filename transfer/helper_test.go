package transfer_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/internal/treecmp"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/transfer"
	"github.com/kura-backup/kura/tree"
)

func TestMain(m *testing.M) { testsys.VerifyMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// packing has the smallest packs, so that there are several.
var packing = repo.Packing{Size: repo.MinPackSize}

// kinds are the two ways in which source and destination can be related.
var kinds = map[string]func(testing.TB, *repo.Repository) (*repo.Repository, *mem.Store){
	"same ids":  testrepo.InitFrom,
	"other ids": func(t testing.TB, _ *repo.Repository) (*repo.Repository, *mem.Store) { return testrepo.New(t) },
}

// forBoth runs a test with a destination of either kind.
func forBoth(t *testing.T, test func(t *testing.T, from, to *repo.Repository)) {
	for name, init := range kinds {
		t.Run(name, func(t *testing.T) {
			from, _ := testrepo.New(t)
			to, _ := init(t, from)
			test(t, from, to)
		})
	}
}

// forLarge is forBoth for what takes long with the race detector, which sees the one that has more to do.
func forLarge(t *testing.T, test func(t *testing.T, from, to *repo.Repository)) {
	if !testing.Short() {
		forBoth(t, test)
		return
	}
	from, _ := testrepo.New(t)
	to, _ := testrepo.New(t)
	test(t, from, to)
}

func backUp(t testing.TB, r *repo.Repository, path string, tags ...string) *repo.Snapshot {
	t.Helper()
	res, err := backup.Run(t.Context(), r, backup.Options{Paths: []string{path}, Host: "h", Tags: tags, Packing: packing}, backup.Events{
		Error: func(path string, err error) { t.Errorf("backing up %.200q: %v", path, err) },
	})
	must(t, err)
	return res.Snapshot
}

func snapshots(t testing.TB, r *repo.Repository) []*repo.Snapshot {
	t.Helper()
	must(t, r.Refresh(t.Context()))
	list, err := r.Snapshots(t.Context())
	must(t, err)
	return list
}

// copyAll copies all snapshots, and wants no trouble.
func copyAll(t testing.TB, from, to *repo.Repository) *transfer.Result {
	t.Helper()
	res, err := transfer.Run(t.Context(), from, to, transfer.Options{Snapshots: snapshots(t, from), Packing: packing}, transfer.Events{})
	must(t, err)
	if res.Damaged+res.Forgotten > 0 {
		t.Fatalf("damaged or forgotten: %+v", res)
	}
	return res
}

// wantClean wants a check that reads everything to find nothing.
func wantClean(t testing.TB, r *repo.Repository) {
	t.Helper()
	rep, err := check.Run(t.Context(), r, check.Options{Read: check.Choice{All: true}}, check.Events{})
	must(t, err)
	for _, p := range rep.Problems {
		t.Errorf("check: %v", p)
	}
}

// wantRestores restores a snapshot and compares it with a folder.
func wantRestores(t testing.TB, r *repo.Repository, s *repo.Snapshot, path, want, target string) {
	t.Helper()
	restoreTo(t, r, s, path, target)
	treecmp.MustEqual(t, want, target, treecmp.Options{})
}

// change gives some files below a folder new content, and removes some.
func change(t testing.TB, rng *rand.Rand, dir string) {
	t.Helper()
	for range 1 + rng.IntN(12) {
		path := filepath.Join(dir, strconv.Itoa(rng.IntN(3)), strconv.Itoa(rng.IntN(8)))
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		size := rng.IntN(5000)
		if rng.IntN(4) == 0 {
			size = rng.IntN(3 << 20)
		}
		must(t, os.WriteFile(path, testrepo.Random(rng.Uint64(), size), 0o644))
	}
}

// clone makes a copy of a folder of files.
func clone(t testing.TB, dir, to string) {
	t.Helper()
	must(t, os.CopyFS(to, os.DirFS(dir)))
}

// restoreTo restores a snapshot's folder.
func restoreTo(t testing.TB, r *repo.Repository, s *repo.Snapshot, path, target string) *restore.Result {
	t.Helper()
	res, err := restore.Run(t.Context(), r, s, restore.Options{Target: target, Path: path}, restore.Events{
		Error: func(path string, err error) { t.Errorf("restoring %.200q: %v", path, err) },
	})
	must(t, err)
	return res
}

func savePage(save func([]byte) (object.BlobID, error)) tree.SaveFunc {
	return func(_ context.Context, page []byte) (object.BlobID, error) { return save(page) }
}

// openAs opens a repository as another client whose key has a role.
func openAs(t testing.TB, r *repo.Repository, role seal.Role) *repo.Repository {
	t.Helper()
	credential := seal.KeyFile([32]byte{9, byte(role)})
	_, err := r.AddSlot(t.Context(), repo.NewSlot{Role: role, Credential: credential, Cost: seal.DefaultCost})
	must(t, err)
	other, err := repo.Open(t.Context(), r.Store(), repo.OpenOptions{Credential: credential, CacheDir: testsys.MemoryDir(t)})
	must(t, err)
	t.Cleanup(func() { must(t, other.Close()) })
	return other
}
