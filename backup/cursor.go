package backup

import (
	"context"
	"errors"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/tree"
)

// cursor reads a folder of a parent snapshot, page by page, beside the walk. A nil cursor is one of a
// folder that the parent does not have. It is not safe for concurrent use.
type cursor struct {
	load  tree.LoadFunc
	inner [][]tree.Child // what is left of the inner pages on the way to the leaf
	leaf  []tree.Node    // what is left of the leaf
	count int32          // nodes that were passed
	pages []object.BlobID
}

var errPage = errors.New("a content page in place of a folder")

func newCursor(id object.BlobID, load tree.LoadFunc) *cursor {
	return &cursor{load: load, inner: [][]tree.Child{{{Page: id}}}}
}

// peek returns the next node, or nil at the end.
func (c *cursor) peek(ctx context.Context) (*tree.Node, error) {
	for len(c.leaf) == 0 {
		last := len(c.inner) - 1
		if last < 0 {
			return nil, nil
		}
		if len(c.inner[last]) == 0 {
			c.inner = c.inner[:last]
			continue
		}
		id := c.inner[last][0].Page
		c.inner[last] = c.inner[last][1:]
		if err := c.page(ctx, id); err != nil {
			return nil, err
		}
	}
	return &c.leaf[0], nil
}

func (c *cursor) page(ctx context.Context, id object.BlobID) error {
	data, err := c.load(ctx, id)
	if err != nil {
		return err
	}
	p, err := tree.DecodePage(data)
	switch {
	case err != nil:
	case p.Kind == tree.ContentPage:
		err = errPage
	case len(c.inner) > tree.MaxDepth:
		err = tree.ErrTooDeep
	}
	if err != nil {
		return &tree.PageError{ID: id, Err: err}
	}
	c.pages = append(c.pages, id)
	if p.Kind == tree.Inner {
		c.inner = append(c.inner, p.Children)
	} else {
		c.leaf = p.Nodes
	}
	return nil
}

// skip goes on to the node behind the one that peek returned.
func (c *cursor) skip() {
	c.leaf = c.leaf[1:]
	c.count++
}

// find returns the node of a name and its place among the folder's nodes. Names must be asked for in order.
func (c *cursor) find(ctx context.Context, name string) (*tree.Node, int32, error) {
	if c == nil {
		return nil, -1, nil
	}
	for {
		n, err := c.peek(ctx)
		if err != nil {
			return nil, -1, fmt.Errorf("the parent snapshot can not be used: %w", err)
		}
		if n == nil || n.Name > name {
			return nil, -1, nil
		}
		at := c.count
		c.skip()
		if n.Name == name {
			return n, at, nil
		}
	}
}
