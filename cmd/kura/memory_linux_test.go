package main

import (
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testsys"
)

// memoryDir makes a folder in memory, where what is synced waits for no disk, or returns nothing: some systems have little room there, or
// no extended attributes, and on others nothing can be executed. remove removes it.
func memoryDir() (dir string, remove func() error) {
	const enough = 2 << 30
	var st unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &st); err != nil || st.Bavail*uint64(st.Bsize) < enough {
		return "", nil
	}
	dir, remove, err := testsys.NewMemoryDir()
	if err != nil {
		return "", nil
	}
	program := filepath.Join(dir, "program")
	err = os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700)
	if err == nil {
		err = unix.Setxattr(program, "user.kura", []byte("x"), 0)
	}
	if err == nil {
		err = exec.Command(program).Run()
	}
	if err == nil {
		err = os.Chmod(dir, 0o755) // there are servers that run as somebody else
	}
	if err != nil {
		_ = remove() // there is next to nothing in it
		return "", nil
	}
	return dir, remove
}
