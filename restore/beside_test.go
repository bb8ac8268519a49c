package restore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

// besides are files that are not changed in place: each makes what has a name in a folder, and returns its content.
var besides = map[string]func(t *testing.T, folder, name string) []byte{
	"hard link": func(t *testing.T, folder, name string) []byte {
		old := bytes.Repeat([]byte("old "), 1<<18)
		must(t, os.WriteFile(filepath.Join(folder, name), old, 0o600))
		must(t, os.Link(filepath.Join(folder, name), filepath.Join(folder, "linked")))
		return old
	},
	"looser mode": func(t *testing.T, folder, name string) []byte {
		must(t, os.WriteFile(filepath.Join(folder, name), []byte("old"), 0o600))
		must(t, os.Chmod(filepath.Join(folder, name), 0o666))
		return []byte("old")
	},
	"program that runs": func(t *testing.T, folder, name string) []byte {
		program, _, _ := testsys.RunningProgram(t, folder)
		must(t, os.Rename(filepath.Join(folder, "sleep"), filepath.Join(folder, name)))
		must(t, os.Chmod(filepath.Join(folder, name), 0o744))
		return program
	},
	"link": func(t *testing.T, folder, name string) []byte {
		must(t, os.WriteFile(filepath.Join(folder, "elsewhere"), []byte("old"), 0o600))
		link(t, "elsewhere", filepath.Join(folder, name))
		return []byte("old")
	},
}

func mustHaveNoneBeside(t *testing.T, folder string) {
	t.Helper()
	if names, err := filepath.Glob(filepath.Join(folder, ".kura-*")); err != nil || len(names) > 0 {
		t.Errorf("%q are left (%v)", names, err)
	}
}

// What is there goes only when what takes its place is whole.
func TestBeside_ReplacementOfWhichAPartIsLost_TheOldFileStays(t *testing.T) {
	const name = "large05"
	for kind, plant := range besides {
		t.Run(kind, func(t *testing.T) {
			d := newDamaged(t)
			var e entry
			for _, e = range d.entries {
				if e.Name == name {
					break
				}
			}
			hit := d.places["/"+name][1]
			whole, err := d.store.Get(t.Context(), hit.Pack.Name(), 0, -1, nil)
			must(t, err)
			d.tamper(t, hit.Pack, func(b []byte) []byte {
				b[hit.At+hit.Stored/2] ^= 4
				return b
			})
			target := t.TempDir()
			old := plant(t, target, name)
			before := stat(t, filepath.Join(target, name))
			// what a run that was killed has left
			sum := sha256.Sum256([]byte(name))
			half := filepath.Join(target, fmt.Sprintf(".kura-%x", sum[:8]))
			must(t, os.WriteFile(half, []byte("half"), 0o600))
			o := restore.Options{Target: target, Patterns: restore.Patterns{Include: []string{name}}}
			if out := run(t, d.r, d.snap, o); out.err != nil || out.Errors != 1 || out.errors["/"+name] == nil {
				t.Fatalf("what looks like somebody's: error %v, result %+v, errors %v", out.err, out.Result, out.errors)
			}
			mustHave(t, half, []byte("half"))
			must(t, os.Chmod(half, 0o600|os.ModeSticky))
			out := run(t, d.r, d.snap, o)
			if out.err != nil || out.Damaged != 1 || out.errors["/"+name] == nil {
				t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
			}
			mustHave(t, filepath.Join(target, name), old)
			if now := stat(t, filepath.Join(target, name)); now.Ino != before.Ino || now.Mode != before.Mode {
				t.Errorf("it is another file")
			}
			mustHaveNoneBeside(t, target)

			d.store.Tamper(hit.Pack.Name(), whole)
			o.Verify = true
			out = run(t, d.r, d.snap, o)
			mustBeFine(t, out)
			mustDo(t, out, map[string]restore.Action{"/" + name: restore.Updated})
			mustHave(t, filepath.Join(target, name), content(e.parts))
			if now := stat(t, filepath.Join(target, name)); now.Ino == before.Ino || now.Mode != syscall.S_IFREG|e.Mode || now.Nlink != 1 {
				t.Errorf("%+v", now)
			}
			mustHaveNoneBeside(t, target)
			for _, other := range []string{"linked", "elsewhere"} {
				if _, err := os.Lstat(filepath.Join(target, other)); err == nil {
					mustHave(t, filepath.Join(target, other), old)
				}
			}
			mustDo(t, run(t, d.r, d.snap, o), map[string]restore.Action{"/" + name: restore.Unchanged})
		})
	}
}

// A run that is cancelled, or ends for want of the store, takes its half away and leaves the other file.
func TestBeside_RunThatEnds_TheOldFileStays(t *testing.T) {
	inner := mem.New()
	r := testrepo.Init(t, inner)
	var parts [][]byte
	for i := range 40 { // more than is fetched at once
		parts = append(parts, testrepo.Random(uint64(i), 1<<20))
	}
	e := file("f", chunks(parts...)...)
	snap := commit(t, r, e)
	for _, cancelled := range []bool{true, false} {
		begun := 0
		for n := 2; n < 12; n++ {
			target := t.TempDir()
			old := besides["hard link"](t, target, "f")
			store := fault.New(inner)
			ctx, cancel := context.WithCancel(t.Context())
			again := testrepo.Open(t, store)
			rule := fault.On(fault.Get).Prefix("data/").Nth(n)
			if cancelled {
				rule = rule.Hook(func(context.Context, fault.Call) error {
					cancel()
					return nil
				})
			} else {
				rule = rule.Before(&backends.Error{Op: "get", Err: errors.New("no network")})
			}
			store.Inject(rule)
			out := runContext(ctx, again, snap, restore.Options{Target: target, Concurrency: 1})
			cancel()
			mustHaveNoneBeside(t, target)
			if out.err != nil {
				begun++
				mustHave(t, filepath.Join(target, "f"), old)
			} else if len(out.errors) == 0 {
				mustHave(t, filepath.Join(target, "f"), content(e.parts))
			}
			if out.err == nil {
				break
			}
		}
		if begun == 0 {
			t.Errorf("cancelled %v: no run ended", cancelled)
		}
	}
}

// Several names, the flags that forbid to change them, and --delete.
func TestBeside_LinkedAndLockedFiles_AreAsInTheSnapshot(t *testing.T) {
	needRoot(t)
	r, _ := testrepo.New(t)
	a, b := testrepo.Random(1, 1<<20), testrepo.Random(2, 1<<20)
	locked := func(n *tree.Node) { n.Flags = testsys.FlagImmutable }
	entries := []entry{
		file("a", chunks(a, b)...).with(linked), file("b", chunks(a, b)...).with(linked),
		file("locked", chunks(b, a)...).with(locked),
		file("locked linked", chunks(b, b)...).with(func(n *tree.Node) {
			locked(n)
			n.Inode, n.Links = 8, 2
		}),
		file("to it", chunks(b, b)...).with(func(n *tree.Node) {
			locked(n)
			n.Inode, n.Links = 8, 2
		}),
	}
	snap := commit(t, r, entries...)
	target := testsys.MemoryDir(t)
	testsys.Unlock(t, target)
	for i, e := range entries {
		old := filepath.Join(target, e.Name)
		must(t, os.WriteFile(old, []byte("old"), 0o600))
		must(t, os.Link(old, filepath.Join(target, fmt.Sprint("surplus", i))))
	}
	if err := testsys.ChangeFlags(filepath.Join(target, "a"), testsys.FlagImmutable, 0); err != nil {
		t.Skip(err)
	}
	must(t, testsys.ChangeFlags(filepath.Join(target, "a"), 0, testsys.FlagImmutable))
	out := run(t, r, snap, restore.Options{Target: target, Verify: true, Delete: true})
	mustBeFine(t, out)
	mustMatch(t, target, entries)
	if out.Deleted != uint64(len(entries)) {
		t.Errorf("%+v", out.Result)
	}
	if stat(t, target+"/a").Ino != stat(t, target+"/b").Ino || stat(t, target+"/to it").Ino != stat(t, target+"/locked linked").Ino {
		t.Error("they are not linked")
	}
	for _, e := range entries {
		flags, err := testsys.Flags(filepath.Join(target, e.Name))
		must(t, err)
		if has := flags&testsys.FlagImmutable != 0; has != (strings.Contains(e.Name, "locked") || e.Name == "to it") {
			t.Errorf("%s: flags %#x", e.Name, flags)
		}
	}
}
