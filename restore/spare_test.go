package restore_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

// plant makes files, with the folders above them.
func plant(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("extra"), 0o600))
	}
}

// left names what is in a folder and no folder.
func left(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, strings.TrimPrefix(p, dir+"/"))
		}
		return err
	}))
	return strings.Join(out, " ")
}

func (o outcome) mustSpare(t *testing.T, want string) {
	t.Helper()
	if got := strings.Join(slices.Sorted(maps.Keys(o.spared)), " "); got != want || o.err != nil {
		t.Errorf("spared %s (%v), want %s, error %v", got, o.spared, want, o.err)
	}
}

func TestDelete_WhatIsSpared_StaysWhateverNameLeadsThere(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := commit(t, r, dir("d", textFile("f", "x"), dir("sub", textFile("g", "x"))))
	for name, c := range map[string]struct {
		spare        func(target, beside string) string
		want, spared string
	}{
		"none":             {func(string, string) string { return "" }, "d/f d/sub/g", ""},
		"not there":        {func(target, _ string) string { return target + "/d/own/x/y/z" }, "d/f d/sub/g", ""},
		"folder":           {func(target, _ string) string { return target + "/d/own" }, "d/f d/own/x d/own/y/z d/sub/g", "/d/own"},
		"deep in surplus":  {func(target, _ string) string { return target + "/d/own/y" }, "d/f d/own/y/z d/sub/g", "/d/own/y"},
		"file":             {func(target, _ string) string { return target + "/d/own/x" }, "d/f d/own/x d/sub/g", "/d/own/x"},
		"by a link":        {func(target, beside string) string { return link(t, target+"/d/own", beside+"/link") }, "d/f d/own/x d/own/y/z d/sub/g", "/d/own"},
		"below a link":     {func(target, beside string) string { return link(t, target+"/d", beside+"/link") + "/own" }, "d/f d/own/x d/own/y/z d/sub/g", "/d/own"},
		"link to it":       {func(target, beside string) string { return link(t, beside, target+"/d/link") }, "d/f d/link d/sub/g", "/d/link"},
		"link on the way":  {func(target, beside string) string { return link(t, beside, target+"/d/link") + "/there" }, "d/f d/link d/sub/g", "/d/link"},
		"restored folder":  {func(target, _ string) string { return target + "/d/sub" }, "d/f d/sub/extra d/sub/g", "/d/sub"},
		"one above it":     {func(target, _ string) string { return target + "/d" }, "d/extra d/f d/own/x d/own/y/z d/sub/extra d/sub/g", "/d /d/sub"},
		"above the target": {func(target, _ string) string { return filepath.Dir(target) }, "d/extra d/f d/own/x d/own/y/z d/sub/extra d/sub/g", "/d /d/sub"},
	} {
		t.Run(name, func(t *testing.T) {
			target, beside := t.TempDir(), t.TempDir()
			plant(t, target, "d/own/x", "d/own/y/z", "d/extra", "d/sub/extra")
			plant(t, beside, "there")
			o := restore.Options{Target: target, Delete: true, DryRun: true}
			if path := c.spare(target, beside); path != "" {
				o.Spare = []string{path}
			}
			before := left(t, target)
			dry := run(t, r, snap, o)
			dry.mustSpare(t, c.spared)
			if got := left(t, target); got != before {
				t.Errorf("a dry run has left %s", got)
			}
			o.DryRun = false
			out := run(t, r, snap, o)
			mustBeFine(t, out)
			out.mustSpare(t, c.spared)
			if got := left(t, target); got != c.want || out.Deleted != dry.Deleted {
				t.Errorf("left %s\nwant %s\n%d deleted, of %d", got, c.want, out.Deleted, dry.Deleted)
			}
			mustHave(t, filepath.Join(beside, "there"), []byte("extra"))
		})
	}
}

func link(t *testing.T, to, at string) string {
	t.Helper()
	must(t, os.Symlink(to, at))
	return at
}

func TestDelete_SparedInTheWayOfAFile_Stays(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := commit(t, r, textFile("f", "x"), symlink("l", "f"), dir("d", textFile("g", "x")))
	for spare, told := range map[string]int{"own": 3, ".": 3, "..": 0} {
		target := t.TempDir()
		plant(t, target, "f/own/x", "l/own/x", "d/g/own/x")
		o := restore.Options{Target: target, Delete: true}
		for _, name := range []string{"f", "l", "d/g"} {
			o.Spare = append(o.Spare, filepath.Join(target, name, spare))
		}
		out := run(t, r, snap, o)
		for _, name := range []string{"f", "l", "d/g"} {
			mustHave(t, filepath.Join(target, name, "own/x"), []byte("extra"))
			if !errors.Is(out.errors["/"+name], restore.ErrFolder) {
				t.Errorf("%s: %v", name, out.errors["/"+name])
			}
		}
		if out.err != nil || out.Deleted != 0 || len(out.spared) != told {
			t.Errorf("%s: %v, %+v, spared %v", spare, out.err, out.Result, out.spared)
		}
	}
}

func TestDelete_MountThatTheBackupDidNotEnter_Stays(t *testing.T) {
	r, _ := testrepo.New(t)
	mount := func(n *tree.Node) { n.Mount = true }
	snap := commit(t, r, dir("var", dir("left out").with(mount), dir("full", textFile("f", "x"), dir("d")).with(mount), dir("empty")))
	for _, at := range []string{"/", "/var", "/var/left out"} {
		target := t.TempDir()
		plant(t, target, "var/left out/db/x", "var/full/x", "var/full/d/x", "var/empty/x")
		want := map[string]string{
			"/":             "var/full/f var/left out/db/x",
			"/var":          "var/full/f var/left out/db/x",
			"/var/left out": "var/empty/x var/full/d/x var/full/x var/left out/db/x",
		}[at]
		out := run(t, r, snap, restore.Options{Target: filepath.Join(target, at), Path: at, Delete: true})
		mustBeFine(t, out)
		spared, err := filepath.Rel(at, "/var/left out")
		must(t, err)
		out.mustSpare(t, filepath.Join("/", spared))
		if got := left(t, target); got != want {
			t.Errorf("%s: left %s, want %s", at, got, want)
		}
	}
}

func TestDelete_MountedInTheTargetAndEmptyInTheSnapshot_Stays(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	r, _ := testrepo.New(t)
	snap := commit(t, r, dir("disk"), dir("bound"), dir("data", textFile("f", "x")), dir("plain"))
	target, other := t.TempDir(), t.TempDir()
	plant(t, target, "disk/hidden", "bound/hidden", "data/hidden", "plain/x")
	for _, name := range []string{"disk", "data"} {
		at := filepath.Join(target, name)
		must(t, unix.Mount("none", at, "tmpfs", 0, ""))
		t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	}
	bound := filepath.Join(target, "bound")
	must(t, unix.Mount(other, bound, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(bound, unix.MNT_DETACH) })
	plant(t, target, "disk/x", "bound/x", "data/x")
	out := run(t, r, snap, restore.Options{Target: target, Delete: true})
	mustBeFine(t, out)
	out.mustSpare(t, "/bound /disk")
	if got, want := left(t, target), "bound/x data/f disk/x"; got != want {
		t.Errorf("left %s, want %s", got, want)
	}
	out = run(t, r, snap, restore.Options{Target: filepath.Join(target, "disk"), Path: "/disk", Delete: true})
	mustBeFine(t, out)
	out.mustSpare(t, "/")
	mustHave(t, filepath.Join(target, "disk/x"), []byte("extra"))
}

// A folder above a given path that lies below another one may have been left out but for that.
func TestDelete_FolderOnTheWayToAGivenPath_LosesNothing(t *testing.T) {
	r, _ := testrepo.New(t)
	srv := dir("srv", textFile("f", "x"), dir("big", dir("way", dir("keep", textFile("k", "x")))), dir("bigger", textFile("b", "x")))
	snap := commitAs(t, r, repo.SessionOptions{}, func(c *repo.CommitOptions) {
		c.Manifest.Paths = [][]byte{[]byte("/srv"), []byte("/srv/big/way/keep")}
	}, srv)
	all := []string{"srv/x", "srv/big/x", "srv/big/way/x", "srv/big/way/keep/x", "srv/bigger/x"}
	for at, gone := range map[string][]string{
		"":                  {"srv/x", "srv/big/way/keep/x", "srv/bigger/x"},
		"/srv":              {"srv/x", "srv/big/way/keep/x", "srv/bigger/x"},
		"srv/big/":          {"srv/big/way/keep/x"},
		"/srv/big/way":      {"srv/big/way/keep/x"},
		"/srv/big/way/keep": {"srv/big/way/keep/x"},
	} {
		target := t.TempDir()
		plant(t, target, all...)
		mustBeFine(t, run(t, r, snap, restore.Options{Target: filepath.Join(target, at), Path: at, Delete: true}))
		for _, name := range all {
			_, err := os.Lstat(filepath.Join(target, name))
			if got, want := errors.Is(err, os.ErrNotExist), slices.Contains(gone, name); got != want {
				t.Errorf("%s: %s is gone: %v", at, name, got)
			}
		}
	}
}

func TestDelete_PartialSnapshot_IsRefused(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := commitAs(t, r, repo.SessionOptions{}, func(c *repo.CommitOptions) { c.Partial = true }, textFile("f", "x"))
	target := t.TempDir()
	plant(t, target, "x")
	for _, dry := range []bool{true, false} {
		out := run(t, r, snap, restore.Options{Target: target, Delete: true, DryRun: dry})
		if !errors.Is(out.err, restore.ErrOptions) || !strings.Contains(out.err.Error(), "cut off") || len(out.items) > 0 {
			t.Errorf("%v, %v", out.err, out.items)
		}
	}
	mustBeFine(t, run(t, r, snap, restore.Options{Target: target}))
	if got := left(t, target); got != "f x" {
		t.Errorf("left %s", got)
	}
}

// What a repair could not save of the topmost folder is marked nowhere, and that of others is at the folder or the file.
func TestDelete_WhatRepairHasSaved_OnlyWholeFoldersLoseSomething(t *testing.T) {
	r, _ := testrepo.New(t)
	lost := func(n *tree.Node) { n.Error = "lost" }
	snap := commitAs(t, r, repo.SessionOptions{}, func(c *repo.CommitOptions) { c.Manifest.Suspect = 1 },
		dir("d", file("f").with(lost)), dir("e", textFile("g", "x")).with(lost))
	target := t.TempDir()
	plant(t, target, "x", "d/f", "d/x", "e/x")
	out := run(t, r, snap, restore.Options{Target: target, Delete: true})
	if got, want := left(t, target), "d/f e/g e/x x"; got != want || out.err != nil || out.Deleted != 1 {
		t.Errorf("left %s, want %s; %v, %+v", got, want, out.err, out.Result)
	}
	mustHave(t, filepath.Join(target, "d/f"), []byte("extra"))
}

// Where the store is reached by a network nobody can name a path to the repository. It is known by its config.
func TestDelete_RepositoryThatHasNoPath_IsKnownByItsConfig(t *testing.T) {
	r, store := testrepo.New(t)
	snap := commit(t, r, dir("d", textFile("f", "x")))
	config, err := store.Get(t.Context(), object.ConfigName, 0, -1, nil)
	must(t, err)
	other := bytes.Clone(config)
	other[len(other)-1]++
	for _, name := range []string{object.ConfigName, object.ConfigCopyName} {
		target := t.TempDir()
		plant(t, target, "d/disk/kura/data/x", "d/disk/extra", "d/other/x", "d/shorter/config", "d/folder/config/x")
		must(t, os.WriteFile(filepath.Join(target, "d/disk/kura", name), config, 0o400))
		must(t, os.WriteFile(filepath.Join(target, "d/other", name), other, 0o400))
		must(t, os.Chmod(filepath.Join(target, "d/disk/kura"), 0o500))
		before := left(t, target)
		for _, dry := range []bool{true, false} {
			out := run(t, r, snap, restore.Options{Target: target, Delete: true, DryRun: dry})
			mustBeFine(t, out)
			out.mustSpare(t, "/d/disk/kura")
			if got, want := left(t, target), "d/disk/kura/"+name+" d/disk/kura/data/x d/f"; !dry && got != want || dry && got != before {
				t.Errorf("dry run %v: left %s, want %s", dry, got, want)
			}
		}
		if mode := stat(t, filepath.Join(target, "d/disk/kura")).Mode & 0o7777; mode != 0o500 {
			t.Errorf("the repository has mode %#o", mode)
		}
		must(t, os.Chmod(filepath.Join(target, "d/disk/kura"), 0o700))

		// the target is the repository, or a folder in it
		for _, sub := range []string{"", "data"} {
			out := run(t, r, snap, restore.Options{Target: filepath.Join(target, "d/disk/kura", sub), Path: "/d", Delete: true})
			mustBeFine(t, out)
			out.mustSpare(t, "/")
			mustHave(t, filepath.Join(target, "d/disk/kura", sub, "f"), []byte("x"))
		}
		mustHave(t, filepath.Join(target, "d/disk/kura/data/x"), []byte("extra"))
		mustHave(t, filepath.Join(target, "d/disk/kura", name), config)
	}
}

// A repository of which the config is missing is told by the copy.
func TestDelete_RepositoryWithoutConfig_IsKnownByTheCopy(t *testing.T) {
	r, store := testrepo.New(t)
	snap := commit(t, r, dir("d", textFile("f", "x")))
	config, err := store.Get(t.Context(), object.ConfigCopyName, 0, -1, nil)
	must(t, err)
	target := t.TempDir()
	plant(t, target, "d/kura/x")
	must(t, os.WriteFile(filepath.Join(target, "d/kura", object.ConfigCopyName), config, 0o600))
	must(t, store.Delete(t.Context(), object.ConfigName))
	run(t, r, snap, restore.Options{Target: target, Delete: true}).mustSpare(t, "/d/kura")
	must(t, store.Delete(t.Context(), object.ConfigCopyName))
	run(t, r, snap, restore.Options{Target: target, Delete: true}).mustSpare(t, "")
	if got := left(t, target); got != "d/f" {
		t.Errorf("left %s", got)
	}
}
