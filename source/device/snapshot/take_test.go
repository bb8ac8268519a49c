package snapshot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testsys"
)

func TestTake_ImageOnReflinkFileSystem_CopyStandsStillAndNothingIsLeft(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	for _, c := range []struct{ fs, kind string }{{"xfs", "reflink"}, {"btrfs", "reflink"}, {"btrfs", "btrfs"}} {
		t.Run(c.fs+" "+c.kind, func(t *testing.T) {
			dir := testsys.Mount(t, c.fs, 400<<20)
			leases := t.TempDir()
			must(t, os.Mkdir(filepath.Join(dir, "vm"), 0o755))
			image := write(t, filepath.Join(dir, "vm", "image"), "before")
			taker := newTaker(t, leases, c.kind, Options{})
			taken, err := taker.Take(t.Context(), []string{image})
			must(t, err)
			write(t, image, "after")
			at := taken.Copies[0].At
			if got := read(t, at); got != "before" {
				t.Errorf("the copy has %q", got)
			}
			if c.kind == "btrfs" {
				if err := os.WriteFile(at, []byte("x"), 0o600); !errors.Is(err, unix.EROFS) {
					t.Errorf("the copy can be written to: %v", err)
				}
			}
			if got := entries(t, leases); len(got) != 1 {
				t.Errorf("leases: %q", got)
			}
			// Another run meanwhile takes its own, and leaves this one alone.
			second, err := newTaker(t, leases, c.kind, Options{}).Take(t.Context(), []string{image})
			must(t, err)
			if left, err := taker.Leases.Left(); err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, err)
			}
			if a, b := read(t, at), read(t, second.Copies[0].At); a != "before" || b != "after" {
				t.Errorf("%q, %q", a, b)
			}
			must(t, errors.Join(second.Remove(t.Context()), taken.Remove(t.Context()), taken.Remove(t.Context())))
			if in, of := entries(t, filepath.Join(dir, "vm")), entries(t, dir); len(in) != 1 || len(of) != 1 || len(entries(t, leases)) != 0 {
				t.Errorf("left: %q, %q, %q", in, of, entries(t, leases))
			}
		})
	}
}

func TestTake_WrongKindForTheDevice_IsRefusedAndNothingIsLeft(t *testing.T) {
	dir, leases := t.TempDir(), t.TempDir()
	image := write(t, filepath.Join(dir, "image"), "x")
	var fs unix.Statfs_t
	must(t, unix.Statfs(dir, &fs))
	for _, kind := range []string{"reflink", "btrfs"} {
		if fs.Type == unix.BTRFS_SUPER_MAGIC || fs.Type == unix.XFS_SUPER_MAGIC {
			t.Skip("the temporary folder has reflinks")
		}
		_, err := newTaker(t, leases, kind, Options{}).Take(t.Context(), []string{image})
		if !errors.Is(err, ErrProvider) || len(entries(t, dir)) != 1 || len(entries(t, leases)) != 0 {
			t.Errorf("%s: %v, left %q, %q", kind, err, entries(t, dir), entries(t, leases))
		}
	}
	if _, err := New("zfs", Options{}); !errors.Is(err, ErrProvider) {
		t.Errorf("%v", err)
	}
	if _, err := New("command", Options{}); !errors.Is(err, ErrProvider) {
		t.Errorf("%v", err)
	}
}

const cloud = `echo "$KURA_SNAPSHOT $KURA_SNAPSHOT_OF $KURA_SNAPSHOT_AT" >> $LOG
case $KURA_SNAPSHOT in
create) cp "$KURA_SNAPSHOT_OF" "$KURA_SNAPSHOT_OF.$KURA_SNAPSHOT_NAME"; echo working; echo "$KURA_SNAPSHOT_OF.$KURA_SNAPSHOT_NAME" ;;
check) ! test -e "$KURA_SNAPSHOT_OF.full" ;;
remove) rm -f "$KURA_SNAPSHOT_OF.$KURA_SNAPSHOT_NAME" ;;
esac`

func TestTake_Command_IsCalledForEachStep(t *testing.T) {
	dir, leases := t.TempDir(), t.TempDir()
	image := write(t, filepath.Join(dir, "volume"), "before")
	program, log := script(t, cloud)
	taken, err := newTaker(t, leases, "command", Options{Command: program}).Take(t.Context(), []string{image})
	must(t, err)
	at := taken.Copies[0].At
	if !strings.HasPrefix(at, image+".kura-") || read(t, at) != "before" {
		t.Errorf("at %s", at)
	}
	must(t, taken.Remove(t.Context()))
	want := strings.NewReplacer("IMAGE", image, "AT", at).Replace("create IMAGE \ncheck IMAGE AT\nremove IMAGE AT\n")
	if got := read(t, log); got != want || len(entries(t, dir)) != 1 || len(entries(t, leases)) != 0 {
		t.Errorf("%q, left %q", got, entries(t, dir))
	}
}

func TestTake_CommandFailsOrSaysNothing_RunFailsAndItIsRemoved(t *testing.T) {
	for _, body := range []string{
		`echo "$KURA_SNAPSHOT" >> $LOG; test $KURA_SNAPSHOT != create || { echo quota exceeded >&2; exit 3; }`,
		`echo "$KURA_SNAPSHOT" >> $LOG; echo relative/path`,
		`echo "$KURA_SNAPSHOT" >> $LOG; test $KURA_SNAPSHOT = remove || kill -9 $$`,
	} {
		leases := t.TempDir()
		program, log := script(t, body)
		_, err := newTaker(t, leases, "command", Options{Command: program}).Take(t.Context(), []string{write(t, filepath.Join(t.TempDir(), "v"), "x")})
		var failed *CommandError
		if !errors.As(err, &failed) || read(t, log) != "create\nremove\n" || len(entries(t, leases)) != 0 {
			t.Errorf("%v; %q", err, read(t, log))
		}
		if strings.Contains(body, "quota") && !strings.Contains(err.Error(), "quota exceeded") {
			t.Errorf("what it said is missing: %v", err)
		}
	}
}

func TestWatch_SnapshotFullWhileItIsRead_CancelsWithTheReason(t *testing.T) {
	leases := t.TempDir()
	image := write(t, filepath.Join(t.TempDir(), "volume"), "before")
	program, _ := script(t, cloud)
	taken, err := newTaker(t, leases, "command", Options{Command: program}).Take(t.Context(), []string{image})
	must(t, err)
	ctx, stop := taken.Watch(t.Context(), time.Millisecond)
	write(t, image+".full", "")
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, ErrOverflow) {
		t.Errorf("%v", err)
	}
	if err := stop(); !errors.Is(err, ErrOverflow) {
		t.Errorf("%v", err)
	}
	must(t, taken.Remove(t.Context()))

	// Full already when it is looked at for the first time, and only when it is for the last.
	if _, err := newTaker(t, leases, "command", Options{Command: program}).Take(t.Context(), []string{image}); !errors.Is(err, ErrOverflow) {
		t.Errorf("at first: %v", err)
	}
	must(t, os.Remove(image+".full"))
	taken, err = newTaker(t, leases, "command", Options{Command: program}).Take(t.Context(), []string{image})
	must(t, err)
	_, stop = taken.Watch(t.Context(), time.Hour)
	write(t, image+".full", "")
	if err := stop(); !errors.Is(err, ErrOverflow) {
		t.Errorf("at last: %v", err)
	}
	must(t, taken.Remove(t.Context()))
	if got := entries(t, leases); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

func TestRemove_CancelledRun_RemovesAllTheSame(t *testing.T) {
	leases, dir := t.TempDir(), t.TempDir()
	image := write(t, filepath.Join(dir, "volume"), "before")
	program, _ := script(t, cloud)
	ctx, cancel := context.WithCancel(t.Context())
	taken, err := newTaker(t, leases, "command", Options{Command: program}).Take(ctx, []string{image})
	must(t, err)
	cancel()
	must(t, taken.Remove(ctx))
	if len(entries(t, dir)) != 1 || len(entries(t, leases)) != 0 {
		t.Errorf("left: %q, %q", entries(t, dir), entries(t, leases))
	}
}

func TestRemove_Fails_LeaseStaysForTheNextRun(t *testing.T) {
	leases, dir := t.TempDir(), t.TempDir()
	image := write(t, filepath.Join(dir, "volume"), "before")
	program, _ := script(t, `test $KURA_SNAPSHOT != remove || test -e "$KURA_SNAPSHOT_OF.online" || exit 1
`+cloud)
	taker := newTaker(t, leases, "command", Options{Command: program})
	taken, err := taker.Take(t.Context(), []string{image})
	must(t, err)
	if err := taken.Remove(t.Context()); err == nil {
		t.Fatal("removed what it could not")
	}
	left, err := taker.Leases.Left()
	must(t, err)
	if len(left) != 1 || left[0].Of != image {
		t.Fatalf("%+v", left)
	}
	if err := left[0].Remove(t.Context()); err == nil {
		t.Error("removed what it could not")
	}
	write(t, image+".online", "")
	if left, err = taker.Leases.Left(); err != nil || len(left) != 1 {
		t.Fatalf("%+v, %v", left, err)
	}
	must(t, left[0].Remove(t.Context()))
	if len(entries(t, leases)) != 0 || len(entries(t, dir)) != 2 {
		t.Errorf("left: %q, %q", entries(t, dir), entries(t, leases))
	}
}

func TestKeep_UntilTheNextRun_IsNoLeftover(t *testing.T) {
	leases, dir := t.TempDir(), t.TempDir()
	image := write(t, filepath.Join(dir, "volume"), "before")
	program, _ := script(t, cloud)
	taker := newTaker(t, leases, "command", Options{Command: program})
	taken, err := taker.Take(t.Context(), []string{image})
	must(t, err)
	at := taken.Copies[0].At
	must(t, errors.Join(taken.Keep(), taken.Remove(t.Context())))
	left, err := taker.Leases.Left()
	must(t, err)
	kept, err := taker.Leases.Kept(t.Context(), "")
	must(t, err)
	if len(left) != 0 || len(kept) != 1 || kept[0].At != at || read(t, at) != "before" {
		t.Fatalf("left %+v, kept %+v", left, kept)
	}
	// Who has it, has it alone.
	if more, err := taker.Leases.Kept(t.Context(), ""); err != nil || len(more) != 0 {
		t.Errorf("%+v, %v", more, err)
	}
	must(t, kept[0].Remove(t.Context()))
	if len(entries(t, dir)) != 1 || len(entries(t, leases)) != 0 {
		t.Errorf("left: %q, %q", entries(t, dir), entries(t, leases))
	}
}

func TestKept_OfAnotherDevice_IsNotTouched(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenLeases(dir)
	must(t, err)
	defer l.Close()
	keep := func(name, of string) {
		t.Helper()
		lease, err := l.take(&Copy{Kind: "reflink", Name: name, Of: of}, keptSuffix)
		must(t, err)
		must(t, lease.f.Close())
	}
	keep("kura-1", "/vm/a")
	keep("kura-2", "/vm/b")
	write(t, filepath.Join(dir, "kura-3.kept"), "no JSON")
	a, err := l.Kept(t.Context(), "/vm/a")
	must(t, err)
	if len(a) != 1 || a[0].Name != "kura-1" {
		t.Fatalf("%+v", a)
	}
	b, err := l.Kept(t.Context(), "/vm/b") // while the other is held
	must(t, err)
	if len(b) != 1 || b[0].Name != "kura-2" {
		t.Fatalf("%+v", b)
	}
	// One's own is waited for.
	released := make(chan error, 1)
	time.AfterFunc(300*time.Millisecond, func() { released <- b[0].Release() })
	again, err := l.Kept(t.Context(), "/vm/b")
	must(t, errors.Join(err, <-released))
	if len(again) != 1 {
		t.Fatalf("%+v", again)
	}
	must(t, errors.Join(again[0].Release(), a[0].Release()))
	if _, err := l.Kept(t.Context(), ""); !errors.Is(err, ErrLease) {
		t.Errorf("all of them: %v", err)
	}
}

// Another run tidies up all the time: it must never take a lease that is being made for one of a dead run.
func TestLeases_MadeWhileOthersTidyUp_AreTheirs(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenLeases(dir)
	must(t, err)
	defer l.Close()
	write(t, filepath.Join(dir, "kura-dead.new"), "")
	var stop atomic.Bool
	var done sync.WaitGroup
	for range 3 {
		done.Go(func() {
			for !stop.Load() {
				left, err := l.Left()
				if err != nil || len(left) != 0 {
					t.Errorf("%+v, %v", left, err)
					return
				}
			}
		})
	}
	for range 30 {
		name, err := newName()
		must(t, err)
		c := Copy{Kind: "command", Name: name, Of: "/x"}
		lease, err := l.take(&c, leaseSuffix)
		must(t, err)
		c.At = "/y"
		must(t, lease.update(&c))
		if got := read(t, filepath.Join(dir, name+leaseSuffix)); !strings.Contains(got, "/y") || !isThere(lease.f) {
			t.Errorf("%q", got)
		}
		must(t, lease.end())
	}
	stop.Store(true)
	done.Wait()
	if got := entries(t, dir); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

func TestTake_KilledWhileItReads_WhatRemovesKnowsWhere(t *testing.T) {
	leases := t.TempDir()
	image := write(t, filepath.Join(t.TempDir(), "volume"), "before")
	program, log := script(t, cloud)
	taken, err := newTaker(t, leases, "command", Options{Command: program}).Take(t.Context(), []string{image})
	must(t, err)
	at := taken.Copies[0].At
	must(t, taken.leases[0].f.Close()) // as when the process ends
	l, err := OpenLeases(leases)
	must(t, err)
	defer l.Close()
	left, err := l.Left()
	must(t, err)
	if len(left) != 1 || left[0].At != at {
		t.Fatalf("%+v", left)
	}
	must(t, left[0].Remove(t.Context()))
	if got := read(t, log); !strings.HasSuffix(got, "remove "+image+" "+at+"\n") || len(entries(t, leases)) != 0 {
		t.Errorf("%q", got)
	}
}

// When the machine starts, and what a copy lies in is not mounted yet, there is an empty folder in its place. The lease was given up
// then, and nobody knew of the copy any more.
func TestLeft_FileSystemOfTheImageIsNotMounted_LeaseStays(t *testing.T) {
	leases, vm := t.TempDir(), filepath.Join(t.TempDir(), "vm")
	must(t, os.Mkdir(vm, 0o755))
	taken := &Taken{taker: newTaker(t, leases, "reflink", Options{})}
	must(t, taken.announce(write(t, filepath.Join(vm, "image"), "before")))
	must(t, taken.leases[0].f.Close()) // as when the process ends
	write(t, filepath.Join(vm, "."+taken.Copies[0].Name), "before")
	remove := func() error {
		t.Helper()
		left, err := taken.taker.Leases.Left()
		must(t, err)
		if len(left) != 1 {
			t.Fatalf("%+v", left)
		}
		return left[0].Remove(t.Context())
	}
	must(t, os.Rename(vm, vm+".elsewhere"))
	for range 2 { // there is none, and there is another
		if err := remove(); err == nil || !strings.Contains(err.Error(), "is its file system mounted") {
			t.Errorf("%v", err)
		}
		_ = os.Mkdir(vm, 0o755)
	}
	must(t, errors.Join(os.Remove(vm), os.Rename(vm+".elsewhere", vm), remove()))
	if len(entries(t, vm)) != 1 || len(entries(t, leases)) != 0 {
		t.Errorf("left: %q, %q", entries(t, vm), entries(t, leases))
	}
	// That the process has ended before the copy was there is no reason to keep the lease.
	must(t, taken.announce(filepath.Join(vm, "image")))
	must(t, errors.Join(taken.leases[1].f.Close(), remove()))
}

func TestBtrfs_FolderOfAnotherMountedWithin_IsRefused(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	outer, inner := testsys.Mount(t, "btrfs", 200<<20), testsys.Mount(t, "btrfs", 200<<20)
	x, at := filepath.Join(inner, "x"), filepath.Join(outer, "at")
	must(t, errors.Join(os.Mkdir(x, 0o755), os.Mkdir(at, 0o755)))
	write(t, filepath.Join(x, "image"), "of the inner one")
	write(t, filepath.Join(at, "image"), "of the outer one")
	must(t, unix.Mount(x, at, "", unix.MS_BIND, ""))
	defer func() { must(t, unix.Unmount(at, 0)) }()
	leases := t.TempDir()
	taken, err := newTaker(t, leases, "btrfs", Options{}).Take(t.Context(), []string{filepath.Join(at, "image")})
	if err == nil {
		t.Errorf("it is a copy of %q", read(t, taken.Copies[0].At))
		must(t, taken.Remove(t.Context()))
	}
	if !errors.Is(err, ErrProvider) || len(entries(t, leases)) != 0 || len(entries(t, outer)) != 1 {
		t.Errorf("%v, left %q, %q", err, entries(t, leases), entries(t, outer))
	}
}

func TestLeases_Hostile_AreRefused(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777))
	if _, err := OpenLeases(dir); err == nil {
		t.Error("a folder that others can write to")
	}
	must(t, os.Chmod(dir, 0o700))
	l, err := OpenLeases(dir)
	must(t, err)
	defer l.Close()
	write(t, filepath.Join(dir, "empty.lease"), "")
	write(t, filepath.Join(dir, "other"), "")
	if left, err := l.Left(); err != nil || len(left) != 0 || len(entries(t, dir)) != 1 {
		t.Errorf("%+v, %v, %q", left, err, entries(t, dir))
	}
	write(t, filepath.Join(dir, "bad.lease"), "no JSON")
	if _, err := l.Left(); !errors.Is(err, ErrLease) {
		t.Errorf("%v", err)
	}
	must(t, os.Remove(filepath.Join(dir, "bad.lease")))
	for _, text := range []string{`{"kind":"zfs","name":"kura-1"}`, `{"kind":"reflink","name":"data","of":"/home/x"}`} {
		write(t, filepath.Join(dir, "bad.lease"), text)
		left, err := l.Left()
		must(t, err)
		if err := left[0].Remove(t.Context()); !errors.Is(err, ErrLease) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
