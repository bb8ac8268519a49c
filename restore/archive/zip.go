package archive

import (
	"archive/zip"
	"encoding/binary"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/kura-backup/kura/tree"
)

// zipSink writes zip archives.
type zipSink struct{ *zip.Writer }

func newZip(w io.Writer) *zipSink { return &zipSink{zip.NewWriter(w)} }

// maxZipName is how long a name may be: the format has 16 bits for that.
const maxZipName = 1<<16 - 1

// zipModes are the types that there are in archives.
var zipModes = map[tree.Type]fs.FileMode{tree.File: 0, tree.Folder: fs.ModeDir, tree.Symlink: fs.ModeSymlink}

func (s *zipSink) add(name string, n *tree.Node, content io.Reader) (omitted, err error) {
	mode, ok := zipModes[n.Type]
	if !ok || len(name) > maxZipName-len("/") {
		return nil, ErrNoPlace
	}
	for bit, m := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if n.Mode&bit != 0 {
			mode |= m
		}
	}
	h := &zip.FileHeader{Name: name, Modified: mtime(n), Extra: owner(n.UID, n.GID), NonUTF8: !utf8.ValidString(name)}
	h.SetMode(mode | fs.FileMode(n.Mode&0o777))
	switch n.Type {
	case tree.Folder:
		h.Name += "/"
	case tree.Symlink:
		content = strings.NewReader(n.Target)
	case tree.File:
		h.Method = zip.Deflate
	}
	w, err := s.CreateHeader(h)
	if err == nil && content != nil {
		_, err = io.Copy(w, content)
	}
	return nil, err // that it has no extended attributes is known of the format
}

// owner is the extra field of Info-ZIP with numbers of user and group.
func owner(uid, gid uint32) []byte {
	out := []byte{'u', 'x', 11, 0, 1, 4}
	out = binary.LittleEndian.AppendUint32(out, uid)
	out = append(out, 4)
	return binary.LittleEndian.AppendUint32(out, gid)
}

func (s *zipSink) link(string, string, *tree.Node) (bool, error) { return false, nil }
