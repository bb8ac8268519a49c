package files

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/tree"
)

// Entry is a name in a folder. Type is 0 where the file system does not tell. Inode is what the folder says, which at a mount point is not what
// Stat does.
type Entry struct {
	Name  string
	Type  tree.Type
	Inode uint64
}

var listBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// List returns the entries of the folder, sorted by the bytes of their names, without "." and "..". If
// there is an error the entries are those read before it.
func (d *Dir) List() ([]Entry, error) {
	d.listing.Lock()
	defer d.listing.Unlock()
	fd, err := d.use()
	if err != nil {
		return nil, err
	}
	defer d.done()
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	buf := listBuffers.Get().(*[64 << 10]byte)
	defer listBuffers.Put(buf)

	type span struct {
		end   int
		t     tree.Type
		inode uint64
	}
	var names []byte // one string for all names spares an allocation for each
	var spans []span
	for {
		n, e := unix.Getdents(fd, buf[:])
		if e == unix.EINTR {
			continue
		}
		if e != nil {
			err = fmt.Errorf("list: %w", e)
			break
		}
		if n <= 0 {
			break
		}
		for rec := buf[:n]; len(rec) >= direntName; {
			size := int(binary.NativeEndian.Uint16(rec[16:]))
			if size < direntName || size > len(rec) {
				return nil, fmt.Errorf("list: %w", unix.EIO)
			}
			name := rec[direntName:size]
			if end := bytes.IndexByte(name, 0); end >= 0 {
				name = name[:end]
			}
			switch string(name) { // does not allocate
			case ".", "..", "":
			default:
				names = append(names, name...)
				spans = append(spans, span{len(names), direntType(rec[18]), binary.NativeEndian.Uint64(rec)})
			}
			rec = rec[size:]
		}
	}
	all := string(names)
	entries := make([]Entry, len(spans))
	start := 0
	for i, s := range spans {
		entries[i] = Entry{all[start:s.end], s.t, s.inode}
		start = s.end
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	// A folder that is changed while it is listed may show a name twice.
	entries = slices.CompactFunc(entries, func(a, b Entry) bool { return a.Name == b.Name })
	return entries, err
}

// direntName is the offset of the name in struct linux_dirent64: inode, offset, record length
// (16 bits), type (8 bits).
const direntName = 19

func direntType(b byte) tree.Type {
	switch b {
	case unix.DT_REG:
		return tree.File
	case unix.DT_DIR:
		return tree.Folder
	case unix.DT_LNK:
		return tree.Symlink
	case unix.DT_FIFO:
		return tree.FIFO
	case unix.DT_CHR:
		return tree.CharDevice
	case unix.DT_BLK:
		return tree.BlockDevice
	case unix.DT_SOCK:
		return tree.Socket
	}
	return 0
}
