package restore

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/kura-backup/kura/restore/internal/jail"
	"github.com/kura-backup/kura/tree"
)

// meta is what is restored of an entry besides its name and content.
type meta struct {
	mode, uid, gid uint32
	flags          uint32
	mtime, atime   tree.Time
	xattrs         []tree.XAttr
}

// metaOf takes what it needs of a node; nothing of it keeps the node's page in memory.
func metaOf(n *tree.Node) meta {
	m := meta{mode: n.Mode, uid: n.UID, gid: n.GID, flags: n.Flags & (jail.FlagsSettable | jail.FlagsNoted), mtime: n.MTime, atime: n.ATime, xattrs: n.XAttrs}
	for i := range m.xattrs {
		m.xattrs[i].Name = strings.Clone(m.xattrs[i].Name)
	}
	return m
}

// apply sets the metadata of an entry, in the one order in which nothing undoes what was set before, and in which the mode comes last, but
// for flags that lock the entry: as long as it is that of something unfinished, the next run sets all of it again.
// What can not be set is counted as omitted. Errors are damage, or end the run.
func (run *run) apply(h *jail.Handle, t tree.Type, m *meta, path func() string) error {
	omit := func(what string, err error) error { return run.omit(what, err, path) }
	info, err := h.Stat()
	if err != nil {
		return err
	}
	mode := m.mode
	chowned := info.UID != m.uid || info.GID != m.gid
	if chowned {
		uidErr, gidErr := run.chown(h, &info, m)
		refused := bothErrors(uidErr, gidErr)
		if err := omit("owner", refused); err != nil {
			return err
		}
		if kept := keptBits(mode, uidErr == nil, gidErr == nil); t == tree.File && kept != mode {
			run.rep.omit("setuid and setgid bits of files of other owners", refused, path)
			mode = kept
		}
	}
	if err := run.setXAttrs(h, t, m, path); err != nil {
		return err
	}
	if err := run.setAccessTime(h, m, path); err != nil {
		return err
	}
	if !m.mtime.IsZero() {
		if err := omit("times", h.SetModTime(m.mtime.Sec, m.mtime.Nsec)); err != nil {
			return err
		}
	}
	hasFlags := t == tree.File || t == tree.Folder
	if hasFlags {
		if err := run.setFlags(h, m.flags&^jail.FlagsThatLock, path); err != nil {
			return err
		}
	}
	if t != tree.Symlink && (info.Mode != mode || chowned || len(m.xattrs) > 0) {
		if err := omit("permissions", run.chmod(h, mode)); err != nil {
			return err
		}
	}
	if hasFlags {
		return run.setFlags(h, m.flags&jail.FlagsThatLock, path)
	}
	return nil
}

// setAccessTime sets it where the snapshot has it.
func (run *run) setAccessTime(h *jail.Handle, m *meta, path func() string) error {
	if m.atime.IsZero() {
		return nil
	}
	return run.omit("times", h.SetAccessTime(m.atime.Sec, m.atime.Nsec), path)
}

// omit counts what could not be set, or returns an error that ends the run.
func (run *run) omit(what string, err error, path func() string) error {
	if err == nil {
		return nil
	}
	if fatal(err) {
		return err
	}
	run.rep.omit(what, err, path)
	return nil
}

// errSetgid is for a bit that the kernel dropped without an error.
var errSetgid = fmt.Errorf("setgid bit of a group that the user is not in: %w", syscall.EPERM)

func (run *run) chmod(h *jail.Handle, mode uint32) error {
	if err := h.Chmod(mode); err != nil || mode&0o2000 == 0 || run.rep.root {
		return err
	}
	if info, err := h.Stat(); err != nil || info.Mode == mode {
		return err
	}
	return errSetgid
}

// chown sets owner and group, or the group alone where the owner is refused.
func (run *run) chown(h *jail.Handle, info *jail.Info, m *meta) (uidErr, gidErr error) {
	err := h.Chown(m.uid, m.gid)
	if err == nil {
		return nil, nil
	}
	if info.UID != m.uid {
		uidErr = err
	}
	if info.GID != m.gid {
		gidErr = h.Chown(jail.KeepID, m.gid)
	}
	return uidErr, gidErr
}

// bothErrors joins what was said about owner and group, once if it is the same.
func bothErrors(uidErr, gidErr error) error {
	if uidErr != nil && gidErr != nil && uidErr.Error() == gidErr.Error() {
		return uidErr
	}
	return errors.Join(uidErr, gidErr)
}

// keptBits drops the setuid bit without the right owner and the setgid bit without the right group.
func keptBits(mode uint32, uid, gid bool) uint32 {
	if !uid {
		mode &^= 0o4000
	}
	if !gid {
		mode &^= 0o2000
	}
	return mode
}

func (run *run) setXAttrs(h *jail.Handle, t tree.Type, m *meta, path func() string) error {
	report := run.rep.fail
	if t == tree.Folder { // what is in it is verified all the same
		report = run.rep.part
	}
	for i := range m.xattrs {
		x := &m.xattrs[i]
		value := x.Value
		if !x.Blob.IsZero() {
			var err error
			value, err = run.r.LoadTree(run.ctx, x.Blob)
			if lost(err) { // the rest of the entry is worth having
				report(path(), err)
				continue
			}
			if err != nil {
				return &storeError{err}
			}
		}
		err := h.SetXAttr(x.Name, value)
		switch {
		case err == nil:
		case fatal(err) && !errors.Is(err, syscall.ENOSPC): // which here also means that the attributes are too long
			return err
		default:
			run.rep.omit(xattrKind(x.Name), err, path)
		}
	}
	return nil
}

// xattrKind names a kind of attributes for people.
func xattrKind(name string) string {
	switch name {
	case jail.AccessACL, jail.DefaultACL:
		return "access control lists"
	case "security.capability":
		return "capabilities"
	}
	space, _, _ := strings.Cut(name, ".")
	return space + ".* attributes"
}

// setFlags sets inode flags, and counts those that are not.
func (run *run) setFlags(h *jail.Handle, flags uint32, path func() string) error {
	err := h.AddFlags(flags)
	if fatal(err) {
		return err
	}
	run.omitFlags(err, flags, path)
	for missing := h.LacksFlags(flags & jail.FlagsNoted); missing != 0; missing &= missing - 1 {
		run.rep.omit(flagKind(missing&-missing), nil, path)
	}
	return nil
}

// omitFlags counts the flags that an error is for: those that it names, or all.
func (run *run) omitFlags(err error, all uint32, path func() string) {
	if err == nil {
		return
	}
	refused := &jail.FlagsError{Refused: all, Err: err}
	errors.As(err, &refused)
	counted := map[string]bool{}
	for rest := refused.Refused; rest != 0; rest &= rest - 1 {
		one := rest & -rest
		kind, err := flagKind(one), refused.Err
		if counted[kind] {
			continue
		}
		counted[kind] = true
		if one&(jail.FlagsThatLock|jail.FlagNoDump|jail.FlagNoAtime) == 0 {
			err = nil // a hint how to store the file: not every file system takes it, and nobody has lost anything
		}
		run.rep.omit(kind, err, path)
	}
}

// flagKind names a kind of inode flags for people.
func flagKind(flag uint32) string {
	switch flag {
	case jail.FlagImmutable:
		return "immutable flags"
	case jail.FlagAppend:
		return "append-only flags"
	case jail.FlagCompress, jail.FlagNoCompress:
		return "compression flags"
	case jail.FlagNoCOW:
		return "no-copy-on-write flags"
	case jail.FlagEncrypted:
		return "encryption by the file system"
	case jail.FlagVerity:
		return "fs-verity signatures"
	case jail.FlagCasefold:
		return "case-insensitive names"
	}
	return "inode flags"
}
