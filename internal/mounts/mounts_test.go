package mounts

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
		if loop, err := LoopOf(image); err != nil || loop != "" {
			t.Errorf("%s, %v", loop, err)
		}
		device := testsys.Loop(t, image)
		if loop, err := LoopOf(image); err != nil || loop != device {
			t.Errorf("%s, %v", loop, err)
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
