package restore

import (
	"errors"
	"strings"
	"syscall"

	"github.com/kura-backup/kura/restore/internal/jail"
	"github.com/kura-backup/kura/tree"
)

// meta is what is restored of an entry besides its name and content.
type meta struct {
	mode, uid, gid uint32
	flags          uint32
	mtime          tree.Time
	xattrs         []tree.XAttr
}

// metaOf takes what it needs of a node; nothing of it keeps the node's page in memory.
func metaOf(n *tree.Node) meta {
	m := meta{mode: n.Mode, uid: n.UID, gid: n.GID, flags: n.Flags & jail.FlagsSettable, mtime: n.MTime, xattrs: n.XAttrs}
	for i := range m.xattrs {
		m.xattrs[i].Name = strings.Clone(m.xattrs[i].Name)
	}
	return m
}

// apply sets the metadata of an entry, in the one order in which nothing undoes what was set before.
// What can not be set is counted as omitted. Errors are damage, or end the run.
func (run *run) apply(h *jail.Handle, t tree.Type, m *meta, path func() string) error {
	omit := func(what string, err error) error {
		if err == nil {
			return nil
		}
		if fatal(err) {
			return err
		}
		run.rep.omit(what, err, path)
		return nil
	}
	info, err := h.Stat()
	if err != nil {
		return err
	}
	mode := m.mode
	chowned := info.UID != m.uid || info.GID != m.gid
	if chowned {
		uidErr, gidErr := run.chown(h, &info, m)
		if err := omit("owner", errors.Join(uidErr, gidErr)); err != nil {
			return err
		}
		if kept := keptBits(mode, uidErr == nil, gidErr == nil); t == tree.File && kept != mode {
			run.rep.omit("setuid and setgid bits of files of other owners", errors.Join(uidErr, gidErr), path)
			mode = kept
		}
	}
	if err := run.setXAttrs(h, m, path); err != nil {
		return err
	}
	if t != tree.Symlink && (info.Mode != mode || chowned || len(m.xattrs) > 0) {
		if err := omit("permissions", h.Chmod(mode)); err != nil {
			return err
		}
	}
	if !m.mtime.IsZero() {
		if err := omit("times", h.SetModTime(m.mtime.Sec, m.mtime.Nsec)); err != nil {
			return err
		}
	}
	if t == tree.File || t == tree.Folder {
		return omit("inode flags", h.AddFlags(m.flags))
	}
	return nil
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

func (run *run) setXAttrs(h *jail.Handle, m *meta, path func() string) error {
	for i := range m.xattrs {
		x := &m.xattrs[i]
		value := x.Value
		if !x.Blob.IsZero() {
			var err error
			value, err = run.r.LoadTree(run.ctx, x.Blob)
			if lost(err) { // the rest of the entry is worth having
				run.rep.fail(path(), err)
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
