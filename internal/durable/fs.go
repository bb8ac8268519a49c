package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

var (
	// ErrLocked is returned by TryLock when another descriptor has the lock.
	ErrLocked = errors.New("durable: file is locked")

	// ErrNoExclusive is returned by CreateExclusive on file systems that can
	// neither link nor rename without replacing, where no file can be created
	// safely beside other writers.
	ErrNoExclusive = errors.New("durable: the file system can create no file without the risk of replacing another")
)

// FS is the seam between the rules and the disk: the few operations they need,
// below one folder. Names are slash-separated, relative to that folder, which
// is itself "."; they never leave it. Errors match [fs.ErrExist] and
// [fs.ErrNotExist], and [errors.ErrUnsupported] for what a file system lacks.
//
// Implementations are safe for concurrent use. Nothing is durable but by Sync
// and SyncDir.
type FS interface {
	// CreateExcl creates a file for writing and fails when the name is taken.
	CreateExcl(name string, perm fs.FileMode) (File, error)

	// Open opens a file for reading. It never blocks, whatever the name is.
	Open(name string) (File, error)

	// Link gives a file a second name and fails when that is taken.
	Link(oldname, newname string) error

	// RenameNoReplace renames a file and fails when the new name is taken.
	RenameNoReplace(oldname, newname string) error

	// Rename renames a file and replaces what has the new name, atomically.
	Rename(oldname, newname string) error

	// Unlink removes a name of a file.
	Unlink(name string) error

	// Mkdir makes a folder and fails when the name is taken.
	Mkdir(name string, perm fs.FileMode) error

	// SyncDir makes durable which names a folder has: all that was created,
	// linked, renamed or removed in it before the call. It fails with
	// errors.ErrUnsupported on file systems that do not sync folders.
	SyncDir(name string) error

	// ReadDir returns the entries of a folder, in any order, and has asked for their Info.
	ReadDir(name string) ([]fs.DirEntry, error)

	// Stat describes a name, without following a link.
	Stat(name string) (fs.FileInfo, error)

	// Close releases the folder.
	Close() error
}

// Far is an FS on another machine, where each call waits for a network.
type Far interface {
	FS

	// Parallel is how many calls are worth making at once.
	Parallel() int

	// Now is the time by the clock that files get their times from.
	Now() (time.Time, error)
}

// File is an open file of an [FS]. ReadAt is safe for concurrent use, the
// other methods are not.
type File interface {
	io.Writer
	io.ReaderAt

	// Sync makes the content and size of the file durable, though none of its
	// names.
	Sync() error

	// Stat describes the file.
	Stat() (fs.FileInfo, error)

	// TryLock takes the file's lock until it is closed, by Close or by the end
	// of the process. It returns ErrLocked when another has it and
	// errors.ErrUnsupported where there are no locks.
	TryLock() error

	Close() error
}

// DirectFile is a File that can write past the page cache: whole units of directUnit bytes, from memory that begins at
// one. Whether it can at all is known at the first Write, which fails with EINVAL if it can not.
type DirectFile interface {
	File

	// SetDirect turns it on or off for the following calls of Write.
	SetDirect(on bool) error
}

// SyncError is a file that is in place with all of its bytes, while the folder
// that names it could not be made durable: it can vanish in a power failure.
type SyncError struct {
	Name string
	Err  error
}

func (e *SyncError) Error() string {
	return fmt.Sprintf("durable: %s is in place but not safe from a power failure: %v", e.Name, e.Err)
}

func (e *SyncError) Unwrap() error { return e.Err }

// UnclearError is a file of which it is not known whether it is in place: giving
// it its name failed, and so did looking whether it has it.
type UnclearError struct {
	Name string
	Err  error
}

func (e *UnclearError) Error() string {
	return fmt.Sprintf("durable: %s may or may not have been created: %v", e.Name, e.Err)
}

func (e *UnclearError) Unwrap() error { return e.Err }
