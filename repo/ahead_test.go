package repo_test

import (
	"bytes"
	"context"
	"iter"
	"os"
	"os/exec"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
)

// roundTrip is what each request to a far store takes.
const roundTrip = 50 * time.Millisecond

// far is a store as far away as a round trip says. In a bubble of synctest nothing else takes time, so that
// the time that passes is the number of requests that waited for one another.
type far struct{ backends.Store }

func (f *far) Caps() backends.Caps {
	c := f.Store.Caps()
	c.Local = false
	return c
}

func (f *far) Put(ctx context.Context, name string, data []byte) error {
	time.Sleep(roundTrip)
	return f.Store.Put(ctx, name, data)
}

func (f *far) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	time.Sleep(roundTrip)
	return f.Store.Get(ctx, name, offset, length, buf)
}

func (f *far) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	time.Sleep(roundTrip)
	return f.Store.List(ctx, prefix, after)
}

func (f *far) Delete(ctx context.Context, name string) error {
	time.Sleep(roundTrip)
	return f.Store.Delete(ctx, name)
}

// TestFarStore_OpenReadAndCommit_TakeFewRoundTrips runs in a process of its own: encoders and decoders that are made
// in the bubble are kept for reuse, and their channels can not be used outside of it.
func TestFarStore_OpenReadAndCommit_TakeFewRoundTrips(t *testing.T) {
	const own = "KURA_TEST_OWN_PROCESS"
	if os.Getenv(own) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), own+"=1")
		out, err := cmd.CombinedOutput()
		if t.Logf("%s", out); err != nil || !bytes.Contains(out, []byte("opening: ")) {
			t.Fatal(err)
		}
		return
	}
	inner := mem.New()
	first := testrepo.Init(t, inner)
	for i := range uint64(5) {
		testrepo.CommitFile(t, first, testrepo.Random(i, 100_000))
	}
	synctest.Test(t, func(t *testing.T) {
		store := &far{inner}
		began := time.Now()
		within := func(what string, most int) {
			t.Helper()
			n := int(time.Since(began) / roundTrip)
			t.Logf("%s: %d round trips", what, n)
			if n > most {
				t.Errorf("%s took %d round trips, not %d", what, n, most)
			}
			began = time.Now()
		}
		r := testrepo.Open(t, store)
		within("opening", 2)
		if _, err := r.Snapshots(t.Context()); err != nil {
			t.Fatal(err)
		}
		within("listing the snapshots", 0)
		s, err := r.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		within("beginning a session with an empty cache", 1)
		m := testrepo.Manifest(t, s, testrepo.Random(1, 100_000))
		if _, err := s.Commit(repo.CommitOptions{Manifest: m}); err != nil {
			t.Fatal(err)
		}
		within("committing what is there", 2)
		if s, err = r.NewSession(t.Context(), repo.SessionOptions{}); err != nil {
			t.Fatal(err)
		}
		within("beginning another session", 1)
		m = testrepo.Manifest(t, s, testrepo.Random(100, 10_000))
		if _, err := s.Commit(repo.CommitOptions{Manifest: m}); err != nil {
			t.Fatal(err)
		}
		within("committing something new", 5) // sign of life, packs, index segment, entry, checkpoint
	})
}
