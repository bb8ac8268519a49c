package restore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/restore"
)

// BenchmarkRun is a restore of many tiny files from memory into memory: what a file costs beside its bytes, with what is
// allocated for all of them.
func BenchmarkRun(b *testing.B) {
	const files, perFolder = 20_000, 200
	var folders []entry
	for i := range files / perFolder {
		var kids []entry
		for k := range perFolder {
			kids = append(kids, textFile(fmt.Sprintf("f%05d", k), fmt.Sprintf("content of %d in %d", k, i)))
		}
		folders = append(folders, dir(fmt.Sprintf("d%03d", i), kids...))
	}
	r, _ := testrepo.New(b)
	snap := commit(b, r, folders...)
	root := testsys.MemoryDir(b)
	b.Run("files20000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			target := filepath.Join(root, "target")
			res, err := restore.Run(b.Context(), r, snap, restore.Options{Target: target}, restore.Events{})
			if err != nil || res.Errors > 0 {
				b.Fatal(err, res)
			}
			b.StopTimer()
			must(b, os.RemoveAll(target))
			b.StartTimer()
		}
	})
}
