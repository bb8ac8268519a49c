package tree

import (
	"context"
	"fmt"
	"iter"

	"github.com/kura-backup/kura/internal/object"
)

// LoadFunc returns the tree blob of an id. It is not written to, and no longer used once the next
// one is asked for.
type LoadFunc func(ctx context.Context, id object.BlobID) ([]byte, error)

// ReadDir returns the nodes of a folder, given the id of its first page, in order of their names. The last
// pair has an error if something is wrong: that of load, or a [PageError]; the nodes before it
// are valid. A node belongs to the caller; its strings keep the page they came in alive.
func ReadDir(ctx context.Context, id object.BlobID, load LoadFunc) iter.Seq2[*Node, error] {
	return func(yield func(*Node, error) bool) {
		r := dirReader{ctx: ctx, load: load, yield: yield}
		if err := r.page(id, 1, ""); err != nil && !r.stopped {
			yield(nil, err)
		}
	}
}

type dirReader struct {
	ctx     context.Context // of the one call that the reader lives in
	load    LoadFunc
	yield   func(*Node, error) bool
	last    string // name
	stopped bool   // by the caller
}

// page reads a page and those below it. Unless it is the first one, its first name must be as said.
func (r *dirReader) page(id object.BlobID, depth int, first string) error {
	if depth > MaxDepth {
		return &PageError{id, ErrTooDeep}
	}
	data, err := loadPage(r.ctx, id, r.load)
	if err != nil {
		return err
	}
	var wrong error
	var children []Child
	empty := true
	check := func(name string) bool {
		if empty && depth > 1 && name != first {
			wrong = invalid("page begins with %q, should begin with %q", name, first)
		} else if name <= r.last {
			wrong = invalid("name %q behind %q", name, r.last)
		}
		empty = false
		return wrong == nil
	}
	err = scanPage(data, pageVisitor{
		kind: func(k PageKind, _ int) {
			if k == ContentPage {
				wrong = invalid("%v in place of a folder", k)
			}
		},
		node: func(n *Node) bool {
			if !check(n.Name) {
				return false
			}
			r.last = n.Name
			own := *n
			*n = Node{}
			r.stopped = !r.yield(&own, nil)
			return !r.stopped
		},
		child: func(ch Child) {
			if wrong == nil && check(ch.First) {
				children = append(children, ch)
			}
		},
		content: func(*Content) {},
	})
	if err == nil {
		err = wrong
	}
	if err == nil && empty && depth > 1 && !r.stopped {
		err = invalid("empty leaf below an inner page")
	}
	if err != nil {
		return &PageError{id, err}
	}
	for _, ch := range children {
		if r.stopped {
			return nil
		}
		if err := r.page(ch.Page, depth+1, ch.First); err != nil {
			return err
		}
	}
	return nil
}

func loadPage(ctx context.Context, id object.BlobID, load LoadFunc) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	data, err := load(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("tree page %s: %w", id.Short(), err)
	}
	return data, nil
}

// ReadContent returns the extents of a file in order, loading content pages where the file has them. The
// last pair has an error if something is wrong: that of load, a [PageError], or [ErrInvalid] if the
// extents do not add up to the file's size. They never go past it.
func ReadContent(ctx context.Context, n *Node, load LoadFunc) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		left := n.Size
		each := func(c *Content) (bool, error) {
			for e := range c.Extents() {
				if e.Length > left {
					return false, invalid("file %q has more content than its %d bytes", n.Name, n.Size)
				}
				left -= e.Length
				if !yield(e, nil) {
					return false, nil
				}
			}
			return true, nil
		}
		more, err := each(&n.Content)
		for i := 0; i < len(n.Pages) && more && err == nil; i++ {
			var c *Content
			if c, err = readContentPage(ctx, n.Pages[i], load); err == nil {
				more, err = each(c)
			}
		}
		if err == nil && more && left > 0 && n.Error == "" {
			err = invalid("file %q has %d bytes less content than its %d", n.Name, left, n.Size)
		}
		if err != nil {
			yield(Extent{}, err)
		}
	}
}

func readContentPage(ctx context.Context, id object.BlobID, load LoadFunc) (*Content, error) {
	data, err := loadPage(ctx, id, load)
	if err != nil {
		return nil, err
	}
	p, err := DecodePage(data)
	if err == nil && p.Kind != ContentPage {
		err = invalid("%v in place of a content page", p.Kind)
	}
	if err != nil {
		return nil, &PageError{id, err}
	}
	return &p.Content, nil
}
