package restore_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

func TestRun_DamageWithinTheParity_CostsNothing(t *testing.T) {
	for name, change := range map[string]func(b []byte, at int){
		"flipped bit": func(b []byte, at int) { b[at] ^= 4 },
		"torn sector": func(b []byte, at int) { clear(b[at&^4095 : at&^4095+4096]) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDamagedWith(t, repo.SessionOptions{})
			hit := d.places["/small20"][0]
			d.tamper(t, hit.Pack, func(b []byte) []byte {
				change(b, int(hit.At+hit.Stored/2))
				return b
			})
			target := filepath.Join(t.TempDir(), "target")
			mustBeFine(t, run(t, d.r, d.snap, restore.Options{Target: target, Verify: true}))
			mustMatch(t, target, d.entries)
			if mended := d.r.Mended(); len(mended) != 1 || mended[0] != hit.Pack {
				t.Errorf("mended %v", mended)
			}
		})
	}
}

func TestRun_BlobInTwoPacks_IsTakenFromTheWholeOne(t *testing.T) {
	r, store := testrepo.New(t)
	data := testrepo.Random(1, 300<<10)
	e := []entry{file("f", part{data: data})}
	var sessions []*repo.Session
	for range 2 { // neither knows of the other's
		s, err := r.NewSession(t.Context(), noParity)
		must(t, err)
		sessions = append(sessions, s)
	}
	var snap *repo.Snapshot
	for i, s := range sessions {
		root := saveFolder(t, s, e)
		var err error
		snap, err = s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: int64(1 + i), Root: root[:]}})
		must(t, err)
	}
	packs := testrepo.Names(t, store, "data/")
	if len(packs) != 2 {
		t.Fatalf("packs %v", packs)
	}
	for _, damage := range []func(b []byte) []byte{
		func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		func([]byte) []byte { return nil },
		func(b []byte) []byte { return b[:len(b)/3] },
	} {
		for _, name := range packs {
			whole, err := store.Get(t.Context(), name, 0, -1, nil)
			must(t, err)
			store.Tamper(name, damage(bytes.Clone(whole)))
			target := filepath.Join(t.TempDir(), "target")
			mustBeFine(t, run(t, r, snap, restore.Options{Target: target}))
			mustHave(t, filepath.Join(target, "f"), data)
			store.Tamper(name, whole)
		}
	}
}

func TestRun_LostPageOfAFolder_CostsItsNamesAndDeletesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("makes many files")
	}
	r, _ := testrepo.New(t)
	var kids []entry
	for i := range 3000 {
		kids = append(kids, file(fmt.Sprintf("%04d", i)))
	}
	snap := commitWith(t, r, noParity, dir("large", kids...), textFile("other", "x"))
	node, err := r.Find(t.Context(), snap, "/large")
	must(t, err)
	page, err := r.LoadTree(t.Context(), node.Subtree)
	must(t, err)
	inner, err := tree.DecodePage(page)
	must(t, err)
	if inner.Kind != tree.Inner || len(inner.Children) < 3 {
		t.Fatalf("%v of %d pages", inner.Kind, len(inner.Children))
	}
	lost := inner.Children[1]
	// The folder anew, with a page that nobody has.
	inner.Children[1].Page = object.BlobID{9}
	encoded, err := tree.EncodePage(inner)
	must(t, err)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	must(t, err)
	large := dir("large")
	large.page = testrepo.Save(t, s, object.TreeBlob, encoded)[0]
	root := saveFolder(t, s, []entry{large, textFile("other", "x")})
	broken, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 2, Paths: [][]byte{[]byte("/")}, Root: root[:]}})
	must(t, err)

	target := t.TempDir()
	must(t, os.Mkdir(filepath.Join(target, "large"), 0o755))
	must(t, os.WriteFile(filepath.Join(target, "large/extra"), nil, 0o600))
	out := run(t, r, broken, restore.Options{Target: target, Delete: true, Verify: true})
	if out.err != nil || out.Damaged != 1 || out.errors["/large"] == nil || out.Deleted != 0 {
		t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
	}
	mustHave(t, filepath.Join(target, "large/extra"), nil)
	left := 0
	for i := range 3000 {
		name := fmt.Sprintf("%04d", i)
		if _, err := os.Lstat(filepath.Join(target, "large", name)); err == nil {
			left++
		} else if name < lost.First || name >= inner.Children[2].First {
			t.Fatalf("%s is not on the page that is lost", name)
		}
	}
	t.Logf("%d of 3000 names are left", left)
}
