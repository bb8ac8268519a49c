package tree

import (
	"fmt"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/object"
)

// Limits of nodes.
const (
	MaxName        = 4096 // bytes of a name
	MaxInlineXAttr = 4096 // bytes of an extended attribute's value that is kept in the node
)

// Type says what a node is.
type Type uint8

// The types of nodes.
const (
	File        Type = 1
	Folder      Type = 2
	Symlink     Type = 3
	FIFO        Type = 4
	CharDevice  Type = 5
	BlockDevice Type = 6
	Socket      Type = 7
)

func (t Type) String() string {
	switch t {
	case File:
		return "file"
	case Folder:
		return "folder"
	case Symlink:
		return "symlink"
	case FIFO:
		return "fifo"
	case CharDevice:
		return "character device"
	case BlockDevice:
		return "block device"
	case Socket:
		return "socket"
	}
	return fmt.Sprintf("node type %d", uint8(t))
}

// Time is a file time as the kernel keeps it. The zero Time means that the time is unknown; make
// Times with [MakeTime], so that the first second of 1970 is not mistaken for that.
type Time struct {
	Sec  int64  // since 1970, UTC
	Nsec uint32 // 0 to 999999999
	// Epoch is set for the time 0 s 0 ns and for no other.
	Epoch bool
}

// MakeTime returns the time that is sec seconds and nsec nanoseconds after 1970 began.
func MakeTime(sec int64, nsec uint32) Time {
	return Time{Sec: sec, Nsec: nsec, Epoch: sec == 0 && nsec == 0}
}

// IsZero reports whether the time is unknown.
func (t Time) IsZero() bool { return t == Time{} }

// Time returns t as a time.Time, in UTC.
func (t Time) Time() time.Time { return time.Unix(t.Sec, int64(t.Nsec)).UTC() }

// XAttr is an extended attribute: its value, or the tree blob that has it where it is longer than
// [MaxInlineXAttr].
type XAttr struct {
	Name  string
	Value []byte
	Blob  object.BlobID
}

// Node is an entry of a folder. What is zero or empty is unknown or does not apply. A Node is a
// plain value.
type Node struct {
	Name  string // any bytes but '/' and 0; not "." or ".."
	Type  Type
	Mount bool   // a file system is mounted here
	Mode  uint32 // the 12 permission bits
	UID   uint32
	GID   uint32
	User  string // User, Group and Error are texts: bytes that are not UTF-8 are replaced when written
	Group string

	MTime, CTime, BTime Time
	ATime               Time // kept only where it was asked for

	Inode  uint64
	Links  uint64 // more than 1 for hard links
	Device uint64 // of device nodes: major << 32 | minor
	Flags  uint32 // inode flags, as FS_IOC_GETFLAGS returns them

	Target string  // of a symlink, any bytes
	XAttrs []XAttr // ascending by name

	// Files: the content is in Content or, when it has too many extents, in the content pages
	// Pages. A ContentWriter fills one or the other.
	Size    int64
	Content Content
	Pages   []object.BlobID

	Subtree object.BlobID // of a folder: its page

	// Error says why the entry could not be read in full. A file has no content then, and a
	// folder need not have a page.
	Error string
}

// validate checks everything but the order among nodes.
func (n *Node) validate() error {
	if err := checkName(n.Name); err != nil {
		return err
	}
	switch {
	case n.Type > Socket:
		return newer("%v", n.Type)
	case n.Type < File:
		return invalid("%v", n.Type)
	case n.Mode > 0o7777:
		return invalid("mode %#o", n.Mode)
	case n.Size < 0:
		return invalid("size %d", n.Size)
	case n.Type != File && (n.Size != 0 || !n.Content.IsZero() || len(n.Pages) > 0):
		return invalid("%v with content", n.Type)
	case n.Type != Folder && !n.Subtree.IsZero():
		return invalid("%v with a folder's page", n.Type)
	case n.Type == Folder && n.Subtree.IsZero() && n.Error == "":
		return invalid("folder without its page")
	case n.Type != Symlink && n.Target != "":
		return invalid("%v with a symlink's target", n.Type)
	case n.Type == Symlink && n.Target == "" && n.Error == "":
		return invalid("symlink without target")
	case n.Type != CharDevice && n.Type != BlockDevice && n.Device != 0:
		return invalid("%v with a device number", n.Type)
	}
	for _, t := range [...]Time{n.MTime, n.CTime, n.BTime, n.ATime} {
		if t.Nsec > 999_999_999 || t.Epoch && (t.Sec != 0 || t.Nsec != 0) {
			return invalid("time %+v", t)
		}
	}
	if err := n.validateXAttrs(); err != nil {
		return err
	}
	if n.Type == File {
		return n.validateContent()
	}
	return nil
}

func (n *Node) validateXAttrs() error {
	last := ""
	for i := range n.XAttrs {
		x := &n.XAttrs[i]
		switch {
		case x.Name <= last: // also the empty name
			return invalid("xattr %q behind %q", x.Name, last)
		case len(x.Value) > MaxInlineXAttr:
			return invalid("xattr %q has %d bytes in the node", x.Name, len(x.Value))
		case len(x.Value) > 0 && !x.Blob.IsZero():
			return invalid("xattr %q has two values", x.Name)
		}
		last = x.Name
	}
	return nil
}

func (n *Node) validateContent() error {
	has := !n.Content.IsZero() || len(n.Pages) > 0
	switch {
	case n.Error != "" && has:
		return invalid("file with an error and content")
	case n.Error != "", n.Size == 0 && !has:
		return nil
	case len(n.Pages) > 0 && !n.Content.IsZero():
		return invalid("file with two contents")
	case n.Size == 0 || !has:
		return invalid("file of %d bytes with the wrong content", n.Size)
	case len(n.Pages) > 0:
		return validateIDs(n.Pages)
	}
	size, err := n.Content.validate(MaxInlineExtents)
	if err != nil {
		return err
	}
	if size != n.Size {
		return invalid("content has %d bytes, the file %d", size, n.Size)
	}
	return nil
}

func validateIDs(ids []object.BlobID) error {
	for i := range ids {
		if ids[i].IsZero() {
			return invalid("blob id is zero")
		}
	}
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > MaxName || name == "." || name == ".." ||
		strings.IndexByte(name, '/') >= 0 || strings.IndexByte(name, 0) >= 0 {
		if len(name) > 64 {
			name = name[:64] + "…"
		}
		return invalid("name %q", name)
	}
	return nil
}
