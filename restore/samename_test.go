package restore_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/restore"
)

// foldingDir returns a folder in which upper and lower case are the same.
func foldingDir(t *testing.T) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 64<<20))
	if out, err := exec.Command("mkfs.ext4", "-q", "-O", "casefold", image).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4: %v: %s", err, out)
	}
	at := filepath.Join(testsys.MountDevice(t, "ext4", testsys.Loop(t, image)), "folding")
	must(t, os.Mkdir(at, 0o755))
	const casefold = 0x40000000
	if err := testsys.ChangeFlags(at, casefold, 0); err != nil {
		t.Skip("names without case:", err)
	}
	return at
}

func TestRun_TargetWithoutCase_TheFirstOfTwoEntriesStays(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	target := filepath.Join(foldingDir(t), "target")
	long := testrepo.Random(1, 2<<20)
	entries := []entry{
		textFile("README", "one"), textFile("readme", "two"), textFile("Other", "alone"),
		dir("Docs", textFile("a", "a")), dir("docs", textFile("b", "b")),
		file("Long", chunks(long[:1<<20], long[1<<20:])...), file("long", chunks(long[1<<20:], long[:1<<20])...),
		symlink("Link", "x"), symlink("link", "y"),
	}
	r, _ := testrepo.New(t)
	out := run(t, r, commit(t, r, entries...), restore.Options{Target: target, Verify: true})
	if out.err != nil || out.Errors != 4 || out.errors["/docs"] == nil {
		t.Errorf("error %v, errors %v, result %+v", out.err, out.errors, out.Result)
	}
	for path, err := range out.errors {
		if !strings.Contains(err.Error(), "upper from lower case") {
			t.Errorf("%s: %v", path, err)
		}
	}
	var left []entry
	for _, e := range entries {
		if out.errors["/"+e.Name] == nil {
			left = append(left, e)
		}
	}
	mustMatch(t, target, left)
}
