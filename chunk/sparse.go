package chunk

import (
	"fmt"
	"io"
)

// SparseReader is what a stream may be besides an [io.Reader]: one that knows where its holes are, so
// that they need not be read.
type SparseReader interface {
	io.Reader
	// SkipHole moves the stream over the hole at its current position and returns the hole's length: 0 if
	// there is none, or at the end. Read should stop where a hole begins; where it reads on, into
	// zeros, the chunks are the same and only the kind of the extents differs.
	SkipHole() (int64, error)
}

// NewSparseReader returns a stream over r, from offset 0 to where r ends. next returns the first hole that
// ends behind off, as [start, end), and start = end if there is none; it is called once for
// each hole, with off rising. The stream is not safe for concurrent use.
func NewSparseReader(r io.ReaderAt, next func(off int64) (start, end int64, err error)) SparseReader {
	return &sparseReader{r: r, next: next}
}

type sparseReader struct {
	r          io.ReaderAt
	next       func(off int64) (start, end int64, err error)
	off        int64
	start, end int64 // the hole at or behind off; known is false before it has been asked for
	known      bool
	none       bool // there is no hole behind off
}

// look makes sure that the hole at or behind the position is known.
func (s *sparseReader) look() error {
	if s.none || s.known && s.off < s.end {
		return nil
	}
	start, end, err := s.next(s.off)
	if err != nil {
		return fmt.Errorf("finding holes: %w", err)
	}
	s.known, s.none = true, start >= end || end <= s.off
	s.start, s.end = max(start, s.off), end
	return nil
}

func (s *sparseReader) SkipHole() (int64, error) {
	if err := s.look(); err != nil {
		return 0, err
	}
	if s.none || s.off < s.start {
		return 0, nil
	}
	n := s.end - s.off
	s.off = s.end
	return n, nil
}

func (s *sparseReader) Read(p []byte) (int, error) {
	if err := s.look(); err != nil {
		return 0, err
	}
	if !s.none && s.off < s.start {
		p = p[:min(int64(len(p)), s.start-s.off)]
	}
	n, err := s.r.ReadAt(p, s.off)
	s.off += int64(n)
	if err == io.EOF && n == len(p) && n > 0 {
		err = nil // a hole may follow; the end will be met again
	}
	return n, err
}
