package testsys

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func folder(path string) error { return os.Mkdir(path, 0o755) }

func file(data []byte) func(string) error {
	return func(path string) error { return os.WriteFile(path, data, 0o644) }
}

func text(s string) func(string) error { return file([]byte(s)) }

// sparse makes a file of a size with data at some offsets and holes around it.
func sparse(size int64, data map[int64][]byte) func(string) error {
	return func(path string) error {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		for at, b := range data {
			if _, err := f.WriteAt(b, at); err != nil {
				return err
			}
		}
		return f.Truncate(size)
	}
}

func symlink(target string) func(string) error {
	return func(path string) error { return os.Symlink(target, path) }
}

// longest makes a symlink as long as the file system takes it: XFS has 1023 bytes, most others 4095.
func longest(path string) error {
	err := os.Symlink(strings.Repeat("t/", 2047)+"t", path)
	if errors.Is(err, unix.ENAMETOOLONG) {
		err = os.Symlink(strings.Repeat("t/", 511)+"t", path)
	}
	return err
}

// hardLink gives an entry a further name; it is named relative to the new one.
func hardLink(to string) func(string) error {
	return func(path string) error { return os.Link(filepath.Join(filepath.Dir(path), to), path) }
}

func fifo(path string) error { return unix.Mkfifo(path, 0o600) }

func device(kind uint32, major, minor uint32) func(string) error {
	return func(path string) error { return unix.Mknod(path, kind|0o600, int(unix.Mkdev(major, minor))) }
}

type attrs = map[string][]byte

const (
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
	capability = "security.capability"
)

func exhibits() []exhibit {
	acl := ACL(6, 4, 4, 4, 0)
	const mib = 1 << 20
	return []exhibit{
		// Content.
		{name: "empty", create: text("")},
		{name: "small", create: text("a few bytes")},
		{name: "large", create: file(random(1, 3*mib+7))},
		{name: "sparse", create: sparse(40*mib+5, map[int64][]byte{mib: random(2, mib), 30 * mib: random(3, 2*mib)})},
		{name: "hole", create: sparse(8*mib, nil)},
		{name: "hole in front", create: sparse(8*mib+100, map[int64][]byte{8 * mib: random(4, 100)})},
		{name: "terabyte", create: sparse(1<<40, map[int64][]byte{1 << 39: []byte("half way")})},
		{name: "zeros", create: file(make([]byte, 2*mib))},

		// Names.
		{name: strings.Repeat("n", 255), create: text("the longest name")},
		{name: strings.Repeat("\xff", 255), create: text("in bytes that are no text")},
		{name: "\xff\xfe\x80 not UTF-8", create: folder},
		{name: "\xff\xfe\x80 not UTF-8/\xc3\x28", create: symlink("\xfe\xff")},
		{name: "line\nend\t\x1b[31m", create: text("x")},
		{name: "-rf", create: text("x")},
		{name: "...", create: text("x")},
		{name: " ", create: folder},
		{name: "a\u0308", create: text("decomposed")},
		{name: "\u00e4", create: text("composed")},
		{name: `back\slash`, create: text("x")},

		// Modes.
		{name: "setuid", create: text("x"), mode: 0o4755},
		{name: "setgid", create: text("x"), mode: 0o2755},
		{name: "both", create: text("x"), mode: 0o6711},
		{name: "read-only", create: text("x"), mode: 0o444, xattrs: attrs{"user.on a read-only file": []byte("x")}},
		{name: "sticky", create: folder, mode: 0o1777},
		{name: "inheriting", create: folder, mode: 0o2775},
		{name: "inheriting/f", create: text("x"), mode: 0o600},
		{name: "no writing", create: folder, mode: 0o555},
		{name: "no writing/f", create: text("x"), mode: 0o400},
		{name: "closed", create: folder, root: true, mode: 0o100000},
		{name: "closed/f", create: text("x"), root: true, mode: 0o100000},

		// Times.
		{name: "before 1970", create: text("x"), time: unix.Timespec{Sec: -1, Nsec: 999_999_999}},
		{name: "one moment after 1970", create: text("x"), time: unix.Timespec{Nsec: 1}},
		{name: "far future", create: folder, time: unix.Timespec{Sec: 10_000_000_000, Nsec: 1}},
		{name: "old link", create: symlink("nowhere"), time: unix.Timespec{Sec: 1, Nsec: 2}},

		// Other types.
		{name: "dangling", create: symlink("../no such\x01")},
		{name: "absolute", create: symlink("/etc/passwd")},
		{name: "to folder", create: symlink("closed")},
		{name: "long target", create: longest},
		{name: "fifo", create: fifo, mode: 0o604},
		{name: "char", create: device(unix.S_IFCHR, 1, 3), root: true, uid: 12, gid: 34, mode: 0o666},
		{name: "block", create: device(unix.S_IFBLK, 259, 70000), root: true, mode: 0o640},

		// Hard links, over folders and before and behind them.
		{name: "A link", create: text("linked")},
		{name: "linked", create: folder},
		{name: "linked/again", create: hardLink("../A link")},
		{name: "z link", create: hardLink("A link")},
		{name: "large link", create: hardLink("large")},
		{name: "twin 1", create: text("alike"), time: unix.Timespec{Sec: 2, Nsec: 2}},
		{name: "twin 2", create: text("alike"), time: unix.Timespec{Sec: 2, Nsec: 2}}, // but no link
		{name: "linked/empty", create: hardLink("../empty")},
		{name: "linked/setuid", create: hardLink("../setuid"), mode: 0o4755},

		// Owners.
		{name: "owned", create: text("x"), root: true, uid: 1234, gid: 4321, mode: 0o6755},
		{name: "owned folder", create: folder, root: true, uid: 1234, gid: 4321, mode: 0o3770},
		{name: "owned folder/f", create: text("x"), root: true, uid: 70000, gid: 4_000_000_000, mode: 0o600},
		{name: "owned link", create: symlink("x"), root: true, uid: 1234, gid: 4321},
		{name: "owned fifo", create: fifo, root: true, uid: 1234, gid: 4321},

		// Extended attributes, access control lists, capabilities.
		{name: "attributes", create: text("x"), xattrs: attrs{"user.empty": {}, "user.zeros": make([]byte, 10), "user.\xff": []byte("x")}},
		{name: "large attribute", create: text("x"), xattrs: attrs{"user.large": random(5, 64<<10)}},
		{name: "attributes of a folder", create: folder, xattrs: attrs{"user.large": random(6, 50_000)}},
		{name: "trusted", create: symlink("x"), root: true, xattrs: attrs{"trusted.on a link": []byte("x")}},
		{name: "trusted fifo", create: fifo, root: true, xattrs: attrs{"trusted.on a FIFO": []byte("x")}},
		{name: "trusted device", create: device(unix.S_IFCHR, 1, 5), root: true, xattrs: attrs{"trusted.on a device": []byte("x")}},
		{name: "capable", create: text("x"), root: true, uid: 1234, gid: 4321, mode: 0o4755, xattrs: attrs{capability: Capability(1 << 13)}},
		{name: "linked/capable", create: hardLink("../capable"), root: true, uid: 1234, gid: 4321, mode: 0o4755, xattrs: attrs{capability: Capability(1 << 13)}},
		{name: "acl", create: text("x"), mode: 0o640, xattrs: attrs{accessACL: acl}},
		{name: "acl of a folder", create: folder, mode: 0o2740, xattrs: attrs{accessACL: acl, defaultACL: ACL(7, 7, 5, 7, 5)}},
		{name: "acl of a folder/without", create: text("x")},
		{name: "acl of a folder/folder without", create: folder},
		{name: "acl of a folder/with", create: text("x"), mode: 0o640, xattrs: attrs{accessACL: acl}},
		{name: "acl of a FIFO", create: fifo, mode: 0o640, xattrs: attrs{accessACL: acl}},

		// Inode flags.
		{name: "no dump", create: text("x"), flags: FlagNoDump | FlagNoAtime},
		{name: "no dump folder", create: folder, flags: FlagNoDump},
		{name: "no dump folder/f", create: text("x")},
		{name: "synchronous", create: folder, flags: FlagSync | FlagDirSync},
		{name: "synchronous/f", create: text("x"), flags: FlagSync},
		{name: "immutable", create: file(random(7, 2*mib)), root: true, mode: 0o444, flags: FlagImmutable | FlagNoDump},
		{name: "append only", create: text("a log"), root: true, flags: FlagAppend},
		{name: "immutable folder", create: folder, root: true, flags: FlagImmutable},
		{name: "immutable folder/f", create: text("x"), root: true},
		{name: "immutable folder/link", create: hardLink("../A link"), root: true},
		{name: "immutable folder/immutable", create: text("x"), root: true, flags: FlagImmutable},
		{name: "append only folder", create: folder, root: true, flags: FlagAppend},
		{name: "append only folder/f", create: text("x"), root: true},
		{name: "linked immutable", create: text("x"), root: true, flags: FlagImmutable},
		{name: "linked/immutable", create: hardLink("../linked immutable"), root: true},

		{name: "deep", create: folder},
	}
}
