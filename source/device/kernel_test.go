package device

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/device/snapshot"
	"github.com/kura-backup/kura/source/sourcetest"
)

func TestDevice_Loop_IsReadAndRestoredExactly(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	const size = 24*BlockSize + 512*3
	want := make([]byte, size)
	copy(want[3*BlockSize:], random(t, 4*BlockSize))
	copy(want[size-512:], random(t, 512))
	backing := image(t, filepath.Join(t.TempDir(), "backing"), size, map[int64][]byte{0: want})
	loop := testsys.Loop(t, backing)
	out := sourcetest.NewWriter()
	all, err := backUp(t, out, Input{Path: "/dev/data", Read: loop})
	must(t, err)
	d := all.Devices[0]
	if !bytes.Equal(out.Bytes("/dev/data"), want) || d.Type != "block" || d.Size != size || d.Root != rootOf(want) || d.Resolved != loop || d.Live {
		t.Errorf("%+v", d)
	}

	// Onto another device, larger, on which something else was.
	other := bytes.Clone(want)
	copy(other[2*BlockSize:], random(t, 2*BlockSize))
	copy(other[15*BlockSize+700:], random(t, 5000))
	target := image(t, filepath.Join(t.TempDir(), "target"), size+3*BlockSize, map[int64][]byte{0: other, size: bytes.Repeat([]byte("z"), 3*BlockSize)})
	device := testsys.Loop(t, target)
	r, err := restore(t, device, want, TargetOptions{}, d.Root)
	must(t, err)
	got, err := os.ReadFile(target)
	must(t, err)
	t.Logf("%d bytes: %d the same, %d written, %d made zero, %d read again", size, r.Same.Load(), r.Written.Load(), r.Zeroed.Load(), r.Checked.Load())
	if !bytes.Equal(got[:size], want) || !bytes.Equal(got[size:], bytes.Repeat([]byte("z"), 3*BlockSize)) || r.Written.Load() > 2*BlockSize || r.Checked.Load() != size {
		t.Errorf("exact: %v", bytes.Equal(got[:size], want))
	}
}

func TestDevice_UnreadableBlock_FailsWithItsOffset(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	const size, readable = 24 * BlockSize, 9*BlockSize + 8192
	backing := image(t, filepath.Join(t.TempDir(), "backing"), size, map[int64][]byte{0: random(t, size)})
	loop := testsys.Loop(t, backing)
	must(t, os.Truncate(backing, readable)) // what is behind that the loop device can not read
	out := sourcetest.NewWriter()
	_, err := backUp(t, out, Input{Path: "/dev/data", Read: loop})
	var read *ReadError
	if !errors.As(err, &read) || !errors.Is(err, unix.EIO) || read.Offset != readable {
		t.Errorf("%v", err)
	}
	if out.Details() != nil {
		t.Error("it was described")
	}
	t.Log(err)
}

func TestDevice_ShrinksWhileItIsRead_Fails(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	const size = 40 * BlockSize
	backing := image(t, filepath.Join(t.TempDir(), "backing"), size, map[int64][]byte{0: random(t, size)})
	loop := testsys.Loop(t, backing)
	resize := func(to int64) func() {
		return func() {
			must(t, os.Truncate(backing, to))
			f, err := os.Open(loop)
			must(t, err)
			_, err = unix.IoctlRetInt(int(f.Fd()), unix.LOOP_SET_CAPACITY)
			must(t, errors.Join(err, f.Close()))
		}
	}
	for _, to := range []int64{size - 512, size / 2, size} {
		out := shrinking{sourcetest.NewWriter(), resize(to)}
		err := New(Options{Devices: []Input{{Path: "/disk", Read: loop}}}).Write(t.Context(), out)
		if to == size && !errors.Is(err, ErrResized) || to < size && !errors.Is(err, ErrEnded) && !errors.Is(err, ErrResized) {
			t.Errorf("to %d: %v", to, err)
		}
		t.Logf("to %d: %v", to, err)
	}
}

func TestOpenTarget_DeviceThatIsInUse_IsRefused(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	backing := image(t, filepath.Join(t.TempDir(), "backing"), 64<<20, nil)
	testsys.Format(t, "ext4", backing)
	loop := testsys.Loop(t, backing)
	small, err := OpenTarget(loop, 64<<20+1, TargetOptions{})
	if !errors.Is(err, ErrSmall) {
		t.Errorf("too small: %v, %v", small, err)
	}
	free, err := OpenTarget(loop, 64<<20, TargetOptions{})
	must(t, err)
	if _, err := OpenTarget(loop, 64<<20, TargetOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("taken twice: %v", err)
	}
	must(t, free.Close())

	at := testsys.MountDevice(t, "ext4", loop)
	var use *UseError
	for _, o := range []TargetOptions{{}, {DryRun: true}, {Force: true}} {
		if _, err := OpenTarget(loop, 64<<20, o); !errors.As(err, &use) || !bytes.Contains([]byte(use.By), []byte(at)) {
			t.Errorf("mounted: %v", err)
		}
	}
	if _, err := OpenTarget(backing, 64<<20, TargetOptions{Force: true}); !errors.As(err, &use) {
		t.Errorf("behind a loop device: %v", err)
	}

	// Reading it is said to be of little use.
	warned := ""
	out := sourcetest.NewWriter()
	o := Options{Devices: []Input{{Path: "/disk", Read: loop}}, Warn: func(m string) { warned = m }}
	must(t, New(o).Write(t.Context(), out))
	if d := findDetail(t, out.Details(), "/disk"); !d.Live || warned == "" {
		t.Errorf("%q, %+v", warned, d)
	}
}

func TestOpenTarget_LoopDeviceOverIt_IsRefused(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	backing := image(t, filepath.Join(t.TempDir(), "backing"), 64<<20, nil)
	testsys.Format(t, "ext4", backing)
	lower := testsys.Loop(t, backing)
	upper := testsys.Loop(t, lower)
	testsys.MountDevice(t, "ext4", upper)
	var use *UseError
	for _, o := range []TargetOptions{{}, {DryRun: true}, {Force: true}} {
		if _, err := OpenTarget(lower, 64<<20, o); !errors.As(err, &use) || !strings.Contains(use.By, upper) {
			t.Errorf("%v", err)
		}
	}
}

// What a virtual machine, or a database, has it locks, and neither O_EXCL nor the kernel's mounts know of it. In turn it must find a
// lock while a restore writes.
func TestOpenTarget_LockedByAProgram_IsRefusedAndLockedMeanwhile(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	backing := image(t, filepath.Join(t.TempDir(), "backing"), 4<<20, nil)
	for _, path := range []string{testsys.Loop(t, backing), image(t, filepath.Join(t.TempDir(), "image"), 4<<20, nil)} {
		other, err := os.OpenFile(path, os.O_RDWR, 0)
		must(t, err)
		defer other.Close()
		lock := unix.Flock_t{Type: unix.F_RDLCK, Start: 100, Len: 1}
		must(t, unix.FcntlFlock(other.Fd(), unix.F_OFD_SETLK, &lock))
		for _, o := range []TargetOptions{{}, {DryRun: true}} {
			if target, err := OpenTarget(path, 4<<20, o); !errors.Is(err, ErrInUse) {
				t.Errorf("%s: %v", path, err)
				must(t, target.Close())
			}
		}
		forced, err := OpenTarget(path, 4<<20, TargetOptions{Force: true})
		must(t, err)
		must(t, forced.Close())
		lock.Type = unix.F_UNLCK
		must(t, unix.FcntlFlock(other.Fd(), unix.F_OFD_SETLK, &lock))
		target, err := OpenTarget(path, 4<<20, TargetOptions{})
		must(t, err)
		lock.Type = unix.F_RDLCK
		if err := unix.FcntlFlock(other.Fd(), unix.F_OFD_SETLK, &lock); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("%s: taken while a restore writes: %v", path, err)
		}
		must(t, target.Close())
	}
}

// Who locks a device locks only the one that he uses, and who mounts another that shows the same bytes does not show up at this one.
func TestOpenTarget_DiskOfAPartitionIsInUse_IsRefused(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	const size, partition = 64 << 20, 63 << 20
	backing := image(t, filepath.Join(t.TempDir(), "backing"), size, nil)
	disk, part := testsys.Partitioned(t, backing)
	for _, c := range []struct{ locked, target string }{{disk, part}, {part, disk}, {backing, disk}, {backing, part}} {
		other, err := os.Open(c.locked)
		must(t, err)
		must(t, unix.FcntlFlock(other.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: 100, Len: 1}))
		for _, o := range []TargetOptions{{}, {DryRun: true}} {
			if target, err := OpenTarget(c.target, partition, o); !errors.Is(err, ErrInUse) {
				t.Errorf("%s, while %s is locked: %v", c.target, c.locked, err)
				must(t, target.Close())
			}
		}
		forced, err := OpenTarget(c.target, partition, TargetOptions{Force: true})
		must(t, err)
		must(t, errors.Join(forced.Close(), other.Close()))
		free, err := OpenTarget(c.target, partition, TargetOptions{})
		must(t, err)
		must(t, free.Close())
	}
	_, same := testsys.Partitioned(t, backing)
	testsys.Format(t, "ext4", same)
	at := testsys.MountDevice(t, "ext4", same)
	var use *UseError
	for _, o := range []TargetOptions{{}, {DryRun: true}, {Force: true}} {
		if _, err := OpenTarget(part, partition, o); !errors.As(err, &use) {
			t.Errorf("the same partition, of another device, is mounted: %v", err)
		}
	}
	warned := ""
	out := sourcetest.NewWriter()
	must(t, New(Options{Devices: []Input{{Path: "/disk", Read: part}}, Warn: func(m string) { warned = m }}).Write(t.Context(), out))
	if d := findDetail(t, out.Details(), "/disk"); !d.Live || !strings.Contains(warned, at) {
		t.Errorf("%q, %+v", warned, d)
	}
}

func TestWrite_PartOfItIsMounted_IsLive(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	backing := image(t, filepath.Join(t.TempDir(), "backing"), 64<<20, nil)
	disk, part := testsys.Partitioned(t, backing)
	testsys.Format(t, "ext4", part)
	live := func(path string) bool {
		t.Helper()
		warned := ""
		out := sourcetest.NewWriter()
		must(t, New(Options{Devices: []Input{{Path: "/disk", Read: path}}, Warn: func(m string) { warned = m }}).Write(t.Context(), out))
		d := findDetail(t, out.Details(), "/disk")
		if d.Live != (warned != "") {
			t.Errorf("%s: %q, %+v", path, warned, d)
		}
		return d.Live
	}
	for _, path := range []string{disk, backing} {
		if live(path) {
			t.Errorf("%s is in use by nobody", path)
		}
	}
	testsys.MountDevice(t, "ext4", part)
	for _, path := range []string{disk, backing} {
		if !live(path) {
			t.Errorf("a partition of %s is mounted", path)
		}
	}
}

func TestCompare_PlacesAreNotUnique_IsRefused(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	dir := testsys.Mount(t, "ext4", 64<<20)
	a := image(t, filepath.Join(dir, "a"), BlockSize, map[int64][]byte{0: random(t, BlockSize)})
	b := image(t, filepath.Join(dir, "b"), BlockSize, map[int64][]byte{0: random(t, BlockSize)})
	if m, err := Compare(a, b); !errors.Is(err, ErrMap) {
		t.Errorf("on ext4: %+v, %v", m, err)
	}
}

// reflinkCopy copies an image within its file system.
func reflinkCopy(t testing.TB, from, to string) string {
	t.Helper()
	a, err := os.Open(from)
	must(t, err)
	b, err := os.Create(to)
	must(t, err)
	must(t, errors.Join(unix.IoctlFileClone(int(b.Fd()), int(a.Fd())), a.Close(), b.Close()))
	return to
}

// change overwrites places of an image, makes holes in it, and writes where it has some.
func change(t testing.TB, path string, size int64) {
	t.Helper()
	r := testrand.New(t)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	for range 12 {
		at, n := r.Int64N(size-70_000), 1+r.IntN(70_000)
		if r.IntN(4) == 0 {
			at &^= 4095
			must(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, int64(n)))
			continue
		}
		b := random(t, n)
		_, err := f.WriteAt(b, at)
		must(t, err)
	}
	must(t, f.Close())
}

func TestCompare_ReflinkCopies_WhatIsTheSameIsSame(t *testing.T) {
	if testing.Short() {
		t.Skip("has nothing for the race detector that others have not")
	}
	if !testsys.AsMounter(t) {
		return
	}
	const size = 24*BlockSize + 999
	for _, fs := range []string{"xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			dir := testsys.Mount(t, fs, 500<<20)
			current := image(t, filepath.Join(dir, "image"), size, map[int64][]byte{BlockSize / 2: random(t, 10*BlockSize), 20 * BlockSize: random(t, 9000)})
			older := reflinkCopy(t, current, filepath.Join(dir, "older"))
			first := sourcetest.NewWriter()
			_, err := backUp(t, first, Input{Path: "/image", Read: older})
			must(t, err)
			for range 4 {
				change(t, current, size)
				newer := reflinkCopy(t, current, older+"+")
				m, err := Compare(older, newer)
				must(t, err)
				must(t, source.CheckRanges(0, m.Ranges))
				second := first.Next()
				in := mapped(newer, m)
				in.Path = "/image"
				done, err := backUp(t, second, in)
				must(t, err)
				want, err := os.ReadFile(newer)
				must(t, err)
				if !bytes.Equal(second.Bytes("/image"), want) {
					t.Fatal("other bytes")
				}
				d := done.Devices[0]
				t.Logf("of %d bytes %d are the same, %d zero, %d were read", size, total(m.Ranges, source.Same), total(m.Ranges, source.Zero), d.Read)
				if d.Read > 3*BlockSize || d.Since != m.Since || d.State != m.State {
					t.Errorf("%+v", d)
				}
				older, first = newer, second
			}
			other := image(t, filepath.Join(t.TempDir(), "image"), size, nil)
			if _, err := Compare(other, current); !errors.Is(err, ErrMap) {
				t.Errorf("of another file system: %v", err)
			}
		})
	}
}

// takerFor returns one with leases in a folder.
func takerFor(t testing.TB, kind string) *snapshot.Taker {
	t.Helper()
	p, err := snapshot.New(kind, snapshot.Options{})
	must(t, err)
	l, err := snapshot.OpenLeases(t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return &snapshot.Taker{Kind: kind, Provider: p, Leases: l}
}

func TestWrite_ChangesOfKeptCopies_AreReadAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("has nothing for the race detector that others have not")
	}
	if !testsys.AsMounter(t) {
		return
	}
	const size = 24 * BlockSize
	for _, c := range []struct{ fs, kind string }{{"xfs", "reflink"}, {"btrfs", "btrfs"}} {
		t.Run(c.kind, func(t *testing.T) {
			dir := testsys.Mount(t, c.fs, 500<<20)
			path := image(t, filepath.Join(dir, "image"), size, map[int64][]byte{0: random(t, 12*BlockSize)})
			taker := takerFor(t, c.kind)
			run := func(out *sourcetest.Writer, safe bool) Detail {
				s := New(Options{Devices: []Input{{Path: path, Read: path}}, Taker: taker, Changes: true})
				must(t, s.Write(t.Context(), out))
				must(t, errors.Join(out.Finish(), s.Forget(t.Context(), safe)))
				want, err := os.ReadFile(path)
				must(t, err)
				if !bytes.Equal(out.Bytes(path), want) {
					t.Fatal("other bytes")
				}
				return *findDetail(t, out.Details(), path)
			}
			first := sourcetest.NewWriter()
			if d := run(first, true); d.Read != 12*BlockSize || d.Root == "" || d.State == "" {
				t.Errorf("%+v", d)
			}
			change(t, path, size)
			second := first.Next()
			if d := run(second, true); d.Read > 3*BlockSize || d.Since != findDetail(t, first.Details(), path).State {
				t.Errorf("%+v", d)
			}
			// A run that was not committed leaves nothing to compare with, but what was there before it.
			change(t, path, size)
			run(second.Next(), false)
			if d := run(second.Next(), true); d.Since == "" || d.Read > 5*BlockSize {
				t.Errorf("after a run that failed: %+v", d)
			}
			// With another parent all is read again.
			if d := run(first.Next(), true); d.Since != "" || d.Root == "" {
				t.Errorf("other parent: %+v", d)
			}
			all, err := os.ReadDir(dir)
			must(t, err)
			if len(all) != 2 {
				t.Errorf("%d entries are left, and not the image and one copy", len(all))
			}
		})
	}
}

func TestHoles_OfAnyImage_AreZeroAndComplete(t *testing.T) {
	if testing.Short() {
		t.Skip("has nothing for the race detector that others have not")
	}
	path := image(t, filepath.Join(t.TempDir(), "image"), 1<<40, map[int64][]byte{BlockSize: random(t, 5000), 1 << 39: random(t, 1)})
	d, err := Open(path)
	must(t, err)
	defer d.Close()
	got := d.Holes()
	must(t, source.CheckRanges(0, got))
	if end(got) != 1<<40 || total(got, source.Data) > BlockSize || !slices.ContainsFunc(got, func(r source.Range) bool { return r.Kind == source.Zero }) {
		t.Errorf("%+v", got)
	}
	out := sourcetest.NewWriter()
	done, err := backUp(t, out, Input{Path: "/disk", Read: path})
	must(t, err)
	if r := done.Devices[0].Read; r > 3*BlockSize || out.Entry("/disk").Content.Size() != 1<<40 {
		t.Errorf("%d bytes read", r)
	}
}
