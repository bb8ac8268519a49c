package restore

import (
	"context"
	"fmt"
	"strings"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
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
	owners *owners // nil if owners go by their numbers
	held   int     // memory of the folders that are still to be walked into

	waiting []need          // to be planned, with many others at once: to look them up may be a round trip
	asked   []object.BlobID // theirs, and those of checks
}

// maxWaiting is how many blobs are looked up at once.
const maxWaiting = 4096

// inodeKey tells which entries were one: inode numbers are only unique within a file system.
type inodeKey struct {
	mount, inode uint64
	kind         tree.Type
}

// sub is a folder to walk into.
type sub struct {
	name     string
	meta     meta
	page     object.BlobID
	mount    bool
	selected bool
	partial  bool // the backup could not read all of it
}

// The memory for folders that are still to be walked into, together: where there are more of them, or many in each
// other, pages are read again for the next ones.
const (
	maxHeld = 32 << 20
	minSubs = 16 // of a folder, even if that is more
)

func (s *sub) memory() int {
	n := 256 + len(s.name)
	for i := range s.meta.xattrs {
		n += 128 + len(s.meta.xattrs[i].Name) + len(s.meta.xattrs[i].Value)
	}
	return n
}

// walk plans what is at run.o.Path. node is what was found there.
func (w *walker) walk(ctx context.Context, node *tree.Node) error {
	target := w.run.target
	if node.Type == tree.Folder {
		if isTop(node) && target.meta == nil && w.run.madeTarget {
			m := w.metaOf(node, target.path)
			target.meta = &m
		}
		if node.Error != "" {
			w.run.rep.part(target.path(), unreadable(node))
		}
		if err := w.folder(ctx, target, node.Subtree, 0, 1); err != nil {
			return err
		}
	} else if target.place.selects(node.Name) {
		if err := w.entry(ctx, target, node, 0); err != nil {
			return err
		}
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
// are kept and not the pages of all folders above. Where they are too many they are taken in turns.
func (w *walker) folder(ctx context.Context, f *folder, page object.BlobID, mount uint64, depth int) error {
	if page.IsZero() { // it could not be read when it was backed up
		return nil
	}
	if depth > maxNesting {
		return w.run.entryError(f.path, fmt.Errorf("%w: more than %d folders in each other", tree.ErrTooDeep, maxNesting))
	}
	subs, last, err := w.entries(ctx, f, page, mount)
	for err == nil {
		for i := range subs {
			if err := w.sub(ctx, f, &subs[i], mount, depth+1); err != nil {
				return err
			}
			w.held -= subs[i].memory()
			subs[i] = sub{}
		}
		if last == "" {
			break
		}
		subs, last, err = w.moreSubs(ctx, f, page, last)
	}
	if err != nil {
		return err
	}
	return w.run.findSurplus(f)
}

// gather keeps folders to be walked into, as many as there is room for.
type gather struct {
	subs []sub
	room int
	full bool
}

// gather begins to keep folders: half of what is left is for those in this folder.
func (w *walker) gather() *gather { return &gather{room: (maxHeld - w.held) / 2} }

func (w *walker) add(g *gather, f *folder, n *tree.Node) {
	selected := f.place.selects(n.Name)
	if g.full || !selected && !f.place.reaches(n.Name) {
		return
	}
	name := strings.Clone(n.Name)
	s := sub{
		name: name, meta: w.metaOf(n, func() string { return f.join(name) }), page: n.Subtree, mount: n.Mount,
		selected: selected, partial: n.Error != "",
	}
	w.held += s.memory()
	g.room -= s.memory()
	g.subs = append(g.subs, s)
	g.full = g.room < 0 && len(g.subs) >= minSubs
}

// rest returns the folders, and the name of the last if more follow.
func (g *gather) rest() (subs []sub, last string) {
	if g.full {
		last = g.subs[len(g.subs)-1].name
	}
	return g.subs, last
}

// entries plans what is in a folder and is not one, and returns the folders.
func (w *walker) entries(ctx context.Context, f *folder, page object.BlobID, mount uint64) (subs []sub, last string, err error) {
	g := w.gather()
	for n, err := range tree.ReadDir(ctx, page, w.run.r.LoadTree) {
		if err != nil {
			if !lost(err) {
				return nil, "", err
			}
			f.incomplete.Store(true)
			w.run.rep.part(f.path(), fmt.Errorf("entries of this folder are lost: %w", err))
			continue
		}
		w.run.noteName(f, n.Name)
		if n.Type == tree.Folder {
			if n.Error != "" && f.place.selects(n.Name) {
				w.run.rep.part(f.join(n.Name), unreadable(n))
			}
			w.add(g, f, n)
			continue
		}
		if !f.place.selects(n.Name) || !w.run.make(f) {
			continue
		}
		if err := w.entry(ctx, f, n, mount); err != nil {
			return nil, "", err
		}
	}
	subs, last = g.rest()
	w.expect(subs)
	return subs, last, nil
}

// expect says that the folders will be walked into.
func (w *walker) expect(subs []sub) {
	if len(subs) < 2 {
		return
	}
	pages := make([]object.BlobID, 0, min(len(subs), repo.MaxExpect/2))
	for i := range subs[:cap(pages)] {
		pages = append(pages, subs[i].page)
	}
	w.b.ix.Expect(pages)
}

// moreSubs returns the folders behind the last ones.
func (w *walker) moreSubs(ctx context.Context, f *folder, page object.BlobID, after string) (subs []sub, last string, err error) {
	g := w.gather()
	for n, err := range tree.ReadDirAfter(ctx, page, after, w.run.r.LoadTree) {
		switch {
		case lost(err): // reported before
		case err != nil:
			return nil, "", err
		case n.Type == tree.Folder:
			w.add(g, f, n)
		}
		if g.full {
			break
		}
	}
	subs, last = g.rest()
	return subs, last, nil
}

func (w *walker) sub(ctx context.Context, parent *folder, s *sub, mount uint64, depth int) error {
	m := s.meta
	f := w.run.newFolder(parent, s.name, &m)
	f.covered = !m.mtime.IsZero() && !s.partial && !w.run.passedThrough(f)
	f.mount = s.mount
	if s.selected && !w.run.make(f) {
		return w.run.abandon(f)
	}
	if s.mount {
		w.mounts++
		mount = w.mounts
	}
	if err := w.folder(ctx, f, s.page, mount, depth); err != nil {
		return err
	}
	return w.run.abandon(f)
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
		w.run.rep.omit(sockets, nil, func() string { return f.join(name) })
		return nil
	}
	w.b.entries++
	for i := range n.XAttrs {
		w.b.memory += int64(len(n.XAttrs[i].Name) + len(n.XAttrs[i].Value))
	}
	f.pending.Add(1)
	var err error
	if n.Type == tree.File {
		err = w.file(ctx, f, name, n, mount)
	} else {
		err = w.other(f, name, n, mount)
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
	key := inodeKey{mount, n.Inode, n.Type}
	if n.Links > 1 && w.inodes[key] != nil {
		return w.link(dir, name, key)
	}
	f := &file{dir: dir, name: name, size: n.Size, whole: len(n.Pages) == 0 && len(n.Content.IDs) <= 1}
	f.meta = w.metaOf(n, f.path)
	f.pending.Store(1)
	if n.Links > 1 {
		f.inode = w.newInode(f, key, n.Links)
	}
	var c *check
	if dir.existed {
		c = &check{file: f, first: true}
	} else if len(n.Pages) == 0 && len(n.Content.IDs) == 0 {
		f.zeros = w.run.zeros(f, n)
		w.b.empty = append(w.b.empty, f)
		return nil
	}
	return w.content(ctx, f, n, c)
}

// zeros returns the spans of a whole file that take space on disk.
func (run *run) zeros(f *file, n *tree.Node) (spans []span) {
	var at int64
	for e := range n.Content.Extents() {
		if s := (span{file: f, at: at, length: e.Length, hole: e.Kind == tree.Hole}); e.Kind != tree.Data && run.allocates(&s) {
			spans = append(spans, s)
		}
		at += e.Length
	}
	return spans
}

// content plans the data of a file, for c if the file may be in the target already.
func (w *walker) content(ctx context.Context, f *file, n *tree.Node, c *check) error {
	if f.whole {
		f.zeros = w.run.zeros(f, n)
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
		if err := w.extent(f, c, e, at); err != nil {
			return err
		}
		at += e.Length
		// A whole file, which has few extents, stays in one batch: without data nothing but its check is pending, and
		// what becomes of it is known when all of it is compared.
		if w.b.full(w.limit) && at < n.Size && !f.whole && (c != nil || e.Kind == tree.Data) {
			if c != nil {
				w.b.checks = append(w.b.checks, c)
				c = &check{file: f}
			}
			if err := w.sendIfFull(ctx); err != nil {
				return err
			}
		}
	}
	if c != nil {
		c.last = true
		w.b.checks = append(w.b.checks, c)
		if c.isEmpty() {
			return nil // it is released with the others that have no data
		}
	}
	return w.run.release(f)
}

func (w *walker) extent(f *file, c *check, e tree.Extent, at int64) error {
	if e.Kind != tree.Data {
		s := span{file: f, at: at, length: e.Length, hole: e.Kind == tree.Hole}
		switch {
		case c != nil:
			c.spans = append(c.spans, s)
		case f.whole || !w.run.allocates(&s):
			return nil
		default:
			w.b.spans = append(w.b.spans, s)
		}
		w.b.count(0)
		if !f.whole {
			f.pending.Add(1)
		}
		return nil
	}
	f.pending.Add(1)
	w.b.count(e.Length)
	n := need{file: f, at: at, id: e.ID, length: uint32(e.Length)}
	w.asked = append(w.asked, n.id)
	if c != nil {
		c.needs = append(c.needs, n)
	} else {
		w.waiting = append(w.waiting, n)
	}
	if len(w.asked) < maxWaiting {
		return nil
	}
	return w.plan()
}

// plan plans what waits.
func (w *walker) plan() error {
	w.b.ix.Expect(w.asked)
	for i := range w.waiting {
		if err := w.b.add(w.waiting[i]); err != nil {
			return err
		}
	}
	clear(w.waiting)
	w.waiting, w.asked = w.waiting[:0], w.asked[:0]
	return nil
}

func (w *walker) sendIfFull(ctx context.Context) error {
	if !w.b.full(w.limit) {
		return nil
	}
	w.limit = min(2*w.limit, maxEntries)
	return w.send(ctx)
}

func (w *walker) send(ctx context.Context) error {
	if err := w.plan(); err != nil {
		return err
	}
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
