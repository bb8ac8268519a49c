package restore_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

func TestRun_OrdinaryUser_CountsWhatOnlyRootMay(t *testing.T) {
	if !testsys.AsUser(t) {
		return
	}
	r, _ := testrepo.New(t)
	foreign := func(n *tree.Node) { n.UID, n.GID = 0, 0 }
	mode := func(m uint32) func(*tree.Node) { return func(n *tree.Node) { n.Mode = m } }
	snap := commit(
		t, r,
		textFile("own", "x").with(mode(0o4755)), textFile("setuid root", "x").with(foreign).with(mode(0o6755)),
		textFile("foreign", "x").with(foreign), dir("closed", textFile("f", "x"), dir("g")).with(mode(0)),
		dir("no writing", textFile("f", "x")).with(mode(0o555)), textFile("read-only", "x").with(mode(0o444)).with(func(n *tree.Node) {
			n.XAttrs = []tree.XAttr{{Name: "trusted.t", Value: []byte("x")}, {Name: "user.u", Value: []byte("x")}}
		}),
		entry{Node: newNode("null", tree.CharDevice, 0o666)}.with(func(n *tree.Node) { n.Device = 1<<32 | 3 }),
		entry{Node: newNode("sda", tree.BlockDevice, 0o666)}.with(func(n *tree.Node) { n.Device = 8 << 32 }),
		entry{Node: newNode("fifo", tree.FIFO, 0o604)},
	)
	target := filepath.Join(t.TempDir(), "target")
	t.Cleanup(func() {
		os.Chmod(filepath.Join(target, "closed"), 0o700)
		os.Chmod(filepath.Join(target, "no writing"), 0o700)
	})
	for range 2 { // the second time onto folders that the user closed
		out := run(t, r, snap, restore.Options{Target: target})
		if out.err != nil || out.Errors != 0 || out.Damaged != 0 || len(out.errors) != 0 {
			t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
		}
		got := map[string]uint64{}
		for _, o := range out.Omitted {
			got[o.What] = o.Count
			if o.Fault || o.Err == nil || o.Path == "" || strings.Contains(o.Err.Error(), "\n") {
				t.Errorf("%+v", o)
			}
		}
		want := map[string]uint64{"owner": 2, "setuid and setgid bits of files of other owners": 1, "device nodes": 2, "trusted.* attributes": 1}
		if len(got) != len(want) {
			t.Errorf("omitted %v, want %v", got, want)
		}
		for what, n := range want {
			if got[what] != n {
				t.Errorf("%s: %d, want %d", what, got[what], n)
			}
		}
		for name, want := range map[string]uint32{"own": 0o4755, "setuid root": 0o755, "closed": 0, "read-only": 0o444, "fifo": 0o604} {
			if got := stat(t, filepath.Join(target, name)).Mode & 0o7777; got != want {
				t.Errorf("%s has mode %#o, want %#o", name, got, want)
			}
		}
		mustNotExist(t, filepath.Join(target, "null"))
		mustHaveXAttrs(t, filepath.Join(target, "read-only"), []tree.XAttr{{Name: "user.u", Value: []byte("x")}})
	}
}

func TestRun_OrdinaryUserHardLinksOutOfAClosedFolder_AreMade(t *testing.T) {
	if testing.Short() {
		t.Skip("makes many files")
	}
	if !testsys.AsUser(t) {
		return
	}
	r, _ := testrepo.New(t)
	linked := func(n *tree.Node) { n.Inode, n.Links = 7, 2 }
	var many []entry
	for i := range 3000 { // the link is in a later batch than the file
		many = append(many, textFile("f"+string(rune('0'+i/1000))+string(rune('0'+i/100%10))+string(rune('0'+i/10%10))+string(rune('0'+i%10)), "x"))
	}
	snap := commit(t, r, dir("closed", textFile("a", "linked").with(linked)).with(func(n *tree.Node) { n.Mode = 0 }), dir("many", many...), dir("z", textFile("b", "linked").with(linked)))
	target := filepath.Join(t.TempDir(), "target")
	t.Cleanup(func() { os.Chmod(filepath.Join(target, "closed"), 0o700) })
	mustBeFine(t, run(t, r, snap, restore.Options{Target: target}))
	if st := stat(t, filepath.Join(target, "z/b")); st.Nlink != 2 {
		t.Errorf("%d links", st.Nlink)
	}
	if mode := stat(t, filepath.Join(target, "closed")).Mode & 0o7777; mode != 0 {
		t.Errorf("mode %#o", mode)
	}
}

// TestRun_OrdinaryUserManyForeignEntries_OneLineForEachKind restores what a system's backup is full of: what the user may
// not have is counted by kind, and no entry is an error.
func TestRun_OrdinaryUserManyForeignEntries_OneLineForEachKind(t *testing.T) {
	if !testsys.AsUser(t) {
		return
	}
	n := uint64(2000) // of each of five
	if testing.Short() {
		n = 300
	}
	r, _ := testrepo.New(t)
	foreign := func(n *tree.Node) { n.UID, n.GID = 0, 0 }
	attr := func(name string, value []byte) func(*tree.Node) {
		return func(n *tree.Node) { n.XAttrs = []tree.XAttr{{Name: name, Value: value}} }
	}
	linked := func(n *tree.Node) { n.Device, n.Inode, n.Links = 1<<32|3, 99, 2 }
	var entries []entry
	for i := range n {
		name := func(kind string) string { return fmt.Sprintf("%s%04d", kind, i) }
		entries = append(
			entries,
			textFile(name("file"), "x").with(foreign).with(func(n *tree.Node) { n.Mode, n.Flags = 0o4755, testsys.FlagImmutable|testsys.FlagNoDump }),
			textFile(name("capable"), "x").with(attr("security.capability", testsys.Capability(1<<13))),
			dir(name("folder")).with(foreign).with(attr("trusted.t", []byte("x"))),
			entry{Node: newNode(name("device"), tree.CharDevice, 0o666)}.with(func(n *tree.Node) { n.Device = 1<<32 | 3 }),
			entry{Node: newNode(name("socket"), tree.Socket, 0o666)},
		)
	}
	entries = append(entries, entry{Node: newNode("same 1", tree.CharDevice, 0o666)}.with(linked), entry{Node: newNode("same 2", tree.CharDevice, 0o666)}.with(linked))
	target := filepath.Join(t.TempDir(), "target")
	out := run(t, r, commit(t, r, entries...), restore.Options{Target: target})
	if out.err != nil || out.Errors != 0 || out.Damaged != 0 || len(out.errors) != 0 {
		t.Fatalf("error %v, result %+v, %d errors", out.err, out.Result, len(out.errors))
	}
	want := map[string]uint64{
		"owner": 2 * n, "setuid and setgid bits of files of other owners": n, "capabilities": n, "trusted.* attributes": n,
		"device nodes": n + 2, "sockets": n,
	}
	if err := testsys.ChangeFlags(target, testsys.FlagNoDump, 0); err == nil {
		want["immutable flags"] = n
	}
	got := map[string]uint64{}
	for _, o := range out.Omitted {
		if o.What != "inode flags" { // of no file system here
			got[o.What] = o.Count
		}
		if o.Fault || o.Path == "" || (o.Err == nil) != (o.What == "sockets") {
			t.Errorf("%+v", o)
		}
	}
	if want["immutable flags"] == 0 {
		delete(got, "immutable flags")
	}
	if !maps.Equal(got, want) {
		t.Errorf("omitted %v\nwant    %v", got, want)
	}
	if _, ok := want["immutable flags"]; ok { // one flag that is refused does not cost the others
		if flags, err := testsys.Flags(filepath.Join(target, "file0000")); err != nil || flags&testsys.FlagNoDump == 0 {
			t.Errorf("flags %#x, %v", flags, err)
		}
	}
}
