package repo_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
)

// distant is a store whose requests are worth sparing. It counts those that read tree packs.
type distant struct {
	backends.Store
	trees atomic.Int64
}

func (d *distant) Caps() backends.Caps { return backends.Caps{CreateOnly: true} }

func (d *distant) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	if strings.HasPrefix(name, object.TreePrefix) {
		d.trees.Add(1)
	}
	return d.Store.Get(ctx, name, offset, length, buf)
}

// cachedPacks are the files of tree packs in a folder of caches.
func cachedPacks(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "trees", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestTreeCache_FarStore_IsReadOnce commits with one client and reads with others that share its cache, or do not.
func TestTreeCache_FarStore_IsReadOnce(t *testing.T) {
	store := &distant{Store: mem.New()}
	dir := t.TempDir()
	content := testrepo.Random(1, 100_000)
	first, err := repo.Init(t.Context(), store, repo.InitOptions{Credential: testrepo.Credential, CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	testrepo.CommitFile(t, first, content)
	read := func(cache string, distrust bool) (requests int64) {
		t.Helper()
		before := store.trees.Load()
		r, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: cache})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if distrust {
			r.DistrustCache()
		}
		snaps, err := r.Snapshots(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := testrepo.ReadFile(t, r, snaps[0])
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("other bytes came back, %v", err)
		}
		return store.trees.Load() - before
	}
	if n := read(dir, false); n != 0 {
		t.Errorf("what this cache's client wrote took %d requests", n)
	}
	if n := read(dir, true); n == 0 {
		t.Error("a client that distrusts its cache has not asked the store")
	}
	other := t.TempDir()
	if n := read(other, false); n != 1 {
		t.Errorf("an empty cache took %d requests for one pack", n)
	}
	if n := read(other, false); n != 0 {
		t.Errorf("a filled cache took %d requests", n)
	}
	files := cachedPacks(t, other)
	if len(files) != 1 {
		t.Fatalf("cached: %q", files)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range [][]byte{nil, whole[:100], bytes.Repeat([]byte{7}, len(whole))} {
		if err := os.WriteFile(files[0], damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if n := read(other, false); n == 0 {
			t.Errorf("a damaged file of %d bytes was enough", len(damaged))
		}
		if n := read(other, false); n != 0 {
			t.Errorf("a damaged file was not replaced: %d requests", n)
		}
	}
}

func TestTreeCache_NearStore_KeepsNothing(t *testing.T) {
	dir := t.TempDir()
	r, err := repo.Init(t.Context(), mem.New(), repo.InitOptions{Credential: testrepo.Credential, CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	testrepo.CommitFile(t, r, testrepo.Random(1, 100_000))
	if files := cachedPacks(t, dir); len(files) > 0 {
		t.Errorf("cached: %q", files)
	}
}

// TestTreeCache_CanNotBeWritten_WholePacksAreNotFetchedAgainAndAgain has a file in place of the folder.
func TestTreeCache_CanNotBeWritten_WholePacksAreNotFetchedAgainAndAgain(t *testing.T) {
	store := &distant{Store: mem.New()}
	first := testrepo.Init(t, store)
	var snaps []*repo.Snapshot
	for i := range uint64(3) {
		snaps = append(snaps, testrepo.CommitFile(t, first, testrepo.Random(i, 1000)))
	}
	dir := t.TempDir()
	r, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	folders, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(folders) != 1 {
		t.Fatalf("%q, %v", folders, err)
	}
	if err := os.WriteFile(filepath.Join(folders[0], "trees"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := store.trees.Load()
	for i, snap := range snaps {
		got, err := testrepo.ReadFile(t, r, snap)
		if err != nil || !bytes.Equal(got, testrepo.Random(uint64(i), 1000)) {
			t.Fatalf("other bytes came back, %v", err)
		}
	}
	if n := store.trees.Load() - before; n != 4 { // the first page in vain, and then each
		t.Errorf("%d requests for 3 pages", n)
	}
}
