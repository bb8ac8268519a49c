package testsys_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testsys"
)

func TestAsUser_InItsProcess_IsNotRoot(t *testing.T) {
	if !testsys.AsUser(t) {
		return
	}
	if os.Getuid() == 0 || os.Geteuid() == 0 {
		t.Error("root")
	}
	if err := os.WriteFile(filepath.Join(t.TempDir(), "f"), nil, 0o600); err != nil {
		t.Error(err)
	}
}

func TestMount_EveryKind_IsMountedForTheTestAlone(t *testing.T) {
	magic := map[string]int64{
		"tmpfs": unix.TMPFS_MAGIC, "ext4": unix.EXT4_SUPER_MAGIC, "xfs": unix.XFS_SUPER_MAGIC, "btrfs": unix.BTRFS_SUPER_MAGIC,
	}
	for kind, want := range magic {
		t.Run(kind, func(t *testing.T) {
			if !testsys.AsMounter(t) {
				return
			}
			at := testsys.Mount(t, kind, 512<<20)
			var st unix.Statfs_t
			if err := unix.Statfs(at, &st); err != nil || int64(st.Type) != want {
				t.Errorf("type %#x, want %#x (%v)", st.Type, want, err)
			}
		})
	}
}
