package repair

import (
	"context"
	"errors"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// What nodes say that have lost something.
const (
	lostFile   = "lost: its content could not be read when the repository was repaired"
	lostFolder = "lost in part: not all of its entries could be read when the repository was repaired"
)

// maxNesting bounds how deep folders are followed.
const maxNesting = 10_000

// walk goes through a snapshot's tree past all damage. With a session it writes the tree anew without what is
// lost; the pages that lost nothing come out as they were.
type walk struct {
	r       *repo.Repository
	out     *SnapshotOutcome
	have    func(object.BlobID) bool
	session *repo.Session // nil: only look

	clean map[object.BlobID]struct{} // folders to pass over; nil when writing
	done  map[object.BlobID]result   // folders that were walked: hostile trees have the same ones often

	found    int    // what is lost
	files    uint64 // of that, files, and the bytes they had
	bytes    uint64
	rootLost bool
}

// result is what is left of a folder.
type result struct {
	id   object.BlobID // of its page, zero if nothing is left, or when only looking
	lost bool          // whether a part of the folder itself is lost
	bad  bool          // whether anything is lost in it or below it
}

func (w *walk) lose(path string, what error) {
	w.found++
	w.out.lose(path, what)
}

func (w *walk) save(_ context.Context, page []byte) (object.BlobID, error) {
	saved, err := w.session.SaveNow(object.TreeBlob, page)
	return saved.ID, err
}

// dir walks a folder and all below it.
func (w *walk) dir(ctx context.Context, path string, id object.BlobID, depth int) (result, error) {
	if _, ok := w.clean[id]; ok {
		return result{}, nil
	}
	if res, ok := w.done[id]; ok {
		return res, nil
	}
	if depth > maxNesting {
		return result{}, fmt.Errorf("%w: more than %d folders in each other", tree.ErrTooDeep, maxNesting)
	}
	f := &folder{w: w, path: path, depth: depth}
	if w.session != nil {
		f.out = tree.NewDirWriter(w.save)
	}
	before := w.found
	if err := f.page(ctx, id, 1); err != nil {
		return result{}, err
	}
	res := result{lost: f.lost, bad: w.found > before || f.bad}
	if depth == 0 && f.lost && f.entries == 0 {
		w.rootLost = true
	}
	if w.session != nil && (f.entries > 0 || !f.lost) {
		var err error
		if res.id, err = f.out.Finish(ctx); err != nil {
			return result{}, err
		}
	}
	if !res.bad && w.clean != nil {
		w.clean[id] = struct{}{}
	}
	w.done[id] = res
	return res, nil
}

// folder is one folder that is walked.
type folder struct {
	w       *walk
	path    string
	depth   int
	out     *tree.DirWriter
	entries int
	last    string // name
	lost    bool   // pages of it
	bad     bool   // something below it that was found before
}

// page walks a page of the folder and those below it. Of a page that can not be read only its own entries are
// lost.
func (f *folder) page(ctx context.Context, id object.BlobID, level int) error {
	lose := func(err error) error {
		if unread(ctx, err) || !isDamage(ctx, err) || errors.Is(err, wire.ErrNewer) {
			return err
		}
		f.lost = true
		f.w.lose(f.path, fmt.Errorf("entries of the folder: %w", err))
		return nil
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	data, err := f.w.r.LoadTree(ctx, id)
	if err != nil {
		return lose(err)
	}
	f.w.have(id) // an unchanged page is referred to again
	p, err := tree.DecodePage(data)
	if err == nil && (p.Kind == tree.ContentPage || level > tree.MaxDepth) {
		err = fmt.Errorf("%w: %v in place of a folder's page", tree.ErrInvalid, p.Kind)
	}
	if err != nil {
		return lose(&repo.DamageError{Blob: id, Err: err})
	}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if n.Name <= f.last {
			return lose(&repo.DamageError{Blob: id, Err: fmt.Errorf("%w: name %q behind %q", tree.ErrInvalid, n.Name, f.last)})
		}
		f.last = n.Name
		f.entries++
		if err := f.node(ctx, n); err != nil {
			return err
		}
	}
	for _, ch := range p.Children {
		if err := f.page(ctx, ch.Page, level+1); err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) node(ctx context.Context, n *tree.Node) error {
	path := f.path + n.Name
	if f.path != "/" {
		path = f.path + "/" + n.Name
	}
	f.w.xattrs(path, n)
	switch {
	case n.Type == tree.Folder && !n.Subtree.IsZero():
		res, err := f.w.dir(ctx, path, n.Subtree, f.depth+1)
		if err != nil {
			return err
		}
		f.bad = f.bad || res.bad
		n.Subtree = res.id
		if res.lost {
			n.Error = lostFolder
		}
	case n.Type == tree.File:
		if err := f.w.content(ctx, path, n); err != nil {
			return err
		}
	}
	if f.out == nil {
		return nil
	}
	return f.out.Add(ctx, n)
}

// xattrs leaves out extended attributes whose values are lost.
func (w *walk) xattrs(path string, n *tree.Node) {
	var kept []tree.XAttr
	for _, x := range n.XAttrs {
		if x.Blob.IsZero() || w.have(x.Blob) {
			kept = append(kept, x)
			continue
		}
		w.lose(path, fmt.Errorf("extended attribute %q: %w", x.Name, &repo.DamageError{Blob: x.Blob, Err: repo.ErrNotFound}))
	}
	n.XAttrs = kept
}

// content takes the content from a file that has lost a part of it.
func (w *walk) content(ctx context.Context, path string, n *tree.Node) error {
	for _, page := range n.Pages {
		w.have(page)
	}
	for e, err := range tree.ReadContent(ctx, n, w.r.LoadTree) {
		if err == nil && e.Kind == tree.Data && !w.have(e.ID) {
			err = &repo.DamageError{Blob: e.ID, Err: fmt.Errorf("no pack holds it: %w", repo.ErrNotFound)}
		}
		if err == nil {
			continue
		}
		if unread(ctx, err) || errors.Is(err, wire.ErrNewer) || !errors.Is(err, tree.ErrInvalid) && !errors.As(err, new(*tree.PageError)) && !isDamage(ctx, err) {
			return err
		}
		w.lose(path, err)
		w.files++
		w.bytes += uint64(n.Size)
		n.Content, n.Pages, n.Error = tree.Content{}, nil, lostFile
		return nil
	}
	return nil
}
