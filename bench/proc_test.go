package main

import "testing"

func TestParseStatus_OfAProcess_FindsItsMemory(t *testing.T) {
	const running = "Name:\tRssAnon: 7 kB\nState:\tR (running)\nVmPeak:\t  900000 kB\nVmHWM:\t  123456 kB\nVmRSS:\t  100000 kB\n" +
		"RssAnon:\t   98304 kB\nRssFile:\t    1696 kB\nThreads:\t8\n"
	for _, c := range []struct {
		name, status string
		want         memory
	}{
		{"running", running, memory{anon: 98304 << 10, peak: 123456 << 10}},
		{"cut off", running[:len(running)-60], memory{peak: 123456 << 10}},
		{"zombie", "Name:\tkura\nState:\tZ (zombie)\nThreads:\t1\n", memory{}},
		{"strange", "RssAnon: many kB\nVmHWM: 7\n", memory{}},
		{"empty", "", memory{}},
	} {
		if got := parseStatus([]byte(c.status)); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestCPUModel_OfCPUInfo_IsTheFirst(t *testing.T) {
	if got := cpuModel("processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC: 9\nprocessor\t: 1\nmodel name\t: other\n"); got != "AMD EPYC: 9" {
		t.Errorf("got %q", got)
	}
	if got := cpuModel("processor : 0\n"); got != "" {
		t.Errorf("no model gave %q", got)
	}
}

func TestMemTotal_OfMemInfo_IsInGiB(t *testing.T) {
	if got := memTotal("MemFree:  1 kB\nMemTotal:       24641536 kB\n"); got != "23.5 GiB" {
		t.Errorf("got %q", got)
	}
}

func TestFileSystem_WithNestedMounts_IsTheInnermostAndLast(t *testing.T) {
	const mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n" +
		"30 22 0:26 / /var/tmp rw shared:5 - tmpfs tmpfs rw\n" +
		"31 22 0:27 / /var/tmp rw shared:6 master:2 - xfs /dev/vdb rw\n" +
		"garbage\n"
	for path, want := range map[string][2]string{
		"/home":      {"ext4", "/dev/vda"},
		"/var/tmpx":  {"ext4", "/dev/vda"},
		"/var/tmp/a": {"xfs", "/dev/vdb"},
	} {
		kind, device := fileSystem(mounts, path)
		if got := [2]string{kind, device}; got != want {
			t.Errorf("%s is on %v, want %v", path, got, want)
		}
	}
}
