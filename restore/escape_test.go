package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

// outside is what an attack is after: a folder beside the target, with a secret that must stay as it is.
type outside struct {
	base, target, dir, secret string
	before                    *syscall.Stat_t
}

func newOutside(t *testing.T) *outside {
	base := t.TempDir()
	o := &outside{base: base, target: filepath.Join(base, "a", "b", "target"), dir: filepath.Join(base, "outside")}
	o.secret = filepath.Join(o.dir, "secret")
	must(t, os.MkdirAll(o.target, 0o755))
	must(t, os.Mkdir(o.dir, 0o755))
	must(t, os.WriteFile(o.secret, []byte("secret"), 0o604))
	o.before = stat(t, o.secret)
	return o
}

// mustBeUntouched fails if anything exists outside of the target that was not there before.
func (o *outside) mustBeUntouched(t *testing.T) {
	t.Helper()
	mustHave(t, o.secret, []byte("secret"))
	after := stat(t, o.secret)
	if after.Mode != o.before.Mode || after.Uid != o.before.Uid || after.Mtim != o.before.Mtim || after.Ino != o.before.Ino || after.Nlink != o.before.Nlink {
		t.Errorf("the secret was changed: %+v, before %+v", after, o.before)
	}
	err := filepath.WalkDir(o.base, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == o.target {
			return fs.SkipDir
		}
		if !strings.HasPrefix(o.target, path) && path != o.dir && path != o.secret {
			t.Errorf("the restore made %s", path)
		}
		return nil
	})
	must(t, err)
}

// forged commits a snapshot whose topmost page has had bytes replaced after it was encoded, as a hostile
// client can do.
func forged(t *testing.T, r *repo.Repository, nodes []tree.Node, replace ...string) *repo.Snapshot {
	t.Helper()
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	must(t, err)
	for i := range nodes {
		if nodes[i].Type == tree.File {
			data := []byte("planted")
			nodes[i].Size = int64(len(data))
			nodes[i].Content.Append(tree.Extent{Kind: tree.Data, ID: testrepo.Save(t, s, object.DataBlob, data)[0], Length: nodes[i].Size})
		}
	}
	page, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf, Nodes: nodes})
	must(t, err)
	for i := 0; i < len(replace); i += 2 {
		if !bytes.Contains(page, []byte(replace[i])) {
			t.Fatalf("the page does not have %q", replace[i])
		}
		page = bytes.ReplaceAll(page, []byte(replace[i]), []byte(replace[i+1]))
	}
	root := testrepo.Save(t, s, object.TreeBlob, page)[0]
	snap, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Root: root[:]}})
	must(t, err)
	return snap
}

func TestEscape_NamesThatClimb_AreRefused(t *testing.T) {
	for name, forgery := range map[string]string{
		"two dots": "..", "dot": ".", "climbing path": "../../../outside/planted", "absolute path": "/tmp/kura-escape-planted", "inner slash": "x/y", "zero byte": "x\x00y", "empty": "",
	} {
		t.Run(name, func(t *testing.T) {
			o := newOutside(t)
			r, _ := testrepo.New(t)
			for _, kind := range []tree.Type{tree.File, tree.Symlink, tree.FIFO} {
				// The name's length stands before it, so the page gets a name of the same length to replace.
				placeholder := strings.Repeat("Q", max(len(forgery), 1))
				replace := []string{placeholder, forgery}
				if forgery == "" {
					replace = []string{"\x41Q", "\x40"}
				}
				n := newNode(placeholder, kind, 0o666)
				if kind == tree.Symlink {
					n.Target = "/etc"
				}
				out := run(t, r, forged(t, r, []tree.Node{n}, replace...), restore.Options{Target: o.target})
				if out.err != nil || out.Damaged != 1 || out.Files+out.Others != 0 {
					t.Errorf("%v: error %v, result %+v", kind, out.err, out.Result)
				}
				o.mustBeUntouched(t)
			}
			mustNotExist(t, "/tmp/kura-escape-planted")
			mustMatch(t, o.target, nil)
		})
	}
}

func TestEscape_SymlinkAndFolderOfOneName_AreRefused(t *testing.T) {
	o := newOutside(t)
	r, _ := testrepo.New(t)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	must(t, err)
	planted := saveFolder(t, s, []entry{textFile("secret", "planted"), textFile("planted", "planted")})
	_, err = s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Root: planted[:]}})
	must(t, err)

	link := newNode("wayA", tree.Symlink, 0o777)
	link.Target = o.dir
	folder := newNode("wayB", tree.Folder, 0o755)
	folder.Subtree = planted
	for _, nodes := range [][]tree.Node{{link, folder}} {
		out := run(t, r, forged(t, r, nodes, "wayB", "wayA"), restore.Options{Target: o.target})
		if out.err != nil || out.Damaged != 1 {
			t.Errorf("error %v, result %+v", out.err, out.Result)
		}
		o.mustBeUntouched(t)
	}
}

func TestEscape_SymlinkPlantedByAnEarlierRestore_IsNotWrittenThrough(t *testing.T) {
	o := newOutside(t)
	r, _ := testrepo.New(t)
	first := commit(t, r, symlink("way", o.dir), symlink("file", o.secret), symlink("up", ".."), dir("d", symlink("deep", "../../../../outside")))
	second := commit(t, r,
		dir("way", textFile("secret", "planted"), textFile("planted", "planted")), textFile("file", "planted"),
		dir("up", textFile("planted", "planted")), dir("d", dir("deep", textFile("secret", "planted"))))
	mustBeFine(t, run(t, r, first, restore.Options{Target: o.target}))
	mustBeFine(t, run(t, r, second, restore.Options{Target: o.target, Verify: true}))
	o.mustBeUntouched(t)
	if stat(t, filepath.Join(o.target, "way")).Mode&syscall.S_IFMT != syscall.S_IFDIR {
		t.Error("the link is still there")
	}
	mustHave(t, filepath.Join(o.target, "d/deep/secret"), []byte("planted"))
}

func TestEscape_MetadataOfASymlink_DoesNotReachItsTarget(t *testing.T) {
	o := newOutside(t)
	r, _ := testrepo.New(t)
	evil := symlink("link", o.secret).with(func(n *tree.Node) {
		n.Mode, n.MTime = 0o4777, tree.MakeTime(1, 1)
		n.Flags = 0x10
		if uid == 0 {
			n.UID, n.GID = 1234, 1234
			n.XAttrs = []tree.XAttr{{Name: "trusted.evil", Value: []byte("x")}}
		}
	})
	mustBeFine(t, run(t, r, commit(t, r, evil), restore.Options{Target: o.target}))
	o.mustBeUntouched(t)
	mustHaveXAttrs(t, o.secret, nil)
}

func TestEscape_HardLinkThroughASymlink_IsRefused(t *testing.T) {
	linked := func(n *tree.Node) { n.Inode, n.Links = 7, 2 }
	for name, swap := range map[string]func(t *testing.T, o *outside, path string){
		"symlink":   func(t *testing.T, o *outside, path string) { must(t, os.Symlink(o.secret, path)) },
		"hard link": func(t *testing.T, o *outside, path string) { must(t, os.Link(o.secret, path)) },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOutside(t)
			r, _ := testrepo.New(t)
			snap := commit(t, r, textFile("a", "x").with(linked), dir("d", textFile("b", "x").with(linked)))
			swapped := filepath.Join(o.target, "a")
			failed := map[string]error{}
			_, err := restore.Run(t.Context(), r, snap, restore.Options{Target: o.target}, restore.Events{
				Item: func(i restore.Item) {
					if i.Path == "/a" { // made, and its other name not yet linked
						must(t, os.Remove(swapped))
						swap(t, o, swapped)
					}
				},
				Error: func(path string, err error) { failed[path] = err },
			})
			must(t, err)
			if failed["/d/b"] == nil {
				t.Errorf("errors %v", failed)
			}
			mustNotExist(t, filepath.Join(o.target, "d/b"))
			must(t, os.Remove(swapped)) // the racer's own link
			o.mustBeUntouched(t)
		})
	}
}

func TestEscape_FolderReplacedWhileFilesAreOnTheirWay_StaysInside(t *testing.T) {
	for name, folders := range map[string]int{"folder still open": 1, "folder closed meanwhile": 400} {
		t.Run(name, func(t *testing.T) {
			o := newOutside(t)
			store := fault.New(mem.New())
			r := testrepo.Init(t, store)
			var entries []entry
			for i := range folders {
				entries = append(entries, dir(fmt.Sprintf("d%03d", i), textFile("secret", fmt.Sprintf("planted %d", i)), textFile("planted", "planted")))
			}
			snap := commit(t, r, entries...)
			store.Inject(fault.On(fault.Get).Prefix("data/").Hook(func(context.Context, fault.Call) error {
				for i := range folders {
					d := filepath.Join(o.target, fmt.Sprintf("d%03d", i))
					if err := os.Rename(d, d+" moved"); err != nil {
						return err
					}
					if err := os.Symlink(o.dir, d); err != nil {
						return err
					}
				}
				return nil
			}))
			out := run(t, r, snap, restore.Options{Target: o.target})
			if out.err != nil || store.Fired() != 1 {
				t.Fatalf("error %v, %d swaps", out.err, store.Fired())
			}
			if folders > 1 && out.Errors == 0 {
				t.Error("nobody noticed a symbolic link in place of a folder")
			}
			o.mustBeUntouched(t)
		})
	}
}

func TestEscape_UnfinishedFileReplaced_IsNotWrittenThrough(t *testing.T) {
	o := newOutside(t)
	inner := mem.New()
	r := testrepo.Init(t, inner)
	var entries []entry
	for i := range sized(300, 150) { // far more than stay open
		name := []byte(fmt.Sprintf("file %03d", i))
		entries = append(entries, file(string(name), chunks(name, testrepo.Random(uint64(i), 300<<10))...))
	}
	snap := commit(t, r, entries...)
	store := fault.New(inner)
	r = testrepo.Open(t, store)
	swapped := 0
	store.Inject(fault.On(fault.Get).Prefix("data/").Always().Hook(func(context.Context, fault.Call) error {
		names, err := os.ReadDir(o.target)
		for _, n := range names {
			path := filepath.Join(o.target, n.Name())
			var st syscall.Stat_t
			if syscall.Lstat(path, &st) == nil && st.Mode&0o7777 == 0o1600 && swapped < 100 { // not complete
				if os.Remove(path) == nil && os.Symlink(o.secret, path) == nil {
					swapped++
				}
			}
		}
		return err
	}))
	out := run(t, r, snap, restore.Options{Target: o.target, Concurrency: 1})
	if out.err != nil {
		t.Fatal(out.err)
	}
	if swapped == 0 {
		t.Error("nothing was swapped, so nothing was shown")
	}
	o.mustBeUntouched(t)
}

func TestEscape_FIFOInTheWay_IsReplacedAndNotOpened(t *testing.T) {
	o := newOutside(t)
	r, _ := testrepo.New(t)
	must(t, syscall.Mkfifo(filepath.Join(o.target, "f"), 0o666))
	entries := []entry{textFile("f", "x")}
	mustBeFine(t, run(t, r, commit(t, r, entries...), restore.Options{Target: o.target}))
	mustMatch(t, o.target, entries)
}

func TestEscape_FoldersInEachOtherWithoutEnd_EndTheWalk(t *testing.T) {
	if testing.Short() {
		t.Skip("makes ten thousand folders")
	}
	r, _ := testrepo.New(t)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	must(t, err)
	d := dir("d")
	for range 10_050 {
		d.page = saveFolder(t, s, []entry{d})
	}
	snap, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Root: d.page[:]}})
	must(t, err)
	out := run(t, r, snap, restore.Options{Target: t.TempDir(), DryRun: true})
	if out.err != nil || out.Errors != 1 {
		t.Fatalf("error %v, result %+v", out.err, out.Result)
	}
	for _, err := range out.errors {
		if !errors.Is(err, tree.ErrTooDeep) {
			t.Error(err)
		}
	}
}

// The rules of package jail hold only if nothing else touches the file system.
func TestPackage_OnlyJail_TouchesTheFileSystem(t *testing.T) {
	files, err := filepath.Glob("*.go")
	must(t, err)
	checked := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		must(t, err)
		checked++
		for _, imp := range parsed.Imports {
			for _, bad := range []string{`"os"`, `"io/ioutil"`, `"path/filepath"`, `"golang.org/x/sys/unix"`, `"unsafe"`, `"os/exec"`} {
				if imp.Path.Value == bad {
					t.Errorf("%s imports %s: what touches the target belongs into package jail", name, bad)
				}
			}
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "syscall" && !strings.HasPrefix(sel.Sel.Name, "E") {
				t.Errorf("%s uses syscall.%s: only error numbers are allowed", name, sel.Sel.Name)
			}
			return true
		})
	}
	if checked < 5 {
		t.Fatalf("only %d files", checked)
	}
}
