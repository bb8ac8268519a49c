package retry_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/retry"
)

// batches deletes many at a time; each name for itself can fail as the Store's rules say.
type batches struct {
	*fault.Store
	rounds int
	hook   func(ctx context.Context, round int) (most int) // how many of a round are done
}

func (b *batches) DeleteMany(ctx context.Context, names []string, done func(string, error)) error {
	b.rounds++
	if b.hook != nil {
		names = names[:min(len(names), b.hook(ctx, b.rounds))]
	}
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		done(name, b.Delete(ctx, name))
	}
	return context.Cause(ctx)
}

// deleteMany deletes a/1 to a/4 and a/none through a Store with batches, and returns what became of each.
func deleteMany(t *testing.T, ctx context.Context, b *batches, o retry.Options) (map[string]error, error) {
	t.Helper()
	got := map[string]error{}
	err := backends.DeleteMany(ctx, retry.New(b, o), []string{"a/1", "a/2", "a/none", "a/3", "a/4"}, 1, func(name string, err error) {
		if _, twice := got[name]; twice {
			t.Errorf("%s is done twice", name)
		}
		got[name] = err
	})
	return got, err
}

// checkGone checks that all are done with, and none is left.
func checkGone(t *testing.T, w *world, got map[string]error) {
	t.Helper()
	for name, err := range got {
		if name == "a/none" != errors.Is(err, backends.ErrNotExist) || name != "a/none" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if names, err := list(t.Context(), w.store); len(got) != 5 || len(names) != 0 || err != nil {
		t.Errorf("%d of 5 are done, %q left, %v", len(got), names, err)
	}
}

func TestDeleteMany_SomeFail_OnlyTheyAreTriedAgain(t *testing.T) {
	for _, kind := range []backends.Kind{backends.Transient, backends.Unclear} {
		for name, rule := range map[string]fault.Rule{
			"not done": fault.On(fault.Delete).Nth(2).Times(3).Before(failure(kind)),
			"done":     fault.On(fault.Delete).Nth(4).Times(2).After(failure(backends.Unclear)),
		} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, retry.Options{})
				w.store.Inject(rule)
				b := &batches{Store: w.store}
				got, err := deleteMany(t, t.Context(), b, retry.Options{})
				if err != nil {
					t.Fatal(err)
				}
				if name == "done" || kind == backends.Transient {
					checkGone(t, w, got)
				} else if len(got) != 5 || got["a/none"] != nil { // it may have been there, and removed
					t.Errorf("%v", got)
				}
				if n := w.store.Count(fault.Delete, ""); b.rounds != 2 || n != 5+w.store.Fired() {
					t.Errorf("%s: %d rounds, %d deletions", name, b.rounds, n)
				}
			})
		}
	}
}

func TestDeleteMany_PermanentError_IsTheNamesOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, retry.Options{})
		locked := &backends.LockedError{Name: "a/2"}
		w.store.Inject(fault.On(fault.Delete).Prefix("a/2").Always().Before(locked))
		got, err := deleteMany(t, t.Context(), &batches{Store: w.store}, retry.Options{})
		if err != nil || len(got) != 5 || got["a/2"] != error(locked) || got["a/3"] != nil {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestDeleteMany_ServerStaysBroken_IsGivenUpForThoseLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, retry.Options{})
		w.store.Inject(fault.On(fault.Delete).Nth(3).Always().Before(failure(backends.Transient)))
		b := &batches{Store: w.store}
		start := time.Now()
		got, err := deleteMany(t, t.Context(), b, retry.Options{Tries: 6})
		if err != nil || b.rounds != 6 || time.Since(start) > 5*time.Second {
			t.Errorf("%d rounds in %v: %v", b.rounds, time.Since(start), err)
		}
		failed := slices.Sorted(maps.Keys(maps.Collect(func(yield func(string, error) bool) {
			for name, err := range got {
				if errors.Is(err, errBroken) && !yield(name, err) {
					return
				}
			}
		})))
		if len(got) != 5 || !slices.Equal(failed, []string{"a/3", "a/4", "a/none"}) {
			t.Errorf("%v", got)
		}
	})
}

func TestDeleteMany_BatchHangs_RestIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, retry.Options{})
		b := &batches{Store: w.store, hook: func(ctx context.Context, round int) int {
			if round == 1 {
				<-ctx.Done()
				return 0
			}
			return 5
		}}
		start := time.Now()
		got, err := deleteMany(t, t.Context(), b, retry.Options{})
		if err != nil || len(got) != 5 || b.rounds != 2 {
			t.Errorf("%d rounds: %v, %v", b.rounds, got, err)
		}
		if d := time.Since(start); d < time.Minute || d > time.Minute+time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

func TestDeleteMany_StoreLeavesSomeOut_TheyFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, retry.Options{})
		b := &batches{Store: w.store, hook: func(context.Context, int) int { return 3 }}
		got, err := deleteMany(t, t.Context(), b, retry.Options{})
		if err != nil || len(got) != 5 || got["a/3"] == nil || got["a/4"] == nil || got["a/1"] != nil {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestDeleteMany_Canceled_ReturnsTheCause(t *testing.T) {
	enough := errors.New("enough")
	for _, rule := range []fault.Rule{
		fault.On(fault.Delete).Always().Before(failure(backends.Transient)),
		fault.On(fault.Delete).Nth(2).Hook(hang),
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, retry.Options{})
			w.store.Inject(rule)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(10*time.Second, func() { cancel(enough) })
			start := time.Now()
			got, err := deleteMany(t, ctx, &batches{Store: w.store}, retry.Options{})
			if !errors.Is(err, enough) || time.Since(start) != 10*time.Second {
				t.Errorf("after %v: %v, %v", time.Since(start), got, err)
			}
		})
	}
}

func TestDeleteMany_WithoutBatches_EachNameIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, retry.Options{})
		w.store.Inject(fault.On(fault.Delete).Times(3).Before(failure(backends.Transient)))
		got := map[string]error{}
		names := []string{"a/1", "a/2", "a/3", "a/4", "a/none"}
		if err := backends.DeleteMany(t.Context(), w.retry, names, 3, func(name string, err error) { got[name] = err }); err != nil {
			t.Fatal(err)
		}
		checkGone(t, w, got)
		if n := w.store.Count(fault.Delete, ""); n != 8 {
			t.Error(fmt.Sprint(n, " deletions"))
		}
	})
}
