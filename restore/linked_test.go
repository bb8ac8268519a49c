package restore_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

func linked(n *tree.Node) { n.Inode, n.Links = 7, 2 }

// A sector of the repository that can not be read costs both names of the file that needs it, and the run goes on.
func TestRun_UnreadableSectorUnderALinkedFile_CostsItsNamesAlone(t *testing.T) {
	inner := mem.New()
	snap := commitWith(t, testrepo.Init(t, inner), noParity,
		textFile("a", "linked").with(linked), textFile("b", "linked").with(linked), symlink("c", "a"), file("e"))
	store := fault.New(inner)
	r := testrepo.Open(t, store)
	store.Inject(fault.On(fault.Get).Prefix("data/").Always().Before(&backends.Error{Op: "get", Err: syscall.EIO}))
	target := t.TempDir()
	out := run(t, r, snap, restore.Options{Target: target})
	if out.err != nil || out.Damaged != 2 || out.Errors != 0 || out.errors["/a"] == nil || out.errors["/b"] == nil {
		t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
	}
	mustNotExist(t, filepath.Join(target, "b"))
	mustHave(t, filepath.Join(target, "e"), nil)
	if to, err := os.Readlink(filepath.Join(target, "c")); err != nil || to != "a" {
		t.Errorf("%q, %v", to, err)
	}
}

var keeping = []restore.Overwrite{restore.OverwriteIfNewer, restore.OverwriteNever}

// Where a file stays that is not as in the snapshot, its other names do not become links to it.
func TestKeep_FirstNameOfALinkedFileIsAnother_TheOtherNameIsNotLinkedToIt(t *testing.T) {
	r, _ := testrepo.New(t)
	a, b := textFile("a", "linked").with(linked), textFile("b", "linked").with(linked)
	link := func(name string) entry { return symlink(name, "somewhere").with(linked) }
	write := func(name string, at time.Time) func(*testing.T, string) {
		return func(t *testing.T, target string) {
			must(t, os.WriteFile(filepath.Join(target, name), []byte("mine"), 0o600))
			must(t, os.Chtimes(filepath.Join(target, name), at, at))
		}
	}
	later, earlier := someTime.Time().Add(time.Hour), someTime.Time().Add(-time.Hour)
	for name, c := range map[string]struct {
		entries []entry
		b       string
		plant   func(*testing.T, string)
	}{
		"missing":          {[]entry{a, b}, "b", func(*testing.T, string) {}},
		"in a new folder":  {[]entry{a, dir("d", b)}, "d/b", func(*testing.T, string) {}},
		"older":            {[]entry{a, b}, "b", write("b", earlier)},
		"symbolic links":   {[]entry{link("a"), link("b")}, "b", func(*testing.T, string) {}},
		"of the same time": {[]entry{a, b}, "b", write("a", someTime.Time())}, // but shorter
	} {
		t.Run(name, func(t *testing.T) {
			snap := commit(t, r, c.entries...)
			for _, policy := range keeping {
				target := t.TempDir()
				write("a", later)(t, target)
				c.plant(t, target)
				first, second := filepath.Join(target, "a"), filepath.Join(target, c.b)
				_, err := os.Lstat(second)
				planted, stays := err == nil, err == nil && policy == restore.OverwriteNever
				for _, dry := range []bool{true, false} {
					out := run(t, r, snap, restore.Options{Target: target, Overwrite: policy, DryRun: dry, Verify: !dry})
					if out.err != nil || (out.errors["/"+c.b] == nil) != stays || stays != (out.Errors == 0) {
						t.Fatalf("%v: error %v, result %+v, errors %v", policy, out.err, out.Result, out.errors)
					}
					mustHave(t, first, []byte("mine"))
					if stat(t, first).Nlink != 1 {
						t.Errorf("%v: it was linked", policy)
					}
					if planted {
						mustHave(t, second, []byte("mine"))
					} else {
						mustNotExist(t, second)
					}
				}
				if stays || c.entries[0].Type != tree.File {
					continue
				}
				// As the error says, alone it can be had.
				mustBeFine(t, run(t, r, snap, restore.Options{Path: "/" + c.b, Target: filepath.Dir(second), Overwrite: policy, Verify: true}))
				mustHave(t, second, []byte("linked"))
				mustHave(t, first, []byte("mine"))
			}
		})
	}
}

// What a run has made that was cut off is linked to by the next one.
func TestKeep_FirstNameIsAsInTheSnapshot_TheOtherNameIsLinkedToIt(t *testing.T) {
	r, _ := testrepo.New(t)
	for name, entries := range map[string][]entry{
		"files":          {textFile("a", "linked").with(linked), dir("d", textFile("b", "linked").with(linked))},
		"symbolic links": {symlink("a", "somewhere").with(linked), dir("d", symlink("b", "somewhere").with(linked))},
		"pipes":          {entry{Node: newNode("a", tree.FIFO, 0o600)}.with(linked), dir("d", entry{Node: newNode("b", tree.FIFO, 0o600)}.with(linked))},
	} {
		t.Run(name, func(t *testing.T) {
			snap := commit(t, r, entries...)
			for _, policy := range keeping {
				target := t.TempDir()
				o := restore.Options{Target: target, Overwrite: policy, Verify: true}
				mustBeFine(t, run(t, r, snap, o))
				must(t, os.RemoveAll(filepath.Join(target, "d")))
				mustBeFine(t, run(t, r, snap, o))
				if a, b := stat(t, filepath.Join(target, "a")), stat(t, filepath.Join(target, "d/b")); a.Ino != b.Ino || a.Nlink != 2 {
					t.Errorf("%v: inodes %d and %d, %d names", policy, a.Ino, b.Ino, a.Nlink)
				}
				mustMatch(t, target, entries)
			}
		})
	}
}

// What was kept is not verified, whatever name of a file it has.
func TestKeep_BothNamesAreOthers_VerifyingFindsNothingWrong(t *testing.T) {
	r, _ := testrepo.New(t)
	snap := commit(t, r, textFile("a", "linked").with(linked), textFile("b", "linked").with(linked), textFile("c", "right"))
	for _, policy := range keeping {
		for _, one := range []bool{true, false} {
			target := t.TempDir()
			a, b := filepath.Join(target, "a"), filepath.Join(target, "b")
			must(t, os.WriteFile(a, []byte("mine"), 0o600))
			if one {
				must(t, os.Link(a, b))
			} else {
				must(t, os.WriteFile(b, []byte("mine"), 0o600))
			}
			out := run(t, r, snap, restore.Options{Target: target, Overwrite: policy, Verify: true})
			mustBeFine(t, out)
			if out.Skipped != 2 || out.Verified != 1 {
				t.Errorf("%v: result %+v", policy, out.Result)
			}
			mustHave(t, b, []byte("mine"))
		}
	}
}
