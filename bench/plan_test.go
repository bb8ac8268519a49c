package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChooseSteps_WithNames_AddsWhatTheyNeed(t *testing.T) {
	for _, c := range []struct{ names, want []string }{
		{[]string{"init-dump"}, []string{"init-dump"}},
		{[]string{"restore-tree"}, []string{"init-tree", "backup-tree", "unchanged-tree", "restore-tree"}},
		{[]string{"unchanged-tiny", "restore-dump"}, []string{
			"init-tiny", "backup-tiny", "unchanged-tiny", "init-dump", "backup-dump", "generations-dump", "restore-dump",
		}},
		{[]string{"snapshots-files"}, []string{"init-files", "backup-files", "unchanged-files", "snapshots-files"}},
		{[]string{"incompressible"}, []string{
			"init-incompressible", "backup-incompressible", "restore-incompressible", "check-incompressible",
		}},
	} {
		steps, err := chooseSteps(newSteps(datasets), c.names)
		if err != nil {
			t.Fatalf("%v: %v", c.names, err)
		}
		if diff := cmp.Diff(c.want, stepNames(steps)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.names, diff)
		}
	}
	if _, err := chooseSteps(newSteps(datasets), []string{"init-tree", "backup-nothing"}); err == nil {
		t.Error("a step that does not exist was accepted")
	}
}

func TestChooseSteps_WithoutNames_LeavesOutWhatIsOnDemand(t *testing.T) {
	steps, err := chooseSteps(newSteps(datasets), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range datasets {
		if got := slices.Contains(stepNames(steps), "backup-"+d.name); got == d.onDemand {
			t.Errorf("%s: %v", d.name, got)
		}
	}
}

func TestNewSteps_InTheirOrder_NeedOnlyEarlierOnes(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range newSteps(datasets) {
		for _, need := range s.needs {
			if !seen[need] {
				t.Errorf("%s needs %q, which does not come before it", s.name, need)
			}
		}
		if seen[s.name] {
			t.Errorf("two steps are called %s", s.name)
		}
		seen[s.name] = true
	}
}

func TestReads_OfARestore_IsTheRepositoryAndForALimitTheData(t *testing.T) {
	j := job{place: place{folder: "/w/p"}, does: restoreNewest, path: "/w/data"}
	for _, c := range []struct {
		tool *tool
		does action
		want string
	}{
		{kura, backUpFirst, "/w/data"},
		{kura, restoreNewest, "/w/p/repo"},
		{kopia, checkAll, "/w/p/repo"},
		{cpLimit, restoreNewest, "/w/data"},
		{rsyncLimit, backUpNext, "/w/data"},
	} {
		j.does = c.does
		if got := c.tool.reads(j); got != c.want {
			t.Errorf("%s: %s, want %s", c.tool.name, got, c.want)
		}
	}
}

func TestRotate_EachRound_BeginsWithTheNext(t *testing.T) {
	list := []string{"a", "b", "c"}
	for n, want := range [][]string{{"a", "b", "c"}, {"b", "c", "a"}, {"c", "a", "b"}, {"a", "b", "c"}} {
		if diff := cmp.Diff(want, rotate(list, n)); diff != "" {
			t.Errorf("round %d (-want +got):\n%s", n, diff)
		}
	}
	if got := rotate[int](nil, 1); len(got) != 0 {
		t.Errorf("nothing rotated is %v", got)
	}
}

func TestInTurn_EachTurn_BeginsWithAnotherProgramAndNoLimit(t *testing.T) {
	for turn, want := range [][]string{
		{"kura", "restic", "borg", "cp", "cat"},
		{"restic", "borg", "kura", "cp", "cat"},
		{"borg", "kura", "restic", "cp", "cat"},
		{"kura", "restic", "borg", "cp", "cat"},
	} {
		if diff := cmp.Diff(want, toolNames(inTurn([]*tool{kura, restic, borg, cpLimit, catLimit}, turn))); diff != "" {
			t.Errorf("turn %d (-want +got):\n%s", turn, diff)
		}
	}
	if got := toolNames(inTurn([]*tool{kura, restic}, 1)); !slices.Equal(got, []string{"restic", "kura"}) {
		t.Errorf("without limits: %v", got)
	}
}

func TestByteSize_ParsedAndPrinted_IsTheSame(t *testing.T) {
	for _, c := range []struct {
		in   string
		want byteSize
		out  string
	}{
		{"1GiB", 1 << 30, "1GiB"},
		{"64M", 64 << 20, "64MiB"},
		{"1536MiB", 1536 << 20, "1536MiB"},
		{"4096", 4096, "4KiB"},
		{"4097B", 4097, "4097B"},
		{"0", 0, "0B"},
	} {
		var b byteSize
		if err := b.Set(c.in); err != nil || b != c.want || b.String() != c.out {
			t.Errorf("%q is %d, %q, %v; want %d, %q", c.in, int64(b), b, err, int64(c.want), c.out)
		}
	}
	for _, bad := range []string{"", "GiB", "1.5GiB", "-1", "1TiB", "12MB", "9223372036854775807K", "1 GiB"} {
		var b byteSize
		if err := b.Set(bad); err == nil {
			t.Errorf("%q was taken for %d bytes", bad, int64(b))
		}
	}
}

func TestWithin_OfSiblings_LooksAtWholeNames(t *testing.T) {
	for _, c := range []struct {
		path, folder string
		want         bool
	}{
		{"/usr", "/usr", true},
		{"/usr/x", "/usr", true},
		{"/usrx", "/usr", false},
		{"/var/tmp", "/", true},
		{"/", "/usr", false},
	} {
		if got := within(c.path, c.folder); got != c.want {
			t.Errorf("within(%q, %q) = %v", c.path, c.folder, got)
		}
	}
}

func TestStrideFor_LargeTrees_SamplesAboutTheSameContent(t *testing.T) {
	for _, c := range []struct {
		files, bytes int64
		want         uint64
	}{
		{1, 5 << 30, 1}, // a single file is always read
		{1000, 1 << 20, 1},
		{200000, 5 << 30, 11},
	} {
		if got := strideFor(c.files, c.bytes); got != c.want {
			t.Errorf("strideFor(%d, %d) = %d, want %d", c.files, c.bytes, got, c.want)
		}
	}
}

func TestCommandLine_WithSpacesAndGoRun_CanBePasted(t *testing.T) {
	got := commandLine([]string{"/tmp/go-build123/b001/exe/bench", "-tree", "/my files", "-out", "it's", "-steps", "init,prune"})
	want := `go run ./bench -tree '/my files' -out 'it'\''s' -steps init,prune`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
