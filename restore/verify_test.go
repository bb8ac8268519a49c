package restore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

// Verifying opens nothing that the snapshot has closed to the user: it says that it could not read it.
func TestVerify_FoldersAndFilesThatTheUserMayNotRead_StayClosed(t *testing.T) {
	if !testsys.AsUser(t) {
		return
	}
	r, _ := testrepo.New(t)
	mode := func(m uint32) func(*tree.Node) { return func(n *tree.Node) { n.Mode = m } }
	snap := commit(t, r, dir("box", textFile("f", "x"), dir("g", textFile("h", "x"))).with(mode(0o311)), textFile("log", "x").with(mode(0o200)), textFile("open", "x"))
	target := filepath.Join(t.TempDir(), "target")
	t.Cleanup(func() { os.Chmod(filepath.Join(target, "box"), 0o700) })
	out := run(t, r, snap, restore.Options{Target: target, Verify: true})
	if out.err != nil || len(out.errors) != 0 || out.Errors != 0 || out.Verified != 1 {
		t.Fatalf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
	}
	if len(out.Omitted) != 1 || out.Omitted[0].What != restore.Unread || out.Omitted[0].Count != 3 || out.Omitted[0].Fault {
		t.Errorf("omitted %+v", out.Omitted)
	}
	for name, want := range map[string]uint32{"box": 0o311, "log": 0o200} {
		if got := stat(t, filepath.Join(target, name)).Mode & 0o7777; got != want {
			t.Errorf("%s has mode %#o, want %#o", name, got, want)
		}
	}
}

// A folder of which something is missing does not hide from the verification what is there.
func TestVerify_FolderThatIsNotWhole_WhatIsInItIsRead(t *testing.T) {
	r, _ := testrepo.New(t)
	partly := func(n *tree.Node) { n.Error = "input/output error" }
	lostXAttr := func(n *tree.Node) { n.XAttrs = []tree.XAttr{{Name: "user.large", Blob: object.BlobID{9}}} }
	for name, c := range map[string]struct {
		entry           entry
		path            string
		errors, damaged uint64
	}{
		"the target":              {dir("d", textFile("f", "x")).with(partly), "/d", 1, 0},
		"below the target":        {dir("d", textFile("f", "x")).with(partly), "", 1, 0},
		"attribute":               {dir("d", textFile("f", "x")).with(lostXAttr), "", 0, 1},
		"attribute of the target": {dir("d", textFile("f", "x")).with(lostXAttr), "/d", 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			target := filepath.Join(t.TempDir(), "target")
			out := run(t, r, commit(t, r, c.entry), restore.Options{Path: c.path, Target: target, Verify: true})
			if out.err != nil || out.Errors != c.errors || out.Damaged != c.damaged || out.Verified != 1 {
				t.Errorf("error %v, result %+v, errors %v", out.err, out.Result, out.errors)
			}
		})
	}
}
