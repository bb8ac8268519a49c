package gc_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo/gc"
)

const lockDays = 30

// lockStore locks what is put, as a bucket with Object Lock.
type lockStore struct {
	backends.Store
	clock clock.Clock
	fail  func(name string) error

	mu    sync.Mutex
	until map[string]time.Time
	asked []string
}

func (s *lockStore) Put(ctx context.Context, name string, data []byte) error {
	err := s.Store.Put(ctx, name, data)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.until[name] = s.clock.Now().AddDate(0, 0, lockDays)
	}
	return err
}

func (s *lockStore) Delete(ctx context.Context, name string) error {
	s.mu.Lock()
	until := s.until[name]
	s.mu.Unlock()
	if s.clock.Now().Before(until) {
		return &backends.LockedError{Name: name, Until: until}
	}
	return s.Store.Delete(ctx, name)
}

func (s *lockStore) LockDays() int { return lockDays }

func (s *lockStore) ExtendLock(_ context.Context, name string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, name)
	if s.fail != nil {
		if err := s.fail(name); err != nil {
			return false, err
		}
	}
	if s.until[name].Sub(s.clock.Now()) > lockDays*24*time.Hour/2 {
		return false, nil
	}
	s.until[name] = s.clock.Now().AddDate(0, 0, lockDays)
	return true, nil
}

// TestRun_ObjectLock_NothingThatIsNeededComesFree lets a repository be pruned every day for a year. Whatever it needs
// is locked all the time, for at least almost half of the days; garbage goes when its lock has ended; and most days cost
// few requests.
func TestRun_ObjectLock_NothingThatIsNeededComesFree(t *testing.T) {
	notShort(t)
	now := clock.NewFake(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	store := &lockStore{Store: mem.NewWithClock(now), clock: now, until: map[string]time.Time{}}
	r := testrepo.Init(t, store)
	kept := testrepo.CommitFile(t, r, testrepo.Random(1, 1<<20))
	forget(t, r, testrepo.CommitFile(t, r, testrepo.Random(2, 1<<20)))
	locked, freed, extended := 0, 0, 0
	for day := range 200 {
		now.Advance(24 * time.Hour)
		if day%10 == 0 {
			forget(t, r, testrepo.CommitFile(t, r, testrepo.Random(uint64(10+day), 1<<20)))
		}
		res := run(t, r, gc.Options{})
		locked += res.Locked.Objects
		freed += res.ObjectsDeleted
		extended += res.LocksExtended
		if res.Locked.Objects > 0 && !res.Locked.Until.After(now.Now()) {
			t.Fatalf("day %d: locked until %v", day, res.Locked.Until)
		}
		st := r.State()
		store.mu.Lock()
		for name, until := range store.until {
			ref, err := object.ParseRef(name)
			_, valid := st.Index[ref]
			needed := err == nil && (valid || st.Live(ref)) ||
				err != nil && !strings.HasPrefix(name, object.SessionsPrefix) && !strings.HasPrefix(name, object.CheckpointsPrefix)
			if left := until.Sub(now.Now()); needed && left < (lockDays/2-2)*24*time.Hour {
				t.Fatalf("day %d: %s is locked for %v more", day, name, left)
			}
		}
		store.mu.Unlock()
	}
	t.Logf("%d locks extended, garbage met locked %d times, %d objects deleted", extended, locked, freed)
	if locked == 0 || freed == 0 || extended == 0 {
		t.Error("that shows nothing")
	}
	wantFile(t, testrepo.Open(t, store), kept, testrepo.Random(1, 1<<20))
}

func TestRun_ObjectLock_YoungObjectsCostNoRequests(t *testing.T) {
	now := clock.NewFake(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	store := &lockStore{Store: mem.NewWithClock(now), clock: now, until: map[string]time.Time{}}
	r := testrepo.Init(t, store)
	testrepo.CommitFile(t, r, testrepo.Random(1, 1<<20))
	now.Advance(10 * 24 * time.Hour)
	if res := run(t, r, gc.Options{}); len(store.asked) > 0 || res.LocksExtended > 0 {
		t.Errorf("asked for %q", store.asked)
	}
	now.Advance(10 * 24 * time.Hour)
	res := run(t, r, gc.Options{})
	if res.LocksExtended == 0 || !slices.Contains(store.asked, object.ConfigName) || !slices.Contains(store.asked, object.LogName(1)) {
		t.Errorf("%d extended of %q", res.LocksExtended, store.asked)
	}
}

func TestRun_LocksCanNotBeExtended_SaysSo(t *testing.T) {
	now := clock.NewFake(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	store := &lockStore{Store: mem.NewWithClock(now), clock: now, until: map[string]time.Time{}}
	r := testrepo.Init(t, store)
	testrepo.CommitFile(t, r, testrepo.Random(1, 1<<20))
	now.Advance(20 * 24 * time.Hour)
	for _, err := range []error{backends.ErrDenied, errors.New("out of order")} {
		store.fail = func(name string) error {
			if name == object.ConfigName {
				return err
			}
			return nil
		}
		if _, got := gc.Run(t.Context(), r, gc.Options{}, gc.Events{}); !errors.Is(got, err) {
			t.Errorf("err = %v, want %v", got, err)
		}
	}
	store.fail = nil
	run(t, r, gc.Options{})
}

// TestRun_ObjectLock_GroupsThatAreReplacedWait has groups of parity that are locked when other ones take their place.
func TestRun_ObjectLock_GroupsThatAreReplacedWait(t *testing.T) {
	now := clock.NewFake(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	store := &lockStore{Store: mem.NewWithClock(now), clock: now, until: map[string]time.Time{}}
	r := testrepo.Init(t, store)
	kept := commitGrouped(t, r, testrepo.Random(1, 1<<20))
	forget(t, r, commitGrouped(t, r, testrepo.Random(2, 1<<20)))
	for range 2 {
		res := run(t, r, gc.Options{})
		if groups := testrepo.Names(t, store, object.ParityPrefix); res.Locked.Objects < len(groups) || len(groups) < 2 || res.Locked.Until.IsZero() {
			t.Errorf("%+v, %d groups", res.Locked, len(groups))
		}
		clean(t, testrepo.Open(t, store))
	}
	now.Advance((lockDays + 1) * 24 * time.Hour)
	if res := run(t, r, gc.Options{}); res.Locked.Bytes > 1<<10 || res.GroupsDeleted == 0 { // this store locks signs of life, too
		t.Errorf("%+v", res)
	}
	sizes(t, r)
	wantFile(t, testrepo.Open(t, store), kept, testrepo.Random(1, 1<<20))
}

// undeletable is a lockStore whose credentials may not delete.
type undeletable struct{ *lockStore }

func (s undeletable) Delete(_ context.Context, name string) error {
	return &backends.Error{Op: "delete", Name: name, Err: backends.ErrDenied}
}

func TestRun_CredentialsMayNotDelete_LocksAreExtendedAllTheSame(t *testing.T) {
	now := clock.NewFake(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	store := undeletable{&lockStore{Store: mem.NewWithClock(now), clock: now, until: map[string]time.Time{}}}
	r := testrepo.Init(t, store)
	testrepo.CommitFile(t, r, testrepo.Random(1, 1<<20))
	forget(t, r, testrepo.CommitFile(t, r, testrepo.Random(2, 1<<20)))
	now.Advance(20 * 24 * time.Hour)
	res, err := gc.Run(t.Context(), r, gc.Options{}, gc.Events{})
	if denied := (*gc.DeniedError)(nil); !errors.As(err, &denied) {
		t.Fatalf("err = %v", err)
	}
	if res.LocksExtended == 0 || !store.until[object.ConfigName].After(now.Now().AddDate(0, 0, lockDays/2)) {
		t.Errorf("%d extended; the config is locked until %v, and it is %v", res.LocksExtended, store.until[object.ConfigName], now.Now())
	}
}
