package find

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/tree"
)

// folder is the folder that a walk is in, or above: what of it is still to be loaded, and to be reported.
type folder struct {
	w       *walker
	path    string
	at      *place
	queue   queue[*page]
	waiting map[pageKey]*page // those in the queue
	names   queue[*entry]
	entries map[string]*entry // those in names
}

func newFolder(w *walker, path string, at *place) *folder {
	return &folder{
		w: w, path: path, at: at,
		queue: queue[*page]{before: (*page).before}, waiting: map[pageKey]*page{},
		names: queue[*entry]{before: (*entry).before}, entries: map[string]*entry{},
	}
}

// pageKey is a page and the first name on it and those below it; of the first page of a folder that is empty.
type pageKey struct {
	id    object.BlobID
	first string
}

// page is a page of some versions of a folder.
type page struct {
	pageKey
	depth int     // 1 for the first page of a folder
	in    []int32 // the trees that have it here; ascending once it is out of the queue
}

// before lets pages with less depth come first, because they may lead to another one with the same first name.
func (p *page) before(o *page) bool {
	return cmp.Or(cmp.Compare(p.first, o.first), cmp.Compare(p.depth, o.depth)) < 0
}

// wait puts a page, or more trees that have it, into the queue.
func (f *folder) wait(k pageKey, depth int, in []int32) {
	p := f.waiting[k]
	if p == nil {
		p = &page{pageKey: k, depth: depth, in: slices.Clip(in)} // shared, unless there will be more
		f.waiting[k] = p
		heap.Push(&f.queue, p)
		return
	}
	p.in = append(p.in, in...)
}

func (f *folder) next() *page {
	p := heap.Pop(&f.queue).(*page)
	delete(f.waiting, p.pageKey)
	p.in = ascending(p.in)
	return p
}

// ascending sorts, and copies what is not sorted already, because it may be shared. No tree has a page twice, unless
// somebody has made one by hand.
func ascending(in []int32) []int32 {
	for i := 1; i < len(in); i++ {
		if in[i-1] >= in[i] {
			in = slices.Clone(in)
			slices.Sort(in)
			return slices.Compact(in)
		}
	}
	return in
}

// read reads a page: what is on it, or the pages below it, then wait to be reported or read.
func (f *folder) read(p *page) error {
	read, err := f.w.page(p)
	if err != nil {
		return f.w.damaged(f.path, p.in, err)
	}
	for i := range read.Nodes {
		f.add(&read.Nodes[i], p)
	}
	for _, ch := range read.Children {
		f.wait(pageKey{ch.Page, ch.First}, p.depth+1, p.in)
	}
	return nil
}

// page loads a page and checks what the order of names relies on.
func (w *walker) page(p *page) (*tree.Page, error) {
	if err := w.ctx.Err(); err != nil {
		return nil, err
	}
	data, err := w.load(w.ctx, p.id)
	if err != nil {
		return nil, fmt.Errorf("tree page %s: %w", p.id.Short(), err)
	}
	read, err := tree.DecodePage(data)
	if err == nil {
		err = p.check(read)
	}
	if err != nil {
		return nil, &tree.PageError{ID: p.id, Err: err}
	}
	return read, nil
}

func (p *page) check(read *tree.Page) error {
	first := ""
	switch {
	case read.Kind == tree.ContentPage:
		return fmt.Errorf("%w: %v in place of a folder", tree.ErrInvalid, read.Kind)
	case len(read.Children) > 0 && p.depth == tree.MaxDepth:
		return tree.ErrTooDeep
	case len(read.Children) > 0:
		first = read.Children[0].First
	case len(read.Nodes) > 0:
		first = read.Nodes[0].Name
	}
	if p.depth > 1 && first != p.first {
		return fmt.Errorf("%w: page begins with %q, should begin with %q", tree.ErrInvalid, first, p.first)
	}
	return nil
}

// add keeps what is wanted of a node.
func (f *folder) add(n *tree.Node, p *page) {
	matches := f.at.matches(n.Name)
	enter := !n.Subtree.IsZero() && f.at.leads(n.Name)
	if !matches && !enter {
		return
	}
	e := f.entries[n.Name]
	if e == nil {
		e = newEntry(n.Name)
		f.entries[e.name] = e
		heap.Push(&f.names, e)
	}
	if matches {
		e.addVersion(n, p)
	}
	if enter {
		e.subs[n.Subtree] = append(e.subs[n.Subtree], p)
	}
}

// finish reports the entries up to the first that is not complete.
func (f *folder) finish(complete func(name string) bool) error {
	for f.names.Len() > 0 && complete(f.names.items[0].name) {
		e := heap.Pop(&f.names).(*entry)
		delete(f.entries, e.name)
		if err := f.w.entry(f.path+"/"+e.name, e, f.at); err != nil {
			return err
		}
	}
	return nil
}

// queue is a heap.
type queue[T any] struct {
	items  []T
	before func(a, b T) bool
}

func (q *queue[T]) Len() int           { return len(q.items) }
func (q *queue[T]) Less(i, j int) bool { return q.before(q.items[i], q.items[j]) }
func (q *queue[T]) Swap(i, j int)      { q.items[i], q.items[j] = q.items[j], q.items[i] }
func (q *queue[T]) Push(x any)         { q.items = append(q.items, x.(T)) }

func (q *queue[T]) Pop() any {
	last := len(q.items) - 1
	x := q.items[last]
	clear(q.items[last:])
	q.items = q.items[:last]
	return x
}
