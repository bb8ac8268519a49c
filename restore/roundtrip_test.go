package restore_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/internal/treecmp"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

// backUp makes a snapshot of a folder and wants no trouble.
func backUp(t testing.TB, r *repo.Repository, path string) *repo.Snapshot {
	t.Helper()
	res, err := backup.Run(t.Context(), r, backup.Options{Paths: []string{path}, Host: "h"}, backup.Events{
		Error: func(path string, err error) { t.Errorf("backing up %.200q: %v", path, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return res.Snapshot
}

// roundTrip backs up a folder and restores it as another, which is made.
func roundTrip(t testing.TB, source, target string) {
	t.Helper()
	r, _ := testrepo.New(t)
	snap := backUp(t, r, source)
	testsys.Unlock(t, target)
	mustBeFine(t, run(t, r, snap, restore.Options{Target: target, Path: source}))
}

// galleryRoundTrip wants one of everything to come back from below a folder to below it.
func galleryRoundTrip(t *testing.T, at string) {
	source, target := filepath.Join(at, "source"), filepath.Join(at, "target")
	must(t, os.Mkdir(source, 0o755))
	lacking := testsys.Gallery(t, source)
	roundTrip(t, source, target)
	n := treecmp.MustEqual(t, source, target, treecmp.Options{})
	t.Logf("%d entries came back equal; lacking here: %q", n, lacking)

	// Where there were holes there are holes; zeros that were written become some.
	diffs, err := treecmp.Compare(source, target, treecmp.Options{Holes: true})
	must(t, err)
	diffs = slices.DeleteFunc(diffs, func(d treecmp.Difference) bool { return d.Kind == treecmp.Holes && d.Path == "zeros" })
	if len(diffs) > 0 {
		t.Errorf("with holes: %v", diffs)
	}
	if st := stat(t, filepath.Join(target, "terabyte")); st.Size != 1<<40 || st.Blocks > 2048 {
		t.Errorf("the terabyte of holes has %d bytes in %d blocks", st.Size, st.Blocks)
	}
}

func TestRoundTrip_OneOfEverything_ComesBackEqual(t *testing.T) { galleryRoundTrip(t, t.TempDir()) }

func TestRoundTrip_OneOfEverythingAsUser_ComesBackEqual(t *testing.T) {
	if testsys.AsUser(t) {
		galleryRoundTrip(t, t.TempDir())
	}
}

func TestRoundTrip_OneOfEverythingOnOtherFileSystems_ComesBackEqual(t *testing.T) {
	if testing.Short() {
		t.Skip("the same code as on the file system at hand")
	}
	for _, kind := range []string{"ext4", "xfs", "btrfs", "tmpfs"} {
		t.Run(kind, func(t *testing.T) {
			if testsys.AsMounter(t) {
				galleryRoundTrip(t, testsys.Mount(t, kind, 768<<20))
			}
		})
	}
}

func TestRoundTrip_FoldersDeeperThanAnyPath_ComeBackEqual(t *testing.T) {
	depth := 4000
	if testing.Short() {
		depth = 500
	}
	at := testsys.MemoryDir(t)
	source, target := filepath.Join(at, "source"), filepath.Join(at, "target")
	must(t, os.Mkdir(source, 0o755))
	must(t, testsys.MakeDeep(source, "folder in folder", depth))
	roundTrip(t, source, target)
	if n := treecmp.MustEqual(t, source, target, treecmp.Options{}); n != 2*depth+1 {
		t.Errorf("%d entries", n)
	}
}

var hugeFlag = flag.Int("restore.huge", 30_000, "entries of the huge folder")

func TestRoundTrip_HugeFolder_ComesBackEqual(t *testing.T) {
	n := *hugeFlag
	if testing.Short() {
		n = 2_000
	}
	at := testsys.MemoryDir(t)
	source, target := filepath.Join(at, "source"), filepath.Join(at, "target")
	must(t, os.Mkdir(source, 0o755))
	dir, err := unix.Open(source, unix.O_PATH, 0)
	must(t, err)
	defer unix.Close(dir)
	for i := range n {
		fd, err := unix.Openat(dir, fmt.Sprintf("%x-%06d", i*2654435761&0xffff, i), unix.O_CREAT|unix.O_WRONLY, 0o644)
		must(t, err)
		if i%16 == 0 {
			_, err = unix.Write(fd, fmt.Append(nil, i))
			must(t, err)
		}
		must(t, unix.Close(fd))
	}
	roundTrip(t, source, target)
	if got := treecmp.MustEqual(t, source, target, treecmp.Options{}); got != n+1 {
		t.Errorf("%d entries", got)
	}
}

// TestRoundTrip_SecondTimeIntoTheSameTarget_IsEqualAgain meets what the first restore made immutable, too.
func TestRoundTrip_SecondTimeIntoTheSameTarget_IsEqualAgain(t *testing.T) {
	at := t.TempDir()
	source, target := filepath.Join(at, "source"), filepath.Join(at, "target")
	must(t, os.Mkdir(source, 0o755))
	testsys.Gallery(t, source)
	testsys.Unlock(t, target)
	r, _ := testrepo.New(t)
	snap := backUp(t, r, source)
	for again := range 2 {
		mustBeFine(t, run(t, r, snap, restore.Options{Target: target, Path: source}))
		treecmp.MustEqual(t, source, target, treecmp.Options{Below: again > 0}) // an existing target is left as it is
	}
}

// makeSmallTree makes hard links of every type that can have them.
func makeSmallTree(t *testing.T, root string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(root, name) }
	must(t, os.MkdirAll(at("a/b"), 0o755))
	must(t, os.MkdirAll(at("c"), 0o700))
	must(t, os.WriteFile(at("a/b/file"), []byte("text"), 0o640))
	must(t, os.Symlink("nowhere", at("a/symlink")))
	must(t, unix.Mkfifo(at("c/fifo"), 0o600))
	for from, to := range map[string]string{"a/b/file": "c/file", "a/symlink": "c/symlink", "c/fifo": "a/fifo"} {
		must(t, os.Link(at(from), at(to)))
		must(t, os.Link(at(from), at(to)+" again"))
	}
}

func TestRoundTrip_HardLinksOfEveryType_AreOneInode(t *testing.T) {
	at := t.TempDir()
	source, target := filepath.Join(at, "source"), filepath.Join(at, "target")
	must(t, os.Mkdir(source, 0o755))
	makeSmallTree(t, source)
	if uid == 0 {
		must(t, unix.Mknod(filepath.Join(source, "z"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		must(t, os.Link(filepath.Join(source, "z"), filepath.Join(source, "a/z")))
	}
	roundTrip(t, source, target)
	treecmp.MustEqual(t, source, target, treecmp.Options{})
	for _, name := range []string{"a/b/file", "a/symlink", "c/fifo"} {
		if st := stat(t, filepath.Join(target, name)); st.Nlink != 3 {
			t.Errorf("%s has %d names", name, st.Nlink)
		}
	}
}

func TestRun_LockedEntriesInTheWay_AreNamedAsSuch(t *testing.T) {
	needRoot(t)
	r, _ := testrepo.New(t)
	snap := commit(t, r, textFile("file", "new"), symlink("link", "x"), dir("folder", textFile("f", "new")), textFile("free", "new"))
	target := t.TempDir()
	testsys.Unlock(t, target)
	must(t, os.WriteFile(filepath.Join(target, "file"), []byte("old"), 0o600))
	must(t, os.WriteFile(filepath.Join(target, "link"), []byte("old"), 0o600))
	for name, flag := range map[string]int{"file": testsys.FlagImmutable, "link": testsys.FlagAppend} {
		if err := testsys.ChangeFlags(filepath.Join(target, name), flag, 0); err != nil {
			t.Skip(err)
		}
	}
	out := run(t, r, snap, restore.Options{Target: target})
	if out.err != nil || out.Errors != 2 {
		t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
	}
	for _, path := range []string{"/file", "/link"} {
		if err := out.errors[path]; err == nil || !strings.Contains(err.Error(), "immutable or append-only") {
			t.Errorf("%s: %v", path, err)
		}
		mustHave(t, target+path, []byte("old"))
	}
	mustHave(t, filepath.Join(target, "free"), []byte("new"))
	mustHave(t, filepath.Join(target, "folder/f"), []byte("new"))
}

func TestRun_TimesOfAccess_AreSetWhereTheyWereKept(t *testing.T) {
	r, _ := testrepo.New(t)
	at := tree.MakeTime(1_234_567_890, 987_654_321)
	kept := func(n *tree.Node) { n.ATime = at }
	entries := []entry{textFile("file", "x").with(kept), dir("folder", textFile("f", "x")).with(kept), symlink("link", "x").with(kept)}
	target := filepath.Join(t.TempDir(), "target")
	mustBeFine(t, run(t, r, commit(t, r, entries...), restore.Options{Target: target}))
	for _, e := range entries {
		st := stat(t, filepath.Join(target, e.Name))
		if got := tree.MakeTime(st.Atim.Sec, uint32(st.Atim.Nsec)); got != at {
			t.Errorf("%s: %v", e.Name, got.Time())
		}
		if got := tree.MakeTime(st.Mtim.Sec, uint32(st.Mtim.Nsec)); got != someTime {
			t.Errorf("%s was modified at %v", e.Name, got.Time())
		}
	}
	for name, content := range map[string]string{"file": "x", "folder/f": "x"} {
		mustHave(t, filepath.Join(target, name), []byte(content))
	}
}
