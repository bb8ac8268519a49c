package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// describeMachine says what the results were measured on; work lies on the file system that matters.
func describeMachine(work string) []fact {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			return ""
		}
		return string(b)
	}
	load := strings.Fields(read("/proc/loadavg"))
	kernel := strings.TrimSpace(read("/proc/sys/kernel/osrelease"))
	return []fact{
		{"machine", fmt.Sprintf("%s, %d cores, %s of memory, %s %s, %s",
			or(cpuModel(read("/proc/cpuinfo")), runtime.GOARCH), runtime.NumCPU(), memTotal(read("/proc/meminfo")),
			runtime.GOOS, or(kernel, "of an unknown version"), describeFileSystem(fileSystem(read("/proc/self/mountinfo"), work)))},
		{"load average before", or(strings.Join(load[:min(3, len(load))], " "), "unknown")},
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// cpuModel is the model in /proc/cpuinfo.
func cpuModel(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// memTotal is the memory in /proc/meminfo.
func memTotal(meminfo string) string {
	for line := range strings.Lines(meminfo) {
		value, ok := strings.CutPrefix(line, "MemTotal:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err == nil {
			return fmt.Sprintf("%.1f GiB", float64(kib)/(1<<20))
		}
	}
	return "an unknown amount"
}

// describeFileSystem names the type, and says of ext4 whether it has a journal: without one fsync costs less.
func describeFileSystem(kind, device string) string {
	if kind != "ext4" {
		return or(kind, "unknown file system")
	}
	device, err := filepath.EvalSymlinks(device)
	if err != nil {
		return kind
	}
	if found, _ := filepath.Glob("/proc/fs/jbd2/" + filepath.Base(device) + "-*"); len(found) == 0 {
		return kind + " without a journal"
	}
	return kind
}

// fileSystem is the type and the device of the file system that path is on, by /proc/self/mountinfo. Of several
// mounts on a place the last is the one that is seen.
func fileSystem(mountinfo, path string) (kind, device string) {
	best := -1
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		fields, types := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(types) < 2 {
			continue
		}
		if at := fields[4]; within(path, at) && len(at) >= best {
			best, kind, device = len(at), types[0], types[1]
		}
	}
	return kind, device
}
