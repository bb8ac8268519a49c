package source

import (
	"context"
	"io"

	"github.com/kura-backup/kura/tree"
)

// Source is something that can be backed up and is not a file tree of this machine. It is used by one goroutine.
type Source interface {
	// Kind is what manifests call it: "mysql".
	Kind() string
	// Paths are what the snapshot is of, as absolute paths in it. With the host and the kind they find the parent.
	Paths() []string
	// Write writes all there is to out. Nothing is committed unless it returns nil: it does so only when it knows that
	// what it wrote is complete. What it started has ended when it returns, whatever happened.
	Write(ctx context.Context, out Writer) error
}

// Replacing is a Source that may write a path several times if Replaces says so: the last one counts, as in an archive that
// was appended to. For other sources that is a mistake.
type Replacing interface {
	Source
	Replaces() bool
}

// Writer takes what a Source writes. Paths are absolute and clean, as CheckPath has them, and each is written once, in any
// order: folders before or after what is in them. Folders that something is in and that are not added themselves
// belong to this process's user, are 0755, and have no times. It is safe for concurrent use.
type Writer interface {
	// Create begins a file. Several may be open at once: each takes some 64 KiB, and 1 to 8 MiB once it is larger than
	// that. The node says what is known of it but for name, inode, links and content; its size is that which is expected, if
	// it is not 0.
	Create(path string, n tree.Node) (File, error)
	// Add adds an entry that is not a regular file: a folder, symlink, device, FIFO or socket. The node's name and, of a
	// folder, its page are not looked at.
	Add(path string, n tree.Node) error
	// Link adds another name of a file that was closed.
	Link(path, existing string) error
	// Miss notes that something could not be read in full. The run goes on, its snapshot counts it, and it ends with exit code 3.
	Miss(path string, err error)
	// Describe sets what the manifest says of the snapshot beyond its files, such as coordinates: details is marshalled as
	// a JSON object of at most MaxDetails bytes, in which all is below the source's key, with the number of its format, as ReadDetails
	// wants it. A later call replaces what an earlier one said.
	Describe(details any) error
	// Before returns what the parent snapshot's Describe said (a JSON object), or nil.
	Before() []byte
}

// File is a file of a snapshot that is being written. Only one goroutine at a time may use it. One that is not closed when
// Write returns nil is an error.
type File interface {
	io.Writer
	// ReadFrom writes what r has until its end. It is faster than Write: bytes are searched for chunks where they were read.
	// It may read ahead of what is stored.
	io.ReaderFrom
	// Zeros writes zeros that take no place, if they are many.
	Zeros(n int64) error
	// ReadMap writes ranges of what r has, which follow one another, the first where the file ends so far: data is read,
	// zeros are not, and of what is the same as at this place in the parent's file of the same path only what is needed to
	// get to the bounds of the parent's chunks is read. What is the same is all read where there is no such parent. It returns how
	// many bytes were read. A further call goes on behind the first, but the bounds between calls are bounds of chunks.
	ReadMap(r io.ReaderAt, ranges []Range) (read int64, err error)
	// Size is how many bytes were written so far.
	Size() int64
	// Close says that the file is complete. It may return before its content is stored.
	Close() error
}

// Range is a part of a file or device, in bytes.
type Range struct {
	Start, Length int64
	Kind          RangeKind
}

// RangeKind says what is known of a range before it is read.
type RangeKind uint8

// What is known of a range.
const (
	Data RangeKind = 1 // nothing: it has to be read
	Zero RangeKind = 2 // it is zero
	Same RangeKind = 3 // it is as in the parent
)

func (k RangeKind) String() string {
	switch k {
	case Data:
		return "data"
	case Zero:
		return "zero"
	case Same:
		return "same"
	}
	return "unknown"
}
