package repo_test

import (
	"context"
	"iter"
	"strings"
	"sync"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
)

// slowKeys is a far store of which the slots come when the log was listed, and something else has happened.
type slowKeys struct {
	distant
	listed    chan struct{}
	list, get sync.Once
	meanwhile func()
}

func (s *slowKeys) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	if strings.HasPrefix(name, object.KeysPrefix) {
		s.get.Do(func() {
			<-s.listed
			s.meanwhile()
		})
	}
	return s.distant.Get(ctx, name, offset, length, buf)
}

func (s *slowKeys) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		for info, err := range s.distant.List(ctx, prefix, after) {
			if !yield(info, err) {
				return
			}
		}
		if prefix == object.LogPrefix {
			s.list.Do(func() { close(s.listed) })
		}
	}
}

// TestOpen_OtherProcessCommitsAfterTheLogWasListed_IsNoRollback has two processes of one client, with one cache.
func TestOpen_OtherProcessCommitsAfterTheLogWasListed_IsNoRollback(t *testing.T) {
	inner, dir := mem.New(), t.TempDir()
	first, err := repo.Init(t.Context(), inner, repo.InitOptions{Credential: testrepo.Credential, CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	testrepo.CommitFile(t, first, testrepo.Random(1, 1000))
	store := &slowKeys{distant: distant{Store: inner}, listed: make(chan struct{})}
	store.meanwhile = func() { testrepo.CommitFile(t, first, testrepo.Random(2, 1000)) }
	r, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, want := r.State().N, first.State().N; got != want {
		t.Errorf("the log ends with entry %d, not %d", got, want)
	}
}
