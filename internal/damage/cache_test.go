package damage

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
)

// TestCache_AnyDamage_CostsOnlyTime damages the files that a client keeps itself: the local index, and what it
// remembers of the log. The commands that follow do what they would have done without a cache.
func TestCache_AnyDamage_CostsOnlyTime(t *testing.T) {
	s := theSeed(t)
	t.Logf("-damage.seed=%d -damage.cases=%d", s, *cases)
	w := newWorld(t, s)
	files := w.cacheFiles(t)
	tried := map[string]int{}
	for n := range max(*cases/5, len(files)) {
		rng := rand.New(rand.NewPCG(s, uint64(n)+1))
		file := files[n%len(files)]
		k := kinds[rng.IntN(len(kinds))]
		data, err := os.ReadFile(filepath.Join(w.cache, file))
		if err != nil {
			t.Fatal(err)
		}
		damaged := damageFile(rng, &k, data)
		if !k.missing && (damaged == nil || bytes.Equal(damaged, data)) {
			continue
		}
		cache, err := os.MkdirTemp(w.dir, "cache-")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(cache, os.DirFS(w.cache)); err != nil {
			t.Fatal(err)
		}
		if k.missing {
			err = os.Remove(filepath.Join(cache, file))
		} else {
			err = os.WriteFile(filepath.Join(cache, file), damaged, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		read := w.read
		if rng.IntN(2) == 0 {
			read = w.restore
		}
		if err := w.readTwice(t.Context(), cache, read); err != nil {
			t.Fatalf("case %d: %s: %s: %v", n, file, k.name, err)
		}
		tried[kindOfFile(file)]++
		if err := os.RemoveAll(cache); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("cases: %v", tried)
}

// damageFile is nil for a kind that needs the repository.
func damageFile(rng *rand.Rand, k *kind, data []byte) []byte {
	if k.change == nil {
		return nil
	}
	return k.change(rng, bytes.Clone(data))
}

func (w *world) cacheFiles(t testing.TB) (files []string) {
	err := filepath.WalkDir(w.cache, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() == 0 {
			return err
		}
		rel, err := filepath.Rel(w.cache, path)
		files = append(files, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(kindOfFile(a), kindOfFile(b)) })
	return files
}

func kindOfFile(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), "-")
	return name
}

// readTwice reads all with the cache and checks; the second time with what the first has left.
func (w *world) readTwice(ctx context.Context, cache string, read func(context.Context, *repo.Repository) *reading) error {
	for range 2 {
		store := w.store.Clone()
		r, err := w.open(ctx, store, testrepo.Credential, cache)
		if err != nil {
			return err
		}
		got := read(ctx, r)
		rep, err := check.Run(ctx, r, check.Options{Read: check.Choice{All: true}}, check.Events{})
		cerr := r.Close()
		switch {
		case got.wrong != nil:
			return got.wrong
		case got.refused != nil:
			return got.refused
		case err != nil:
			return fmt.Errorf("check: %w", err)
		case rep.Damaged() > 0:
			return fmt.Errorf("check finds damage: %v", rep.Problems)
		case cerr != nil:
			return cerr
		}
	}
	return nil
}
