package backup

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/tree"
)

// mustMount mounts until the end of the test, and skips it where that can not be done.
func mustMount(t *testing.T, source, at, kind string, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount(source, at, kind, flags, options); err != nil {
		t.Skipf("mount %s: %v", kind, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
}

// TestRun_MountedOnDemand_CountsAsMounted: a look at an automount does not mount it, and says that it is on the file system
// of automounts; the opening does. With one file system only, all of such a disk was left out, though it was named.
func TestRun_MountedOnDemand_CountsAsMounted(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	for name, c := range map[string]struct{ paths, want []string }{
		"named":     {[]string{"", "/mnt"}, []string{"a", "mnt", "mnt/d", "mnt/d/g", "mnt/f"}},
		"found":     {[]string{""}, []string{"a", "mnt"}},
		"the way":   {[]string{"", "/mnt/d"}, []string{"a", "mnt", "mnt/d", "mnt/d/g"}},
		"that only": {[]string{"/a", "/mnt"}, []string{"a", "mnt", "mnt/d", "mnt/d/g", "mnt/f"}},
	} {
		r, _ := newRepo(t)
		root := t.TempDir()
		mnt := filepath.Join(root, "mnt")
		makeTree(t, root, map[string]string{"a/": "", "mnt/d/": ""})
		o := Options{OneFileSystem: true, ReadConcurrency: 1}
		for _, p := range c.paths {
			o.Paths = append(o.Paths, root+p)
		}
		mounts := 0
		res, rec, err := runWith(t.Context(), r, o, hooks{listed: func(path string) {
			if path == filepath.Join(root, "a") { // by now mnt was looked at, and is not yet open
				mounts++
				mustMount(t, "none", mnt, "tmpfs", 0, "")
				makeTree(t, mnt, map[string]string{"f": "x", "d/g": "x"})
			}
		}})
		must(t, err)
		if len(rec.errors) > 0 || mounts != 1 {
			t.Errorf("%s: mounted %d times, %v", name, mounts, rec.errors)
		}
		got := readBack(t, r, res.Snapshot)
		if have := below(got, root); !slices.Equal(have, c.want) {
			t.Errorf("%s: %q, want %q", name, have, c.want)
		}
		if n := mustHave(t, got, mnt); !n.Mount && name != "that only" { // what is above it has no files of its own
			t.Errorf("%s: %+v", name, n.Node)
		}
	}
}

// TestRun_AttributesThatCanNotBeRead_AreAskedForAgain: the next run took over what there was of the entry, and said nothing.
func TestRun_AttributesThatCanNotBeRead_AreAskedForAgain(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	for _, ignoreCtime := range []bool{false, true} {
		attributesComeLater(t, ignoreCtime)
	}
}

func attributesComeLater(t *testing.T, ignoreCtime bool) {
	r, _ := newRepo(t)
	root := t.TempDir()
	link := filepath.Join(root, "link")
	must(t, os.Symlink("to", link))
	settleTimes()
	mustMount(t, "none", "/proc", "tmpfs", 0, "") // by way of which they are read
	for run := range 3 {
		want := 1
		if run == 2 {
			must(t, unix.Unmount("/proc", unix.MNT_DETACH))
			want = 0
		}
		res, rec, err := runWith(t.Context(), r, Options{Paths: []string{root}, Host: "h", IgnoreCtime: ignoreCtime}, hooks{})
		must(t, err)
		if res.Summary.Errors != uint64(want) || len(rec.errors) != want || want == 1 && rec.errors[link] == nil {
			t.Errorf("run %d: %v", run, rec.errors)
		}
		if n := mustHave(t, readBack(t, r, res.Snapshot), link); n.Target != "to" || n.CTime.IsZero() != (want == 1) {
			t.Errorf("run %d: %+v", run, n.Node)
		}
		settleTimes()
	}
}

// TestRun_WhatTheKernelSaysOfItself_IsLeftOut: the backup of / went on with /proc/kcore, which has 128 TiB.
func TestRun_WhatTheKernelSaysOfItself_IsLeftOut(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	root := t.TempDir()
	proc := filepath.Join(root, "proc")
	makeTree(t, root, map[string]string{"f": "", "proc/": "", "sys/": ""})
	mustMount(t, "proc", proc, "proc", 0, "")
	mustMount(t, "sysfs", filepath.Join(root, "sys"), "sysfs", 0, "")
	for name, c := range map[string]struct {
		paths    []string
		excludes []string
		want     []string
	}{
		"found": {[]string{root}, nil, []string{"f", "proc", "sys"}},
		"below": {[]string{root, proc + "/sys/kernel/ostype"}, nil, []string{"f", "proc", "proc/sys", "proc/sys/kernel", "proc/sys/kernel/ostype", "sys"}},
		"named": {[]string{root, proc}, []string{proc + "/*", "!" + proc + "/version"}, []string{"f", "proc", "proc/version", "sys"}},
	} {
		r, _ := newRepo(t)
		var rec recorder
		ev := rec.events()
		res, err := Run(t.Context(), r, Options{Paths: c.paths, Excludes: c.excludes, Scan: true}, ev)
		must(t, err)
		got := readBack(t, r, res.Snapshot)
		if have := below(got, root); !slices.Equal(have, c.want) || len(rec.errors) > 0 {
			t.Errorf("%s: %q, want %q; %v", name, have, c.want, rec.errors)
		}
		if n := mustHave(t, got, proc); !n.Mount {
			t.Errorf("%s: %+v", name, n.Node)
		}
		if p := ev.Progress; p.ScanDone.Load() && p.FilesTotal.Load() != res.Summary.Files {
			t.Errorf("%s: the scan has %d files; the walk %+v", name, p.FilesTotal.Load(), res.Summary)
		}
	}
}

// TestRun_Overlay_FilesOfAllLayersAreOnIt: where its layers are on several file systems, files have a device of their layer, and folders
// that of the overlay.
func TestRun_Overlay_FilesOfAllLayersAreOnIt(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	makeTree(t, root, map[string]string{"one/": "", "two/": "", "merged/": ""})
	mustMount(t, "none", at("one"), "tmpfs", 0, "")
	mustMount(t, "none", at("two"), "tmpfs", 0, "")
	makeTree(t, root, map[string]string{
		"one/lower/l": "x", "one/lower/d/m": "x", "one/lower/bound": "x", "two/upper/u": "x", "two/upper/d/v": "x", "two/work/": "",
	})
	mustMount(t, "overlay", at("merged"), "overlay", 0, "xino=off,lowerdir="+at("one/lower")+",upperdir="+at("two/upper")+",workdir="+at("two/work"))
	var dir, file unix.Stat_t
	must(t, unix.Lstat(at("merged"), &dir))
	if must(t, unix.Lstat(at("merged/l"), &file)); dir.Dev == file.Dev {
		t.Skip("files have the device of the overlay here")
	}
	mustMount(t, at("one/lower/l"), at("merged/bound"), "", unix.MS_BIND, "")
	r, _ := newRepo(t)
	res := mustRun(t, r, Options{Paths: []string{at("merged")}, OneFileSystem: true, Scan: true})
	want := []string{"d", "d/m", "d/v", "l", "u"}
	if have := below(readBack(t, r, res.Snapshot), at("merged")); !slices.Equal(have, want) {
		t.Errorf("%q, want %q", have, want)
	}
}

// TestRun_IgnoreFileThatBreaksOff_IsNotUsed: what it takes back may stand behind the break.
func TestRun_IgnoreFileThatBreaksOff_IsNotUsed(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	// The memory of this process has one page at its beginning, and nothing can be read behind it.
	page := uintptr(os.Getpagesize())
	if _, err := unix.MmapPtr(-1, 0, nil, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { must(t, unix.MunmapPtr(nil, page)) })
	memory, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	must(t, err)
	defer memory.Close()
	if _, err := memory.WriteAt([]byte("a\n"), 0); err != nil {
		t.Skip(err)
	}
	root := t.TempDir()
	makeTree(t, root, map[string]string{"a": "x", "b": "x", ".ignore": ""})
	ignore := filepath.Join(root, ".ignore")
	mustMount(t, "/proc/self/mem", ignore, "", unix.MS_BIND, "")
	r, _ := newRepo(t)
	res, rec, err := runWith(t.Context(), r, Options{Paths: []string{root}, IgnoreFiles: []string{".ignore"}}, hooks{})
	must(t, err)
	if len(rec.errors) != 1 || rec.errors[ignore] == nil {
		t.Errorf("%v", rec.errors)
	}
	got := readBack(t, r, res.Snapshot)
	if n := mustHave(t, got, filepath.Join(root, "a")); n.Type != tree.File {
		t.Errorf("%+v", n.Node)
	}
	if have := below(got, root); !slices.Equal(have, []string{".ignore", "a", "b"}) {
		t.Errorf("%q", have)
	}
}
