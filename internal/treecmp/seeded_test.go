package treecmp_test

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/internal/treecmp"
)

// site is a folder that is going to be changed in one way.
type site struct {
	root string
	rng  *rand.Rand
}

func (s *site) at(name string) string { return filepath.Join(s.root, name) }

// flip changes a byte of a file between two offsets.
func (s *site) flip(name string, from, to int64) error {
	f, err := os.OpenFile(s.at(name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	at := from + s.rng.Int64N(to-from)
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= byte(1 + s.rng.IntN(255))
	_, err = f.WriteAt(b, at)
	return err
}

func (s *site) grow(name string, by int64) error {
	info, err := os.Lstat(s.at(name))
	if err != nil {
		return err
	}
	return os.Truncate(s.at(name), info.Size()+by)
}

// later changes the time of an entry by some nanoseconds.
func (s *site) later(name string) error {
	var st unix.Stat_t
	if err := unix.Lstat(s.at(name), &st); err != nil {
		return err
	}
	ts := unix.NsecToTimespec(unix.TimespecToNsec(st.Mtim) + 1 + s.rng.Int64N(1_000_000))
	return unix.UtimesNanoAt(unix.AT_FDCWD, s.at(name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

func (s *site) setAttr(name, attr, value string) error {
	return unix.Lsetxattr(s.at(name), attr, []byte(value), 0)
}

// replace makes something else of the name.
func (s *site) replace(name string, create func(path string) error) error {
	return errors.Join(os.Remove(s.at(name)), create(s.at(name)))
}

// change is a way in which a folder comes to differ, and what that is to be seen as: "KIND PATH".
type change struct {
	what string
	root bool
	do   func(*site) error
	want string // several with a semicolon between them
}

const mib = 1 << 20

var changes = []change{
	{"a byte of a small file", false, func(s *site) error { return s.flip("small", 0, 11) }, "content small"},
	{"a byte of a large file", false, func(s *site) error { return s.flip("large", 0, 3*mib+7) }, "content large;content large link"},
	{"the last byte", false, func(s *site) error { return s.flip("large", 3*mib+6, 3*mib+7) }, "content large;content large link"},
	{"a byte behind a hole", false, func(s *site) error { return s.flip("sparse", 30*mib, 32*mib) }, "content sparse"},
	{"a byte in a hole", false, func(s *site) error { return s.flip("hole", 0, 8*mib) }, "content hole"},
	{"a byte half a terabyte in", false, func(s *site) error { return s.flip("terabyte", 1<<39, 1<<39+8) }, "content terabyte"},
	{"zeros in place of a hole", false, func(s *site) error {
		f, err := os.OpenFile(s.at("hole"), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(make([]byte, 64<<10), mib*s.rng.Int64N(7))
		return errors.Join(err, f.Close())
	}, "holes hole"},
	{"a byte more", false, func(s *site) error { return s.grow("small", 1) }, "size small"},
	{"a byte less", false, func(s *site) error { return s.grow("large", -1) }, "size large;size large link"},
	{"a hole at the end", false, func(s *site) error { return s.grow("empty", 1+s.rng.Int64N(1<<40)) }, "size empty;size linked/empty"},

	{"a permission", false, func(s *site) error { return unix.Chmod(s.at("small"), 0o644^1<<s.rng.IntN(8)) }, "mode small"},
	{"no setuid bit", false, func(s *site) error { return unix.Chmod(s.at("both"), 0o2711) }, "mode both"},
	{"no setgid bit of a folder", false, func(s *site) error { return unix.Chmod(s.at("inheriting"), 0o775) }, "mode inheriting"},
	{"no sticky bit", false, func(s *site) error { return unix.Chmod(s.at("sticky"), 0o777) }, "mode sticky"},
	{"permissions of a FIFO", false, func(s *site) error { return unix.Chmod(s.at("fifo"), 0o600) }, "mode fifo"},

	{"another owner", true, func(s *site) error { return os.Lchown(s.at("small"), 1+s.rng.IntN(1e9), -1) }, "uid small"},
	{"another group", true, func(s *site) error { return os.Lchown(s.at("inheriting/f"), -1, 1+s.rng.IntN(1e9)) }, "gid inheriting/f"},
	{"another owner of a link", true, func(s *site) error { return os.Lchown(s.at("dangling"), 7, -1) }, "uid dangling"},
	{"another group of a folder", true, func(s *site) error { return os.Lchown(s.at("owned folder"), -1, 7) }, "gid owned folder"},
	{"another owner of a device", true, func(s *site) error { return os.Lchown(s.at("char"), 7, -1) }, "uid char"},

	{"nanoseconds", false, func(s *site) error { return s.later("large attribute") }, "mtime large attribute"},
	{"nanoseconds before 1970", false, func(s *site) error { return s.later("before 1970") }, "mtime before 1970"},
	{"time of a folder", false, func(s *site) error { return s.later("no writing") }, "mtime no writing"},
	{"time of a link", false, func(s *site) error { return s.later("dangling") }, "mtime dangling"},
	{"time of a FIFO", false, func(s *site) error { return s.later("fifo") }, "mtime fifo"},

	{"an attribute's value", false, func(s *site) error { return s.setAttr("attributes", "user.zeros", strings.Repeat("\x00", 9)) }, "xattr attributes"},
	{"one attribute more", false, func(s *site) error { return s.setAttr("small", "user.new", "") }, "xattr small"},
	{"one attribute less", false, func(s *site) error { return unix.Removexattr(s.at("attributes"), "user.empty") }, "xattr attributes"},
	{"an attribute of a folder", false, func(s *site) error { return s.setAttr("sticky", "user.new", "x") }, "xattr sticky"},
	{"an attribute's name", false, func(s *site) error {
		return errors.Join(unix.Removexattr(s.at("attributes"), "user.\xff"), s.setAttr("attributes", "user.\xfe", "x"))
	}, "xattr attributes;xattr attributes"},
	{"an attribute of a link", true, func(s *site) error { return s.setAttr("trusted", "trusted.on a link", "y") }, "xattr trusted"},
	{"a right of an access control list", false, func(s *site) error {
		return s.setAttr("acl", "system.posix_acl_access", string(testsys.ACL(6, 0, 4, 4, 0)))
	}, "xattr acl"},
	{"no access control list", false, func(s *site) error {
		return unix.Removexattr(s.at("acl of a folder/with"), "system.posix_acl_access")
	}, "xattr acl of a folder/with"},
	{"no default access control list", false, func(s *site) error {
		return unix.Removexattr(s.at("acl of a folder"), "system.posix_acl_default")
	}, "xattr acl of a folder"},
	{"other capabilities", true, func(s *site) error {
		return s.setAttr("capable", "security.capability", string(testsys.Capability(1<<12)))
	}, "xattr capable;xattr linked/capable"},

	{"another target", false, func(s *site) error {
		return s.replace("absolute", func(p string) error { return os.Symlink("/etc/passwe", p) })
	}, "target absolute"},
	{"another device number", true, func(s *site) error {
		return s.replace("trusted device", func(p string) error {
			return errors.Join(unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 9))), unix.Lsetxattr(p, "trusted.on a device", []byte("x"), 0))
		})
	}, "device trusted device"},
	{"a block device for a character device", true, func(s *site) error {
		return s.replace("char", func(p string) error { return unix.Mknod(p, unix.S_IFBLK|0o666, int(unix.Mkdev(1, 3))) })
	}, "type char"},
	{"a link for a file", false, func(s *site) error {
		return s.replace("small", func(p string) error { return os.Symlink("large", p) })
	}, "type small"},
	{"a folder for a file", false, func(s *site) error {
		return s.replace("small", func(p string) error { return os.MkdirAll(p+"/with/folders", 0o755) })
	}, "type small"},
	{"a file for a FIFO", false, func(s *site) error {
		return s.replace("fifo", func(p string) error { return os.WriteFile(p, nil, 0o604) })
	}, "type fifo"},
	{"a socket for a FIFO", false, func(s *site) error {
		return s.replace("fifo", func(p string) error {
			// Paths of sockets are short.
			at, err := unix.Open(filepath.Dir(p), unix.O_PATH, 0)
			if err != nil {
				return err
			}
			defer unix.Close(at)
			l, err := net.Listen("unix", "/proc/self/fd/"+strconv.Itoa(at)+"/fifo")
			if err != nil {
				return err
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			return l.Close()
		})
	}, "type fifo"},

	{"one entry more", false, func(s *site) error { return os.WriteFile(s.at("new"), nil, 0o600) }, "extra new"},
	{"one entry less", false, func(s *site) error { return os.Remove(s.at("back\\slash")) }, "missing back\\slash"},
	{"a folder and all in it less", false, func(s *site) error { return os.RemoveAll(s.at("inheriting")) }, "missing inheriting"},
	{"another name in bytes that are no text", false, func(s *site) error {
		return os.Rename(s.at(strings.Repeat("\xff", 255)), s.at(strings.Repeat("\xff", 254)+"\xfe"))
	}, "missing " + strings.Repeat("\xff", 255) + ";extra " + strings.Repeat("\xff", 254) + "\xfe"},
	{"another form of the same letter", false, func(s *site) error { return os.Remove(s.at("\u00e4")) }, "missing \u00e4"},

	{"a copy in place of a hard link", false, func(s *site) error {
		return s.replace("linked/empty", func(p string) error { return copyOf(s.at("empty"), p) })
	}, "hard link linked/empty"},
	{"a hard link in place of a copy", false, func(s *site) error {
		return s.replace("twin 2", func(p string) error { return os.Link(s.at("twin 1"), p) })
	}, "hard link twin 2"},

	{"an inode flag", false, func(s *site) error { return testsys.ChangeFlags(s.at("small"), testsys.FlagNoDump, 0) }, "flags small"},
	{"no inode flag", false, func(s *site) error { return testsys.ChangeFlags(s.at("no dump"), 0, testsys.FlagNoAtime) }, "flags no dump"},
	{"an inode flag of a folder", false, func(s *site) error { return testsys.ChangeFlags(s.at("sticky"), testsys.FlagNoAtime, 0) }, "flags sticky"},
	{"immutable", true, func(s *site) error { return testsys.ChangeFlags(s.at("sparse"), testsys.FlagImmutable, 0) }, "flags sparse"},
	{"no longer append-only", true, func(s *site) error { return testsys.ChangeFlags(s.at("append only"), 0, testsys.FlagAppend) }, "flags append only"},
}

func copyOf(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// times notes the times of everything that a change may touch besides what it is about.
type times map[string][2]unix.Timespec

func timesOf(root string) times {
	all := times{}
	_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if filepath.Base(path) == "deep" {
			return filepath.SkipDir
		}
		var st unix.Stat_t
		if err == nil && unix.Lstat(path, &st) == nil {
			all[path] = [2]unix.Timespec{st.Atim, st.Mtim}
		}
		return nil
	})
	return all
}

func (all times) restore() {
	for path, ts := range all { // what is gone or immutable is left alone
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, path, ts[:], unix.AT_SYMLINK_NOFOLLOW)
	}
}

// TestCompare_SeededDifferences_AreSeenAndNothingElse makes two equal folders differ in one way, on either side, and
// wants to be told just that.
func TestCompare_SeededDifferences_AreSeenAndNothingElse(t *testing.T) { seedAll(t, changes, 25) }

// Some of them, drawn: what a user may not see is the same for all.
func TestCompare_SeededDifferencesAsUser_AreSeenAndNothingElse(t *testing.T) {
	if testsys.AsUser(t) {
		some := slices.DeleteFunc(slices.Clone(changes), func(ch change) bool { return ch.root })
		rng := testrand.New(t)
		rng.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		seedAll(t, some[:15], 1)
	}
}

// seedAll makes the changes, of which the file system may refuse all but a few.
func seedAll(t *testing.T, changes []change, few int) {
	rng := testrand.New(t)
	like := t.TempDir()
	testsys.Gallery(t, like)
	seen, refused := 0, 0
	for _, ch := range changes {
		if ch.root && os.Getuid() != 0 {
			continue
		}
		t.Run(ch.what, func(t *testing.T) {
			if seed(t, rng, like, ch) {
				seen++
			} else {
				refused++
			}
		})
	}
	t.Logf("%d of %d kinds of differences seen, %d refused by the file system, the others for root", seen, len(changes), refused)
	if seen < few {
		t.Errorf("only %d kinds of differences", seen)
	}
}

func seed(t *testing.T, rng *rand.Rand, like string, ch change) bool {
	changed := t.TempDir()
	testsys.Gallery(t, changed)
	sides, turned := [2]string{like, changed}, rng.IntN(2) == 0
	if turned {
		slices.Reverse(sides[:])
	}
	before := timesOf(changed)
	err := ch.do(&site{changed, rng})
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.ENODATA) {
		t.Log(err)
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(ch.want, "mtime") {
		before.restore()
	}
	diffs, err := treecmp.Compare(sides[0], sides[1], treecmp.Options{Holes: true, Below: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range diffs {
		kind := d.Kind
		if turned && kind == treecmp.Extra {
			kind = treecmp.Missing
		} else if turned && kind == treecmp.Missing {
			kind = treecmp.Extra
		}
		got = append(got, string(kind)+" "+d.Path)
	}
	want := strings.Split(ch.want, ";")
	if !sameSet(got, want) {
		t.Errorf("turned %v: seen %v, want %q", turned, diffs, want)
	}
	return true
}

func sameSet(a, b []string) bool {
	count := map[string]int{}
	for _, x := range a {
		count[x]++
	}
	for _, x := range b {
		count[x]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

func TestCompare_DifferenceAtTheBottomOfDeepFolders_IsSeen(t *testing.T) {
	const depth = 1500 // more than twice what a path may have
	var sides [2]string
	for i := range sides {
		sides[i] = testsys.MemoryDir(t)
		if err := testsys.MakeDeep(sides[i], "folder", depth); err != nil {
			t.Fatal(err)
		}
	}
	o := treecmp.Options{Below: true}
	if n := treecmp.MustEqual(t, sides[0], sides[1], o); n != 2*depth {
		t.Errorf("%d entries", n)
	}
	removeBottom(t, sides[1], depth)
	o.Skip = []treecmp.Kind{treecmp.ModTime} // of the folder that lost an entry
	diffs, err := treecmp.Compare(sides[0], sides[1], o)
	if err != nil || len(diffs) != 1 || diffs[0].Kind != treecmp.Missing || strings.Count(diffs[0].Path, "/") != depth {
		t.Errorf("%d differences, %v", len(diffs), err)
	}
}

func removeBottom(t *testing.T, root string, depth int) {
	t.Helper()
	at, err := unix.Open(root, unix.O_PATH, 0)
	for range depth {
		if err != nil {
			t.Fatal(err)
		}
		up := at
		at, err = unix.Openat(up, "folder", unix.O_PATH, 0)
		unix.Close(up)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(at)
	if err := unix.Unlinkat(at, "f", 0); err != nil {
		t.Fatal(err)
	}
}

func TestCompare_TopFolders_UnlessLeftOut(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	if err := os.Chmod(b, 0o711); err != nil {
		t.Fatal(err)
	}
	for _, below := range []bool{false, true} {
		diffs, err := treecmp.Compare(a, b, treecmp.Options{Below: below, Skip: []treecmp.Kind{treecmp.ModTime}})
		if err != nil || (len(diffs) == 0) != below {
			t.Errorf("below %v: %v, %v", below, diffs, err)
		}
	}
	if _, err := treecmp.Compare(a, filepath.Join(b, "none"), treecmp.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such folder: %v", err)
	}
}
