package testsys

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/clock"
)

const (
	memory       = "/dev/shm" // a place in memory
	memoryPrefix = "kura-test-"
)

// MemoryDir returns a folder that is removed with the test. It is in memory where there is such a place (Linux has /dev/shm): many
// entries are quickly made there, and what is synced waits for no disk.
func MemoryDir(t testing.TB) string {
	t.Helper()
	dir, remove, err := NewMemoryDir()
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// NewMemoryDir is MemoryDir for what is not a test: remove removes the folder. Nobody does when the process is killed, so that the first
// call removes what such ones have left: it would take memory until the machine is off.
func NewMemoryDir() (dir string, remove func() error, err error) {
	sweepOnce()
	dir, err = os.MkdirTemp(memory, memoryPrefix)
	if err != nil {
		return "", nil, err
	}
	held, err := hold(dir, unix.LOCK_SH)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, func() error { return errors.Join(os.RemoveAll(dir), held.Close()) }, nil
}

// hold locks a folder until it is closed, or this process has ended.
func hold(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

var sweepOnce = sync.OnceFunc(func() { sweep(memory) })

// sweep removes folders that nobody holds. What can not be removed does not matter: it may be another user's.
func sweep(root string) {
	const young = 30 * time.Minute // may be about to be held
	left, _ := filepath.Glob(filepath.Join(root, memoryPrefix+"*"))
	for _, dir := range left {
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() || clock.Since(info.ModTime()) < young {
			continue
		}
		if f, err := hold(dir, unix.LOCK_EX); err == nil {
			_ = os.RemoveAll(dir)
			_ = f.Close()
		}
	}
}
