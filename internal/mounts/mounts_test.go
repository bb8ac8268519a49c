package mounts

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testsys"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const recorded = `21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
36 21 0:31 /vm /srv/with\040space\134 rw,noatime - btrfs /dev/sdb1 rw,subvolid=5
40 21 7:3 / /mnt ro - xfs /dev/loop3 rw
41 21 0:40 / /proc rw,nosuid - proc none rw
42 21 8:1 / /ro rw - ext4 /dev/sda1 ro,errors=remount-ro
`

func TestParse_Recorded_IsUnderstood(t *testing.T) {
	got, err := Parse(strings.NewReader(recorded))
	must(t, err)
	want := []Mount{
		{ID: 21, Major: 254, Root: "/", At: "/", Type: "ext4", Source: "/dev/vda"},
		{ID: 36, Minor: 31, Root: "/vm", At: `/srv/with space\`, Type: "btrfs", Source: "/dev/sdb1"},
		{ID: 40, Major: 7, Minor: 3, Root: "/", At: "/mnt", Type: "xfs", Source: "/dev/loop3", ReadOnly: true},
		{ID: 41, Minor: 40, Root: "/", At: "/proc", Type: "proc", Source: "none"},
		{ID: 42, Major: 8, Minor: 1, Root: "/", At: "/ro", Type: "ext4", Source: "/dev/sda1", ReadOnly: true},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{"x", "1 2 3:4 / / rw", "a 1 1:1 / / rw - ext4 /dev/x rw", "1 1 11 / / rw - ext4 /dev/x rw", "1 1 1:1 / / - ext4"} {
		if _, err := Parse(strings.NewReader(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestOf_PathsHere_LieInMounts(t *testing.T) {
	m, err := Of("/proc/self")
	must(t, err)
	if m.Type != "proc" || m.At != "/proc" {
		t.Errorf("%+v", m)
	}
	if _, err := Of(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	dir := t.TempDir()
	if same, err := SameFileSystem(dir, filepath.Dir(dir)); err != nil || !same {
		t.Errorf("%v, %v", same, err)
	}
	if same, err := SameFileSystem(dir, "/proc"); err != nil || same {
		t.Errorf("%v, %v", same, err)
	}
	if _, err := OfDevice(dir); err == nil {
		t.Error("a folder is a block device")
	}
}

func TestUser_LoopDevice_IsNamedByWhoUsesIt(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	for _, kind := range []string{"ext4", "btrfs"} {
		image := filepath.Join(t.TempDir(), "image")
		must(t, os.WriteFile(image, nil, 0o600))
		must(t, os.Truncate(image, 200<<20))
		testsys.Format(t, kind, image)
		if loops, err := LoopsOf(image); err != nil || len(loops) != 0 {
			t.Errorf("%q, %v", loops, err)
		}
		device := testsys.Loop(t, image)
		if loops, err := LoopsOf(image); err != nil || !slices.Equal(loops, []string{device}) {
			t.Errorf("%q, %v", loops, err)
		}
		if by, err := User(device); err != nil || by != "" {
			t.Errorf("%q, %v", by, err)
		}
		at := testsys.MountDevice(t, kind, device)
		if by, err := User(device); err != nil || !strings.Contains(by, at) {
			t.Errorf("%q, %v", by, err)
		}
		all, err := OfDevice(device)
		must(t, err)
		if len(all) != 1 || all[0].At != at || all[0].Type != kind || all[0].ReadOnly {
			t.Errorf("%+v", all)
		}
		must(t, os.Mkdir(filepath.Join(at, "d"), 0o755))
		if same, err := SameFileSystem(at, filepath.Join(at, "d")); err != nil || !same {
			t.Errorf("%v, %v", same, err)
		}
	}
}

func TestUses_LoopOverLoop_IsUseOfTheLower(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 64<<20))
	testsys.Format(t, "ext4", image)
	lower := testsys.Loop(t, image)
	if uses, err := Uses(image); err != nil || len(uses) != 1 || uses[0].Live() {
		t.Errorf("a loop device alone: %+v, %v", uses, err)
	}
	upper := testsys.Loop(t, lower)
	if by, err := User(lower); err != nil || !strings.Contains(by, upper) {
		t.Errorf("%q, %v", by, err)
	}
	at := testsys.MountDevice(t, "ext4", upper)
	for _, path := range []string{image, lower, upper} {
		uses, err := Uses(path)
		must(t, err)
		if !slices.ContainsFunc(uses, func(u Use) bool { return u.Mount != nil && u.Mount.At == at && u.Live() }) {
			t.Errorf("%s: %+v", path, uses)
		}
	}
	outer, err := Of(filepath.Dir(image))
	must(t, err)
	inner, err := Of(at)
	must(t, err)
	if outer.Depth() >= inner.Depth() {
		t.Errorf("%d, %d", outer.Depth(), inner.Depth())
	}
}

func TestUses_SecondDeviceOfBtrfs_IsMounted(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	var devices []string
	for range 2 {
		image := filepath.Join(t.TempDir(), "image")
		must(t, os.WriteFile(image, nil, 0o600))
		must(t, os.Truncate(image, 200<<20))
		devices = append(devices, testsys.Loop(t, image))
	}
	if out, err := exec.Command("mkfs.btrfs", append([]string{"-q"}, devices...)...).CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
	at := testsys.MountDevice(t, "btrfs", devices[0])
	for _, d := range devices {
		if by, err := User(d); err != nil || !strings.Contains(by, at) {
			t.Errorf("%s: %q, %v", d, by, err)
		}
	}
}

func TestUses_PartitionIsMounted_DiskIsLive(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 64<<20))
	disk, part := testsys.Partitioned(t, image)
	if uses, err := Uses(disk); err != nil || len(uses) != 0 {
		t.Errorf("%+v, %v", uses, err)
	}
	testsys.Format(t, "ext4", part)
	at := testsys.MountDevice(t, "ext4", part)
	for _, path := range []string{image, disk, part} {
		uses, err := Uses(path)
		must(t, err)
		if !slices.ContainsFunc(uses, func(u Use) bool { return u.Mount != nil && u.Mount.At == at && u.Live() }) {
			t.Errorf("%s: %+v", path, uses)
		}
	}
}

// What is written to a partition is written to the disk that it is of, and to whatever else shows the same bytes.
func TestUses_DiskIsUsedBesideThePartition_OnlyWhereTheyMeet(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 64<<20))
	disk, part := testsys.Partitioned(t, image)
	other, same := testsys.Partitioned(t, image)
	if by, err := User(part); err != nil || !strings.Contains(by, other) {
		t.Errorf("%q, %v", by, err)
	}
	testsys.Format(t, "ext4", same)
	at := testsys.MountDevice(t, "ext4", same)
	for _, path := range []string{part, disk, image} {
		uses, err := Uses(path)
		must(t, err)
		if !slices.ContainsFunc(uses, func(u Use) bool { return u.Mount != nil && u.Mount.At == at && u.Live() }) {
			t.Errorf("%s: %+v", path, uses)
		}
	}
	// The rest of the disk is another's.
	var st unix.Stat_t
	must(t, unix.Stat(disk, &st))
	all, err := List()
	must(t, err)
	for _, c := range []struct {
		part span
		used bool
	}{{span{0, 1 << 20}, false}, {span{0, 1<<20 + 1}, true}, {span{64<<20 - 1, 64 << 20}, true}} {
		u := users{mounts: all, seen: map[uint64][]span{st.Rdev: {whole}}}
		must(t, u.around(st.Rdev, c.part, false))
		if used := slices.ContainsFunc(u.out, func(u Use) bool { return u.Live() }); used != c.used {
			t.Errorf("%v: %+v", c.part, u.out)
		}
	}

	for path, want := range map[string][]string{part: {disk, image}, disk: {part, image}} {
		if ways, err := Ways(path); err != nil || !slices.Equal(ways, want) {
			t.Errorf("%s: %q, %v", path, ways, err)
		}
	}
}

// fakeSysfs makes files of sysfs for the time of a test, and symlinks where the text begins with an arrow.
func fakeSysfs(t *testing.T, files map[string]string) {
	t.Helper()
	old := sysfs
	sysfs = t.TempDir()
	t.Cleanup(func() { sysfs = old })
	for name, text := range files {
		at := filepath.Join(sysfs, name)
		must(t, os.MkdirAll(filepath.Dir(at), 0o755))
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			must(t, os.Symlink(filepath.Join(sysfs, to), at))
		} else {
			must(t, os.WriteFile(at, []byte(text+"\n"), 0o644))
		}
	}
}

// disks is what sysfs says of LVM over LUKS over a partition of a loop device, and of a volume of two disks.
func disks(image string) map[string]string {
	return map[string]string{
		"dev/block/7:987": "-> loop987", "loop987/dev": "7:987", "loop987/size": "131072", "loop987/loop/backing_file": image, "loop987/loop/offset": "4096",
		"block/loop987":     "-> loop987",
		"dev/block/259:987": "-> loop987/loop987p2", "loop987/loop987p2/dev": "259:987", "loop987/loop987p2/partition": "2",
		"loop987/loop987p2/start": "2048", "loop987/loop987p2/size": "4096",
		"dev/block/253:987": "-> dm-987", "dm-987/dev": "253:987", "dm-987/size": "4096", "dm-987/slaves/loop987p2": "-> loop987/loop987p2",
		"dev/block/253:988": "-> dm-988", "dm-988/dev": "253:988", "dm-988/slaves/dm-987": "-> dm-987", "dm-988/slaves/vdz": "-> vdz",
		"dev/block/254:987": "-> vdz", "vdz/dev": "254:987", "vdz/size": "131072",
	}
}

func TestDepth_VolumesBetweenFileSystemAndImage_IsInTheOther(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, nil, 0o600))
	fakeSysfs(t, disks(image))
	for _, c := range []struct {
		major, minor uint32
		depth        int
	}{{7, 987, 1}, {259, 987, 1}, {253, 987, 1}, {253, 988, 1}, {254, 987, 0}} {
		m := Mount{Major: c.major, Minor: c.minor}
		if got := m.Depth(); got != c.depth {
			t.Errorf("%d:%d: %d", c.major, c.minor, got)
		}
	}
}

func TestOuters_Recorded_AreThoseWithTheirParts(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(image, nil, 0o600))
	fakeSysfs(t, disks(image))
	const mib = 1 << 20
	for _, c := range []struct {
		dev  uint64
		part span
		want []outer
	}{
		{unix.Mkdev(259, 987), span{512, 2 * mib}, []outer{{name: "/dev/loop987", part: span{mib + 512, 3 * mib}}}},
		{unix.Mkdev(7, 987), span{mib, 3 * mib}, []outer{{name: image, part: span{mib + 4096, 3*mib + 4096}}}},
		{unix.Mkdev(253, 987), span{0, 1}, []outer{{name: "/dev/loop987p2", part: whole, mapped: true}}},
		{unix.Mkdev(253, 988), span{0, 1}, []outer{{name: "/dev/dm-987", part: whole, mapped: true}, {name: "/dev/vdz", part: whole, mapped: true}}},
		{unix.Mkdev(254, 987), whole, nil},
	} {
		got := outers(c.dev, c.part)
		for i := range got {
			got[i].st = unix.Stat_t{}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%x: %+v", c.dev, got)
		}
	}
}
