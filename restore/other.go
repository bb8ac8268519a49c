package restore

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/kura-backup/kura/restore/internal/jail"
	"github.com/kura-backup/kura/tree"
)

// other is a symbolic link, a FIFO or a device node.
type other struct {
	dir    *folder
	name   string
	kind   tree.Type
	meta   meta
	target string
	device uint64
	inode  *inode // of an entry with several names, otherwise nil
}

func (o *other) path() string { return o.dir.join(o.name) }

// other plans an entry that is neither a folder nor a regular file.
func (w *walker) other(dir *folder, name string, n *tree.Node, mount uint64) error {
	key := inodeKey{mount, n.Inode, n.Type}
	if n.Links > 1 && w.inodes[key] != nil {
		return w.link(dir, name, key)
	}
	o := &other{
		dir: dir, name: name, kind: n.Type, target: strings.Clone(n.Target), device: n.Device,
	}
	o.meta = w.metaOf(n, o.path)
	if n.Links > 1 {
		o.inode = w.newInode(&file{dir: dir, name: name}, key, n.Links)
	}
	w.b.others = append(w.b.others, o)
	return nil
}

func (run *run) makeOther(o *other) error {
	err := run.writeOther(o)
	if err == nil {
		run.rep.done(o.kind, 0, o.path)
	} else if err := run.otherError(o.kind, o.path, err); err != nil {
		return err
	}
	if o.inode != nil {
		if err != nil {
			o.inode.file.failure.Store(&err)
		}
		if err := run.releaseInode(o.inode); err != nil {
			return err
		}
	}
	return run.done(o.dir)
}

// otherError is entryError, but counts the devices that a user may not make.
func (run *run) otherError(kind tree.Type, path func() string, err error) error {
	device := kind == tree.CharDevice || kind == tree.BlockDevice
	if device && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)) && !run.rep.root {
		run.rep.omit(devices, err, path)
		return nil
	}
	return run.entryError(path, err)
}

func (run *run) writeOther(o *other) error {
	if run.o.DryRun {
		return nil
	}
	dir, err := run.folders.acquire(o.dir)
	if err != nil {
		return err
	}
	defer run.folders.release(o.dir)
	h, err := o.create(dir)
	if err != nil {
		return err
	}
	defer h.Close()
	if o.inode != nil {
		info, err := h.Stat()
		if err != nil {
			return err
		}
		o.inode.file.id = info.Identity
	}
	if o.dir.inherits && o.kind != tree.Symlink {
		h.DropACLs()
	}
	return run.apply(h, o.kind, &o.meta, o.path)
}

func (o *other) create(dir *jail.Dir) (*jail.Handle, error) {
	major, minor := uint32(o.device>>32), uint32(o.device)
	switch o.kind {
	case tree.Symlink:
		return dir.Symlink(o.target, o.name)
	case tree.FIFO:
		return dir.Mknod(o.name, jail.FIFO, 0, 0)
	case tree.CharDevice:
		return dir.Mknod(o.name, jail.CharDevice, major, minor)
	case tree.BlockDevice:
		return dir.Mknod(o.name, jail.BlockDevice, major, minor)
	}
	return nil, fmt.Errorf("%w: %v", tree.ErrInvalid, o.kind)
}

// inode is a file, or another entry but a folder, with several names. The one that the walker met first has the
// content; the other names are linked to it when it is complete.
type inode struct {
	file  *file        // only its place and identity, if it is no file
	alien bool         // if it is no file: what has the first name was kept, and is not what the snapshot has
	left  uint64       // names that the walker has not met
	refs  atomic.Int64 // links to be made; the file until it is complete; the walker
}

// releaseInode is called when the file is complete or given up, when a link is, and when the walker meets
// no more of them. The last call sets the flags that forbid links.
func (run *run) releaseInode(ino *inode) error {
	if ino.refs.Add(-1) > 0 {
		return nil
	}
	f := ino.file
	if flags := f.meta.flags & jail.FlagsThatLock; flags != 0 && !run.o.DryRun && !f.failed() {
		err := run.lock(f, flags)
		if fatal(err) {
			return pathError(f.path(), err)
		}
		run.omitFlags(err, flags, f.path)
	}
	return run.done(f.dir)
}

func (run *run) lock(f *file, flags uint32) error {
	return run.withSame(f, func(h *jail.File) error { return h.AddFlags(flags) })
}

// withSame opens a file in the target that is known, and must not have been replaced since.
func (run *run) withSame(f *file, do func(*jail.File) error) error {
	dir, err := run.folders.acquire(f.dir)
	if err != nil {
		return err
	}
	defer run.folders.release(f.dir)
	h, err := dir.OpenSame(f.name, f.id)
	if err != nil {
		return err
	}
	defer h.Close()
	return do(h)
}

// newInode notes the first of several names that the walker meets.
func (w *walker) newInode(f *file, key inodeKey, names uint64) *inode {
	ino := &inode{file: f, left: names - 1}
	ino.refs.Store(2)
	w.inodes[key] = ino
	f.dir.pending.Add(1) // until the last of its names is made
	return ino
}

// link plans a further name.
func (w *walker) link(dir *folder, name string, key inodeKey) error {
	ino := w.inodes[key]
	ino.refs.Add(1)
	w.b.links = append(w.b.links, &link{dir: dir, name: name, kind: key.kind, inode: ino})
	if ino.left--; ino.left > 0 {
		return nil
	}
	delete(w.inodes, key)
	return w.run.releaseInode(ino)
}

// link is a further name of an entry.
type link struct {
	dir   *folder
	name  string
	kind  tree.Type
	inode *inode
}

func (l *link) path() string { return l.dir.join(l.name) }

func (run *run) makeLink(l *link) error {
	f := l.inode.file
	err := run.writeLink(l, f)
	switch {
	case err != nil:
		if err := run.otherError(l.kind, l.path, err); err != nil {
			return err
		}
	case l.kind == tree.File:
		run.rep.linked(f.size, l.path)
	default:
		run.rep.done(l.kind, 0, l.path)
	}
	if err := run.releaseInode(l.inode); err != nil {
		return err
	}
	return run.done(l.dir)
}

func (run *run) writeLink(l *link, f *file) error {
	if failure := f.failure.Load(); failure != nil {
		return fmt.Errorf("hard link to %s: %w", f.path(), *failure)
	}
	if run.o.DryRun {
		return nil
	}
	from, err := run.folders.acquire(f.dir)
	if err != nil {
		return err
	}
	defer run.folders.release(f.dir)
	to, err := run.folders.acquire(l.dir)
	if err != nil {
		return err
	}
	defer run.folders.release(l.dir)
	return to.Link(from, f.name, f.id, l.name)
}
