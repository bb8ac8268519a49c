package restore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

func TestRun_EveryTypeOfEntry_ComesBackWithItsMetadata(t *testing.T) {
	needRoot(t)
	r, _ := testrepo.New(t)
	owned := func(n *tree.Node) { n.UID, n.GID, n.MTime = 1234, 4321, tree.MakeTime(-5, 7) }
	device := func(name string, k tree.Type, major, minor uint64) entry {
		return entry{Node: newNode(name, k, 0o620)}.with(func(n *tree.Node) { n.Device = major<<32 | minor }).with(owned)
	}
	entries := []entry{
		dir("d", dir("empty").with(owned), textFile("f", "in d"), dir("closed", textFile("f", "x")).with(func(n *tree.Node) { n.Mode = 0 })),
		device("chr", tree.CharDevice, 1, 3), device("blk", tree.BlockDevice, 7, 1000),
		entry{Node: newNode("fifo", tree.FIFO, 0o640)}.with(owned),
		symlink("link", "/nowhere/at all").with(owned), symlink("link2", "d/f"),
		textFile("file", "text").with(owned).with(func(n *tree.Node) { n.Mode = 0o6755 }),
		file("none"), textFile("unreadable", "x").with(func(n *tree.Node) { n.Mode = 0 }),
		textFile("epoch", "x").with(func(n *tree.Node) { n.MTime = tree.MakeTime(0, 0) }),
		dir("sticky").with(func(n *tree.Node) { n.Mode = 0o3777 }),
		textFile("\xff\xfe not UTF-8 \n\x01", "y"), textFile(longName(255), "z"),
	}
	target := restoreAll(t, r, commit(t, r, entries...))
	mustMatch(t, target, entries)
}

func TestRun_ExtendedAttributes_ComeBackOnEveryType(t *testing.T) {
	needRoot(t)
	r, _ := testrepo.New(t)
	// Capabilities: version 3, effective, CAP_NET_RAW, root id 0.
	capability := []byte{1, 0, 0, 3, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	capability = capability[:20]
	capability[3] = 2
	acl := func(mask byte) []byte {
		return []byte{
			2, 0, 0, 0,
			1, 0, 6, 0, 255, 255, 255, 255, // owner rw
			2, 0, 4, 0, 210, 4, 0, 0, // user 1234 r
			4, 0, 4, 0, 255, 255, 255, 255, // group r
			0x10, 0, mask, 0, 255, 255, 255, 255,
			0x20, 0, 0, 0, 255, 255, 255, 255,
		}
	}
	set := func(attrs ...tree.XAttr) func(*tree.Node) { return func(n *tree.Node) { n.XAttrs = attrs } }
	own := func(n *tree.Node) { n.UID, n.GID = 1234, 1234 }
	value := testrepo.Random(5, 3000)
	entries := []entry{
		textFile("cap", "x").with(own).with(set(tree.XAttr{Name: "security.capability", Value: capability}, tree.XAttr{Name: "user.empty"})),
		textFile("user", "x").with(set(tree.XAttr{Name: "user.a", Value: []byte("1")}, tree.XAttr{Name: "user.b", Value: value})).with(func(n *tree.Node) { n.Mode = 0o444 }),
		textFile("acl", "x").with(set(tree.XAttr{Name: "system.posix_acl_access", Value: acl(4)})).with(func(n *tree.Node) { n.Mode = 0o640 }),
		dir("d", textFile("plain", "x"), dir("sub")).with(set(tree.XAttr{Name: "system.posix_acl_access", Value: acl(4)}, tree.XAttr{Name: "system.posix_acl_default", Value: acl(6)})).with(func(n *tree.Node) { n.Mode = 0o2640 }),
		symlink("link", "cap").with(set(tree.XAttr{Name: "trusted.t", Value: []byte("on the link")})),
		entry{Node: newNode("fifo", tree.FIFO, 0o600)}.with(set(tree.XAttr{Name: "trusted.t", Value: []byte("on the fifo")})),
	}
	target := restoreAll(t, r, commit(t, r, entries...))
	mustMatch(t, target, entries)
	for _, e := range entries {
		mustHaveXAttrs(t, filepath.Join(target, e.Name), e.XAttrs)
	}
	mustHaveXAttrs(t, filepath.Join(target, "d/plain"), nil)
	mustHaveXAttrs(t, filepath.Join(target, "d/sub"), nil)
}

func mustHaveXAttrs(t testing.TB, path string, want []tree.XAttr) {
	t.Helper()
	list := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Count(string(list[:n]), "\x00")
	if names != len(want) {
		t.Errorf("%s has attributes %q, want %v", path, list[:n], want)
	}
	for _, x := range want {
		got := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(path, x.Name, got)
		if err != nil || !bytes.Equal(got[:n], x.Value) {
			t.Errorf("%s: %s is %x (%v), want %x", path, x.Name, got[:n], err, x.Value)
		}
	}
}

func TestRun_LargeXAttr_ComesFromItsBlob(t *testing.T) {
	r, _ := testrepo.New(t)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	value := bytes.Repeat([]byte("v"), 3500) // ext4 has no room for more, so it says nothing about the limit
	id := testrepo.Save(t, s, 2, value)[0]
	root := saveFolder(t, s, []entry{textFile("f", "x").with(func(n *tree.Node) { n.XAttrs = []tree.XAttr{{Name: "user.large", Blob: id}} })})
	snap, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Root: root[:]}})
	if err != nil {
		t.Fatal(err)
	}
	mustHaveXAttrs(t, filepath.Join(restoreAll(t, r, snap), "f"), []tree.XAttr{{Name: "user.large", Value: value}})
}

func TestRun_InodeFlags_AreSetLast(t *testing.T) {
	needRoot(t)
	r, _ := testrepo.New(t)
	const immutable, noDump, extents = 0x10, 0x40, 0x80000
	if err := setFlags(t.TempDir(), noDump); err != nil {
		t.Skipf("no inode flags here: %v", err)
	}
	flags := func(f uint32) func(*tree.Node) { return func(n *tree.Node) { n.Flags = f } }
	linked := func(n *tree.Node) { n.Inode, n.Links = 7, 2 }
	entries := []entry{
		textFile("locked", "x").with(flags(immutable | noDump | extents)),
		textFile("linked1", "x").with(flags(immutable)).with(linked), textFile("linked2", "x").with(flags(immutable)).with(linked),
		dir("dir", textFile("f", "x")).with(flags(immutable)),
	}
	target := filepath.Join(t.TempDir(), "target")
	t.Cleanup(func() { // so that the folder can be removed
		for _, name := range []string{"locked", "linked1", "dir"} {
			if err := setFlags(filepath.Join(target, name), 0); err != nil {
				t.Log(err)
			}
		}
	})
	mustBeFine(t, run(t, r, commit(t, r, entries...), restore.Options{Target: target}))
	mustMatch(t, target, entries)
	for name, want := range map[string]uint32{"locked": immutable | noDump, "linked1": immutable, "dir": immutable} {
		f, err := os.Open(filepath.Join(target, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		f.Close()
		if err != nil || got&(immutable|noDump) != want {
			t.Errorf("%s has flags %#x (%v), want %#x", name, got, err, want)
		}
	}
}

func setFlags(path string, flags int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
}

func TestRun_HardLinks_AreOneFilePerFileSystem(t *testing.T) {
	r, _ := testrepo.New(t)
	linked := func(n *tree.Node) { n.Inode, n.Links = 42, 3 }
	big := testrepo.Random(9, 3<<20)
	entries := []entry{
		file("a", chunks(big[:1<<20], big[1<<20:])...).with(linked),
		dir("d", file("b", chunks(big[:1<<20], big[1<<20:])...).with(linked)),
		dir("mount", textFile("same number elsewhere", "other").with(linked)).with(func(n *tree.Node) { n.Mount = true }),
		textFile("single", "s").with(func(n *tree.Node) { n.Inode = 42 }),
	}
	target := filepath.Join(t.TempDir(), "target")
	out := run(t, r, commit(t, r, entries...), restore.Options{Target: target, Verify: true})
	mustBeFine(t, out)
	mustMatch(t, target, entries)
	a, b := stat(t, filepath.Join(target, "a")), stat(t, filepath.Join(target, "d/b"))
	if a.Ino != b.Ino || a.Nlink != 2 {
		t.Errorf("inodes %d and %d with %d links", a.Ino, b.Ino, a.Nlink)
	}
	if m := stat(t, filepath.Join(target, "mount/same number elsewhere")); m.Ino == a.Ino || m.Nlink != 1 {
		t.Error("linked across file systems")
	}
	if out.Files != 4 || out.Bytes != uint64(len(big))+6 || out.Dirs != 2 {
		t.Errorf("result %+v", out.Result)
	}
}

func TestRun_TargetWithDefaultACL_GivesRestoredEntriesTheirOwn(t *testing.T) {
	r, _ := testrepo.New(t)
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 210, 4, 0, 0, 4, 0, 7, 0, 255, 255, 255, 255, 0x10, 0, 7, 0, 255, 255, 255, 255, 0x20, 0, 7, 0, 255, 255, 255, 255}
	target := t.TempDir()
	if err := unix.Setxattr(target, "system.posix_acl_default", acl, 0); err != nil {
		t.Skip(err)
	}
	must(t, os.Mkdir(filepath.Join(target, "d"), 0o700)) // inherits the list, and has one of its own then
	entries := []entry{textFile("f", "x"), dir("d", textFile("g", "x"), dir("e")), {Node: newNode("fifo", tree.FIFO, 0o600)}}
	mustBeFine(t, run(t, r, commit(t, r, entries...), restore.Options{Target: target}))
	mustMatch(t, target, entries)
	for _, p := range []string{"f", "d", "d/g", "d/e", "fifo"} {
		mustHaveXAttrs(t, filepath.Join(target, p), nil)
	}
}
