package restore

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/kura-backup/kura/restore/internal/jail"
	"github.com/kura-backup/kura/tree"
)

// placeOther makes a link or special file, unless what is there is right or to be kept.
func (run *run) placeOther(o *other) error {
	stays, err := run.otherStays(o)
	if err != nil {
		if err := run.entryError(o.path, err); err != nil {
			return err
		}
	}
	if err == nil && !stays {
		return run.makeOther(o)
	}
	if err == nil {
		run.rep.keep(0, o.path)
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

func (run *run) otherStays(o *other) (bool, error) {
	if !o.dir.existed {
		return false, nil
	}
	dir, err := run.folders.acquire(o.dir)
	if err != nil {
		return false, err
	}
	defer run.folders.release(o.dir)
	old, err := dir.Lstat(o.name)
	switch {
	case errors.Is(err, syscall.ENOENT):
		return false, nil
	case err != nil:
		return false, err
	case old.IsDir():
		return false, run.makeRoom(dir, o.dir, o.name)
	}
	stays := run.o.Overwrite.keeps(&old, o.meta.mtime) || o.sameLink(dir, &old)
	if stays && o.inode != nil {
		o.inode.file.id = old.Identity
		o.inode.alien = !o.resembles(dir, &old)
	}
	return stays, nil
}

// resembles reports whether what is there may be what is in the snapshot.
func (o *other) resembles(dir *jail.Dir, old *jail.Info) bool {
	if o.kind == tree.Symlink {
		to, err := dir.Readlink(o.name)
		return err == nil && to == o.target
	}
	return !old.IsFile() && !old.IsSymlink() && o.meta.hasTime(old)
}

// sameLink reports whether a symbolic link is there as it is in the snapshot.
func (o *other) sameLink(dir *jail.Dir, old *jail.Info) bool {
	if o.kind != tree.Symlink || !old.IsSymlink() || old.UID != o.meta.uid || old.GID != o.meta.gid ||
		!o.meta.hasTime(old) || len(o.meta.xattrs) > 0 {
		return false
	}
	to, err := dir.Readlink(o.name)
	return err == nil && to == o.target
}

// placeLink makes a further name of a file, unless it is there or what is there is to be kept.
func (run *run) placeLink(l *link) error {
	stays, own, err := run.linkStays(l)
	if err == nil && !stays {
		return run.makeLink(l)
	}
	switch {
	case err != nil:
		if err := run.entryError(l.path, err); err != nil {
			return err
		}
	case own || l.inode.file.plan == keep:
		run.rep.leave(l.inode.file.size, l.path)
	default:
		run.rep.keep(l.inode.file.size, l.path)
	}
	if err := run.releaseInode(l.inode); err != nil {
		return err
	}
	return run.done(l.dir)
}

// linkStays also reports whether what stays is something of its own, and not the file that it should be linked to.
func (run *run) linkStays(l *link) (stays, own bool, err error) {
	f := l.inode.file
	if f.failed() {
		return false, false, nil
	}
	if !l.dir.existed || l.dir.missing {
		return false, false, l.inode.linkable()
	}
	dir, err := run.folders.acquire(l.dir)
	if err != nil {
		return false, false, err
	}
	defer run.folders.release(l.dir)
	old, err := dir.Lstat(l.name)
	switch {
	case errors.Is(err, syscall.ENOENT):
		return false, false, l.inode.linkable()
	case err != nil:
		return false, false, err
	case old.IsDir():
		if err := l.inode.linkable(); err != nil {
			return false, false, err
		}
		return false, false, run.makeRoom(dir, l.dir, l.name)
	case old.Identity == f.id:
		return true, false, nil
	case run.o.Overwrite.keeps(&old, f.meta.mtime):
		return true, true, nil
	}
	return false, false, l.inode.linkable()
}

// linkable returns an error where the first name was kept and is not what the other names are in the snapshot: a link to
// it would be one to something else, and who changes either would change both. That of the size and time in the
// snapshot may have been made by a run that was cut off.
func (ino *inode) linkable() error {
	f := ino.file
	if ino.alien || f.plan == keep && !(f.old.IsFile() && f.old.Size == f.size && f.meta.hasTime(&f.old)) {
		return fmt.Errorf("hard link to %s, which was kept and is not as in the snapshot; restore this one alone, by ID:PATH", f.path())
	}
	return nil
}
