package restore_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
)

const syncedTarget = "KURA_TEST_SYNCED_TARGET"

func TestRun_SyncWithDisksMountedInTheTarget_AllOfThemAreSynced(t *testing.T) {
	if target := os.Getenv(syncedTarget); target != "" {
		// What a process leaves that exits must be where its parent removes it.
		r, err := repo.Init(t.Context(), mem.New(), repo.InitOptions{Credential: testrepo.Credential, CacheDir: t.TempDir()})
		must(t, err)
		snap := commit(t, r, dir("home", dir("me", textFile("f", "x"))), dir("srv", dir("new")), textFile("g", "y"))
		mustBeFine(t, run(t, r, snap, restore.Options{Target: target, Sync: true}))
		must(t, r.Close())
		os.Exit(0) // and nothing else is synced
	}
	if !testsys.AsMounter(t) {
		return
	}
	for name, mounts := range map[string][]string{"none": nil, "one": {"home"}, "two": {"home", "home/me"}} {
		t.Run(name, func(t *testing.T) {
			target := t.TempDir()
			for _, d := range []string{"home", "srv"} {
				must(t, os.Mkdir(filepath.Join(target, d), 0o755))
			}
			for _, d := range mounts {
				at := filepath.Join(target, d)
				must(t, os.MkdirAll(at, 0o755))
				if err := unix.Mount("none", at, "tmpfs", 0, "size=1m"); err != nil {
					t.Skip(err)
				}
				t.Cleanup(func() { must(t, unix.Unmount(at, unix.MNT_DETACH)) })
			}
			defer func(all []uint64) { changing = all }(changing)
			changing = []uint64{unix.SYS_SYNCFS}
			cmd := sameTest(t, syncedTarget, target)
			cmd.Args[1] = "-test.run=^TestRun_SyncWithDisksMountedInTheTarget_AllOfThemAreSynced$"
			if calls, _ := traced(t, cmd, 0); calls != 1+len(mounts) {
				t.Errorf("%d file systems were synced, not %d", calls, 1+len(mounts))
			}
			mustHave(t, filepath.Join(target, "home/me/f"), []byte("x"))
		})
	}
}
