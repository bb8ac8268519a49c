package gc

import (
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
)

// TestRun_MoreRivalsThanARunLooksInto_LaterRunsGoOn has two clients that stored the same twenty blobs at the same time,
// and runs that look into three at most.
func TestRun_MoreRivalsThanARunLooksInto_LaterRunsGoOn(t *testing.T) {
	r, store := testrepo.New(t)
	var chunks [][]byte
	for i := range 20 {
		chunks = append(chunks, testrepo.Random(uint64(i), 300<<10))
	}
	var sessions []*repo.Session
	for range 2 {
		s, err := r.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	for _, s := range sessions {
		if _, err := s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, s, chunks...)}); err != nil {
			t.Fatal(err)
		}
	}
	copies := func() (n int) {
		fresh := testrepo.Open(t, store)
		ix, err := fresh.Index(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range chunks {
			n += len(ix.Places(r.BlobID(object.DataBlob, c), nil))
		}
		return n
	}
	collect := func(most int) {
		c := newCollector(r, Options{MaxUnused: -1, CommitEvery: sliceBytes}, new(Events))
		c.maxRivals = most
		if err := c.run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := copies(); n != 40 {
		t.Fatalf("%d copies", n)
	}
	collect(3)
	if n := copies(); n < 37 {
		t.Errorf("%d copies are left by a run that looks into 3 blobs", n)
	}
	for range 3 {
		collect(maxRivals)
	}
	if n := copies(); n != 20 {
		t.Errorf("%d copies are left", n)
	}
	fresh := testrepo.Open(t, store)
	snaps, err := fresh.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range snaps {
		if _, err := testrepo.ReadFile(t, fresh, s); err != nil {
			t.Error(err)
		}
	}
}
