package restore_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

// asUser runs the calling test again in a process of an ordinary user, and reports whether this is that
// process.
func asUser(t *testing.T) bool {
	t.Helper()
	if uid != 0 {
		return true
	}
	home := t.TempDir()
	for _, d := range []string{home, filepath.Dir(home)} {
		must(t, os.Chmod(d, 0o755))
	}
	exe := filepath.Join(home, "test")
	from, err := os.Open("/proc/self/exe")
	must(t, err)
	defer from.Close()
	to, err := os.OpenFile(exe, os.O_WRONLY|os.O_CREATE, 0o755)
	must(t, err)
	_, err = io.Copy(to, from)
	must(t, errors.Join(err, to.Close()))
	tmp := filepath.Join(home, "tmp")
	must(t, os.Mkdir(tmp, 0o777))
	must(t, os.Chmod(tmp, 0o777))
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("as an ordinary user: %v\n%s", err, out)
	}
	return false
}

func TestRun_OrdinaryUser_CountsWhatOnlyRootMay(t *testing.T) {
	if !asUser(t) {
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
			if o.Fault || o.Err == nil || o.Path == "" {
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
	if !asUser(t) {
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
