package restore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/restore"
)

// What could be listed and not looked at when it was backed up is not in the snapshot; it is no reason to delete it.
func TestDelete_EntriesThatTheBackupCouldNotLookAt_Stay(t *testing.T) {
	if !testsys.AsUser(t) {
		return
	}
	source, target := filepath.Join(t.TempDir(), "source"), filepath.Join(t.TempDir(), "target")
	for _, at := range []string{source, target} {
		for _, name := range []string{"closed/f", "closed/sub/g", "open/h"} {
			must(t, os.MkdirAll(filepath.Join(at, filepath.Dir(name)), 0o755))
			must(t, os.WriteFile(filepath.Join(at, name), []byte(name), 0o644))
		}
		t.Cleanup(func() { _ = os.Chmod(filepath.Join(at, "closed"), 0o700) }) // to be removed
	}
	for _, name := range []string{"closed/extra", "open/extra"} {
		must(t, os.WriteFile(filepath.Join(target, name), nil, 0o644))
	}
	must(t, os.Chmod(filepath.Join(source, "closed"), 0o400))
	r, _ := testrepo.New(t)
	res, err := backup.Run(t.Context(), r, backup.Options{Paths: []string{source}, Host: "h"}, backup.Events{})
	must(t, err)
	if res.Summary.Errors != 2 {
		t.Fatalf("%+v", res.Summary)
	}
	out := run(t, r, res.Snapshot, restore.Options{Target: target, Path: source, Delete: true})
	if out.err != nil || out.Deleted != 1 || len(out.errors) != 1 || out.errors["/closed"] == nil {
		t.Errorf("error %v, errors %v, result %+v", out.err, out.errors, out.Result)
	}
	must(t, os.Chmod(filepath.Join(target, "closed"), 0o700))
	for _, name := range []string{"closed/f", "closed/sub/g", "open/h"} {
		mustHave(t, filepath.Join(target, name), []byte(name))
	}
	mustHave(t, filepath.Join(target, "closed/extra"), nil)
	mustNotExist(t, filepath.Join(target, "open/extra"))
}
