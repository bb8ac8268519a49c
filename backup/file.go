package backup

import (
	"context"
	"errors"
	"io"

	"github.com/kura-backup/kura/chunk"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/source/files"
	"github.com/kura-backup/kura/tree"
)

const (
	// maxSmall is the size up to which a file is one chunk, whatever is in it: there is no run of
	// zeros, and no boundary.
	maxSmall = (chunk.RunBlocks - 1) * chunk.BlockSize
	// largeFile is the size from which a file is worth giving the rest of its batch to others.
	largeFile = 1 << 20
	// A file that changed while it was read is read again, this often, if no more than so much was read.
	maxAgain      = 2
	maxAgainBytes = 16 << 20
)

// fileNode is a node with room for the content of nearly every file, in one allocation.
type fileNode struct {
	tree.Node
	id     [1]object.BlobID
	length [1]int64
}

func newFileNode(name string) *fileNode {
	n := new(fileNode)
	n.Name = name
	return n
}

// setOnly makes a single blob the content.
func (n *fileNode) setOnly(id object.BlobID, length int64) {
	n.id[0], n.length[0] = id, length
	n.Content = tree.Content{IDs: n.id[:], Lengths: n.length[:]}
	n.Size = length
}

// reading is a file that is being read.
type reading struct {
	f    *folder
	at   int
	file files.File
	st   *files.Stat
	node *fileNode
}

func (r *reading) path() string { return r.f.pathOf(r.f.entries[r.at].name) }

// unreadable is an error of the source, as opposed to one of the repository.
type unreadable struct{ err error }

func (e *unreadable) Error() string { return e.err.Error() }
func (e *unreadable) Unwrap() error { return e.err }

// file reads a regular file. The error is files.ErrOtherType, or one that ends the run. If it is not
// done when file returns, the last of its blobs will finish it.
func (w *worker) file(ctx context.Context, f *folder, i int, st *files.Stat) (done bool, err error) {
	e := &f.entries[i]
	r := &w.reading
	*r = reading{f: f, at: i, st: st}
	done, err = w.read(ctx, r)
	if err == nil {
		return done, nil
	}
	bad := (*unreadable)(nil)
	switch {
	case errors.Is(err, files.ErrOtherType), !errors.As(err, &bad):
		return done, err
	case ctx.Err() != nil:
		return false, ctx.Err()
	}
	err = vanished(bad.err)
	w.report.error(r.path(), err)
	if errors.Is(err, ErrVanished) {
		return true, nil
	}
	n := &tree.Node{Name: e.name, Error: errorText(err)}
	w.describeIn(f, n, st)
	w.conclude(f, e, n, 0)
	return true, nil
}

func (w *worker) read(ctx context.Context, r *reading) (done bool, err error) {
	e := &r.f.entries[r.at]
	if r.file, err = r.f.dir.Open(ctx, e.name, r.st.UID); err != nil {
		return false, &unreadable{err}
	}
	defer r.file.Close()
	same, err := r.file.Same(r.st)
	if err == nil && !same {
		err = r.file.Stat(r.st)
	}
	if err == nil && w.hooks.opened != nil {
		err = w.hooks.opened(r.path())
	}
	if err != nil {
		return false, &unreadable{err}
	}
	for again := 0; ; again++ {
		r.node = newFileNode(e.name)
		w.describeIn(r.f, &r.node.Node, r.st)
		attrs, err := r.file.Attrs()
		w.attributes(ctx, &r.node.Node, attrs, err, r.path)
		r.node.Flags = r.file.Flags()

		var content pending
		if r.st.Size <= maxSmall {
			content, err = w.readSmall(ctx, r)
		} else {
			content, err = w.readLarge(ctx, r)
		}
		if err != nil {
			return false, err
		}
		if w.hooks.read != nil {
			w.hooks.read(r.path())
		}
		changed, err := r.changed(content.size())
		if err != nil {
			return false, &unreadable{err}
		}
		if !changed {
			return content.finish(ctx, w)
		}
		if again == maxAgain || content.size() > maxAgainBytes {
			w.report.error(r.path(), ErrChanged)
			return content.finish(ctx, w)
		}
		w.report.progress.BytesDone.Add(-uint64(content.size()))
		if err = r.file.Stat(r.st); err == nil {
			err = r.file.Rewind()
		}
		if err != nil {
			return false, &unreadable{err}
		}
	}
}

// changed reports whether the file changed since it was looked at, given how many bytes were read.
func (r *reading) changed(n int64) (bool, error) {
	same, err := r.file.Same(r.st)
	// Files of file systems like /sys have any size, and no blocks.
	return !same || n != r.st.Size && r.st.Blocks > 0, err
}

// pending is a content that was read, and may not be stored yet.
type pending interface {
	size() int64
	finish(ctx context.Context, w *worker) (done bool, err error)
}

// smallContent is the content of a file that is a single blob, or empty.
type smallContent struct {
	r     *reading
	n     int64
	added int64
}

func (c *smallContent) size() int64 { return c.n }

func (c *smallContent) finish(_ context.Context, w *worker) (bool, error) {
	w.conclude(c.r.f, &c.r.f.entries[c.r.at], &c.r.node.Node, c.added)
	return true, nil
}

func (w *worker) readSmall(ctx context.Context, r *reading) (pending, error) {
	n := 0
	for n < len(w.small) {
		k, err := r.file.Read(w.small[n:])
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, &unreadable{err}
		}
		if n += k; int64(n) == r.st.Size {
			break // if there is more by now, the file has changed
		}
	}
	if n > maxSmall { // it has grown a lot
		if err := r.file.Rewind(); err != nil {
			return nil, &unreadable{err}
		}
		return w.readLarge(ctx, r)
	}
	c := &w.content
	*c = smallContent{r: r, n: int64(n)}
	r.node.Size = 0
	if n > 0 {
		saved, err := w.session.SaveNow(object.DataBlob, w.small[:n])
		if err != nil {
			return nil, err
		}
		r.node.setOnly(saved.ID, int64(n))
		if saved.New {
			c.added = int64(n)
		}
		w.report.progress.BytesDone.Add(uint64(n))
	}
	return c, nil
}

func (w *worker) readLarge(ctx context.Context, r *reading) (pending, error) {
	var src io.Reader = r.file
	if int64(r.st.Blocks)*512 < r.st.Size {
		file, size := r.file, r.st.Size
		src = chunk.NewSparseReader(file, func(off int64) (int64, int64, error) { return file.NextHole(off, size) })
	}
	if r.st.Size > largeFile {
		r.file.Sequential()
		if w.report.events.Progress != nil {
			path := r.path()
			w.report.progress.Current.Store(&path)
		}
	}
	if err := w.cut(ctx, src, r.st.Size); err != nil {
		return nil, err
	}
	defer w.uncut()
	c := newLargeContent(ctx, w.walk, r)
	// A file that grows as fast as it is read would have no end.
	for limit := 2*r.st.Size + 1<<30; c.length < limit || limit < 0; {
		ch, err := w.cutter.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, &unreadable{err}
		}
		if err := c.add(ctx, w, ch); err != nil {
			return nil, err
		}
		w.report.progress.BytesDone.Add(uint64(ch.Length))
		w.report.stored(w.session.Stats())
		if err := w.yield(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}
