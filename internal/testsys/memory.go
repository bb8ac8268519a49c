package testsys

import (
	"os"
	"testing"
)

// MemoryDir returns a folder that is removed with the test. It is in memory where there is such a place (Linux has /dev/shm): many
// entries are quickly made there, and what is synced waits for no disk.
func MemoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "kura-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
