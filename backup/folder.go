package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/source/files"
	"github.com/kura-backup/kura/tree"
)

const (
	// batchSize is how many entries of a folder a worker takes at once.
	batchSize = 32
	// maxAhead bounds how many entries of a folder may be finished behind one that is not.
	maxAhead = 16384
)

// folder is a folder that is being backed up. Its task is to hand out its next batch of entries.
type folder struct {
	up   *folder // nil for the root
	at   int     // among the entries of up
	path string  // of the root and of folders above the given paths
	dir  *files.Dir
	scope
	onDev uint64 // 0 until it is known
	node  *tree.Node
	// old are the nodes that the parents have of it, nil for none.
	old [2]*tree.Node

	// Only the worker that has the task touches these; there is at most one.
	listed  bool
	gone    bool // it was removed before it could be listed
	cursors [2]*cursor

	mu       sync.Mutex
	entries  []entry // the slice is guarded; an entry in hand belongs to whom it was handed out
	next     int     // the first entry that was not handed out
	passed   int     // entries that were passed on to the pages
	passing  bool    // somebody is passing them on
	parked   bool    // the task waits for the entries in hand
	finished bool

	// Only who is passing entries on touches these.
	writer  *tree.DirWriter // nil as long as all is as in the parent
	same    bool            // all that was passed on is as in the parent
	oldSize int32           // number of nodes in the parent's folder; -1 until it is known
	oldIDs  []object.BlobID // pages of the parent's folder, once oldSize is known
	count   int32           // nodes passed on while all was the same
}

// entry is what becomes of a name in a folder.
type entry struct {
	name  string        // never changes
	inode uint64        // as the folder says
	oldAt int32         // place among the first parent's nodes, or -1
	old   [2]*tree.Node // what the parents have
	child *folder       // while it is an open folder
	node  *tree.Node    // the result; nil if the snapshot has no such entry
	same  bool          // node equals old[0]
	done  bool          // guarded by the folder's mutex
}

// pathOf returns the path of an entry.
func (f *folder) pathOf(name string) string {
	var buf [16]string
	names := append(buf[:0], name)
	for ; f.path == ""; f = f.up {
		names = append(names, f.node.Name)
	}
	names = append(names, strings.TrimSuffix(f.path, "/"))
	slices.Reverse(names)
	return strings.Join(names, "/")
}

func (f *folder) ownPath() string {
	if f.up == nil {
		return f.path
	}
	return f.up.pathOf(f.node.Name)
}

func (f *folder) run(ctx context.Context, w *worker) error {
	if !f.listed {
		if err := w.list(ctx, f); err != nil {
			return err
		}
	}
	from, to, err := w.take(ctx, f)
	if err != nil {
		return err
	}
	if from == to {
		return w.passOn(ctx, f) // an empty folder; or one that is parked
	}
	return w.batch(ctx, f, from, to)
}

// list reads the names of a folder and what else there is to know of it.
func (w *worker) list(ctx context.Context, f *folder) error {
	f.listed = true
	f.oldSize = -1
	f.same = f.old[0] != nil
	for i, old := range f.old {
		if old != nil && !old.Subtree.IsZero() {
			f.cursors[i] = newCursor(old.Subtree, w.repo.LoadTree)
		} else if i == 0 {
			f.same = false
		}
	}
	names, err := w.names(ctx, f)
	if err != nil {
		err = vanished(err)
		f.gone = errors.Is(err, ErrVanished) && len(names) == 0 && f.up != nil
		w.report.error(f.ownPath(), err)
		f.node.Error = errorText(err)
	}
	if f.inside && w.hooks.listed != nil {
		w.hooks.listed(f.ownPath())
	}
	entries := make([]entry, 0, len(names))
	for _, n := range names {
		entries = append(entries, entry{name: n.Name, inode: n.Inode, oldAt: -1})
	}
	f.mu.Lock()
	f.entries = entries
	f.mu.Unlock()
	return nil
}

// names returns the entries that may be meant, and finds out what else there is to know of the folder.
func (w *worker) names(ctx context.Context, f *folder) (names []files.Entry, err error) {
	if f.inside && !f.only {
		var st files.Stat
		if err := f.dir.StatSelf(&st); err != nil {
			return nil, err
		}
		f.onDev = st.Dev
		if f.up != nil {
			f.node.Mount = f.up.isMount(&st)
		}
		f.enter(f.dir, &st, f.node.Mount)
		w.describe(f.node, &st)
	}
	names, err = f.scope.list(ctx, f.dir, func(name string, err error) { w.report.error(f.pathOf(name), err) })
	switch {
	case !f.inside:
		f.attributes(ctx, w, true)
	case f.only && f.plan == nil: // what is mounted here is not touched
	default:
		f.attributes(ctx, w, f.up == nil)
	}
	return names, err
}

// take hands out the next batch and puts the task back if there are more.
func (w *worker) take(ctx context.Context, f *folder) (from, to int, err error) {
	f.mu.Lock()
	from = f.next
	if from-f.passed > maxAhead {
		f.parked = true
		f.mu.Unlock()
		return from, from, nil
	}
	f.mu.Unlock()
	to = min(from+batchSize, len(f.entries))
	for i := from; i < to; i++ {
		e := &f.entries[i]
		for k := range f.cursors {
			n, at, err := f.cursors[k].find(ctx, e.name)
			if err != nil {
				if err := w.parentLost(f, err); err != nil {
					return 0, 0, err
				}
				f.cursors[k] = nil
				continue
			}
			e.old[k] = n
			if k == 0 {
				e.oldAt = at
			}
		}
	}
	size, pages := int32(-1), []object.BlobID(nil)
	if c := f.cursors[0]; c != nil && to == len(f.entries) {
		n, err := c.peek(ctx)
		if err != nil {
			if err := w.parentLost(f, err); err != nil {
				return 0, 0, err
			}
		} else if n == nil {
			size, pages = c.count, c.pages
		}
	}
	f.mu.Lock()
	f.next = to
	f.oldSize, f.oldIDs = size, pages
	f.mu.Unlock()
	if to < len(f.entries) {
		w.queue.push(f)
	} else {
		f.cursors = [2]*cursor{}
	}
	return from, to, nil
}

// parentLost decides whether the run can go on without the parent's folder: if the parent is damaged it
// can, if the store does not answer it can not.
func (w *worker) parentLost(f *folder, err error) error {
	err, damaged := parentDamage(err)
	if !damaged {
		return err
	}
	if !w.parents.live(w.repo) {
		return fmt.Errorf("%w: %w", repo.ErrStale, err) // nothing is damaged: it was collected
	}
	w.report.error(f.ownPath(), err)
	return nil
}

// publish marks entries as done and passes on what can be.
func (w *worker) publish(ctx context.Context, f *folder, from int, state []entryState) error {
	f.mu.Lock()
	for i, s := range state {
		if s == settled {
			f.entries[from+i].done = true
		}
	}
	f.mu.Unlock()
	return w.passOn(ctx, f)
}

// passOn passes finished entries on to the pages, in order, and closes the folder and those above it if
// that was all of them.
func (w *worker) passOn(ctx context.Context, f *folder) error {
	for f != nil {
		over, err := w.passSome(ctx, f)
		if err != nil || !over {
			return err
		}
		id, err := w.closePages(ctx, f)
		if err != nil {
			return err
		}
		if f, err = w.finish(f, id); err != nil {
			return err
		}
	}
	return nil
}

// passSome reports whether it has passed on the folder's last entry.
func (w *worker) passSome(ctx context.Context, f *folder) (over bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.passing || f.finished {
		return false, nil // who is at it looks again before it stops
	}
	f.passing = true
	for {
		from, to := f.passed, f.passed
		for to < f.next && to-from < 1024 && f.entries[to].done {
			to++
		}
		if from == to {
			break
		}
		f.mu.Unlock()
		for i := from; i < to && err == nil; i++ {
			err = w.pass(ctx, f, &f.entries[i])
			e := &f.entries[i] // lets go of the nodes; the name may be read by others
			e.old, e.child, e.node = [2]*tree.Node{}, nil, nil
		}
		f.mu.Lock()
		if err != nil {
			return false, err
		}
		f.passed = to
		if f.parked && f.next-f.passed < maxAhead/2 {
			f.parked = false
			w.queue.push(f)
		}
	}
	f.passing = false
	f.finished = f.passed == len(f.entries) && f.next == len(f.entries)
	return f.finished, nil
}

// pass adds an entry to the folder's pages, unless all is as in the parent so far.
func (w *worker) pass(ctx context.Context, f *folder, e *entry) error {
	if e.node == nil {
		return nil
	}
	if f.same && e.same && e.oldAt == f.count {
		f.count++
		return nil
	}
	if err := w.makeWriter(ctx, f); err != nil {
		return err
	}
	return f.writer.Add(ctx, e.node)
}

// makeWriter begins with the folder's pages, with what was the same until now.
func (w *worker) makeWriter(ctx context.Context, f *folder) error {
	if f.writer != nil {
		return nil
	}
	f.writer = w.writers.Get().(*tree.DirWriter)
	err := w.replay(ctx, f, f.writer)
	f.same = false
	return err
}

// replay adds the nodes that were passed on while all was the same. They are still in the parent.
func (w *walk) replay(ctx context.Context, f *folder, to *tree.DirWriter) error {
	if !f.same || f.count == 0 {
		return nil
	}
	c := newCursor(f.old[0].Subtree, w.repo.LoadTree)
	for range f.count {
		n, err := c.peek(ctx)
		if err == nil && n == nil {
			err = tree.ErrInvalid // it had more nodes a moment ago
		}
		if damage := (*repo.DamageError)(nil); errors.As(err, &damage) || errors.Is(err, tree.ErrInvalid) {
			// The pages were read a moment ago: somebody has forgotten and collected the parent.
			return fmt.Errorf("%w: %w", repo.ErrStale, err)
		}
		if err != nil {
			return err
		}
		if err := to.Add(ctx, n); err != nil {
			return err
		}
		c.skip()
	}
	return nil
}

// closePages returns the id of the folder's page: the parent's if nothing changed.
func (w *worker) closePages(ctx context.Context, f *folder) (object.BlobID, error) {
	if f.same && f.count == f.oldSize && w.relyAll(f.oldIDs) {
		return f.old[0].Subtree, nil
	}
	if f.node.Error != "" && len(f.entries) == 0 && f.up != nil {
		return object.BlobID{}, nil // it could not be listed at all
	}
	if err := w.makeWriter(ctx, f); err != nil {
		return object.BlobID{}, err
	}
	id, err := f.writer.Finish(ctx)
	w.writers.Put(f.writer)
	f.writer = nil
	return id, err
}

// finish gives the folder that f is in what became of f, and returns it.
func (w *worker) finish(f *folder, id object.BlobID) (*folder, error) {
	f.dir.Close()
	if f.up == nil {
		w.rootID, w.done = id, true
		w.queue.close()
		return nil, nil
	}
	node, same := f.node, false
	if f.gone {
		node = nil
	} else {
		node.Subtree = id
		same = f.old[0] != nil && equalNodes(node, f.old[0])
	}
	if f.inside && node != nil {
		w.settle(f.up, node, actionOf(f.old, same), 0)
	}
	f.up.mu.Lock()
	e := &f.up.entries[f.at]
	e.node, e.same, e.child, e.done = node, same, nil, true
	f.up.mu.Unlock()
	return f.up, nil
}

func (w *walk) relyAll(ids []object.BlobID) bool {
	for _, id := range ids {
		if !w.session.Rely(id) {
			return false
		}
	}
	return true
}
