package restore_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

// counter counts the reads of data packs.
type counter struct{ reads atomic.Int64 }

func counting(store *fault.Store, c *counter) {
	store.Inject(fault.On(fault.Get).Prefix("data/").Always().Hook(func(context.Context, fault.Call) error {
		c.reads.Add(1)
		return nil
	}))
}

func (o outcome) did() map[string]restore.Action {
	did := map[string]restore.Action{}
	for _, i := range o.items {
		if i.Type != tree.Folder {
			did[i.Path] = i.Action
		}
	}
	return did
}

func mustDo(t *testing.T, out outcome, want map[string]restore.Action) {
	t.Helper()
	got := out.did()
	for path, a := range want {
		if g, ok := got[path]; !ok || g != a {
			t.Errorf("%s was %v (%v), want %v", path, g, ok, a)
		}
		delete(got, path)
	}
	if len(got) > 0 {
		t.Errorf("more was done: %v", got)
	}
}

// shapes is a snapshot with files of all shapes.
type shapes struct {
	entries []entry
	store   *mem.Store
	snap    *repo.Snapshot
}

func newShapes(t *testing.T) *shapes {
	t.Helper()
	big := testrepo.Random(1, 5<<20)
	entries := []entry{
		file("big", chunks(big[:1<<20], big[1<<20:2<<20], big[2<<20:3<<20], big[3<<20:4<<20], big[4<<20:])...),
		file("holes", part{data: big[:1<<20]}, hole(4<<20), part{data: big[1<<20 : 2<<20]}, part{kind: tree.Zeros, n: 2 << 20}),
		textFile("small", "text"), file("empty"), file("all hole", hole(1<<20)), symlink("link", "small"),
		textFile("read-only", "x").with(func(n *tree.Node) { n.Mode = 0o444 }),
		dir("d", textFile("one", "linked").with(func(n *tree.Node) { n.Inode, n.Links = 5, 2 }), textFile("two", "linked").with(func(n *tree.Node) { n.Inode, n.Links = 5, 2 })),
	}
	r, store := testrepo.New(t)
	return &shapes{entries, store, commit(t, r, entries...)}
}

// inPlace restores it into a target.
func (s *shapes) inPlace(t *testing.T) (store *fault.Store, again func(o restore.Options) outcome, target string) {
	t.Helper()
	store = fault.New(s.store)
	r := testrepo.Open(t, store)
	target = filepath.Join(t.TempDir(), "target")
	mustBeFine(t, run(t, r, s.snap, restore.Options{Target: target, Verify: true}))
	return store, func(o restore.Options) outcome {
		o.Target = target
		return run(t, r, s.snap, o)
	}, target
}

var allUnchanged = map[string]restore.Action{
	"/big": restore.Unchanged, "/holes": restore.Unchanged, "/small": restore.Unchanged, "/empty": restore.Unchanged, "/all hole": restore.Unchanged,
	"/link": restore.Unchanged, "/read-only": restore.Unchanged, "/d/one": restore.Unchanged, "/d/two": restore.Unchanged,
}

func withAction(base map[string]restore.Action, a restore.Action, paths ...string) map[string]restore.Action {
	out := map[string]restore.Action{}
	for p, b := range base {
		out[p] = b
	}
	for _, p := range paths {
		out[p] = a
	}
	return out
}

func TestInPlace_NothingDiffers_NothingIsFetchedOrWritten(t *testing.T) {
	all := newShapes(t)
	store, again, target := all.inPlace(t)
	before := stat(t, filepath.Join(target, "big"))
	var c counter
	counting(store, &c)
	for _, o := range []restore.Options{{}, {DryRun: true}, {Overwrite: restore.OverwriteIfChanged}, {Overwrite: restore.OverwriteIfNewer}, {Overwrite: restore.OverwriteNever}, {Delete: true}} {
		out := again(o)
		mustBeFine(t, out)
		mustDo(t, out, allUnchanged)
		if out.Skipped != 9 || out.Deleted != 0 || c.reads.Load() != 0 {
			t.Errorf("%+v: %d reads, result %+v", o, c.reads.Load(), out.Result)
		}
	}
	if after := stat(t, filepath.Join(target, "big")); after.Ctim != before.Ctim || after.Ino != before.Ino {
		t.Error("a file was touched that is as it should be")
	}
	mustMatch(t, target, all.entries)
}

func TestInPlace_EveryKindOfDifference_OnlyThatIsWritten(t *testing.T) {
	all := newShapes(t)
	touch := func(t *testing.T, path string) {
		must(t, os.Chtimes(path, time.Time{}, someTime.Time()))
	}
	for name, c := range map[string]struct {
		path   string
		change func(t *testing.T, path string)
		want   restore.Action
		reads  int // of packs at most
		inode  bool
	}{
		"byte in the middle": {"/big", func(t *testing.T, p string) { patch(t, p, 2<<20+77, "!") }, restore.Updated, 1, true},
		"same time too":      {"/big", func(t *testing.T, p string) { patch(t, p, 77, "!"); touch(t, p) }, restore.Updated, 1, true},
		"cut short":          {"/big", func(t *testing.T, p string) { must(t, os.Truncate(p, 4<<20+5)) }, restore.Updated, 1, true},
		"longer":             {"/big", func(t *testing.T, p string) { must(t, os.Truncate(p, 6<<20)) }, restore.Updated, 0, true},
		"data in a hole":     {"/holes", func(t *testing.T, p string) { patch(t, p, 3<<20, "data") }, restore.Updated, 0, true},
		"data in zeros":      {"/holes", func(t *testing.T, p string) { patch(t, p, 7<<20, "data") }, restore.Updated, 0, true},
		"small":              {"/small", func(t *testing.T, p string) { patch(t, p, 0, "T") }, restore.Updated, 1, false},
		"empty":              {"/empty", func(t *testing.T, p string) { patch(t, p, 0, "T") }, restore.Updated, 0, false},
		"all hole":           {"/all hole", func(t *testing.T, p string) { patch(t, p, 4000, "T") }, restore.Updated, 0, false},
		"gone":               {"/big", func(t *testing.T, p string) { must(t, os.Remove(p)) }, restore.Restored, 5, false},
		"time":               {"/big", func(t *testing.T, p string) { must(t, os.Chtimes(p, time.Now(), time.Now())) }, restore.Unchanged, 0, true},
		"mode":               {"/big", func(t *testing.T, p string) { must(t, os.Chmod(p, 0o600)) }, restore.Unchanged, 0, true},
		"more rights":        {"/big", func(t *testing.T, p string) { patch(t, p, 1, "!"); must(t, os.Chmod(p, 0o666)) }, restore.Updated, 5, false},
		"unfinished":         {"/big", func(t *testing.T, p string) { must(t, os.Chmod(p, 0o600|os.ModeSticky)) }, restore.Unchanged, 0, true},
		"read-only":          {"/read-only", func(t *testing.T, p string) { must(t, os.Remove(p)); must(t, os.WriteFile(p, []byte("y"), 0o444)) }, restore.Updated, 1, false},
		"symlink to it":      {"/small", func(t *testing.T, p string) { must(t, os.Remove(p)); must(t, os.Symlink("big", p)) }, restore.Updated, 1, false},
		"other link":         {"/link", func(t *testing.T, p string) { must(t, os.Remove(p)); must(t, os.Symlink("big", p)) }, restore.Restored, 0, false},
		"hard link lost":     {"/d/two", func(t *testing.T, p string) { must(t, os.Remove(p)) }, restore.Restored, 0, false},
		"hard link copied":   {"/d/two", func(t *testing.T, p string) { must(t, os.Remove(p)); must(t, os.WriteFile(p, []byte("linked"), 0o644)) }, restore.Restored, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && c.want != restore.Updated && name != "gone" {
				t.Skip("little is done side by side")
			}
			store, again, target := all.inPlace(t)
			path := filepath.Join(target, c.path)
			before := stat(t, path)
			if held, err := os.Open(path); err == nil { // so that its number is not given away again
				defer held.Close()
			}
			c.change(t, path)
			want := withAction(allUnchanged, c.want, c.path)
			var reads counter
			counting(store, &reads)
			mustDo(t, again(restore.Options{DryRun: true}), want)
			if reads.reads.Load() != 0 {
				t.Errorf("a dry run has read %d times", reads.reads.Load())
			}
			out := again(restore.Options{})
			mustBeFine(t, out)
			mustDo(t, out, want)
			if reads.reads.Load() > int64(c.reads) {
				t.Errorf("%d reads", reads.reads.Load())
			}
			if after := stat(t, path); (after.Ino == before.Ino) != c.inode && c.want == restore.Updated && after.Size > 4 {
				t.Errorf("changed in place: %v, want %v", after.Ino == before.Ino, c.inode)
			}
			mustMatch(t, target, all.entries)
			mustDo(t, again(restore.Options{Verify: true}), allUnchanged)
		})
	}
}

func patch(t *testing.T, path string, at int64, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte(text), at)
	must(t, err)
	must(t, f.Close())
}

func TestOverwrite_EachPolicy_KeepsWhatItSays(t *testing.T) {
	older, newer := someTime.Time().Add(-time.Hour), someTime.Time().Add(time.Hour)
	for _, c := range []struct {
		policy              restore.Overwrite
		old, new, same, bad restore.Action
	}{
		{restore.OverwriteAlways, restore.Updated, restore.Updated, restore.Updated, restore.Updated},
		{restore.OverwriteIfChanged, restore.Updated, restore.Updated, restore.Unchanged, restore.Updated},
		{restore.OverwriteIfNewer, restore.Updated, restore.Unchanged, restore.Unchanged, restore.Updated},
		{restore.OverwriteNever, restore.Unchanged, restore.Unchanged, restore.Unchanged, restore.Updated},
	} {
		t.Run(c.policy.String(), func(t *testing.T) {
			r, _ := testrepo.New(t)
			entries := []entry{textFile("old", "right"), textFile("new", "right"), textFile("same", "right"), textFile("unfinished", "right"), textFile("absent", "right")}
			snap := commit(t, r, append(entries, dir("sub", symlink("link", "right")), dir("way", textFile("f", "x")))...)
			target := t.TempDir()
			write := func(name string, at time.Time) {
				p := filepath.Join(target, name)
				must(t, os.WriteFile(p, []byte("wrong"), 0o600))
				must(t, os.Chtimes(p, at, at))
			}
			write("old", older)
			write("new", newer)
			write("same", someTime.Time())
			write("unfinished", newer)
			write("way", newer)
			must(t, os.Chmod(filepath.Join(target, "unfinished"), 0o600|os.ModeSticky))
			must(t, os.Mkdir(filepath.Join(target, "sub"), 0o700))
			must(t, os.Symlink("wrong", filepath.Join(target, "sub/link")))

			out := run(t, r, snap, restore.Options{Target: target, Overwrite: c.policy, Verify: c.policy != restore.OverwriteIfChanged})
			want := map[string]restore.Action{"/old": c.old, "/new": c.new, "/same": c.same, "/unfinished": c.bad, "/absent": restore.Restored}
			for name, action := range want {
				text := map[bool]string{true: "wrong", false: "right"}[action == restore.Unchanged]
				mustHave(t, filepath.Join(target, name), []byte(text))
			}
			keeps := c.policy >= restore.OverwriteIfNewer
			want["/sub/link"] = map[bool]restore.Action{true: restore.Unchanged, false: restore.Restored}[keeps]
			if !keeps {
				want["/way/f"] = restore.Restored
			}
			mustDo(t, out, want)
			if (out.errors["/way"] != nil) != keeps || out.err != nil || len(out.errors) > 1 {
				t.Errorf("error %v, errors %v", out.err, out.errors)
			}
		})
	}
}

// mustHoldNothingIn fails if this process has a file of a folder open.
func mustHoldNothingIn(t *testing.T, folder string) {
	t.Helper()
	const open = "/proc/self/fd"
	list, err := os.ReadDir(open)
	if err != nil {
		return // there is no such list but on Linux
	}
	for _, e := range list {
		if to, err := os.Readlink(filepath.Join(open, e.Name())); err == nil && strings.HasPrefix(to, folder) {
			t.Errorf("%s is still open", to)
		}
	}
}

// A restore that is cut off anywhere is completed by the next one, whatever its policy, and never with bytes
// of both.
func TestInPlace_RunCutOffAnywhere_TheNextCompletesIt(t *testing.T) {
	inner := mem.New()
	r := testrepo.Init(t, inner)
	var entries []entry
	files := sized(8, 4)
	for i := range files {
		d := testrepo.Random(uint64(i), 3<<20)
		entries = append(entries, file(fmt.Sprintf("f%d", i), chunks(d[:1<<20], d[1<<20:2<<20], d[2<<20:])...), textFile(fmt.Sprintf("s%d", i), fmt.Sprint("small ", i)))
	}
	snap := commit(t, r, entries...)
	policies := []restore.Overwrite{restore.OverwriteNever, restore.OverwriteAlways, restore.OverwriteIfChanged, restore.OverwriteIfNewer}
	cuts, least, step := 0, 8, 4 // 24 MiB are read in six pieces at least
	if testing.Short() {
		policies, least, step = policies[:2], 2, 8
	}
	for _, policy := range policies {
		for n := 1; ; n += step {
			target := t.TempDir()
			for i := range files { // to be changed in place
				old := filepath.Join(target, fmt.Sprintf("f%d", i))
				must(t, os.WriteFile(old, bytes.Repeat([]byte("old "), 3<<18), 0o600))
				must(t, os.Chtimes(old, time.Unix(1, 0), time.Unix(1, 0)))
			}
			ctx, cancel := context.WithCancel(t.Context())
			store := fault.New(inner)
			cut := testrepo.Open(t, store)
			store.Inject(fault.On(fault.Get).Prefix("data/").Nth(n).Hook(func(context.Context, fault.Call) error {
				cancel()
				return nil
			}))
			first := runContext(ctx, cut, snap, restore.Options{Target: target, Concurrency: 1})
			cancel()
			if first.err == nil {
				break
			}
			cuts++
			mustHoldNothingIn(t, target)
			out := run(t, r, snap, restore.Options{Target: target, Overwrite: policy, Verify: true})
			for i := range files { // a file that is whole and old was never begun
				old := filepath.Join(target, fmt.Sprintf("f%d", i))
				if b, err := os.ReadFile(old); err == nil && policy == restore.OverwriteNever && bytes.HasPrefix(b, []byte("old old ")) && bytes.HasSuffix(b, []byte("old old ")) {
					must(t, os.Remove(old))
				}
			}
			if policy == restore.OverwriteNever {
				out = run(t, r, snap, restore.Options{Target: target, Overwrite: policy, Verify: true})
			}
			mustBeFine(t, out)
			mustMatch(t, target, entries)
		}
	}
	if cuts < least {
		t.Fatalf("only %d runs were cut off", cuts)
	}
	t.Logf("%d runs cut off in place, all completed by the next", cuts)
}

func TestInPlace_LostPack_LeavesTheFileAsItIsAndNamesIt(t *testing.T) {
	r, store := testrepo.New(t)
	d := testrepo.Random(1, 2<<20)
	e := file("f", chunks(d[:1<<20], d[1<<20:])...)
	snap := commitWith(t, r, noParity, e)
	target := t.TempDir()
	old := bytes.Repeat([]byte("old "), 1<<19)
	must(t, os.WriteFile(filepath.Join(target, "f"), old, 0o600))
	for _, name := range testrepo.Names(t, store, "data/") {
		obj, err := store.Get(t.Context(), name, 0, -1, nil)
		must(t, err)
		store.Tamper(name, nil)
		defer store.Tamper(name, obj)
	}
	out := run(t, r, snap, restore.Options{Target: target})
	if out.err != nil || out.Damaged != 1 || out.errors["/f"] == nil {
		t.Fatalf("error %v, result %+v", out.err, out.Result)
	}
	mustHave(t, filepath.Join(target, "f"), old)
}

func TestDelete_WhatTheSnapshotLacks_GoesFromRestoredFoldersOnly(t *testing.T) {
	r, _ := testrepo.New(t)
	through := func(n *tree.Node) { n.MTime = tree.Time{} }
	lost := func(n *tree.Node) { n.Error = "permission denied" }
	entries := []entry{
		dir("home", dir("me", textFile("f", "x"), dir("d", textFile("g", "y")), textFile("isfolder", "z"))).with(through),
		dir("half", textFile("h", "x")).with(lost),
	}
	snap := commit(t, r, entries...)
	plant := func(t *testing.T) string {
		target := t.TempDir()
		for _, p := range []string{"home/other/x", "home/me/extra/deep/x", "home/me/d/extra", "home/me/isfolder/x", "half/extra", "home/me/x.log", "home/me/extra/y.log"} {
			must(t, os.MkdirAll(filepath.Join(target, filepath.Dir(p)), 0o755))
			must(t, os.WriteFile(filepath.Join(target, p), []byte("extra"), 0o600))
		}
		must(t, os.Symlink("/etc", filepath.Join(target, "home/me/extra/etc")))
		must(t, os.Chmod(filepath.Join(target, "home/me/extra/deep"), 0o500))
		return target
	}
	left := func(t *testing.T, target string) string {
		var out []string
		must(t, filepath.WalkDir(target, func(p string, d os.DirEntry, err error) error {
			if !d.IsDir() {
				out = append(out, strings.TrimPrefix(p, target+"/"))
			}
			return err
		}))
		return strings.Join(out, " ")
	}
	for name, c := range map[string]struct {
		o       restore.Options
		want    string
		deleted uint64
	}{
		"all":     {restore.Options{}, "half/extra half/h home/me/d/g home/me/f home/me/isfolder home/other/x", 9},
		"exclude": {restore.Options{Patterns: restore.Patterns{Exclude: []string{"*.log"}}}, "half/extra half/h home/me/d/g home/me/extra/y.log home/me/f home/me/isfolder home/me/x.log home/other/x", 6},
		"include": {restore.Options{Patterns: restore.Patterns{IInclude: []string{"*.LOG", "/HOME/me/f"}}}, "half/extra home/me/d/extra home/me/extra/deep/x home/me/extra/etc home/me/extra/y.log home/me/f home/me/isfolder/x home/other/x", 1},
		"path":    {restore.Options{Path: "/home/me"}, "d/g f half/extra home/me/d/extra", 0},
	} {
		t.Run(name, func(t *testing.T) {
			target := plant(t)
			c.o.Target, c.o.Delete, c.o.DryRun = target, true, true
			if name == "path" {
				c.o.Target = filepath.Join(target, "home/me")
				c.want, c.deleted = "half/extra home/me/d/g home/me/f home/me/isfolder home/other/x", 9
			}
			before := left(t, target)
			dry := run(t, r, snap, c.o)
			if dry.err != nil || dry.Deleted != c.deleted || left(t, target) != before {
				t.Errorf("dry run: error %v, result %+v, left %s", dry.err, dry.Result, left(t, target))
			}
			c.o.DryRun = false
			out := run(t, r, snap, c.o)
			if got := left(t, target); out.err != nil || out.Deleted != c.deleted || got != c.want {
				t.Errorf("error %v, errors %v, result %+v\nleft %s\nwant %s", out.err, out.errors, out.Result, got, c.want)
			}
		})
	}
}

func TestDelete_TheTopmostFolderWithoutPatterns_IsRefused(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := commit(t, r, textFile("kura-test", "x"))
	top := filepath.Join(t.TempDir(), "top")
	must(t, os.Symlink("/", top))
	for _, target := range []string{"/", top} {
		for _, p := range [][]string{nil, {""}} {
			out := run(t, r, snap, restore.Options{Target: target, Delete: true, DryRun: true, Patterns: restore.Patterns{Exclude: p}})
			if out.err == nil || !strings.Contains(out.err.Error(), "topmost folder") || len(out.items) > 0 {
				t.Errorf("%s: %v, %v", target, out.err, out.items)
			}
		}
	}
}

func TestPatterns_IncludeAndExclude_SelectEntriesAndMakeOnlyTheirFolders(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := commit(t, r,
		dir("a", textFile("x.txt", "x"), textFile("x.bin", "x"), dir("none", textFile("y.bin", "y"))),
		dir("b", dir("c", textFile("Z.TXT", "z"), dir("keep", textFile("k", "k")))), textFile("top.txt", "t"))
	for name, c := range map[string]struct {
		p    restore.Patterns
		want string
	}{
		"include":     {restore.Patterns{Include: []string{"*.txt"}}, "a a/x.txt top.txt"},
		"iinclude":    {restore.Patterns{IInclude: []string{"*.txt"}}, "a a/x.txt b b/c b/c/Z.TXT top.txt"},
		"full path":   {restore.Patterns{Include: []string{"/b/c/keep"}}, "b b/c b/c/keep b/c/keep/k"},
		"taken back":  {restore.Patterns{Include: []string{"/b", "!/b/c/keep"}}, "b b/c b/c/Z.TXT"},
		"exclude":     {restore.Patterns{Exclude: []string{"*.txt", "none"}}, "a a/x.bin b b/c b/c/Z.TXT b/c/keep b/c/keep/k"},
		"iexclude":    {restore.Patterns{IExclude: []string{"*.TXT", "KEEP", "A"}}, "b b/c"},
		"no such one": {restore.Patterns{Include: []string{"/q/r"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			target := t.TempDir()
			out := run(t, r, snap, restore.Options{Target: target, Patterns: c.p, Verify: true})
			mustBeFine(t, out)
			var got []string
			must(t, filepath.WalkDir(target, func(p string, _ os.DirEntry, err error) error {
				if p != target {
					got = append(got, strings.TrimPrefix(p, target+"/"))
					if st := stat(t, p); st.Mtim.Sec != someTime.Sec || st.Mode&syscall.S_IFDIR != 0 && st.Mode&0o777 != 0o755 {
						t.Errorf("%s has mode %#o and time %d", p, st.Mode, st.Mtim.Sec)
					}
				}
				return err
			}))
			if got := strings.Join(got, " "); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	for _, p := range []restore.Patterns{{Include: []string{"a"}, Exclude: []string{"b"}}, {Include: []string{""}}, {Exclude: []string{"[a"}}} {
		if out := run(t, r, snap, restore.Options{Target: t.TempDir(), Patterns: p}); out.err == nil {
			t.Errorf("%+v was accepted", p)
		}
	}
}

// A folder that stays, because of what patterns leave out in it, stays as it is.
func TestDelete_FolderThatStays_KeepsItsRights(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := commit(t, r, dir("d", textFile("f", "x")))
	target := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(target, "d/extra/deep"), 0o755))
	for _, name := range []string{"extra/deep/y.log", "extra/z", "extra/deep/z"} {
		must(t, os.WriteFile(filepath.Join(target, "d", name), nil, 0o600))
	}
	must(t, os.Chmod(filepath.Join(target, "d/extra/deep"), 0o500))
	must(t, os.Chmod(filepath.Join(target, "d/extra"), 0o555))
	t.Cleanup(func() {
		_ = os.Chmod(filepath.Join(target, "d/extra"), 0o700) // to be removed
		_ = os.Chmod(filepath.Join(target, "d/extra/deep"), 0o700)
	})
	out := run(t, r, snap, restore.Options{Target: target, Delete: true, Patterns: restore.Patterns{Exclude: []string{"*.log"}}})
	if out.err != nil || out.Deleted != 2 {
		t.Errorf("%v, %v, %+v", out.err, out.errors, out.Result)
	}
	for name, mode := range map[string]uint32{"extra": 0o555, "extra/deep": 0o500} {
		if m := stat(t, filepath.Join(target, "d", name)).Mode & 0o7777; m != mode {
			t.Errorf("%s has mode %#o", name, m)
		}
	}
}
