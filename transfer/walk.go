package transfer

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// pagesAtOnce is how many pages are looked at side by side, before what they refer to is.
const pagesAtOnce = 256

// walk brings everything below a page of the source to the destination but for what it has: all of it, or without
// the tree blobs where these have to be rewritten.
func (c *copier) walk(ctx context.Context, root object.BlobID) error {
	w := walk{c: c, stack: []object.BlobID{root}, batch: newBatch()}
	for len(w.stack) > 0 {
		if err := w.pages(ctx); err != nil {
			return err
		}
		if w.batch.full() {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
	}
	return w.flush(ctx)
}

// walk is one walk through a snapshot's folders.
type walk struct {
	c     *copier
	stack []object.BlobID // pages to look at. Not recursion: folders are nested as deep as somebody made them
	batch *batch

	mu sync.Mutex // guards stack and batch while pages are looked at
}

// pages looks at the last pages of the stack.
func (w *walk) pages(ctx context.Context) error {
	n := max(0, len(w.stack)-pagesAtOnce)
	var next []object.BlobID
	for _, id := range w.stack[n:] {
		if _, ok := w.c.walked[id]; !ok {
			w.c.walked[id] = struct{}{}
			next = append(next, id)
		}
	}
	w.stack = w.stack[:n]
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(w.c.workers)
	for _, id := range next {
		g.Go(func() error { return w.page(ctx, id) })
	}
	return g.Wait()
}

func (w *walk) page(ctx context.Context, id object.BlobID) error {
	page, err := w.c.saveTree(ctx, id)
	if err != nil {
		return err
	}
	var pages, values, data []object.BlobID
	for ref, err := range tree.Refs(page) {
		if err != nil {
			return &lostError{&tree.PageError{ID: id, Err: err}}
		}
		switch ref.Kind {
		case tree.RefPage:
			pages = append(pages, ref.ID)
		case tree.RefXAttr:
			values = append(values, ref.ID)
		case tree.RefData:
			if !w.c.has(ref.ID) {
				data = append(data, ref.ID)
			}
		default:
			return errors.New("transfer: unknown kind of reference")
		}
	}
	if w.c.names != nil && !w.c.opts.DryRun {
		values = nil // rewrite copies them
	}
	for _, id := range values {
		if _, err := w.c.saveTree(ctx, id); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stack = append(w.stack, pages...)
	for _, id := range data {
		if err := w.batch.add(ctx, w.c, id); err != nil {
			return err
		}
	}
	return nil
}

// saveTree loads a tree blob of the source, and stores it where it keeps its id: elsewhere rewrite does.
func (c *copier) saveTree(ctx context.Context, id object.BlobID) ([]byte, error) {
	b, err := c.load(ctx, object.TreeBlob, id)
	switch {
	case err != nil:
	case c.opts.DryRun:
		c.pretend(id, uint64(len(b.Bytes())))
	case c.names == nil:
		err = c.save(id, b)
	}
	return b.Bytes(), err
}

// has reports whether the destination has a data blob of the source, and relies on that.
func (c *copier) has(id object.BlobID) bool {
	if c.names != nil {
		renamed, ok := c.names.of(id)
		return ok && c.session.Rely(renamed)
	}
	return c.session.Rely(id)
}

// load returns a blob of the source.
func (c *copier) load(ctx context.Context, t object.BlobType, id object.BlobID) (repo.CheckedBlob, error) {
	b, err := c.from.LoadChecked(ctx, t, id)
	if errors.As(err, new(*repo.DamageError)) {
		err = &lostError{err}
	}
	return b, err
}

// save stores a blob of the source in the destination, and remembers its new name if it has one.
func (c *copier) save(id object.BlobID, b repo.CheckedBlob, bases ...repo.CheckedBlob) error {
	saved, err := c.session.SaveChecked(b, bases...)
	if err != nil {
		return err
	}
	if c.names != nil {
		c.names.set(id, saved.ID)
	}
	if saved.New {
		c.count(uint64(len(b.Bytes())))
	}
	return nil
}

func (c *copier) count(bytes uint64) {
	c.progress.BytesDone.Add(bytes)
	c.counting.Lock()
	defer c.counting.Unlock()
	c.result.Blobs++
	c.result.Bytes += bytes
}

// pretend counts a blob that a dry run would copy, once.
func (c *copier) pretend(id object.BlobID, bytes uint64) {
	c.counting.Lock()
	_, before := c.wanted[id]
	c.wanted[id] = struct{}{}
	c.counting.Unlock()
	if !before && !c.session.Rely(id) {
		c.count(bytes)
	}
}
