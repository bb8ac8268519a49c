package source

import (
	"os"
	"os/user"
	"strconv"
	"sync"

	"github.com/kura-backup/kura/tree"
)

// FileNode returns the node of a file that is made for the snapshot: it belongs to this process's user and has no times.
func FileNode(mode uint32) tree.Node { return ownNode(tree.File, mode) }

// FolderNode is FileNode for a folder.
func FolderNode(mode uint32) tree.Node { return ownNode(tree.Folder, mode) }

func ownNode(t tree.Type, mode uint32) tree.Node {
	name, group := ownNames()
	return tree.Node{Type: t, Mode: mode, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), User: name, Group: group}
}

// ownNames returns what this process's user and group are called, or nothing.
var ownNames = sync.OnceValues(func() (name, group string) {
	if u, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil {
		name = u.Username
	}
	if g, err := user.LookupGroupId(strconv.Itoa(os.Getegid())); err == nil {
		group = g.Name
	}
	return name, group
})
