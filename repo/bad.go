package repo

import (
	"errors"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/kura-backup/kura/internal/object"
)

// badPacks are the packs that turned out to be damaged or missing since the repository was opened.
// Sessions do not rely on them: what a backup needs of them it stores again. It is safe for
// concurrent use.
type badPacks struct {
	mu  sync.Mutex // held while one is added
	set atomic.Pointer[map[object.Ref]struct{}]
}

// note remembers the pack that err says is damaged, if it says so.
func (b *badPacks) note(err error) {
	var damage *DamageError
	if !errors.As(err, &damage) {
		return
	}
	if ref, perr := object.ParseRef(damage.Object); perr == nil && ref.Class.IsPack() {
		b.add(ref)
	}
}

// add puts in its place another set, so that whoever has the old one is not told one thing first and then another.
func (b *badPacks) add(ref object.Ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	set := map[object.Ref]struct{}{ref: {}}
	if old := b.set.Load(); old != nil {
		if _, ok := (*old)[ref]; ok {
			return
		}
		maps.Copy(set, *old)
	}
	b.set.Store(&set)
}

// sound reports whether a copy of the blob counts without packs that are known to be bad, and calls visit with the
// numbers of the packs that it is read from.
func (r *Repository) sound(ix *Index, id object.BlobID, visit func(packNo uint32)) bool {
	return ix.Ground(id, r.avoided(ix), visit)
}

// avoided tells which packs are known to be bad now; nil: none.
func (r *Repository) avoided(ix *Index) func(packNo uint32) bool {
	set := r.bad.set.Load()
	if set == nil {
		return nil
	}
	return func(n uint32) bool {
		_, bad := (*set)[ix.packs[n].Ref]
		return bad
	}
}
