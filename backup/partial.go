package backup

import (
	"context"
	"time"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/tree"
)

const (
	partialEvery = 10 * time.Minute
	// maxBlobs is how many blobs a session may store: it remembers each.
	maxBlobs = 1_000_000
	// lookEvery is how often a session is asked how many it has.
	lookEvery = time.Second
)

// partials makes partial snapshots until ctx is cancelled. The sessions that it begins live as long as
// life does.
func (a *attempt) partials(ctx, life context.Context, w *walk) error {
	every := a.opts.PartialEvery
	if every <= 0 {
		every = partialEvery
	}
	due := time.NewTicker(every)
	defer due.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-due.C:
		case <-w.hooks.partial:
		case <-look.C:
			if a.blobs(w) < maxBlobs {
				continue
			}
			due.Reset(every)
		}
		if err := a.partial(ctx, life, w); err != nil {
			return err
		}
	}
}

func (a *attempt) blobs(w *walk) int {
	w.gate.RLock()
	defer w.gate.RUnlock()
	return w.session.Blobs()
}

// partial commits what is done so far and goes on in a new session.
func (a *attempt) partial(ctx, life context.Context, w *walk) error {
	w.gate.Lock()
	defer w.gate.Unlock()
	if w.done || ctx.Err() != nil {
		return ctx.Err()
	}
	root, err := w.pagesSoFar(ctx, w.root)
	if err != nil {
		return err
	}
	if _, err := a.commit(w.session, root, true); err != nil {
		return a.broke(ctx, err)
	}
	next, err := w.session.Continue(life)
	if err != nil {
		return a.broke(ctx, err)
	}
	w.session, a.session = next, next
	return nil
}

// broke notes why there is no session any more. As soon as the workers may go on they find out that there is none, which is not what
// the user has to hear.
func (a *attempt) broke(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		a.broken = err
	}
	return err
}

// pagesSoFar writes the pages of a folder with the entries that are finished. No worker is running.
func (w *walk) pagesSoFar(ctx context.Context, f *folder) (object.BlobID, error) {
	var writer *tree.DirWriter
	if f.writer != nil {
		writer = f.writer.Clone()
	} else {
		writer = tree.NewDirWriter(w.savePage)
		if err := w.replay(ctx, f, writer); err != nil {
			return object.BlobID{}, err
		}
	}
	for i := f.passed; i < f.next; i++ {
		e := &f.entries[i]
		node := e.node
		if e.child != nil && e.child.listed && !e.child.gone {
			id, err := w.pagesSoFar(ctx, e.child)
			if err != nil {
				return object.BlobID{}, err
			}
			open := *e.child.node
			open.Subtree = id
			node = &open
		} else if !e.done {
			continue
		}
		if node == nil {
			continue
		}
		if err := writer.Add(ctx, node); err != nil {
			return object.BlobID{}, err
		}
	}
	return writer.Finish(ctx)
}
