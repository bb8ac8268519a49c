package restore

import (
	"errors"
	"fmt"
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
}

func (o *other) path() string { return o.dir.join(o.name) }

func (run *run) makeOther(o *other) error {
	if err := run.writeOther(o); err != nil {
		device := o.kind == tree.CharDevice || o.kind == tree.BlockDevice
		if device && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)) && !run.rep.root {
			run.rep.omit("device nodes", err, o.path)
		} else if err := run.entryError(o.path, err); err != nil {
			return err
		}
	} else {
		run.rep.done(o.kind, 0, o.path)
	}
	return run.done(o.dir)
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

// inode is a file with several names. The file that the walker met first has the content; the other names are
// linked to it when it is complete.
type inode struct {
	file *file
	left uint64       // names that the walker has not met
	refs atomic.Int64 // links to be made; the file until it is complete; the walker
}

// releaseInode is called when the file is complete or given up, when a link is, and when the walker meets
// no more of them. The last call sets the flags that forbid links.
func (run *run) releaseInode(ino *inode) error {
	if ino.refs.Add(-1) > 0 {
		return nil
	}
	f := ino.file
	if flags := f.meta.flags & jail.FlagsThatLock; flags != 0 && !run.o.DryRun && !f.failed() {
		if err := run.lock(f, flags); fatal(err) {
			return pathError(f.path(), err)
		} else if err != nil {
			run.rep.omit("inode flags", err, f.path)
		}
	}
	return run.done(f.dir)
}

func (run *run) lock(f *file, flags uint32) error {
	dir, err := run.folders.acquire(f.dir)
	if err != nil {
		return err
	}
	defer run.folders.release(f.dir)
	h, err := dir.Reopen(f.name, f.id)
	if err != nil {
		return err
	}
	defer h.Close()
	return h.AddFlags(flags)
}

// link is a further name of a file.
type link struct {
	dir   *folder
	name  string
	inode *inode
}

func (l *link) path() string { return l.dir.join(l.name) }

func (run *run) makeLink(l *link) error {
	f := l.inode.file
	err := run.writeLink(l, f)
	if err == nil {
		run.rep.linked(f.size, l.path)
	} else if err := run.entryError(l.path, err); err != nil {
		return err
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
