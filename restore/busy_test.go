package restore_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

// A program that runs can not be changed where it is: it is made anew, and who runs it keeps the old one.
func TestInPlace_ProgramThatRuns_IsMadeAnewIfItDiffers(t *testing.T) {
	for name, c := range map[string]struct {
		second func(old []byte) []byte
		want   restore.Action
	}{
		"same":       {bytes.Clone, restore.Unchanged},
		"other half": {func(old []byte) []byte { return bytes.Repeat([]byte("new "), len(old)/4) }, restore.Updated},
		"longer":     {func(old []byte) []byte { return append(bytes.Clone(old), "more"...) }, restore.Updated},
	} {
		t.Run(name, func(t *testing.T) {
			target := t.TempDir()
			old, pid, _ := testsys.RunningProgram(t, target)
			before := stat(t, filepath.Join(target, "sleep"))
			half := len(old) / 2
			e := file("sleep", chunks(old[:half], c.second(old[half:]))...).with(func(n *tree.Node) { n.Mode = 0o755 })
			r, _ := testrepo.New(t)
			snap := commit(t, r, e)
			dry := run(t, r, snap, restore.Options{Target: target, DryRun: true})
			mustBeFine(t, dry)
			mustDo(t, dry, map[string]restore.Action{"/sleep": c.want})
			for range 2 {
				out := run(t, r, snap, restore.Options{Target: target, Verify: true})
				mustBeFine(t, out)
				mustDo(t, out, map[string]restore.Action{"/sleep": c.want})
				mustMatch(t, target, []entry{e})
				c.want = restore.Unchanged
			}
			after := stat(t, filepath.Join(target, "sleep"))
			exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
			must(t, err)
			if anew := after.Ino != before.Ino; anew != strings.HasSuffix(exe, " (deleted)") || anew == (name == "same") {
				t.Errorf("made anew: %v; %s runs", anew, exe)
			}
		})
	}
}
