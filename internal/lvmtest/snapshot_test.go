package lvmtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// restored restores the newest snapshot to a new image.
func (b *box) restored(args ...string) string {
	b.t.Helper()
	image := filepath.Join(b.dir, "restored.img")
	_ = os.Remove(image) // an earlier one
	b.kura(append([]string{"device", "restore", "latest", "--to", image}, args...)...)
	return image
}

// clean makes sure that the file system of an image is as it should be, and mounts it.
func (b *box) clean(kind, image string) (at string) {
	b.t.Helper()
	at = filepath.Join(b.dir, "copy")
	must(b.t, os.MkdirAll(at, 0o755))
	switch kind {
	case "ext4": // LVM has frozen it, so that there is nothing to recover
		b.sh("e2fsck -fn %s", image)
		b.sh("mount -o loop,ro %s %s", image, at)
	case "xfs": // leaves its log as if it had to
		b.sh("mount -o loop,nouuid %s %s && umount %s && xfs_repair -n %s", image, at, at, image)
		b.sh("mount -o loop,ro,nouuid %s %s", image, at)
	}
	b.t.Cleanup(func() { b.sh("umount %s", at) })
	return at
}

func TestLVM_MountedAndWrittenTo_CopyIsOfOneMoment(t *testing.T) {
	for _, c := range []struct {
		kind, provider string
		size           int
	}{{"ext4", "lvm", 64}, {"xfs", "lvm", 320}, {"ext4", "lvm-thin", 64}, {"xfs", "lvm-thin", 320}} {
		t.Run(c.provider+" "+c.kind, func(t *testing.T) {
			b := newBox(t, c.size+100)
			var at string
			if c.provider == "lvm" {
				at = b.volume("data", c.kind, c.size, 8)
			} else {
				b.sh("lvcreate --yes --type thin --name data --virtualsize %dm --size 120m --thinpool pool %s", c.size, group)
				at = b.format("data", c.kind, 8)
			}
			w := b.write(at)
			b.kura("device", "backup", device("data"), "--snapshot", c.provider)
			before := w.acknowledged()
			out := b.kura("device", "backup", device("data"), "--snapshot", c.provider)
			t.Logf("%s", out)
			if !strings.Contains(out, "from the "+c.provider+" snapshot kura-") {
				t.Errorf("%s", out)
			}
			w.goesOn()
			b.nothingIsLeft()
			w.check(b.clean(c.kind, b.restored()), before)
		})
	}
}

func TestLVM_SeveralVolumesUnderALock_AllAreMadeWhileItIsHeld(t *testing.T) {
	b := newBox(t, 200)
	b.volume("data", "ext4", 32, 4)
	b.volume("log", "ext4", 32, 4)
	log := filepath.Join(b.dir, "log")
	lock := filepath.Join(b.dir, "lock")
	must(t, os.WriteFile(lock, []byte(`#!/bin/bash
count() { lvs --noheadings -o lv_name `+group+` | grep -c kura-; }
echo "locked: $(count)" >`+log+`
KURA_POSITION=17 "$@"; status=$?
echo "unlocked: $(count)" >>`+log+`
exit $status
`), 0o755))
	// In a machine that is emulated two snapshots can take longer than kura holds a lock by itself.
	out := b.kura("device", "backup", device("data"), device("log"), "--snapshot", "lvm", "--lock-command", lock, "--max-hold", "1h")
	t.Logf("%s", out)
	if got := b.sh("cat %s", log); got != "locked: 0\nunlocked: 2" {
		t.Errorf("%s", got)
	}
	if !strings.Contains(out, "locked for") {
		t.Errorf("%s", out)
	}
	if out := b.kura("snapshots", "--json"); !strings.Contains(out, `"position":"17"`) {
		t.Errorf("%s", out)
	}
}

func TestLVM_FreezeOfItsOwn_IsRefused(t *testing.T) {
	b := newBox(t, 100)
	w := b.write(b.volume("data", "ext4", 32, 4))
	if said := b.fails("device", "backup", device("data"), "--snapshot", "lvm", "--freeze"); !strings.Contains(said, "LVM freezes what is mounted of the volume itself") {
		t.Errorf("%s", said)
	}
	w.goesOn()
}

func TestLVM_NotAThinVolumeOrNoRoom_FailsWithTheReason(t *testing.T) {
	b := newBox(t, 64)
	b.volume("data", "ext4", 56, 4)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{device("data"), "--snapshot", "lvm-thin"}, "is not a thin volume"},
		{[]string{device("data"), "--snapshot", "lvm", "--snapshot-size", "64M"}, "insufficient free space"},
		{[]string{device("none"), "--snapshot", "lvm"}, "no such file"},
		{[]string{under, "--snapshot", "lvm"}, "not found"},
	} {
		if said := b.fails(append([]string{"device", "backup"}, c.args...)...); !strings.Contains(said, c.want) {
			t.Errorf("%v: %s", c.args, said)
		}
	}
}
