package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

const (
	// Ahead of a Reader blobs are fetched, no more than so many bytes and so many of them at once.
	readerBudget  = 32 << 20
	readerFetches = 8
	readerUnit    = 1 << 20
)

// Reader reads the content of a file from its beginning. Blobs are fetched ahead of it, several at once. It is not safe for
// concurrent use, and must be closed.
type Reader struct {
	ctx    context.Context // of who reads
	cancel context.CancelFunc
	busy   sync.WaitGroup
	next   chan *fetched // in the order of the file
	room   chan struct{} // one for each MiB that may be fetched
	cur    *fetched
	left   int64 // bytes that did not come yet
	err    error
}

// fetched is an extent that is being fetched, or has been.
type fetched struct {
	ready chan struct{} // closed when data or err is set
	data  []byte
	zeros int64 // in place of data
	cost  int   // of room
	err   error
}

// NewReader returns a Reader of a file's node.
func NewReader(ctx context.Context, r *repo.Repository, n *tree.Node) (*Reader, error) {
	switch {
	case n.Type != tree.File:
		return nil, fmt.Errorf("restore: %s is a %v, not a file", n.Name, n.Type)
	case n.Error != "":
		return nil, fmt.Errorf("restore: %s could not be read when it was backed up: %s", n.Name, n.Error)
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &Reader{ctx: ctx, cancel: cancel, left: n.Size, next: make(chan *fetched, readerFetches), room: make(chan struct{}, readerBudget/readerUnit)}
	f.busy.Go(func() {
		defer close(f.next)
		for e, err := range tree.ReadContent(ctx, n, r.LoadTree) {
			if !f.fetch(ctx, r, e, err) {
				return
			}
		}
	})
	return f, nil
}

// fetch begins to fetch an extent, when there is room for it, and reports whether to go on behind it.
func (f *Reader) fetch(ctx context.Context, r *repo.Repository, e tree.Extent, err error) bool {
	x := &fetched{ready: make(chan struct{})}
	isData := err == nil && e.Kind == tree.Data
	if isData && e.Length > object.MaxBlobSize {
		err = &repo.DamageError{Blob: e.ID, Err: errBlobLength}
	} else if isData {
		x.cost = int(e.Length/readerUnit) + 1
	}
	for range x.cost {
		select {
		case f.room <- struct{}{}:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	switch {
	case err != nil:
		x.err = err
		close(x.ready)
	case isData:
		f.busy.Go(func() {
			defer close(x.ready)
			x.data, x.err = loadExtent(ctx, r, &e)
		})
	default:
		x.zeros = e.Length
		close(x.ready)
	}
	select {
	case f.next <- x:
		return err == nil
	case <-ctx.Done():
		return false
	}
}

// loadExtent returns the content of an extent of data.
func loadExtent(ctx context.Context, r *repo.Repository, e *tree.Extent) ([]byte, error) {
	data, err := r.LoadBlob(ctx, object.DataBlob, e.ID)
	if err == nil && int64(len(data)) != e.Length {
		return nil, &repo.DamageError{Blob: e.ID, Err: errBlobLength}
	}
	return data, err
}

// take makes cur the extent that is to be read next.
func (f *Reader) take() error {
	for f.cur == nil || len(f.cur.data) == 0 && f.cur.zeros == 0 {
		if f.err != nil {
			return f.err
		}
		if f.cur != nil {
			for range f.cur.cost {
				<-f.room
			}
			f.cur = nil
		}
		x, ok := <-f.next
		if !ok {
			f.err = f.end()
			continue
		}
		<-x.ready
		f.left -= int64(len(x.data)) + x.zeros
		if f.cur = x; x.err != nil {
			f.err = x.err
		}
	}
	return nil
}

// end is why nothing follows. What was cut off must not look like the end of the file.
func (f *Reader) end() error {
	switch {
	case f.ctx.Err() != nil:
		return context.Cause(f.ctx)
	case f.left != 0:
		return io.ErrUnexpectedEOF
	}
	return io.EOF
}

// Read is of io.Reader.
func (f *Reader) Read(p []byte) (int, error) {
	if err := f.take(); err != nil || len(p) == 0 {
		return 0, err
	}
	c := f.cur
	if len(c.data) > 0 {
		n := copy(p, c.data)
		c.data = c.data[n:]
		return n, nil
	}
	n := int(min(int64(len(p)), c.zeros))
	clear(p[:n])
	c.zeros -= int64(n)
	return n, nil
}

// Close ends the fetching.
func (f *Reader) Close() error {
	f.cancel()
	for range f.next { // so that nobody waits for it to be taken
	}
	f.busy.Wait()
	if f.err == nil {
		f.err = errReaderClosed
	}
	f.cur = nil
	return nil
}

var (
	errReaderClosed = errors.New("restore: the reader is closed")
	errBlobLength   = errors.New("of another length than the file says")
)
