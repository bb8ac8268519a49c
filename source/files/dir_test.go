package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/tree"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPool_DeepFolders_KeepsToItsLimit(t *testing.T) {
	const depth, limit = 40, 4
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, strings.Repeat("d/", depth)), 0o755))
	p := newPool(limit)
	defer p.Close()
	dirs := []*Dir{p.Root(root).Child(".")}
	for range depth {
		dirs = append(dirs, dirs[len(dirs)-1].Child("d"))
	}
	for _, order := range []string{"down", "up", "down"} {
		for i := range dirs {
			if order == "up" {
				i = depth - i
			}
			entries, err := dirs[i].List()
			must(t, err)
			if (len(entries) == 1) != (i < depth) {
				t.Fatalf("%s, level %d: %v", order, i, entries)
			}
			if p.open > limit {
				t.Fatalf("%s, level %d: %d are open", order, i, p.open)
			}
		}
	}
	p.Close()
	if p.open != 0 {
		t.Errorf("%d are open after Close", p.open)
	}
}

func TestDir_ReplacedMeanwhile_IsNoticed(t *testing.T) {
	root := t.TempDir()
	at := filepath.Join(root, "d")
	must(t, os.Mkdir(at, 0o755))
	p := newPool(4)
	defer p.Close()
	d := p.Root(root).Child("d")
	_, err := d.List()
	must(t, err)
	d.Close() // as the pool does when others are used
	must(t, os.Rename(at, at+" moved"))
	must(t, os.Mkdir(at, 0o755))
	if _, err := d.List(); !errors.Is(err, ErrReplaced) {
		t.Errorf("another folder: %v", err)
	}
	must(t, os.Remove(at))
	must(t, os.Symlink(at+" moved", at))
	if _, err := d.List(); !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
		t.Errorf("a symlink to the same folder: %v", err)
	}
}

func TestList_Names_SortedByBytes(t *testing.T) {
	root := t.TempDir()
	want := []string{"A", "a", "a b", "a-", "a.", strings.Repeat("n", 255), "\xc3\xa9", "\xff"}
	for i := range 500 { // more than one call of the kernel returns at once, with the long ones
		want = append(want, fmt.Sprintf("%s%03d", strings.Repeat("long", 60), i))
	}
	for _, name := range want {
		must(t, os.WriteFile(filepath.Join(root, name), nil, 0o644))
	}
	must(t, os.Mkdir(filepath.Join(root, "dir"), 0o755))
	want = append(want, "dir")
	slices.Sort(want)
	p := newPool(4)
	defer p.Close()
	entries, err := p.Root(root).Child(".").List()
	must(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name)
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(root, e.Name), &st))
		if e.Inode != st.Ino {
			t.Errorf("%q: inode %d, want %d", e.Name, e.Inode, st.Ino)
		}
		if e.Type != 0 && (e.Type == tree.Folder) != (e.Name == "dir") {
			t.Errorf("%q: %v", e.Name, e.Type)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestOpen_NoRegularFile_NeitherBlocksNorFollows(t *testing.T) {
	root := t.TempDir()
	must(t, os.WriteFile(filepath.Join(root, "target"), []byte("x"), 0o644))
	must(t, os.Symlink("target", filepath.Join(root, "link")))
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o600))
	must(t, os.Mkdir(filepath.Join(root, "dir"), 0o755))
	p := newPool(4)
	defer p.Close()
	d := p.Root(root)
	for _, name := range []string{"link", "fifo", "dir"} {
		f, err := d.Open(t.Context(), name, 0)
		if err == nil {
			_, err = f.Same(&Stat{})
			f.Close()
		}
		if !errors.Is(err, ErrOtherType) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOpen_LeasedFile_WaitsForIt: whoever serves files to others may hold a lease on one.
func TestOpen_LeasedFile_WaitsForIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(path, []byte("x"), 0o644))
	holder, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer holder.Close()
	fd := holder.Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skip(err)
	}
	p := newPool(4)
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.Root(filepath.Dir(path)).Open(ctx, "f", uint32(os.Getuid())); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("while the lease is held: %v", err)
	}
	released := make(chan struct{})
	go func() {
		defer close(released)
		time.Sleep(20 * time.Millisecond)
		if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK); err != nil {
			t.Error(err)
		}
	}()
	f, err := p.Root(filepath.Dir(path)).Open(t.Context(), "f", uint32(os.Getuid()))
	<-released
	must(t, err)
	f.Close()
}

func TestFileTime_FractionOfMoreThanASecond_IsCut(t *testing.T) {
	if got := fileTime(5, 1_073_741_823); got != tree.MakeTime(5, 999_999_999) {
		t.Errorf("%+v", got)
	}
}

func TestNextHole_SparseFile_FindsAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(path)
	must(t, err)
	const size = 3 << 20
	must(t, f.Truncate(size))
	_, err = f.WriteAt(make([]byte, 1<<20), 1<<20)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	p := newPool(4)
	defer p.Close()
	file, err := p.Root(filepath.Dir(path)).Open(t.Context(), "f", 0)
	must(t, err)
	defer file.Close()
	var got [][2]int64
	for off := int64(0); ; {
		start, end, err := file.NextHole(off, size)
		must(t, err)
		if start == end {
			break
		}
		got = append(got, [2]int64{start, end})
		off = end
	}
	if want := [][2]int64{{0, 1 << 20}, {2 << 20, size}}; !slices.Equal(got, want) && len(got) != 0 {
		t.Errorf("%v, want %v, or none where there are no holes", got, want)
	}
}
