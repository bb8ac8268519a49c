package chunk

import (
	"errors"
	"io"
)

// aheadReader lays a stream into slabs.
type aheadReader struct {
	*Ahead
	r     io.Reader
	holes SparseReader // r, if it knows holes
	slab  []byte
	end   int   // of what is in slab
	pos   int64 // in the stream
}

// errStopped says that no more of the stream is wanted.
var errStopped = errors.New("chunk: reading ahead was stopped")

// read reads the stream and passes on what it consists of, until its end or until no more is wanted.
func (a *Ahead) read(r io.Reader) {
	defer close(a.work)
	s := &aheadReader{Ahead: a, r: r}
	s.holes, _ = r.(SparseReader)
	var err error
	for err == nil {
		var hole int64
		if hole, err = s.hole(); hole == 0 && err == nil { // behind a hole there may be another one
			err = s.bytes()
		}
	}
	if err != errStopped {
		_ = s.pass(&item{err: err})
	}
}

// bytes passes on a piece.
func (s *aheadReader) bytes() error {
	if err := s.room(1); err != nil {
		return err
	}
	n, err := s.fill(s.slab[s.end:min(s.end+s.Ahead.piece, len(s.slab))])
	if n == 0 {
		return err
	}
	if e := s.pass(&item{n: n, ready: make(chan struct{})}); e != nil {
		return e
	}
	return err
}

// fill reads until dst is full, or up to where a hole may begin.
func (s *aheadReader) fill(dst []byte) (n int, err error) {
	for empty := 0; n < len(dst); {
		k, err := s.r.Read(dst[n:])
		if k < 0 || k > len(dst)-n {
			return n, errReader
		}
		n += k
		if err != nil {
			s.failed = err != io.EOF // also if nobody wants to know any more
			return n, err
		}
		if k > 0 {
			empty = 0
			if s.holes != nil {
				break
			}
		} else if empty++; empty == maxEmptyReads {
			return n, io.ErrNoProgress
		}
		select {
		case <-s.stop:
			return 0, errStopped
		default:
		}
	}
	return n, nil
}

// hole passes on a hole, if there is one here, and returns its length.
func (s *aheadReader) hole() (int64, error) {
	if s.holes == nil {
		return 0, nil
	}
	n, err := s.holes.SkipHole()
	if n < 0 && err == nil {
		err = errReader
	}
	if n == 0 || err != nil {
		return 0, err
	}
	room := int(min(n, holeRoom))
	if err := s.room(room); err != nil {
		return 0, err
	}
	clear(s.slab[s.end : s.end+room])
	return n, s.pass(&item{n: room, hole: n})
}

// room makes sure that there are n bytes of room in the slab, or takes another one.
func (s *aheadReader) room(n int) error {
	if len(s.slab)-s.end >= n {
		return nil
	}
	select {
	case next := <-s.free:
		if s.slab != nil { // what the search looks at
			copy(next[headRoom-windowSize:headRoom], s.slab[s.end-windowSize:s.end])
		}
		s.slab, s.end = next, headRoom
		return nil
	case <-s.stop:
		return errStopped
	}
}

// pass passes an item on whose bytes are at the end of the slab.
func (s *aheadReader) pass(it *item) error {
	it.slab, it.at, it.pos = s.slab, s.end, s.pos
	s.end += it.n
	s.pos += max(int64(it.n), it.hole)
	select {
	case s.items <- it:
	case <-s.stop:
		return errStopped
	}
	if it.ready == nil {
		return nil
	}
	select {
	case s.work <- it:
		return nil
	case <-s.stop:
		return errStopped
	}
}
