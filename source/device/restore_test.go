package device

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/durable"
)

// extentsOf cuts what is to be restored into extents, as a repository has them: of any length, long runs of zeros apart.
func extentsOf(want []byte, sizes ...int) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		for at, i := 0, 0; at < len(want); i++ {
			n := min(sizes[i%len(sizes)], len(want)-at)
			data := want[at : at+n]
			e := Extent{Start: int64(at), Length: int64(n), Zero: bytes.Count(data, []byte{0}) == n}
			if !e.Zero {
				e.Is = func(b []byte) bool { return bytes.Equal(b, data) }
				e.Load = func(context.Context) ([]byte, error) { return bytes.Clone(data), nil }
			}
			if !yield(e, nil) {
				return
			}
			at += n
		}
	}
}

func restore(t testing.TB, path string, want []byte, o TargetOptions, root string) (*Restored, error) {
	t.Helper()
	target, err := OpenTarget(path, int64(len(want)), o)
	if err != nil {
		return nil, err
	}
	defer target.Close()
	r := new(Restored)
	extents := extentsOf(want, 700_000, 123_456, 3*BlockSize)
	if err := target.Restore(t.Context(), extents, r); err != nil {
		return r, err
	}
	return r, target.Finish(t.Context(), root, extents, r)
}

// Of two restores to one new file the second one must not go on writing to what the first has finished.
func TestOpenTarget_PartialOfAnother_IsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new")
	first, err := OpenTarget(path, 4<<20, TargetOptions{})
	must(t, err)
	if second, err := OpenTarget(path, 4<<20, TargetOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("two at once: %v", err)
		must(t, second.Close())
	}
	must(t, first.Close())
	again, err := OpenTarget(path, 4<<20, TargetOptions{}) // as after it was cut off
	must(t, err)
	must(t, again.Close())

	partial := path + partialSuffix
	other := filepath.Join(filepath.Dir(path), "other")
	for name, do := range map[string]func() error{
		"that others can write to": func() error { return os.Chmod(partial, 0o666) },
		"that others can read":     func() error { return os.Chmod(partial, 0o640) },
		"that has another name":    func() error { return os.Link(partial, other) },
		"that is another's": func() error {
			if os.Geteuid() != 0 {
				return os.Chmod(partial, 0o606)
			}
			return os.Chown(partial, 12345, 12345)
		},
	} {
		must(t, errors.Join(os.WriteFile(partial, []byte("x"), 0o600), os.Chmod(partial, 0o600), do()))
		target, err := OpenTarget(path, 4<<20, TargetOptions{})
		if !errors.Is(err, ErrInUse) {
			t.Errorf("one %s: %v", name, err)
			must(t, target.Close())
		}
		if b, err := os.ReadFile(partial); err != nil || string(b) != "x" {
			t.Errorf("one %s was changed: %v", name, err)
		}
		must(t, os.Remove(partial))
		_ = os.Remove(other)
	}

	must(t, os.Symlink("nowhere", path))
	for _, dry := range []bool{false, true} {
		if _, err := OpenTarget(path, 4<<20, TargetOptions{DryRun: dry}); !errors.Is(err, ErrKind) {
			t.Errorf("a symlink to nowhere: %v", err)
		}
	}
}

// fileOf is what a file system says of a file.
type fileOf struct {
	os.FileInfo
	mode       os.FileMode
	uid, links int
}

func (f fileOf) Mode() os.FileMode { return f.mode }

func (f fileOf) Sys() any {
	st := &syscall.Stat_t{Uid: uint32(f.uid)}
	for range f.links { // a number of another type on each architecture
		st.Nlink++
	}
	return st
}

func TestOwnPartial_FileSystemHasOwnersAndModesOfItsOwn_IsGoneOnWith(t *testing.T) {
	for _, c := range []struct {
		what       string
		file, made fileOf
		own        bool
	}{
		{"as usual", fileOf{mode: 0o600, links: 1}, fileOf{mode: 0o600, links: 1}, true},
		{"FAT", fileOf{mode: 0o755, uid: 1000, links: 1}, fileOf{mode: 0o755, uid: 1000, links: 1}, true},
		{"NFS, where root is nobody", fileOf{mode: 0o600, uid: 65534, links: 1}, fileOf{mode: 0o600, uid: 65534, links: 1}, true},
		{"nobody's, where root is root", fileOf{mode: 0o600, uid: 65534, links: 1}, fileOf{mode: 0o600, links: 1}, false},
		{"others write", fileOf{mode: 0o757, uid: 1000, links: 1}, fileOf{mode: 0o755, uid: 1000, links: 1}, false},
		{"others read", fileOf{mode: 0o644, links: 1}, fileOf{mode: 0o600, links: 1}, false},
		{"two names", fileOf{mode: 0o600, links: 2}, fileOf{mode: 0o600, links: 1}, false},
	} {
		if own := asMade(c.file, c.made); own != c.own {
			t.Errorf("%s: %v", c.what, own)
		}
	}
}

// Over SMB who has locked a file keeps everybody else from reading it, and everybody else is who opens it once more.
func TestRestore_LockKeepsOthersFromReading_IsComparedAllTheSame(t *testing.T) {
	want := sample(t)
	dir := t.TempDir()
	there := image(t, filepath.Join(dir, "there"), int64(len(want)), nil)
	for path, root := range map[string]string{filepath.Join(dir, "new"): rootOf(want), there: ""} {
		target, err := OpenTarget(path, int64(len(want)), TargetOptions{})
		must(t, err)
		watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
		must(t, err)
		defer unix.Close(watch)
		_, err = unix.InotifyAddWatch(watch, target.at, unix.IN_OPEN)
		must(t, err)
		r := new(Restored)
		extents := extentsOf(want, 700_000)
		must(t, errors.Join(target.Restore(t.Context(), extents, r), target.Finish(t.Context(), root, extents, r), target.Close()))
		if n, err := unix.Read(watch, make([]byte, 4096)); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("%s was opened once more: %d bytes of events, %v", path, n, err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) || r.Checked.Load() != int64(len(want)) {
			t.Errorf("%s: %d of %d bytes were compared, %v", path, r.Checked.Load(), len(want), err)
		}
	}
}

// poor is a file system that lacks something.
type poor struct {
	durable.FS
	links bool
}

func (poor) RenameNoReplace(string, string) error { return errors.ErrUnsupported }

func (p poor) Link(from, to string) error {
	if !p.links {
		return unix.EPERM
	}
	return p.FS.Link(from, to)
}

func TestPublish_FileSystemLacksSomething_NamedAllTheSame(t *testing.T) {
	for _, links := range []bool{true, false} {
		at := t.TempDir()
		dir, err := durable.OpenDir(at)
		must(t, err)
		defer dir.Close()
		must(t, os.WriteFile(filepath.Join(at, "a"), []byte("a"), 0o600))
		must(t, publish(poor{dir, links}, "a", "b"))
		must(t, os.WriteFile(filepath.Join(at, "a"), []byte("new"), 0o600))
		if err := publish(poor{dir, links}, "a", "b"); !errors.Is(err, os.ErrExist) {
			t.Errorf("links %v: replaced: %v", links, err)
		}
		if b, err := os.ReadFile(filepath.Join(at, "b")); err != nil || string(b) != "a" {
			t.Errorf("links %v: %q, %v", links, b, err)
		}
	}
}

func TestRestore_CutShorterBeforeItIsCompared_Fails(t *testing.T) {
	want := sample(t)
	clear(want[20*BlockSize:]) // zeros are what is missing
	for _, root := range []string{rootOf(want), ""} {
		path := filepath.Join(t.TempDir(), "new")
		target, err := OpenTarget(path, int64(len(want)), TargetOptions{})
		must(t, err)
		r := new(Restored)
		extents := extentsOf(want, 700_000)
		must(t, target.Restore(t.Context(), extents, r))
		must(t, os.Truncate(path+partialSuffix, 21*BlockSize))
		if err := target.Finish(t.Context(), root, extents, r); !errors.Is(err, ErrVerify) {
			t.Errorf("root %q: %v", root, err)
		}
		must(t, target.Close())
	}
}

func sample(t testing.TB) []byte {
	want := make([]byte, 30*BlockSize+4711)
	copy(want[2*BlockSize:], random(t, 5*BlockSize))
	copy(want[20*BlockSize-99:], random(t, 2*BlockSize))
	return want
}

func TestRestore_NewFile_IsExactAndSparse(t *testing.T) {
	want := sample(t)
	path := filepath.Join(t.TempDir(), "new")
	r, err := restore(t, path, want, TargetOptions{}, rootOf(want))
	must(t, err)
	got, err := os.ReadFile(path)
	must(t, err)
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	t.Logf("%d bytes take %d; %d written, %d checked", len(want), st.Blocks*512, r.Written.Load(), r.Checked.Load())
	if !bytes.Equal(got, want) || st.Blocks*512 > 14*BlockSize || r.Checked.Load() != int64(len(want)) || r.Done.Load() != int64(len(want)) {
		t.Errorf("%d done, %d checked", r.Done.Load(), r.Checked.Load())
	}
}

func TestRestore_IntoAnotherState_WritesOnlyWhatDiffers(t *testing.T) {
	want := sample(t)
	for _, root := range []string{rootOf(want), ""} {
		old := bytes.Clone(want)
		old[3*BlockSize+5] ^= 1
		old[21*BlockSize-1] ^= 1
		copy(old[10*BlockSize:], random(t, 4096))
		path := image(t, filepath.Join(t.TempDir(), "old"), int64(len(old)), map[int64][]byte{0: old})
		dry, err := restore(t, path, want, TargetOptions{DryRun: true}, root)
		must(t, err)
		if got, _ := os.ReadFile(path); !bytes.Equal(got, old) {
			t.Fatal("a dry run has written")
		}
		r, err := restore(t, path, want, TargetOptions{}, root)
		must(t, err)
		got, err := os.ReadFile(path)
		must(t, err)
		t.Logf("written %d, made zero %d, fetched %d; dry: fetched %d, made zero %d", r.Written.Load(), r.Zeroed.Load(), r.Fetched.Load(), dry.Fetched.Load(), dry.Zeroed.Load())
		if !bytes.Equal(got, want) || r.Written.Load() != 2*4096 || r.Zeroed.Load() == 0 || r.Zeroed.Load() > 4*BlockSize ||
			dry.Fetched.Load() != r.Fetched.Load() || dry.Zeroed.Load() != r.Zeroed.Load() || dry.Done.Load() != int64(len(want)) || r.Checked.Load() != int64(len(want)) {
			t.Errorf("exact: %v", bytes.Equal(got, want))
		}
		again, err := restore(t, path, want, TargetOptions{}, root)
		must(t, err)
		if again.Written.Load()+again.Zeroed.Load()+again.Fetched.Load() != 0 || again.Same.Load() != int64(len(want)) {
			t.Errorf("the second time: %d written", again.Written.Load())
		}
	}
}

func TestRestore_AnyOldState_BecomesTheWantedOne(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		state := func(name string) []byte {
			b := make([]byte, 0, 1<<20)
			for range rapid.IntRange(1, 9).Draw(t, name) {
				n := rapid.IntRange(1, 90_000).Draw(t, name+" length")
				b = append(b, bytes.Repeat([]byte{byte(rapid.IntRange(0, 2).Draw(t, name+" value"))}, n)...)
			}
			return b
		}
		want, old := state("want"), state("old")
		path := filepath.Join(dir, "image")
		if err := os.WriteFile(path, old, 0o600); err != nil {
			t.Fatal(err)
		}
		target, err := OpenTarget(path, int64(len(want)), TargetOptions{Force: true})
		if err != nil {
			t.Fatal(err)
		}
		defer target.Close()
		r := new(Restored)
		extents := extentsOf(want, rapid.IntRange(512, 200_000).Draw(t, "extents"))
		root := rapid.SampledFrom([]string{"", rootOf(want)}).Draw(t, "root")
		if err := errors.Join(target.Restore(t.Context(), extents, r), target.Finish(t.Context(), root, extents, r)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("other bytes: %v", err)
		}
		if sum := r.Same.Load() + r.Written.Load() + r.Zeroed.Load(); sum != int64(len(want)) || r.Checked.Load() != sum {
			t.Fatalf("%d bytes, %d accounted for, %d checked", len(want), sum, r.Checked.Load())
		}
	})
}

func TestRestore_RootOfOtherContent_IsFound(t *testing.T) {
	want := sample(t)
	path := filepath.Join(t.TempDir(), "new")
	if _, err := restore(t, path, want, TargetOptions{}, rootOf(want[1:])); !errors.Is(err, ErrVerify) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not what it should be has its name: %v", err)
	}
}

func TestRestore_TruncatedOrLongerContent_Fails(t *testing.T) {
	want := sample(t)
	for _, size := range []int{len(want) - 1, len(want) + 1} {
		target, err := OpenTarget(filepath.Join(t.TempDir(), "new"), int64(size), TargetOptions{})
		must(t, err)
		if err := target.Restore(t.Context(), extentsOf(want, 1<<20), new(Restored)); err == nil {
			t.Errorf("%d bytes: no error", size)
		}
		must(t, target.Close())
	}
}

func TestRestore_CutOff_TheNextRunGoesOn(t *testing.T) {
	want := sample(t)
	path := filepath.Join(t.TempDir(), "new")
	target, err := OpenTarget(path, int64(len(want)), TargetOptions{})
	must(t, err)
	bad := errors.New("bad")
	n := 0
	failing := func(yield func(Extent, error) bool) {
		for e := range extentsOf(want, 700_000, 123_456, 3*BlockSize) {
			if n++; n > 12 {
				yield(e, bad)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
	if err := target.Restore(t.Context(), failing, new(Restored)); !errors.Is(err, bad) {
		t.Fatal(err)
	}
	must(t, target.Close())
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("half of it has the name: %v", err)
	}
	r, err := restore(t, path, want, TargetOptions{}, rootOf(want))
	must(t, err)
	got, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(got, want) || r.Written.Load() >= 7*BlockSize {
		t.Errorf("%d written again", r.Written.Load())
	}
}

func TestOpenTarget_WrongOnes_AreRefused(t *testing.T) {
	dir := t.TempDir()
	other := image(t, filepath.Join(dir, "other"), 1000, nil)
	fifo := filepath.Join(dir, "fifo")
	must(t, unix.Mkfifo(fifo, 0o600))
	for path, want := range map[string]error{
		other: ErrSize, fifo: ErrKind, dir: ErrKind, "/dev/no-such-device": os.ErrNotExist, filepath.Join(dir, "none", "x"): os.ErrNotExist,
	} {
		if _, err := OpenTarget(path, 2000, TargetOptions{}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}

	locked, err := os.OpenFile(image(t, filepath.Join(dir, "locked"), 2000, nil), os.O_RDWR, 0)
	must(t, err)
	defer locked.Close()
	must(t, unix.FcntlFlock(locked.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: 100, Len: 1}))
	if _, err := OpenTarget(locked.Name(), 2000, TargetOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("locked: %v", err)
	}
	target, err := OpenTarget(locked.Name(), 2000, TargetOptions{Force: true})
	must(t, err)
	must(t, target.Close())
}
