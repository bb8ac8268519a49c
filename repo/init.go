package repo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// InitOptions say how to make a repository.
type InitOptions struct {
	Credential seal.Credential // of the first key slot, the owner's
	Cost       seal.Cost       // of a passphrase; zero means seal.DefaultCost
	CacheDir   string          // as in OpenOptions
	// From is the keyring of a repository whose blobs shall have the same ids in the new one, so that copies between
	// the two need not name them again. Nil: all secrets are fresh.
	From *seal.Keyring
	// SingleWriter makes a repository for a store that may overwrite. The store given to Init MUST be one that
	// keeps other writers out.
	SingleWriter bool
}

// Init makes a repository in an empty store and opens it. The error wraps ErrExists when there is one
// already.
//
// The order is: key slot, entry 1, config; so that an init that is cut off can be run again. A slot
// alone means nothing, since no entry was made with its keys; entry 1 without a config is completed
// by whoever can open its slot.
func Init(ctx context.Context, store backends.Store, o InitOptions) (*Repository, error) {
	if o.Cost == (seal.Cost{}) {
		o.Cost = seal.DefaultCost
	}
	state, err := howFar(ctx, store)
	if err != nil {
		return nil, err
	}
	var keys *seal.Keyring
	var l *log.Log
	switch state {
	case initialised:
		return nil, ErrExists
	case cutOff:
		err = openKeys(ctx, store, o.Credential, func(of *seal.Keyring, _ string) (err error) {
			if l, err = log.Open(ctx, store, of, log.Mark{}); err != nil {
				return notThis{err} // the slot of another init
			}
			keys = of
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("a kura init was cut off here, and finishing it failed: %w. "+
				"Use the same password; or, if nothing was ever backed up here, empty the place", err)
		}
		if role := keys.Role(); role != seal.Owner { // nobody would believe its config
			return nil, fmt.Errorf("the config of this repository is missing, and a %s's key can not make one that others accept: use the owner's password", role)
		}
		if o.From != nil && !keys.SharesIDs(o.From) {
			return nil, errors.New("a kura init was cut off here that was not to share ids with that repository: " +
				"finish it without it, or, if nothing was ever backed up here, empty the place")
		}
	case empty:
		if keys, l, err = found(ctx, store, o); err != nil {
			return nil, err
		}
	}
	config := &Config{ID: keys.RepoID(), Created: clock.Now().UnixNano(), SingleWriter: o.SingleWriter}
	obj, err := encodeConfig(keys, config)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{object.ConfigCopyName, object.ConfigName} {
		var there []byte
		own, err := backends.Settle(ctx, store, name, obj, func(got []byte) bool {
			there = got
			return bytes.Equal(got, obj)
		})
		if err == nil && !own { // by an init that was cut off: maybe it came only now
			obj = there
			if config, err = DecodeConfig(keys, obj); err == nil && config.SingleWriter != o.SingleWriter {
				err = errOtherMode
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return open(store, keys, config, &OpenOptions{CacheDir: o.CacheDir}, func(log.Mark) (*log.Log, error) { return l, nil })
}

var errOtherMode = errors.New("a kura init was cut off here that was with --single-writer where this one is not, or the other way round: " +
	"finish it as it was begun, or, if nothing was ever backed up here, empty the place")

// found makes the keys, the first slot and entry 1.
func found(ctx context.Context, store backends.Store, o InitOptions) (*seal.Keyring, *log.Log, error) {
	var id [16]byte
	rand.Read(id[:]) // never fails
	keys, err := newKeys(id, o.From)
	if err != nil {
		return nil, nil, err
	}
	if _, err := addSlot(ctx, store, keys, o.Credential, o.Cost); err != nil {
		return nil, nil, err
	}
	// Entry 1 decides a race: of several clients only one makes it.
	l, err := log.Create(ctx, store, keys, object.NewSessionID(0), clock.Now().UnixNano())
	if errors.Is(err, backends.ErrExist) {
		return nil, nil, fmt.Errorf("%w (another kura init was faster)", ErrExists)
	}
	return keys, l, err
}

func newKeys(id [16]byte, from *seal.Keyring) (*seal.Keyring, error) {
	if from != nil {
		return seal.NewKeyringSharing(id, from)
	}
	return seal.NewKeyring(id)
}

type initState int

const (
	empty initState = iota
	cutOff
	initialised
)

// howFar looks for what an earlier init has left.
func howFar(ctx context.Context, store backends.Store) (initState, error) {
	for _, probe := range []struct {
		name  string
		state initState
	}{{object.ConfigName, initialised}, {object.LogName(1), cutOff}} {
		_, err := store.Get(ctx, probe.name, 0, -1, nil)
		if err == nil {
			return probe.state, nil
		}
		if !errors.Is(err, backends.ErrNotExist) && !errors.Is(err, backends.ErrNoStore) {
			return 0, err
		}
	}
	return empty, nil
}
