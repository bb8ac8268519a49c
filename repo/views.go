package repo

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"sync"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

// views are those of all Indexes that may be in use. A long run makes hundreds of Indexes, one after each of its
// commits, and each has its files open: so the view of one that nobody can reach any more is closed.
type views struct {
	mu   sync.Mutex
	open map[*local.View]struct{} // nil after closing
}

// lookups is what an Index needs: a view of the local index, or of one that is far.
type lookups interface {
	Err() error
	Lookup(id object.BlobID, dst []local.Place) []local.Place
	HasSketches() bool
	Similar(sketch delta.Sketch, dst []object.BlobID) []object.BlobID
	Origin(n uint32) (*seal.Origin, error)
	Sources(ctx context.Context) ([]local.Source, error)
	Verify(ctx context.Context) error
	All(ctx context.Context) iter.Seq2[local.Entry, error]
}

// view is a local.View that is closed when nobody has it any more. Each method keeps it until the one below has begun,
// which then closes nothing under itself.
type view struct{ v *local.View }

// hold returns v as one that is closed when nobody has it any more.
func (vs *views) hold(v *local.View) *view {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if vs.open == nil {
		vs.open = map[*local.View]struct{}{}
	}
	vs.open[v] = struct{}{}
	h := &view{v}
	runtime.AddCleanup(h, vs.release, v)
	return h
}

// release closes a view.
func (vs *views) release(v *local.View) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if _, ok := vs.open[v]; ok {
		delete(vs.open, v)
		_ = v.Close() // of files that were only read
	}
}

// close closes all views.
func (vs *views) close() error {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	var errs []error
	for v := range vs.open {
		errs = append(errs, v.Close())
	}
	vs.open = nil
	return errors.Join(errs...)
}

func (h *view) Err() error {
	defer runtime.KeepAlive(h)
	return h.v.Err()
}

func (h *view) Lookup(id object.BlobID, dst []local.Place) []local.Place {
	dst = h.v.Lookup(id, dst)
	runtime.KeepAlive(h)
	return dst
}

func (h *view) HasSketches() bool {
	defer runtime.KeepAlive(h)
	return h.v.HasSketches()
}

func (h *view) Similar(sketch delta.Sketch, dst []object.BlobID) []object.BlobID {
	defer runtime.KeepAlive(h)
	return h.v.Similar(sketch, dst)
}

func (h *view) Origin(n uint32) (*seal.Origin, error) {
	defer runtime.KeepAlive(h)
	return h.v.Origin(n)
}

func (h *view) Sources(ctx context.Context) ([]local.Source, error) {
	defer runtime.KeepAlive(h)
	return h.v.Sources(ctx)
}

func (h *view) Verify(ctx context.Context) error {
	defer runtime.KeepAlive(h)
	return h.v.Verify(ctx)
}

func (h *view) All(ctx context.Context) iter.Seq2[local.Entry, error] {
	return func(yield func(local.Entry, error) bool) {
		defer runtime.KeepAlive(h)
		h.v.All(ctx)(yield)
	}
}
