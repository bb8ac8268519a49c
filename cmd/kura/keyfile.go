package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/seal"
)

// loadOrMakeKey returns the key in a key file, which is generated if it is not there.
func loadOrMakeKey(path string) (c seal.Credential, made bool, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, false, err
	}
	if c, err = readKey(path); errors.Is(err, fs.ErrNotExist) {
		secret := seal.NewKeyFileSecret()
		if err := writeKey(path, seal.EncodeKeyFile(secret)); err != nil {
			return nil, false, fmt.Errorf("key file: %w", err)
		}
		return seal.KeyFile(secret), true, nil
	}
	return c, false, err
}

// readKey returns the key in a key file.
func readKey(path string) (seal.Credential, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	secret, err := seal.DecodeKeyFile(text)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return seal.KeyFile(secret), nil
}

// writeKey creates a key file that only its owner can read, and makes it durable before anything rests
// on it.
func writeKey(path string, text []byte) (err error) {
	dir, err := durable.CreateDir(filepath.Dir(path), 0o700)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	name := filepath.Base(path)
	f, err := dir.CreateExcl(name, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, dir.Unlink(name))
	}
	if err := dir.SyncDir("."); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
