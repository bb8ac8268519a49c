package damage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/log"
)

// putBack makes all objects of a class in one store what they are in another.
func putBack(t *testing.T, store, from *mem.Store, prefixes ...string) {
	t.Helper()
	for _, prefix := range prefixes {
		for _, name := range testrepo.Names(t, store, prefix) {
			store.Tamper(name, nil)
		}
		for _, name := range testrepo.Names(t, from, prefix) {
			obj, err := from.Get(t.Context(), name, 0, -1, nil)
			if err != nil {
				t.Fatal(err)
			}
			store.Tamper(name, obj)
		}
	}
}

// openAs opens a store as a client that has seen the repository as it was, or as a new one.
func (w *world) openAs(t *testing.T, store *mem.Store, knows bool) (*repo.Repository, error) {
	cache := ""
	if knows {
		cache = w.cache
	}
	r, err := w.open(t.Context(), store, testrepo.Credential, cache)
	if err == nil {
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return r, err
}

// problems are the objects that a check says are damaged.
func problems(t *testing.T, r *repo.Repository) map[string]check.Problem {
	t.Helper()
	rep, err := check.Run(t.Context(), r, check.Options{Read: check.Choice{All: true}}, check.Events{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]check.Problem{}
	for _, p := range rep.Problems {
		if !p.Hint {
			out[p.Object] = p
		}
	}
	return out
}

// An older copy of everything is a repository like any other: only who has seen the newer one can know.
func TestRollback_OfEverything_IsNoticedByWhoHasSeenMore(t *testing.T) {
	w := newWorld(t, theSeed(t))
	if _, err := w.openAs(t, w.older, true); !errors.Is(err, log.ErrRollback) {
		t.Errorf("a client that had seen more opened it: %v", err)
	}
	r, err := w.openAs(t, w.older, false)
	if err != nil {
		t.Fatal(err)
	}
	if found := problems(t, r); len(found) > 0 {
		t.Errorf("nobody can know, and yet: %v", found)
	}
}

// With the log alone put back, what was written since is still there, and gives it away.
func TestRollback_OfTheLogAlone_IsReportedByCheck(t *testing.T) {
	w := newWorld(t, theSeed(t))
	store := w.store.Clone()
	putBack(t, store, w.older, object.LogPrefix)
	r, err := w.openAs(t, store, false)
	if err != nil {
		t.Fatal(err)
	}
	tail := r.State().N
	found := problems(t, r)
	if len(found) == 0 {
		t.Fatal("check said nothing")
	}
	for name := range found {
		if n, err := object.ParseNumbered(object.LogPrefix, name); err != nil || n <= tail {
			t.Errorf("not behind the end of the log: %v", found[name])
		}
	}
}

// A fork has other entries, made with the same keys, from some number on.
func TestFork_OfTheWholeRepository_IsNoticedByWhoHasSeenTheOther(t *testing.T) {
	w := newWorld(t, theSeed(t))
	if _, err := w.openAs(t, w.fork, true); !errors.Is(err, log.ErrRollback) {
		t.Errorf("opened: %v", err)
	}
	if _, err := w.openAs(t, w.fork, false); err != nil {
		t.Errorf("a new client can not know, and yet: %v", err)
	}
}

// One entry of another history breaks the chain, wherever it is put, or is seen to be another one.
func TestFork_OneEntryOrCheckpointOfIt_IsReported(t *testing.T) {
	w := newWorld(t, theSeed(t))
	tried := 0
	for _, o := range slices.Concat(w.byFork["log"], w.byFork["checkpoints"]) {
		old, err := w.store.Get(t.Context(), o.name, 0, -1, nil)
		if err == nil && string(old) == string(o.data) {
			continue
		}
		tried++
		for _, alone := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, log alone %v", strings.ReplaceAll(o.name, "/", " "), alone), func(t *testing.T) {
				store := w.store.Clone()
				if alone { // no checkpoint vouches for the log
					putBack(t, store, mem.New(), object.CheckpointsPrefix)
				}
				store.Tamper(o.name, o.data)
				r, err := w.openAs(t, store, false)
				if err != nil {
					if !strings.HasPrefix(damaged(err), object.LogPrefix) {
						t.Fatalf("opening failed and did not say why: %v", err)
					}
					return
				}
				if len(problems(t, r)) == 0 {
					t.Error("check said nothing")
				}
				if got := w.read(t.Context(), r); got.wrong != nil || got.refused != nil {
					t.Error(got.wrong, got.refused)
				}
			})
		}
	}
	if tried < 4 {
		t.Errorf("the histories differ in %d objects", tried)
	}
}

// An entry is bound to its number, also where it says so nowhere in clear.
func TestLog_CopyOfTheEntryBefore_IsDamageOfThatEntry(t *testing.T) {
	w := newWorld(t, theSeed(t))
	for n := uint64(2); n <= 5; n++ {
		store := w.store.Clone()
		putBack(t, store, mem.New(), object.CheckpointsPrefix)
		before, err := store.Get(t.Context(), object.LogName(n-1), 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		store.Tamper(object.LogName(n), before)
		if _, err := w.openAs(t, store, false); damaged(err) != object.LogName(n) {
			t.Errorf("entry %d: %v", n, err)
		}
	}
}

// Both copies of a slot, and the config, of another repository that the same password opens: nobody gets a
// repository other than the one whose objects these are.
func TestOtherRepository_ItsSlotsOrConfig_DoNotOpenThisOne(t *testing.T) {
	w := newWorld(t, theSeed(t))
	for _, c := range []struct {
		name     string
		prefixes []string
		object   string
	}{
		{"slots", []string{object.KeysPrefix}, object.ConfigName},
		{"config", []string{object.ConfigName}, object.ConfigName},
		{"slots and config", []string{object.KeysPrefix, object.ConfigName}, ""},
		{"log", []string{object.LogPrefix}, ""},
		{"log and checkpoints", []string{object.LogPrefix, object.CheckpointsPrefix}, object.LogName(1)},
	} {
		for _, knows := range []bool{false, true} {
			store := w.store.Clone()
			putBack(t, store, w.other, c.prefixes...)
			_, err := w.openAs(t, store, knows)
			got := damaged(err)
			if c.object != "" && got != c.object || got == "" {
				t.Errorf("with another repository's %s, knowing %v: %v", c.name, knows, err)
			}
		}
	}
}

// The slots of two repositories in one folder, as after a copy to the wrong place: the one that fits counts.
func TestOtherRepository_ItsSlotsBesideThisOnes_AreTriedAndPassedOver(t *testing.T) {
	w := newWorld(t, theSeed(t))
	store := w.store.Clone()
	for _, o := range w.byElse["keys"] {
		store.Tamper(o.name, o.data)
	}
	r, err := w.openAs(t, store, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.read(t.Context(), r); got.wrong != nil || got.refused != nil {
		t.Error(got.wrong, got.refused)
	}
}

// A valid index segment of the same repository under the name of another one; likewise packs.
func TestSwap_ValidObjectsOfOneRepository_AreKnownByTheirNames(t *testing.T) {
	w := newWorld(t, theSeed(t))
	for _, folder := range []string{"index", "data", "tree"} {
		items := slices.DeleteFunc(slices.Clone(w.all), func(o item) bool { return classOf(o.name) != folder })
		if len(items) < 3 {
			t.Fatalf("only %d objects in %s", len(items), folder)
		}
		for i := range items {
			a, b := items[i], items[(i+1)%len(items)]
			store := w.store.Clone()
			store.Tamper(a.name, b.data)
			store.Tamper(b.name, a.data)
			r, err := w.openAs(t, store, false)
			if err != nil {
				t.Fatal(err)
			}
			found := problems(t, r)
			for _, name := range []string{a.name, b.name} {
				if _, ok := found[name]; !ok {
					t.Errorf("%s, which has the bytes of another, is not reported: %v", name, found)
				}
			}
			if got := w.read(t.Context(), r); got.wrong != nil {
				t.Error(got.wrong)
			}
		}
	}
}
