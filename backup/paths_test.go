package backup

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/source/pattern"
	"github.com/kura-backup/kura/tree"
)

// below returns what a snapshot has below a folder, relative to it, sorted.
func below(got map[string]saved, root string) []string {
	var out []string
	for path := range got {
		if rest, ok := strings.CutPrefix(path, root+"/"); ok {
			out = append(out, rest)
		}
	}
	slices.Sort(out)
	return out
}

func TestRun_Paths_EachEntryOnce(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	makeTree(t, root, map[string]string{"a/b/c": "x", "a/d": "x", "a-e/f": "x", "file": "x", "other": "x"})
	must(t, os.Symlink("a", at("link")))
	for name, c := range map[string]struct{ paths, want []string }{
		"one inside the other": {[]string{"a/b", "a"}, []string{"a", "a/b", "a/b/c", "a/d"}},
		"twice":                {[]string{"a/b", "a/b", "a/../a/b/"}, []string{"a", "a/b", "a/b/c"}},
		"a file":               {[]string{"file"}, []string{"file"}},
		"a file in a folder":   {[]string{"a/b/c", "a/b"}, []string{"a", "a/b", "a/b/c"}},
		"a symlink":            {[]string{"link"}, []string{"link"}},
		"below a symlink":      {[]string{"link/b"}, []string{"link", "link/b", "link/b/c"}},
		"neighbours":           {[]string{"a", "a-e"}, []string{"a", "a-e", "a-e/f", "a/b", "a/b/c", "a/d"}},
	} {
		var paths []string
		for _, p := range c.paths {
			paths = append(paths, root+"/"+p)
		}
		res := mustRun(t, r, Options{Paths: paths})
		got := readBack(t, r, res.Snapshot)
		if have := below(got, root); !slices.Equal(have, c.want) {
			t.Errorf("%s: %q, want %q", name, have, c.want)
		}
		// The folders above have who owns them, and nothing that differs from run to run.
		if n := mustHave(t, got, filepath.Dir(root)); n.Type != tree.Folder || !n.MTime.IsZero() || n.Inode != 0 || n.Mode == 0 {
			t.Errorf("%s: above: %+v", name, n.Node)
		}
		if name == "a symlink" && mustHave(t, got, at("link")).Type != tree.Symlink {
			t.Error("a symlink that was given is followed")
		}
	}
}

func TestRun_RelativePath_IsMadeAbsolute(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"f": "x"})
	t.Chdir(root)
	res := mustRun(t, r, Options{Paths: []string{"."}})
	if got := res.Snapshot.PathStrings(); !slices.Equal(got, []string{root}) {
		t.Errorf("%q", got)
	}
	wantTree(t, r, res.Snapshot, root)
}

// TestRun_PathBySymlinks_LeadsWhereTheKernelComesTo: all that was saved of a folder was the link to it, and the run ended well.
func TestRun_PathBySymlinks_LeadsWhereTheKernelComesTo(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	makeTree(t, root, map[string]string{"real/f": "x", "real/sub/g": "x", "f": "another", "there/": ""})
	must(t, os.Symlink("real", root+"/link"))
	must(t, os.Symlink("../real/sub", root+"/there/deep"))
	real := []string{"real", "real/f", "real/sub", "real/sub/g"}
	for _, c := range []struct {
		in, path string
		is       string // absolute
		want     []string
	}{
		{"/link", ".", "/real", real},
		{"/link", "f", "/link/f", []string{"link", "link/f"}},
		{"/link/sub", ".", "/link/sub", []string{"link", "link/sub", "link/sub/g"}},
		{"/", "link/sub/..", "/real", real},
		{"/there/deep", "..", "/real", real},
		{"/there/deep", "../f", "/real/f", []string{"real", "real/f"}},
		{"/", root + "/link/", "/real", real},
		{"/", root + "/link//.", "/real", real},
		{"/", "link/", "/real", real},
		{"/", root + "/there/deep/../f", "/real/f", []string{"real", "real/f"}},
		{"/", "there/deep/..", "/real", real},
		{"/", root + "/link", "/link", []string{"link"}},
		{"/", "link", "/link", []string{"link"}},
		{"/", root + "/link/f", "/link/f", []string{"link", "link/f"}},
		{"/", "real/../link/sub/../f", "/link/f", []string{"link", "link/f"}},
		{"/", root + "/there/", "/there", []string{"there", "there/deep"}},
	} {
		t.Run(c.in+" "+c.path, func(t *testing.T) {
			t.Chdir(root + c.in) // which sets PWD, as a shell does
			if got, err := AbsPath(c.path); err != nil || got != root+c.is {
				t.Errorf("%q, %v", got, err)
			}
			r, _ := newRepo(t)
			res := mustRun(t, r, Options{Paths: []string{c.path}})
			if got := res.Snapshot.PathStrings(); !slices.Equal(got, []string{root + c.is}) {
				t.Errorf("the paths are %q", got)
			}
			if got := below(readBack(t, r, res.Snapshot), root); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestRun_SymlinkThatLeadsNowhere_IsNoFolder: where what it leads to was meant, as that of a disk that is not mounted.
func TestRun_SymlinkThatLeadsNowhere_IsNoFolder(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"f": "x"})
	must(t, os.Symlink("gone", root+"/link"))
	res, rec, err := runWith(t.Context(), r, Options{Paths: []string{root + "/link/", root + "/f"}}, hooks{})
	must(t, err)
	if len(rec.errors) != 1 || !errors.Is(rec.errors[root+"/link"], syscall.ENOENT) {
		t.Errorf("%v", rec.errors)
	}
	if got := below(readBack(t, r, res.Snapshot), root); !slices.Equal(got, []string{"f"}) {
		t.Errorf("%q", got)
	}
}

func TestRun_OwnPaths_AreLeftOut(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"disk/config": "x", "disk/data/x": "x", "disk/photos/p": "x"})
	own := []string{root + "/disk/config", root + "/disk/data"}
	o := Options{Paths: []string{root, root + "/disk/data/x"}, Own: own, Excludes: []string{"none", "!data"}, Scan: true}
	res, rec, err := runWith(t.Context(), r, o, hooks{})
	must(t, err)
	if len(rec.errors) != 0 || res.Summary.Errors != 0 {
		t.Errorf("%v", rec.errors)
	}
	if got := below(readBack(t, r, res.Snapshot), root); !slices.Equal(got, []string{"disk", "disk/photos", "disk/photos/p"}) {
		t.Errorf("%q", got)
	}
	if want := append(slices.Clone(o.Excludes), own...); !slices.Equal(res.Snapshot.Excludes, want) {
		t.Errorf("the snapshot says %q", res.Snapshot.Excludes)
	}
	o.Paths = o.Paths[1:]
	if _, _, err := runWith(t.Context(), r, o, hooks{}); !errors.Is(err, ErrNothing) || !errors.Is(err, errOwn) {
		t.Errorf("nothing but that: %v", err)
	}
}

func TestRun_SomePathMissing_TheOthersAreBackedUp(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"a/f": "x", "file": "x"})
	missing, through := filepath.Join(root, "missing"), filepath.Join(root, "file/below")
	res, rec, err := runWith(t.Context(), r, Options{Paths: []string{filepath.Join(root, "a"), missing, through}}, hooks{})
	must(t, err)
	if !errors.Is(rec.errors[missing], syscall.ENOENT) || !errors.Is(rec.errors[through], syscall.ENOTDIR) || res.Summary.Errors != 2 {
		t.Errorf("%v, %+v", rec.errors, res.Summary)
	}
	if got := below(readBack(t, r, res.Snapshot), root); !slices.Equal(got, []string{"a", "a/f"}) {
		t.Errorf("%q", got)
	}
}

func TestRun_NothingToBackUp_CommitsNothing(t *testing.T) {
	r, store := newRepo(t)
	root := t.TempDir()
	writeFile(t, filepath.Join(root, "f"), []byte("x"))
	for name, o := range map[string]Options{
		"no paths": {}, "missing": {Paths: []string{filepath.Join(root, "a"), filepath.Join(root, "b")}},
		"excluded": {Paths: []string{filepath.Join(root, "f")}, Excludes: []string{"f"}},
	} {
		store.Reset()
		res, _, err := runWith(t.Context(), r, o, hooks{})
		if !errors.Is(err, ErrNothing) || res != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(r.State().Snapshots) != 0 {
			t.Errorf("%s: there is a snapshot", name)
		}
	}
	if _, _, err := runWith(t.Context(), r, Options{Paths: []string{""}}, hooks{}); err == nil {
		t.Error("an empty path is taken")
	}
	if _, _, err := runWith(t.Context(), r, Options{Paths: []string{root}, Excludes: []string{"["}}, hooks{}); !errors.Is(err, pattern.ErrBad) {
		t.Errorf("bad pattern: %v", err)
	}
}

// The cases are those of the page about backups in restic's documentation.
func TestRun_Excludes_AsRestic(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{
		"home/user/foo.go": "", "home/user/main.c": "", "home/user/sub/bar.go": "", "home/user/work/foo/a/b/bar/x": "",
		"home/user/work/foo/bar": "", "home/user/important.txt": "", "home/other/cache/data": "", "home/user/cache/x": "",
		"tmp/keep/f": "", "tmp/drop/f": "", "tmp/file": "",
	})
	all := []string{
		"home", "home/other", "home/other/cache", "home/other/cache/data", "home/user", "home/user/cache", "home/user/cache/x",
		"home/user/foo.go", "home/user/important.txt", "home/user/main.c", "home/user/sub", "home/user/sub/bar.go", "home/user/work",
		"home/user/work/foo", "home/user/work/foo/a", "home/user/work/foo/a/b", "home/user/work/foo/a/b/bar", "home/user/work/foo/a/b/bar/x",
		"home/user/work/foo/bar", "tmp", "tmp/drop", "tmp/drop/f", "tmp/file", "tmp/keep", "tmp/keep/f",
	}
	for _, c := range []struct {
		excludes []string
		gone     []string // with all that is below
	}{
		{nil, nil},
		{[]string{"*.c", "*.go"}, []string{"home/user/foo.go", "home/user/main.c", "home/user/sub/bar.go"}},
		{[]string{"foo/**/bar"}, []string{"home/user/work/foo/a/b/bar", "home/user/work/foo/bar"}},
		{[]string{"cache"}, []string{"home/other/cache", "home/user/cache"}},
		{[]string{root + "/home/user/cache/"}, []string{"home/user/cache"}},
		{[]string{root + "/home/*/cache"}, []string{"home/other/cache", "home/user/cache"}},
		{[]string{"/cache"}, nil},
		{[]string{root + "/tmp/*", "!" + root + "/tmp/keep"}, []string{"tmp/drop", "tmp/file"}},
		{[]string{root + "/tmp", "!" + root + "/tmp/keep"}, []string{"tmp"}},
		{[]string{"user/[f-i]*"}, []string{"home/user/foo.go", "home/user/important.txt"}},
	} {
		res := mustRun(t, r, Options{Paths: []string{root}, Excludes: c.excludes, Force: true, Scan: true})
		want := slices.DeleteFunc(slices.Clone(all), func(p string) bool {
			return slices.ContainsFunc(c.gone, func(g string) bool { return p == g || strings.HasPrefix(p, g+"/") })
		})
		if got := below(readBack(t, r, res.Snapshot), root); !slices.Equal(got, want) {
			t.Errorf("%q: %q\nwant %q", c.excludes, got, want)
		}
		if !slices.Equal(res.Snapshot.Excludes, c.excludes) {
			t.Errorf("the snapshot says %q", res.Snapshot.Excludes)
		}
	}
}

func TestRun_ExcludedSinceTheParent_IsGone(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"a": "x", "b": "x", "c/d": "x", "c/e": "x"})
	settleTimes()
	mustRun(t, r, Options{Paths: []string{root}, Host: "h"})
	for _, c := range []struct{ excludes, want []string }{
		{[]string{"b"}, []string{"a", "c", "c/d", "c/e"}},
		{[]string{"e"}, []string{"a", "b", "c", "c/d"}},
		{[]string{"c"}, []string{"a", "b"}},
		{nil, []string{"a", "b", "c", "c/d", "c/e"}},
	} {
		res := mustRun(t, r, Options{Paths: []string{root}, Host: "h", Excludes: c.excludes})
		if got := below(readBack(t, r, res.Snapshot), root); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.excludes, got, c.want)
		}
	}
}

func TestRun_EntriesComeAndGo_SnapshotIsAsTheDisk(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, manyFiles(600))
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h"}
	mustRun(t, r, o)
	for name, change := range map[string]func(){
		"first removed": func() { must(t, os.RemoveAll(filepath.Join(root, "d00"))) },
		"last removed":  func() { must(t, os.RemoveAll(filepath.Join(root, "d36"))) },
		"added":         func() { makeTree(t, root, map[string]string{"d05/e0/new": "y", "d05x/new": "z", "zz": "last"}) },
		"folder to file": func() {
			must(t, os.RemoveAll(filepath.Join(root, "d07")))
			writeFile(t, filepath.Join(root, "d07"), []byte("a file now"))
		},
		"renamed": func() { must(t, os.Rename(filepath.Join(root, "d09"), filepath.Join(root, "d09 moved"))) },
		"emptied": func() {
			must(t, os.RemoveAll(filepath.Join(root, "d10/e0")))
			must(t, os.Mkdir(filepath.Join(root, "d10/e0"), 0o755))
		},
	} {
		change()
		res := mustRun(t, r, o)
		if t.Failed() || res.Parent == nil {
			t.Fatalf("%s: parent %v", name, res.Parent)
		}
		wantTree(t, r, res.Snapshot, root)
	}
}

func TestRun_Unreadable_IsCountedListedAndRecorded(t *testing.T) {
	if !testsys.AsUser(t) {
		return
	}
	r, _ := newRepo(t)
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	makeTree(t, root, map[string]string{"readable": "x", "file": "x", "dir/below": "x", "no search/f": "x", "no search/g": "x"})
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h"}
	mustRun(t, r, o)
	for name, mode := range map[string]os.FileMode{"file": 0, "dir": 0, "no search": 0o600} {
		must(t, os.Chmod(at(name), mode))
	}
	t.Cleanup(func() {
		for _, name := range []string{"dir", "no search"} {
			must(t, os.Chmod(at(name), 0o700))
		}
	})
	for range 2 {
		res, rec, err := runWith(t.Context(), r, o, hooks{})
		must(t, err)
		bad := slices.Sorted(maps.Keys(rec.errors))
		if want := []string{at("dir"), at("file"), at("no search/f"), at("no search/g")}; !slices.Equal(bad, want) || res.Summary.Errors != 4 {
			t.Errorf("%v, %+v", rec.errors, res.Summary)
		}
		for path, err := range rec.errors {
			if !errors.Is(err, syscall.EACCES) {
				t.Errorf("%s: %v", path, err)
			}
		}
		if res.Snapshot.Summary.Errors != 4 {
			t.Errorf("the snapshot does not say so: %+v", res.Snapshot.Summary)
		}
		got := readBack(t, r, res.Snapshot)
		if n := mustHave(t, got, at("file")); n.Error == "" || n.Mode != 0 || len(n.data) != 0 {
			t.Errorf("%+v", n.Node)
		}
		if n := mustHave(t, got, at("dir")); n.Error == "" || n.Mode != 0 || !n.Subtree.IsZero() {
			t.Errorf("%+v", n.Node)
		}
		if n := mustHave(t, got, at("readable")); n.Error != "" || string(n.data) != "x" {
			t.Errorf("%+v", n.Node)
		}
	}
	if _, _, err := runWith(t.Context(), r, Options{Paths: []string{at("dir/below")}}, hooks{}); !errors.Is(err, ErrNothing) || !errors.Is(err, syscall.EACCES) {
		t.Errorf("nothing readable: %v", err)
	}
}

// TestRun_WordsThatAreNotUTF8_SnapshotCanBeRead: patterns may have any bytes, as names have; hosts and tags may not, and that is said before
// anything is read.
func TestRun_WordsThatAreNotUTF8_SnapshotCanBeRead(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"caf\xe9": "x", "b": "x"})
	res := mustRun(t, r, Options{Paths: []string{root}, Host: "h", Excludes: []string{"caf\xe9"}})
	if got := below(readBack(t, r, res.Snapshot), root); !slices.Equal(got, []string{"b"}) {
		t.Errorf("%q", got)
	}
	list, err := r.Snapshots(t.Context())
	if err != nil || len(list) != 1 || list[0].Err != nil || !slices.Equal(list[0].Excludes, []string{"caf\uFFFD"}) {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, o := range []Options{
		{Paths: []string{root}, Host: "\xe9"},
		{Paths: []string{root}, Tags: []string{"ok", "\xe9"}},
	} {
		if _, _, err := runWith(t.Context(), r, o, hooks{}); err == nil {
			t.Errorf("%q %q: a snapshot was made", o.Host, o.Tags)
		}
	}
}
