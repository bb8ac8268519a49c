package backup

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testrepo"
)

func TestRun_Tree_ReadsBackTheSame(t *testing.T) {
	r, _ := newRepo(t)
	root := memoryDir(t)
	many := sized(2000, 500)
	makeTree(t, root, manyFiles(many))
	makeTree(t, root, map[string]string{
		"empty": "", "empty folder/": "", "not utf-8 \xff\xfe/x": "x", "nl\n": "y",
		"zeros": strings.Repeat("\x00", 300_000), "short zeros": strings.Repeat("\x00", 5000),
		"large":  string(testrepo.Random(1, sized(20<<20, 6<<20))),
		"medium": string(testrepo.Random(2, 400_000)), "limit": string(testrepo.Random(3, maxSmall)), "over": string(testrepo.Random(4, maxSmall+1)),
	})
	res := mustRun(t, r, Options{Paths: []string{root}, Host: "h", Scan: true})
	wantTree(t, r, res.Snapshot, root)
	s := res.Summary
	if s.Files != uint64(many+9) || s.FilesNew != s.Files || s.Others != 0 {
		t.Errorf("%+v", s)
	}
	if s != res.Snapshot.Summary {
		s.BytesStored = res.Snapshot.Summary.BytesStored
		if s != res.Snapshot.Summary {
			t.Errorf("snapshot says %+v, result %+v", res.Snapshot.Summary, s)
		}
	}
}

func TestRun_UnchangedTree_WritesOnlyALogEntry(t *testing.T) {
	r, store := newRepo(t)
	root := memoryDir(t)
	makeTree(t, root, manyFiles(sized(2000, 500)))
	makeTree(t, root, map[string]string{"large": string(testrepo.Random(1, sized(9<<20, 3<<20))), "empty/": ""})
	if err := os.Symlink("target", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	settleTimes()
	first := mustRun(t, r, Options{Paths: []string{root}, Host: "h"})
	store.Reset()
	second := mustRun(t, r, Options{Paths: []string{root}, Host: "h"})
	if names := puts(store); len(names) != 1 || !strings.HasPrefix(names[0], "log/") {
		t.Errorf("put %q", names)
	}
	if second.Parent == nil || second.Parent.ID != first.Snapshot.ID {
		t.Errorf("parent %v", second.Parent)
	}
	if !bytes.Equal(first.Snapshot.Root, second.Snapshot.Root) {
		t.Error("another root")
	}
	a, b := first.Summary, second.Summary
	if b.FilesUnmodified != a.Files || b.FilesNew+b.FilesChanged != 0 || b.Files != a.Files || b.Dirs != a.Dirs ||
		b.Bytes != a.Bytes || b.Others != 1 || b.BytesAdded != 0 || b.BytesStored != 0 {
		t.Errorf("first %+v\nsecond %+v", a, b)
	}
	wantTree(t, r, second.Snapshot, root)
}
