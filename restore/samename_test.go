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

// What was there under another spelling is what is restored, and no surplus.
func TestDelete_TargetWithoutCase_WhatIsRestoredStays(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	r, _ := testrepo.New(t)
	long := testrepo.Random(1, 2<<20)
	snap := commit(t, r, textFile("readme", "one"), dir("docs", textFile("a", "a"), textFile("b", "b")), file("long", chunks(long[:1<<20], long[1<<20:])...))
	for name, old := range map[string]string{"same": "one", "other": "another"} {
		target := filepath.Join(foldingDir(t), "target")
		plant(t, target, "Docs/a", "extra")
		must(t, os.WriteFile(filepath.Join(target, "README"), []byte(old), 0o600))
		must(t, os.WriteFile(filepath.Join(target, "LONG"), []byte(old), 0o600))
		must(t, os.Chmod(filepath.Join(target, "LONG"), 0o666)) // so it is not changed in place
		for _, dry := range []bool{true, false} {
			out := run(t, r, snap, restore.Options{Target: target, Delete: true, DryRun: dry, Verify: !dry})
			mustBeFine(t, out)
			if out.Deleted != 1 {
				t.Errorf("%s: dry run %v: %+v", name, dry, out.Result)
			}
		}
		mustHave(t, filepath.Join(target, "readme"), []byte("one"))
		mustHave(t, filepath.Join(target, "docs/a"), []byte("a"))
		mustHave(t, filepath.Join(target, "docs/b"), []byte("b"))
		mustHave(t, filepath.Join(target, "long"), long)
		mustNotExist(t, filepath.Join(target, "extra"))
	}
}
