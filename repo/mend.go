package repo

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/kura-backup/kura/internal/object"
)

// mendedPacks are the packs that were read damaged and mended since the repository was opened. It is
// safe for concurrent use.
type mendedPacks struct {
	mu  sync.Mutex
	set map[object.Ref]struct{}
}

// Mended returns the packs that had to be mended to be read since the repository was opened, in the order
// of their names. They are still damaged in the store: repair writes them anew.
func (r *Repository) Mended() []object.Ref {
	r.mended.mu.Lock()
	defer r.mended.mu.Unlock()
	var out []object.Ref
	for ref := range r.mended.set {
		out = append(out, ref)
	}
	slices.SortFunc(out, object.Ref.Compare)
	return out
}

var errPackHash = errors.New("its bytes do not have the hash in its name")

// LoadPack returns all of a pack of the given size, verified against the hash in its name, in buf if that
// is large enough. The store is not changed. A pack that is missing or is not what was written is a
// DamageError. mended says that the pack in the store is damaged though what is returned is not.
func (r *Repository) LoadPack(ctx context.Context, ref object.Ref, size int64, buf []byte) (obj []byte, mended bool, err error) {
	obj, err = r.FetchRange(ctx, ref, 0, size, buf)
	if err != nil {
		return nil, false, err
	}
	if object.Sum(obj) != ref.Hash {
		return nil, false, &DamageError{Object: ref.Name(), Err: errPackHash}
	}
	return obj, false, nil
}
