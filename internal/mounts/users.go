package mounts

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// User says who uses a block device, or a part of it: it is mounted, swap, or a part of another device. It returns "" if nobody
// is known to.
func User(path string) (string, error) {
	dev, err := number(path)
	if err != nil {
		return "", err
	}
	sys := sysPath(dev)
	list := []string{path}
	if sys != "" {
		list = append(list, partitions(sys)...)
	}
	for _, p := range list {
		if by, err := userOf(p); err != nil || by != "" {
			return by, err
		}
	}
	return "", nil
}

// userOf is User without partitions.
func userOf(path string) (string, error) {
	used, err := OfDevice(path)
	if err != nil {
		return "", err
	}
	if len(used) > 0 {
		return fmt.Sprintf("%s is mounted at %s", path, used[0].At), nil
	}
	dev, err := number(path)
	if err != nil {
		return "", err
	}
	if swap, err := isSwap(dev); err != nil || swap {
		return path + " is swap space", err
	}
	if held, err := os.ReadDir(filepath.Join(sysPath(dev), "holders")); err == nil && len(held) > 0 {
		return fmt.Sprintf("%s is a part of /dev/%s", path, held[0].Name()), nil
	}
	return "", nil
}

func sysPath(dev uint64) string {
	p, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev)))
	if err != nil {
		return ""
	}
	return p
}

// partitions returns the device nodes of a disk's partitions.
func partitions(sys string) (out []string) {
	entries, err := os.ReadDir(sys)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(sys, e.Name(), "partition")); err != nil {
			continue
		}
		if node := "/dev/" + e.Name(); exists(node) {
			out = append(out, node)
		}
	}
	return out
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
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

// LoopOf returns the loop device that has a file behind it, or "".
func LoopOf(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	all, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return "", err
	}
	for _, name := range all {
		text, err := os.ReadFile(name)
		if err != nil { // detached meanwhile
			continue
		}
		var back unix.Stat_t
		if unix.Stat(strings.TrimSuffix(string(text), "\n"), &back) == nil && back.Dev == st.Dev && back.Ino == st.Ino {
			return "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(name))), nil
		}
	}
	return "", nil
}
