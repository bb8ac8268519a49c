package tree

import (
	"cmp"
	"context"
	"slices"

	"github.com/zeebo/blake3"

	"github.com/kura-backup/kura/internal/object"
)

// SaveFunc stores a page and returns its id. The page is only lent: it is written over after the
// function has returned.
type SaveFunc func(ctx context.Context, page []byte) (object.BlobID, error)

// DirWriter writes the pages of a folder while its nodes come in, holding one page for each
// level. It can be used for one folder after the other. It is not safe for concurrent use.
type DirWriter struct {
	save   SaveFunc
	levels []dirLevel // the leaf first
	item   []byte     // encoding space
	name   []byte
	last   string
	err    error
}

type dirLevel struct {
	page  pageBuffer
	saved int           // pages of this level that were written
	id    object.BlobID // of the last of them
}

// NewDirWriter returns a DirWriter that stores pages with save.
func NewDirWriter(save SaveFunc) *DirWriter { return &DirWriter{save: save} }

// Add adds the next node; names must ascend. An error is final until Finish has returned it.
func (w *DirWriter) Add(ctx context.Context, n *Node) error {
	if w.err != nil {
		return w.err
	}
	if n.Name <= w.last && w.last != "" {
		w.err = invalid("name %q behind %q", n.Name, w.last)
		return w.err
	}
	item, err := appendNode(w.item[:0], n)
	if err != nil {
		w.err = err
		return err
	}
	w.item, w.last = item, n.Name
	w.err = w.push(ctx, 0, n.Name, item)
	return w.err
}

// Finish writes what is left and returns the id of the folder's first page. The writer is then ready for
// another folder.
func (w *DirWriter) Finish(ctx context.Context) (object.BlobID, error) {
	id, err := w.finish(ctx)
	for i := range w.levels {
		w.levels[i].page.reset()
		w.levels[i].saved = 0
	}
	w.last, w.err = "", nil
	return id, err
}

func (w *DirWriter) finish(ctx context.Context) (object.BlobID, error) {
	if w.err != nil {
		return object.BlobID{}, w.err
	}
	for i := 0; ; i++ {
		level := w.level(i)
		if level.page.count > 0 || i == 0 && level.saved == 0 {
			if err := w.flush(ctx, i); err != nil {
				return object.BlobID{}, err
			}
		}
		if level = w.level(i); level.saved == 1 {
			return level.id, nil
		}
	}
}

func (w *DirWriter) level(i int) *dirLevel {
	for len(w.levels) <= i {
		kind := Inner
		if len(w.levels) == 0 {
			kind = Leaf
		}
		w.levels = append(w.levels, dirLevel{page: newPageBuffer(kind)})
	}
	return &w.levels[i]
}

// push adds an item to the page of level i and writes that page where the format cuts.
func (w *DirWriter) push(ctx context.Context, i int, name string, item []byte) error {
	page := &w.level(i).page
	if page.count > 0 && page.sizeWith(1, len(item)) > MaxLeaf {
		if err := w.flush(ctx, i); err != nil {
			return err
		}
		page = &w.level(i).page
	}
	page.add(item, name)
	cut := false
	switch {
	case i == 0:
		cut = w.hash(name)[0] == 0
	case page.count >= minChildren:
		cut = page.count == MaxChildren || w.hash(name)[1] == 0
	}
	if cut {
		return w.flush(ctx, i)
	}
	return nil
}

func (w *DirWriter) hash(name string) [32]byte {
	w.name = append(w.name[:0], name...)
	return blake3.Sum256(w.name)
}

// flush writes the page of level i and adds it to the level above.
func (w *DirWriter) flush(ctx context.Context, i int) error {
	if i+1 >= MaxDepth && w.level(i).saved > 0 {
		return ErrTooDeep // a second page on the top level; no folder that fits a disk has that many
	}
	level := w.level(i)
	if err := checkPage(level.page.kind, level.page.count, level.page.size()); err != nil {
		return err
	}
	id, err := w.save(ctx, level.page.bytes())
	if err != nil {
		return err
	}
	first := level.page.first
	level.page.reset()
	level.saved++
	level.id = id
	if i+1 >= MaxDepth {
		return nil
	}
	// Not into w.item: that may be waiting to be added behind this very page.
	return w.push(ctx, i+1, first, appendChild(nil, &Child{First: first, Page: id}))
}

// WriteDir writes a folder and returns the id of its first page. It sorts nodes.
func WriteDir(ctx context.Context, nodes []Node, save SaveFunc) (object.BlobID, error) {
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	w := NewDirWriter(save)
	for i := range nodes {
		if err := w.Add(ctx, &nodes[i]); err != nil {
			return object.BlobID{}, err
		}
	}
	return w.Finish(ctx)
}
