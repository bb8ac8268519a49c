package local

import (
	"container/heap"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/durable"
)

// item is a file that is an object, or a folder that may hold objects.
type item struct {
	// key orders the items. A file's is the object's name. A folder's is what
	// all names in it start with, and so no greater than any of them.
	key  string
	path string      // of a folder; empty for a file
	info fs.FileInfo // of a file
}

// walk yields names in order without reading the whole tree first. The folders
// of a class are prefixes of what they hold, and one may be a prefix of another
// ("00" and "0000000000000"), so their content can interleave: going through
// them one by one would be wrong. walk merges instead. It holds the rest of
// every folder it has opened, sorted, in a heap by the first key, and opens a
// folder when its key is the smallest of all.
type walk struct {
	read   func(dir string) ([]fs.DirEntry, error)
	saw    func(dir string)
	prefix string
	after  string
	ahead  func(folders []item)
	open   folderHeap
}

// next returns the item with the smallest name left.
func (w *walk) next() (file item, ok bool, err error) {
	for len(w.open) > 0 {
		first := w.open[0][0]
		if w.open[0] = w.open[0][1:]; len(w.open[0]) == 0 {
			heap.Pop(&w.open)
		} else {
			heap.Fix(&w.open, 0)
		}
		if first.path == "" {
			return first, true, nil
		}
		if err := w.enter(first); err != nil {
			return item{}, false, err
		}
	}
	return item{}, false, nil
}

// enter adds what is wanted in a folder. A folder that is gone has nothing.
func (w *walk) enter(dir item) error {
	entries, err := w.read(dir.path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && dir.path != "." {
			return nil
		}
		return err
	}
	var items []item
	files := false
	for _, e := range entries {
		it, ok := classify(dir, e)
		if !ok || !w.wanted(it) {
			continue
		}
		if it.path == "" {
			// Reading the folder has brought this already: a Stat for each, through all folders above it, was more than half of what a listing
			// of 4,000 small objects cost.
			switch it.info, err = e.Info(); {
			case errors.Is(err, fs.ErrNotExist): // deleted since
				continue
			case err != nil:
				return err
			}
			files = true
		}
		items = append(items, it)
	}
	if files {
		w.saw(dir.path)
	}
	if len(items) > 0 {
		slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.key, b.key) })
		w.ahead(items)
		heap.Push(&w.open, items)
	}
	return nil
}

// classify says what an entry of a folder is, if it is anything of ours.
func classify(dir item, e fs.DirEntry) (item, bool) {
	base := e.Name()
	path := base
	if dir.path != "." {
		path = dir.path + "/" + base
	}
	switch {
	case e.Type().IsRegular():
		name := base
		if dir.path != "." {
			class, _, _ := strings.Cut(dir.path, "/")
			name = class + "/" + base
		}
		if !backends.ValidName(name) {
			return item{}, false
		}
		_, want := place(name)
		return item{key: name}, want == path
	case !e.IsDir() || base == TempDir && dir.path == ".":
		return item{}, false
	case dir.path == ".":
		// A class is a name, and so is any of its objects' first part.
		return item{key: base + "/", path: path}, backends.ValidName(base)
	case strings.Contains(dir.path, "/"):
		return item{}, false // below a shard there are no more folders
	default:
		return item{key: dir.key + base, path: path}, isShard(base)
	}
}

// wanted says whether an item is, or may hold, a name that was asked for.
func (w *walk) wanted(it item) bool {
	if it.path == "" {
		return strings.HasPrefix(it.key, w.prefix) && it.key > w.after
	}
	return (strings.HasPrefix(it.key, w.prefix) || strings.HasPrefix(w.prefix, it.key)) &&
		(it.key > w.after || strings.HasPrefix(w.after, it.key))
}

// folderHeap holds what is left of folders, none of them empty, smallest first
// key first.
type folderHeap [][]item

func (h folderHeap) Len() int           { return len(h) }
func (h folderHeap) Less(i, j int) bool { return h[i][0].key < h[j][0].key }
func (h folderHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *folderHeap) Push(x any)        { *h = append(*h, x.([]item)) }

func (h *folderHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// list is List without the dressing of errors.
func (s *Store) list(ctx context.Context, prefix, after string, yield func(backends.Info) bool) error {
	w := &walk{read: s.fsys.ReadDir, saw: s.writer.Saw, prefix: prefix, after: after, ahead: func([]item) {}}
	if far, ok := s.fsys.(durable.Far); ok {
		r := newReader(far)
		defer r.stop()
		w.read, w.ahead = r.readDir, r.ahead
	}
	if err := w.enter(item{path: "."}); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		it, ok, err := w.next()
		if err != nil || !ok {
			return err
		}
		if !yield(backends.Info{Name: it.key, Size: it.info.Size(), ModTime: it.info.ModTime()}) {
			return nil
		}
	}
}
