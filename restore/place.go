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
	}
	return stays, nil
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
	stays, err := run.linkStays(l)
	if err == nil && !stays {
		return run.makeLink(l)
	}
	if err == nil {
		run.rep.keep(l.inode.file.size, l.path)
	} else if err := run.entryError(l.path, err); err != nil {
		return err
	}
	if err := run.releaseInode(l.inode); err != nil {
		return err
	}
	return run.done(l.dir)
}

func (run *run) linkStays(l *link) (bool, error) {
	f := l.inode.file
	if f.failed() || !l.dir.existed || l.dir.missing {
		return false, nil
	}
	dir, err := run.folders.acquire(l.dir)
	if err != nil {
		return false, err
	}
	defer run.folders.release(l.dir)
	old, err := dir.Lstat(l.name)
	switch {
	case errors.Is(err, syscall.ENOENT):
		if f.plan == keep && !f.old.IsFile() {
			return false, fmt.Errorf("hard link to %s, which is no file and was kept", f.path())
		}
		return false, nil
	case err != nil:
		return false, err
	case old.IsDir():
		return false, run.makeRoom(dir, l.dir, l.name)
	}
	return old.Identity == f.id || run.o.Overwrite.keeps(&old, f.meta.mtime), nil
}
