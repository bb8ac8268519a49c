package lossy

import (
	"io"
	"io/fs"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/durable"
)

// Mount is a folder of a disk as one process sees it. It is safe for concurrent
// use.
type Mount struct {
	disk  *Disk
	dir   string
	left  atomic.Int64 // operations until death
	links atomic.Int64 // the same of links; 0 if it does not die of one
}

var _ durable.FS = (*Mount)(nil)

const immortal = 1 << 62

// Mount returns a folder of the disk, "." for all of it.
func (d *Disk) Mount(dir string) *Mount {
	m := &Mount{disk: d, dir: dir}
	m.left.Store(immortal)
	return m
}

// DieAfter makes the process of this mount die when it has done n more operations
// that change something. From then on all of its calls fail with [ErrDead], and
// its locks are free.
func (m *Mount) DieAfter(n int) { m.left.Store(int64(n)) }

// DieAfterLink makes the process die right after its nth link, when the file has its
// name and that is not durable.
func (m *Mount) DieAfterLink(n int) { m.links.Store(int64(n)) }

// Dead reports whether the process has died.
func (m *Mount) Dead() bool { return m.left.Load() < 0 }

// alive is asked before every operation, with the disk locked.
func (m *Mount) alive(changes bool) error {
	if changes && m.left.Add(-1) < 0 || m.Dead() {
		return ErrDead
	}
	return nil
}

func (m *Mount) path(name string) string { return path.Join(m.dir, name) }

// find returns the node of a name.
func (m *Mount) find(op, name string) (*node, error) {
	n := m.disk.root
	full := m.path(name)
	if full == "." {
		return n, nil
	}
	for part := range strings.SplitSeq(full, "/") {
		if !n.dir {
			return nil, &fs.PathError{Op: op, Path: full, Err: syscall.ENOTDIR}
		}
		next := n.names[part]
		if next == nil {
			return nil, &fs.PathError{Op: op, Path: full, Err: fs.ErrNotExist}
		}
		n = next
	}
	return n, nil
}

// free returns the folder for a name that must not be taken.
func (m *Mount) free(op, name string) (folder *node, base string, err error) {
	if folder, base, err = m.folder(op, name); err == nil && folder.names[base] != nil {
		err = &fs.PathError{Op: op, Path: m.path(name), Err: fs.ErrExist}
	}
	return folder, base, err
}

func (m *Mount) folder(op, name string) (folder *node, base string, err error) {
	if folder, err = m.find(op, path.Dir(name)); err == nil && !folder.dir {
		err = &fs.PathError{Op: op, Path: m.path(name), Err: syscall.ENOTDIR}
	}
	return folder, path.Base(name), err
}

// begin locks the disk for an operation. The caller calls end in any case.
func (m *Mount) begin(changes bool) (end func(), err error) {
	m.disk.mu.Lock()
	return m.disk.mu.Unlock, m.alive(changes)
}

// CreateExcl creates a file.
func (m *Mount) CreateExcl(name string, perm fs.FileMode) (durable.File, error) {
	end, err := m.begin(true)
	defer end()
	if err != nil {
		return nil, err
	}
	folder, base, err := m.free("create", name)
	if err != nil {
		return nil, err
	}
	n := m.disk.newNode(false, "", perm, clock.Now())
	m.disk.apply(change{folder, []entry{{base, n}}})
	return &file{mount: m, node: n, name: m.path(name), writes: true}, nil
}

// Open opens a file or folder for reading.
func (m *Mount) Open(name string) (durable.File, error) {
	end, err := m.begin(false)
	defer end()
	if err != nil {
		return nil, err
	}
	n, err := m.find("open", name)
	if err != nil {
		return nil, err
	}
	return &file{mount: m, node: n, name: m.path(name)}, nil
}

// Link gives a file a second name.
func (m *Mount) Link(oldname, newname string) error {
	end, err := m.begin(true)
	defer end()
	if err != nil {
		return err
	}
	n, err := m.find("link", oldname)
	if err != nil {
		return err
	}
	folder, base, err := m.free("link", newname)
	if err != nil {
		return err
	}
	m.disk.apply(change{folder, []entry{{base, n}}})
	if m.links.Load() > 0 && m.links.Add(-1) == 0 {
		m.left.Store(-1)
		return ErrDead
	}
	return nil
}

// RenameNoReplace renames a file and refuses a taken name.
func (m *Mount) RenameNoReplace(oldname, newname string) error {
	return m.rename(oldname, newname, m.free)
}

// Rename renames a file.
func (m *Mount) Rename(oldname, newname string) error { return m.rename(oldname, newname, m.folder) }

func (m *Mount) rename(oldname, newname string, target func(op, name string) (*node, string, error)) error {
	end, err := m.begin(true)
	defer end()
	if err != nil {
		return err
	}
	n, err := m.find("rename", oldname)
	if err != nil {
		return err
	}
	from, oldbase, err := m.folder("rename", oldname)
	if err != nil {
		return err
	}
	to, newbase, err := target("rename", newname)
	if err != nil {
		return err
	}
	gone, there := entry{oldbase, nil}, entry{newbase, n}
	if from == to {
		m.disk.apply(change{from, []entry{gone, there}})
	} else {
		m.disk.apply(change{from, []entry{gone}}, change{to, []entry{there}})
	}
	return nil
}

// Unlink removes a name of a file.
func (m *Mount) Unlink(name string) error {
	end, err := m.begin(true)
	defer end()
	if err != nil {
		return err
	}
	n, err := m.find("unlink", name)
	if err != nil {
		return err
	}
	if n.dir {
		return &fs.PathError{Op: "unlink", Path: m.path(name), Err: syscall.EISDIR}
	}
	folder, base, err := m.folder("unlink", name)
	if err != nil {
		return err
	}
	m.disk.apply(change{folder, []entry{{base, nil}}})
	return nil
}

// Mkdir makes a folder.
func (m *Mount) Mkdir(name string, perm fs.FileMode) error {
	end, err := m.begin(true)
	defer end()
	if err != nil {
		return err
	}
	folder, base, err := m.free("mkdir", name)
	if err != nil {
		return err
	}
	m.disk.apply(change{folder, []entry{{base, m.disk.newNode(true, m.path(name), perm, clock.Now())}}})
	return nil
}

// SyncDir makes the names in a folder durable.
func (m *Mount) SyncDir(name string) error {
	end, err := m.begin(true)
	var n *node
	if err == nil {
		n, err = m.find("fsync", name)
	}
	end()
	if err != nil {
		return err
	}
	return m.disk.sync(n, m.path(name))
}

// ReadDir returns what is in a folder.
func (m *Mount) ReadDir(name string) ([]fs.DirEntry, error) {
	end, err := m.begin(false)
	defer end()
	if err != nil {
		return nil, err
	}
	n, err := m.find("readdir", name)
	if err == nil && !n.dir {
		err = &fs.PathError{Op: "readdir", Path: m.path(name), Err: syscall.ENOTDIR}
	}
	if err != nil {
		return nil, err
	}
	out := make([]fs.DirEntry, 0, len(n.names))
	for name, child := range n.names {
		out = append(out, child.info(name))
	}
	return out, nil
}

// Stat describes a name.
func (m *Mount) Stat(name string) (fs.FileInfo, error) {
	end, err := m.begin(false)
	defer end()
	if err != nil {
		return nil, err
	}
	n, err := m.find("stat", name)
	if err != nil {
		return nil, err
	}
	return n.info(path.Base(name)), nil
}

// Close does nothing: what it would release is memory.
func (m *Mount) Close() error { return nil }

// file is an open file.
type file struct {
	mount  *Mount
	node   *node
	name   string
	writes bool
}

func (f *file) Write(p []byte) (int, error) {
	end, err := f.mount.begin(true)
	defer end()
	if err != nil {
		return 0, err
	}
	if !f.writes {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: syscall.EBADF}
	}
	f.node.data = append(f.node.data, p...)
	f.node.mtime = clock.Now()
	f.mount.disk.did(op{written: f.node, size: len(f.node.data)})
	return len(p), nil
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	end, err := f.mount.begin(false)
	defer end()
	if err != nil {
		return 0, err
	}
	if f.node.dir {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: syscall.EISDIR}
	}
	if off > int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) Sync() error {
	end, err := f.mount.begin(true)
	end()
	if err != nil {
		return err
	}
	return f.mount.disk.sync(f.node, f.name)
}

func (f *file) Stat() (fs.FileInfo, error) {
	end, err := f.mount.begin(false)
	defer end()
	if err != nil {
		return nil, err
	}
	return f.node.info(path.Base(f.name)), nil
}

func (f *file) TryLock() error {
	end, err := f.mount.begin(false)
	defer end()
	if err != nil {
		return err
	}
	if holder := f.node.lock; holder != nil && holder != f && !holder.mount.Dead() {
		return durable.ErrLocked
	}
	f.node.lock = f
	return nil
}

func (f *file) Close() error {
	f.mount.disk.mu.Lock()
	defer f.mount.disk.mu.Unlock()
	if f.node.lock == f {
		f.node.lock = nil
	}
	return nil
}

// info is a node as a name shows it.
type info struct {
	name  string
	size  int64
	mode  fs.FileMode
	mtime time.Time
}

func (n *node) info(name string) info { return info{name, int64(len(n.data)), n.mode, n.mtime} }

func (i info) Name() string               { return i.name }
func (i info) Size() int64                { return i.size }
func (i info) Mode() fs.FileMode          { return i.mode }
func (i info) ModTime() time.Time         { return i.mtime }
func (i info) IsDir() bool                { return i.mode.IsDir() }
func (i info) Sys() any                   { return nil }
func (i info) Type() fs.FileMode          { return i.mode.Type() }
func (i info) Info() (fs.FileInfo, error) { return i, nil }
