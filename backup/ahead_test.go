package backup

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A file that takes long must not make its folder keep the nodes of all that come behind it.
func TestRun_OneSlowFile_OthersStopAheadOfIt(t *testing.T) {
	if testing.Short() {
		t.Skip("makes many files")
	}
	r, _ := newRepo(t)
	root := t.TempDir()
	slow := filepath.Join(root, "0 slow")
	writeFile(t, slow, []byte("x"))
	empty := filepath.Join(root, "1")
	writeFile(t, empty, nil)
	const files = maxAhead + 3000
	for i := range files {
		must(t, os.Link(empty, filepath.Join(root, fmt.Sprintf("2 %05d", i))))
	}
	var rec recorder
	ev := rec.events()
	ev.Item = nil
	done := func() uint64 { return ev.Progress.FilesDone.Load() }
	var ahead uint64
	res, err := run(t.Context(), r, Options{Paths: []string{root}, Host: "h", ReadConcurrency: 2}, ev, hooks{opened: func(path string) error {
		if path != slow {
			return nil
		}
		for done() < maxAhead-batchSize && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(20 * time.Millisecond) // enough for thousands more, if nothing held them
		ahead = done()
		return nil
	}})
	if err != nil || len(rec.errors) > 0 {
		t.Fatal(err, rec.errors)
	}
	if ahead > maxAhead+2*batchSize {
		t.Errorf("%d entries were finished behind one that was not", ahead)
	}
	if res.Summary.Files != files+2 {
		t.Errorf("%+v", res.Summary)
	}
	if got := len(readBack(t, r, res.Snapshot)); got < files+2 {
		t.Errorf("%d entries came back", got)
	}
}
