package lvmtest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testvm"
)

var (
	runFlag    = flag.String("lvm.run", "", "run only these tests in the machine")
	roundsFlag = flag.Int("lvm.rounds", 6, "how often runs are ended at random moments")
)

// insideVar is set in the machine.
const insideVar = "KURA_TEST_INSIDE"

// script runs in the machine. Temporary files are on a disk, as the repositories are.
const script = `set -e
mkfs.ext4 -q /dev/vdb
mkdir -p /work
mount /dev/vdb /work
modprobe -a dm-snapshot dm-thin-pool dm-delay
export PATH=/test:$PATH TMPDIR=/work %s=1 KURA_TEST_SEED=%d
exec ./lvm.test -test.v -test.timeout 0 -test.run '%s' -lvm.rounds %d
`

func TestMachine_WithRealVolumes_AllTestsPass(t *testing.T) {
	folder := os.Getenv(testvm.Var)
	if folder == "" || os.Getenv(insideVar) != "" {
		t.Skip("make test-lvm runs virtual machines")
	}
	dir := t.TempDir()
	programs := map[string]string{"kura": filepath.Join(dir, "kura"), "lvm.test": filepath.Join(dir, "lvm.test")}
	build(t, "build", "-o", programs["kura"], "../../cmd/kura")
	build(t, "test", "-c", "-o", programs["lvm.test"], ".")
	m := testvm.Machine{
		Folder: folder, Programs: programs, Memory: 2048, Disks: []int64{2 << 30, 4 << 30},
		Script: fmt.Sprintf(script, insideVar, testrand.Seed(t), *runFlag, *roundsFlag),
	}
	if err := m.Run(t.Context(), t.Output()); err != nil {
		t.Error(err)
	}
}

// build builds what needs no library of the machine.
func build(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
}
