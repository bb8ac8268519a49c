package restore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/internal/budget"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/tree"
)

// verify walks the tree again and reads every file that was restored.
func (run *run) verify(ctx context.Context, node *tree.Node) error {
	g, ctx := errgroup.WithContext(ctx)
	run.ctx = ctx
	// What is closed to the user stays so: it has its metadata already.
	target := &folder{place: run.target.place, dir: run.target.dir.View(), refs: 1}
	g.SetLimit(runtime.GOMAXPROCS(0) + 1) // with the walker
	g.Go(func() error {
		if node.Type != tree.Folder {
			return run.verifyEntry(g, ctx, target, node)
		}
		return run.verifyFolder(g, ctx, target, node.Subtree, 1)
	})
	return g.Wait()
}

func (run *run) verifyFolder(g *errgroup.Group, ctx context.Context, f *folder, page object.BlobID, depth int) error {
	if page.IsZero() || depth > maxNesting || run.rep.hasFailed(f.path()) {
		return nil
	}
	var subs []sub
	for n, err := range tree.ReadDir(ctx, page, run.r.LoadTree) {
		if lost(err) {
			continue // reported before
		}
		if err != nil {
			return err
		}
		if n.Type == tree.Folder {
			if !f.place.selects(n.Name) && !f.place.reaches(n.Name) {
				continue
			}
			subs = append(subs, sub{name: strings.Clone(n.Name), page: n.Subtree})
			continue
		}
		if err := run.verifyEntry(g, ctx, f, n); err != nil {
			return err
		}
	}
	for i := range subs {
		s := &subs[i]
		err := run.verifyFolder(g, ctx, &folder{parent: f, name: s.name, place: f.place.child(s.name)}, s.page, depth+1)
		if err != nil {
			return err
		}
	}
	return nil
}

func (run *run) verifyEntry(g *errgroup.Group, ctx context.Context, f *folder, n *tree.Node) error {
	if n.Type != tree.File || !f.place.selects(n.Name) || n.Error != "" || run.rep.hasFailed(f.join(n.Name)) {
		return nil
	}
	path := func() string { return f.join(n.Name) }
	g.Go(func() error {
		err := run.verifyFile(ctx, f, n)
		switch {
		case err == nil:
			run.rep.verified.Add(1)
			return nil
		case errors.Is(err, syscall.EACCES) && !run.rep.root:
			run.rep.omit(Unread, err, path)
			return nil
		}
		return run.entryError(path, err)
	})
	return nil
}

// verifyFile compares the data of a file with its blob ids. What is between was never written.
func (run *run) verifyFile(ctx context.Context, f *folder, n *tree.Node) error {
	dir, err := run.folders.acquire(f)
	if err != nil {
		return err
	}
	defer run.folders.release(f)
	h, err := dir.OpenFile(n.Name)
	if err != nil {
		return err
	}
	defer h.Close()
	info, err := h.Stat()
	if err != nil {
		return err
	}
	if info.Size != n.Size {
		return fmt.Errorf("%w: %d bytes, should have %d", ErrVerify, info.Size, n.Size)
	}
	var buf *budget.Buffer
	defer func() {
		if buf != nil {
			buf.Release()
		}
	}()
	var at int64
	for e, err := range tree.ReadContent(ctx, n, run.r.LoadTree) {
		if err != nil {
			if !lost(err) {
				err = &storeError{err}
			}
			return err
		}
		if e.Kind == tree.Data {
			if buf == nil || cap(buf.B) < int(e.Length) {
				if buf != nil {
					buf.Release()
				}
				if buf, err = run.decoded.Get(ctx, int(e.Length)); err != nil {
					return err
				}
			}
			data := buf.B[:e.Length]
			if err := h.ReadAt(data, at); err != nil {
				return err
			}
			if run.r.BlobID(object.DataBlob, data) != e.ID {
				return fmt.Errorf("%w: %d bytes at %d", ErrVerify, e.Length, at)
			}
		}
		at += e.Length
	}
	return nil
}
