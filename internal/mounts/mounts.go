package mounts

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrFormat is returned for what the kernel does not write.
var ErrFormat = errors.New("mounts: not a line of mountinfo")

// ErrNone is returned for what is not mounted.
var ErrNone = errors.New("mounts: not mounted")

// Mount is a file system, or a part of one, at a place.
type Mount struct {
	ID           uint64
	Major, Minor uint32
	Root         string // of what is mounted, in its file system
	At           string
	Type         string
	Source       string
	ReadOnly     bool
}

// List returns the mounts that this process sees.
func List() ([]Mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Parse(f)
}

// Parse reads the format of /proc/PID/mountinfo.
func Parse(r io.Reader) (out []Mount, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m, err := parseLine(lines.Text())
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, lines.Err()
}

func parseLine(line string) (m Mount, err error) {
	front, back, ok := strings.Cut(line, " - ")
	a, b := strings.Fields(front), strings.Fields(back)
	if !ok || len(a) < 6 || len(b) < 2 {
		return m, fmt.Errorf("%w: %.200q", ErrFormat, line)
	}
	id, err := strconv.ParseUint(a[0], 10, 64)
	if err == nil {
		_, err = fmt.Sscanf(a[2], "%d:%d", &m.Major, &m.Minor)
	}
	if err != nil {
		return m, fmt.Errorf("%w: %.200q", ErrFormat, line)
	}
	m.ID, m.Root, m.At, m.Type, m.Source = id, unescape(a[3]), unescape(a[4]), b[0], unescape(b[1])
	options := "," + a[5] + ","
	if len(b) > 2 {
		options += b[2] + ","
	}
	m.ReadOnly = strings.Contains(options, ",ro,")
	return m, nil
}

// unescape undoes what the kernel does to white space: \040 and such.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// Of returns the mount in which a path lies.
func Of(path string) (Mount, error) { return of(unix.AT_FDCWD, path, path, 0) }

// OfFile returns the mount through which a file was opened.
func OfFile(f *os.File) (Mount, error) { return of(int(f.Fd()), "", f.Name(), unix.AT_EMPTY_PATH) }

func of(dir int, path, name string, flags int) (Mount, error) {
	var st unix.Statx_t
	if err := unix.Statx(dir, path, flags, unix.STATX_MNT_ID, &st); err != nil {
		return Mount{}, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	all, err := List()
	if err != nil {
		return Mount{}, err
	}
	for _, m := range all {
		if st.Mask&unix.STATX_MNT_ID != 0 && m.ID == st.Mnt_id {
			return m, nil
		}
	}
	return Mount{}, fmt.Errorf("%w: %s", ErrNone, name)
}

// OfDevice returns the mounts of a block device, which is known by its number or, for file systems with numbers of their own, its name.
func OfDevice(path string) (out []Mount, err error) {
	dev, err := number(path)
	if err != nil {
		return nil, err
	}
	all, err := List()
	if err != nil {
		return nil, err
	}
	return ofDevice(all, dev), nil
}

func ofDevice(all []Mount, dev uint64) (out []Mount) {
	devices := append(btrfsMates(dev), dev) // only one of several is named as the source
	for _, m := range all {
		same := unix.Mkdev(m.Major, m.Minor) == dev
		if !same && strings.HasPrefix(m.Source, "/dev/") {
			n, err := number(m.Source)
			same = err == nil && slices.Contains(devices, n)
		}
		if same {
			out = append(out, m)
		}
	}
	return out
}

// number returns the number of a block device.
func number(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0, fmt.Errorf("mounts: %s is no block device", path)
	}
	return st.Rdev, nil
}

// SameFileSystem reports whether two paths are in one file system, also in different subvolumes of one.
func SameFileSystem(a, b string) (bool, error) {
	var x, y unix.Stat_t
	for path, st := range map[string]*unix.Stat_t{a: &x, b: &y} {
		if err := unix.Stat(path, st); err != nil {
			return false, &os.PathError{Op: "stat", Path: path, Err: err}
		}
	}
	if x.Dev == y.Dev {
		return true, nil
	}
	m, err := Of(a)
	if err != nil {
		return false, err
	}
	n, err := Of(b)
	if err != nil {
		return false, err
	}
	return m.Type == n.Type && m.Source == n.Source && strings.HasPrefix(m.Source, "/dev/"), nil
}

// FileSystemID names the file system of an open file, by what the file system says of itself. Subvolumes have names of their own.
func FileSystemID(f *os.File) (string, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return "", &os.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	return fmt.Sprintf("%x%08x", uint32(st.Fsid.Val[0]), uint32(st.Fsid.Val[1])), nil
}

// deepest bounds how far Depth looks: a file system that is mounted over its own image would have no end.
const deepest = 32

// Depth is in how many others a mounted file system lies: one on a loop device of an image lies in that of the image, whatever is between the two:
// partitions, LVM, LUKS, MD.
func (m *Mount) Depth() int { return m.depth(deepest) }

func (m *Mount) depth(left int) (depth int) {
	dev := unix.Mkdev(m.Major, m.Minor)
	if n, err := number(m.Source); err == nil {
		dev = n
	}
	for _, d := range append(btrfsMates(dev), dev) {
		depth = max(depth, depthOf(d, left))
	}
	return depth
}

// depthOf is in how many file systems a device lies.
func depthOf(dev uint64, left int) (depth int) {
	if left == 0 {
		return 0
	}
	for _, o := range outers(dev, whole) {
		if o.isDevice() {
			depth = max(depth, depthOf(o.st.Rdev, left-1))
		} else if m, err := Of(o.name); err == nil {
			depth = max(depth, 1+m.depth(left-1))
		}
	}
	return depth
}
