package lvmtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// box is a repository, a disk with a volume group, and the runs of kura on them.
type box struct {
	t   *testing.T
	dir string
	env []string
}

// Where things are in the machine. Between the machine's disk and the volume group is a device whose table tests change, which begins a
// bit behind the disk's own beginning: otherwise LVM finds its label twice.
const (
	group   = "vg0"
	disk    = "/dev/mapper/disk"
	under   = "/dev/vda"
	behind  = 2048 // sectors
	labelMB = 4    // what LVM needs of a disk for itself, generously
)

const (
	sector = 512
	mib    = 1 << 20
)

// untidy takes away what a test that failed in the middle has left.
const untidy = `{ grep -o '^/dev/\(mapper\|loop\)[^ ]*' /proc/mounts || true; } | sort -u | xargs --no-run-if-empty -n1 umount --all-targets --lazy
losetup --detach-all
{ dmsetup ls | grep -v '^No' || true; } | cut -f1 | xargs --no-run-if-empty -n1 dmsetup remove --force
dd if=/dev/zero of=` + under + ` bs=1M count=8 conv=fsync status=none`

// newBox returns one with a volume group that has room for so many MiB of volumes. In the end it is made sure that nothing is left of what
// kura has made.
func newBox(t *testing.T, size int) *box {
	t.Helper()
	if os.Getenv(insideVar) == "" {
		t.Skip("runs in a virtual machine: make test-lvm")
	}
	b := &box{t: t, dir: t.TempDir()}
	b.env = append(os.Environ(),
		"KURA_REPOSITORY="+filepath.Join(b.dir, "repo"), "KURA_CACHE_DIR="+filepath.Join(b.dir, "cache"),
		"KURA_KEY_FILE="+filepath.Join(b.dir, "key"), "HOME="+b.dir, "TMPDIR="+b.dir, "XDG_STATE_HOME="+b.state())
	b.kura("init", "--key-file", filepath.Join(b.dir, "key"))

	b.sh(untidy)
	b.sh("dmsetup create disk --table '%s'", plain(size))
	t.Cleanup(func() {
		b.sh("udevadm settle; dmsetup remove --retry disk; dd if=/dev/zero of=%s bs=1M count=8 conv=fsync status=none", under)
	})
	b.sh("vgcreate --yes %s %s", group, disk)
	t.Cleanup(func() { b.sh("vgremove --yes --force %s", group) })
	t.Cleanup(b.nothingIsLeft)
	return b
}

func (b *box) state() string { return filepath.Join(b.dir, "state") }

// plain is the table of a disk that works, for so many MiB of volumes.
func plain(size int) string {
	return fmt.Sprintf("0 %d linear %s %d", sectors(size), under, behind)
}

func sectors(size int) int { return (size + labelMB) * mib / sector }

// table changes what the disk is like.
func (b *box) table(lines ...string) {
	b.t.Helper()
	b.sh("dmsetup suspend --nolockfs disk; dmsetup load disk <<'EOF'\n%s\nEOF\ndmsetup resume disk", strings.Join(lines, "\n"))
}

// sh runs commands in the shell, which must succeed, and returns what they print.
func (b *box) sh(format string, args ...any) string {
	b.t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", fmt.Sprintf(format, args...))
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s%s", fmt.Sprintf(format, args...), err, out, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// command is a run of kura that has not begun.
func (b *box) command(args ...string) *exec.Cmd {
	cmd := exec.Command("kura", args...)
	cmd.Env = b.env
	return cmd
}

// kura runs kura, which must succeed, and returns what it prints.
func (b *box) kura(args ...string) string {
	b.t.Helper()
	began := time.Now()
	out, err := b.command(args...).CombinedOutput()
	b.t.Logf("kura %s: %v", strings.Join(args, " "), time.Since(began).Round(time.Millisecond))
	if err != nil {
		b.t.Fatalf("kura %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// fails runs kura, which must fail, as programs do that know why, and returns what it says.
func (b *box) fails(args ...string) string {
	b.t.Helper()
	out, err := b.command(args...).CombinedOutput()
	var failed *exec.ExitError
	if !errors.As(err, &failed) || failed.ExitCode() != 1 {
		b.t.Fatalf("kura %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// run is a run of kura that is under way.
type run struct {
	*exec.Cmd
	b   *box
	out *bytes.Buffer
}

// start starts kura, slowed down so that something can happen meanwhile.
func (b *box) start(args ...string) *run {
	b.t.Helper()
	r := &run{b.command(args...), b, new(bytes.Buffer)}
	r.Stdout, r.Stderr = r.out, r.out
	must(b.t, r.Start())
	b.t.Cleanup(func() {
		_ = r.Process.Kill() // has ended, unless the test has failed
		_ = r.Wait()
	})
	return r
}

// slowly makes kura take four seconds for each MiB that it stores.
const slowly = "--limit-upload=256"

// wait waits until the run has ended, and returns what it has said.
func (r *run) wait() (string, error) {
	err := r.Wait()
	return r.out.String(), err
}

// paused does something while the run stands still.
func (r *run) paused(do func()) {
	r.b.t.Helper()
	must(r.b.t, r.Process.Signal(syscall.SIGSTOP))
	do()
	must(r.b.t, r.Process.Signal(syscall.SIGCONT))
}

// until waits for something to happen.
func (b *box) until(what string, happened func() bool) {
	b.t.Helper()
	for end := time.Now().Add(10 * time.Minute); !happened(); {
		if time.Now().After(end) {
			b.t.Fatalf("%s: not within ten minutes\n%s", what, b.sh("lvs -a; dmsetup info -c; ps ax -o pid,stat,wchan:20,args | grep -v '\\]$'"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// reading waits until a run reads what it has made a snapshot of, and returns the name of that.
func (r *run) reading() (name string) {
	r.b.t.Helper()
	r.b.until("kura reads a snapshot", func() bool {
		all, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", r.Process.Pid))
		must(r.b.t, err)
		if len(all) == 0 { // a process that has ended has none
			out, err := r.wait()
			r.b.t.Fatalf("it has ended already: %v\n%s", err, out)
		}
		for _, fd := range all {
			to, err := os.Readlink(fd)
			if err != nil || !strings.HasPrefix(to, "/dev/dm-") {
				continue
			}
			text, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(to), "dm/name"))
			if err != nil { // it was closed, and is gone, meanwhile
				continue
			}
			name = strings.ReplaceAll(strings.TrimPrefix(strings.TrimSpace(string(text)), group+"-"), "--", "-")
			if strings.HasPrefix(name, "kura-") {
				return true
			}
		}
		return false
	})
	return name
}

// snapshots are the logical volumes that kura has made.
func (b *box) snapshots() []string {
	b.t.Helper()
	return strings.Fields(b.sh("lvs --noheadings -o lv_name %s | grep -o 'kura-.*' || true", group))
}

// suspended are the devices that let nobody write.
func (b *box) suspended() string {
	b.t.Helper()
	return b.sh("dmsetup info -c --noheadings -o name,suspended | grep Suspended || true")
}

// nothingIsLeft makes sure that no snapshot is there, nor a note of one, nor a volume that stands still.
func (b *box) nothingIsLeft() {
	b.t.Helper()
	if left := b.snapshots(); len(left) > 0 {
		b.t.Errorf("left: %q", left)
		b.sh("lvremove --yes %s", group+"/"+strings.Join(left, " "+group+"/"))
	}
	if notes, err := os.ReadDir(filepath.Join(b.state(), "kura", "snapshots")); err == nil && len(notes) > 0 {
		b.t.Errorf("notes: %v", notes)
	}
	if s := b.suspended(); s != "" {
		b.t.Errorf("stands still: %s", s)
		b.sh("dmsetup resume %s", strings.Fields(s)[0])
	}
}

// equal makes sure that two files or devices have the same bytes.
func (b *box) equal(one, other string) {
	b.t.Helper()
	if x, y := readFile(b, one), readFile(b, other); !bytes.Equal(x, y) {
		b.t.Errorf("%s, with %d bytes, is not %s, with %d", one, len(x), other, len(y))
	}
}

func readFile(b *box, path string) []byte {
	b.t.Helper()
	data, err := os.ReadFile(path)
	must(b.t, err)
	return data
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
