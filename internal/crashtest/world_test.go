package crashtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/tree"
)

// digest stands for everything that a restore of a snapshot would write.
type digest [sha256.Size]byte

// world is a repository and its sources before the command that dies, and what is known of it.
type world struct {
	t      testing.TB
	rng    *rand.Rand
	dir    string // in memory, for sources and caches
	source string // the folder that backups back up

	grown   []byte                      // the newest generation of the source's file of that name
	groups  bool                        // whether there is parity across packs
	want    map[object.SessionID]digest // snapshots that must stay as they are
	now     digest                      // of a snapshot of the source as it is
	entry   map[string]digest           // of the source's entries by path
	victims []object.SessionID          // snapshots that the command forgets, or brings back
	kept    []object.SessionID          // snapshots of the source, in the order in which they were made

	from   *mem.Store                  // the repository from which the command copies, if it does
	copies map[object.SessionID]digest // the snapshots there
}

// process is a run of kura: what it knows is where the repository and its own cache are.
type process struct {
	ctx   context.Context
	w     *world
	store backends.Store
	cache string
	dead  int // processes that died before this one
}

func newWorld(t testing.TB, rng *rand.Rand) *world {
	w := &world{t: t, rng: rng, dir: testsys.MemoryDir(t), want: map[object.SessionID]digest{}}
	w.source = filepath.Join(w.dir, "source")
	if err := os.Mkdir(w.source, 0o755); err != nil {
		t.Fatal(err)
	}
	return w
}

// write gives n files of the source new content of up to max bytes.
func (w *world) write(n, maxSize int) {
	w.t.Helper()
	for range n {
		path := filepath.Join(w.source, fmt.Sprintf("d%d", w.rng.IntN(4)), fmt.Sprintf("f%d", w.rng.IntN(3*n)))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			w.t.Fatal(err)
		}
		data := testrepo.Random(w.rng.Uint64(), 1+w.rng.IntN(maxSize))
		if err := os.WriteFile(path, data, 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
}

// process returns a process that meets no trouble, with a cache of its own.
func (w *world) process(s backends.Store) *process {
	return &process{ctx: w.t.Context(), w: w, store: s, cache: w.newCache()}
}

func (w *world) newCache() string {
	dir, err := os.MkdirTemp(w.dir, "cache-")
	if err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// snapshots makes n snapshots of a source that changes all the time, which must stay unless the command
// forgets them.
func (w *world) snapshots(p *process, n, files, maxSize int) {
	w.t.Helper()
	for range n {
		w.write(files, maxSize)
		id, err := p.backup(backup.Options{})
		w.must(err)
		w.kept = append(w.kept, id)
	}
	w.must(p.with(func(r *repo.Repository) error {
		for _, id := range w.kept {
			d, _, err := readSnapshot(p.ctx, r, id)
			if err != nil {
				return err
			}
			w.want[id] = d
		}
		return nil
	}))
}

// grow writes the next generation of a file that is stored as a delta of the one before.
func (w *world) grow() {
	w.t.Helper()
	if w.grown == nil {
		w.grown = testrepo.Random(w.rng.Uint64(), 66<<10)
	} else {
		w.grown = testrepo.Edited(w.rng.Uint64(), w.grown)
	}
	if err := os.WriteFile(filepath.Join(w.source, "grown"), w.grown, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// generations makes n snapshots, in each of which the file has grown.
func (w *world) generations(p *process, n int) {
	w.t.Helper()
	for range n {
		w.grow()
		w.snapshots(p, 1, 2, 1000)
	}
	w.must(p.with(func(r *repo.Repository) error {
		if d := testrepo.Depths(w.t, r, w.grown); len(d) != 1 || d[0] != n-1 {
			return fmt.Errorf("the newest generation has copies of depths %v", d)
		}
		return nil
	}))
}

// choose makes n of the snapshots victims.
func (w *world) choose(n int) {
	for _, i := range w.rng.Perm(len(w.kept))[:n] {
		w.victims = append(w.victims, w.kept[i])
	}
}

// look notes what is in the source, from a backup into another repository.
func (w *world) look() {
	w.t.Helper()
	p := w.process(mem.New())
	w.must(p.init())
	id, err := p.backup(backup.Options{})
	w.must(err)
	w.must(p.with(func(r *repo.Repository) (err error) {
		w.now, w.entry, err = readSnapshot(p.ctx, r, id)
		return err
	}))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// with opens the repository, as every command does.
func (p *process) with(do func(*repo.Repository) error) error {
	r, err := repo.Open(p.ctx, p.store, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: p.cache})
	if errors.Is(err, repo.ErrWrongKey) { // a scenario that changes keys
		r, err = repo.Open(p.ctx, p.store, repo.OpenOptions{Credential: newCredential, CacheDir: p.cache})
	}
	if err != nil {
		return err
	}
	return errors.Join(do(r), r.Close())
}

// init is kura init. That there is a repository already is what its user wants. Where that is one of which
// nothing but the first entry has arrived, late, kura asks for init to be run again.
func (p *process) init() error {
	err := p.tryInit()
	if errors.Is(err, repo.ErrExists) {
		err = p.with(func(*repo.Repository) error { return nil })
		if errors.As(err, new(*repo.DamageError)) && strings.Contains(err.Error(), "run it again") {
			err = p.tryInit()
		}
	}
	return err
}

func (p *process) tryInit() error {
	r, err := repo.Init(p.ctx, p.store, repo.InitOptions{Credential: testrepo.Credential, CacheDir: p.cache})
	if err != nil {
		return err
	}
	return r.Close()
}

// backup is kura backup of the world's source.
func (p *process) backup(o backup.Options) (id object.SessionID, err error) {
	err = p.with(func(r *repo.Repository) error {
		o.Paths, o.Host, o.Packing.Size = []string{p.w.source}, "h", repo.MinPackSize // small buffers, made thousands of times
		var failed error
		res, err := backup.Run(p.ctx, r, o, backup.Events{Error: func(path string, err error) { failed = fmt.Errorf("%s: %w", path, err) }})
		if err = errors.Join(err, failed); err == nil {
			id = res.Snapshot.ID
		}
		return err
	})
	return id, err
}

// forget is kura forget.
func (p *process) forget(ids ...object.SessionID) error {
	return p.with(func(r *repo.Repository) error {
		_, err := r.Forget(p.ctx, ids)
		return err
	})
}

// unforget is kura unforget.
func (p *process) unforget(ids ...object.SessionID) error {
	return p.with(func(r *repo.Repository) error {
		_, err := r.Unforget(p.ctx, ids)
		return err
	})
}

// prune is kura prune some time after everybody else has ended.
func (p *process) prune() error { return p.with(p.collect) }

func (p *process) collect(r *repo.Repository) error {
	_, err := gc.Run(p.ctx, r, gc.Options{Idle: time.Nanosecond, Packing: repo.Packing{Size: repo.MinPackSize, Groups: p.w.groups}}, gc.Events{})
	return err
}

// readSnapshot reads all of a snapshot, and returns what is in it as a whole and by path.
func readSnapshot(ctx context.Context, r *repo.Repository, id object.SessionID) (digest, map[string]digest, error) {
	entries := map[string]digest{}
	entry := r.State().Snapshots[id]
	if entry == nil {
		return digest{}, nil, fmt.Errorf("snapshot %s is gone", id.Short())
	}
	snap, err := r.OpenSnapshot(entry)
	if err != nil {
		return digest{}, nil, err
	}
	root, err := snap.RootID()
	if err != nil {
		return digest{}, nil, err
	}
	all := sha256.New()
	err = tree.Walk(ctx, root, r.LoadTree, func(path string, n *tree.Node) error {
		d, err := readNode(ctx, r, n)
		if err != nil {
			return fmt.Errorf("snapshot %s: %s: %w", id.Short(), path, err)
		}
		entries[path] = d
		fmt.Fprintf(all, "%q %x\n", path, d)
		return nil
	})
	return digest(all.Sum(nil)), entries, err
}

// readNode covers metadata and content.
func readNode(ctx context.Context, r *repo.Repository, n *tree.Node) (d digest, err error) {
	meta := *n // without ids: what is in it counts, not how it is named in one repository
	meta.Content, meta.Pages = tree.Content{}, nil
	if n.Type == tree.Folder {
		meta.Subtree = object.BlobID{1}
	}
	if n.Size > 0 {
		meta.Content.Append(tree.Extent{Kind: tree.Hole, Length: n.Size})
	}
	page, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf, Nodes: []tree.Node{meta}})
	if err != nil {
		return d, err
	}
	h := sha256.New()
	h.Write(page)
	if n.Type == tree.File {
		for e, err := range tree.ReadContent(ctx, n, r.LoadTree) {
			if err != nil {
				return d, err
			}
			if e.Kind != tree.Data {
				fmt.Fprintf(h, "%v %d\n", e.Kind, e.Length)
				continue
			}
			b, err := r.LoadBlob(ctx, object.DataBlob, e.ID)
			if err != nil {
				return d, err
			}
			h.Write(b)
		}
	}
	return digest(h.Sum(nil)), nil
}

// sortedIDs returns the keys of a map in order.
func sortedIDs[V any](m map[object.SessionID]V) []object.SessionID {
	return slices.SortedFunc(maps.Keys(m), object.SessionID.Compare)
}
