package backup

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/tree"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mustHave returns an entry of a snapshot.
func mustHave(t testing.TB, got map[string]saved, path string) saved {
	t.Helper()
	e, ok := got[path]
	if !ok {
		t.Fatalf("the snapshot has no %s", path)
	}
	return e
}

func TestRun_EveryNodeType_MetadataAsOnDisk(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	makeTree(t, root, map[string]string{
		"setuid": "x", "sticky/": "", "closed": "x", "not utf-8 \xff\xfe": "x", "new\nline": "x",
		"old": "x", "epoch": "x", "far": "x", "linked": "both", "dir/setgid/": "", "xattr": "x",
	})
	must(t, os.Link(at("linked"), at("dir/again")))
	must(t, os.Symlink("../no such \xff", at("link")))
	must(t, unix.Mkfifo(at("fifo"), 0o640))
	l, err := net.Listen("unix", at("socket"))
	must(t, err)
	defer l.Close()
	if os.Getuid() == 0 {
		must(t, unix.Mknod(at("char"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		must(t, unix.Mknod(at("block"), unix.S_IFBLK|0o600, int(unix.Mkdev(259, 70000))))
		must(t, os.Lchown(at("link"), 123456, 54321))
		must(t, os.Chown(at("old"), 123456, 54321))
	}
	for name, mode := range map[string]uint32{"setuid": 0o6711, "sticky": 0o1777, "closed": 0o400, "dir/setgid": 0o2750} {
		must(t, unix.Chmod(at(name), mode))
	}
	for name, ts := range map[string]unix.Timespec{
		"old": {Sec: -1, Nsec: 999_999_999}, "epoch": {}, "far": {Sec: 5_000_000_000, Nsec: 1}, "link": {Sec: 1, Nsec: 2}, "dir": {Sec: 3, Nsec: 4},
	} {
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, at(name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
	must(t, unix.Setxattr(at("xattr"), "user.b", []byte("value \x00"), 0))
	must(t, unix.Setxattr(at("xattr"), "user.a", nil, 0))
	must(t, unix.Setxattr(at("dir"), "user.of a folder", []byte("v"), 0))

	got := readBack(t, r, mustRun(t, r, Options{Paths: []string{root}}).Snapshot)
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		must(t, err)
		wantMeta(t, mustHave(t, got, path).Node, path)
		return nil
	}))
	if a, b := got[at("linked")], got[at("dir/again")]; a.Inode != b.Inode || a.Links != 2 || b.Links != 2 || string(b.data) != "both" {
		t.Errorf("hard links: %+v, %+v", a.Node, b.Node)
	}
	if n := got[at("epoch")]; n.MTime.IsZero() {
		t.Error("the first moment of 1970 became an unknown time")
	}
	if os.Getuid() == 0 && got[at("block")].Device != 259<<32|70000 {
		t.Errorf("device %#x", got[at("block")].Device)
	}
}

// wantMeta compares a node with what lstat and listxattr say, which is not how the backup asks.
func wantMeta(t *testing.T, n *tree.Node, path string) {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	types := map[uint32]tree.Type{
		unix.S_IFREG: tree.File, unix.S_IFDIR: tree.Folder, unix.S_IFLNK: tree.Symlink, unix.S_IFIFO: tree.FIFO,
		unix.S_IFCHR: tree.CharDevice, unix.S_IFBLK: tree.BlockDevice, unix.S_IFSOCK: tree.Socket,
	}
	want := tree.Node{
		Name: filepath.Base(path), Type: types[st.Mode&unix.S_IFMT], Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid,
		MTime: tree.MakeTime(st.Mtim.Sec, uint32(st.Mtim.Nsec)), CTime: tree.MakeTime(st.Ctim.Sec, uint32(st.Ctim.Nsec)),
		Inode: st.Ino, User: n.User, Group: n.Group, BTime: n.BTime, Flags: n.Flags,
		Content: n.Content, Pages: n.Pages, Subtree: n.Subtree, XAttrs: n.XAttrs,
	}
	switch want.Type {
	case tree.File:
		want.Size = st.Size
	case tree.Symlink:
		target, err := os.Readlink(path)
		must(t, err)
		want.Target = target
	case tree.CharDevice, tree.BlockDevice:
		want.Device = uint64(unix.Major(st.Rdev))<<32 | uint64(unix.Minor(st.Rdev))
	}
	if st.Nlink > 1 && want.Type != tree.Folder {
		want.Links = uint64(st.Nlink)
	}
	if !equalNodes(n, &want) || n.Mount {
		t.Errorf("%q:\ngot  %+v\nwant %+v", path, n, want)
	}
	wantUser := st.Uid == 0
	if (n.User == "root") != wantUser {
		t.Errorf("%q: user %q of %d", path, n.User, st.Uid)
	}
	names := make([]byte, 4096)
	k, err := unix.Llistxattr(path, names)
	must(t, err)
	list := strings.FieldsFunc(string(names[:k]), func(r rune) bool { return r == 0 })
	slices.Sort(list)
	var have []string
	for _, x := range n.XAttrs {
		have = append(have, x.Name)
		value := make([]byte, 70_000)
		k, err := unix.Lgetxattr(path, x.Name, value)
		must(t, err)
		if x.Blob.IsZero() && !bytes.Equal(value[:k], x.Value) {
			t.Errorf("%q: %s is %q, not %q", path, x.Name, x.Value, value[:k])
		}
	}
	if !slices.Equal(have, list) {
		t.Errorf("%q: attributes %q, want %q", path, have, list)
	}
}

func TestRun_ACLAndCapability_AreKept(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"acl": "x", "cap": "x", "dir/": ""})
	acl := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint32{{1, 6, ^uint32(0)}, {2, 4, 4711}, {4, 4, ^uint32(0)}, {16, 4, ^uint32(0)}, {32, 0, ^uint32(0)}} {
		acl = binary.LittleEndian.AppendUint16(acl, uint16(e[0]))
		acl = binary.LittleEndian.AppendUint16(acl, uint16(e[1]))
		acl = binary.LittleEndian.AppendUint32(acl, e[2])
	}
	capability := make([]byte, 20) // cap_net_raw, permitted
	binary.LittleEndian.PutUint32(capability, 0x02000000)
	binary.LittleEndian.PutUint32(capability[4:], 1<<13)
	want := map[string][2]string{}
	set := func(name, attr string, value []byte) {
		path := filepath.Join(root, name)
		if err := unix.Setxattr(path, attr, value, 0); err != nil {
			t.Skipf("%s: %v", attr, err)
		}
		want[path] = [2]string{attr, string(value)}
	}
	set("acl", "system.posix_acl_access", acl)
	set("dir", "system.posix_acl_default", acl)
	if os.Getuid() == 0 {
		set("cap", "security.capability", capability)
	}
	got := readBack(t, r, mustRun(t, r, Options{Paths: []string{root}}).Snapshot)
	for path, w := range want {
		n := mustHave(t, got, path)
		if len(n.XAttrs) != 1 || n.XAttrs[0].Name != w[0] || string(n.XAttrs[0].Value) != w[1] {
			t.Errorf("%s: %+v", path, n.XAttrs)
		}
	}
}

func TestRun_LargeAttribute_IsABlobAndReliedOn(t *testing.T) {
	r, store := newRepo(t)
	root := memoryDir(t) // most file systems of disks have no room for such attributes
	file := filepath.Join(root, "f")
	writeFile(t, file, []byte("x"))
	value := bytes.Repeat([]byte("0123456789"), 3000)
	for _, path := range []string{root, file} {
		if err := unix.Setxattr(path, "user.large", value, 0); err != nil {
			t.Skip(err)
		}
	}
	settleTimes()
	for run := range 2 {
		store.Reset()
		got := readBack(t, r, mustRun(t, r, Options{Paths: []string{root}, Host: "h"}).Snapshot)
		for _, path := range []string{root, file} {
			n := mustHave(t, got, path)
			if len(n.XAttrs) != 1 || n.XAttrs[0].Blob.IsZero() || len(n.XAttrs[0].Value) != 0 {
				t.Fatalf("%s: %+v", path, n.XAttrs)
			}
			b, err := r.LoadBlob(t.Context(), object.TreeBlob, n.XAttrs[0].Blob)
			if err != nil || !bytes.Equal(b, value) {
				t.Errorf("%s: other value, %v", path, err)
			}
		}
		if names := puts(store); run == 1 && len(names) != 1 {
			t.Errorf("unchanged, but put %q", names)
		}
	}
}

func TestRun_InodeFlags_SettableOnesAreKept(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"f": "x", "dir/": ""})
	const noDump, noAtime = 0x40, 0x80
	for _, name := range []string{"f", "dir"} {
		f, err := os.Open(filepath.Join(root, name))
		must(t, err)
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, noDump|noAtime)
		f.Close()
		if err != nil {
			t.Skip(err)
		}
	}
	got := readBack(t, r, mustRun(t, r, Options{Paths: []string{root}}).Snapshot)
	for _, name := range []string{"f", "dir"} {
		if n := mustHave(t, got, filepath.Join(root, name)); n.Flags != noDump|noAtime {
			t.Errorf("%s: flags %#x", name, n.Flags)
		}
	}
}

func TestRun_Mounts_OnlyFoldersAreMarked(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"mnt/": "", "bound": "hidden", "plain/": ""})
	mnt := filepath.Join(root, "mnt")
	must(t, unix.Mount("none", mnt, "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(mnt, unix.MNT_DETACH) })
	makeTree(t, mnt, map[string]string{"inner": "mounted", "below/": ""})
	must(t, os.Link(filepath.Join(mnt, "inner"), filepath.Join(mnt, "inner2")))
	bound := filepath.Join(root, "bound")
	must(t, unix.Mount(filepath.Join(mnt, "inner"), bound, "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(bound, unix.MNT_DETACH) })
	settleTimes()
	for range 2 { // the second time from the parent
		got := readBack(t, r, mustRun(t, r, Options{Paths: []string{root}, Host: "h"}).Snapshot)
		for path, n := range got {
			if (path == mnt) != n.Mount && n.Type == tree.Folder && strings.HasPrefix(path, root+"/") || n.Mount && n.Type != tree.Folder {
				t.Errorf("%s: mount %v", path, n.Mount)
			}
		}
		if n := mustHave(t, got, bound); n.Links != 0 || string(n.data) != "mounted" {
			t.Errorf("the file that is mounted by itself: %+v with %q", n.Node, n.data)
		}
		if n := mustHave(t, got, filepath.Join(mnt, "inner2")); n.Links != 2 {
			t.Errorf("%d links", n.Links)
		}
	}
}
