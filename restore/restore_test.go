package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

func TestRun_Holes_AreNotAllocated(t *testing.T) {
	r, _ := testrepo.New(t)
	data := testrepo.Random(1, 1<<20)
	n := int64(16) // MiB
	if testing.Short() {
		n = 2
	}
	zeros, gap := part{kind: tree.Zeros, n: n << 20}, hole(n<<20)
	entries := []entry{
		file("front", gap, part{data: data}), file("back", part{data: data}, gap),
		file("middle", part{data: data}, gap, part{data: data}, zeros, part{data: data}, zeros),
		file("all", gap, zeros), file("zeros", zeros),
	}
	snap := commit(t, r, entries...)
	for _, sparse := range []bool{true, false} {
		target := filepath.Join(t.TempDir(), "target")
		for range 2 { // the second time onto what is there
			mustBeFine(t, run(t, r, snap, restore.Options{Target: target, Verify: true, Sparse: sparse}))
			mustMatch(t, target, entries)
		}
		want := map[string]int64{"front": 1, "back": 1, "middle": 3 + 2*n, "all": n, "zeros": n} // zeros had space on disk
		if sparse {
			want = map[string]int64{"front": 1, "back": 1, "middle": 3, "all": 0, "zeros": 0}
		}
		for name, mib := range want {
			if st := stat(t, filepath.Join(target, name)); st.Blocks*512 > mib<<20+64<<10 || st.Blocks*512 < mib<<20 {
				t.Errorf("sparse %v: %s takes %d bytes of disk", sparse, name, st.Blocks*512)
			}
		}
	}
}

func TestRun_LargeFilesOverSeveralPacks_AreWrittenInPieces(t *testing.T) {
	r, _ := testrepo.New(t)
	var entries []entry
	var all []part
	parts, size := 12, 1<<20 // two open packs are filled in turn
	if testing.Short() {
		size = 128 << 10
	}
	for i := range parts {
		all = append(all, part{data: testrepo.Random(uint64(i), size)})
	}
	entries = append(entries, file("large", all...))
	for i := range 100 { // more than are kept open
		p := []part{all[i%12], {data: fmt.Appendf(nil, "tail %d", i)}, all[(i+7)%12], {data: bytes.Repeat([]byte("compressible "), 20_000)}}
		entries = append(entries, file(fmt.Sprintf("f%02d", i), p...))
	}
	mustMatch(t, restoreAll(t, r, commit(t, r, entries...)), entries)
}

func TestRun_ContentPages_AreFollowed(t *testing.T) {
	r, _ := testrepo.New(t)
	var parts []part
	for i := range 10_000 {
		parts = append(parts, part{data: fmt.Appendf(nil, "%04d", i%100)})
	}
	entries := []entry{file("paged", append(parts, hole(1<<20))...)}
	mustMatch(t, restoreAll(t, r, commit(t, r, entries...)), entries)
}

func TestRun_ManySmallFiles_AllComeBack(t *testing.T) {
	r, _ := testrepo.New(t)
	var entries []entry
	folders, files := 40, sized(60, 12)
	for d := range folders {
		var kids []entry
		for f := range files { // a third of them with the same content
			kids = append(kids, textFile(fmt.Sprintf("f%03d", f), strings.Repeat(fmt.Sprintf("%d/%d ", d, f/3), 20)))
		}
		entries = append(entries, dir(fmt.Sprintf("d%02d", d), kids...))
	}
	snap := commit(t, r, entries...)
	target := filepath.Join(t.TempDir(), "target")
	out := run(t, r, snap, restore.Options{Target: target})
	mustBeFine(t, out)
	mustMatch(t, target, entries)
	if out.Files != uint64(folders*files) || out.Dirs != uint64(folders) || len(out.items) != folders*(files+1) {
		t.Errorf("result %+v, %d items", out.Result, len(out.items))
	}
}

func TestRun_DeepFolders_ComeBackWithTheirTimes(t *testing.T) {
	r, _ := testrepo.New(t)
	depth := sized(1500, 300)
	e := textFile("bottom", "x")
	for i := range depth {
		e = dir("d", e).with(func(n *tree.Node) { n.MTime = tree.MakeTime(int64(i), 5) })
	}
	target := filepath.Join(t.TempDir(), "target")
	out := run(t, r, commit(t, r, e), restore.Options{Target: target})
	mustBeFine(t, out)
	if out.Dirs != uint64(depth) || out.Files != 1 {
		t.Errorf("result %+v", out.Result)
	}
	dir, err := os.OpenRoot(target)
	if err != nil {
		t.Fatal(err)
	}
	for i := range depth {
		sub, err := dir.OpenRoot("d")
		if err != nil {
			t.Fatal(err)
		}
		dir.Close()
		dir = sub
		if info, err := dir.Stat("."); err != nil || info.ModTime().Unix() != int64(depth-1-i) {
			t.Fatalf("depth %d: %v, %v", i, info, err)
		}
	}
	dir.Close()
}

func TestRun_Path_RestoresFolderAsTarget(t *testing.T) {
	r, _ := testrepo.New(t)
	inner := []entry{textFile("f", "in"), dir("sub", textFile("g", "deeper"))}
	snap := commit(t, r, dir("a", dir("b", inner...).with(func(n *tree.Node) { n.Mode = 0o711 }), textFile("outside", "x")))

	target := filepath.Join(t.TempDir(), "new")
	mustBeFine(t, run(t, r, snap, restore.Options{Target: target, Path: "/a/b", Verify: true}))
	mustMatch(t, target, inner)
	if st := stat(t, target); st.Mode&0o7777 != 0o711 || st.Mtim.Sec != someTime.Sec {
		t.Errorf("a new target has mode %#o and time %d", st.Mode, st.Mtim.Sec)
	}

	existing := t.TempDir()
	before := stat(t, existing)
	mustBeFine(t, run(t, r, snap, restore.Options{Target: existing, Path: "a/b"}))
	mustMatch(t, existing, inner)
	if st := stat(t, existing); st.Mode != before.Mode || st.Mtim.Sec == someTime.Sec {
		t.Error("an existing target was changed itself")
	}
}

func TestRun_PathOfAFile_RestoresItUnderItsName(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := commit(t, r, dir("a", textFile("f", "text"), symlink("l", "x")))
	target := t.TempDir()
	mustBeFine(t, run(t, r, snap, restore.Options{Target: target, Path: "/a/f", Verify: true}))
	mustBeFine(t, run(t, r, snap, restore.Options{Target: target, Path: "/a/l"}))
	mustMatch(t, target, []entry{textFile("f", "text"), symlink("l", "x")})
	if out := run(t, r, snap, restore.Options{Target: target, Path: "/a/none"}); !errors.Is(out.err, repo.ErrNotFound) {
		t.Errorf("error %v", out.err)
	}
}

func TestRun_ExistingTarget_IsReplacedAndFoldersAreKept(t *testing.T) {
	r, _ := testrepo.New(t)
	entries := []entry{
		dir("dir", textFile("f", "new")), textFile("file", "new"), textFile("waslink", "new"),
		symlink("link", "new"), dir("wasfile", textFile("x", "new")), textFile("blocked", "new"),
	}
	snap := commit(t, r, entries...)
	target := t.TempDir()
	other := filepath.Join(t.TempDir(), "other")
	must(t, os.WriteFile(other, []byte("old"), 0o600))
	must(t, os.Link(other, filepath.Join(target, "file"))) // replaced, so the other name keeps its content
	must(t, os.Symlink(other, filepath.Join(target, "waslink")))
	must(t, os.WriteFile(filepath.Join(target, "link"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(target, "wasfile"), nil, 0o600))
	must(t, os.Mkdir(filepath.Join(target, "dir"), 0o500))
	must(t, os.WriteFile(filepath.Join(target, "extra"), []byte("kept"), 0o600))
	must(t, os.Mkdir(filepath.Join(target, "blocked"), 0o700))

	for range 2 { // the second time onto what the first has made
		out := run(t, r, snap, restore.Options{Target: target})
		if out.err != nil || out.Errors != 1 || out.errors["/blocked"] == nil {
			t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
		}
		mustHave(t, other, []byte("old"))
		mustHave(t, filepath.Join(target, "extra"), []byte("kept"))
		must(t, os.Rename(filepath.Join(target, "extra"), filepath.Join(t.TempDir(), "extra")))
		must(t, os.Remove(filepath.Join(target, "blocked")))
		mustMatch(t, target, entries[:5])
		must(t, os.WriteFile(filepath.Join(target, "extra"), []byte("kept"), 0o600))
		must(t, os.Mkdir(filepath.Join(target, "blocked"), 0o700))
	}
}

func TestRun_SymlinkWhereTheBackupOnlyWentThrough_IsKept(t *testing.T) {
	r, _ := testrepo.New(t)
	through := dir("lib", dir("app", textFile("f", "data"))).with(func(n *tree.Node) { n.MTime = tree.Time{} })
	snap := commit(t, r, through, textFile("other", "restored"))
	target := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(target, "usr", "lib"), 0o755))
	must(t, os.Symlink("usr/lib", filepath.Join(target, "lib")))

	out := run(t, r, snap, restore.Options{Target: target})
	if out.err != nil || out.Errors != 1 || out.errors["/lib"] == nil {
		t.Errorf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
	}
	if to, err := os.Readlink(filepath.Join(target, "lib")); err != nil || to != "usr/lib" {
		t.Errorf("the link is %q now: %v", to, err)
	}
	mustNotExist(t, filepath.Join(target, "usr", "lib", "app"))
	mustHave(t, filepath.Join(target, "other"), []byte("restored"))

	must(t, os.Remove(filepath.Join(target, "lib")))
	mustBeFine(t, run(t, r, snap, restore.Options{Target: target, Verify: true}))
	mustHave(t, filepath.Join(target, "lib", "app", "f"), []byte("data"))
}

func TestRun_DryRun_WritesNothing(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := commit(t, r, dir("d", textFile("f", "x"), symlink("l", "y")), file("h", hole(5)))
	target := filepath.Join(t.TempDir(), "target")
	out := run(t, r, snap, restore.Options{Target: target, DryRun: true})
	mustBeFine(t, out)
	mustNotExist(t, target)
	if out.Files != 2 || out.Dirs != 1 || out.Others != 1 || out.Bytes != 6 {
		t.Errorf("result %+v", out.Result)
	}
}

func TestRun_Verify_FindsWhatTheDiskChanged(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := commit(t, r, textFile("good", "good"), textFile("bad", "good too"), textFile("short", "long"), textFile("gone", "x"))
	target := filepath.Join(t.TempDir(), "target")
	errs := map[string]error{}
	items := 0
	res, err := restore.Run(t.Context(), r, snap, restore.Options{Target: target, Verify: true}, restore.Events{
		Item: func(restore.Item) {
			if items++; items == 4 { // all are written, and none is read yet
				must(t, os.WriteFile(filepath.Join(target, "bad"), []byte("bad data"), 0o600))
				must(t, os.Truncate(filepath.Join(target, "short"), 1))
				must(t, os.Remove(filepath.Join(target, "gone")))
			}
		},
		Error: func(path string, err error) { errs[path] = err },
	})
	if err != nil || res.Verified != 1 || res.Errors != 3 || !errors.Is(errs["/bad"], restore.ErrVerify) ||
		!errors.Is(errs["/short"], restore.ErrVerify) || !errors.Is(errs["/gone"], os.ErrNotExist) {
		t.Fatalf("error %v, result %+v, errors %v", err, res, errs)
	}
}

func TestRun_Progress_EndsWhereTheTotalsSay(t *testing.T) {
	r, _ := testrepo.New(t)
	linked := func(n *tree.Node) { n.Inode, n.Links = 3, 2 }
	snap := commit(t, r, textFile("a", "four").with(linked), textFile("b", "four").with(linked), dir("d", symlink("l", "x"), file("h", hole(10))))
	for _, dry := range []bool{true, false} {
		p := new(restore.Progress)
		_, err := restore.Run(t.Context(), r, snap, restore.Options{Target: t.TempDir(), DryRun: dry}, restore.Events{Progress: p})
		must(t, err)
		if !p.ScanDone.Load() || p.FilesTotal.Load() != 4 || p.FilesDone.Load() != 4 || p.BytesTotal.Load() != 18 || p.BytesDone.Load() != 18 || p.DirsDone.Load() != 1 {
			t.Errorf("files %d of %d, bytes %d of %d", p.FilesDone.Load(), p.FilesTotal.Load(), p.BytesDone.Load(), p.BytesTotal.Load())
		}
	}
}

func TestRun_Sync_IsFine(t *testing.T) {
	r, _ := testrepo.New(t)
	mustBeFine(t, run(t, r, commit(t, r, textFile("f", "x")), restore.Options{Target: t.TempDir(), Sync: true}))
}

func TestRun_EntriesTheBackupCouldNotRead_AreNamed(t *testing.T) {
	r, _ := testrepo.New(t)
	broken := func(n *tree.Node) { n.Error = "permission denied" }
	snap := commit(t, r, file("f").with(broken), dir("d", textFile("g", "x")).with(broken), textFile("ok", "x"), symlink("l", "").with(broken))
	target := t.TempDir()
	out := run(t, r, snap, restore.Options{Target: target, Verify: true})
	if out.err != nil || out.Errors != 3 || out.errors["/f"] == nil || out.errors["/d"] == nil || out.errors["/l"] == nil {
		t.Fatalf("error %v, errors %v", out.err, out.errors)
	}
	mustHave(t, filepath.Join(target, "d/g"), []byte("x"))
	mustNotExist(t, filepath.Join(target, "f"))
}

func TestRun_Sockets_AreCounted(t *testing.T) {
	r, _ := testrepo.New(t)
	out := run(t, r, commit(t, r, entry{Node: newNode("s", tree.Socket, 0o600)}, entry{Node: newNode("t", tree.Socket, 0o600)}), restore.Options{Target: t.TempDir()})
	if out.err != nil || out.Errors != 0 || len(out.Omitted) != 1 || out.Omitted[0].What != "sockets" || out.Omitted[0].Count != 2 || out.Omitted[0].Fault {
		t.Fatalf("error %v, result %+v", out.err, out.Result)
	}
}

func TestRun_AbsurdSizes_CostOnlyTheirFiles(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := commit(t, r,
		file("8 EiB", hole(math.MaxInt64)), file("8 EiB with data", hole(math.MaxInt64-4), part{data: []byte("data")}),
		file("pieces", part{data: []byte("a")}, hole(math.MaxInt64-2), part{data: []byte("b")}), textFile("ok", "x"))
	target := t.TempDir()
	out := run(t, r, snap, restore.Options{Target: target})
	if out.err != nil {
		t.Fatal(out.err)
	}
	mustHave(t, filepath.Join(target, "ok"), []byte("x"))
	for path, err := range out.errors { // some file systems have such files
		if !errors.Is(err, syscall.EFBIG) && !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s: %v", path, err)
		}
		mustNotExist(t, filepath.Join(target, path))
	}
}

func TestRun_Cancelled_EndsWithTheCauseAndNoPartOfAFile(t *testing.T) {
	store := fault.New(mem.New())
	r := testrepo.Init(t, store)
	size := sized(1<<20, 300<<10)
	var entries []entry
	for i := range 60 {
		entries = append(entries, file(fmt.Sprintf("f%d", i), chunks(testrepo.Random(uint64(i), size), testrepo.Random(uint64(i+100), size))...))
	}
	snap := commit(t, r, entries...)
	cause := errors.New("stop it")
	ctx, cancel := context.WithCancelCause(t.Context())
	store.Inject(fault.On(fault.Get).Prefix("data/").Nth(sized(20, 5)).Hook(func(context.Context, fault.Call) error {
		cancel(cause)
		return nil
	}))
	target := t.TempDir()
	out := runContext(ctx, r, snap, restore.Options{Target: target})
	if !errors.Is(out.err, cause) {
		t.Fatalf("error %v", out.err)
	}
	left, err := os.ReadDir(target)
	must(t, err)
	if uint64(len(left)) != out.Files || len(left) == 60 {
		t.Errorf("%d files are there, %d were restored", len(left), out.Files)
	}
	for _, f := range left {
		for i := range entries {
			if entries[i].Name == f.Name() {
				mustHave(t, filepath.Join(target, f.Name()), content(entries[i].parts))
			}
		}
	}
}
