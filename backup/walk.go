package backup

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/chunk"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/source/files"
	"github.com/kura-backup/kura/tree"
)

// walk is one attempt to back up the given paths. It is safe for concurrent use.
type walk struct {
	repo      *repo.Repository
	report    *reporter
	hooks     hooks
	selection *selection
	rules     rules
	owners    files.Owners
	pool      *files.Pool
	queue     *queue
	writers   sync.Pool // of *tree.DirWriter
	cutters   chan *chunk.Cutter
	ahead     aheadSlot

	parents parents
	starts  [2]int64 // of the parents' runs

	// The gate is held for reading wherever a session or a folder is used, and for writing while a
	// partial snapshot is made.
	gate    sync.RWMutex
	session *repo.Session

	root   *folder
	rootID object.BlobID
	done   bool // the root's page is written; guarded by the gate
}

// rules are what the options say about changes.
type rules struct {
	ignoreCtime bool
	ignoreInode bool // and the ctime
	withAtime   bool // record the time of access
}

// hooks are called by tests at places where something may happen meanwhile. Nil ones are not called.
type hooks struct {
	opened  func(path string) error // behind the opening of a file; the error is that of its reading
	read    func(path string)       // between the reading of a file and the look whether it changed
	listed  func(path string)       // behind the listing of a folder
	partial <-chan struct{}         // asks for a partial snapshot
	walk    func(w *walk)           // before the walk begins
}

func newWalk(r *repo.Repository, s *repo.Session, report *reporter, sel *selection, ps parents, p *plan) *walk {
	w := &walk{
		repo: r, report: report, selection: sel, pool: files.NewPool(), queue: newQueue(),
		parents: ps, session: s,
	}
	w.writers.New = func() any { return tree.NewDirWriter(w.savePage) }
	root := &folder{node: &tree.Node{Type: tree.Folder}, path: "/", dir: w.pool.Root("/"), scope: sel.root(p)}
	if p.given {
		root.dir = root.dir.Child(".") // that one can be listed
	}
	var st files.Stat
	if err := root.dir.StatSelf(&st); err == nil {
		root.onDev, root.dev = st.Dev, st.Dev
	}
	for i, parent := range ps {
		if parent == nil {
			continue
		}
		w.starts[i] = parent.Start
		if id, err := parent.RootID(); err == nil {
			root.old[i] = &tree.Node{Type: tree.Folder, Subtree: id}
		}
	}
	w.root = root
	return w
}

// run walks with n workers until the root's page is saved. Of files that have to be cut n are read at once, each of
// which takes memory, also where there are more workers.
func (w *walk) run(ctx context.Context, n int, helpers ...func(context.Context) error) error {
	defer w.pool.Close()
	w.cutters = make(chan *chunk.Cutter, n)
	for range n {
		cutter, err := chunk.New(uint64(w.repo.Keys().Polynomial()))
		if err != nil {
			return err
		}
		w.cutters <- cutter
	}
	if w.session.Index().IsFar() {
		n += farWorkers
	}
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, w.queue.close)
	defer stop()
	beside, over := context.WithCancel(ctx)
	defer over()
	for _, help := range helpers {
		g.Go(func() error {
			if err := help(beside); err != nil && beside.Err() == nil {
				return err
			}
			return nil
		})
	}
	w.queue.push(w.root)
	var busy sync.WaitGroup
	busy.Add(n)
	for range n {
		g.Go(func() error {
			defer busy.Done()
			return work(ctx, w)
		})
	}
	g.Go(func() error { // the helpers have no end of their own
		busy.Wait()
		over()
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if !w.done {
		return errors.Join(errors.New("backup: the walk ended early"), context.Cause(ctx))
	}
	return nil
}

// farWorkers are workers beside the usual ones where a lookup in the index is a round trip, for which most of them wait.
const farWorkers = 128

// workerCount is how many entries are read at once.
func workerCount(asked int) int {
	if asked > 0 {
		return asked
	}
	return max(2, runtime.GOMAXPROCS(0))
}

// savePage stores a page of a folder or of a content, or an extended attribute.
func (w *walk) savePage(_ context.Context, page []byte) (object.BlobID, error) {
	saved, err := w.session.SaveNow(object.TreeBlob, page)
	return saved.ID, err
}

// worker runs tasks. It belongs to one goroutine.
type worker struct {
	*walk
	cutter *chunk.Cutter // while a file is cut
	inUse  *chunk.Ahead  // by cutter; nil mostly

	// Of the file that is being read; used again for the next.
	small   []byte
	reading reading
	content smallContent

	stats    [batchSize]files.Stat
	state    [batchSize]entryState
	order    [batchSize]int
	children []*folder
}

// work runs tasks until there are no more.
func work(ctx context.Context, walk *walk) error {
	w := &worker{walk: walk, small: make([]byte, maxSmall+1)}
	for {
		t := walk.queue.pop()
		if t == nil {
			return ctx.Err()
		}
		if err := w.do(ctx, t); err != nil {
			return err
		}
	}
}

func (w *worker) do(ctx context.Context, t task) error {
	w.gate.RLock()
	defer w.gate.RUnlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	return t.run(ctx, w)
}

// yield lets a partial snapshot be made, if one is waiting.
func (w *worker) yield(ctx context.Context) error {
	w.gate.RUnlock()
	w.gate.RLock()
	return ctx.Err()
}
