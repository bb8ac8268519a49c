package limit

import (
	"context"
	"errors"
	"iter"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
)

// Rates are bytes a second; 0 means no limit.
type Rates struct {
	Upload   int64
	Download int64
}

// Store wraps a Store. It is safe for concurrent use.
type Store struct {
	inner    backends.Store
	up, down *bucket
	piece    int64 // most bytes of a limited read
}

var _ backends.Store = (*Store)(nil)

// New returns a Store that passes everything on to inner, no faster than the rates say.
func New(inner backends.Store, r Rates) *Store {
	return newStore(inner, r, clock.System, sleep)
}

func newStore(inner backends.Store, r Rates, c clock.Clock, sleep sleepFunc) *Store {
	const least, most = 256 << 10, 8 << 20
	return &Store{
		inner: inner,
		up:    newBucket(r.Upload, c, sleep),
		down:  newBucket(r.Download, c, sleep),
		piece: min(max(r.Download, least), most), // about a second's worth
	}
}

// Unwrap returns the Store beneath.
func (s *Store) Unwrap() backends.Store { return s.inner }

// Put creates an object; see [backends.Store].
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := backends.CheckPut(name, data); err != nil {
		return &backends.Error{Op: "put", Name: name, Err: err}
	}
	if err := s.up.take(ctx, int64(len(data))); err != nil {
		return &backends.Error{Op: "put", Name: name, Err: err}
	}
	return s.inner.Put(ctx, name, data)
}

// Get reads from an object; see [backends.Store].
func (s *Store) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	switch {
	case s.down == nil, length > backends.MaxObject: // which the Store beneath knows to answer
		return s.inner.Get(ctx, name, offset, length, buf)
	case length < 0:
		return s.getRest(ctx, name, offset, buf)
	}
	if length <= s.piece {
		return s.getPiece(ctx, name, offset, length, buf)
	}
	out, err := s.getPieces(ctx, name, offset, length, buf[:0])
	if wrong := (*backends.RangeError)(nil); errors.As(err, &wrong) {
		wrong = &backends.RangeError{Name: name, Offset: offset, Length: length, Size: wrong.Size}
		return nil, &backends.Error{Op: "get", Name: name, Err: wrong}
	}
	return out, err
}

func (s *Store) getPiece(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	if err := s.down.take(ctx, length); err != nil {
		return nil, &backends.Error{Op: "get", Name: name, Err: err}
	}
	return s.inner.Get(ctx, name, offset, length, buf)
}

// getPieces appends a range to out. Its memory grows with what is there, not with what was asked for.
func (s *Store) getPieces(ctx context.Context, name string, offset, length int64, out []byte) ([]byte, error) {
	var piece []byte
	for length > 0 {
		n := min(length, s.piece)
		free := out[len(out):cap(out)]
		if int64(len(free)) < n {
			free = piece
		}
		got, err := s.getPiece(ctx, name, offset, n, free)
		if err != nil {
			return nil, err
		}
		if int64(cap(out)-len(out)) >= n { // it is in its place
			out = out[:len(out)+len(got)]
		} else {
			piece, out = got, append(out, got...)
		}
		offset, length = offset+n, length-n
	}
	return out, nil
}

// getRest reads an object to an end that is not known, and waits afterwards.
func (s *Store) getRest(ctx context.Context, name string, offset int64, buf []byte) ([]byte, error) {
	data, err := s.inner.Get(ctx, name, offset, -1, buf)
	if err != nil {
		return nil, err
	}
	if err := s.down.take(ctx, int64(len(data))); err != nil {
		return nil, &backends.Error{Op: "get", Name: name, Err: err}
	}
	return data, nil
}

// List yields objects; see [backends.Store].
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return s.inner.List(ctx, prefix, after)
}

// Delete removes an object; see [backends.Store].
func (s *Store) Delete(ctx context.Context, name string) error { return s.inner.Delete(ctx, name) }

// Caps is that of the Store beneath.
func (s *Store) Caps() backends.Caps { return s.inner.Caps() }

// Close closes the Store beneath.
func (s *Store) Close() error { return s.inner.Close() }
