package treecmp

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// comparer is one comparison.
type comparer struct {
	o       Options
	sides   [2]side
	names   []string // of the folder that is being compared
	entries int
	found   []Difference

	// links and linksTo number the inodes of the two sides in the order in which they were met.
	links, linksTo map[inode]int
}

type inode struct{ dev, ino uint64 }

// side is one of the two folders: the one below it that is open now.
type side struct{ fd int }

func (c *comparer) compare(first, second string) (err error) {
	for i, path := range []string{first, second} {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("treecmp: open %s: %w", path, err)
		}
		s := &c.sides[i]
		s.fd = fd
		defer func() { err = errors.Join(err, unix.Close(s.fd)) }()
	}
	if !c.o.Below {
		if err := c.entry("."); err != nil {
			return err
		}
	}
	return c.folder()
}

// folder compares what is in the two folders that are open.
func (c *comparer) folder() error {
	var names [2][]string
	for i := range c.sides {
		var err error
		if names[i], err = c.sides[i].list(); err != nil {
			return c.failed(".", err)
		}
	}
	var both []string
	for a, b := names[0], names[1]; len(a) > 0 || len(b) > 0; {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			c.differ(a[0], Missing, "there", "not there")
			a = a[1:]
		case len(a) == 0 || b[0] < a[0]:
			c.differ(b[0], Extra, "not there", "there")
			b = b[1:]
		default:
			both = append(both, a[0])
			a, b = a[1:], b[1:]
		}
	}
	var folders []string
	for _, name := range both {
		folder, err := c.look(name)
		if err != nil {
			return err
		}
		if folder {
			folders = append(folders, name)
		}
	}
	for _, name := range folders {
		if err := c.below(name); err != nil {
			return err
		}
	}
	return nil
}

// look compares an entry, and reports whether it is a folder on both sides.
func (c *comparer) look(name string) (folder bool, err error) {
	before := len(c.found)
	if err := c.entry(name); err != nil {
		return false, err
	}
	if slices.ContainsFunc(c.found[before:], func(d Difference) bool { return d.Kind == Type }) {
		return false, nil
	}
	st, err := c.sides[0].stat(name)
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, err
}

// below goes into a folder, compares what is in it, and comes back.
func (c *comparer) below(name string) error {
	var from [2]inode
	for i := range c.sides {
		st, err := c.sides[i].stat(".")
		if err == nil {
			from[i] = inodeOf(&st)
			err = c.sides[i].move(name)
		}
		if err != nil {
			return c.failed(name, err)
		}
	}
	c.names = append(c.names, name)
	if err := c.folder(); err != nil {
		return err
	}
	c.names = c.names[:len(c.names)-1]
	for i := range c.sides {
		if err := c.sides[i].move(".."); err != nil {
			return c.failed(name, err)
		}
		st, err := c.sides[i].stat(".")
		if err != nil {
			return c.failed(name, err)
		}
		if inodeOf(&st) != from[i] {
			return c.failed(name, errors.New("moved meanwhile"))
		}
	}
	return nil
}

// move opens a folder in place of the one that is open.
func (s *side) move(name string) error {
	fd, err := unix.Openat(s.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = unix.Close(s.fd)
	s.fd = fd
	return err
}

func (s *side) list() ([]string, error) {
	fd, err := unix.Openat(s.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), ".")
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, errors.Join(err, f.Close())
}

func (s *side) stat(name string) (st unix.Stat_t, err error) {
	err = unix.Fstatat(s.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

func inodeOf(st *unix.Stat_t) inode { return inode{uint64(st.Dev), st.Ino} }

func (c *comparer) path(name string) string {
	if name == "." && len(c.names) > 0 {
		return strings.Join(c.names, "/")
	}
	return strings.Join(append(slices.Clip(c.names), name), "/")
}

func (c *comparer) differ(name string, k Kind, first, second string) {
	if !slices.Contains(c.o.Skip, k) {
		c.found = append(c.found, Difference{c.path(name), k, first, second})
	}
}

func (c *comparer) failed(name string, err error) error {
	return fmt.Errorf("treecmp: %q: %w", c.path(name), err)
}
