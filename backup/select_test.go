package backup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/tree"
)

const cacheHeader = "Signature: 8a477f597d28d172789f06886806bc55\n# more\n"

func TestRun_Selection_LeavesOut(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{
		"cache/CACHEDIR.TAG": cacheHeader, "cache/x": "", "cache/sub/y": "",
		"nocache/CACHEDIR.TAG": "Signature: another", "nocache/x": "",
		"dirtag/CACHEDIR.TAG/in": "", "dirtag/x": "",
		"marked/.nobackup": "header and more", "marked/CACHEDIR.TAG": cacheHeader, "marked/d/x": "",
		"big": strings.Repeat("x", 2000), "small": strings.Repeat("x", 1000), "PHOTO.JPG": "", "photo.jpg": "",
		"git/.ignore": "*.o\n!keep.o\n/out/\n", "git/a.o": "", "git/keep.o": "", "git/out/x": "", "git/sub/.ignore": "a.o\n!b.o", "git/sub/a.o": "", "git/sub/b.o": "",
		"git/.second": "!a.o", "git/sub/out/x": "",
	})
	must(t, os.Symlink("../cache/CACHEDIR.TAG", filepath.Join(root, "linked")))
	makeTree(t, root, map[string]string{"bylink/x": ""})
	must(t, os.Symlink("../cache/CACHEDIR.TAG", filepath.Join(root, "bylink/CACHEDIR.TAG")))
	all := below(readBack(t, r, mustRun(t, r, Options{Paths: []string{root}}).Snapshot), root)
	for name, c := range map[string]struct {
		o    Options
		gone []string // with what is below
	}{
		"nothing":    {Options{}, nil},
		"caches":     {Options{IfPresent: []Marker{CacheMarker}}, []string{"cache/x", "cache/sub", "marked/.nobackup", "marked/d"}},
		"marker":     {Options{IfPresent: []Marker{{Name: ".nobackup"}}}, []string{"marked/CACHEDIR.TAG", "marked/d"}},
		"header":     {Options{IfPresent: []Marker{{Name: ".nobackup", Header: "head"}}}, []string{"marked/CACHEDIR.TAG", "marked/d"}},
		"wrong":      {Options{IfPresent: []Marker{{Name: ".nobackup", Header: "tail"}}}, nil},
		"too short":  {Options{IfPresent: []Marker{{Name: ".nobackup", Header: "header and more, but more"}}}, nil},
		"two":        {Options{IfPresent: []Marker{CacheMarker, {Name: ".nobackup"}}}, []string{"cache/x", "cache/sub", "marked/d"}},
		"larger":     {Options{LargerThan: 1000}, []string{"big"}},
		"case":       {Options{IExcludes: []string{"*.Jpg"}}, []string{"PHOTO.JPG", "photo.jpg"}},
		"case and !": {Options{IExcludes: []string{"*.Jpg", "!photo*"}, Excludes: []string{"*.JPG"}}, []string{"PHOTO.JPG"}},
		"two lists":  {Options{IExcludes: []string{"SMALL"}, Excludes: []string{"big", "!small"}}, []string{"big", "small"}},
		"ignore":     {Options{IgnoreFiles: []string{".ignore"}}, []string{"git/a.o", "git/out", "git/sub/a.o"}},
		"later name": {Options{IgnoreFiles: []string{".ignore", ".second"}}, []string{"git/out", "git/sub/a.o"}},
		"first name": {Options{IgnoreFiles: []string{".second", ".ignore"}}, []string{"git/a.o", "git/out", "git/sub/a.o"}},
	} {
		c.o.Paths, c.o.Scan, c.o.Force = []string{root}, true, true
		want := slices.DeleteFunc(slices.Clone(all), func(p string) bool {
			return slices.ContainsFunc(c.gone, func(g string) bool { return p == g || strings.HasPrefix(p, g+"/") })
		})
		rec := new(recorder)
		ev := rec.events()
		res, err := Run(t.Context(), r, c.o, ev)
		must(t, err)
		if len(rec.errors) > 0 {
			t.Errorf("%s: %v", name, rec.errors)
		}
		if got := below(readBack(t, r, res.Snapshot), root); !slices.Equal(got, want) {
			t.Errorf("%s: %q\nwant %q", name, got, want)
		}
		if p := ev.Progress; p.ScanDone.Load() && (p.FilesTotal.Load() != res.Summary.Files+res.Summary.Others || p.BytesTotal.Load() != res.Summary.Bytes) {
			t.Errorf("%s: the scan has %d files, %d bytes; the walk %+v", name, p.FilesTotal.Load(), p.BytesTotal.Load(), res.Summary)
		}
	}
}

// What is found in the tree decides about what is found there, and not about what was given by name.
func TestRun_GivenPathInALeftOutFolder_IsBackedUp(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{
		".ignore": "/build/\n/file\n*.tmp", "file": "", "build/keep/x": "", "build/keep/y.tmp": "", "build/other": "",
		"cache/CACHEDIR.TAG": cacheHeader, "cache/keep/x": "", "cache/other/x": "", "skip/keep/x": "", "skip/other": "",
	})
	o := Options{
		Paths:       []string{root, root + "/build/keep", root + "/cache/keep/x", root + "/file", root + "/skip/keep"},
		IgnoreFiles: []string{".ignore"}, IfPresent: []Marker{CacheMarker},
		Excludes: []string{root + "/skip/*", "!" + root + "/skip/keep"}, Scan: true,
	}
	want := []string{
		".ignore", "build", "build/keep", "build/keep/x", "build/keep/y.tmp", "cache", "cache/CACHEDIR.TAG", "cache/keep", "cache/keep/x",
		"file", "skip", "skip/keep", "skip/keep/x",
	}
	for range 2 { // the second time from the parent
		got := readBack(t, r, mustRun(t, r, o).Snapshot)
		if have := below(got, root); !slices.Equal(have, want) {
			t.Errorf("%q\nwant %q", have, want)
		}
		if n := mustHave(t, got, root+"/build"); n.MTime.IsZero() || n.Inode == 0 {
			t.Errorf("a folder of the tree without its metadata: %+v", n.Node)
		}
		settleTimes()
	}
}

func TestRun_GivenPathBelowASymlink_IsReported(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"real/x": "1"})
	must(t, os.Symlink("real", filepath.Join(root, "link")))
	for _, given := range []string{root, root + "/link"} { // the folder that the link is in, or the link itself
		res, rec, err := runWith(t.Context(), r, Options{Paths: []string{given, root + "/link/x"}}, hooks{})
		must(t, err)
		if len(rec.errors) != 1 || rec.errors[root+"/link"] == nil || res.Summary.Errors != 1 {
			t.Errorf("%s: %v", given, rec.errors)
		}
		if n := mustHave(t, readBack(t, r, res.Snapshot), root+"/link"); n.Type != tree.Symlink {
			t.Errorf("%s: %+v", given, n.Node)
		}
	}
}

// TestRun_MarkerInTheGivenFolder_DecidesNothing: what was named is meant.
func TestRun_MarkerInTheGivenFolder_DecidesNothing(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{
		"cache/CACHEDIR.TAG": cacheHeader, "cache/x": "", "cache/in/y": "", "cache/other/CACHEDIR.TAG": cacheHeader, "cache/other/z": "",
	})
	want := []string{"cache", "cache/CACHEDIR.TAG", "cache/in", "cache/in/y", "cache/other", "cache/other/CACHEDIR.TAG", "cache/x"}
	for _, paths := range [][]string{{root + "/cache"}, {root, root + "/cache"}} {
		res := mustRun(t, r, Options{Paths: paths, IfPresent: []Marker{CacheMarker}, Scan: true})
		if got := below(readBack(t, r, res.Snapshot), root); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", paths, got, want)
		}
	}
}

func TestRun_IgnoreFileUnusable_IsReportedAndAllIsBackedUp(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"a": "", "dir/.ignore/in": "", "linked/a": ""})
	must(t, os.Symlink("../a", filepath.Join(root, "linked/.ignore")))
	writeFile(t, filepath.Join(root, ".ignore"), []byte("a\n"))
	must(t, os.Truncate(filepath.Join(root, ".ignore"), maxIgnoreFile+1))
	res, rec, err := runWith(t.Context(), r, Options{Paths: []string{root}, IgnoreFiles: []string{".ignore"}}, hooks{})
	must(t, err)
	if len(rec.errors) != 1 || rec.errors[root+"/.ignore"] == nil || res.Summary.Errors != 1 {
		t.Errorf("%v", rec.errors)
	}
	want := []string{".ignore", "a", "dir", "dir/.ignore", "dir/.ignore/in", "linked", "linked/.ignore", "linked/a"}
	if got := below(readBack(t, r, res.Snapshot), root); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for _, o := range []Options{{IgnoreFiles: []string{"a/b"}}, {IfPresent: []Marker{{}}}} {
		o.Paths = []string{root}
		if _, _, err := runWith(t.Context(), r, o, hooks{}); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

func TestRun_OneFileSystem_KeepsMountPointsAndGivenPaths(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	r, _ := newRepo(t)
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	makeTree(t, root, map[string]string{"f": "", "mnt/hidden": "", "other/": "", "bound": ""})
	for _, name := range []string{"mnt", "other"} {
		must(t, unix.Mount("none", at(name), "tmpfs", 0, ""))
		t.Cleanup(func() { unix.Unmount(at(name), unix.MNT_DETACH) })
		makeTree(t, at(name), map[string]string{"a/b": "", "c": ""})
	}
	must(t, unix.Mount(at("mnt/c"), at("bound"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(at("bound"), unix.MNT_DETACH) })
	for name, c := range map[string]struct{ paths, want []string }{
		"the tree":          {[]string{""}, []string{"f", "mnt", "other"}},
		"a mount":           {[]string{"mnt"}, []string{"mnt", "mnt/a", "mnt/a/b", "mnt/c"}},
		"both":              {[]string{"", "mnt"}, []string{"f", "mnt", "mnt/a", "mnt/a/b", "mnt/c", "other"}},
		"below a mount":     {[]string{"", "other/a"}, []string{"f", "mnt", "other", "other/a", "other/a/b"}},
		"the file mounted":  {[]string{"bound"}, []string{"bound"}},
		"file below, alone": {[]string{"mnt/a/b"}, []string{"mnt", "mnt/a", "mnt/a/b"}},
	} {
		o := Options{OneFileSystem: true, Scan: true, Host: name}
		for _, p := range c.paths {
			o.Paths = append(o.Paths, root+"/"+p)
		}
		for range 2 {
			got := readBack(t, r, mustRun(t, r, o).Snapshot)
			if have := below(got, root); !slices.Equal(have, c.want) {
				t.Errorf("%s: %q, want %q", name, have, c.want)
			}
			if n, ok := got[at("mnt")]; ok && name == "the tree" && (!n.Mount || n.Subtree.IsZero() || n.Mode == 0) {
				t.Errorf("%s: %+v", name, n.Node)
			}
		}
	}
}
