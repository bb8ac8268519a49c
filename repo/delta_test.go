package repo_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/tree"
)

// before is an earlier content of a single blob, or of several that follow one another.
type before []repo.Near

func (b before) Near(offset, length int64) []repo.Near {
	var out []repo.Near
	for _, n := range b {
		n.Overlap = min(offset+length, n.Offset+n.Length) - max(offset, n.Offset)
		if n.Overlap > 0 && len(out) < repo.MaxNear {
			out = append(out, n)
		}
	}
	return out
}
func (before) Known(int64, object.BlobID) {}
func (before) Moved(int64, int64)         {}

// commitLike commits a file of one blob of which like is the content before, and returns what it is for the next.
func commitLike(t testing.TB, r *repo.Repository, o repo.SessionOptions, data []byte, like repo.Like) (*repo.Snapshot, before) {
	t.Helper()
	s, err := r.NewSession(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan repo.Saved, 1)
	s.SaveLike(data, like, 0, func(saved repo.Saved, err error) {
		if err != nil {
			t.Error(err)
		}
		result <- saved
	})
	id := (<-result).ID
	node := tree.Node{Name: "f", Type: tree.File, Mode: 0o644, Size: int64(len(data))}
	node.Content.Append(tree.Extent{Kind: tree.Data, ID: id, Length: int64(len(data))})
	page, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf, Nodes: []tree.Node{node}})
	if err != nil {
		t.Fatal(err)
	}
	root, err := s.SaveNow(object.TreeBlob, page)
	if err != nil {
		t.Fatal(err)
	}
	snap, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Host: "h", Paths: [][]byte{[]byte("/f")}, Root: root.ID[:]}})
	if err != nil {
		t.Fatal(err)
	}
	return snap, before{{ID: id, Length: int64(len(data))}}
}

// generation returns data with a hundredth of its pages changed in a few bytes.
func generation(data []byte, n int) []byte {
	out := bytes.Clone(data)
	for at := n * 1000; at < len(out)-100; at += 100_000 {
		copy(out[at:], testrepo.Random(uint64(n*1000+at), 50))
	}
	return out
}

// placeOf returns where the blob of a file of one blob lies.
func placeOf(t testing.TB, r *repo.Repository, b before) local.Place {
	t.Helper()
	ix, err := r.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	places := ix.Places(b[0].ID, nil)
	if len(places) == 0 {
		t.Fatal("the blob has no copy that counts")
	}
	return places[0]
}

func readsBack(t testing.TB, r *repo.Repository, snap *repo.Snapshot, want []byte) {
	t.Helper()
	got, err := testrepo.ReadFile(t, r, snap)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("snapshot %s reads back as %d bytes, %v; want %d", snap.ID.Short(), len(got), err, len(want))
	}
}

func TestSaveLike_ManyGenerations_AreSmallShallowAndReadBack(t *testing.T) {
	r, store := testrepo.New(t)
	size, generations := 1<<20, 30
	if testing.Short() {
		size, generations = 300<<10, 12
	}
	data := testrepo.Random(1, size)
	snap, like := commitLike(t, r, repo.SessionOptions{}, data, nil)
	datas, snaps := [][]byte{data}, []*repo.Snapshot{snap}
	deepest := uint8(0)
	for n := 1; n <= generations; n++ {
		data = generation(data, n)
		snap, like = commitLike(t, r, repo.SessionOptions{}, data, like)
		p := placeOf(t, r, like)
		if p.Coding != pack.Delta || p.Stored > 50_000 {
			t.Fatalf("generation %d is stored as %v of %d bytes", n, p.Coding, p.Stored)
		}
		deepest = max(deepest, p.Depth)
		datas, snaps = append(datas, data), append(snaps, snap)
	}
	if deepest != pack.MaxDepth {
		t.Errorf("the longest chain has %d deltas, want %d", deepest, pack.MaxDepth)
	}
	other := testrepo.Open(t, store)
	for i := range snaps {
		readsBack(t, other, snaps[i], datas[i])
	}
}

// TestSaveLike_LargeChanges_ChainTakesHalfOfTheBlobAtMost: what a restore reads beside the blob is bounded, also where each delta is small
// enough by itself.
func TestSaveLike_LargeChanges_ChainTakesHalfOfTheBlobAtMost(t *testing.T) {
	r, _ := testrepo.New(t)
	const size, part = 1 << 20, 1 << 20 / 10
	data := testrepo.Random(1, size)
	_, like := commitLike(t, r, repo.SessionOptions{}, data, nil)
	deltas, plain, most := 0, 0, uint64(0)
	for n := range 12 {
		data = bytes.Clone(data)
		copy(data[n%9*part:], testrepo.Random(uint64(n+2), part))
		_, like = commitLike(t, r, repo.SessionOptions{}, data, like)
		p := placeOf(t, r, like)
		if p.Coding == pack.Delta {
			deltas++
		} else {
			plain++
		}
		if most = max(most, p.ChainSum); p.ChainSum > size/2 {
			t.Errorf("generation %d: its chain takes %d bytes", n+1, p.ChainSum)
		}
	}
	if deltas < 6 || plain == 0 || most < size/4 {
		t.Errorf("%d deltas and %d whole, the longest chain of %d bytes: the test shows nothing", deltas, plain, most)
	}
}

func TestSaveLike_NothingInCommon_IsStoredPlain(t *testing.T) {
	r, _ := testrepo.New(t)
	_, like := commitLike(t, r, repo.SessionOptions{}, testrepo.Random(1, 1<<20), nil)
	data := testrepo.Random(2, 1<<20)
	snap, like := commitLike(t, r, repo.SessionOptions{}, data, like)
	if p := placeOf(t, r, like); p.Coding == pack.Delta {
		t.Errorf("it is stored as %v", p.Coding)
	}
	readsBack(t, r, snap, data)
}

func TestSaveLike_BoundariesMoved_UsesSeveralBases(t *testing.T) {
	r, _ := testrepo.New(t)
	whole := testrepo.Random(1, 3<<20)
	var like before
	for i := range int64(3) {
		_, b := commitLike(t, r, repo.SessionOptions{}, whole[i<<20:(i+1)<<20], nil)
		b[0].Offset = i << 20
		like = append(like, b...)
	}
	moved := moves{Like: like, by: 1 << 19}
	data := generation(whole[1<<19:5<<19], 1)
	snap, got := commitLike(t, r, repo.SessionOptions{}, data, moved)
	if p := placeOf(t, r, got); p.Coding != pack.Delta || p.Bases.Len() != 3 || p.Stored > 50_000 {
		t.Errorf("it is stored as %v of %d bytes with %d bases", p.Coding, p.Stored, p.Bases.Len())
	}
	readsBack(t, r, snap, data)
}

// moves is a content that lies elsewhere now.
type moves struct {
	repo.Like
	by int64
}

func (m moves) Near(offset, length int64) []repo.Near { return m.Like.Near(offset+m.by, length) }

func TestSave_SimilarBlobElsewhere_IsFoundByItsSketch(t *testing.T) {
	r, _ := testrepo.New(t)
	data := rows(20_000)
	commitLike(t, r, repo.SessionOptions{}, data, nil)
	changed := generation(data, 3)
	snap, got := commitLike(t, r, repo.SessionOptions{}, changed, nil)
	if p := placeOf(t, r, got); p.Coding != pack.Delta {
		t.Errorf("it is stored as %v of %d bytes", p.Coding, p.Stored)
	}
	readsBack(t, r, snap, changed)
	changed = generation(data, 4)
	_, got = commitLike(t, r, repo.SessionOptions{Similar: repo.SimilarNever}, changed, got)
	if p := placeOf(t, r, got); p.Coding == pack.Delta {
		t.Error("there are deltas though none are wanted")
	}
}

// TestSaveLike_BasesCanNotBeRead_OnlyTheCacheCounts: a writer's key, and a store that is far, have what this client
// stored lately.
func TestSaveLike_BasesCanNotBeRead_OnlyTheCacheCounts(t *testing.T) {
	data := testrepo.Random(1, 300<<10)
	for name, c := range map[string]struct {
		far     bool
		role    seal.Role
		similar repo.Similar
		fresh   pack.Coding // of a client without a cache
	}{
		"writer":              {role: seal.Writer},
		"writer, always":      {role: seal.Writer, similar: repo.SimilarAlways},
		"owner, far":          {far: true, role: seal.Owner},
		"owner, far, always":  {far: true, role: seal.Owner, similar: repo.SimilarAlways, fresh: pack.Delta},
		"owner, near":         {role: seal.Owner, fresh: pack.Delta},
		"writer, far, always": {far: true, role: seal.Writer, similar: repo.SimilarAlways},
	} {
		t.Run(name, func(t *testing.T) {
			plain := mem.New()
			owner := testrepo.Init(t, plain)
			credential := seal.KeyFile([32]byte{9})
			if _, err := owner.AddSlot(t.Context(), repo.NewSlot{Role: c.role, Credential: credential}); err != nil {
				t.Fatal(err)
			}
			var store backends.Store = plain
			if c.far {
				store = farStore{plain}
			}
			open := func() *repo.Repository {
				r, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: credential, CacheDir: testsys.MemoryDir(t)})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = r.Close() })
				return r
			}
			o := repo.SessionOptions{Similar: c.similar}
			r := open()
			_, first := commitLike(t, r, o, data, before{})
			second, like := commitLike(t, r, o, generation(data, 1), first)
			if p := placeOf(t, r, like); p.Coding != pack.Delta {
				t.Errorf("with the cache it is stored as %v", p.Coding)
			}
			fresh := open()
			third, like := commitLike(t, fresh, o, generation(data, 2), first)
			if p := placeOf(t, fresh, like); p.Coding != c.fresh {
				t.Errorf("without a cache it is stored as %v, want %v", p.Coding, c.fresh)
			}
			if err := owner.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			readsBack(t, owner, second, generation(data, 1))
			readsBack(t, owner, third, generation(data, 2))
		})
	}
}

// farStore is a store that says that it is far.
type farStore struct{ backends.Store }

func (s farStore) Caps() backends.Caps {
	caps := s.Store.Caps()
	caps.Local = false
	return caps
}

// rows is a table as a dump has it, which compresses.
func rows(n int) []byte {
	var text bytes.Buffer
	for i := range n {
		fmt.Fprintf(&text, "(%d,'row number %d','%x'),\n", i, i*7, testrepo.Random(uint64(i), 12))
	}
	return text.Bytes()
}

// hasSketch tells whether the directory has a sketch of the blob of a file of one blob.
func hasSketch(t testing.TB, r *repo.Repository, b before) bool {
	t.Helper()
	ix, err := r.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := ix.Place(placeOf(t, r, b))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := r.LoadDirectory(t.Context(), p.Pack, p.PackSize)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range dir.Segments {
		if s.Offset == p.At {
			return s.HasSketch
		}
	}
	t.Fatal("the directory does not have the segment")
	return false
}

// TestSaveLike_LittleChangedByPlace_IsFoundByTheSketchOfItsBase: what is like its base has no sketch of its own, and what is
// like both is stored as a delta all the same. After larger changes there is a sketch again.
func TestSaveLike_LittleChangedByPlace_IsFoundByTheSketchOfItsBase(t *testing.T) {
	r, _ := testrepo.New(t)
	data := rows(20_000)
	_, first := commitLike(t, r, repo.SessionOptions{}, data, nil)
	if !hasSketch(t, r, first) {
		t.Error("what is stored whole has no sketch")
	}
	_, second := commitLike(t, r, repo.SessionOptions{}, generation(data, 1), first)
	if p := placeOf(t, r, second); p.Coding != pack.Delta || hasSketch(t, r, second) {
		t.Errorf("the second generation is stored as %v, sketch %v", p.Coding, hasSketch(t, r, second))
	}
	renamed := generation(generation(data, 1), 2)
	snap, third := commitLike(t, r, repo.SessionOptions{}, renamed, nil)
	if p := placeOf(t, r, third); p.Coding != pack.Delta || !hasSketch(t, r, third) {
		t.Errorf("under another name it is stored as %v, sketch %v", p.Coding, hasSketch(t, r, third))
	}
	readsBack(t, r, snap, renamed)
	other := bytes.Clone(data)
	copy(other[len(other)/3:], testrepo.Random(1, len(other)/10))
	_, fourth := commitLike(t, r, repo.SessionOptions{}, other, first)
	if p := placeOf(t, r, fourth); p.Coding != pack.Delta || !hasSketch(t, r, fourth) {
		t.Errorf("with a tenth of it new it is stored as %v, sketch %v", p.Coding, hasSketch(t, r, fourth))
	}
}

// TestSaveLike_ManyLargeBlobsAtOnce_ReadBack needs more memory for bases than is used again.
func TestSaveLike_ManyLargeBlobsAtOnce_ReadBack(t *testing.T) {
	r, store := testrepo.New(t)
	const n, size = 5, 7 << 20
	whole := testrepo.Random(1, n*size)
	like := before{}
	generations := 3
	if testing.Short() {
		generations = 2
	}
	for g := range generations {
		data := generation(whole, g)
		s, err := r.NewSession(t.Context(), repo.SessionOptions{Workers: n})
		if err != nil {
			t.Fatal(err)
		}
		next := make(before, n)
		var stored sync.WaitGroup
		for i := range int64(n) {
			stored.Add(1)
			s.SaveLike(data[i*size:(i+1)*size], like, i*size, func(saved repo.Saved, err error) {
				if err != nil {
					t.Error(err)
				}
				next[i] = repo.Near{ID: saved.ID, Offset: i * size, Length: size}
				stored.Done()
			})
		}
		stored.Wait()
		if _, err := s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, s)}); err != nil {
			t.Fatal(err)
		}
		like = next
		other := testrepo.Open(t, store)
		for i, b := range like {
			if p := placeOf(t, other, like[i:]); g > 0 && p.Coding != pack.Delta {
				t.Errorf("generation %d: blob %d is stored as %v", g, i, p.Coding)
			}
			got, err := other.LoadBlob(t.Context(), object.DataBlob, b.ID)
			if err != nil || !bytes.Equal(got, data[i*size:(i+1)*size]) {
				t.Errorf("generation %d: blob %d reads back as %d bytes, %v", g, i, len(got), err)
			}
		}
	}
}
