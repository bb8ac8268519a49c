package damage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/repo/repair"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/tree"
)

// maintainer opens every repository here, too: it can mend, and can not read files.
var maintainer = seal.KeyFile([32]byte{4, 5, 6})

// content is what a snapshot has: files by their paths.
type content map[string][]byte

// item is an object of the repository.
type item struct {
	name string
	row  string // of the table
	data []byte
}

// world is a repository that has everything, and what is known of it.
type world struct {
	dir     string // in memory, for caches and targets
	store   *mem.Store
	cache   string // that has seen the repository as it is
	sawTail bool   // whether that cache's client knows the last entry to be durable, so that it would miss it
	want    map[object.SessionID]content
	state   []byte // of the log

	rows  []string
	items map[string][]item // by row
	all   []item
	group map[string]bool // packs that are in a group

	older  *mem.Store // the repository before its last entries
	fork   *mem.Store // the same, with other entries
	other  *mem.Store // another repository, with the same keys to its slots
	byFork map[string][]item
	byElse map[string][]item
}

// builder makes repositories.
type builder struct {
	t    testing.TB
	rng  *rand.Rand
	r    *repo.Repository
	want map[object.SessionID]content
	last []byte // the newest generation of a file that is stored as a delta of the one before
}

func (b *builder) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// snapshot commits files of up to size bytes in chunks, some of which other snapshots have as well.
func (b *builder) snapshot(o repo.SessionOptions, files, size int) object.SessionID {
	b.t.Helper()
	s, err := b.r.NewSession(b.t.Context(), o)
	b.must(err)
	c := content{"/old": testrepo.Random(1, 5000)}
	var inner []tree.Node
	for i := range files {
		name := fmt.Sprintf("f%d", i)
		data := testrepo.Random(b.rng.Uint64(), 1+b.rng.IntN(size))
		if i%3 == 0 {
			data = slices.Concat(data, make([]byte, 1000), data[:len(data)/2])
		}
		c["/d/"+name] = data
		inner = append(inner, b.file(s, name, data))
	}
	top := []tree.Node{
		{Name: "d", Type: tree.Folder, Mode: 0o755, Subtree: b.page(s, inner)},
		b.grown(s, c),
		b.file(s, "old", c["/old"]),
	}
	root := b.page(s, top)
	m := &repo.Manifest{Time: 1, Host: "h", Paths: [][]byte{[]byte("/")}, Root: root[:]}
	snap, err := s.Commit(repo.CommitOptions{Manifest: m})
	b.must(err)
	b.want[snap.ID] = c
	return snap.ID
}

func (b *builder) file(s *repo.Session, name string, data []byte) tree.Node {
	n := tree.Node{Name: name, Type: tree.File, Mode: 0o644, Size: int64(len(data))}
	for chunk := range slices.Chunk(data, 30_000) {
		saved, err := s.SaveNow(object.DataBlob, chunk)
		b.must(err)
		n.Content.Append(tree.Extent{Kind: tree.Data, ID: saved.ID, Length: int64(len(chunk))})
	}
	return n
}

// grown saves the next generation of a file of one chunk.
func (b *builder) grown(s *repo.Session, c content) tree.Node {
	b.t.Helper()
	var before [][]byte
	next := testrepo.Random(b.rng.Uint64(), 66<<10)
	if b.last != nil {
		before, next = [][]byte{b.last}, testrepo.Edited(b.rng.Uint64(), b.last)
	}
	id := testrepo.SaveLike(b.t, b.r, s, next, before...)
	b.last, c["/grown"] = next, next
	n := tree.Node{Name: "grown", Type: tree.File, Mode: 0o644, Size: int64(len(next))}
	n.Content.Append(tree.Extent{Kind: tree.Data, ID: id, Length: n.Size})
	return n
}

// wantDeltas fails if there is none that a snapshot needs, deeper than one.
func (b *builder) wantDeltas() {
	b.t.Helper()
	if d := testrepo.Depths(b.t, b.r, b.last); len(d) != 1 || d[0] < 2 {
		b.t.Fatalf("the newest generation has copies of depths %v", d)
	}
}

func (b *builder) page(s *repo.Session, nodes []tree.Node) object.BlobID {
	page, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf, Nodes: nodes})
	b.must(err)
	saved, err := s.SaveNow(object.TreeBlob, page)
	b.must(err)
	return saved.ID
}

func (b *builder) forget(ids ...object.SessionID) {
	b.t.Helper()
	done, err := b.r.Forget(b.t.Context(), ids)
	b.must(err)
	if len(done) != len(ids) {
		b.t.Fatalf("forgot %d of %d", len(done), len(ids))
	}
	for _, id := range ids {
		delete(b.want, id)
	}
}

// begin makes a repository, with three keys.
func begin(t testing.TB, rng *rand.Rand) (*builder, *mem.Store) {
	r, store := testrepo.New(t)
	b := &builder{t: t, rng: rng, r: r, want: map[object.SessionID]content{}}
	for role, c := range map[seal.Role]seal.Credential{seal.Maintainer: maintainer, seal.Writer: seal.KeyFile([32]byte{7})} {
		_, err := r.AddSlot(t.Context(), repo.NewSlot{Role: role, Credential: c})
		b.must(err)
	}
	return b, store
}

// quarantine has a pack damaged beyond repair and repaired, which leaves its bytes in quarantine, and forgets
// the snapshot that suffered.
func (b *builder) quarantine(store *mem.Store) {
	b.t.Helper()
	victim := b.snapshot(repo.SessionOptions{Packing: repo.Packing{Parity: -1}}, 2, 3000)
	for ref := range b.r.State().Packs {
		if ref.Session == victim && ref.Class == object.DataPack {
			obj, err := store.Get(b.t.Context(), ref.Name(), 0, -1, nil)
			b.must(err)
			obj[200] ^= 1
			store.Tamper(ref.Name(), obj)
			_, err = repair.Packs(b.t.Context(), b.r, repair.PacksOptions{Packs: []object.Ref{ref}}, repair.Events{})
			b.must(err)
			break
		}
	}
	b.forget(victim)
}

// middle commits entries that do not go to the end of the log.
func (b *builder) middle(store *mem.Store) {
	b.t.Helper()
	ctx := b.t.Context()
	b.quarantine(store)
	b.snapshot(repo.SessionOptions{}, 5, 60_000)
	plain := b.snapshot(repo.SessionOptions{Packing: repo.Packing{Parity: -1}}, 4, 20_000)
	gone := b.snapshot(repo.SessionOptions{}, 2, 10_000)
	b.forget(gone)
	_, err := gc.Run(ctx, b.r, gc.Options{}, gc.Events{})
	b.must(err)
	kept := b.want[plain]
	b.forget(plain)
	_, err = b.r.Unforget(ctx, []object.SessionID{plain})
	b.must(err)
	b.want[plain] = kept
	_, err = check.Run(ctx, b.r, check.Options{Read: check.Choice{All: true}}, check.Events{})
	b.must(err)
	_, err = b.r.SetTags(ctx, []object.SessionID{plain}, func([]string) []string { return []string{"given later"} })
	b.must(err)
}

// end commits the others.
func (b *builder) end() {
	b.t.Helper()
	ctx := b.t.Context()
	grouped := b.snapshot(repo.SessionOptions{Packing: repo.Packing{Parity: -1, Groups: true}}, 4, 40_000)
	small := b.snapshot(repo.SessionOptions{}, 3, 2000)
	_, err := b.r.Pin(ctx, []object.SessionID{grouped})
	b.must(err)
	b.snapshot(repo.SessionOptions{Packing: repo.Packing{Parity: -1}}, 4, 20_000)
	lost := b.snapshot(repo.SessionOptions{}, 1, 2000)
	b.forget(lost)
	b.must(b.r.PutSign(ctx, small, 1, "h"))
	b.must(b.r.PutSign(ctx, object.SessionID{9}, 1, "h"))
	b.snapshot(repo.SessionOptions{Packing: repo.Packing{Parity: -1, Groups: true}}, 3, 15_000)
	_, err = check.Run(ctx, b.r, check.Options{Read: check.Choice{All: true}}, check.Events{})
	b.must(err)
}

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	w := &world{dir: testsys.MemoryDir(t), items: map[string][]item{}, group: map[string]bool{}}

	b, store := begin(t, rng)
	b.middle(store)
	w.older = store.Clone()
	b.end()
	b.wantDeltas()
	w.store, w.want = store, b.want

	forked := &builder{t: t, rng: rng, want: map[object.SessionID]content{}}
	w.fork = w.older.Clone()
	forked.r = testrepo.Open(t, w.fork)
	forked.end()

	another, otherStore := begin(t, rng)
	another.middle(otherStore)
	another.end()
	w.other = otherStore

	w.cache = filepath.Join(w.dir, "cache")
	r, err := w.open(t.Context(), store, testrepo.Credential, w.cache)
	b.must(err)
	defer func() { b.must(r.Close()) }()
	w.sawTail = r.Log().Sure().N == r.State().N
	w.state, err = log.EncodeState(r.State())
	b.must(err)
	got := w.read(t.Context(), r)
	if got.wrong != nil || got.refused != nil {
		t.Fatalf("the undamaged repository reads wrongly: %v %v", got.wrong, got.refused)
	}
	w.list(t, r)
	return w
}

// list notes the repository's objects, and those of the others by their class.
func (w *world) list(t testing.TB, r *repo.Repository) {
	t.Helper()
	groups, err := r.Groups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		for _, m := range g.Members {
			w.group[m.Ref.Name()] = true
		}
	}
	kinds := map[string]string{}
	err = r.Log().Entries(t.Context(), func(rec *log.Record) error {
		kinds[object.LogName(rec.N)] = fmt.Sprintf("log entry: %v", rec.Entry.Kind)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects(t, w.store) {
		o.row = w.rowOf(&o, kinds)
		if w.items[o.row] == nil {
			w.rows = append(w.rows, o.row)
		}
		w.items[o.row] = append(w.items[o.row], o)
		w.all = append(w.all, o)
	}
	w.byFork, w.byElse = map[string][]item{}, map[string][]item{}
	for _, o := range objects(t, w.fork) {
		w.byFork[classOf(o.name)] = append(w.byFork[classOf(o.name)], o)
	}
	for _, o := range objects(t, w.other) {
		w.byElse[classOf(o.name)] = append(w.byElse[classOf(o.name)], o)
	}
}

func objects(t testing.TB, store *mem.Store) (out []item) {
	t.Helper()
	for _, name := range testrepo.Names(t, store, "") {
		data, err := store.Get(t.Context(), name, 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, item{name: name, data: data})
	}
	return out
}

// classOf is the folder of an object.
func classOf(name string) string {
	class, _, found := strings.Cut(name, "/")
	if !found {
		return object.ConfigName
	}
	return class
}

func (w *world) rowOf(o *item, kinds map[string]string) string {
	row := map[string]string{
		"config": "config", "keys": "key slot", "checkpoints": "checkpoint", "data": "data pack", "tree": "tree pack",
		"index": "index segment", "parity": "parity of a group", "records": "record of checks",
		"sessions": "sign of life", "quarantine": "quarantine",
	}[classOf(o.name)]
	switch {
	case kinds[o.name] != "":
		return kinds[o.name]
	case !strings.HasSuffix(row, " pack"):
	case w.group[o.name]:
		return row + " in a group"
	case !hasParity(o.data):
		return row + " without parity"
	}
	return row
}

func hasParity(obj []byte) bool {
	_, _, ok := parity.Body(obj)
	return ok
}

func (w *world) open(ctx context.Context, store backends.Store, c seal.Credential, cache string) (*repo.Repository, error) {
	return repo.Open(ctx, store, repo.OpenOptions{Credential: c, CacheDir: cache})
}
