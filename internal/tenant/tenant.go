// Package tenant finds the server that works in a folder: what it has in memory would replace, or ruin, whatever is put there.
package tenant

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// longest is what Linux keeps of a process's name.
const longest = 15

// Find returns the process of one of the programs that works in a folder, in words for a message; nothing if there is none. Servers change
// into theirs. A process that this one may not look into counts if it could be the folder's, since it belongs to the folder's owner;
// then it is not sure.
func Find(dir string, programs ...string) (who string, sure bool, err error) {
	want, err := os.Stat(dir)
	if err != nil {
		return "", false, err
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return "", false, err
	}
	for _, p := range processes {
		if !runs(p, programs) {
			continue
		}
		pid := filepath.Base(p)
		// Followed by the kernel, which also works for a process that sees other mounts.
		at, err := os.Stat(p + "/cwd")
		switch {
		case err == nil && os.SameFile(at, want):
			return "process " + pid, true, nil
		case errors.Is(err, os.ErrPermission) && sameOwner(p, want):
			who = "perhaps process " + pid + ", which belongs to the folder's owner; only root can see where it works"
		}
	}
	return who, false, nil
}

// runs reports whether a process is one of the programs.
func runs(process string, programs []string) bool {
	name, err := os.ReadFile(process + "/comm")
	return err == nil && slices.ContainsFunc(programs, func(p string) bool {
		return strings.TrimSuffix(string(name), "\n") == p[:min(len(p), longest)]
	})
}

func sameOwner(process string, folder os.FileInfo) bool {
	info, err := os.Stat(process)
	if err != nil {
		return false
	}
	a, ok := info.Sys().(*syscall.Stat_t)
	b, also := folder.Sys().(*syscall.Stat_t)
	return ok && also && a.Uid == b.Uid
}
