package remote

import (
	"context"
	"fmt"
	"iter"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
)

// store is the store of the other side. It is safe for concurrent use.
type store struct {
	calls *calls
	caps  backends.Caps
}

var _ backends.Store = (*store)(nil)

// fail makes an error of a request one of the store. Those of the connection are final: nothing helps but another one.
func fail(op, name string, err error) error {
	if _, done := err.(*backends.Error); done {
		return err
	}
	return &backends.Error{Op: op, Name: name, Err: err}
}

// Put implements [backends.Store]. One that was cut off may have happened.
func (s *store) Put(ctx context.Context, name string, data []byte) error {
	if err := backends.CheckPut(name, data); err != nil {
		return fail("put", name, err)
	}
	_, _, err := s.calls.do(ctx, &request{Op: opPut, Name: name}, data, nil, !isPack(name))
	if err != nil {
		return fail("put", name, err)
	}
	return nil
}

// isPack reports whether an object is noise to whoever would compress it.
func isPack(name string) bool {
	ref, err := object.ParseRef(name)
	return err == nil && (ref.Class.IsPack() || ref.Class == object.Parity)
}

// Get implements [backends.Store].
func (s *store) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	if err := backends.CheckName(name); err != nil {
		return nil, fail("get", name, err)
	}
	_, body, err := s.calls.do(ctx, &request{Op: opGet, Name: name, Offset: offset, Length: length}, nil, buf, false)
	if err != nil {
		return nil, fail("get", name, err)
	}
	if length >= 0 && int64(len(body)) != length {
		return nil, fail("get", name, fmt.Errorf("%w: %d bytes in place of %d", ErrProtocol, len(body), length))
	}
	if body == nil { // of an object that lost all of its bytes
		body = buf[:0]
	}
	return body, nil
}

// List implements [backends.Store].
func (s *store) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		for more := true; more; {
			r, body, err := s.calls.do(ctx, &request{Op: opList, Name: valid(prefix), After: valid(after)}, nil, nil, false)
			for err == nil && len(body) > 0 {
				if ctx.Err() != nil {
					err = context.Cause(ctx)
					break
				}
				var info backends.Info
				if info, body, err = decodeInfo(body); err != nil || info.Name <= after {
					err = fmt.Errorf("%w: listing", ErrProtocol)
					break
				}
				if after = info.Name; !yield(info, nil) {
					return
				}
			}
			if err != nil {
				yield(backends.Info{}, fail("list", prefix, err))
				return
			}
			more = r.More
		}
	}
}

// Delete implements [backends.Store].
func (s *store) Delete(ctx context.Context, name string) error {
	err := backends.CheckName(name)
	if err == nil {
		_, _, err = s.calls.do(ctx, &request{Op: opDelete, Name: name}, nil, nil, false)
	}
	if err != nil {
		return fail("delete", name, err)
	}
	return nil
}

// Caps implements [backends.Store].
func (s *store) Caps() backends.Caps { return s.caps }

// Close implements [backends.Store]. The connection is the Peer's.
func (s *store) Close() error { return nil }
