package transfer

import (
	"context"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// maxNesting bounds how deep rewrite goes, because it recurses.
const maxNesting = 10_000

// rewrite writes a folder of the source anew in the destination, with the names that blobs have there, and returns
// the id of its first page. All data below it was copied.
func (c *copier) rewrite(ctx context.Context, root object.BlobID) (object.BlobID, error) {
	return c.rewriteDir(ctx, root, 0)
}

func (c *copier) rewriteDir(ctx context.Context, id object.BlobID, depth int) (object.BlobID, error) {
	if renamed, ok := c.names.trees[id]; ok {
		return renamed, nil
	}
	if depth > maxNesting {
		return object.BlobID{}, &lostError{&repo.DamageError{Blob: id, Err: tree.ErrTooDeep}}
	}
	w := tree.NewDirWriter(c.savePage)
	for n, err := range tree.ReadDir(ctx, id, c.loadPage) {
		if err != nil {
			return object.BlobID{}, c.lostPage(err)
		}
		if err := c.rename(ctx, n, depth); err != nil {
			return object.BlobID{}, err
		}
		if err := w.Add(ctx, n); err != nil {
			return object.BlobID{}, err
		}
	}
	renamed, err := w.Finish(ctx)
	if err == nil {
		c.names.trees[id] = renamed
	}
	return renamed, err
}

// rename gives the blobs that a node refers to the names that they have in the destination.
func (c *copier) rename(ctx context.Context, n *tree.Node, depth int) (err error) {
	for i := range n.XAttrs {
		x := &n.XAttrs[i]
		if x.Blob.IsZero() {
			continue
		}
		if x.Blob, err = c.renameTree(ctx, x.Blob); err != nil {
			return err
		}
	}
	if !n.Subtree.IsZero() {
		n.Subtree, err = c.rewriteDir(ctx, n.Subtree, depth+1)
		return err
	}
	if n.Content.IsZero() && len(n.Pages) == 0 {
		return nil
	}
	w := tree.NewContentWriter(c.savePage)
	old := *n
	for e, err := range tree.ReadContent(ctx, &old, c.loadPage) {
		if err != nil {
			return c.lostPage(err)
		}
		if e.Kind == tree.Data {
			renamed, ok := c.names.of(e.ID)
			if !ok {
				return fmt.Errorf("transfer: blob %s was not copied", e.ID.Short())
			}
			e.ID = renamed
		}
		if err := w.Add(ctx, e); err != nil {
			return err
		}
	}
	return w.Finish(ctx, n)
}

// renameTree copies a tree blob that refers to no others.
func (c *copier) renameTree(ctx context.Context, id object.BlobID) (object.BlobID, error) {
	b, err := c.load(ctx, object.TreeBlob, id)
	if err != nil {
		return id, err
	}
	saved, err := c.session.SaveChecked(b)
	if saved.New {
		c.count(uint64(len(b.Bytes())))
	}
	return saved.ID, err
}

func (c *copier) loadPage(ctx context.Context, id object.BlobID) ([]byte, error) {
	b, err := c.load(ctx, object.TreeBlob, id)
	return b.Bytes(), err
}

// lostPage marks what is wrong with a page as a loss of the source.
func (c *copier) lostPage(err error) error {
	if isLost(err) {
		return &lostError{err}
	}
	return err
}

func (c *copier) savePage(_ context.Context, page []byte) (object.BlobID, error) {
	saved, err := c.session.SaveNow(object.TreeBlob, page)
	if saved.New {
		c.count(uint64(len(page)))
	}
	return saved.ID, err
}
