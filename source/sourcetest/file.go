package sourcetest

import (
	"errors"
	"io"

	"github.com/kura-backup/kura/source"
)

// file is a source.File.
type file struct {
	w   *Writer
	e   *Entry
	old *Content // of the parent; nil if there is none
}

var errClosed = errors.New("sourcetest: the file is closed")

// Write is of source.File.
func (f *file) Write(p []byte) (int, error) {
	if f.closed() {
		return 0, errClosed
	}
	f.e.Content.write(p)
	return len(p), nil
}

// ReadFrom is of source.File.
func (f *file) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{f}, r)
}

// Zeros is of source.File.
func (f *file) Zeros(n int64) error {
	switch {
	case f.closed():
		return errClosed
	case n < 0:
		return source.ErrRange
	}
	f.e.Content.zeros(n)
	return nil
}

// ReadMap is of source.File. It reads nothing of what is the same, whatever its bounds are, and counts what it reads in
// the entry.
func (f *file) ReadMap(r io.ReaderAt, ranges []source.Range) (read int64, err error) {
	if err := source.CheckRanges(f.Size(), ranges); err != nil {
		return 0, err
	}
	defer func() { f.e.Read += read }()
	for _, g := range ranges {
		from := r
		switch {
		case g.Kind == source.Zero:
			if err := f.Zeros(g.Length); err != nil {
				return read, err
			}
			continue
		case g.Kind == source.Same && f.old != nil && g.Start+g.Length <= f.old.Size():
			from = f.old
		default:
			read += g.Length
		}
		n, err := f.ReadFrom(io.NewSectionReader(from, g.Start, g.Length))
		if err == nil && n < g.Length {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return read, err
		}
	}
	return read, nil
}

// Size is of source.File.
func (f *file) Size() int64 { return f.e.Content.Size() }

// Close is of source.File.
func (f *file) Close() error {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if !f.e.open {
		return errClosed
	}
	f.e.open, f.e.Node.Size = false, f.e.Content.Size()
	return nil
}

func (f *file) closed() bool {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return !f.e.open
}
