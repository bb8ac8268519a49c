package repo

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

// heldViews is how many views are open.
func (r *Repository) heldViews() int {
	r.views.mu.Lock()
	defer r.views.mu.Unlock()
	return len(r.views.open)
}

// TestIndex_OfManyCommits_KeepsOnlyFilesInUse commits many times through one Repository, as long runs do.
func TestIndex_OfManyCommits_KeepsOnlyFilesInUse(t *testing.T) {
	const commits = 20
	r := initMem(t)
	var first *Index
	var id object.BlobID
	for n := range commits {
		s, err := r.NewSession(t.Context(), SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		saved, err := s.SaveNow(object.TreeBlob, []byte{0xA1, 0x01, 0x80, byte(n)})
		if err != nil {
			t.Fatal(err)
		}
		m := Manifest{Root: saved.ID[:]}
		if _, err := s.Commit(CommitOptions{Manifest: &m}); err != nil {
			t.Fatal(err)
		}
		ix, err := r.Index(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first, id = ix, saved.ID
		}
	}
	for end := time.Now().Add(time.Minute); r.heldViews() > 2 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		runtime.GC() // after which cleanups run beside us
	}
	if n := r.heldViews(); n > 2 {
		t.Errorf("%d views are open", n)
	}
	if _, ok := first.Has(id); !ok { // it is still held
		t.Error("an Index that is in use does not find its blob")
	}
	runtime.KeepAlive(first)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if n := r.heldViews(); n != 0 {
		t.Errorf("%d views are open after Close", n)
	}
}

func initMem(t *testing.T) *Repository {
	t.Helper()
	r, err := Init(context.WithoutCancel(t.Context()), mem.New(), InitOptions{
		Credential: seal.KeyFile([32]byte{1}), CacheDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
