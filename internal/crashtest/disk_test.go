package crashtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/durable/durabletest"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
)

// changes are the operations of a file system that change something, or make it durable.
var changes = []string{"create", "write", "sync", "link", "renamex", "rename", "unlink", "mkdir", "syncdir"}

// grows are those that a full disk may refuse.
var grows = []string{"create", "write", "sync", "link", "renamex", "rename", "mkdir", "syncdir"}

// disk is a folder on a file system that can fail.
type disk struct {
	dir     string
	changed atomic.Int64 // changes so far
	failed  atomic.Pointer[durabletest.Op]
}

// open opens the store in the folder. fail is asked before each change, with its number from 1 on; before
// says that nothing is done (of a write: half).
func (d *disk) open(t testing.TB, fail func(n int, op durabletest.Op) (durabletest.When, error)) *local.Store {
	t.Helper()
	dir, err := durable.OpenDir(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	fsys := durabletest.New(dir)
	fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
		n := 0
		if slices.Contains(changes, op.Kind) {
			n = int(d.changed.Add(1))
		}
		when, err := fail(n, op)
		if err != nil {
			d.failed.CompareAndSwap(nil, &op)
		}
		return when, err
	}
	return local.New(fsys)
}

// sound opens the store without trouble.
func (d *disk) sound(t testing.TB) *local.Store {
	t.Helper()
	s, err := local.Open(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// clone makes a copy of the folder. Objects are never changed: a second name does.
func (d *disk) clone(w *world) *disk {
	w.t.Helper()
	dir, err := os.MkdirTemp(w.dir, "repo-")
	w.must(err)
	w.must(filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, d.dir))
		switch {
		case path == d.dir:
			return nil
		case e.IsDir():
			return os.Mkdir(to, 0o700)
		}
		return os.Link(path, to)
	}))
	return &disk{dir: dir}
}

// onDisk prepares a scenario in a folder, and returns the kinds of the changes of a clean run.
func (s *scenario) onDisk(t *testing.T, rng *rand.Rand) (w *world, prepared *disk, done []string) {
	w = newWorld(t, rng)
	prepared = &disk{dir: filepath.Join(w.dir, "repo")}
	w.must(os.Mkdir(prepared.dir, 0o700))
	store := prepared.sound(t)
	s.prepare(w, w.process(store))
	w.must(store.Close())
	w.look()

	clean := prepared.clone(w)
	var mu sync.Mutex // guards done
	watched := clean.open(t, func(n int, op durabletest.Op) (durabletest.When, error) {
		if n > 0 {
			mu.Lock()
			defer mu.Unlock()
			done = append(done, op.Kind)
		}
		return 0, nil
	})
	p := w.process(watched)
	w.must(s.run(p))
	w.must(watched.Close())
	return w, prepared, done
}

// attempt runs a command on a disk that fails, and then what comes after it on the same disk, mended.
func (s *scenario) attempt(w *world, d *disk, fail func(n int, op durabletest.Op) (durabletest.When, error), kill func()) (runErr, err error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	store := d.open(w.t, func(n int, op durabletest.Op) (durabletest.When, error) {
		when, err := fail(n, op)
		if err != nil && kill != nil {
			cancel()
		}
		return when, err
	})
	p := w.process(store)
	defer os.RemoveAll(p.cache)
	p.ctx = ctx
	runErr = s.run(p)
	if err := store.Close(); err != nil {
		return runErr, err
	}

	mended := d.sound(w.t)
	defer mended.Close()
	next := &process{ctx: w.t.Context(), w: w, store: mended, cache: p.cache}
	if w.rng.IntN(2) == 0 {
		next.cache = w.newCache()
		defer os.RemoveAll(next.cache)
	}
	if runErr != nil && kill == nil {
		if err := s.wantUndone(next, runErr); err != nil {
			return runErr, err
		}
	}
	if err := s.aftermath(next, &haunted{Store: mended}, runErr == nil); err != nil {
		return runErr, err
	}
	return runErr, d.wantNoLitter()
}

// wantUndone fails if a command said that it failed and did what it was asked for, unless it said that this
// can be.
func (s *scenario) wantUndone(p *process, runErr error) error {
	_, unsafe := errors.AsType[*durable.SyncError](runErr)
	if !s.atomic || unsafe || backends.IsUnclear(runErr) || errors.Is(runErr, log.ErrOutcomeUnknown) {
		return nil
	}
	if p.with(func(r *repo.Repository) error { return s.done(p, r) }) == nil {
		return fmt.Errorf("it was done, though it failed with: %w", runErr)
	}
	return nil
}

// wantNoLitter looks for temporary files.
func (d *disk) wantNoLitter() error {
	entries, err := os.ReadDir(filepath.Join(d.dir, "tmp"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if len(entries) > 0 {
		err = fmt.Errorf("%d temporary files are left", len(entries))
	}
	return err
}

// onDisks runs a test of each scenario, side by side, and adds up what they count.
func onDisks(t *testing.T, salt int, try func(t *testing.T, sc *scenario, w *world, prepared *disk, steps []int, sum *tally)) *tally {
	seed, all := seed(t), new(tally)
	t.Run("all", func(t *testing.T) {
		for i := range scenarios {
			sc := &scenarios[i]
			t.Run(sc.name, func(t *testing.T) {
				t.Parallel()
				w, prepared, done := sc.onDisk(t, sc.rng(seed, salt))
				sum := tally{worlds: 1, mutations: len(done)}
				try(t, sc, w, prepared, steps(w.rng, done), &sum)
				all.add(&sum)
			})
		}
	})
	if all.deaths == 0 {
		t.Error("nothing died")
	}
	return all
}

// TestCommands_DeathAtEveryFileOperation_NothingLostAndNoHelpNeeded lets commands die at each step of the local
// store: what is left are temporary files, halves of them, objects in folders that were not synced.
func TestCommands_DeathAtEveryFileOperation_NothingLostAndNoHelpNeeded(t *testing.T) {
	all := onDisks(t, 1000, func(t *testing.T, sc *scenario, w *world, prepared *disk, steps []int, sum *tally) {
		for _, i := range steps {
			for _, when := range whens(w.rng) {
				d := prepared.clone(w)
				fail := func(n int, _ durabletest.Op) (durabletest.When, error) {
					switch {
					case n == i:
						return when, errDead
					case d.changed.Load() >= int64(i):
						return durabletest.Before, errDead
					}
					return 0, nil
				}
				if _, err := sc.attempt(w, d, fail, func() {}); err != nil {
					t.Fatalf("%s, death at operation %d of %d, %v: %v", sc.name, i, sum.mutations, d.failed.Load(), err)
				}
				if d.failed.Load() == nil {
					sum.outlived++
				} else {
					sum.deaths++
				}
				w.must(os.RemoveAll(d.dir))
			}
		}
		t.Logf("%-20s %v", sc.name+":", sum)
	})
	t.Logf("in all: %v", all)
}

// TestCommands_DiskFailsAtEveryChange_FailWithoutHarm lets each change of the file system fail in turn, once or from
// then on, as a full, a broken and a read-only disk do.
func TestCommands_DiskFailsAtEveryChange_FailWithoutHarm(t *testing.T) {
	all := onDisks(t, 2000, func(t *testing.T, sc *scenario, w *world, prepared *disk, steps []int, sum *tally) {
		for _, i := range steps {
			for _, errno := range errnos(w.rng) {
				forGood := w.rng.IntN(2) == 0
				d := prepared.clone(w)
				fail := func(n int, op durabletest.Op) (durabletest.When, error) {
					hit := n == i || forGood && n > i
					if hit && (errno != syscall.ENOSPC || slices.Contains(grows, op.Kind)) {
						return durabletest.Before, errno
					}
					return 0, nil
				}
				runErr, err := sc.attempt(w, d, fail, nil)
				if err == nil && runErr != nil && !errors.Is(runErr, errno) {
					err = fmt.Errorf("it failed with another error: %w", runErr)
				}
				if err != nil {
					t.Fatalf("%s, %v at change %d of %d, %v (for good: %v): %v", sc.name, errno, i, sum.mutations, d.failed.Load(), forGood, err)
				}
				switch {
				case d.failed.Load() == nil:
					sum.outlived++
				case runErr == nil:
					sum.inVain++
				default:
					sum.deaths++
				}
				w.must(os.RemoveAll(d.dir))
			}
		}
		t.Logf("%-20s %d changes: %d failures ended the command, %d did not matter, %d were never met", sc.name+":", sum.mutations, sum.deaths, sum.inVain, sum.outlived)
	})
	t.Logf("in all: %d changes: %d failures ended the command, %d did not matter, %d were never met", all.mutations, all.deaths, all.inVain, all.outlived)
}

// whens are the moments of a death: before what is done or after it, drawn, or both.
func whens(rng *rand.Rand) []durabletest.When {
	return some(rng, durabletest.Before, durabletest.After)
}

// errnos are the errors that a failure is tried with: one that is drawn, or all.
func errnos(rng *rand.Rand) []syscall.Errno {
	return some(rng, syscall.ENOSPC, syscall.EIO, syscall.EROFS)
}

func some[T any](rng *rand.Rand, all ...T) []T {
	if *crashLong {
		return all
	}
	i := rng.IntN(len(all))
	return all[i : i+1]
}

// steps returns which of the changes of a command on a disk are gone through: one of each kind, or all. There are several for each
// object.
func steps(rng *rand.Rand, done []string) (chosen []int) {
	byKind := map[string][]int{}
	for i, kind := range done {
		byKind[kind] = append(byKind[kind], i+1)
	}
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		if all := byKind[kind]; *crashLong {
			chosen = append(chosen, all...)
		} else {
			chosen = append(chosen, all[rng.IntN(len(all))])
		}
	}
	return chosen
}
