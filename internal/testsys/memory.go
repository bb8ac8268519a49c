package testsys

import (
	"os"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/folderlock"
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

// NewMemoryDir is MemoryDir for what is not a test: remove removes the folder. What killed processes have left is removed before: it
// would take memory until the machine is off.
func NewMemoryDir() (dir string, remove func() error, err error) {
	dir, release, err := folderlock.Temporary(memory, memoryPrefix, 30*time.Minute)
	if err != nil {
		return "", nil, err
	}
	return dir, func() error { defer release(); return os.RemoveAll(dir) }, nil
}
