package repo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

// openKeys tries the credential on every key slot until one opens and accept returns nil for what is in
// it. A slot whose first copy is missing or damaged is read from the second. Without any slot the
// error is ErrNoRepository, without a fitting one ErrWrongKey; otherwise the first error of accept. It
// returns the id of the slot, too.
func openKeys(ctx context.Context, store backends.Store, c seal.Credential, accept func(*seal.Keyring) error) (keys *seal.Keyring, slot string, err error) {
	ids, err := listSlots(ctx, store)
	if err != nil {
		return nil, "", err
	}
	if len(ids) == 0 {
		return nil, "", missingSlots(ctx, store)
	}
	var refused, damaged, failed error
	for _, id := range ids {
		keys, err := openSlot(ctx, store, id, c)
		switch {
		case errors.Is(err, seal.ErrWrongKey) || errors.Is(err, backends.ErrNotExist):
			continue
		case errors.As(err, new(*DamageError)):
			damaged = errors.Join(damaged, err)
			continue
		case err != nil && onlyThis(ctx, err):
			failed = errors.Join(failed, err) // another slot may be the one
			continue
		case err != nil:
			return nil, "", err
		}
		// An init that was cut off can have left a slot of a repository that never came to be.
		if err = accept(keys); err == nil {
			return keys, id, nil
		}
		if refused == nil {
			refused = err
		}
	}
	switch {
	case refused != nil:
		return nil, "", refused
	case failed != nil:
		return nil, "", fmt.Errorf("repo: no key slot opens, and not all could be read: %w", failed)
	case damaged != nil:
		return nil, "", fmt.Errorf("%w; and there are damaged key slots: %w", ErrWrongKey, damaged)
	}
	return nil, "", ErrWrongKey
}

func listSlots(ctx context.Context, store backends.Store) (ids []string, err error) {
	for info, err := range store.List(ctx, object.KeysPrefix, "") {
		if errors.Is(err, backends.ErrNoStore) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		id, _, err := object.ParseSlotName(info.Name)
		if err != nil || len(ids) > 0 && ids[len(ids)-1] == id {
			continue // not a slot, which check reports, or the copy of the last one
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// openSlot opens a slot from its first copy, or from the second where the first does not open. Without
// success the error is that of the store, if one copy could not be read; else that of the first copy that
// is there; else ErrNotExist.
func openSlot(ctx context.Context, store backends.Store, id string, c seal.Credential) (*seal.Keyring, error) {
	var failed, refused error
	var tried []byte
	for _, second := range []bool{false, true} {
		name := object.SlotName(id, second)
		obj, err := store.Get(ctx, name, 0, -1, nil)
		switch {
		case errors.Is(err, backends.ErrNotExist):
		case err != nil && !onlyThis(ctx, err):
			return nil, err
		case err != nil:
			failed = errors.Join(failed, err)
		case bytes.Equal(obj, tried): // the same bytes give the same answer
		default:
			tried = obj
			keys, err := seal.OpenSlot(obj, c)
			if err == nil {
				return keys, nil
			}
			if !errors.Is(err, seal.ErrWrongKey) {
				err = &DamageError{Object: name, Err: err}
			}
			if refused == nil {
				refused = err
			}
		}
	}
	switch {
	case failed != nil:
		return nil, failed
	case refused != nil:
		return nil, refused
	}
	return nil, backends.ErrNotExist
}

// missingSlots tells an empty place from a repository that lost its key slots.
func missingSlots(ctx context.Context, store backends.Store) error {
	for _, name := range []string{object.ConfigName, object.ConfigCopyName, object.LogName(1)} {
		_, err := store.Get(ctx, name, 0, -1, nil)
		if err == nil {
			return &DamageError{Object: object.KeysPrefix, Err: errors.New("there are no key slots: nobody can open this repository until keys/ is restored from a copy")}
		}
		if !errors.Is(err, backends.ErrNotExist) && !errors.Is(err, backends.ErrNoStore) {
			return err
		}
	}
	return ErrNoRepository
}

// addSlot stores a slot twice under a fresh id.
func addSlot(ctx context.Context, store backends.Store, keys *seal.Keyring, c seal.Credential, cost seal.Cost) (id string, err error) {
	obj, err := seal.SealSlot(keys, c, cost)
	if err != nil {
		return "", err
	}
	var raw [8]byte
	rand.Read(raw[:]) // never fails
	id = hex.EncodeToString(raw[:])
	for _, second := range []bool{false, true} {
		if err := putObject(ctx, store, object.SlotName(id, second), obj); err != nil {
			return "", err
		}
	}
	return id, nil
}
