//go:build !linux

package caches

import "errors"

// lock takes the exclusive lock of a folder.
func lock(string) (release func(), err error) { return nil, errors.ErrUnsupported }

// share takes a lock that others can have at the same time.
func share(string) (release func(), err error) { return nil, errors.ErrUnsupported }
