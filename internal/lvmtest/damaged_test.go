package lvmtest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnreadable_Block_FailsWithItsOffsetUntilItIsMended(t *testing.T) {
	const size = 100
	b := newBox(t, size)
	b.volume("data", "ext4", 32, 12)
	// One block of the volume, whose first extent is where LVM's own data ends.
	const inside = 8*mib + 3*4096
	first, err := strconv.Atoi(b.sh("pvs --noheadings --nosuffix --units b -o pe_start %s | tr -d ' '", disk))
	must(t, err)
	bad := (first + inside) / sector
	broken := []string{
		fmt.Sprintf("0 %d linear %s %d", bad, under, behind),
		fmt.Sprintf("%d 8 error", bad),
		fmt.Sprintf("%d %d linear %s %d", bad+8, sectors(size)-bad-8, under, behind+bad+8),
	}
	for _, args := range [][]string{nil, {"--snapshot", "lvm"}} {
		b.table(broken...)
		said := b.fails(append([]string{"device", "backup", device("data")}, args...)...)
		if want := fmt.Sprintf("can not be read at byte %d: input/output error", inside); !strings.Contains(said, want) {
			t.Errorf("%v: %s", args, said)
		}
		if out := b.kura("snapshots"); !strings.Contains(out, "no snapshots") {
			t.Errorf("%v: %s", args, out)
		}
		b.nothingIsLeft()
		b.table(plain(size))
	}
	b.kura("device", "backup", device("data"), "--snapshot", "lvm")
}

func TestShrunk_WhileItIsReadOrBetweenRuns_EachSnapshotHasItsOwnSize(t *testing.T) {
	b := newBox(t, 100)
	b.sh("lvcreate --yes --name data --size 8m %s", group)
	data := random(8*mib, 1)
	b.fill(data)
	b.kura("device", "backup", device("data"))

	// It shrinks while another run reads it.
	b.fill(random(8*mib, 2))
	r := b.start("device", "backup", device("data"), slowly)
	b.until("it has begun", func() bool { return b.holds(r, device("data")) })
	r.paused(func() { b.sh("lvreduce --yes --force --size 4m %s/data", group) })
	out, err := r.wait()
	t.Logf("%s", out)
	if err == nil || !strings.Contains(out, "its size changed while it was read") && !strings.Contains(out, "ended before its size") {
		t.Errorf("%v: %s", err, out)
	}
	if got := readFile(b, b.restored()); !bytes.Equal(got, data) {
		t.Errorf("%d other bytes", len(got))
	}
	b.kura("device", "backup", device("data"))
	if info, err := os.Stat(b.restored()); err != nil || info.Size() != 4*mib {
		t.Errorf("%v, %v", info, err)
	}
	if said := b.fails("device", "restore", "latest~1", "--to", device("data")); !strings.Contains(said, "too small") {
		t.Errorf("%s", said)
	}
}

// fill writes bytes to the volume.
func (b *box) fill(data []byte) {
	b.t.Helper()
	f, err := os.OpenFile(device("data"), os.O_WRONLY, 0)
	must(b.t, err)
	_, err = io.Copy(f, bytes.NewReader(data))
	must(b.t, err)
	must(b.t, f.Sync())
	must(b.t, f.Close())
}

// holds reports whether a run has a device open.
func (b *box) holds(r *run, path string) bool {
	b.t.Helper()
	real, err := filepath.EvalSymlinks(path)
	must(b.t, err)
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", r.Process.Pid))
	must(b.t, err)
	for _, fd := range all {
		if to, err := os.Readlink(fd); err == nil && to == real {
			return true
		}
	}
	return false
}

func TestRestore_ToAVolume_RefusesOneInUseAndIsExact(t *testing.T) {
	b := newBox(t, 100)
	at := b.volume("data", "ext4", 32, 8)
	b.kura("device", "backup", device("data"), "--snapshot", "lvm")
	want := b.restored()
	refused := func(why, to, says string) {
		t.Helper()
		out, err := b.command("device", "restore", "latest", "--to", to).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "is in use") || !strings.Contains(string(out), says) {
			t.Errorf("%s: %v, %s", why, err, out)
		}
	}
	refused("mounted", device("data"), at)
	b.sh("umount %s", at)
	b.sh("losetup /dev/loop7 %s && mount /dev/loop7 %s", device("data"), at)
	refused("mounted by a loop device", device("data"), "/dev/loop7")
	// What is made of the volume, as kpartx makes the partitions of a guest's disk, has the same bytes.
	b.sh("dmsetup create part --table '0 %d linear %s 0'; udevadm settle", 32*mib/sector, device("data"))
	t.Cleanup(func() { b.sh("dmsetup info part >&/dev/null || exit 0; dmsetup remove --retry part") })
	refused("the volume below it is behind a loop device", "/dev/mapper/part", "/dev/loop7")
	b.sh("umount %s; losetup --detach /dev/loop7; udevadm settle", at)
	guest, err := os.Open(device("data"))
	must(t, err)
	must(t, unix.FcntlFlock(guest.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: 100, Len: 1}))
	refused("a guest has the volume below it", "/dev/mapper/part", "another program has locked")
	must(t, guest.Close())
	b.kura("device", "restore", "latest", "--to", "/dev/mapper/part", "--dry-run")
	b.sh("udevadm settle; dmsetup remove --retry part")

	b.sh("dd if=/dev/urandom of=%s bs=4096 seek=1000 count=100 conv=fsync status=none", device("data"))
	out := b.kura("device", "restore", "latest", "--to", device("data"))
	t.Logf("%s", out)
	b.equal(want, device("data"))
	b.sh("mount %s %s", device("data"), at)
}
