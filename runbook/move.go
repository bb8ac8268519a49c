package runbook

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/mounts"
)

// moveAction moves a folder, or a file, out of the way. It gets another name beside where it was, and nothing is copied or removed.
type moveAction struct{ s *Step }

func newMove(s *Step) action { return moveAction{s} }

func (m moveAction) preflight(_ context.Context, a *attempt, _ *preflight) (errs []error) {
	path := m.s.Path
	if err := isFolderPath(path); err != nil {
		return []error{err}
	}
	above := filepath.Dir(path)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(above); err != nil {
			return []error{err}
		}
	case err != nil:
		return []error{err}
	case info.Mode().Type() == fs.ModeSymlink:
		return []error{fmt.Errorf("%s is a symbolic link, which would be moved alone: name what it leads to", path)}
	}
	if err := unix.Access(above, unix.W_OK); err != nil {
		errs = append(errs, fmt.Errorf("nothing can be renamed in %s: %w", above, err))
	}
	real := mounts.RealPath(path)
	for _, used := range a.w.Uses() {
		if mounts.Within(mounts.RealPath(used), real) {
			errs = append(errs, fmt.Errorf("%s is in %s, and is needed while the plan is carried out", used, path))
		}
	}
	if mounts.Within(mounts.RealPath(a.run.state.dir), real) {
		errs = append(errs, fmt.Errorf("the state of this run is in %s: name another folder with --state", path))
	}
	if cwd, err := os.Getwd(); err == nil && mounts.Within(mounts.RealPath(cwd), real) {
		errs = append(errs, fmt.Errorf("this command was started in %s: change to another folder", path))
	}
	all, err := mounts.List()
	if err != nil {
		return append(errs, err)
	}
	for _, m := range all {
		if mounts.Within(m.At, real) {
			errs = append(errs, fmt.Errorf("something is mounted on %s, and would be moved as well, or keep %s from being moved: unmount it", m.At, path))
		}
	}
	return errs
}

// isFolderPath refuses what is not the full path of something.
func isFolderPath(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
		return fmt.Errorf("%q is no full path, such as /etc/nova", path)
	}
	return nil
}

// prepare chooses the new name. An attempt that was cut off has chosen it before: if what has that name is what was to be moved, it was.
func (m moveAction) prepare(_ context.Context, a *attempt) (note, error) {
	n := note{Path: m.s.Path}
	here, err := inodeOf(m.s.Path)
	if err != nil {
		return n, err
	}
	if p := a.run.journal.past(m.s.Name); !p.finished() && len(p.notes) > 0 {
		if before := p.notes[len(p.notes)-1]; before.Path == m.s.Path && before.Aside != "" && here != before.Inode {
			if moved, err := before.moved(here); moved || err != nil {
				return note{Path: n.Path, Aside: before.Aside, Inode: before.Inode}, err
			}
		}
	}
	if here == 0 {
		return n, nil
	}
	n.Inode = here
	n.Aside, err = freeName(m.s.Path, ".old-")
	return n, err
}

// moved reports whether an attempt that was cut off has moved what is not in its old place any more, where here is now.
func (n note) moved(here uint64) (bool, error) {
	there, err := inodeOf(n.Aside)
	switch {
	case err != nil:
		return false, err
	case there == n.Inode && here != 0:
		return true, fmt.Errorf("%s was moved to %s, and something has made a new %s since: end what does that, and move the new one away", n.Path, n.Aside, n.Path)
	case there != n.Inode && here == 0:
		return false, fmt.Errorf("what was in %s when moving it was cut off is neither there now nor in %s: look where it is", n.Path, n.Aside)
	}
	return there == n.Inode, nil
}

func (m moveAction) run(_ context.Context, a *attempt) error {
	if a.note.Aside == "" {
		a.w.Events.info(m.s.Path + " is not there, so that there is nothing to move aside")
		return nil
	}
	here, err := inodeOf(m.s.Path)
	if err != nil {
		return err
	}
	if here != a.note.Inode { // by the attempt that was cut off
		return a.settle(m.s.Path)
	}
	return a.rename(m.s.Path, a.note.Aside)
}

func (m moveAction) commands(*World) []string {
	aside, err := freeName(m.s.Path, ".old-")
	if err != nil {
		aside = m.s.Path + ".old-N"
	}
	return []string{Quote([]string{"mv", "-nT", m.s.Path, aside})}
}

// inodeOf is the number of what is at a path, which it keeps when it gets another name, or 0 if nothing is.
func inodeOf(path string) (uint64, error) {
	var st unix.Stat_t
	switch err := unix.Lstat(path, &st); err {
	case nil:
		return max(st.Ino, 1), nil // there are file systems without numbers
	case unix.ENOENT:
		return 0, nil
	default:
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
}

// freeName returns a name beside a path that nothing has.
func freeName(path, suffix string) (string, error) {
	for n := 1; ; n++ {
		name := fmt.Sprintf("%s%s%d", path, suffix, n)
		if there, err := inodeOf(name); err != nil || there == 0 {
			return name, err
		}
	}
}

// rename gives something another name in the same folder, durably, and never replaces anything.
func (a *attempt) rename(from, to string) (err error) {
	a.log.say("$ " + Quote([]string{"mv", "-nT", from, to}))
	dir, err := a.w.OpenDir(filepath.Dir(from))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	err = dir.RenameNoReplace(filepath.Base(from), filepath.Base(to))
	if errors.Is(err, errors.ErrUnsupported) { // some network file systems: the name was free a moment ago
		err = dir.Rename(filepath.Base(from), filepath.Base(to))
	}
	if err != nil {
		return err
	}
	return syncFolder(dir)
}

// settle makes durable what an earlier attempt has renamed.
func (a *attempt) settle(path string) (err error) {
	dir, err := a.w.OpenDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	return syncFolder(dir)
}

func syncFolder(dir durable.FS) error {
	if err := dir.SyncDir("."); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

var (
	// errGone is why what was moved aside can not be moved back.
	errGone = errors.New("it is not there any more: was it moved by hand?")
	// errOther is why what has its name is not moved back.
	errOther = errors.New("it is not what was moved there: was that moved by hand?")
)

// moveBack undoes a move. What has been put in the old place meanwhile gets another name; it is not removed.
func (a *attempt) moveBack(n note) error {
	here, err := inodeOf(n.Path)
	if err != nil {
		return err
	}
	if n.Aside != "" {
		if here != 0 && here == n.Inode {
			return nil // it was never moved, or is back already
		}
		switch there, err := inodeOf(n.Aside); {
		case err != nil:
			return err
		case there == 0:
			return fmt.Errorf("%s: %w", n.Aside, errGone)
		case there != n.Inode:
			return fmt.Errorf("%s: %w", n.Aside, errOther)
		}
	}
	if here != 0 {
		away, err := freeName(n.Path, ".undone-")
		if err != nil {
			return err
		}
		if err := a.rename(n.Path, away); err != nil {
			return err
		}
		a.w.Events.info("what was in " + n.Path + " is now " + away)
	}
	if n.Aside == "" {
		return nil
	}
	return a.rename(n.Aside, n.Path)
}
