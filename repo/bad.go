package repo

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
)

// badPacks are the packs that turned out to be damaged or missing since the repository was opened.
// Sessions do not rely on them: what a backup needs of them it stores again. It is safe for
// concurrent use.
type badPacks struct {
	any atomic.Bool // spares the look-up as long as there are none
	set sync.Map    // of object.Ref
}

func (b *badPacks) has(ref object.Ref) bool {
	if !b.any.Load() {
		return false
	}
	_, ok := b.set.Load(ref)
	return ok
}

// note remembers the pack that err says is damaged, if it says so.
func (b *badPacks) note(err error) {
	var damage *DamageError
	if !errors.As(err, &damage) {
		return
	}
	if ref, perr := object.ParseRef(damage.Object); perr == nil && ref.Class.IsPack() {
		b.set.Store(ref, struct{}{})
		b.any.Store(true)
	}
}

// sound returns the number of a live pack that holds the blob and is not known to be bad.
func (r *Repository) sound(ix *Index, id object.BlobID) (packNo uint32, ok bool) {
	packNo, ok = ix.Has(id)
	if !ok || !r.bad.has(ix.packs[packNo].Ref) {
		return packNo, ok
	}
	var buf [8]local.Place
	for _, p := range ix.Places(id, buf[:0]) {
		if !r.bad.has(ix.packs[p.Pack].Ref) {
			return p.Pack, true
		}
	}
	return 0, false
}
