package find

import (
	"context"
	"slices"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/tree"
)

// Version is a version of a path. It belongs to who gets it.
type Version struct {
	// Node is that of the newest tree that has the version, without its content and attributes.
	Node *tree.Node
	// In are the trees that have it, as indexes of the list of roots, ascending.
	In []int32
}

// Events are what a search calls. An error that one of them returns ends the search.
type Events struct {
	// Found is called for each path that matches, in order, with its versions: that of the earliest tree first.
	Found func(path string, versions []Version) error
	// Damaged is called when a part of a folder can not be read, with the trees that have it there. The search goes on with all else if it
	// returns nil.
	Damaged func(path string, in []int32, err error) error
	// Folder is called for each path that is entered; it may be nil.
	Folder func(path string)
}

// maxNesting bounds how deep folders are followed, because the walk recurses.
const maxNesting = 10_000

// Run looks for what matches in the trees with the given roots, from the oldest to the newest.
func Run(ctx context.Context, roots []object.BlobID, load tree.LoadFunc, p *Patterns, ev Events) error {
	w := &walker{ctx: ctx, load: load, ev: ev}
	byRoot := map[object.BlobID]int{}
	var trees []subtree
	for i, id := range roots {
		at, ok := byRoot[id]
		if !ok {
			at = len(trees)
			byRoot[id] = at
			trees = append(trees, subtree{id: id})
		}
		trees[at].in = append(trees[at].in, int32(i))
	}
	return w.folder("", trees, &p.root)
}

type walker struct {
	ctx  context.Context // of the one call that the walker lives in
	load tree.LoadFunc
	ev   Events
}

// subtree is what is in a folder, by its first page, and the trees that have that there.
type subtree struct {
	id object.BlobID
	in []int32 // ascending
}

// folder looks through a folder, of which there are several versions, and through all below it. The path of the topmost one
// is empty.
func (w *walker) folder(path string, trees []subtree, at *place) error {
	if w.ev.Folder != nil {
		w.ev.Folder(shown(path))
	}
	f := newFolder(w, path, at)
	for _, t := range trees {
		if at.depth > maxNesting {
			if err := w.damaged(path, t.in, &tree.PageError{ID: t.id, Err: tree.ErrTooDeep}); err != nil {
				return err
			}
			continue
		}
		f.wait(pageKey{t.id, ""}, 1, t.in)
	}
	for f.queue.Len() > 0 {
		p := f.next()
		if err := f.finish(func(name string) bool { return name < p.first }); err != nil {
			return err
		}
		if err := f.read(p); err != nil {
			return err
		}
	}
	return f.finish(func(string) bool { return true })
}

// entry reports an entry that is complete, and enters it.
func (w *walker) entry(path string, e *entry, at *place) error {
	if versions := e.sorted(); len(versions) > 0 {
		if err := w.ev.Found(path, versions); err != nil {
			return err
		}
	}
	if len(e.subs) == 0 {
		return nil
	}
	trees := make([]subtree, 0, len(e.subs))
	for id, pages := range e.subs {
		trees = append(trees, subtree{id, joined(pages)})
	}
	slices.SortFunc(trees, func(a, b subtree) int { return slices.Compare(a.in, b.in) })
	return w.folder(path, trees, at.child(e.name))
}

func (w *walker) damaged(path string, in []int32, err error) error {
	if w.ctx.Err() != nil {
		return err
	}
	return w.ev.Damaged(shown(path), in, err)
}

func shown(path string) string {
	if path == "" {
		return "/"
	}
	return path
}
