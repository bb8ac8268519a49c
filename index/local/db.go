package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/object"
)

var (
	// ErrDamaged is returned, in a [DamagedError], for a file of the local index that is not
	// as it was written. The file is removed; the next Sync makes up for it.
	ErrDamaged = errors.New("local index: damaged file")

	// ErrClosed is returned for a view that was closed.
	ErrClosed = errors.New("local index: view is closed")

	// ErrNumber is returned for the number of a pack or origin that the view did not give: it
	// comes from another view, or from a place that was damaged in a way that did not show.
	ErrNumber = errors.New("local index: no such number")

	errOrder = errors.New("keys do not ascend") // a bug in a merge
	errStop  = errors.New("stop")               // the consumer of an iteration left
)

// Load fetches and decodes an index segment.
type Load func(ctx context.Context, ref object.Ref) (*index.Segment, error)

// DB is a folder with the local index of one repository. It is safe for concurrent use, and so
// is its folder, by several processes. It holds nothing that would have to be closed.
type DB struct {
	path string

	// Size returns the size of an index segment's object, if it is known: small segments are then loaded
	// several at a time from the first on. Nil knows none. It is set before the first Sync.
	Size func(object.Ref) (int64, bool)
}

// Open returns the local index in a folder, which is made if it is absent.
func Open(path string) (*DB, error) {
	dir, err := durable.CreateDir(path, 0o700)
	if err != nil {
		return nil, fmt.Errorf("local index: %w", err)
	}
	return &DB{path: path}, dir.Close()
}

// attempts is how often something begins again when files vanish under it, because a builder
// replaced them or somebody cleared the folder.
const attempts = 4

// Sync returns a view of exactly the wanted index segments. Those that no level has yet are
// loaded, several at a time if they are small. If that fails, the levels that were written by
// then are kept.
func (d *DB) Sync(ctx context.Context, want []object.Ref, load Load) (*View, error) {
	var err error
	for range attempts {
		var v *View
		if v, err = d.sync(ctx, want, load); err == nil {
			return v, nil
		}
		if ctx.Err() != nil || !vanished(err) {
			return nil, err
		}
	}
	return nil, err
}

func (d *DB) sync(ctx context.Context, want []object.Ref, load Load) (*View, error) {
	dir, err := durable.CreateDir(d.path, 0o700) // anew: it may be another folder by now
	if err != nil {
		return nil, fmt.Errorf("local index: %w", err)
	}
	defer dir.Close()
	b := &builder{dir: dir, path: d.path, want: want, wanted: wantedOf(want), load: load, size: d.Size}
	defer b.unlock()
	v, tidy, err := b.current()
	if err != nil {
		return nil, err
	}
	if v != nil {
		if !tidy {
			return v, nil
		}
		// Rewriting levels only saves work: not worth waiting for another builder.
		if err := b.tryLock(); errors.Is(err, durable.ErrLocked) {
			return v, nil
		}
		_ = v.Close()
	}
	if err := b.lock(ctx); err != nil {
		return nil, err
	}
	if err := b.build(ctx); err != nil {
		return nil, errors.Join(err, closeAll(b.levels))
	}
	return newView(b.levels, b.wanted, b.manifest.NextSource), nil
}
