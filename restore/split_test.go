package restore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

// A file without data is looked at before it is decided what becomes of it, also if it is the one that fills a batch.
func TestKeep_FileWithoutDataAtTheEndOfABatch_Stays(t *testing.T) {
	r, _ := testrepo.New(t)
	var entries []entry
	for i := range 2047 { // the first batch has 2048
		entries = append(entries, file(fmt.Sprintf("f%04d", i)))
	}
	entries = append(entries, file("z", part{kind: tree.Zeros, n: 64 << 10}, hole(64<<10)))
	snap := commit(t, r, entries...)
	for _, policy := range []restore.Overwrite{restore.OverwriteNever, restore.OverwriteAlways} {
		target := t.TempDir()
		z := filepath.Join(target, "z")
		must(t, os.WriteFile(z, []byte("mine"), 0o600))
		out := run(t, r, snap, restore.Options{Target: target, Overwrite: policy, Verify: true})
		mustBeFine(t, out)
		want, text := restore.Updated, content(entries[2047].parts)
		if policy == restore.OverwriteNever {
			want, text = restore.Unchanged, []byte("mine")
		}
		mustHave(t, z, text)
		if did := out.did()["/z"]; did != want {
			t.Errorf("%v: it was %v", policy, did)
		}
	}
}
