package gc_test

import (
	"errors"
	"flag"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/gc"
)

var (
	seedFlag   = flag.Uint64("gc.seed", 0, "seed of the concurrency test; 0 draws one")
	roundsFlag = flag.Int("gc.rounds", 12, "snapshots that each writer of the concurrency test makes")
)

// TestRun_BesideWritersAndAnotherCollector_LosesNothing lets writers share a small pool of chunks, so that
// they rely on each other's packs all the time, while two collectors forget and prune without a pause
// and take every session for dead. Every snapshot that was not forgotten must read back.
func TestRun_BesideWritersAndAnotherCollector_LosesNothing(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = testrand.Seed(t)
	}
	t.Logf("seed %d (repeat with -gc.seed)", seed)
	rounds := *roundsFlag
	if testing.Short() {
		rounds = min(rounds, 6)
	}
	_, store := testrepo.New(t)
	pool := make([][]byte, 40)
	for i := range pool {
		size := 100 << (i % 13) // 100 bytes to 400 KiB
		pool[i] = testrepo.Random(uint64(i+1), size)
	}
	pool = append(pool, testrepo.Generations(1, grown, 12)...)
	pool = append(pool, testrepo.Generations(100, grown, 12)...)

	type made struct {
		snap   *repo.Snapshot
		chunks []int
	}
	var mu sync.Mutex
	var kept []made
	stale, forgotten, pruned, revoked := 0, 0, 0, 0

	// A collector has to look at everything again each time a writer commits first, so writers that
	// commit without a pause would starve it. They let it catch up now and then.
	turn := sync.NewCond(&mu)
	waitForCollectors := func() {
		mu.Lock()
		defer mu.Unlock()
		for (len(kept) > 8+2*forgotten || len(kept)+forgotten > 9+3*pruned) && !t.Failed() {
			turn.Wait()
		}
	}

	var writers, collectors sync.WaitGroup
	stop := make(chan struct{})
	for w := range 3 {
		r := testrepo.Open(t, store)
		rng := rand.New(rand.NewPCG(seed, uint64(w)))
		writers.Go(func() {
			for range rounds {
				waitForCollectors()
				var chunks []int
				for range 1 + rng.IntN(12) {
					chunks = append(chunks, rng.IntN(len(pool)))
				}
				for {
					snap, err := tryCommit(t, r, pool, chunks)
					if errors.Is(err, repo.ErrStale) {
						mu.Lock()
						stale++
						mu.Unlock()
						continue
					}
					if err != nil {
						t.Errorf("commit: %v", err)
						return
					}
					mu.Lock()
					kept = append(kept, made{snap, chunks})
					mu.Unlock()
					break
				}
			}
		})
	}
	for c := range 2 {
		r := testrepo.Open(t, store)
		rng := rand.New(rand.NewPCG(seed, uint64(100+c)))
		collectors.Go(func() {
			defer turn.Broadcast()
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.Lock()
				var victim *repo.Snapshot
				if len(kept) > 4 {
					i := rng.IntN(len(kept))
					victim = kept[i].snap
					kept = slices.Delete(kept, i, i+1)
				}
				mu.Unlock()
				if victim != nil {
					if _, err := r.Forget(t.Context(), []object.SessionID{victim.ID}); err != nil {
						t.Errorf("forget: %v", err)
					}
					mu.Lock()
					forgotten++
					turn.Broadcast()
					mu.Unlock()
				}
				idle := time.Hour
				if rng.IntN(4) == 0 {
					idle = time.Nanosecond // everybody is dead
				}
				res, err := gc.Run(t.Context(), r, gc.Options{Idle: idle, MaxUnused: -1}, gc.Events{})
				if errors.Is(err, gc.ErrRevoked) {
					continue
				}
				if err != nil {
					t.Errorf("collect: %v", err)
					return
				}
				mu.Lock()
				pruned++
				revoked += len(res.Revoked)
				turn.Broadcast()
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	close(stop)
	collectors.Wait()
	t.Logf("%d snapshots kept, %d forgotten, %d collections, %d sessions revoked, %d commits had to be repeated", len(kept), forgotten, pruned, revoked, stale)
	if pruned == 0 || forgotten == 0 {
		t.Error("nothing was collected: the test showed nothing")
	}

	fresh := testrepo.Open(t, store)
	for _, m := range kept {
		want := make([][]byte, len(m.chunks))
		for i, c := range m.chunks {
			want[i] = pool[c]
		}
		wantFile(t, fresh, m.snap, want...)
	}
	rep, err := check.Run(t.Context(), fresh, check.Options{Read: check.Choice{All: true}}, check.Events{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range rep.Problems {
		t.Errorf("check: %v", p)
	}
	for range 2 {
		if _, err := gc.Run(t.Context(), fresh, gc.Options{Idle: time.Nanosecond}, gc.Events{}); err != nil {
			t.Fatal(err)
		}
	}
	noGarbage(t, fresh, store)
}

// grown is the size of what is stored as deltas of others.
const grown = 67 << 10

func tryCommit(t testing.TB, r *repo.Repository, pool [][]byte, chunks []int) (*repo.Snapshot, error) {
	if err := r.Refresh(t.Context()); err != nil {
		return nil, err
	}
	s, err := r.NewSession(t.Context(), repo.SessionOptions{Workers: 1})
	if err != nil {
		return nil, err
	}
	data, earlier := make([][]byte, len(chunks)), make([][]byte, len(chunks))
	for i, c := range chunks {
		data[i] = pool[c]
		if c > 0 && len(pool[c]) == grown { // the generation before, mostly
			earlier[i] = pool[c-1]
		}
	}
	m, err := testrepo.TryManifestLike(r, s, data, earlier)
	if err != nil {
		s.Abort()
		return nil, err
	}
	return s.Commit(repo.CommitOptions{Manifest: m})
}
