//go:build !linux

package durable

import (
	"errors"
	"os"
)

// RenameNoReplace is unsupported: file systems without links cannot hold a
// store on this system.
func (d *Dir) RenameNoReplace(oldname, newname string) error {
	return &os.LinkError{Op: "rename without replacing", Old: oldname, New: newname, Err: errors.ErrUnsupported}
}

// TryLock is unsupported: Sweep goes by age on this system.
func (f osFile) TryLock() error {
	return &os.PathError{Op: "lock", Path: f.Name(), Err: errors.ErrUnsupported}
}
