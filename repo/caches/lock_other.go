//go:build !linux

package caches

import (
	"errors"
	"io/fs"
)

// lock takes the exclusive lock of a folder.
func lock(string) (release func(), err error) { return nil, errors.ErrUnsupported }

// share takes a lock that others can have at the same time.
func share(string) (release func(), err error) { return nil, errors.ErrUnsupported }

// Private returns nil.
func Private(string) error { return nil }

// isOurs reports false: without locks it is not known who uses a folder.
func isOurs(fs.FileInfo) bool { return false }
