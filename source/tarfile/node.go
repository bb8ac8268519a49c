package tarfile

import (
	"archive/tar"
	"fmt"
	"slices"
	"strings"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/tree"
)

// Types of entries that archive/tar has no names for.
const (
	typeDumpDir     = 'D' // a folder of an incremental archive, with a list of its entries
	typeMultiVolume = 'M' // the rest of a file of another archive
	typeVolume      = 'V' // the archive's name
)

// types are what becomes of entries.
var types = map[byte]tree.Type{
	tar.TypeReg: tree.File, 0: tree.File, tar.TypeCont: tree.File, tar.TypeGNUSparse: tree.File, tar.TypeLink: tree.File,
	tar.TypeDir: tree.Folder, typeDumpDir: tree.Folder, tar.TypeSymlink: tree.Symlink,
	tar.TypeChar: tree.CharDevice, tar.TypeBlock: tree.BlockDevice, tar.TypeFifo: tree.FIFO,
}

// node returns what a header says, without a type if it is of nothing that is backed up.
func (s *Source) node(h *tar.Header) (n tree.Node, err error) {
	if h.Typeflag == typeVolume {
		return n, nil
	}
	var ok bool
	if n.Type, ok = types[h.Typeflag]; !ok {
		return n, fmt.Errorf("%w: an entry of type %q", ErrUnknown, h.Typeflag)
	}
	n.Mode = uint32(h.Mode & 0o7777)
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > 1<<32-1 || int64(h.Gid) > 1<<32-1 {
		return n, fmt.Errorf("%w: owner %d, %d", ErrUnknown, h.Uid, h.Gid)
	}
	n.UID, n.GID, n.User, n.Group = uint32(h.Uid), uint32(h.Gid), h.Uname, h.Gname
	n.MTime = tree.MakeTime(h.ModTime.Unix(), uint32(h.ModTime.Nanosecond()))
	switch n.Type {
	case tree.File:
		n.Size = h.Size
	case tree.Symlink:
		n.Target, n.Mode = h.Linkname, 0o777
	case tree.CharDevice, tree.BlockDevice:
		n.Device = uint64(uint32(h.Devmajor))<<32 | uint64(uint32(h.Devminor))
	}
	n.XAttrs = s.attributes(h.PAXRecords)
	return n, nil
}

// Records of extended attributes.
const (
	xattrRecord   = "SCHILY.xattr."
	aclRecord     = "SCHILY.acl."
	selinuxRecord = "RHT.security.selinux"
	selinuxXAttr  = "security.selinux"
)

func (s *Source) attributes(records map[string]string) (out []tree.XAttr) {
	for key, value := range records {
		switch name, isAttr := strings.CutPrefix(key, xattrRecord); {
		case isAttr && name != "":
			out = append(out, tree.XAttr{Name: name, Value: []byte(value)})
		case key == selinuxRecord:
			if _, both := records[xattrRecord+selinuxXAttr]; !both {
				out = append(out, tree.XAttr{Name: selinuxXAttr, Value: []byte(value + "\x00")})
			}
		case strings.HasPrefix(key, aclRecord):
			s.warn("access control lists in the archive are written as text, and not taken over; tar --xattrs --xattrs-include='*' writes them as extended attributes, which are")
		}
	}
	slices.SortFunc(out, func(a, b tree.XAttr) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Limits for what is kept in memory of each entry until the end. A header may have a mebibyte of each of them.
const (
	maxPath       = 64 << 10
	maxTarget     = 4095     // Linux's
	maxOwner      = 1 << 10  // names of user and group
	maxAttributes = 64 << 10 // of an entry: names, and values that are stored with the node
	maxShown      = 1 << 10  // of a path in a message
)

// check returns an error for an entry that can not be taken over.
func check(p string, n *tree.Node) error {
	if len(p) > maxPath {
		return fmt.Errorf("%w: a path of %d bytes", ErrTooLong, len(p))
	}
	if err := source.CheckPath(p); err != nil {
		return err
	}
	if len(n.Target) > maxTarget {
		return fmt.Errorf("%w: a symbolic link to %d bytes", ErrTooLong, len(n.Target))
	}
	if size := len(n.User) + len(n.Group); size > maxOwner {
		return fmt.Errorf("%w: names of owners of %d bytes", ErrTooLong, size)
	}
	return nil
}

// checkAttributes returns an error for extended attributes that can not be taken over. Long values are stored at once.
func checkAttributes(list []tree.XAttr) error {
	size := 0
	for _, x := range list {
		if size += len(x.Name); len(x.Value) <= tree.MaxInlineXAttr {
			size += len(x.Value)
		}
	}
	if size > maxAttributes {
		return fmt.Errorf("%w: without its extended attributes, of %d bytes", ErrTooLong, size)
	}
	return nil
}

// checkGlobal refuses records for all that follows, but for comments.
func checkGlobal(h *tar.Header) error {
	for key := range h.PAXRecords {
		if key != "comment" {
			return fmt.Errorf("%w: a global header with %s", ErrUnknown, key)
		}
	}
	return nil
}
