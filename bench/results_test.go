package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRecord_SavedAndLoaded_GivesTheSameReport(t *testing.T) {
	records := exampleRecords()
	var paths []string
	for i, r := range records {
		path := filepath.Join(t.TempDir(), string(rune('a'+i))+".json")
		if err := r.save(path); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	loaded, err := loadRecords(paths)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(newReport(records).text(), newReport(loaded).text()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func TestFacts_OfRunsOnTwoMachines_SayForEachRunWhichItWas(t *testing.T) {
	run := func(command, machine string) *record {
		return &record{Section: "s", Facts: []fact{{"command", command}, {"machine", machine}, {"peer", "1.0"}}}
	}
	got := newReport([]*record{run("a", "old"), run("b", "new"), run("c", "old"), run("d", "old")}).sections[0].facts()
	want := []fact{
		{"command", "a"},
		{"machine", "old"},
		{"peer", "1.0"},
		{"command", "b"},
		{"machine", "new"},
		{"command", "c"},
		{"machine", "old"},
		{"command", "d"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestLoadRecords_OfWhatIsNone_Fails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, paths := range [][]string{nil, {path}, {path + ".missing"}} {
		if _, err := loadRecords(paths); err == nil {
			t.Errorf("%v were loaded", paths)
		}
	}
}

func TestMetric_OfGenerations_IsTheMeanOfWhatIsStoredAndTheMedianOfTheRest(t *testing.T) {
	s := newReport(exampleRecords()).sections[0]
	if got := stored.of(s, "generations-dump", "kura"); got != 6<<20 {
		t.Errorf("stored: %v", got)
	}
	if got := wall.of(s, "generations-dump", "kura"); got != 1.5 {
		t.Errorf("wall: %v", got)
	}
}

func TestGenerations_OfSeveralRounds_AreCountedOnce(t *testing.T) {
	s := newReport(append(exampleRecords(), exampleRecords()...)).sections[0]
	if row := s.generations().rows[0]; row[1] != "kura" || row[2] != "3" {
		t.Errorf("%q", row)
	}
}

func TestBest_OfTheRow_LeavesOutKuraLimitsAndWhatWasFreed(t *testing.T) {
	sections := newReport(exampleRecords()).sections
	for _, c := range []struct {
		section int
		metric  metric
		row     string
		want    string
	}{
		{0, wall, "backup-tree", "kopia-0.21.1"},
		{0, stored, "backup-tree", "restic-0.14.0"},
		{0, wall, "restore-tree", "restic-0.14.0"},
		{0, wall, "init", ""},
		{1, stored, "prune-tree", ""},
	} {
		if _, name := c.metric.best(sections[c.section], c.row); name != c.want {
			t.Errorf("%s: the best is %q, want %q", c.row, name, c.want)
		}
	}
}

func TestGoals_AllOfThem_AreForStepsThatThereAre(t *testing.T) {
	rows := make(map[string]bool)
	for _, s := range newSteps(datasets) {
		rows[s.row] = true
	}
	for _, g := range goals {
		if !rows[g.row] {
			t.Errorf("there is no row %q", g.row)
		}
	}
}
