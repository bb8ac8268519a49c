package check

import (
	"context"
	"errors"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/tree"
)

// snapshots walks the trees of all live snapshots. What several of them share is looked at once, and
// reported for the first.
func (c *checker) snapshots(ctx context.Context) error {
	if !c.r.Keys().CanRead(seal.Meta) {
		return nil // a writer's key reads no trees
	}
	if c.missingIndex() != nil {
		return nil // every blob would seem lost
	}
	ix, err := c.r.Index(ctx)
	if err != nil {
		return err
	}
	w := &walker{c: c, ix: ix, seen: map[object.BlobID]struct{}{}}
	n := 0
	for _, s := range c.st.Snapshots {
		if !s.Live() {
			continue
		}
		n++
		c.step(n, len(c.st.Snapshots))
		w.id = s.ID
		snap, err := c.r.OpenSnapshot(s)
		if err == nil {
			var root object.BlobID
			if root, err = snap.RootID(); err == nil {
				err = w.dir(ctx, s.ID.Short(), "/", root, 0)
			} else {
				err = &repo.DamageError{Object: object.LogName(s.N), Err: err}
			}
		}
		if errors.Is(err, errForgotten) {
			clear(w.seen) // what it was about to look at may be part of others
			n--
			continue
		}
		if err := c.note("", err); err != nil {
			return err
		}
	}
	c.rep.Snapshots = n
	return nil
}

type walker struct {
	c    *checker
	ix   *repo.Index
	id   object.SessionID           // of the snapshot that is walked
	seen map[object.BlobID]struct{} // folders whose pages are all right
}

// errForgotten ends the walk of a snapshot that somebody has forgotten since the check began: what is
// missing of it may have been collected.
var errForgotten = errors.New("check: the snapshot was forgotten")

// maxFolders bounds the nesting of folders; Linux allows some 4000 in a path that can be named.
const maxFolders = 1 << 16

// dir checks a folder and all below it. It returns only errors that are not damage.
func (w *walker) dir(ctx context.Context, snap, path string, id object.BlobID, depth int) error {
	if _, ok := w.seen[id]; ok {
		return nil
	}
	w.seen[id] = struct{}{}
	if depth > maxFolders {
		return w.note(ctx, snap, path, &repo.DamageError{Err: tree.ErrTooDeep})
	}
	for n, err := range tree.ReadDir(ctx, id, w.c.r.LoadTree) {
		if err != nil {
			return w.note(ctx, snap, path, damage(err))
		}
		if err := w.node(ctx, snap, join(path, n.Name), n, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) node(ctx context.Context, snap, path string, n *tree.Node, depth int) error {
	for _, x := range n.XAttrs {
		if !x.Blob.IsZero() {
			if err := w.blob(ctx, snap, path, x.Blob); err != nil {
				return err
			}
		}
	}
	switch n.Type {
	case tree.Folder:
		if !n.Subtree.IsZero() {
			return w.dir(ctx, snap, path, n.Subtree, depth+1)
		}
	case tree.File:
		for e, err := range tree.ReadContent(ctx, n, w.c.r.LoadTree) {
			if err != nil {
				return w.note(ctx, snap, path, damage(err))
			}
			if e.Kind == tree.Data {
				if err := w.blob(ctx, snap, path, e.ID); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// blob checks that the index knows a blob in a live pack.
func (w *walker) blob(ctx context.Context, snap, path string, id object.BlobID) error {
	_, err := w.ix.Lookup(id)
	for errors.Is(err, repo.ErrNotFound) {
		// A collector may have moved the blob since: look at the log again, as often as it moves.
		if rerr := w.c.r.Refresh(ctx); rerr != nil {
			return rerr
		}
		newer, ierr := w.c.r.Index(ctx)
		if ierr != nil {
			return ierr
		}
		if newer == w.ix {
			break
		}
		w.ix = newer
		_, err = w.ix.Lookup(id)
	}
	if err != nil {
		return w.note(ctx, snap, path, err)
	}
	return nil
}

func (w *walker) note(ctx context.Context, snap, path string, err error) error {
	d := (*repo.DamageError)(nil)
	if !errors.As(err, &d) {
		return err
	}
	if err := w.c.r.Refresh(ctx); err != nil {
		return err
	}
	if now := w.c.r.State().Snapshots[w.id]; now == nil || !now.Live() {
		return errForgotten
	}
	e := d.Err
	if !d.Blob.IsZero() {
		e = fmt.Errorf("blob %s: %w", d.Blob.Short(), e)
	}
	w.c.problem(Problem{Object: d.Object, Snapshot: snap, Path: path, Err: e})
	return nil
}

// damage makes a page that can not be decoded a DamageError.
func damage(err error) error {
	if p := (*tree.PageError)(nil); errors.As(err, &p) && !errors.As(err, new(*repo.DamageError)) {
		return &repo.DamageError{Blob: p.ID, Err: p.Err}
	}
	return err
}

func join(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}
