package backup

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/tree"
)

// TestRun_OneOfEverything_IsInTheSnapshot looks at what does not come back on a restore, or not everywhere. That the
// rest is right, a restore shows.
func TestRun_OneOfEverything_IsInTheSnapshot(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	t.Logf("lacking: %q", testsys.Gallery(t, root))
	l, err := net.Listen("unix", at("socket"))
	must(t, err)
	defer l.Close()
	snap := mustRun(t, r, Options{Paths: []string{root}, Host: "h"}).Snapshot
	find := func(name string) *tree.Node {
		t.Helper()
		n, err := r.Find(t.Context(), snap, at(name))
		must(t, err)
		return n
	}
	if n := find("socket"); n.Type != tree.Socket || n.Inode == 0 {
		t.Errorf("%+v", n)
	}
	for _, name := range []string{"small", "sticky", "dangling", "fifo"} {
		var x unix.Statx_t
		must(t, unix.Statx(unix.AT_FDCWD, at(name), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME, &x))
		want := tree.Time{}
		if x.Mask&unix.STATX_BTIME != 0 {
			want = tree.MakeTime(x.Btime.Sec, x.Btime.Nsec)
		}
		if n := find(name); n.BTime != want {
			t.Errorf("%s: born at %v, not %v", name, n.BTime.Time(), want.Time())
		}
	}
	if n := find("terabyte"); n.Size != 1<<40 || len(n.Content.IDs) != 1 {
		t.Errorf("%d bytes in %d chunks", n.Size, len(n.Content.IDs))
	}
	for name, want := range map[string]int{"no dump": testsys.FlagNoDump | testsys.FlagNoAtime, "immutable": testsys.FlagImmutable, "append only": testsys.FlagAppend} {
		if now, err := testsys.Flags(at(name)); err != nil || now&want != want {
			continue // none here, or not for this user
		}
		if n := find(name); n.Flags&uint32(want) != uint32(want) || n.Size == 0 {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

func TestRun_LargestAttribute_IsWhole(t *testing.T) {
	r, _ := newRepo(t)
	root := testsys.MemoryDir(t)
	path := filepath.Join(root, "f")
	must(t, os.WriteFile(path, []byte("x"), 0o644))
	value := make([]byte, 64<<10)
	value[0], value[len(value)-1] = 1, 2
	if err := unix.Setxattr(path, "user.largest", value, 0); err != nil {
		t.Skip(err)
	}
	snap := mustRun(t, r, Options{Paths: []string{root}, Host: "h"}).Snapshot
	n, err := r.Find(t.Context(), snap, path)
	must(t, err)
	if len(n.XAttrs) != 1 {
		t.Fatalf("%+v", n.XAttrs)
	}
	got, err := r.LoadBlob(t.Context(), object.TreeBlob, n.XAttrs[0].Blob)
	if err != nil || string(got) != string(value) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
