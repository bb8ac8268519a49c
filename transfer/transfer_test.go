package transfer_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/internal/treecmp"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/transfer"
	"github.com/kura-backup/kura/tree"
)

// TestRun_RandomGenerations_RestoreEqualAndCopyingBackDoesNothing copies now and then while a folder changes, and
// looks at every copy.
func TestRun_RandomGenerations_RestoreEqualAndCopyingBackDoesNothing(t *testing.T) {
	rng, generations := testrand.New(t), 6
	if testing.Short() {
		generations = 3
	}
	forLarge(t, func(t *testing.T, from, to *repo.Repository) {
		at := testsys.MemoryDir(t)
		source := filepath.Join(at, "source")
		must(t, os.Mkdir(source, 0o755))
		was := map[object.SessionID]string{}
		for n := range generations {
			change(t, rng, source)
			snap := backUp(t, from, source, "t", fmt.Sprint(n))
			was[snap.ID] = filepath.Join(at, snap.ID.Short())
			clone(t, source, was[snap.ID])
			if rng.IntN(2) == 0 {
				copyAll(t, from, to)
			}
		}
		copyAll(t, from, to)

		copies, originals := snapshots(t, to), snapshots(t, from)
		if len(copies) != len(originals) {
			t.Fatalf("%d copies of %d snapshots", len(copies), len(originals))
		}
		for i, c := range copies {
			o := originals[i]
			if c.SourceID() != o.ID || c.ID == o.ID || c.Time != o.Time || c.Host != o.Host || c.TimeGiven != 1 ||
				!slices.Equal(c.Tags, o.Tags) || !slices.Equal(c.PathStrings(), o.PathStrings()) || c.Summary != o.Summary ||
				c.Start != o.Start || c.Entry.Run != o.ID {
				t.Errorf("the copy\n%+v\nof\n%+v", c, o)
			}
			target := filepath.Join(at, "target")
			// The times of the clone are not those of the source.
			res := restoreTo(t, to, c, source, target)
			diffs, err := treecmp.Compare(was[o.ID], target, treecmp.Options{Skip: []treecmp.Kind{treecmp.ModTime}})
			must(t, err)
			if len(diffs) > 0 || res.Files == 0 {
				t.Errorf("snapshot %d of %d files: %v", i, res.Files, diffs)
			}
			must(t, os.RemoveAll(target))
		}
		wantClean(t, to)

		n, m := to.State().N, from.State().N
		for _, way := range [][2]*repo.Repository{{from, to}, {to, from}} {
			if res := copyAll(t, way[0], way[1]); res.Copied != 0 || res.There != len(originals) || res.Blobs != 0 {
				t.Errorf("again: %+v", res)
			}
		}
		if to.State().N != n || from.State().N != m {
			t.Error("copying what is there has added entries")
		}
	})
}

// TestRun_OneOfEverything_RestoresEqual has entries of every kind, large attributes among them.
func TestRun_OneOfEverything_RestoresEqual(t *testing.T) {
	forLarge(t, func(t *testing.T, from, to *repo.Repository) {
		at := t.TempDir()
		source, target := filepath.Join(at, "source"), filepath.Join(at, "target")
		must(t, os.Mkdir(source, 0o755))
		testsys.Gallery(t, source)
		backUp(t, from, source)
		copyAll(t, from, to)
		testsys.Unlock(t, target)
		wantRestores(t, to, snapshots(t, to)[0], source, source, target)
		wantClean(t, to)
	})
}

// TestRun_LongFileAndHugeFolder_KeepTheirPages has a file whose content is on pages, and a folder of several pages.
func TestRun_LongFileAndHugeFolder_KeepTheirPages(t *testing.T) {
	forLarge(t, func(t *testing.T, from, to *repo.Repository) {
		s, err := from.NewSession(t.Context(), repo.SessionOptions{})
		must(t, err)
		save := func(page []byte) (object.BlobID, error) {
			saved, err := s.SaveNow(object.TreeBlob, page)
			return saved.ID, err
		}
		content := tree.NewContentWriter(savePage(save))
		var want []byte
		for i := range 6000 {
			chunk := fmt.Appendf(nil, "chunk %d", i)
			id := testrepo.Save(t, s, object.DataBlob, chunk)[0]
			must(t, content.Add(t.Context(), tree.Extent{Kind: tree.Data, ID: id, Length: int64(len(chunk))}))
			want = append(want, chunk...)
		}
		nodes := make([]tree.Node, 5000)
		for i := range nodes {
			nodes[i] = tree.Node{Name: fmt.Sprintf("n%06d", i), Type: tree.Symlink, Target: "x"}
		}
		long := tree.Node{Name: "f", Type: tree.File, Mode: 0o644}
		must(t, content.Finish(t.Context(), &long))
		if len(long.Pages) < 2 {
			t.Fatalf("%d pages", len(long.Pages))
		}
		root, err := tree.WriteDir(t.Context(), append(nodes, long), savePage(save))
		must(t, err)
		_, err = s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Paths: [][]byte{[]byte("/")}, Root: root[:]}})
		must(t, err)

		copyAll(t, from, to)
		c := snapshots(t, to)[0]
		node, err := to.Find(t.Context(), c, "/f")
		must(t, err)
		var got []byte
		for e, err := range tree.ReadContent(t.Context(), node, to.LoadTree) {
			must(t, err)
			b, err := to.LoadBlob(t.Context(), object.DataBlob, e.ID)
			must(t, err)
			got = append(got, b...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d other bytes than the %d of the source", len(got), len(want))
		}
		n := 0
		rootID, err := c.RootID()
		must(t, err)
		for _, err := range tree.ReadDir(t.Context(), rootID, to.LoadTree) {
			must(t, err)
			n++
		}
		if n != len(nodes)+1 {
			t.Errorf("%d entries", n)
		}
		wantClean(t, to)
	})
}

func TestRun_SameIDs_KeepsRootsAndReadsEachPackOnce(t *testing.T) {
	source, store := testrepo.New(t)
	dir := testsys.MemoryDir(t)
	for i := range 40 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), testrepo.Random(uint64(i), 100_000+i*20_000), 0o644))
	}
	snap := backUp(t, source, dir)
	counted := fault.New(store)
	from := testrepo.Open(t, counted)
	to, _ := testrepo.InitFrom(t, from)
	if res := copyAll(t, from, to); !res.Same || res.Blobs == 0 {
		t.Errorf("%+v", res)
	}
	if c := snapshots(t, to)[0]; !slices.Equal(c.Root, snap.Root) {
		t.Error("the root has another id")
	}
	var read, stored int64
	for _, c := range counted.Calls() {
		if c.Op == fault.Get && len(c.Name) > 5 && c.Name[:5] == "data/" {
			read += c.Length
		}
	}
	for ref, p := range source.State().Packs {
		if ref.Class == object.DataPack {
			stored += p.Size
		}
	}
	if read == 0 || read > stored {
		t.Errorf("%d bytes were read of packs of %d", read, stored)
	}
}

// TestRun_WritersKey_CopiesOnceAndOnlyOnce opens the destination with a key that can not read what it has.
func TestRun_WritersKey_CopiesOnceAndOnlyOnce(t *testing.T) {
	forBoth(t, func(t *testing.T, from, to *repo.Repository) {
		dir := testsys.MemoryDir(t)
		must(t, os.WriteFile(filepath.Join(dir, "f"), []byte("f"), 0o644))
		backUp(t, from, dir)
		writer := openAs(t, to, seal.Writer)
		if res := copyAll(t, from, writer); res.Copied != 1 {
			t.Errorf("first: %+v", res)
		}
		if res := copyAll(t, from, writer); res.There != 1 || res.Copied != 0 {
			t.Errorf("second: %+v", res)
		}
		wantRestores(t, to, snapshots(t, to)[0], dir, dir, filepath.Join(testsys.MemoryDir(t), "target"))
		wantClean(t, to)
	})
}

func TestRun_WrongRepositories_AreRefused(t *testing.T) {
	from, _ := testrepo.New(t)
	if _, err := transfer.Run(t.Context(), from, from, transfer.Options{}, transfer.Events{}); !errors.Is(err, transfer.ErrSame) {
		t.Error(err)
	}
	to, _ := testrepo.InitFrom(t, from)
	for _, role := range []seal.Role{seal.Writer, seal.Maintainer} {
		_, err := transfer.Run(t.Context(), openAs(t, from, role), to, transfer.Options{}, transfer.Events{})
		if !errors.Is(err, transfer.ErrCanNotRead) {
			t.Errorf("%v: %v", role, err)
		}
	}
}

func TestRun_DryRun_SaysWhatARealOneDoesAndStoresNothing(t *testing.T) {
	for name, init := range kinds {
		t.Run(name, func(t *testing.T) {
			source, _ := testrepo.New(t)
			to, store := init(t, source)
			dir := testsys.MemoryDir(t)
			rng := testrand.New(t)
			for _, first := range []bool{true, false} {
				for range 3 {
					change(t, rng, dir)
					if err := unix.Setxattr(dir, "user.large", testrepo.Random(rng.Uint64(), 5000), 0); err != nil {
						t.Log("without large attributes:", err)
					}
					backUp(t, source, dir)
				}
				before := testrepo.Names(t, store, "")
				dry, err := transfer.Run(t.Context(), source, to, transfer.Options{Snapshots: snapshots(t, source), DryRun: true}, transfer.Events{})
				must(t, err)
				if !slices.Equal(testrepo.Names(t, store, ""), before) {
					t.Error("a dry run has stored something")
				}
				wet := copyAll(t, source, to)
				wet.Stored = 0
				if !first && !wet.Same && dry.Blobs >= wet.Blobs && dry.Bytes >= wet.Bytes { // what is there has other names: nobody knows it
					dry.Blobs, dry.Bytes = wet.Blobs, wet.Bytes
				}
				if *wet != *dry {
					t.Errorf("first: %v\ndry run: %+v\nreal:    %+v", first, dry, wet)
				}
			}
		})
	}
}

// TestRun_ForgottenCopy_IsMadeAgain shows what follows from a shorter policy in the destination.
func TestRun_ForgottenCopy_IsMadeAgain(t *testing.T) {
	forBoth(t, func(t *testing.T, from, to *repo.Repository) {
		testrepo.CommitFile(t, from, []byte("f"))
		copyAll(t, from, to)
		_, err := to.Forget(t.Context(), []object.SessionID{snapshots(t, to)[0].ID})
		must(t, err)
		if res := copyAll(t, from, to); res.Copied != 1 {
			t.Errorf("%+v", res)
		}
	})
}

// TestRun_PartialAndTags_AreKept copies what a run that was cut off has left, with tags that were given later.
func TestRun_PartialAndTags_AreKept(t *testing.T) {
	forBoth(t, func(t *testing.T, from, to *repo.Repository) {
		s, err := from.NewSession(t.Context(), repo.SessionOptions{})
		must(t, err)
		m := testrepo.Manifest(t, s, []byte("f"))
		snap, err := s.Commit(repo.CommitOptions{Manifest: m, Partial: true, Run: s.ID()})
		must(t, err)
		_, err = from.SetTags(t.Context(), []object.SessionID{snap.ID}, func([]string) []string { return []string{"late"} })
		must(t, err)
		copyAll(t, from, to)
		c := snapshots(t, to)[0]
		if c.Complete() || !slices.Equal(c.Tags, []string{"late"}) || c.When() != time.Unix(0, 1) {
			t.Errorf("%+v", c)
		}
	})
}
