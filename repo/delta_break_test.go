package repo_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
)

// brokenStore fails to read data packs.
type brokenStore struct {
	backends.Store
	err error
}

func (s *brokenStore) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	if s.err != nil && strings.HasPrefix(name, object.DataPrefix) {
		return nil, s.err
	}
	return s.Store.Get(ctx, name, offset, length, buf)
}

var errStore = errors.New("the store does not answer")

// TestSaveLike_BaseCanNotBeRead_StoredPlainUnlessTheStoreFails: what is the matter with one object costs only the delta.
func TestSaveLike_BaseCanNotBeRead_StoredPlainUnlessTheStoreFails(t *testing.T) {
	data := testrepo.Random(1, 1<<20)
	for name, err := range map[string]error{
		"missing":    backends.ErrNotExist,
		"cut off":    backends.ErrRange,
		"unreadable": &fs.PathError{Op: "open", Path: "pack", Err: fs.ErrPermission},
	} {
		t.Run(name, func(t *testing.T) {
			store := &brokenStore{Store: mem.New()}
			r := testrepo.Init(t, store)
			_, like := commitLike(t, r, repo.SessionOptions{}, data, nil)
			store.err = err
			snap, like := commitLike(t, r, repo.SessionOptions{}, generation(data, 1), like)
			store.err = nil
			if p := placeOf(t, r, like); p.Coding == pack.Delta {
				t.Error("it is a delta against what could not be read")
			}
			readsBack(t, r, snap, generation(data, 1))
		})
	}
	t.Run("no answer", func(t *testing.T) {
		store := &brokenStore{Store: mem.New()}
		r := testrepo.Init(t, store)
		_, like := commitLike(t, r, repo.SessionOptions{}, data, nil)
		store.err = errStore
		s, err := r.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Abort()
		result := make(chan error, 1)
		s.SaveLike(generation(data, 1), like, 0, func(_ repo.Saved, err error) { result <- err })
		if err := <-result; !errors.Is(err, errStore) {
			t.Errorf("the session goes on: %v", err)
		}
	})
}

// TestSave_OneLargeSmallBlob_IsKeptAsABase: a blob that is alone in its segment can be a base, however it got there.
func TestSave_OneLargeSmallBlob_IsKeptAsABase(t *testing.T) {
	cache := t.TempDir()
	store := farStore{mem.New()}
	testrepo.Init(t, store)
	r, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data := bytes.Repeat(testrepo.Random(1, 4<<10), 20)
	_, like := commitLike(t, r, repo.SessionOptions{}, data, nil)
	files, err := filepath.Glob(filepath.Join(cache, "*", "bases", "*"))
	if err != nil || len(files) != 1 || !strings.HasPrefix(filepath.Base(files[0]), like[0].ID.String()[:8]) {
		t.Fatalf("the cache has %q, %v; want %v", files, err, like[0].ID)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestLoadBases_MoreThanADeltaMayHave_Refused: what somebody lists must not make others hold 16 blobs of 16 MiB for each step of
// a chain.
func TestLoadBases_MoreThanADeltaMayHave_Refused(t *testing.T) {
	r, _ := testrepo.New(t)
	const size = pack.MaxJoined / 4
	var ids []object.BlobID
	for i := range 5 {
		_, b := commitLike(t, r, repo.SessionOptions{Similar: repo.SimilarNever}, bytes.Repeat([]byte{byte(i), 7}, size/2), nil)
		ids = append(ids, b[0].ID)
	}
	ix, err := r.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	joined, err := r.LoadBases(t.Context(), ix, &repo.Segment{Coding: pack.Delta, Depth: 1, Bases: local.JoinBases(ids[:4])})
	if err != nil || len(joined) != pack.MaxJoined {
		t.Errorf("%d bytes, %v", len(joined), err)
	}
	_, err = r.LoadBases(t.Context(), ix, &repo.Segment{Coding: pack.Delta, Depth: 1, Bases: local.JoinBases(ids)})
	if damage := (*repo.DamageError)(nil); !errors.As(err, &damage) || damage.Blob != ids[4] {
		t.Errorf("five bases of %d bytes: %v", size, err)
	}
}

func TestSaveLike_SizesAtTheLimits_AreDeltasFromTheLeastOn(t *testing.T) {
	r, _ := testrepo.New(t)
	for size, want := range map[int]bool{
		delta.MinSize - 1: false, delta.MinSize: true, pack.SmallBlob - 1: true, pack.SmallBlob: true, 8 << 20: true, object.MaxBlobSize: true,
	} {
		if testing.Short() && size > 1<<20 {
			continue // what is larger is more of the same
		}
		data := testrepo.Random(uint64(size), size)
		_, like := commitLike(t, r, repo.SessionOptions{}, data, before{})
		changed := generation(data, 1)
		snap, like := commitLike(t, r, repo.SessionOptions{}, changed, like)
		if p := placeOf(t, r, like); (p.Coding == pack.Delta) != want {
			t.Errorf("%d bytes are stored as %v", size, p.Coding)
		}
		readsBack(t, r, snap, changed)
	}
}
