package restore_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/internal/treecmp"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

var everyKill = flag.Bool("restore.kills", false, "kill a restore before every one of its system calls")

const killedTarget = "KURA_TEST_RESTORE_TARGET"

// closedTree is a folder with entries of many modes, none of which a folder gets by being made.
func closedTree() entry {
	mode := func(m uint32) func(*tree.Node) { return func(n *tree.Node) { n.Mode = m } }
	owned := func(n *tree.Node) {
		n.Mode = 0o2751
		if uid == 0 {
			n.UID, n.GID = 1234, 4321
		}
		n.XAttrs = []tree.XAttr{{Name: "user.of", Value: []byte("the top")}}
	}
	return dir(
		"top",
		textFile("a", "text").with(mode(0o640)),
		dir("closed", textFile("read only", "x").with(mode(0o400))).with(mode(0o500)),
		dir("for all", dir("empty").with(mode(0o3711))).with(mode(0o1777)),
		symlink("link", "a"),
	).with(owned)
}

// removable lets an ordinary user remove in the end what is restored to a target.
func removable(t *testing.T, target string) string {
	t.Helper()
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(target, "closed"), 0o700) }) // it may not be there
	return target
}

// TestRun_KilledBeforeAnySystemCall_TheNextOneCompletesAllFolders: each has the metadata of the snapshot then, that which was made to be restored into
// as well.
func TestRun_KilledBeforeAnySystemCall_TheNextOneCompletesAllFolders(t *testing.T) {
	restoreTop := func(target string) {
		// What a process that is killed leaves must be where its parent removes it.
		r, err := repo.Init(t.Context(), mem.New(), repo.InitOptions{Credential: testrepo.Credential, CacheDir: t.TempDir()})
		must(t, err)
		defer r.Close()
		out := run(t, r, commit(t, r, closedTree()), restore.Options{Target: target, Path: "/top"})
		if out.err != nil || out.Errors > 0 {
			t.Fatalf("%v, %v", out.err, out.errors)
		}
	}
	if target := os.Getenv(killedTarget); target != "" {
		restoreTop(target)
		os.Exit(0) // what comes then changes other things
	}
	whole := removable(t, filepath.Join(testsys.MemoryDir(t), "top"))
	calls, _ := traced(t, sameTest(t, killedTarget, whole), 0)
	mustMatch(t, filepath.Dir(whole), []entry{closedTree()})

	rng := testrand.New(t)
	var moments []int
	for k := 1; k <= calls+1; k++ {
		// The last ones are about the target itself, and of the others some are drawn.
		if k > calls-8 || *everyKill || rng.IntN(calls) < 6 {
			moments = append(moments, k)
		}
	}
	marked, deaths := 0, 0
	for _, k := range moments {
		target := removable(t, filepath.Join(testsys.MemoryDir(t), "top"))
		if _, killed := traced(t, sameTest(t, killedTarget, target), k); killed {
			deaths++
		}
		if info, err := os.Stat(target); err == nil && info.Mode()&os.ModeSticky != 0 {
			marked++
		}
		restoreTop(target)
		if treecmp.MustEqual(t, whole, target, treecmp.Options{}); t.Failed() {
			t.Fatalf("killed before system call %d of %d", k, calls)
		}
	}
	if marked == 0 || deaths == 0 {
		t.Errorf("no restore was killed while the target was incomplete: %d of %d were killed", deaths, len(moments))
	}
	t.Logf("%d system calls; killed at %d moments, %d of them with a target that was begun", calls, deaths, marked)
}

// renameat is the number of a system call that newer architectures do not have.
var renameat = map[string]uint64{"amd64": 264, "arm64": 38}[runtime.GOARCH]

// A file that is not changed in place is the old one or the new one, as a whole, whenever the process is killed, and the next run ends it.
func TestRun_KilledWhileAFileIsReplaced_ItIsTheOldOrTheNewOne(t *testing.T) {
	if testing.Short() {
		t.Skip("little is done side by side")
	}
	data := testrepo.Random(1, 2<<20)
	entries := []entry{file("f", chunks(data[:1<<20], data[1<<20:])...)}
	again := func(target string) {
		r, err := repo.Init(t.Context(), mem.New(), repo.InitOptions{Credential: testrepo.Credential, CacheDir: t.TempDir()})
		must(t, err)
		defer r.Close()
		mustBeFine(t, run(t, r, commit(t, r, entries...), restore.Options{Target: target}))
	}
	if target := os.Getenv(killedTarget); target != "" {
		again(target)
		os.Exit(0) // what comes then changes other things
	}
	defer func(all []uint64) { changing = all }(changing)
	changing = append(slices.Clone(changing), renameat, unix.SYS_RENAMEAT2)
	plant := func() (target string, old []byte) {
		target = testsys.MemoryDir(t)
		return target, besides["hard link"](t, target, "f")
	}
	target, _ := plant()
	calls, _ := traced(t, sameTest(t, killedTarget, target), 0)
	mustHave(t, filepath.Join(target, "f"), data)

	rng := testrand.New(t)
	halves, olds, news := 0, 0, 0
	for k := 1; k <= calls; k++ {
		// The last ones put the new file in place, and of the others some are drawn.
		if k <= calls-10 && !*everyKill && rng.IntN(calls) >= 5 {
			continue
		}
		target, old := plant()
		if _, killed := traced(t, sameTest(t, killedTarget, target), k); !killed {
			continue // the calls are not always as many
		}
		got, err := os.ReadFile(filepath.Join(target, "f"))
		switch {
		case err != nil:
			t.Fatalf("killed before system call %d of %d: %v", k, calls, err)
		case bytes.Equal(got, old):
			olds++
		case bytes.Equal(got, data):
			news++
		default:
			t.Errorf("killed before system call %d of %d: %d bytes of neither file", k, calls, len(got))
		}
		if names, err := filepath.Glob(filepath.Join(target, ".kura-*")); err == nil && len(names) > 0 {
			halves++
		}
		again(target)
		mustHave(t, filepath.Join(target, "f"), data)
		mustHave(t, filepath.Join(target, "linked"), old)
		mustHaveNoneBeside(t, target)
	}
	t.Logf("%d system calls; the old file was there %d times, the new one %d times, something beside it %d times", calls, olds, news, halves)
	if olds == 0 || halves == 0 { // nothing is changed behind the moment in which the new one takes its place
		t.Error("it was not killed beside the old one: that shows nothing")
	}
}

// What the user has made is the user's, whatever the snapshot says of the folder that is restored there: also if it was made in the same way.
func TestRun_TargetOfTheUser_KeepsItsRights(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := commit(t, r, closedTree())
	for _, mode := range []uint32{0o700, 0o755, 0o1777, 0o1770, 0o2700, 0o500} {
		if mode&0o200 == 0 && uid != 0 {
			continue
		}
		target := removable(t, filepath.Join(t.TempDir(), "mine"))
		must(t, os.Mkdir(target, 0o700))
		must(t, unix.Chmod(target, mode))
		for range 2 {
			if out := run(t, r, snap, restore.Options{Target: target, Path: "/top"}); out.err != nil || out.Errors > 0 {
				t.Fatalf("%v, %v", out.err, out.errors)
			}
			if st := stat(t, target); st.Mode&0o7777 != mode || st.Uid != uid || st.Gid != gid {
				t.Errorf("a target of mode %#o has %#o and owner %d:%d", mode, st.Mode&0o7777, st.Uid, st.Gid)
			}
		}
	}
}

// A target that is made has its mark only until the end, also where what is above it hands down a bit or a list; and if it stands for no folder of the
// snapshot, never.
func TestRun_TargetThatIsMade_HasNoMarkInTheEnd(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := commit(t, r, closedTree())
	above := t.TempDir()
	must(t, unix.Chmod(above, 0o2755))
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 210, 4, 0, 0, 4, 0, 7, 0, 255, 255, 255, 255, 0x10, 0, 7, 0, 255, 255, 255, 255, 0x20, 0, 7, 0, 255, 255, 255, 255}
	if err := unix.Setxattr(above, "system.posix_acl_default", acl, 0); err != nil {
		t.Log("without access control lists:", err)
	}
	removable(t, above+"/new/top")
	if out := run(t, r, snap, restore.Options{Target: above + "/new/top/./", Path: "/top"}); out.err != nil || out.Errors > 0 {
		t.Fatalf("%v, %v", out.err, out.errors)
	}
	mustMatch(t, above+"/new", []entry{closedTree()})
	for _, name := range []string{"top", "top/a", "top/closed"} {
		list := make([]byte, 4096)
		n, err := unix.Listxattr(filepath.Join(above, "new", name), list)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(list[:n]), "posix_acl") {
			t.Errorf("%s has inherited an access control list", name)
		}
	}
	for _, path := range []string{"", "/top/a"} {
		target := filepath.Join(t.TempDir(), "all")
		removable(t, target+"/top")
		if out := run(t, r, snap, restore.Options{Target: target, Path: path}); out.err != nil || out.Errors > 0 {
			t.Fatalf("%v, %v", out.err, out.errors)
		}
		if m := stat(t, target).Mode & 0o7777; m != 0o700 {
			t.Errorf("the target of all has mode %#o", m)
		}
	}
}
