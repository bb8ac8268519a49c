package transfer_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/transfer"
)

// farStore is a store that is not near, and counts what is read of data packs.
type farStore struct {
	backends.Store
	reads *atomic.Int64
}

func (s farStore) Caps() backends.Caps {
	caps := s.Store.Caps()
	caps.Local = false
	return caps
}

func (s farStore) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	if strings.HasPrefix(name, object.DataPrefix) {
		s.reads.Add(1)
	}
	return s.Store.Get(ctx, name, offset, length, buf)
}

// TestRun_DeltasToAFarStore_StayDeltasAndNothingIsReadThere copies one generation after the other, each with a new client
// of the destination that has nothing in its cache.
func TestRun_DeltasToAFarStore_StayDeltasAndNothingIsReadThere(t *testing.T) {
	for name, init := range kinds {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name == "same ids" {
				t.Skip("the other does more")
			}
			from, _ := testrepo.New(t)
			contents := testrepo.Generations(1, 300<<10, 11) // more than a chain has
			snaps := testrepo.CommitGenerations(t, from, contents)
			_, near := init(t, from)
			far := farStore{near, new(atomic.Int64)}
			var stored uint64
			for _, snap := range snaps {
				res, err := transfer.Run(t.Context(), from, testrepo.Open(t, far), transfer.Options{Snapshots: []*repo.Snapshot{snap}}, transfer.Events{})
				must(t, err)
				stored += res.Stored
			}
			if n := far.reads.Load(); n > 0 {
				t.Errorf("%d reads of data packs of the destination", n)
			}
			to := testrepo.Open(t, near)
			for i, c := range contents {
				if here, there := testrepo.Depths(t, from, c), testrepo.Depths(t, to, c); !slices.Equal(here, there) {
					t.Errorf("generation %d: depths %v, and of the copy %v", i, here, there)
				}
			}
			if stored > 450<<10 {
				t.Errorf("the copies take %d bytes", stored)
			}
			wantClean(t, to)
			for i, s := range snapshots(t, to) {
				if got, err := testrepo.ReadFile(t, to, s); err != nil || !bytes.Equal(got, contents[i]) {
					t.Errorf("generation %d: %d other bytes, %v", i, len(got), err)
				}
			}
		})
	}
}

// TestRun_DeltasWithoutTheirBases_ArePlainThere copies with deltas switched off, and what the destination has no base for.
func TestRun_DeltasWithoutTheirBases_ArePlainThere(t *testing.T) {
	forBoth(t, func(t *testing.T, from, to *repo.Repository) {
		contents := testrepo.Generations(1, 300<<10, 4)
		snaps := testrepo.CommitGenerations(t, from, contents)
		try := func(similar repo.Similar, i int, want int) {
			t.Helper()
			_, err := transfer.Run(t.Context(), from, to, transfer.Options{Snapshots: snaps[i : i+1], Similar: similar}, transfer.Events{})
			must(t, err)
			if got := testrepo.Depths(t, to, contents[i]); !slices.Equal(got, []int{want}) {
				t.Errorf("generation %d: depths %v, want %d", i, got, want)
			}
		}
		try(repo.SimilarAuto, 1, 0)
		try(repo.SimilarNever, 2, 0)
		try(repo.SimilarAuto, 3, 1)
		wantClean(t, to)
	})
}
