package backup

import (
	"errors"
	"io"
	"math"

	"github.com/kura-backup/kura/chunk"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/tree"
)

// feedFile is a file that a source writes: the source's side of it.
type feedFile struct {
	feed *feed
	path string
	seq  uint64
	hint int64 // the size that the source expects, or 0
	node fileNode
	size int64

	buf    *[]byte // what was not handed on yet, all of a small file; nil if nothing
	in     *inlet  // to the goroutine; nil as long as the file is small
	closed bool

	before func() (*tree.Node, error) // what the parent has of it

	// Of the goroutine; to be read when done is closed.
	done chan struct{}
	err  error
}

var (
	errFileClosed = errors.New("backup: the file is closed")
	errTooLong    = errors.New("backup: the file is too long")
)

// usable returns an error if n more bytes can not be written.
func (f *feedFile) usable(n int64) error {
	switch {
	case f.closed:
		return errFileClosed
	case n < 0 || f.size > math.MaxInt64-n:
		return errTooLong
	}
	return nil
}

// buffer returns the file's buffer.
func (f *feedFile) buffer() *[]byte {
	if f.buf == nil {
		f.buf = f.feed.buffers.Get().(*[]byte)
	}
	return f.buf
}

// Write is of source.File.
func (f *feedFile) Write(p []byte) (int, error) {
	if err := f.usable(int64(len(p))); err != nil {
		return 0, err
	}
	b := f.buffer()
	if len(*b)+len(p) > maxSmall {
		if err := f.flush(false); err != nil {
			return 0, err
		}
		b = f.buffer()
	}
	if len(p) <= maxSmall {
		*b = append(*b, p...)
	} else if err := f.in.hand(part{data: p}).err; err != nil {
		return 0, err
	}
	f.size += int64(len(p))
	return len(p), nil
}

// ReadFrom is of source.File.
func (f *feedFile) ReadFrom(r io.Reader) (total int64, err error) {
	if err := f.usable(0); err != nil {
		return 0, err
	}
	total, err = f.fill(r)
	if err != nil || len(*f.buf) == 0 || f.in == nil && len(*f.buf) <= maxSmall {
		if err == io.EOF {
			err = nil
		}
		return total, err
	}
	last := len(*f.buf) - 1
	first := (*f.buf)[last]
	*f.buf = (*f.buf)[:last]
	if err := f.flush(f.hint == 0 || f.hint >= aheadFile); err != nil {
		return total, err
	}
	got := f.in.hand(part{from: r, first: first})
	f.size += got.n
	return total + got.n, got.err
}

// fill reads into the buffer: as much as a small file may have, and of a larger one something.
func (f *feedFile) fill(r io.Reader) (total int64, err error) {
	if f.in != nil {
		if err := f.flush(false); err != nil {
			return 0, err
		}
	}
	b := f.buffer()
	for empty := 0; len(*b) <= maxSmall && (f.in == nil || total == 0); {
		n, err := r.Read((*b)[len(*b):cap(*b)])
		*b = (*b)[:len(*b)+n]
		f.size += int64(n)
		total += int64(n)
		if err != nil {
			return total, err
		}
		if empty++; n > 0 {
			empty = 0
		} else if empty == maxEmpty {
			return total, io.ErrNoProgress
		}
	}
	return total, nil
}

// Zeros is of source.File.
func (f *feedFile) Zeros(n int64) error {
	if err := f.usable(n); err != nil || n == 0 {
		return err
	}
	if f.in == nil && f.size+n <= maxSmall {
		b := f.buffer()
		*b = append(*b, make([]byte, n)...)
	} else {
		if err := f.flush(false); err != nil {
			return err
		}
		if err := f.in.hand(part{zeros: n}).err; err != nil {
			return err
		}
	}
	f.size += n
	return nil
}

// Size is of source.File.
func (f *feedFile) Size() int64 { return f.size }

// Close is of source.File.
func (f *feedFile) Close() error {
	if f.closed {
		return errFileClosed
	}
	f.closed = true
	if f.in == nil {
		f.saveSmall()
		f.feed.closed(f.path)
		return nil
	}
	err := f.flush(false)
	if err == nil {
		err = f.in.hand(part{end: true}).err
	}
	if err == nil {
		f.feed.closed(f.path)
	}
	return err
}

// saveSmall stores a file that is a single blob, or empty.
func (f *feedFile) saveSmall() {
	n := &f.node
	if f.size == 0 {
		f.finish(nil, 0)
		return
	}
	w := f.feed
	w.stored.Add(1)
	w.session.Save(object.DataBlob, *f.buf, func(saved repo.Saved, err error) {
		defer w.stored.Done()
		added := int64(0)
		if saved.New {
			added = f.size
		}
		n.setOnly(saved.ID, f.size)
		f.finish(err, added)
	})
	w.report.progress.BytesDone.Add(uint64(f.size))
	f.release()
}

func (f *feedFile) release() {
	if f.buf != nil {
		*f.buf = (*f.buf)[:0]
		f.feed.buffers.Put(f.buf)
		f.buf = nil
	}
}

// finish notes what became of a small file.
func (f *feedFile) finish(err error, added int64) {
	if err == nil {
		err = f.feed.note(f.path, f.seq, &f.node.Node, added)
	}
	if err != nil {
		f.feed.fail(err)
	}
}

// flush hands on what was written, to a goroutine that it starts for the purpose.
func (f *feedFile) flush(ahead bool) error {
	if f.in == nil {
		f.start(ahead)
	}
	if f.buf == nil || len(*f.buf) == 0 {
		return nil
	}
	err := f.in.hand(part{data: *f.buf}).err
	*f.buf = (*f.buf)[:0]
	return err
}

// start starts the file's goroutine. One that reads ahead is worth it only where much is read.
func (f *feedFile) start(ahead bool) {
	f.in = &inlet{ctx: f.feed.ctx, parts: make(chan part), taken: make(chan taken), over: f.done, err: &f.err}
	f.feed.files.Go(func() {
		if f.err = f.cut(ahead); f.err != nil {
			f.feed.fail(f.err)
		}
		close(f.done)
	})
}

// cut stores what comes in, until the end of the file.
func (f *feedFile) cut(useAhead bool) error {
	w := f.feed
	cutter, err := w.cutter()
	if err != nil {
		return err
	}
	var ahead *chunk.Ahead
	if useAhead {
		if ahead, err = w.ahead.take(w.repo); err != nil {
			return err
		}
	}
	stored := make(chan struct{})
	q := &extentQueue{writer: tree.NewContentWriter(w.savePage), last: func() { close(stored) }}
	err = f.cutAll(q, cutter, ahead)
	if err != nil {
		w.fail(err) // ends the reading before the reset, which waits for it
		cutter.Reset(nil)
		return err // who read may still write into the buffers
	}
	cutter.Reset(nil)
	w.ahead.give(ahead)
	w.cutters.Put(cutter)
	f.release()
	f.in.took(taken{}) // Close can return
	if !q.seal() {
		<-stored // all are told their ids, also when the session fails
	}
	if err := w.lost(f.path, q.like.failure()); err != nil {
		return err
	}
	added, err := q.finish(w.ctx, &f.node.Node)
	if err != nil {
		return err
	}
	return w.note(f.path, f.seq, &f.node.Node, added)
}

// cutAll cuts one stretch after the other, between extents of the parent that are used again.
func (f *feedFile) cutAll(q *extentQueue, cutter *chunk.Cutter, ahead *chunk.Ahead) error {
	for {
		reset(cutter, f.in, ahead)
		if err := f.cutStretch(q, cutter); err != nil {
			return err
		}
		if f.in.cur.end {
			return nil
		}
		for _, e := range f.in.cur.extents {
			if err := q.again(f.feed.ctx, e); err != nil {
				return err
			}
		}
		f.in.took(taken{})
	}
}

func (f *feedFile) cutStretch(q *extentQueue, cutter *chunk.Cutter) error {
	w := f.feed
	for {
		ch, err := cutter.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if q.like == nil && ch.Kind == chunk.Data && ch.Length >= minLike {
			old, err := f.before()
			if err != nil {
				return err
			}
			q.like = newPredecessor(w.ctx, old, w.repo.LoadTree)
		}
		if err := q.add(w.ctx, w.session, ch); err != nil {
			return err
		}
		w.report.progress.BytesDone.Add(uint64(ch.Length))
		w.report.stored(w.session.Stats())
	}
}

// lookUp returns what the parent has of the file, or nil.
func (f *feedFile) lookUp() (*tree.Node, error) {
	w := f.feed
	if w.parent == nil {
		return nil, nil
	}
	n, err := w.repo.Find(w.ctx, w.parent, f.path)
	if _, damaged := parentDamage(err); errors.Is(err, repo.ErrNotFound) && !damaged {
		return nil, nil
	}
	if err != nil {
		return nil, w.lost(f.path, err)
	}
	if n.Type != tree.File || n.Error != "" {
		return nil, nil
	}
	return n, nil
}

// lost decides whether the run can go on without what the parent has at a path.
func (w *feed) lost(path string, err error) error {
	return parents{w.parent}.unread(w.repo, w.report, func() string { return path }, err)
}

var _ source.File = (*feedFile)(nil)
