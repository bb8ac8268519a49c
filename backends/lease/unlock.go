package lease

import (
	"context"
	"errors"
	"slices"

	"github.com/kura-backup/kura/backends"
)

// Holders returns the clients that have a lease in a store, dead ones too.
func Holders(ctx context.Context, store backends.Store) ([]Holder, error) {
	all, err := list(ctx, store)
	if err != nil {
		return nil, err
	}
	var out []Holder
	for _, h := range all.holders() {
		_, err := h.read(ctx, store)
		if errors.Is(err, backends.ErrNotExist) {
			continue // given back meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}

// Remove takes a lease away from its holder, which notices at its next Put. Who
// calls it has to know that the holder is dead, and that nothing which it sent is
// still under way: otherwise two clients write, and one destroys what the other
// has written.
func Remove(ctx context.Context, store backends.Store, h Holder) error {
	slices.Sort(h.all)
	for _, name := range h.all {
		if err := store.Delete(ctx, name); err != nil && !errors.Is(err, backends.ErrNotExist) {
			return err
		}
	}
	return nil
}
