package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kura-backup/kura/backends"
)

// putTries is how often a put is repeated whose error says that it may help.
const putTries = 6

// putObject puts an object whose name nobody else uses: it has a random id or a hash in it. An unclear
// answer is settled by looking at the name. The object is durable when it returns nil.
func putObject(ctx context.Context, store backends.Store, name string, data []byte) error {
	pause := 100 * time.Millisecond
	var err error
	for range putTries {
		err = store.Put(ctx, name, data)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, backends.ErrExist):
			got, gerr := store.Get(ctx, name, 0, -1, nil)
			if gerr == nil && bytes.Equal(got, data) {
				return nil // an earlier try of ours
			}
			if gerr == nil {
				return &DamageError{Object: name, Err: fmt.Errorf("other bytes than those named so: %w", err)}
			}
			if err = gerr; !backends.IsUnclear(gerr) && !backends.IsTransient(gerr) {
				return gerr
			}
		case !backends.IsUnclear(err) && !backends.IsTransient(err):
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
			pause *= 2
		}
	}
	return err
}

// PutNamed stores an object under a name that only these bytes can have, a pack's. It is durable when
// it returns nil.
func (r *Repository) PutNamed(ctx context.Context, name string, data []byte) error {
	return putObject(ctx, r.store, name, data)
}
