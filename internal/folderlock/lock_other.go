//go:build !linux

package folderlock

import (
	"errors"
	"io/fs"
)

// Lock takes the exclusive lock of a folder.
func Lock(string) (release func(), err error) { return nil, errors.ErrUnsupported }

// share takes a lock that others can have at the same time.
func share(string) (release func(), err error) { return nil, errors.ErrUnsupported }

// Owner does not know.
func Owner(fs.FileInfo) (uid int, known bool) { return 0, false }
