package repo

import (
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
		keys, _, err = openKeys(ctx, store, o.Credential, func(keys *seal.Keyring) (err error) {
			l, err = log.Open(ctx, store, keys, log.Mark{})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("a kura init was cut off here, and finishing it failed: %w. "+
				"Use the same password; or, if nothing was ever backed up here, empty the place", err)
		}
	case empty:
		if keys, l, err = found(ctx, store, o); err != nil {
			return nil, err
		}
	}
	config := &Config{ID: keys.RepoID(), Created: clock.Now().UnixNano()}
	obj, err := encodeConfig(keys, config)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{object.ConfigCopyName, object.ConfigName} {
		err := store.Put(ctx, name, obj)
		if errors.Is(err, backends.ErrExist) { // by an init that was cut off: maybe it came only now
			if obj, err = store.Get(ctx, name, 0, -1, nil); err == nil {
				config, err = DecodeConfig(keys, obj)
			}
		}
		if backends.IsTransient(err) || backends.IsUnclear(err) {
			err = putObject(ctx, store, name, obj)
		}
		if err != nil {
			return nil, err
		}
	}
	return open(store, keys, config, o.CacheDir, func(log.Mark) (*log.Log, error) { return l, nil })
}

// found makes the keys, the first slot and entry 1.
func found(ctx context.Context, store backends.Store, o InitOptions) (*seal.Keyring, *log.Log, error) {
	var id [16]byte
	rand.Read(id[:]) // never fails
	keys, err := seal.NewKeyring(id)
	if err != nil {
		return nil, nil, err
	}
	if _, err := addSlot(ctx, store, keys, o.Credential, o.Cost); err != nil {
		return nil, nil, err
	}
	// Entry 1 decides a race: of several clients only one makes it.
	l, err := log.Create(ctx, store, keys, newSessionID(), clock.Now().UnixNano())
	if errors.Is(err, backends.ErrExist) {
		return nil, nil, fmt.Errorf("%w (another kura init was faster)", ErrExists)
	}
	return keys, l, err
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

func newSessionID() object.SessionID {
	var id object.SessionID
	rand.Read(id[:]) // never fails
	return id
}
