package ui

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

type listedSnapshot struct {
	MessageType string `json:"message_type"`
	StructType  string `json:"struct_type"`
	Snapshot
}

// Node is an entry of a snapshot as JSON shows it.
type Node struct {
	MessageType string      `json:"message_type,omitempty"`
	StructType  string      `json:"struct_type,omitempty"`
	Name        string      `json:"name"`
	Type        string      `json:"type"`
	Path        string      `json:"path"`
	PathRaw     []byte      `json:"path_raw,omitempty"`
	UID         uint32      `json:"uid"`
	GID         uint32      `json:"gid"`
	User        string      `json:"user,omitempty"`
	Group       string      `json:"group,omitempty"`
	Size        *int64      `json:"size,omitempty"`
	Mode        fs.FileMode `json:"mode,omitempty"`
	Permissions string      `json:"permissions,omitempty"`
	MTime       *time.Time  `json:"mtime,omitempty"`
	CTime       *time.Time  `json:"ctime,omitempty"`
	ATime       *time.Time  `json:"atime,omitempty"`
	Inode       uint64      `json:"inode,omitempty"`
	Links       uint64      `json:"links,omitempty"`
	LinkTarget  string      `json:"linktarget,omitempty"`
	Subtree     string      `json:"subtree,omitempty"`
	Error       string      `json:"error,omitempty"`
}

// MakeNode returns a node as JSON shows it.
func MakeNode(path string, n *tree.Node) Node {
	mode := fileMode(n)
	out := Node{
		Type: typeWord(n.Type), UID: n.UID, GID: n.GID, User: n.User, Group: n.Group,
		Mode: mode, Permissions: mode.String(), MTime: jsonTime(n.MTime), CTime: jsonTime(n.CTime), ATime: jsonTime(n.ATime),
		Inode: n.Inode, Error: n.Error,
	}
	out.Name, _ = jsonText(n.Name)
	out.Path, out.PathRaw = jsonText(path)
	out.LinkTarget, _ = jsonText(n.Target)
	if n.Links > 1 {
		out.Links = n.Links
	}
	if n.Type == tree.File {
		out.Size = &n.Size
	}
	if !n.Subtree.IsZero() {
		out.Subtree = n.Subtree.String()
	}
	return out
}

// The first and the last second that JSON has a year for, in UTC, since 1970.
const (
	firstInJSON = -62167219200 // of the year 0
	lastInJSON  = 253402300799 // of 9999
)

// jsonTime is in the local time zone. File systems know years that JSON does not: for those it is the nearest time that there is, in UTC.
func jsonTime(t tree.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	at := t.Time().Local()
	const day = 24 * 60 * 60 // no zone is further from UTC
	if t.Sec < firstInJSON+day || t.Sec > lastInJSON-day {
		at = time.Unix(max(firstInJSON, min(t.Sec, lastInJSON)), 0).UTC()
	}
	return &at
}

func typeWord(t tree.Type) string {
	switch t {
	case tree.File:
		return "file"
	case tree.Folder:
		return "dir"
	case tree.Symlink:
		return "symlink"
	case tree.FIFO:
		return "fifo"
	case tree.CharDevice:
		return "chardev"
	case tree.BlockDevice:
		return "dev"
	case tree.Socket:
		return "socket"
	}
	return t.String()
}

func fileMode(n *tree.Node) fs.FileMode {
	mode := fs.FileMode(n.Mode & 0o777)
	for _, bit := range []struct {
		unix uint32
		mode fs.FileMode
	}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}} {
		if n.Mode&bit.unix != 0 {
			mode |= bit.mode
		}
	}
	switch n.Type {
	case tree.Folder:
		mode |= fs.ModeDir
	case tree.Symlink:
		mode |= fs.ModeSymlink
	case tree.FIFO:
		mode |= fs.ModeNamedPipe
	case tree.CharDevice:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case tree.BlockDevice:
		mode |= fs.ModeDevice
	case tree.Socket:
		mode |= fs.ModeSocket
	}
	return mode
}

// unixMode writes type and permissions as ls does, which people expect; programs get Go's notation, as
// restic's have it.
func unixMode(n *tree.Node) string {
	const types = "-dlpcbs"
	i := slices.Index([]tree.Type{tree.File, tree.Folder, tree.Symlink, tree.FIFO, tree.CharDevice, tree.BlockDevice, tree.Socket}, n.Type)
	if i < 0 {
		return "?" + strings.Repeat("-", 9)
	}
	mode := []byte(types[i:i+1] + "rwxrwxrwx")
	for bit := range 9 {
		if n.Mode&(0o400>>bit) == 0 {
			mode[1+bit] = '-'
		}
	}
	for _, special := range []struct {
		bit       uint32
		at        int
		with, not byte // with x and without it
	}{{0o4000, 3, 's', 'S'}, {0o2000, 6, 's', 'S'}, {0o1000, 9, 't', 'T'}} {
		switch {
		case n.Mode&special.bit == 0:
		case mode[special.at] == 'x':
			mode[special.at] = special.with
		default:
			mode[special.at] = special.not
		}
	}
	return string(mode)
}

// ListedSnapshot begins the listing of a snapshot.
func (t *Terminal) ListedSnapshot(s *repo.Snapshot) {
	if t.JSON {
		t.Message(listedSnapshot{"snapshot", "snapshot", MakeSnapshot(s)})
		return
	}
	t.Info(Describe(s))
}

// ListedNode prints an entry of a snapshot, in the long form with its metadata.
func (t *Terminal) ListedNode(path string, n *tree.Node, long bool) {
	if t.JSON {
		out := MakeNode(path, n)
		out.MessageType, out.StructType, out.Subtree = "node", "node", ""
		t.Message(out)
		return
	}
	if !long {
		t.Print(t.Printable(path))
		return
	}
	line := fmt.Sprintf("%s %8s %8s %12d %s %s", unixMode(n), owner(n.User, n.UID), owner(n.Group, n.GID), n.Size,
		listedTime(n.MTime), t.Printable(path))
	t.Print(line + t.remarks(n))
}

// remarks is what stands behind the metadata of a node, if there is anything to say.
func (t *Terminal) remarks(n *tree.Node) (out string) {
	if n.Type == tree.Symlink {
		out = " -> " + t.Printable(n.Target)
	}
	if n.Error != "" {
		out += " [" + PrintableMessage(n.Error) + "]"
	}
	return out
}

func owner(name string, id uint32) string {
	if name != "" {
		return Printable(name)
	}
	return fmt.Sprint(id)
}

func listedTime(t tree.Time) string {
	if t.IsZero() {
		return fmt.Sprintf("%-19s", "-")
	}
	return Time(t.Time())
}
