package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/tree"
)

// damaged is a repository with files of all shapes, and where their blobs lie.
type damaged struct {
	r       *repo.Repository
	store   *mem.Store
	snap    *repo.Snapshot
	entries []entry
	places  map[string][]repo.Place // of a file's blobs, by its path
}

// noParity is for packs that can not be mended.
var noParity = repo.SessionOptions{Packing: repo.Packing{Parity: -1}}

// template is what newDamaged makes once and copies.
var template struct {
	sync.Once
	made *damaged
}

func newDamaged(t *testing.T) *damaged {
	t.Helper()
	template.Do(func() { template.made = newDamagedWith(t, noParity) })
	d := *template.made
	d.store = d.store.Clone()
	d.r = testrepo.Open(t, d.store)
	return &d
}

func newDamagedWith(t *testing.T, o repo.SessionOptions) *damaged {
	d := &damaged{places: map[string][]repo.Place{}}
	d.r, d.store = testrepo.New(t)
	// Any of the others may be in any pack of theirs, and all of them need one of those.
	apart := file("apart", chunks(testrepo.Random(300, 1000))...)
	commitWith(t, d.r, o, apart)
	d.entries = append(d.entries, apart)
	for i := range 6 {
		data := testrepo.Random(uint64(i), 3<<20)
		d.entries = append(d.entries,
			file(fmt.Sprintf("large%02d", i), chunks(data[:1<<20], data[1<<20:2<<20], data[2<<20:])...),
			file(fmt.Sprintf("middle%02d", i), chunks(testrepo.Random(uint64(100+i), 400<<10))...))
	}
	for i := range 60 {
		d.entries = append(d.entries, file(fmt.Sprintf("small%02d", i), chunks(testrepo.Random(uint64(200+i), 40<<10))...))
	}
	d.snap = commitWith(t, d.r, o, d.entries...)
	ix, err := d.r.Index(t.Context())
	must(t, err)
	for _, e := range d.entries {
		for _, p := range e.parts {
			place, err := ix.Lookup(d.r.BlobID(object.DataBlob, p.data))
			must(t, err)
			d.places["/"+e.Name] = append(d.places["/"+e.Name], place)
		}
	}
	return d
}

// mustLose restores and wants exactly the files to be lost of which a blob is bad.
func (d *damaged) mustLose(t *testing.T, bad func(repo.Place) bool) {
	t.Helper()
	target := filepath.Join(t.TempDir(), "target")
	out := run(t, d.r, d.snap, restore.Options{Target: target, Verify: true})
	if out.err != nil {
		t.Fatal(out.err)
	}
	lost := 0
	for _, e := range d.entries {
		path := "/" + e.Name
		if !slices.ContainsFunc(d.places[path], bad) {
			mustHave(t, target+path, content(e.parts))
			continue
		}
		lost++
		mustNotExist(t, target+path)
		damage, ok := errors.AsType[*repo.DamageError](out.errors[path])
		if !ok || damage.Object == "" {
			t.Errorf("%s: error %v", path, out.errors[path])
		}
	}
	if lost == 0 || lost == len(d.entries) {
		t.Fatalf("the damage concerns %d of %d files", lost, len(d.entries))
	}
	if int(out.Damaged) != lost || len(out.errors) != lost || out.Errors != 0 || int(out.Verified) != len(d.entries)-lost {
		t.Errorf("%d are lost: result %+v, %d errors", lost, out.Result, len(out.errors))
	}
}

func (d *damaged) tamper(t *testing.T, ref object.Ref, change func([]byte) []byte) {
	t.Helper()
	obj, err := d.store.Get(t.Context(), ref.Name(), 0, -1, nil)
	must(t, err)
	d.store.Tamper(ref.Name(), change(obj))
}

func TestRun_FlippedBit_CostsOnlyTheFilesInThatSegment(t *testing.T) {
	for _, name := range []string{"/large05", "/middle03", "/small20"} {
		t.Run(name[1:], func(t *testing.T) {
			d := newDamaged(t)
			hit := d.places[name][0]
			d.tamper(t, hit.Pack, func(b []byte) []byte {
				b[hit.At+hit.Stored/2] ^= 4
				return b
			})
			d.mustLose(t, func(p repo.Place) bool { return p.Pack == hit.Pack && p.At == hit.At })
		})
	}
}

func TestRun_MissingPack_CostsOnlyTheFilesInIt(t *testing.T) {
	d := newDamaged(t)
	hit := d.places["/small20"][0]
	d.store.Tamper(hit.Pack.Name(), nil)
	d.mustLose(t, func(p repo.Place) bool { return p.Pack == hit.Pack })
}

func TestRun_PackCutShort_CostsOnlyWhatIsBehindTheCut(t *testing.T) {
	d := newDamaged(t)
	hit := d.places["/small20"][0]
	whole, err := d.store.Get(t.Context(), hit.Pack.Name(), 0, -1, nil)
	must(t, err)
	cuts := map[uint32]bool{}
	for _, places := range d.places {
		for _, p := range places {
			if p.Pack == hit.Pack && p.At > hit.At/2 {
				cuts[p.At+p.Stored/2] = true
			}
		}
	}
	tried := 0
	for cut := range cuts {
		if tried++; testing.Short() && tried > 3 {
			break
		}
		d.store.Tamper(hit.Pack.Name(), whole[:cut])
		d.mustLose(t, func(p repo.Place) bool { return p.Pack == hit.Pack && p.At+p.Stored > cut })
	}
}

func TestRun_ExistingFileWhoseReplacementIsLost_IsKept(t *testing.T) {
	d := newDamaged(t)
	hit := d.places["/small20"][0]
	d.store.Tamper(hit.Pack.Name(), nil)
	target := t.TempDir()
	must(t, os.WriteFile(filepath.Join(target, "small20"), []byte("old"), 0o600))
	if out := run(t, d.r, d.snap, restore.Options{Target: target}); out.err != nil || out.errors["/small20"] == nil {
		t.Fatalf("error %v, errors %v", out.err, out.errors)
	}
	mustHave(t, filepath.Join(target, "small20"), []byte("old"))
}

func TestRun_BlobsThatNoPackHas_CostOnlyTheirFiles(t *testing.T) {
	r, _ := testrepo.New(t)
	lost := func(n *tree.Node) { n.Inode, n.Links = 1, 2 }
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	must(t, err)
	nodes := []tree.Node{}
	for _, name := range []string{"a", "b"} {
		n := newNode(name, tree.File, 0o600)
		lost(&n)
		n.Size = 10
		n.Content.Append(tree.Extent{Kind: tree.Data, ID: object.BlobID{1}, Length: 10})
		nodes = append(nodes, n)
	}
	wrong := newNode("wrong length", tree.File, 0o600)
	wrong.Size = 99
	wrong.Content.Append(tree.Extent{Kind: tree.Data, ID: testrepo.Save(t, s, object.DataBlob, []byte("short"))[0], Length: 99})
	nodes = append(nodes, wrong)
	page, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf, Nodes: nodes})
	must(t, err)
	sub := dir("sub", textFile("fine", "x"))
	sub.page = testrepo.Save(t, s, object.TreeBlob, page)[0]
	root := saveFolder(t, s, []entry{sub, textFile("ok", "x")})
	snap, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Root: root[:]}})
	must(t, err)

	for _, dry := range []bool{true, false} {
		target := t.TempDir()
		out := run(t, r, snap, restore.Options{Target: target, DryRun: dry})
		if out.err != nil || out.Damaged != 3 || len(out.errors) != 3 || out.Errors != 0 || out.Files != 1 {
			t.Fatalf("dry run %v: error %v, result %+v, errors %v", dry, out.err, out.Result, out.errors)
		}
		for path, err := range out.errors {
			if !errors.As(err, new(*repo.DamageError)) {
				t.Errorf("%s: %v", path, err)
			}
			mustNotExist(t, filepath.Join(target, path))
		}
		if !dry {
			mustHave(t, filepath.Join(target, "ok"), []byte("x"))
		}
	}
}

func TestRun_LostTreePage_CostsOnlyWhatIsBelow(t *testing.T) {
	r, _ := testrepo.New(t)
	gone := dir("gone")
	gone.page = object.BlobID{9}
	snap := commit(t, r, dir("a", gone, textFile("f", "x")), textFile("g", "y"))
	target := t.TempDir()
	out := run(t, r, snap, restore.Options{Target: target})
	if out.err != nil || out.Damaged != 1 || out.errors["/a/gone"] == nil || out.Files != 2 {
		t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
	}
	mustHave(t, filepath.Join(target, "a/f"), []byte("x"))
}

func TestRun_PageThatIsNoFolder_IsDamage(t *testing.T) {
	r, _ := testrepo.New(t)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	must(t, err)
	bad := dir("bad")
	bad.page = testrepo.Save(t, s, object.TreeBlob, bytes.Repeat([]byte{0xff}, 40))[0]
	root := saveFolder(t, s, []entry{bad, textFile("ok", "x")})
	snap, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Root: root[:]}})
	must(t, err)
	out := run(t, r, snap, restore.Options{Target: t.TempDir()})
	if out.err != nil || out.Damaged != 1 || out.errors["/bad"] == nil || out.Files != 1 {
		t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
	}
}

func TestRun_StoreFails_EndsTheRun(t *testing.T) {
	inner := mem.New()
	snap := commit(t, testrepo.Init(t, inner), file("a", chunks(testrepo.Random(1, 1<<20), testrepo.Random(2, 1<<20))...), file("b", chunks(testrepo.Random(3, 1<<20), testrepo.Random(4, 1<<20))...))
	store := fault.New(inner)
	r := testrepo.Open(t, store)
	broken := errors.New("connection lost")
	store.Inject(fault.On(fault.Get).Prefix("data/").Always().Before(broken))
	target := t.TempDir()
	out := run(t, r, snap, restore.Options{Target: target})
	if !errors.Is(out.err, broken) || len(out.errors) != 0 {
		t.Fatalf("error %v, errors %v", out.err, out.errors)
	}
	for _, name := range []string{"a", "b"} {
		mustNotExist(t, filepath.Join(target, name))
	}
}

func TestRun_PackCollectedMeanwhile_IsFoundElsewhere(t *testing.T) {
	inner := mem.New()
	r := testrepo.Init(t, inner)
	var keep, waste []entry
	for i := range 10 {
		keep = append(keep, file(fmt.Sprintf("keep%d", i), chunks(testrepo.Random(uint64(i), 300<<10))...))
		waste = append(waste, file(fmt.Sprintf("waste%d", i), chunks(testrepo.Random(uint64(50+i), 900<<10))...))
	}
	old := commit(t, r, append(slices.Clone(keep), waste...)...)
	snap := commit(t, r, keep...)
	store := fault.New(inner)
	reader := testrepo.Open(t, store)
	_, err := reader.Index(t.Context())
	must(t, err)

	collected := false
	store.Inject(fault.On(fault.Get).Prefix("data/").Hook(func(ctx context.Context, _ fault.Call) error {
		if _, err := r.Forget(ctx, []object.SessionID{old.ID}); err != nil {
			return err
		}
		res, err := gc.Run(ctx, r, gc.Options{MaxUnused: -1}, gc.Events{})
		collected = err == nil && res.PacksDropped > 0
		return err
	}))
	target := t.TempDir()
	mustBeFine(t, run(t, reader, snap, restore.Options{Target: target, Concurrency: 1}))
	if !collected {
		t.Fatal("nothing was collected, so nothing was shown")
	}
	mustMatch(t, target, keep)
}

func TestRun_AnyByteOfASegmentChanged_WritesNoneOfIt(t *testing.T) {
	r, store := testrepo.New(t)
	snap := commitWith(t, r, noParity, textFile("f", "what it should be"), textFile("g", "what it should be, too"))
	ix, err := r.Index(t.Context())
	must(t, err)
	place, err := ix.Lookup(r.BlobID(object.DataBlob, []byte("what it should be")))
	must(t, err)
	obj, err := store.Get(t.Context(), place.Pack.Name(), 0, -1, nil)
	must(t, err)
	for i := range place.Stored {
		flipped := bytes.Clone(obj)
		flipped[place.At+i] ^= 1
		store.Tamper(place.Pack.Name(), flipped)
		target := filepath.Join(t.TempDir(), "target")
		out := run(t, r, snap, restore.Options{Target: target})
		if out.err != nil || out.Damaged != 2 || out.Files != 0 {
			t.Fatalf("byte %d: error %v, result %+v", i, out.err, out.Result)
		}
		mustNotExist(t, filepath.Join(target, "f"))
	}
}

func TestRun_OtherBytesUnderABlobsName_AreNotWritten(t *testing.T) {
	// Who has a key can seal any bytes into a segment and say that they are a certain blob.
	r, store := testrepo.New(t)
	claimed := []byte("what the snapshot was made of")
	forged := []byte("what somebody put in its place")[:len(claimed)]
	id, sid := r.BlobID(object.DataBlob, claimed), object.SessionID{42}
	secret, err := r.Keys().NewSecret(seal.Data)
	must(t, err)
	b, err := pack.NewBuilder(r.Keys(), object.DataPack, sid, secret, pack.Options{}, nil)
	must(t, err)
	must(t, b.Add(pack.NewSegment{Stored: forged, Plain: forged, IDs: []object.BlobID{id}, Lengths: []uint32{uint32(len(forged))}}))
	obj, ref, packed, err := b.Finish(false)
	must(t, err)
	must(t, store.Put(t.Context(), ref.Name(), obj))
	var seg index.Segment
	must(t, seg.AddPack(ref, int64(len(obj)), packed))
	segments, err := r.PutIndex(t.Context(), sid, &seg)
	must(t, err)
	_, err = r.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) {
		return &log.Entry{Kind: log.KindCollect, Session: sid, Add: []log.PackRef{{Ref: ref, Size: int64(len(obj))}}, Index: segments}, nil
	})
	must(t, err)

	snap := commit(t, r, file("f", part{data: claimed})) // relies on the blob that is there
	target := t.TempDir()
	out := run(t, r, snap, restore.Options{Target: target})
	if damage, ok := errors.AsType[*repo.DamageError](out.errors["/f"]); out.err != nil || out.Damaged != 1 || !ok || damage.Blob != id || damage.Object != ref.Name() {
		t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
	}
	mustNotExist(t, filepath.Join(target, "f"))
}
