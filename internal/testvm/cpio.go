package testvm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// archive writes what the kernel unpacks into its first file system: cpio in the format "newc". All files belong to root.
type archive struct {
	w     *bufio.Writer
	inode int
	at    int64
}

// What inodes are, besides their permissions.
const (
	typeFolder  = 0o040000
	typeFile    = 0o100000
	typeSymlink = 0o120000
	typeChar    = 0o020000
)

// entry is a file of the archive.
type entry struct {
	name         string
	mode         uint32
	size         int64
	content      io.Reader
	major, minor int
}

func (a *archive) add(e entry) error {
	a.inode++
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.inode, e.mode, 0, 0, 1, 0, e.size, 0, 0, e.major, e.minor, len(e.name)+1, 0, e.name)
	if err := a.write(head); err != nil {
		return err
	}
	if e.content != nil {
		n, err := io.Copy(a.w, e.content)
		if a.at += n; err == nil && n != e.size {
			err = fmt.Errorf("testvm: %s has %d bytes, and not %d", e.name, n, e.size)
		}
		if err != nil {
			return err
		}
	}
	return a.write("")
}

// write writes a header, and pads what there is by then to four bytes.
func (a *archive) write(head string) error {
	n, err := a.w.WriteString(head)
	a.at += int64(n)
	for ; err == nil && a.at%4 != 0; a.at++ {
		err = a.w.WriteByte(0)
	}
	return err
}

func (a *archive) end() error {
	return errors.Join(a.add(entry{name: "TRAILER!!!"}), a.w.Flush())
}

// addTree adds all that is in a folder.
func (a *archive) addTree(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return a.addFile(path, name)
	})
}

// addFile adds a file under a name; symlinks stay what they are.
func (a *archive) addFile(path, name string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	mode := uint32(info.Mode().Perm())
	switch info.Mode().Type() {
	case fs.ModeDir:
		return a.add(entry{name: name, mode: typeFolder | mode})
	case fs.ModeSymlink:
		to, err := os.Readlink(path)
		if err != nil {
			return err
		}
		return a.addText(name, typeSymlink|0o777, to)
	case 0:
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return a.add(entry{name: name, mode: typeFile | mode, size: info.Size(), content: f})
	}
	return fmt.Errorf("testvm: %s is neither file nor folder nor symlink", path)
}
