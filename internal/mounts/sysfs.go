package mounts

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sysfs is where what the kernel says of devices is mounted. Tests have one of their own.
var sysfs = "/sys"

func sysPath(dev uint64) string {
	p, err := filepath.EvalSymlinks(filepath.Join(sysfs, fmt.Sprintf("dev/block/%d:%d", unix.Major(dev), unix.Minor(dev))))
	if err != nil {
		return ""
	}
	return p
}

// deviceOf returns the number of a device that sysfs has a folder for.
func deviceOf(sys string) (uint64, bool) {
	var major, minor uint32
	_, err := fmt.Sscanf(word(filepath.Join(sys, "dev")), "%d:%d", &major, &minor)
	return unix.Mkdev(major, minor), err == nil
}

// nodeName is the path of a device that sysfs has a name for.
func nodeName(name string) string { return "/dev/" + strings.ReplaceAll(name, "!", "/") }

// names returns what is in a folder of sysfs.
func names(dir string) (out []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// word returns what a file of sysfs says, or "".
func word(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(b), "\n")
}

// partitions returns the folders that sysfs has for the partitions of a device.
func partitions(sys string) (out []string) {
	for _, p := range names(sys) {
		if at := filepath.Join(sys, p); word(filepath.Join(at, "partition")) != "" {
			out = append(out, at)
		}
	}
	return out
}

// span is a part of a device or an image, in bytes.
type span struct{ from, to int64 }

// whole is all of anything.
var whole = span{0, math.MaxInt64}

func (s span) meets(o span) bool { return s.from < o.to && o.from < s.to }

// length is the span as it counts itself.
func (s span) length() span { return span{0, s.to - s.from} }

// within is what of the span is in a part, as that counts.
func (s span) within(part span) span {
	return span{max(s.from, part.from) - part.from, min(s.to, part.to) - part.from}
}

// behind is the span as it is counted where the part that it is of begins at an offset.
func (s span) behind(offset int64) span {
	return span{offset + min(s.from, math.MaxInt64-offset), offset + min(s.to, math.MaxInt64-offset)}
}

const sector = 512

// spanOf returns what a partition is of its disk, or all of another device.
func spanOf(sys string) span {
	if sys == "" {
		return whole
	}
	from := count(filepath.Join(sys, "start")) * sector
	if n := count(filepath.Join(sys, "size")); n > 0 {
		return span{from, from + n*sector}
	}
	return span{from, math.MaxInt64}
}

// loopSpan returns what a loop device is of what is behind it.
func loopSpan(sys string) span {
	return spanOf(sys).behind(count(filepath.Join(sys, "loop", "offset")))
}

// count returns the number that a file of sysfs says, or 0.
func count(path string) int64 {
	n, err := strconv.ParseInt(word(path), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/sector/2 {
		return 0
	}
	return n
}

// outer is what a device lies in: a disk, another device, an image.
type outer struct {
	st     unix.Stat_t // which one it is
	name   string
	part   span // of it
	mapped bool // in a way that only the volume manager knows: part is all of it
}

func (o *outer) isDevice() bool { return o.st.Mode&unix.S_IFMT == unix.S_IFBLK }

// outers returns what a part of a device lies in.
func outers(dev uint64, part span) (out []outer) {
	sys := sysPath(dev)
	if sys == "" {
		return nil
	}
	device := func(dev uint64) unix.Stat_t { return unix.Stat_t{Mode: unix.S_IFBLK, Rdev: dev} }
	if disk := filepath.Dir(sys); word(filepath.Join(sys, "partition")) != "" {
		if up, ok := deviceOf(disk); ok {
			out = append(out, outer{st: device(up), name: nodeName(filepath.Base(disk)), part: part.behind(spanOf(sys).from)})
		}
	}
	if file := filepath.Join(sys, "loop", "backing_file"); word(file) != "" {
		if st, ok := backing(nodeName(filepath.Base(sys)), file); ok {
			out = append(out, outer{st: st, name: word(file), part: part.behind(loopSpan(sys).from)})
		}
	}
	for _, s := range names(filepath.Join(sys, "slaves")) {
		if up, ok := deviceOf(filepath.Join(sys, "slaves", s)); ok {
			out = append(out, outer{st: device(up), name: nodeName(s), part: whole, mapped: true})
		}
	}
	return out
}

// btrfsMates returns the devices of the mounted btrfs that a device is one of.
func btrfsMates(dev uint64) (out []uint64) {
	sys := sysPath(dev)
	all, err := filepath.Glob(filepath.Join(sysfs, "fs/btrfs/*/devices/*"))
	if err != nil || sys == "" {
		return nil
	}
	for _, link := range all {
		if to, err := filepath.EvalSymlinks(link); err != nil || to != sys {
			continue
		}
		for _, mate := range names(filepath.Dir(link)) {
			if n, ok := deviceOf(filepath.Join(filepath.Dir(link), mate)); ok {
				out = append(out, n)
			}
		}
	}
	return out
}
