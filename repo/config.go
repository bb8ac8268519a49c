package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/seal"
)

// FormatNumber is the repository format that this program reads and writes.
const FormatNumber = seal.FormatNumber

// featureSingleWriter is the feature that a client needs to write into a repository of a single writer.
const featureSingleWriter = 1

// Config is what a repository says of itself. It never changes.
type Config struct {
	ID      [16]byte
	Created int64 // ns since 1970
	// SingleWriter: the store may overwrite, so that only one client at a time may change anything in it.
	SingleWriter bool
}

type wireConfig struct {
	ID      []byte   `cbor:"1,keyasint"`
	Created int64    `cbor:"2,keyasint"`
	Read    []uint64 `cbor:"3,keyasint,omitempty"`
	Write   []uint64 `cbor:"4,keyasint,omitempty"`
	Collect []uint64 `cbor:"5,keyasint,omitempty"`
}

func encodeConfig(keys *seal.Keyring, c *Config) ([]byte, error) {
	w := wireConfig{ID: c.ID[:], Created: c.Created}
	if c.SingleWriter {
		w.Write = []uint64{featureSingleWriter}
	}
	payload, err := wire.Marshal(w)
	if err != nil {
		return nil, err
	}
	bind := seal.BindRepo(keys.RepoID())
	body, err := keys.SignBody(object.Config, bind, payload)
	if err != nil {
		return nil, err
	}
	return keys.Seal(object.Config, nil, bind, body)
}

// DecodeConfig opens and checks the bytes of a config object.
func DecodeConfig(keys *seal.Keyring, obj []byte) (*Config, error) {
	bind := seal.BindRepo(keys.RepoID())
	_, body, err := keys.Open(object.Config, bind, obj)
	if err != nil {
		return nil, err
	}
	payload, _, err := seal.VerifyBody(object.Config, bind, body, keys.Owners())
	if err != nil {
		return nil, err
	}
	var w wireConfig
	if err := wire.Unmarshal(payload, &w); err != nil {
		return nil, err
	}
	id := keys.RepoID()
	if string(w.ID) != string(id[:]) {
		return nil, errors.New("of another repository")
	}
	c := &Config{ID: id, Created: w.Created}
	if unknown := slices.Concat(w.Read, w.Collect); len(unknown) > 0 {
		return nil, unknownFeature(unknown[0])
	}
	for _, f := range w.Write {
		if f != featureSingleWriter {
			return nil, unknownFeature(f)
		}
		c.SingleWriter = true
	}
	return c, nil
}

func unknownFeature(f uint64) error {
	return fmt.Errorf("%w: the repository uses feature %d: update kura to use it", wire.ErrNewer, f)
}

// loadConfig reads config, or its copy where it is missing or damaged.
func loadConfig(ctx context.Context, store backends.Store, keys *seal.Keyring) (*Config, error) {
	obj, err := firstGood(ctx, store, []string{object.ConfigName, object.ConfigCopyName}, func(obj []byte) error {
		_, err := DecodeConfig(keys, obj)
		return err
	})
	if errors.Is(err, backends.ErrNotExist) {
		return nil, &DamageError{Object: object.ConfigName, Err: errors.New("missing, and so is its copy. " +
			"If kura init was cut off, run it again with the same password")}
	}
	if err != nil {
		return nil, err
	}
	return DecodeConfig(keys, obj)
}

// firstGood returns the first of the named objects that can be read and that good accepts: what exists twice
// is read from the copy when the first is missing, damaged, or on a part of the disk that can not be read.
// What may work the next time is no reason for that, and is returned. Without a good one it returns the
// error of the store, if there is one; else the damage of the first that is there; else ErrNotExist.
func firstGood(ctx context.Context, store backends.Store, names []string, good func([]byte) error) ([]byte, error) {
	var failed, damaged error
	for _, name := range names {
		obj, err := store.Get(ctx, name, 0, -1, nil)
		switch {
		case errors.Is(err, backends.ErrNotExist):
		case err != nil && !onlyThis(ctx, err):
			return nil, err
		case err != nil:
			failed = errors.Join(failed, err)
		default:
			if err = good(obj); err == nil {
				return obj, nil
			}
			if damaged == nil {
				damaged = &DamageError{Object: name, Err: err}
			}
		}
	}
	switch {
	case failed != nil:
		return nil, failed
	case damaged != nil:
		return nil, damaged
	}
	return nil, fmt.Errorf("%s: %w", names[0], backends.ErrNotExist)
}

// onlyThis reports whether an error of the store may concern the one object that was asked for, so that
// its copy may be read in its place: a bad sector, a file that may not be read, a link where a file
// should be. A network that fails is a matter of the next try.
func onlyThis(ctx context.Context, err error) bool {
	return ctx.Err() == nil && backends.KindOf(err) == backends.Permanent && !errors.Is(err, backends.ErrNoStore)
}
