package device

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/device/snapshot"
	"github.com/kura-backup/kura/source/sourcetest"
	"github.com/kura-backup/kura/tree"
)

func TestMain(m *testing.M) { testsys.VerifyMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// image writes an image of pieces at offsets, with holes around them.
func image(t testing.TB, path string, size int64, pieces map[int64][]byte) string {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for at, b := range pieces {
		_, err := f.WriteAt(b, at)
		must(t, err)
	}
	must(t, f.Truncate(size))
	must(t, f.Sync())
	return path
}

// random returns bytes that do not compress.
func random(t testing.TB, n int) []byte {
	r := testrand.New(t)
	var key [32]byte
	for i := range key {
		key[i] = byte(r.Uint32())
	}
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

func backUp(t testing.TB, out *sourcetest.Writer, in ...Input) (Details, error) {
	t.Helper()
	var all Details
	s := New(Options{Devices: in, Done: func(d Detail) { all.Devices = append(all.Devices, d) }})
	err := s.Write(t.Context(), out)
	if err == nil {
		must(t, out.Finish())
	}
	return all, err
}

// findDetail returns what details say of a path.
func findDetail(t testing.TB, details []byte, path string) *Detail {
	t.Helper()
	all, err := ReadDetails(details)
	must(t, err)
	return all.Find(path)
}

// newer returns what has been written by a kura that knows more of devices.
func newer(t testing.TB) *sourcetest.Writer {
	t.Helper()
	out := sourcetest.NewWriter()
	must(t, errors.Join(out.Describe(map[string]any{Kind: map[string]any{"format": detailsFormat + 1, "devices": "some"}}), out.Finish()))
	return out
}

func TestReadDetails_OtherKindsAndFormats(t *testing.T) {
	for text, want := range map[string]struct {
		devices int
		err     error
	}{
		`{"device":{"format":1,"devices":[{"path":"/a"},{"path":"/b"}]}}`: {devices: 2},
		"": {}, "{}": {}, "[]": {}, `{"redis":{"format":1}}`: {}, `{"device":[]}`: {},
		`{"devices":[{"path":"/a"}]}`: {}, `{"device":{"devices":[{"path":"/a"}]}}`: {}, `{"device":{"format":0,"devices":[{"path":"/a"}]}}`: {},
		`{"device":{"format":1,"devices":[{"path":"/a"},{"path":7}]}}`: {},
		`{"device":{"format":2,"devices":[{"path":"/a"}]}}`:            {err: source.ErrNewer},
	} {
		d, err := ReadDetails([]byte(text))
		if len(d.Devices) != want.devices || !errors.Is(err, want.err) || (d.Find("/a") != nil) != (want.devices > 0) || d.Find("/c") != nil {
			t.Errorf("%s: %+v, %v", text, d, err)
		}
	}
}

// What a newer version has said of the device is no reason not to back it up.
func TestWrite_ChangesSinceANewerVersionsRun_ReadsEverything(t *testing.T) {
	data := random(t, 2*BlockSize)
	path := image(t, filepath.Join(t.TempDir(), "image"), int64(len(data)), map[int64][]byte{0: data})
	var warned []string
	out := newer(t).Next()
	s := New(Options{Devices: []Input{{Path: "/disk", Read: path}}, Changes: true, Warn: func(m string) { warned = append(warned, m) }})
	must(t, errors.Join(s.Write(t.Context(), out), out.Finish()))
	if d := findDetail(t, out.Details(), "/disk"); d == nil || d.Read != int64(len(data)) || d.Since != "" {
		t.Errorf("%+v", d)
	}
	if len(warned) != 1 || !bytes.Equal(out.Bytes("/disk"), data) {
		t.Errorf("%q", warned)
	}
}

func rootOf(b []byte) string {
	h := newRootHasher(int64(len(b)))
	for at := 0; at < len(b); at += BlockSize {
		leaf := leafOf(b[at:min(at+BlockSize, len(b))], false)
		h.add(&leaf)
	}
	return h.sum().String()
}

func TestWrite_ImageWithHolesAndZeros_IsExactAndNothingOfThemIsRead(t *testing.T) {
	const size = 40*BlockSize + 777
	data := random(t, 3*BlockSize)
	path := image(t, filepath.Join(t.TempDir(), "image"), size, map[int64][]byte{
		5 * BlockSize: data, 20*BlockSize - 5000: make([]byte, 3*BlockSize), size - 700: data[:700],
	})
	out := sourcetest.NewWriter()
	all, err := backUp(t, out, Input{Path: "/disk", Read: path})
	must(t, err)
	want, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(out.Bytes("/disk"), want) {
		t.Fatal("other bytes")
	}
	d := all.Devices[0]
	if d.Root != rootOf(want) || d.Size != size || d.Type != "file" || d.State == "" || d.Live {
		t.Errorf("%+v", d)
	}
	written := out.Entry("/disk").Content.Written()
	t.Logf("of %d bytes %d were read and %d written", size, d.Read, written)
	if d.Read > 10*BlockSize || written > 5*BlockSize {
		t.Errorf("%d bytes read, %d written", d.Read, written)
	}
	if got := findDetail(t, out.Details(), "/disk"); got == nil || *got != d {
		t.Errorf("described as %+v", got)
	}
}

func TestWrite_Sizes_AreExact(t *testing.T) {
	dir := t.TempDir()
	for i, size := range []int{1, 511, 4095, 4096, 4097, BlockSize - 1, BlockSize, BlockSize + 1, 17*BlockSize + 3, 33 * BlockSize} {
		want := random(t, size)
		path := image(t, filepath.Join(dir, fmt.Sprint(i)), int64(size), map[int64][]byte{0: want})
		out := sourcetest.NewWriter()
		all, err := backUp(t, out, Input{Path: "/disk", Read: path})
		must(t, err)
		if d := all.Devices[0]; !bytes.Equal(out.Bytes("/disk"), want) || d.Root != rootOf(want) || d.Read != int64(size) {
			t.Errorf("%d bytes: %+v", size, d)
		}
	}
}

func TestWrite_WhatIsNoDevice_IsRefused(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	must(t, unix.Mkfifo(fifo, 0o600))
	for path, want := range map[string]error{
		fifo: ErrKind, dir: ErrKind, "/dev/null": ErrKind, filepath.Join(dir, "none"): os.ErrNotExist,
		image(t, filepath.Join(dir, "empty"), 0, nil): ErrEmpty,
	} {
		if _, err := backUp(t, sourcetest.NewWriter(), Input{Path: "/disk", Read: path}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

// shrinking is a writer that changes the image while it is read.
type shrinking struct {
	*sourcetest.Writer
	do func()
}

func (w shrinking) Create(p string, n tree.Node) (source.File, error) {
	f, err := w.Writer.Create(p, n)
	return shrinkingFile{f, w.do}, err
}

type shrinkingFile struct {
	source.File
	do func()
}

func (f shrinkingFile) ReadFrom(r io.Reader) (int64, error) {
	f.do()
	return f.File.ReadFrom(r)
}

func TestWrite_SizeChangesWhileItIsRead_Fails(t *testing.T) {
	const size = 40 * BlockSize
	for name, c := range map[string]struct {
		to   int64
		want error
	}{"shrinks": {BlockSize * 30, ErrEnded}, "grows": {size + 512, ErrResized}} {
		path := image(t, filepath.Join(t.TempDir(), "image"), size, map[int64][]byte{0: random(t, size)})
		out := shrinking{sourcetest.NewWriter(), func() { must(t, os.Truncate(path, c.to)) }}
		err := New(Options{Devices: []Input{{Path: "/disk", Read: path}}}).Write(t.Context(), out)
		var read *ReadError
		if !errors.Is(err, c.want) || c.want == ErrEnded && (!errors.As(err, &read) || read.Offset != c.to) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWrite_WrittenToWhileItIsRead_IsSaidAndHasNoState(t *testing.T) {
	path := image(t, filepath.Join(t.TempDir(), "image"), 40*BlockSize, map[int64][]byte{0: random(t, 40*BlockSize)})
	out := shrinking{sourcetest.NewWriter(), func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteAt([]byte("x"), 38*BlockSize)
		must(t, errors.Join(err, f.Close()))
	}}
	warned := ""
	o := Options{Devices: []Input{{Path: "/disk", Read: path}}, Warn: func(m string) { warned = m }}
	must(t, New(o).Write(t.Context(), out))
	if d := findDetail(t, out.Details(), "/disk"); warned == "" || !d.Live || d.State != "" {
		t.Errorf("%q, %+v", warned, d)
	}
}

func TestWrite_Cancelled_Ends(t *testing.T) {
	path := image(t, filepath.Join(t.TempDir(), "image"), 40*BlockSize, map[int64][]byte{0: random(t, 40*BlockSize)})
	ctx, cancel := context.WithCancel(t.Context())
	out := shrinking{sourcetest.NewWriter(), cancel}
	if err := New(Options{Devices: []Input{{Path: "/disk", Read: path}}}).Write(ctx, out); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A copy that is full, or whose pool is, is in the way of others: it must not wait for a store that takes nothing.
func TestWrite_CopySpoiledWhileTheStoreTakesNothing_IsRemovedAllTheSame(t *testing.T) {
	dir := t.TempDir()
	full, removed := filepath.Join(dir, "full"), filepath.Join(dir, "removed")
	disk := image(t, filepath.Join(dir, "image"), 40*BlockSize, map[int64][]byte{0: random(t, 40*BlockSize)})
	leases, err := snapshot.OpenLeases(filepath.Join(dir, "leases"))
	must(t, err)
	defer leases.Close()
	command := fmt.Sprintf("case $KURA_SNAPSHOT in create) echo %s;; check) test ! -e %s;; remove) touch %s;; esac", disk, full, removed)
	provider, err := snapshot.New("command", snapshot.Options{Command: command})
	must(t, err)
	s := New(Options{
		Devices: []Input{{Path: "/disk", Read: disk}, {Path: "/again", Read: disk}},
		Taker:   &snapshot.Taker{Kind: "command", Provider: provider, Leases: leases},
	})
	s.watchEvery = time.Millisecond
	out := shrinking{sourcetest.NewWriter(), func() {
		must(t, os.WriteFile(full, nil, 0o600))
		for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if _, err := os.Stat(removed); err == nil {
				return
			}
		}
		t.Error("it is still there")
	}}
	if err := s.Write(t.Context(), out); !errors.Is(err, snapshot.ErrOverflow) {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "leases")); err != nil || len(left) != 0 {
		t.Errorf("%d leases, %v", len(left), err)
	}
}

// What fails once, and not when it is read in parts to find out where, has been read.
func TestReadAt_WorksTheSecondTime_IsRead(t *testing.T) {
	want := random(t, 3*BlockSize)
	d, err := Open(image(t, filepath.Join(t.TempDir(), "image"), int64(len(want)), map[int64][]byte{0: want}))
	must(t, err)
	defer d.Close()
	must(t, d.indirect())
	for _, n := range []int{100, 4096, BlockSize + 5} {
		p := make([]byte, n)
		if m, err := d.narrow(p, 1, unix.EINVAL); err != nil || m != n || !bytes.Equal(p, want[1:n+1]) {
			t.Errorf("%d bytes: %d, %v", n, m, err)
		}
	}
}

func TestReadAt_AnyPlaceAndMemory_SameBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("has nothing for the race detector that others have not")
	}
	want := random(t, 3*BlockSize+123)
	d, err := Open(image(t, filepath.Join(t.TempDir(), "image"), int64(len(want)), map[int64][]byte{0: want}))
	must(t, err)
	defer d.Close()
	t.Logf("direct: %v", d.direct.Load())
	for _, at := range []int{0, 1, 511, 4096, BlockSize - 1, 2*BlockSize + 7, len(want) - 1, len(want) - 5000} {
		for _, n := range []int{1, 100, 4096, 10_000, BlockSize + 5} {
			p := make([]byte, n+1)[1:] // not aligned
			m, err := d.ReadAt(p, int64(at))
			if k := min(n, len(want)-at); m != k || !bytes.Equal(p[:m], want[at:at+k]) || (err == io.EOF) != (k < n) || err != nil && err != io.EOF {
				t.Errorf("%d bytes at %d: %d, %v", n, at, m, err)
			}
		}
	}
	if n, err := d.ReadAt(make([]byte, 1), int64(len(want))); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
}
