package durable

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestDirSyncs_ConcurrentCalls_ShareTheNextRoundOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rounds atomic.Int32
		failure := errors.New("second round")
		s := newDirSyncs(func(string) error {
			n := rounds.Add(1)
			time.Sleep(time.Second)
			if n == 2 {
				return failure
			}
			return nil
		})
		var wg sync.WaitGroup
		results := make([]error, 11)
		wg.Go(func() { results[0] = s.Sync("a") })
		synctest.Wait() // the first round has begun, and covers no later call
		for i := 1; i < len(results); i++ {
			wg.Go(func() { results[i] = s.Sync("a") })
		}
		wg.Wait()
		if n := rounds.Load(); n != 2 {
			t.Errorf("%d rounds for 1 + 10 calls, want 2", n)
		}
		if results[0] != nil {
			t.Errorf("the first call got a later round's result: %v", results[0])
		}
		for i, err := range results[1:] {
			if !errors.Is(err, failure) {
				t.Errorf("call %d: %v, want its round's failure", i+1, err)
			}
		}
		if err := s.Sync("a"); err != nil || rounds.Load() != 3 {
			t.Errorf("a later call: %v after %d rounds", err, rounds.Load())
		}
		if len(s.running)+len(s.waiting) != 0 {
			t.Error("rounds are left behind")
		}
	})
}

func TestDirSyncs_DifferentFolders_DoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		both := make(chan struct{})
		s := newDirSyncs(func(dir string) error {
			if dir == "a" {
				<-both
			} else {
				close(both)
			}
			return nil
		})
		var wg sync.WaitGroup
		wg.Go(func() { s.Sync("a") })
		wg.Go(func() { s.Sync("b") })
		wg.Wait() // a deadlock, which synctest reports, if they did
	})
}

// Every call must be covered by a sync that begins after it.
func TestDirSyncs_Race_EveryCallIsCovered(t *testing.T) {
	var linked, synced atomic.Int64
	s := newDirSyncs(func(string) error {
		synced.Store(linked.Load())
		return nil
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				mine := linked.Add(1)
				if err := s.Sync("a"); err != nil {
					t.Error(err)
				}
				if got := synced.Load(); got < mine {
					t.Errorf("link %d returned with only %d synced", mine, got)
				}
			}
		})
	}
	wg.Wait()
}
