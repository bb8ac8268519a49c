package lvmtest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestOverflow_WhileItIsRead_FailsAndTheSnapshotIsRemoved(t *testing.T) {
	b := newBox(t, 64+16)
	at := b.volume("data", "ext4", 64, 16)
	r := b.start("device", "backup", device("data"), "--snapshot", "lvm", "--snapshot-size", "16M", slowly)
	r.reading()
	r.paused(func() { writeFile(b, filepath.Join(at, "more"), random(20*mib, 2)) })
	out, err := r.wait()
	t.Logf("%s", out)
	if err == nil || !strings.Contains(out, "the snapshot is full and no longer valid") || !strings.Contains(out, "--snapshot-size") {
		t.Errorf("%v: %s", err, out)
	}
	if out := b.kura("snapshots"); !strings.Contains(out, "no snapshots") {
		t.Errorf("%s", out)
	}
	writeFile(b, filepath.Join(at, "more"), random(20*mib, 3)) // the volume itself has not suffered
}

func TestOverflow_RoomInTheGroup_SnapshotGrowsAndIsExact(t *testing.T) {
	b := newBox(t, 128+64)
	at := b.volume("data", "ext4", 128, 64)
	more := [][]byte{random(12*mib, 2), random(8*mib, 2)}
	// Packs so small, and so slow, that it reads for half a minute: what it has in flight is half of the data.
	r := b.start("device", "backup", device("data"), "--snapshot", "lvm", "--snapshot-size", "16M", "--pack-size", "4", "--limit-upload", "1024")
	name := r.reading()
	size := func() int {
		n, err := strconv.Atoi(b.sh("lvs --noheadings --nosuffix --units b -o lv_size %s/%s", group, name))
		must(t, err)
		return n
	}
	for i, data := range more {
		was := size()
		r.paused(func() { writeFile(b, filepath.Join(at, "more"+strconv.Itoa(i)), data) }) // which may take any time
		b.until("the snapshot grows", func() bool { return size() > was })
	}
	t.Logf("it has %d MiB", size()/mib)
	if out, err := r.wait(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	copied := b.clean("ext4", b.restored())
	b.equal(filepath.Join(at, "large"), filepath.Join(copied, "large"))
	b.sh("test ! -e %s/more0", copied)
}

// Of a thin pool all who write to its volumes need room, and who needs some when there is none waits. Here that is for ever: nobody who reads
// this has to wonder whether the machine was too slow.
func TestOverflow_ThinPoolIsFull_RunEndsAndTheVolumeGoesOn(t *testing.T) {
	const large, more = 24, 8
	b := newBox(t, 100)
	b.sh("echo 0 >/sys/module/dm_thin_pool/parameters/no_space_timeout")
	// With the snapshot all of large is there twice when it was written to, and that is more than there is room for; without it it is not.
	b.sh("lvcreate --yes --type thin --name data --virtualsize 96m --size %dm --thinpool pool %s", 2*large, group)
	at := b.format("data", "ext4", large)
	r := b.start("device", "backup", device("data"), "--snapshot", "lvm-thin", slowly)
	r.reading()
	written := make(chan error, 1)
	r.paused(func() {
		go func() {
			written <- errors.Join(overwrite(filepath.Join(at, "large"), random(large*mib, 2)), write(filepath.Join(at, "more"), random(more*mib, 3)))
		}()
		b.until("the pool is full", func() bool { return b.sh("lvs --noheadings -o lv_attr %s/pool", group)[8] == 'D' })
	})
	out, err := r.wait()
	t.Logf("%s", out)
	if err == nil || !strings.Contains(out, "the thin pool is full: "+group+"/pool") || !strings.Contains(out, "lvextend") {
		t.Errorf("%v: %s", err, out)
	}
	b.nothingIsLeft()
	if out := b.kura("snapshots"); !strings.Contains(out, "no snapshots") {
		t.Errorf("%s", out)
	}
	must(t, <-written) // and has lost nothing:
	b.sh("umount %s && e2fsck -fn %s && mount %s %s", at, device("data"), device("data"), at)
	for name, want := range map[string][]byte{"large": random(large*mib, 2), "more": random(more*mib, 3)} {
		if got := readFile(b, filepath.Join(at, name)); !bytes.Equal(got, want) {
			t.Errorf("%s has %d other bytes", name, len(got))
		}
	}
	b.kura("device", "backup", device("data"), "--snapshot", "lvm-thin")
	b.equal(filepath.Join(at, "large"), filepath.Join(b.clean("ext4", b.restored()), "large"))
}

// overwrite writes to where a file is already.
func overwrite(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
