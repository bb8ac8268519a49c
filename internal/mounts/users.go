package mounts

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Use is one way in which a block device or an image is in use.
type Use struct {
	By       string // "/dev/sda1 is mounted at /srv"
	Mount    *Mount // what is mounted, if that is the use
	ReadOnly bool   // nothing is written this way
	idle     bool   // a loop device, of which nothing may be in use
}

// Live reports whether somebody may be writing this way. That there is a loop device alone does not say so.
func (u *Use) Live() bool { return !u.ReadOnly && !u.idle }

// Uses says who uses a block device or an image, or a part of it: it is mounted, swap, a part of another device, or behind a loop
// device, and so are the partitions, the devices that it is a part of, and the loop devices; and who gets at it by what it lies in: the
// disk that it is a partition of, the devices that it consists of, what is behind it if it is a loop device. A program that merely has it
// open is not among them.
func Uses(path string) ([]Use, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	all, err := List()
	if err != nil {
		return nil, err
	}
	u := users{mounts: all, seen: map[uint64][]span{}}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		err = u.loops(&st, path, whole)
		return u.out, err
	}
	part := spanOf(sysPath(st.Rdev)).length()
	if err = u.device(st.Rdev, path, part); err == nil {
		err = u.around(st.Rdev, part, false)
	}
	return u.out, err
}

// User is By of the first of the uses of a device or an image, or "" if nobody is known to use it.
func User(path string) (string, error) {
	uses, err := Uses(path)
	if err != nil || len(uses) == 0 {
		return "", err
	}
	return uses[0].By, nil
}

// users collects uses.
type users struct {
	mounts []Mount
	seen   map[uint64][]span // parts of devices
	out    []Use
}

func (u *users) add(use Use) {
	if !slices.ContainsFunc(u.out, func(o Use) bool { return o.By == use.By }) {
		u.out = append(u.out, use)
	}
}

// knows reports whether it was looked at a part of a device.
func (u *users) knows(dev uint64, part span) bool {
	return slices.ContainsFunc(u.seen[dev], func(s span) bool { return s.from <= part.from && part.to <= s.to })
}

// device adds those of a part of a block device, and of what is made of it.
func (u *users) device(dev uint64, name string, part span) error {
	if u.knows(dev, part) {
		return nil
	}
	u.seen[dev] = append(u.seen[dev], part)
	for _, m := range ofDevice(u.mounts, dev) {
		u.add(Use{By: fmt.Sprintf("%s is mounted at %s", name, m.At), Mount: &m, ReadOnly: m.ReadOnly})
	}
	swap, err := isSwap(dev)
	if err != nil {
		return err
	}
	if swap {
		u.add(Use{By: name + " is swap space"})
	}
	if err := u.loops(&unix.Stat_t{Mode: unix.S_IFBLK, Rdev: dev}, name, part); err != nil {
		return err
	}
	sys := sysPath(dev)
	if sys == "" {
		return nil
	}
	for _, h := range names(filepath.Join(sys, "holders")) {
		holder := nodeName(h)
		of := filepath.Join(sys, "holders", h)
		u.add(Use{By: fmt.Sprintf("%s is a part of %s", name, holder), ReadOnly: word(filepath.Join(of, "ro")) == "1"})
		if err := u.below(of, holder, spanOf(of).length()); err != nil {
			return err
		}
	}
	for _, p := range partitions(sys) {
		if at := spanOf(p); at.meets(part) {
			if err := u.below(p, nodeName(filepath.Base(p)), part.within(at)); err != nil {
				return err
			}
		}
	}
	return nil
}

// below adds the uses of a part of a device that sysfs has a folder for.
func (u *users) below(sys, name string, part span) error {
	dev, ok := deviceOf(sys)
	if !ok { // it went meanwhile
		return nil
	}
	return u.device(dev, name, part)
}

// loops adds the loop devices of a part of an image, or of a block device.
func (u *users) loops(st *unix.Stat_t, name string, part span) error {
	for _, loop := range loopsOf(st) {
		sys := filepath.Join(sysfs, "block", filepath.Base(loop))
		at := loopSpan(sys)
		if !at.meets(part) {
			continue
		}
		inside := part.within(at)
		if dev, ok := deviceOf(sys); ok && u.knows(dev, inside) { // this is where the way has come from
			continue
		}
		u.add(Use{By: fmt.Sprintf("%s is behind %s", name, loop), ReadOnly: word(sys+"/ro") == "1", idle: true})
		if err := u.below(sys, loop, inside); err != nil {
			return err
		}
	}
	return nil
}

// around adds those who get at a part of a device by what it lies in. Behind what only a volume manager knows the way through, these are
// loop devices alone: of a volume group all the other volumes are parts, too.
func (u *users) around(dev uint64, part span, mapped bool) (err error) {
	for _, o := range outers(dev, part) {
		mapped := mapped || o.mapped
		if mapped || !o.isDevice() {
			err = u.loops(&o.st, o.name, o.part)
		} else {
			err = u.device(o.st.Rdev, o.name, o.part)
		}
		if err == nil && o.isDevice() {
			err = u.around(o.st.Rdev, o.part, mapped)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Ways returns other block devices and images by which one gets at bytes of a block device: its partitions, the disk that it is a partition of, the
// devices that it consists of, what is behind it if it is a loop device. Who locks a device locks only the one that he uses.
func Ways(path string) ([]string, error) {
	dev, err := number(path)
	if err != nil {
		return nil, err
	}
	var out []string
	if sys := sysPath(dev); sys != "" {
		for _, p := range partitions(sys) {
			out = append(out, nodeName(filepath.Base(p)))
		}
	}
	return waysAround(out, dev), nil
}

func waysAround(out []string, dev uint64) []string {
	for _, o := range outers(dev, whole) {
		var named unix.Stat_t
		if unix.Stat(o.name, &named) == nil && sameThing(&named, &o.st) && !slices.Contains(out, o.name) {
			out = append(out, o.name)
		}
		if o.isDevice() {
			out = waysAround(out, o.st.Rdev)
		}
	}
	return out
}

func isSwap(dev uint64) (bool, error) {
	f, err := os.Open("/proc/swaps")
	if os.IsNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, _, _ := strings.Cut(lines.Text(), " ")
		if n, err := number(unescape(strings.TrimSpace(name))); err == nil && n == dev {
			return true, nil
		}
	}
	return false, lines.Err()
}
