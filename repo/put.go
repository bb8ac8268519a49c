package repo

import (
	"bytes"
	"context"
	"errors"

	"github.com/kura-backup/kura/backends"
)

var errOtherBytes = errors.New("other bytes than those named so")

// putObject puts an object whose name nobody else uses: it has a random id or a hash in it. An unclear
// answer is settled by looking at the name. The object is durable when it returns nil.
func putObject(ctx context.Context, store backends.Store, name string, data []byte) error {
	own, err := backends.Settle(ctx, store, name, data, func(got []byte) bool { return bytes.Equal(got, data) })
	if err == nil && !own {
		return &DamageError{Object: name, Err: errOtherBytes}
	}
	return err
}

// PutNamed stores an object under a name that only these bytes can have, a pack's. It is durable when
// it returns nil.
func (r *Repository) PutNamed(ctx context.Context, name string, data []byte) error {
	return putObject(ctx, r.store, name, data)
}
