package tree

import (
	"context"
	"math"

	"github.com/kura-backup/kura/internal/object"
)

// ContentWriter gathers the extents of a file and writes content pages once they are too many for
// the node. It can be used for one file after the other. It is not safe for concurrent use.
type ContentWriter struct {
	save  SaveFunc
	part  Content // the content so far, or what of it follows the pages
	paged bool    // there are too many extents for the node
	pages []object.BlobID
	size  int64
	err   error
}

// NewContentWriter returns a ContentWriter that stores pages with save.
func NewContentWriter(save SaveFunc) *ContentWriter { return &ContentWriter{save: save} }

// Add adds the next extent. An error is final until Finish has returned it.
func (w *ContentWriter) Add(ctx context.Context, e Extent) error {
	if w.err == nil {
		w.err = w.add(ctx, e)
	}
	return w.err
}

func (w *ContentWriter) add(ctx context.Context, e Extent) error {
	if e.Length < 1 || e.Length > math.MaxInt64-w.size || (e.Kind == Data) == e.ID.IsZero() {
		return invalid("%v extent of %d bytes behind %d", e.Kind, e.Length, w.size)
	}
	w.size += e.Length
	if w.paged {
		return w.addToPage(ctx, e)
	}
	w.part.Append(e)
	if len(w.part.Lengths) <= MaxInlineExtents {
		return nil
	}
	whole := w.part
	w.part, w.paged = Content{}, true
	for e := range whole.Extents() {
		if err := w.addToPage(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (w *ContentWriter) addToPage(ctx context.Context, e Extent) error {
	w.part.Append(e)
	if len(w.part.Lengths) == MaxPageExtents || e.Kind == Data && cutsContent(&e.ID) {
		return w.flush(ctx)
	}
	return nil
}

// cutsContent reports whether a content page ends after this blob: 10 zero bits.
func cutsContent(id *object.BlobID) bool { return id[0] == 0 && id[1]&0xC0 == 0 }

func (w *ContentWriter) flush(ctx context.Context) error {
	page, err := encodeContent(&w.part)
	if err != nil {
		return err
	}
	id, err := w.save(ctx, page)
	if err != nil {
		return err
	}
	w.pages = append(w.pages, id)
	w.part.reset()
	return nil
}

// Finish sets the size and the content of a file's node, which then owns them. The writer is ready for another
// file.
func (w *ContentWriter) Finish(ctx context.Context, n *Node) error {
	if w.err == nil && w.paged && len(w.part.Lengths) > 0 {
		w.err = w.flush(ctx)
	}
	done := *w
	*w = ContentWriter{save: w.save}
	if done.err != nil {
		return done.err
	}
	n.Size, n.Pages = done.size, done.pages
	if !done.paged {
		n.Content = done.part
	} else {
		n.Content = Content{}
	}
	return nil
}
