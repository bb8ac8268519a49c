package backup

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/retain"
	"github.com/kura-backup/kura/tree"
)

// asBefore gives a file that was changed its old mtime back.
func asBefore(t *testing.T, path string, do func()) {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	do()
	must(t, os.Chtimes(path, time.Time{}, info.ModTime()))
}

func TestRun_IgnoreCtimeAndInode_OnlyMtimeAndSizeCount(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	for name, c := range map[string]struct {
		o            Options
		ctime, inode int // how often each is opened to be read
	}{
		"neither": {Options{}, 1, 1},
		"ctime":   {Options{IgnoreCtime: true}, 0, 1},
		"inode":   {Options{IgnoreInode: true}, 0, 0},
		"both":    {Options{IgnoreCtime: true, IgnoreInode: true}, 0, 0},
		"force":   {Options{IgnoreInode: true, Force: true}, 1, 1},
	} {
		r, _ := newRepo(t)
		c.o.Paths, c.o.Host = []string{root}, "h"
		makeTree(t, root, map[string]string{"ctime": "content", "inode": "content", "mtime": "content"})
		for _, f := range []string{"ctime", "inode", "mtime"} {
			must(t, os.Chtimes(at(f), time.Time{}, time.Now().Add(-time.Hour)))
		}
		settleTimes()
		mustRun(t, r, c.o)
		asBefore(t, at("ctime"), func() { must(t, os.Chmod(at("ctime"), 0o600)) })
		xattr := unix.Setxattr(at("ctime"), "user.kura", []byte("new"), 0)
		asBefore(t, at("inode"), func() {
			must(t, os.Rename(at("inode"), at("old")))
			writeFile(t, at("inode"), []byte("content"))
			must(t, os.Remove(at("old")))
		})
		writeFile(t, at("mtime"), []byte("changed"))
		settleTimes()
		var opened openings
		res, rec, err := runWith(t.Context(), r, c.o, hooks{opened: opened.hook})
		must(t, err)
		for f, reads := range map[string]int{"ctime": c.ctime, "inode": c.inode, "mtime": 1} {
			if got := opened.names[f]; got != reads {
				t.Errorf("%s: %s was read %d times, want %d", name, f, got, reads)
			}
			if got := rec.items[at(f)].Action; !c.o.Force && (got == Unmodified) != (reads == 0) {
				t.Errorf("%s: %s is %v", name, f, got)
			}
		}
		wantTree(t, r, res.Snapshot, root)
		got := readBack(t, r, res.Snapshot)
		n := mustHave(t, got, at("ctime"))
		if n.Mode != 0o600 || xattr == nil && len(n.XAttrs) != 1 {
			t.Errorf("%s: metadata is old: %+v", name, n.Node)
		}
		var st unix.Stat_t
		must(t, unix.Stat(at("inode"), &st))
		if n := mustHave(t, got, at("inode")); n.Inode != st.Ino {
			t.Errorf("%s: the inode is old", name)
		}
		must(t, os.Remove(at("ctime"))) // with its attribute
	}
}

func TestRun_SkipIfUnchanged_MakesNoSnapshotOfTheSame(t *testing.T) {
	r, store := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"a/b": "x", "c": "y"})
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h", SkipIfUnchanged: true}
	first := mustRun(t, r, o)
	if first.Snapshot == nil || first.Unchanged {
		t.Fatal("there was nothing to compare with")
	}
	for name, change := range map[string]func(*Options){
		"the same": func(*Options) {}, "dry": func(o *Options) { o.DryRun = true }, "other tags": func(o *Options) { o.Tags = []string{"t"} },
		"by name": func(o *Options) { o.Parent, o.Host = first.Snapshot, "another" },
	} {
		store.Reset()
		opts := o
		change(&opts)
		res := mustRun(t, r, opts)
		if res.Snapshot != nil || !res.Unchanged || res.Parent == nil || store.Count(fault.Put, "log/") != 0 {
			t.Errorf("%s: %+v", name, res)
		}
	}
	if len(r.State().Snapshots) != 1 {
		t.Errorf("%d snapshots", len(r.State().Snapshots))
	}
	for name, change := range map[string]func(*Options){
		"forced": func(o *Options) { o.Force = true }, "other host": func(o *Options) { o.Host = "another" },
		"changed": func(*Options) { writeFile(t, filepath.Join(root, "c"), []byte("z")) },
		"mode":    func(*Options) { must(t, os.Chmod(filepath.Join(root, "a/b"), 0o600)) },
		"removed": func(*Options) { must(t, os.Remove(filepath.Join(root, "c"))) },
	} {
		opts := o
		change(&opts)
		if res := mustRun(t, r, opts); res.Snapshot == nil || res.Unchanged {
			t.Errorf("%s: %+v", name, res)
		}
		settleTimes()
	}
}

func TestRun_ParentBy_ChoosesAmongTheGroup(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"a/f": "x", "b/f": "x"})
	settleTimes()
	a, b := filepath.Join(root, "a"), filepath.Join(root, "b")
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	snap := map[string]string{}
	for _, s := range []struct {
		name string
		o    Options
	}{
		{"host1", Options{Paths: []string{a}, Host: "1", Time: day(1)}},
		{"host2", Options{Paths: []string{a}, Host: "2", Time: day(2), Tags: []string{"y", "x"}}},
		{"path b", Options{Paths: []string{b}, Host: "1", Time: day(3)}},
		{"late", Options{Paths: []string{a}, Host: "1", Time: day(9)}},
	} {
		snap[mustRun(t, r, s.o).Snapshot.ID.String()] = s.name
	}
	by := func(s string) *retain.GroupBy {
		g, err := retain.ParseGroupBy(s)
		must(t, err)
		return &g
	}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Host: "1"}, "late"},
		{Options{Host: "1", Time: day(5)}, "host1"},
		{Options{Host: "3", Time: day(5)}, ""},
		{Options{Host: "3", Time: day(5), ParentBy: by("paths")}, "host2"},
		{Options{Host: "1", Time: day(5), ParentBy: by("host")}, "path b"},
		{Options{Host: "3", Time: day(5), ParentBy: by("")}, "path b"},
		{Options{Host: "3", ParentBy: by("")}, "late"},
		{Options{Host: "3", Tags: []string{"x", "y", "x"}, ParentBy: by("tags")}, "host2"},
		{Options{Host: "3", Tags: []string{"x"}, ParentBy: by("tags")}, ""},
		{Options{Host: "1", Force: true}, ""},
	} {
		c.o.Paths, c.o.DryRun = []string{a}, true
		got := ""
		if p := mustRun(t, r, c.o).Parent; p != nil {
			got = snap[p.ID.String()]
		}
		if got != c.want {
			t.Errorf("%+v: the parent is %q, want %q", c.o, got, c.want)
		}
	}
}

func TestRun_WithAtime_IsRecordedAndNotChanged(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, map[string]string{"d/f": "x"})
	must(t, os.Symlink("d", filepath.Join(root, "link")))
	accessed := time.Date(2020, 2, 3, 4, 5, 6, 7, time.UTC)
	times := []unix.Timespec{unix.NsecToTimespec(accessed.UnixNano()), {Nsec: unix.UTIME_OMIT}}
	set := func() {
		for _, name := range []string{"d/f", "d", "link"} {
			must(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(root, name), times, unix.AT_SYMLINK_NOFOLLOW))
		}
	}
	set()
	settleTimes()
	o := Options{Paths: []string{root}, Host: "h"}
	want := tree.MakeTime(accessed.Unix(), uint32(accessed.Nanosecond()))
	for _, with := range []bool{false, true, true, false} {
		o.WithAtime = with
		got := readBack(t, r, mustRun(t, r, o).Snapshot)
		for _, name := range []string{"d/f", "d"} {
			n := mustHave(t, got, filepath.Join(root, name))
			if with && n.ATime != want || !with && !n.ATime.IsZero() {
				t.Errorf("with %v: %s has %v", with, name, n.ATime.Time())
			}
		}
		if n := mustHave(t, got, filepath.Join(root, "link")); n.ATime.IsZero() == with {
			t.Errorf("with %v: the link has %v", with, n.ATime.Time())
		}
		if n := mustHave(t, got, filepath.Dir(root)); !n.ATime.IsZero() {
			t.Errorf("a folder above has %v", n.ATime.Time())
		}
	}
	// The next run records that nothing but the time of access has changed.
	accessed = accessed.Add(time.Hour)
	times[0] = unix.NsecToTimespec(accessed.UnixNano())
	set()
	settleTimes()
	o.WithAtime = true
	n := mustHave(t, readBack(t, r, mustRun(t, r, o).Snapshot), filepath.Join(root, "d/f"))
	if n.ATime.Time() != accessed {
		t.Errorf("%v", n.ATime.Time())
	}
}

func TestRun_ReadConcurrency_AnyNumberGivesTheSameTree(t *testing.T) {
	r, _ := newRepo(t)
	root := t.TempDir()
	makeTree(t, root, manyFiles(300))
	var roots []string
	for _, n := range []int{1, 2, 50} {
		res := mustRun(t, r, Options{Paths: []string{root}, Force: true, ReadConcurrency: n, Packing: repo.Packing{Size: 5 << 20, Parity: -1}})
		id, err := res.Snapshot.RootID()
		must(t, err)
		roots = append(roots, id.String())
	}
	if roots[0] != roots[1] || roots[1] != roots[2] {
		t.Errorf("%q", roots)
	}
}
