package retry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/limit"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/backends/retry"
	"github.com/kura-backup/kura/backends/storetest"
)

var errBroken = errors.New("the server is broken")

func failure(kind backends.Kind) error {
	return &backends.Error{Op: "op", Name: "x", Kind: kind, Err: errBroken}
}

func TestStore_KeepsTheContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) backends.Store { return retry.New(mem.New(), retry.Options{}) })
}

func TestStore_OneInThreeFails_KeepsTheContract(t *testing.T) {
	var stores []*fault.Store
	storetest.Run(t, func(*testing.T) backends.Store {
		flaky := fault.New(mem.New())
		stores = append(stores, flaky)
		flaky.Inject(
			fault.On(fault.Delete).Always().Rate(0.2, 1).After(failure(backends.Unclear)),
			fault.On(fault.List).Always().Rate(0.2, 2).Torn(3, failure(backends.Transient)),
			fault.On().Always().Rate(0.2, 3).Before(failure(backends.Transient)),
		)
		return retry.New(flaky, retry.Options{Pause: time.Microsecond, MaxPause: time.Microsecond})
	})
	fired := 0
	for _, s := range stores {
		fired += s.Fired()
	}
	if fired < len(stores) {
		t.Errorf("%d failures of %d stores: that shows nothing", fired, len(stores))
	}
}

// far is a store that is not local.
type far struct{ backends.Store }

func (far) Caps() backends.Caps { return backends.Caps{CreateOnly: true} }

func (f far) Unwrap() backends.Store { return f.Store }

// world is a Store in a bubble of time that fails as it is told to.
type world struct {
	store *fault.Store
	retry backends.Store

	mu     sync.Mutex
	pauses []time.Duration
	told   []string
}

func newWorld(t *testing.T, o retry.Options) *world {
	w := &world{store: fault.New(far{mem.New()})}
	o.Notify = func(op, name string, err error, pause time.Duration) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.pauses = append(w.pauses, pause)
		w.told = append(w.told, op+" "+name)
		if !errors.Is(err, errBroken) && !errors.Is(err, retry.ErrTimeout) {
			t.Errorf("told of %v", err)
		}
	}
	w.retry = retry.New(w.store, o)
	for _, name := range []string{"a/1", "a/2", "a/3", "a/4"} {
		if err := w.store.Put(t.Context(), name, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	w.store.Reset()
	return w
}

// ops are one call of each method, which succeeds when the store does.
var ops = map[fault.Op]func(ctx context.Context, s backends.Store) error{
	fault.Put: func(ctx context.Context, s backends.Store) error { return s.Put(ctx, "a/new", []byte("x")) },
	fault.Get: func(ctx context.Context, s backends.Store) error {
		got, err := s.Get(ctx, "a/1", 0, 3, nil)
		if err == nil && string(got) != "a/1" {
			return fmt.Errorf("got %q", got)
		}
		return err
	},
	fault.List: func(ctx context.Context, s backends.Store) error {
		names, err := list(ctx, s)
		if err == nil && !slices.Equal(names, []string{"a/1", "a/2", "a/3", "a/4"}) {
			return fmt.Errorf("listed %q", names)
		}
		return err
	},
	fault.Delete: func(ctx context.Context, s backends.Store) error { return s.Delete(ctx, "a/4") },
}

func list(ctx context.Context, s backends.Store) (names []string, err error) {
	for info, err := range s.List(ctx, "a/", "") {
		if err != nil {
			return names, err
		}
		names = append(names, info.Name)
	}
	return names, nil
}

func TestStore_FailsTwice_TriedAgainByTheKind(t *testing.T) {
	for op, do := range ops {
		for _, kind := range []backends.Kind{backends.Transient, backends.Unclear, backends.Permanent} {
			again := kind == backends.Transient || kind == backends.Unclear && op != fault.Put
			t.Run(fmt.Sprintf("%s %v", op, kind), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, retry.Options{})
					w.store.Inject(fault.On(op).Times(2).Before(failure(kind)))
					start := time.Now()
					err := do(t.Context(), w.retry)
					if !again {
						if !errors.Is(err, errBroken) || backends.KindOf(err) != kind || w.store.Count(op, "") != 1 || time.Since(start) != 0 {
							t.Errorf("%d tries in %v: %v", w.store.Count(op, ""), time.Since(start), err)
						}
						return
					}
					if err != nil || w.store.Count(op, "") != 3 {
						t.Errorf("%d tries: %v", w.store.Count(op, ""), err)
					}
					// 100 and 200 ms, half more or less.
					if d := time.Since(start); d < 150*time.Millisecond || d > 450*time.Millisecond {
						t.Errorf("it took %v", d)
					}
					if d := w.pauses[0] + w.pauses[1]; d != time.Since(start) {
						t.Errorf("told of pauses of %v", w.pauses)
					}
					if w.told[0] != fmt.Sprintf("%s %s", op, map[fault.Op]string{fault.Put: "a/new", fault.Get: "a/1", fault.List: "a/", fault.Delete: "a/4"}[op]) {
						t.Errorf("told of %q", w.told)
					}
				})
			})
		}
	}
}

func TestStore_NeverAnswers_GivenUpAfterItsTime(t *testing.T) {
	for op, do := range ops {
		for _, c := range []struct {
			name     string
			proven   bool
			answered bool
			o        retry.Options
			least    time.Duration // that it takes
			most     time.Duration
			maxTries int
		}{
			{"by default", true, false, retry.Options{}, 4*time.Minute + 37*time.Second, 5 * time.Minute, 40},
			{"never seen before", false, false, retry.Options{}, 37 * time.Second, time.Minute, 20},
			{"it says that it is busy", false, true, retry.Options{}, 4*time.Minute + 37*time.Second, 5 * time.Minute, 40},
			{"few tries", true, false, retry.Options{Tries: 4}, 350 * time.Millisecond, 1050 * time.Millisecond, 4},
			{"short time", true, false, retry.Options{Total: time.Second}, 150 * time.Millisecond, time.Second, 10},
			{"hardly any time", true, false, retry.Options{Total: 1}, 150 * time.Millisecond, 450 * time.Millisecond, 3},
		} {
			t.Run(fmt.Sprintf("%s %s", op, c.name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, c.o)
					if c.proven {
						if err := ops[fault.Get](t.Context(), w.retry); err != nil {
							t.Fatal(err)
						}
						w.store.Reset()
					}
					w.store.Inject(fault.On(op).Always().Before(&backends.Error{Op: "op", Name: "x", Kind: backends.Transient, Err: errBroken, Answered: c.answered}))
					start := time.Now()
					err := do(t.Context(), w.retry)
					if !errors.Is(err, errBroken) || !backends.IsTransient(err) {
						t.Errorf("err = %v", err)
					}
					if d := time.Since(start); d < c.least || d > c.most {
						t.Errorf("it took %v, want %v to %v", d, c.least, c.most)
					}
					if n := w.store.Count(op, ""); n > c.maxTries || n < 3 {
						t.Errorf("%d tries", n)
					}
					for i, p := range w.pauses {
						want := min(100*time.Millisecond<<i, 15*time.Second)
						if p < want/2 || p > want*3/2+1 {
							t.Errorf("pause %d is %v", i, p)
						}
					}
				})
			})
		}
	}
}

func TestStore_ServerRestarts_IsSurvived(t *testing.T) {
	for op, do := range ops {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, retry.Options{})
			if err := ops[fault.Get](t.Context(), w.retry); err != nil {
				t.Fatal(err)
			}
			up := time.Now().Add(4 * time.Minute)
			w.store.Inject(fault.On(op).Always().Hook(func(context.Context, fault.Call) error {
				if time.Now().Before(up) {
					return failure(backends.Transient)
				}
				return nil
			}))
			if err := do(t.Context(), w.retry); err != nil {
				t.Errorf("%s: %v", op, err)
			}
			if d := time.Since(up); d < 0 || d > 23*time.Second {
				t.Errorf("%s: done %v after the restart", op, d)
			}
		})
	}
}

func TestStore_Canceled_StopsAtOnce(t *testing.T) {
	enough := errors.New("enough")
	for op, do := range ops {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, retry.Options{})
			w.store.Inject(fault.On(op).Always().Before(failure(backends.Transient)))
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(10*time.Second, func() { cancel(enough) })
			start := time.Now()
			if err := do(ctx, w.retry); !errors.Is(err, enough) || !errors.Is(err, errBroken) {
				t.Errorf("%s while it waits: %v", op, err)
			}
			if d := time.Since(start); d != 10*time.Second {
				t.Errorf("%s: %v", op, d)
			}
			w.store.Clear()
			w.store.Inject(fault.On(op).Hook(hang))
			ctx, cancel = context.WithCancelCause(t.Context())
			time.AfterFunc(10*time.Second, func() { cancel(enough) })
			start = time.Now()
			if err := do(ctx, w.retry); !errors.Is(err, enough) || errors.Is(err, retry.ErrTimeout) {
				t.Errorf("%s on its way: %v", op, err)
			}
			if d := time.Since(start); d != 10*time.Second {
				t.Errorf("%s: %v", op, d)
			}
		})
	}
}

// hang waits until the request is ended.
func hang(ctx context.Context, _ fault.Call) error {
	<-ctx.Done()
	return &backends.Error{Op: "op", Kind: backends.Unclear, Err: context.Cause(ctx)}
}

func TestStore_RequestHangs_EndedByItsDeadline(t *testing.T) {
	large := make([]byte, 4<<20)
	for name, c := range map[string]struct {
		op   fault.Op
		do   func(context.Context, backends.Store) error
		want time.Duration
	}{
		"small put": {fault.Put, ops[fault.Put], time.Minute},
		"large put": {fault.Put, func(ctx context.Context, s backends.Store) error { return s.Put(ctx, "a/5", large) }, 188 * time.Second},
		"small get": {fault.Get, ops[fault.Get], time.Minute},
		"large get": {fault.Get, func(ctx context.Context, s backends.Store) error {
			_, err := s.Get(ctx, "a/5", 0, int64(len(large)), nil)
			return err
		}, 188 * time.Second},
		"list":   {fault.List, ops[fault.List], time.Minute},
		"delete": {fault.Delete, ops[fault.Delete], time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, retry.Options{Rate: 32 << 10})
				if name == "large get" {
					if err := w.store.Put(t.Context(), "a/5", large); err != nil {
						t.Fatal(err)
					}
				}
				w.store.Inject(fault.On(c.op).Hook(hang))
				start := time.Now()
				err := c.do(t.Context(), w.retry)
				d := time.Since(start).Truncate(time.Second)
				if d != c.want {
					t.Errorf("it took %v, want %v", d, c.want)
				}
				if c.op == fault.Put && (!errors.Is(err, retry.ErrTimeout) || !backends.IsUnclear(err) || errors.Is(err, context.Canceled)) || c.op != fault.Put && err != nil {
					t.Errorf("err = %v", err)
				}
			})
		})
	}
}

func TestStore_LocalOneHangs_IsLetBe(t *testing.T) {
	for op, do := range ops {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, retry.Options{})
			w.store.Inject(fault.On(op).Hook(func(ctx context.Context, _ fault.Call) error {
				time.Sleep(24 * time.Hour)
				return ctx.Err()
			}))
			local := fault.New(local{w.store})
			if err := do(t.Context(), retry.New(local, retry.Options{})); err != nil || local.Count(op, "") != 1 {
				t.Errorf("%s: %v", op, err)
			}
		})
	}
}

// local is a store that says that it is near.
type local struct{ backends.Store }

func (local) Caps() backends.Caps { return backends.Caps{Local: true} }

func TestStore_AlwaysHangs_GivenUpAfterThreeDeadlines(t *testing.T) {
	for op, do := range ops {
		if op == fault.Put {
			continue // which is not tried again
		}
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, retry.Options{Deadline: 2 * time.Minute})
			w.store.Inject(fault.On(op).Always().Hook(hang))
			start := time.Now()
			err := do(t.Context(), w.retry)
			if !errors.Is(err, retry.ErrTimeout) || !backends.IsTransient(err) {
				t.Errorf("%s: %v", op, err)
			}
			if d := time.Since(start).Truncate(time.Second); d != 6*time.Minute || w.store.Count(op, "") != 3 {
				t.Errorf("%s: %d tries in %v", op, w.store.Count(op, ""), d)
			}
		})
	}
}

// The answer came, even if its time was over.
func TestStore_DefiniteAnswerAfterTheDeadline_Counts(t *testing.T) {
	for _, answer := range []error{backends.ErrExist, backends.ErrNotExist, &backends.LockedError{}} {
		for op, do := range ops {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, retry.Options{})
				w.store.Inject(fault.On(op).Hook(func(context.Context, fault.Call) error {
					time.Sleep(time.Hour)
					return answer
				}))
				if err := do(t.Context(), w.retry); !errors.Is(err, answer) {
					t.Errorf("%s: %v, want %v", op, err, answer)
				}
			})
		}
	}
}

func TestStore_ThatTellsItsProgress_HasTimeAsLongAsBytesMove(t *testing.T) {
	for name, c := range map[string]struct {
		hook func(p backends.Progress, ctx context.Context)
		ok   bool
		want time.Duration
	}{
		"slow but steady": {func(p backends.Progress, _ context.Context) {
			p.Moved(0)
			for range 64 {
				time.Sleep(100 * time.Second)
				p.Moved(64 << 10)
			}
		}, true, 6400 * time.Second},
		"slower than any use": {func(p backends.Progress, ctx context.Context) {
			p.Moved(0)
			for ctx.Err() == nil {
				time.Sleep(7 * time.Second)
				p.Moved(7 * (64<<10/120 - 1))
			}
		}, false, 126 * time.Second},
		"stops": {func(p backends.Progress, ctx context.Context) {
			p.Moved(0)
			time.Sleep(100 * time.Second)
			p.Moved(1 << 20)
			<-ctx.Done()
		}, false, 220 * time.Second},
		"waits for its turn": {func(p backends.Progress, _ context.Context) {
			p.Waiting()
			time.Sleep(10 * time.Hour)
			p.Moved(0)
			time.Sleep(119 * time.Second)
		}, true, 10*time.Hour + 119*time.Second},
		"waits, then stops": {func(p backends.Progress, ctx context.Context) {
			p.Waiting()
			time.Sleep(10 * time.Hour)
			p.Moved(0)
			<-ctx.Done()
		}, false, 10*time.Hour + 120*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, retry.Options{})
				w.store.Inject(fault.On(fault.Put).Hook(func(ctx context.Context, _ fault.Call) error {
					p := backends.ProgressOf(ctx)
					c.hook(p, ctx)
					if ctx.Err() != nil {
						return hang(ctx, fault.Call{})
					}
					return nil
				}))
				start := time.Now()
				err := w.retry.Put(t.Context(), "a/new", make([]byte, 4<<20))
				if d := time.Since(start); d != c.want {
					t.Errorf("it took %v, want %v", d, c.want)
				}
				if c.ok != (err == nil) || !c.ok && (!errors.Is(err, retry.ErrTimeout) || !backends.IsUnclear(err)) {
					t.Errorf("err = %v", err)
				}
			})
		})
	}
}

func TestStore_AroundAnother_WaitsForItsPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, retry.Options{})
		if err := ops[fault.Get](t.Context(), w.retry); err != nil {
			t.Fatal(err)
		}
		up := time.Now().Add(4 * time.Minute)
		w.store.Inject(fault.On(fault.Put).Always().Hook(func(ctx context.Context, _ fault.Call) error {
			backends.ProgressOf(ctx).Moved(0)
			if time.Now().Before(up) {
				return failure(backends.Transient)
			}
			return nil
		}))
		outer := retry.New(w.retry, retry.Options{Deadline: time.Second, Idle: time.Second, Tries: 1})
		if err := outer.Put(t.Context(), "a/new", []byte("x")); err != nil {
			t.Error(err)
		}
	})
}

func TestList_FailsAfterEachName_GoesOnBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, retry.Options{Tries: 2})
		w.store.Inject(fault.On(fault.List).Times(4).Torn(1, failure(backends.Unclear)))
		if err := ops[fault.List](t.Context(), w.retry); err != nil {
			t.Error(err)
		}
		var after []string
		for _, c := range w.store.Calls() {
			after = append(after, c.After)
		}
		if !slices.Equal(after, []string{"", "a/1", "a/2", "a/3", "a/4"}) {
			t.Errorf("listed after %q", after)
		}
		// Without a name in between the tries run out.
		w.store.Inject(fault.On(fault.List).Times(2).Nth(2).Torn(0, failure(backends.Transient)), fault.On(fault.List).Torn(2, failure(backends.Transient)))
		names, err := list(t.Context(), w.retry)
		if !errors.Is(err, errBroken) || !slices.Equal(names, []string{"a/1", "a/2"}) {
			t.Errorf("%q, %v", names, err)
		}
	})
}

func TestList_CallerTakesItsTime_IsNotATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, retry.Options{})
		for _, err := range w.retry.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		if n := w.store.Count(fault.List, ""); n != 1 {
			t.Errorf("%d lists", n)
		}
	})
}

// repeating lists the name that it is asked to list after, too.
type repeating struct{ backends.Store }

func (r repeating) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		if after != "" && !yield(backends.Info{Name: after}, nil) {
			return
		}
		for info, err := range r.Store.List(ctx, prefix, after) {
			if !yield(info, err) {
				return
			}
		}
	}
}

func TestList_StoreRepeatsAName_IsYieldedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, retry.Options{})
		w.store.Inject(fault.On(fault.List).Times(3).Torn(1, failure(backends.Transient)))
		if err := ops[fault.List](t.Context(), retry.New(repeating{w.store}, retry.Options{})); err != nil {
			t.Error(err)
		}
	})
}

func TestDelete_DoneButUnclear_IsSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, retry.Options{})
		w.store.Inject(fault.On(fault.Delete).After(failure(backends.Unclear)))
		if err := w.retry.Delete(t.Context(), "a/1"); err != nil {
			t.Error(err)
		}
		w.store.Inject(fault.On(fault.Delete).Before(failure(backends.Transient)))
		if err := w.retry.Delete(t.Context(), "a/1"); !errors.Is(err, backends.ErrNotExist) {
			t.Errorf("a name that was not there before: %v", err)
		}
	})
}

func TestStore_BeneathALimit_SlowUploadMeetsNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, retry.Options{})
		slow := limit.New(w.retry, limit.Rates{Upload: 10 << 10, Download: 10 << 10})
		data := bytes.Repeat([]byte("x"), 8<<20)
		start := time.Now()
		if err := slow.Put(t.Context(), "a/new", data); err != nil {
			t.Fatal(err)
		}
		if got, err := slow.Get(t.Context(), "a/new", 0, int64(len(data)), nil); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if d := time.Since(start); d < 25*time.Minute {
			t.Errorf("the limit was not in force: %v", d)
		}
		if len(w.told) > 0 {
			t.Errorf("tried again: %q", w.told)
		}
	})
}

func TestStore_Abilities_AreThoseOfTheStoreBeneath(t *testing.T) {
	s := retry.New(plain{mem.New()}, retry.Options{})
	if _, ok := backends.As[backends.BatchDeleter](s); ok {
		t.Error("batches, where there are none")
	}
	l, ok := backends.As[backends.Locker](s)
	if !ok || l.LockDays() != 0 {
		t.Error("locks, where there are none")
	}
	if extended, err := l.ExtendLock(t.Context(), "a"); extended || err != nil {
		t.Errorf("%v, %v", extended, err)
	}
	if _, ok := backends.As[*mem.Store](retry.New(mem.New(), retry.Options{})); !ok {
		t.Error("the store beneath is not found")
	}
	if c := s.Caps(); c != mem.New().Caps() {
		t.Errorf("%+v", c)
	}
}

// plain has the methods of a Store and no others.
type plain struct{ backends.Store }

// locking locks for a week, and its second attempt finds that the first has done it.
type locking struct {
	plain
	tries *int
}

func (l locking) LockDays() int { return 7 }

func (l locking) ExtendLock(context.Context, string) (bool, error) {
	*l.tries++
	if *l.tries == 1 {
		return false, failure(backends.Unclear)
	}
	return false, nil
}

func TestExtendLock_Unclear_IsTriedAgainAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		l, _ := backends.As[backends.Locker](retry.New(locking{plain{mem.New()}, &tries}, retry.Options{}))
		if l.LockDays() != 7 {
			t.Errorf("%d days", l.LockDays())
		}
		if extended, err := l.ExtendLock(t.Context(), "a/1"); !extended || err != nil || tries != 2 {
			t.Errorf("%v, %v after %d tries", extended, err, tries)
		}
	})
}
