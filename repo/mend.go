package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/pack/parity"
)

// mendedPacks are the packs that were read damaged and mended since the repository was opened. The last
// one is kept: whoever needs one segment of a pack mostly needs others. It is safe for concurrent use.
type mendedPacks struct {
	mu   sync.Mutex
	set  map[object.Ref]struct{}
	last object.Ref
	obj  []byte // of last
}

func (m *mendedPacks) note(ref object.Ref, obj []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.set == nil {
		m.set = map[object.Ref]struct{}{}
	}
	m.set[ref] = struct{}{}
	if obj == nil {
		return
	}
	m.last, m.obj = ref, append(m.obj[:0], obj...)
}

// get appends the last pack that was mended to buf, if it is the one asked for.
func (m *mendedPacks) get(ref object.Ref, buf []byte) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last != ref || m.obj == nil {
		return nil, false
	}
	return append(buf[:0], m.obj...), true
}

// Mended returns the packs and index segments that had to be mended to be read since the repository was opened, in the order
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

// LoadPack returns all of a pack of the given size, verified against the hash in its name, in buf if that
// is large enough. A pack that is damaged is mended by its own parity, or made again from the other packs
// of its group, if it has either; then mended is true, and the pack in the store is damaged still.
// Otherwise the error is a DamageError.
func (r *Repository) LoadPack(ctx context.Context, ref object.Ref, size int64, buf []byte) (obj []byte, mended bool, err error) {
	if obj, ok := r.mended.get(ref, buf); ok {
		return obj, true, nil
	}
	obj, mended, err = r.loadMended(ctx, ref, size, buf)
	if damage := (*DamageError)(nil); errors.As(err, &damage) {
		rebuilt, rerr := r.rebuild(ctx, ref)
		switch {
		case rerr == nil:
			obj, mended, err = rebuilt, true, nil
		case errors.Is(rerr, errNoGroup):
		case isDamage(rerr):
			damage.Err = fmt.Errorf("%w; and it can not be made again: %w", damage.Err, rerr)
		default:
			return nil, false, rerr
		}
	}
	if mended && err == nil {
		r.mended.note(ref, obj)
	}
	return obj, mended, err
}

// loadMended is LoadPack without the other packs of the group.
func (r *Repository) loadMended(ctx context.Context, ref object.Ref, size int64, buf []byte) (obj []byte, mended bool, err error) {
	if size <= 0 || size > pack.MaxPackSize {
		return nil, false, &DamageError{Object: ref.Name(), Err: fmt.Errorf("a pack of %d bytes", size)}
	}
	obj, err = r.FetchRange(ctx, ref, 0, size, buf)
	if errors.Is(err, backends.ErrRange) { // it is shorter
		obj, err = r.FetchRange(ctx, ref, 0, -1, buf)
	}
	unread := err
	if errors.Is(err, syscall.EIO) { // some of it can be read
		obj, err = r.ReadHoles(ctx, ref.Name())
		if err == nil && obj == nil {
			err = unread
		}
	}
	if err != nil {
		return nil, false, err
	}
	if object.Sum(obj) == ref.Hash {
		return obj, false, nil
	}
	if unread == nil && int64(len(obj)) == size {
		// It may be longer: whoever added it to the state first could say any size.
		all, err := r.FetchRange(ctx, ref, 0, -1, nil)
		if err != nil && !errors.As(err, new(*DamageError)) && !errors.Is(err, backends.ErrTooLarge) {
			return nil, false, err
		}
		if err == nil && len(all) <= pack.MaxPackSize && object.Sum(all) == ref.Hash {
			return all, false, nil
		}
	}
	whole, _, err := parity.Mend(obj, int(size), func(candidate []byte) bool { return object.Sum(candidate) == ref.Hash })
	switch {
	case err == nil:
	case unread != nil:
		return nil, false, unread
	default:
		return nil, false, &DamageError{Object: ref.Name(), Err: ErrHash}
	}
	return whole, true, nil
}

// loadMendedFrom returns a blob of which no copy below a depth can be read as it lies in the store.
func (r *Repository) loadMendedFrom(ctx context.Context, ix *Index, t object.BlobType, id object.BlobID, below uint8) (blob []byte, n int, err error) {
	var buf [8]local.Place
	var failed error
	for _, at := range ix.placesBelow(id, below, buf[:0]) {
		p, err := ix.Place(at)
		if err != nil {
			return nil, 0, err
		}
		plain, err := r.segs.get(ctx, keyOf(&p), int(p.Plain), func() (plain []byte, err error) {
			plain, n, err = r.loadMendedSegment(ctx, ix, &p)
			return plain, err
		})
		if err == nil {
			blob, err = r.Extract(t, id, &p, plain)
		}
		if !errors.As(err, new(*DamageError)) {
			return blob, n, err
		}
		r.bad.note(err)
		failed = err
	}
	return nil, 0, failed
}

// loadMendedSegment reads a segment out of a pack that is mended first.
func (r *Repository) loadMendedSegment(ctx context.Context, ix *Index, p *Place) (plain []byte, n int, err error) {
	obj, _, err := r.LoadPack(ctx, p.Pack, p.PackSize, nil)
	if err != nil {
		return nil, 0, err
	}
	end := uint64(p.At) + uint64(p.Stored)
	if end > uint64(len(obj)) {
		return nil, 0, &DamageError{Object: p.Pack.Name(), Err: errors.New("a segment is said to lie outside of it")}
	}
	ct := slices.Clone(obj[p.At:end]) // not all of the pack, while the bases are read
	base, n, err := r.loadBases(ctx, ix, &p.Segment)
	if err != nil {
		return nil, 0, err
	}
	plain, err = r.decode(p, ct, base)
	return plain, n + 1, err
}
