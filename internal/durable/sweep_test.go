package durable_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/durable/durabletest"
	"github.com/kura-backup/kura/internal/durable/lossy"
)

func tempFile(t *testing.T, dir, digit string) string {
	t.Helper()
	path := filepath.Join(dir, "put-"+strings.Repeat(digit, 32))
	if err := os.WriteFile(path, []byte("half of an obj"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestSweep_RemovesOnlyUnlockedTemporaryFiles(t *testing.T) {
	path, fsys := folder(t)
	dead, alive := tempFile(t, path, "0"), tempFile(t, path, "1")
	held, err := fsys.Open(filepath.Base(alive))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := held.TryLock(); err != nil {
		t.Fatal(err)
	}
	foreign := []string{"put-1234", "put-" + strings.Repeat("x", 32), "notes.txt", strings.Repeat("0", 36)}
	for _, name := range foreign {
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(path, "put-"+strings.Repeat("2", 32)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("notes.txt", filepath.Join(path, "put-"+strings.Repeat("3", 32))); err != nil {
		t.Fatal(err)
	}

	removed, err := durable.Sweep(t.Context(), fsys, ".")
	if removed != 1 || err != nil {
		t.Fatalf("Sweep = %d, %v", removed, err)
	}
	if exists(dead) {
		t.Error("a dead writer's file is left")
	}
	for _, name := range append(foreign, filepath.Base(alive), "put-"+strings.Repeat("2", 32), "put-"+strings.Repeat("3", 32)) {
		if !exists(filepath.Join(path, name)) {
			t.Errorf("%s was removed", name)
		}
	}
}

func TestSweep_MissingFolder_NoLitter(t *testing.T) {
	_, fsys := folder(t)
	if n, err := durable.Sweep(t.Context(), fsys, "tmp"); n != 0 || err != nil {
		t.Fatalf("Sweep = %d, %v", n, err)
	}
}

func TestSweep_WithoutLocks_GoesByAge(t *testing.T) {
	path, fsys := folder(t)
	fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
		if op.Kind == "lock" {
			return durabletest.Before, errors.ErrUnsupported
		}
		return 0, nil
	}
	old, young := tempFile(t, path, "0"), tempFile(t, path, "1")
	now := clock.Now()
	for name, age := range map[string]time.Duration{old: 25 * time.Hour, young: 23 * time.Hour} {
		if err := os.Chtimes(name, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := durable.Sweep(t.Context(), fsys, "."); n != 1 || err != nil {
		t.Fatalf("Sweep = %d, %v", n, err)
	}
	if exists(old) || !exists(young) {
		t.Errorf("old there %v, young there %v", exists(old), exists(young))
	}
}

func TestSweep_CannotRemoveOne_GoesOnAndSaysSo(t *testing.T) {
	path, fsys := folder(t)
	tempFile(t, path, "0")
	tempFile(t, path, "1")
	fsys.Fail = failing("unlink put-*", durabletest.Before, errDisk, 1)
	if n, err := durable.Sweep(t.Context(), fsys, "."); n != 1 || !errors.Is(err, errDisk) {
		t.Fatalf("Sweep = %d, %v", n, err)
	}
}

func TestCreateExclusive_FirstUse_SweepsLitter(t *testing.T) {
	path, fsys := folder(t)
	tmp := filepath.Join(path, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	dead := tempFile(t, tmp, "0")
	w := durable.NewWriter(fsys, "tmp")
	if !exists(dead) {
		t.Fatal("NewWriter changed the disk")
	}
	if err := w.CreateExclusive(t.Context(), "a", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if exists(dead) {
		t.Error("litter is left")
	}
}

// On a shared folder whose locks do not reach the other machine, a sweep there
// removes the temporary file of a living writer here, at any moment.
func TestCreateExclusive_SweptAtAnyMoment_BeginsAgain(t *testing.T) {
	for _, form := range []string{"lock tmp/put-*", "write tmp/put-*", "sync tmp/put-*", "link tmp/put-* a"} {
		path, fsys := folder(t)
		swept := false
		fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
			if op.String() == form && !swept {
				swept = true
				files, err := filepath.Glob(filepath.Join(path, "tmp/put-*"))
				if err != nil || len(files) != 1 {
					t.Errorf("%s: temporary files %q, %v", form, files, err)
				}
				for _, f := range files {
					os.Remove(f)
				}
			}
			return 0, nil
		}
		w := durable.NewWriter(fsys, "tmp")
		if err := w.CreateExclusive(t.Context(), "a", []byte("one")); err != nil {
			t.Errorf("%s: %v", form, err)
		}
		if got, _ := content(t, filepath.Join(path, "a")); string(got) != "one" || !swept {
			t.Errorf("%s: content %q, swept %v", form, got, swept)
		}
	}
}

func TestCreateExclusive_SweepHoldsTheLock_BeginsAgainAndGivesUp(t *testing.T) {
	for times, ok := range map[int]bool{1: true, 9: true, -1: false} {
		_, fsys := folder(t)
		fsys.Fail = failing("lock tmp/put-*", durabletest.Before, durable.ErrLocked, times)
		w := durable.NewWriter(fsys, "tmp")
		if err := w.CreateExclusive(t.Context(), "a", []byte("one")); ok != (err == nil) {
			t.Errorf("%d times: %v", times, err)
		}
	}
}

// lax is a file system on which the lock of a new file comes late, or is one that no other machine knows of.
type lax struct {
	durable.FS
	locks bool
}

func (l lax) CreateExcl(name string, perm fs.FileMode) (durable.File, error) {
	f, err := l.FS.CreateExcl(name, perm)
	return laxFile{f, l.locks, time.Millisecond}, err
}

func (l lax) Open(name string) (durable.File, error) {
	f, err := l.FS.Open(name)
	return laxFile{f, l.locks, 0}, err
}

type laxFile struct {
	durable.File
	locks bool
	late  time.Duration
}

func (f laxFile) TryLock() error {
	time.Sleep(f.late)
	if !f.locks {
		return nil
	}
	return f.File.TryLock()
}

// A machine that begins may take the files of one at work for litter, which does not do the same to it then.
func TestCreateExclusive_WritersSweepEachOther_ComesToAnEnd(t *testing.T) {
	for _, locks := range []bool{false, true} {
		disk := lossy.New()
		var wg sync.WaitGroup
		for machine := range 2 {
			w := durable.NewWriter(lax{disk.Mount("."), locks}, "tmp")
			for worker := range 8 {
				wg.Go(func() {
					for i := range 25 {
						name := fmt.Sprintf("data/%d-%d-%d", machine, worker, i)
						if err := w.CreateExclusive(t.Context(), name, []byte("one")); err != nil {
							t.Errorf("locks %v: %v", locks, err)
						}
					}
				})
			}
		}
		wg.Wait()
	}
}
