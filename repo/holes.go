package repo

import (
	"context"
	"errors"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/pack"
)

// hole is how much is given up around bytes that can not be read: a sector of a large disk.
const hole = 4096

// ReadHoles reads all of an object, with zeros in place of what the store can not read. It returns nil for
// one that is missing, or of which nothing can be read.
func (r *Repository) ReadHoles(ctx context.Context, name string) ([]byte, error) {
	obj, err := r.store.Get(ctx, name, 0, -1, nil)
	switch {
	case err == nil:
		return obj, nil
	case errors.Is(err, backends.ErrNotExist):
		return nil, nil
	case !Unreadable(ctx, err):
		return nil, err
	}
	size := int64(-1)
	for info, err := range r.store.List(ctx, name, "") {
		if err != nil {
			return nil, err
		}
		if info.Name == name {
			size = info.Size
		}
	}
	if size <= 0 || size > pack.MaxPackSize {
		return nil, nil
	}
	obj = make([]byte, size)
	some := false
	for at := int64(0); at < size; at += hole {
		n := min(hole, size-at)
		piece, err := r.store.Get(ctx, name, at, n, nil)
		switch {
		case err == nil:
			copy(obj[at:], piece)
			some = true
		case errors.Is(err, backends.ErrNotExist), errors.Is(err, backends.ErrRange):
			return nil, nil
		case !Unreadable(ctx, err):
			return nil, err
		}
	}
	if !some {
		return nil, nil
	}
	return obj, nil
}
