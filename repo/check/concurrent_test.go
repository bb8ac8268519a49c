package check_test

import (
	"context"
	"testing"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/gc"
)

// TestRun_CollectedAndCheckpointedAtAnyMoment_IsNoDamage lets another client forget a snapshot, collect, and
// write a checkpoint at each request of a check in turn: what it makes go is not lost.
func TestRun_CollectedAndCheckpointedAtAnyMoment_IsNoDamage(t *testing.T) {
	r, store := testrepo.New(t)
	shared := testrepo.Random(1, 300<<10)
	first := testrepo.CommitFile(t, r, testrepo.Random(2, 400<<10), shared)
	testrepo.CommitFile(t, r, shared)
	testrepo.CommitFile(t, r, testrepo.Random(3, 400<<10), shared)
	for _, readData := range []bool{false, true} {
		for n := 1; ; n++ {
			inner := store.Clone()
			other, err := repo.Open(t.Context(), inner, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: testsys.MemoryDir(t)})
			if err != nil {
				t.Fatal(err)
			}
			watched := fault.New(inner)
			client, err := repo.Open(t.Context(), watched, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: testsys.MemoryDir(t)})
			if err != nil {
				t.Fatal(err)
			}
			watched.Inject(fault.On(fault.Get, fault.List).Nth(n).Hook(func(ctx context.Context, _ fault.Call) error {
				if _, err := other.Forget(ctx, []object.SessionID{first.ID}); err != nil {
					return err
				}
				if _, err := gc.Run(ctx, other, gc.Options{MaxUnused: -1}, gc.Events{}); err != nil {
					return err
				}
				return other.Log().WriteCheckpoint(ctx)
			}))
			rep, err := check.Run(t.Context(), client, check.Options{Read: check.Choice{All: readData}}, check.Events{})
			if err != nil {
				t.Fatalf("request %d: %v", n, err)
			}
			for _, p := range rep.Problems {
				t.Errorf("request %d: %v", n, p)
			}
			fired := watched.Fired() > 0
			if err := client.Close(); err != nil {
				t.Error(err)
			}
			if err := other.Close(); err != nil {
				t.Error(err)
			}
			if !fired {
				t.Logf("%d requests", n-1)
				break
			}
		}
	}
}
