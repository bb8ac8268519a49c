package repo

import (
	"bytes"
	"context"

	"github.com/kura-backup/kura/internal/object"
)

// MakeBase makes a blob of the first copy that there is, without falling back to another way, and reports whether all memory for bases is
// given back then.
func (s *Session) MakeBase(ctx context.Context, id object.BlobID) (plain []byte, free bool, err error) {
	m, err := s.bases.make(ctx, id, anyDepth)
	if err != nil {
		return nil, false, err
	}
	plain = bytes.Clone(m.plain)
	m.release()
	s.bases.forget()
	all, free := s.bases.budget.TryGet(basesInFlight)
	if free {
		all.Release()
	}
	return plain, free, nil
}

// LoadBase loads a blob as the base of a delta, lets it go, and returns how many are kept then.
func (s *Session) LoadBase(ctx context.Context, id object.BlobID) (kept int, err error) {
	m, err := s.bases.load(ctx, id, anyDepth)
	if err != nil {
		return 0, err
	}
	m.release()
	return len(s.bases.kept), nil
}
