package testsys

import (
	"os"
	"testing"

	"github.com/kura-backup/kura/internal/folderlock"
)

func TestNewMemoryDir_UntilItIsRemoved_IsHeld(t *testing.T) {
	dir, remove, err := NewMemoryDir()
	if err != nil {
		t.Skip(err)
	}
	if release, err := folderlock.Lock(dir); err == nil {
		t.Error("another takes it for one that is left")
		release()
	}
	must(t, remove())
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}
