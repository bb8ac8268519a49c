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

// ReadDir returns the nodes of a folder, given the id of its first page, in order of their names. A pair with an
// error stands for a page that can not be read: the error is that of load, or a [PageError], and what would have
// followed on that page, and on those below it, is missing. Who goes on gets the nodes of the other pages.
// A node belongs to the caller; its strings keep the page they came in alive.
func ReadDir(ctx context.Context, id object.BlobID, load LoadFunc) iter.Seq2[*Node, error] {
	return ReadDirAfter(ctx, id, "", load)
}

// ReadDirAfter is [ReadDir] from the first name that is greater than the given one. Pages without such names are not
// loaded.
func ReadDirAfter(ctx context.Context, id object.BlobID, after string, load LoadFunc) iter.Seq2[*Node, error] {
	return func(yield func(*Node, error) bool) {
		r := dirReader{ctx: ctx, load: load, yield: yield, after: after}
		r.page(id, 1, "")
	}
}

type dirReader struct {
	ctx     context.Context // of the one call that the reader lives in
	load    LoadFunc
	yield   func(*Node, error) bool
	after   string // names up to this one are not wanted
	last    string // name
	stopped bool   // by the caller
}

// page reads a page and those below it. Unless it is the first one, its first name must be as said.
func (r *dirReader) page(id object.BlobID, depth int, first string) {
	children, err := r.single(id, depth, first)
	if r.stopped {
		return
	}
	if err != nil {
		r.stopped = !r.yield(nil, err)
		return
	}
	for i, ch := range children {
		if i+1 < len(children) && children[i+1].First <= r.after {
			continue
		}
		if r.page(ch.Page, depth+1, ch.First); r.stopped {
			return
		}
	}
}

// single reads one page, and returns those right below it.
func (r *dirReader) single(id object.BlobID, depth int, first string) ([]Child, error) {
	if depth > MaxDepth {
		return nil, &PageError{id, ErrTooDeep}
	}
	data, err := loadPage(r.ctx, id, r.load)
	if err != nil {
		return nil, err
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
			if n.Name <= r.after {
				*n = Node{}
				return true
			}
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
		return nil, &PageError{id, err}
	}
	return children, nil
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
