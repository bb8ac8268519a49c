package restore

import (
	"context"
	"fmt"
	"strings"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/tree"
)

// maxNesting bounds how deep folders may be in each other, because the walker recurses.
const maxNesting = 10_000

// walker reads the tree, makes folders, and plans everything else. It belongs to one goroutine.
type walker struct {
	run   *run
	out   chan<- *batch
	b     *batch
	limit int // of the entries in a batch

	mounts uint64 // file systems met so far
	inodes map[inodeKey]*inode
}

// inodeKey tells which files were one: inode numbers are only unique within a file system.
type inodeKey struct{ mount, inode uint64 }

// sub is a folder to walk into.
type sub struct {
	name  string
	meta  meta
	page  object.BlobID
	mount bool
}

// walk plans what is at run.o.Path. node is what was found there.
func (w *walker) walk(ctx context.Context, node *tree.Node) error {
	target := w.run.target
	if node.Type == tree.Folder {
		if node.Name != "" && target.meta == nil && w.run.madeTarget {
			m := metaOf(node)
			target.meta = &m
		}
		if node.Error != "" {
			w.run.rep.fail(target.path(), unreadable(node))
		}
		if err := w.folder(ctx, target, node.Subtree, 0, 1); err != nil {
			return err
		}
	} else if err := w.entry(ctx, target, node, 0); err != nil {
		return err
	}
	for _, ino := range w.inodes { // whose other names are not among what is restored
		if err := w.run.releaseInode(ino); err != nil {
			return err
		}
	}
	w.run.rep.scanned()
	if err := w.run.done(target); err != nil {
		return err
	}
	return w.send(ctx)
}

// folder plans everything in a folder: first its entries, then the folders in it, so that only these
// are kept and not the pages of all folders above.
func (w *walker) folder(ctx context.Context, f *folder, page object.BlobID, mount uint64, depth int) error {
	if page.IsZero() { // it could not be read when it was backed up
		return nil
	}
	if depth > maxNesting {
		return w.run.entryError(f.path, fmt.Errorf("%w: more than %d folders in each other", tree.ErrTooDeep, maxNesting))
	}
	var subs []sub
	for n, err := range tree.ReadDir(ctx, page, w.run.r.LoadTree) {
		if err != nil {
			if !lost(err) {
				return err
			}
			w.run.rep.fail(f.path(), fmt.Errorf("entries of this folder are lost: %w", err))
			break
		}
		if n.Type == tree.Folder {
			if n.Error != "" {
				w.run.rep.fail(f.join(n.Name), unreadable(n))
			}
			subs = append(subs, sub{name: strings.Clone(n.Name), meta: metaOf(n), page: n.Subtree, mount: n.Mount})
			continue
		}
		if err := w.entry(ctx, f, n, mount); err != nil {
			return err
		}
	}
	for i := range subs {
		if err := w.sub(ctx, f, &subs[i], mount, depth+1); err != nil {
			return err
		}
		subs[i] = sub{}
	}
	return nil
}

func (w *walker) sub(ctx context.Context, parent *folder, s *sub, mount uint64, depth int) error {
	m := s.meta
	f, err := w.run.makeFolder(parent, s.name, &m)
	if err != nil {
		return w.run.entryError(func() string { return parent.join(s.name) }, fmt.Errorf("this folder and all in it: %w", err))
	}
	parent.pending.Add(1)
	if s.mount {
		w.mounts++
		mount = w.mounts
	}
	if err := w.folder(ctx, f, s.page, mount, depth); err != nil {
		return err
	}
	return w.run.done(f)
}

// entry plans anything but a folder.
func (w *walker) entry(ctx context.Context, f *folder, n *tree.Node, mount uint64) error {
	w.run.rep.planned(n)
	name := strings.Clone(n.Name)
	if n.Error != "" {
		w.run.rep.fail(f.join(name), unreadable(n))
		if n.Type == tree.File || n.Type == tree.Symlink && n.Target == "" {
			return nil
		}
	}
	if n.Type == tree.Socket {
		w.run.rep.omit("sockets", nil, func() string { return f.join(name) })
		return nil
	}
	w.b.entries++
	f.pending.Add(1)
	var err error
	if n.Type == tree.File {
		err = w.file(ctx, f, name, n, mount)
	} else {
		w.b.others = append(w.b.others, &other{
			dir: f, name: name, kind: n.Type, meta: metaOf(n), target: strings.Clone(n.Target), device: n.Device,
		})
	}
	if err != nil {
		return err
	}
	return w.sendIfFull(ctx)
}

// unreadable is the error of an entry that is not, or not wholly, in the snapshot.
func unreadable(n *tree.Node) error {
	return fmt.Errorf("the backup could not read this: %s", n.Error)
}

func (w *walker) file(ctx context.Context, dir *folder, name string, n *tree.Node, mount uint64) error {
	key := inodeKey{mount, n.Inode}
	if n.Links > 1 {
		if ino := w.inodes[key]; ino != nil {
			ino.refs.Add(1)
			w.b.links = append(w.b.links, &link{dir: dir, name: name, inode: ino})
			if ino.left--; ino.left == 0 {
				delete(w.inodes, key)
				return w.run.releaseInode(ino)
			}
			return nil
		}
	}
	f := &file{dir: dir, name: name, size: n.Size, meta: metaOf(n), whole: len(n.Pages) == 0 && len(n.Content.IDs) <= 1}
	f.pending.Store(1)
	if n.Links > 1 {
		f.inode = &inode{file: f, left: n.Links - 1}
		f.inode.refs.Store(2)
		w.inodes[key] = f.inode
		dir.pending.Add(1) // until the last of its names is made
	}
	if len(n.Pages) == 0 && len(n.Content.IDs) == 0 {
		w.b.empty = append(w.b.empty, f)
		return nil
	}
	var at int64
	for e, err := range tree.ReadContent(ctx, n, w.run.r.LoadTree) {
		if err != nil {
			if !lost(err) {
				return err
			}
			w.run.fail(f, err)
			break
		}
		if e.Kind == tree.Data {
			f.pending.Add(1)
			if err := w.b.add(need{file: f, at: at, id: e.ID, length: uint32(e.Length)}); err != nil {
				return err
			}
			if err := w.sendIfFull(ctx); err != nil {
				return err
			}
		}
		at += e.Length
	}
	return w.run.release(f)
}

func (w *walker) sendIfFull(ctx context.Context) error {
	if !w.b.full(w.limit) {
		return nil
	}
	w.limit = min(2*w.limit, maxEntries)
	return w.send(ctx)
}

func (w *walker) send(ctx context.Context) error {
	ix, err := w.run.r.Index(ctx)
	if err != nil {
		return err
	}
	select {
	case w.out <- w.b:
		w.b = newBatch(ix)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pathError names the entry.
func pathError(name string, err error) error {
	return fmt.Errorf("restore %s: %w", name, err)
}

// entryError reports an entry that is not restored, or returns an error that ends the run.
func (run *run) entryError(path func() string, err error) error {
	if run.ctx.Err() != nil {
		return context.Cause(run.ctx)
	}
	if fatal(err) {
		return pathError(path(), err)
	}
	run.rep.fail(path(), err)
	return nil
}
