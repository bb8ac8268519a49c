package jail

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Choice decides what stays of the entries of a folder that is deleted.
type Choice interface {
	Keep(name string) bool
	Below(name string) Choice // for the entries of a folder that does not stay
}

// Deletion deletes an entry with all in it.
type Deletion struct {
	// Choice is for the entries of the folder, where the entry is one; nil keeps nothing.
	Choice Choice
	// Done is called for what was deleted, Failed for what could not be; with the names from the entry down. The
	// slice is used again.
	Done   func(names []string)
	Failed func(names []string, err error)
	// Spare is what stays, with the folders above it; Spared is called for it. It may be nil if Spare is empty and Own is nil.
	Spare  Spare
	Spared func(names []string)
	// Own reports of a folder, by what is in it, whether it is to be spared, too; nil if none is.
	Own func(*Dir) bool
}

// Spare is what no deletion takes away, whatever name led to it. It must not be changed.
type Spare map[Identity]struct{}

// SpareOf returns what the paths lead to, and the symbolic links in them. What is not there needs no sparing.
func SpareOf(paths []string) (Spare, error) {
	s := Spare{}
	for _, path := range paths {
		path, err := filepath.Abs(path)
		if err == nil {
			err = s.add(path, 0)
		}
		for at := path; err == nil && at != "/"; at = filepath.Dir(at) {
			err = s.add(at, unix.AT_SYMLINK_NOFOLLOW)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// add adds what a path leads to, or the link that it is if links are not to be followed.
func (s Spare) add(path string, flags int) error {
	var st unix.Stat_t
	switch err := retry(func() error { return unix.Fstatat(unix.AT_FDCWD, path, &st, flags) }); err {
	case nil:
	case unix.ENOENT, unix.ENOTDIR:
		return nil
	default:
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if info := infoOf(&st); flags == 0 || info.IsSymlink() {
		s[info.Identity] = struct{}{}
	}
	return nil
}

func (s Spare) has(info *Info) bool {
	_, ok := s[info.Identity]
	return ok
}

// Holds reports whether a folder is spared or, by what is in it, own, or below one that is: then so is all in it.
func (s Spare) Holds(d *Dir, own func(*Dir) bool) (bool, error) {
	if len(s) == 0 && own == nil {
		return false, nil
	}
	info, err := d.Stat()
	at, fd := d.fd, -1
	defer func() { closeFD(fd) }()
	for err == nil {
		if s.has(&info) || own != nil && own(&Dir{Handle: Handle{fd: at}, view: true}) {
			return true, nil
		}
		var up int
		err = retry(func() (err error) {
			up, err = unix.Openat(at, "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			return err
		})
		if err != nil {
			break
		}
		closeFD(fd)
		at, fd = up, up
		above, serr := (&Handle{fd: up}).Stat()
		if serr == nil && above.Identity == info.Identity {
			return false, nil // the topmost folder is above itself
		}
		info, err = above, serr
	}
	return false, wrap("look at the folders above", err)
}

// closeFD closes a descriptor that nothing was written through, or none.
func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// IsMounted reports whether the folder is the topmost one of a file system, or of a part of one that is mounted by itself.
func (d *Dir) IsMounted() bool {
	var x unix.Statx_t
	err := retry(func() error { return unix.Statx(d.fd, "", unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, 0, &x) })
	if err == nil && x.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return true
	}
	here, err := d.Stat() // also where the kernel is too old to tell, and for subvolumes
	var up unix.Stat_t
	return err == nil && retry(func() error { return unix.Fstatat(d.fd, "..", &up, unix.AT_SYMLINK_NOFOLLOW) }) == nil &&
		infoOf(&up).dev != here.dev
}

// Delete deletes an entry and, if it is a folder, what is in it, without following links and without leaving the
// file system. Through a [View] it only says what it would delete. It reports whether all is gone.
//
// One folder is open at a time, however deep they are. The way back up is "..", and only as long as that is the
// folder that the way down came from: one that is moved elsewhere meanwhile ends the deletion.
func (d *Dir) Delete(name string, o Deletion) (gone bool) {
	r := remover{Deletion: o, top: d, cur: d}
	defer r.close()
	gone = r.entry(name, o.Choice)
	for len(r.stack) > 0 {
		f := &r.stack[len(r.stack)-1]
		if len(f.todo) == 0 {
			var ok bool
			if gone, ok = r.leave(); !ok {
				return false
			}
			continue
		}
		next := f.todo[len(f.todo)-1]
		f.todo = f.todo[:len(f.todo)-1]
		if f.choice != nil && f.choice.Keep(next) {
			f.kept = true
			continue
		}
		var below Choice
		if f.choice != nil {
			below = f.choice.Below(next)
		}
		if depth := len(r.stack); !r.entry(next, below) && len(r.stack) == depth {
			f.kept = true
		}
	}
	return gone
}

// remover is one call of Delete. cur is the folder that is open, the last of the stack.
type remover struct {
	Deletion
	top, cur *Dir
	stack    []level
	names    []string
}

// level is a folder that is being emptied.
type level struct {
	parent Identity
	todo   []string
	choice Choice
	kept   bool // something in it stays
	mode   uint32
	opened bool // the owner was given the right to enter it, or to change it
}

func (r *remover) close() {
	if r.cur != r.top {
		_ = r.cur.Close()
	}
}

func (r *remover) fail(err error) bool {
	r.Failed(r.names, err)
	r.names = r.names[:len(r.names)-1]
	return false
}

func (r *remover) done() bool {
	r.Done(r.names)
	r.names = r.names[:len(r.names)-1]
	return true
}

// entry deletes an entry of the open folder, or enters it if it is a folder; then it returns false.
func (r *remover) entry(name string, choice Choice) bool {
	r.names = append(r.names, name)
	info, err := r.cur.Lstat(name)
	if err != nil {
		return r.fail(err)
	}
	if r.Spare.has(&info) {
		return r.spared()
	}
	if info.IsDir() {
		own, err := r.enter(name, choice)
		switch {
		case err != nil:
			return r.fail(err)
		case own:
			return r.spared()
		}
		return false
	}
	if !r.top.view {
		if err := r.cur.Remove(name); err != nil {
			return r.fail(err)
		}
	}
	return r.done()
}

// spared is the end of an entry that stays.
func (r *remover) spared() bool {
	r.Spared(r.names)
	r.names = r.names[:len(r.names)-1]
	return false
}

// enter goes down into a folder, unless it is own and stays.
func (r *remover) enter(name string, choice Choice) (own bool, err error) {
	here, err := r.cur.Stat()
	if err != nil {
		return false, err
	}
	sub, err := r.cur.openSame(name, &here)
	if err != nil {
		return false, err
	}
	info, err := sub.Stat()
	if err == nil && r.Spare.has(&info) {
		err = ErrReplaced // it came here after the look at its name
	}
	opened := false
	if err == nil && info.Mode&0o700 != 0o700 && !r.top.view {
		opened = sub.Chmod(info.Mode|0o700) == nil // if that is refused, so is the deletion
	}
	var names []string
	if err == nil {
		names, err = sub.Names()
	}
	if own = err == nil && r.Own != nil && r.Own(sub); own && opened {
		err = sub.Chmod(info.Mode) // it stays, and so do its rights
	}
	if err != nil || own {
		return own, errors.Join(err, sub.Close())
	}
	slices.Sort(names)
	slices.Reverse(names) // they are taken from the end
	r.close()
	r.cur = sub
	r.stack = append(r.stack, level{parent: here.Identity, todo: names, choice: choice, mode: info.Mode, opened: opened})
	return false, nil
}

// leave goes back up and deletes the folder that was left, if it is empty. ok is false where the way up is not the one
// down.
func (r *remover) leave() (gone, ok bool) {
	last := r.stack[len(r.stack)-1]
	r.stack = r.stack[:len(r.stack)-1]
	up, err := r.up(last.parent)
	if err != nil {
		return r.fail(err), false
	}
	if last.kept && last.opened {
		_ = r.cur.Chmod(last.mode) // it stays, and so do its rights
	}
	r.close()
	r.cur = up
	name := r.names[len(r.names)-1]
	switch {
	case last.kept:
		r.names = r.names[:len(r.names)-1]
	case r.top.view:
		gone = r.done()
	default:
		err := retry(func() error { return unix.Unlinkat(up.fd, name, unix.AT_REMOVEDIR) })
		if err != nil {
			gone = r.fail(wrap("rmdir", err))
		} else {
			gone = r.done()
		}
	}
	if !gone && len(r.stack) > 0 {
		r.stack[len(r.stack)-1].kept = true
	}
	return gone, true
}

// up opens the folder above the open one, which must be the expected one.
func (r *remover) up(want Identity) (*Dir, error) {
	if len(r.stack) == 0 {
		return r.top, nil
	}
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Openat(r.cur.fd, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, wrap("open", err)
	}
	up := &Dir{Handle: Handle{fd: fd}, view: r.top.view}
	info, err := up.Stat()
	if err == nil && info.Identity != want {
		err = ErrReplaced
	}
	if err != nil {
		return nil, errors.Join(err, up.Close())
	}
	return up, nil
}

// openSame opens a folder of the same mount.
func (d *Dir) openSame(name string, here *Info) (*Dir, error) {
	if err := check(name); err != nil {
		return nil, err
	}
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	}
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Openat2(d.fd, name, &how)
		return err
	})
	if err == nil {
		_ = unix.Close(fd)
	}
	if err == unix.EXDEV {
		return nil, ErrMounted
	}
	sub, err := d.OpenDir(name) // also where the kernel is too old for openat2, or hides it
	if err != nil {
		return nil, err
	}
	info, err := sub.Stat()
	if err == nil && info.dev != here.dev {
		err = ErrMounted
	}
	if err != nil {
		return nil, errors.Join(err, sub.Close())
	}
	return sub, nil
}
