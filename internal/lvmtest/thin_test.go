package lvmtest

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var amountRead = regexp.MustCompile(`read ([0-9.]+ [KM]?i?B) of .*`)

// mapOfThin is what docs/devices.md says about thin volumes, word for word, but for names.
const mapOfThin = `cd %[1]s
dmsetup message vg0-pool0-tpool 0 reserve_metadata_snap
thin_delta -m --snap1 $(lvs --noheadings -o thin_id vg0/old) --snap2 $(lvs --noheadings -o thin_id vg0/new) /dev/mapper/vg0-pool0_tmeta > delta.xml
dmsetup message vg0-pool0-tpool 0 release_metadata_snap
old=$(lvs --noheadings -o lv_uuid vg0/old | tr -d ' ') new=$(lvs --noheadings -o lv_uuid vg0/new | tr -d ' ')
kura device map --thin-delta delta.xml --of /dev/vg0/new --since "$old" --state "$new" > data.map
`

func TestThin_TwoSnapshots_OnlyWhatDiffersIsReadAndAllIsExact(t *testing.T) {
	b := newBox(t, 160)
	b.sh("lvcreate --yes --type thin --name data --virtualsize 96m --size 120m --thinpool pool0 vg0")
	fill := func(at, n int, seed uint64) {
		part := filepath.Join(b.dir, "part")
		must(t, write(part, random(n, seed)))
		b.sh("dd if=%s of=/dev/vg0/data bs=64K seek=%d conv=notrunc,fsync status=none", part, at)
	}
	snapshot := func(name string) string {
		b.sh("lvcreate --yes --snapshot --name %s --setactivationskip n --permission r vg0/data", name)
		return b.sh("lvs --noheadings -o lv_uuid vg0/%s | tr -d ' '", name)
	}
	fill(0, 12*mib, 1)
	state := snapshot("old")
	b.kura("device", "backup", "/dev/vg0/old", "--as", "/dev/vg0/data", "--state", state)

	fill(40, 2*mib+5, 2)                                                        // other bytes
	fill(1000, mib, 3)                                                          // where there was nothing
	b.sh("blkdiscard --offset %d --length %d %s", 8*mib, 2*mib, device("data")) // nothing, where there were bytes
	state = snapshot("new")
	b.sh(mapOfThin, b.dir)
	t.Logf("%s", b.sh("cat %s/data.map", b.dir))
	out := b.kura("device", "backup", "/dev/vg0/new", "--as", "/dev/vg0/data", "--map", filepath.Join(b.dir, "data.map"), "--state", state)
	t.Logf("%s", out)
	if !strings.Contains(out, "the rest is as before") {
		t.Errorf("%s", out)
	}
	if read := amountRead.FindStringSubmatch(out); read == nil || !strings.HasSuffix(read[1], " MiB") || len(read[1]) > len("7.999 MiB") {
		t.Errorf("of 5 MiB that changed %q were read", read)
	}
	b.equal(b.restored(), "/dev/vg0/new")

	// The map is about one step: it must not be applied to another state.
	said := b.fails("device", "backup", "/dev/vg0/new", "--as", "/dev/vg0/data", "--map", filepath.Join(b.dir, "data.map"), "--state", state)
	if !strings.Contains(said, "the map is not about what changed since") {
		t.Errorf("%s", said)
	}
}
