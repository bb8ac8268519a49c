package main

import (
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// exampleRecords are two runs of the same section, and one of another.
func exampleRecords() []*record {
	mib := func(n int64) *int64 { n <<= 20; return &n }
	programs := []program{{"cp", limit}, {"kura", ours}, {"restic-0.14.0", peer}, {"kopia-0.21.1", peer}}
	return []*record{
		{
			Section: "Each program at its defaults", Cores: 2, Size: 3 << 30, Programs: programs,
			Facts: []fact{{"machine", "one with <2> cores & more"}, {"command", "go run ./bench -steps tree"}},
			Samples: []sample{
				{Row: "init", Program: "kura", Wall: 0.25, CPU: 0.5, RSS: 70 << 20, Anon: 60 << 20, Stored: mib(1)},
				{Row: "backup-tree", Program: "kura", Wall: 11, CPU: 20, RSS: 190 << 20, Anon: 180 << 20, Stored: mib(1700)},
				{Row: "backup-tree", Program: "restic-0.14.0", Wall: 46, CPU: 86, RSS: 170 << 20, Anon: 150 << 20, Stored: mib(1800)},
				{Row: "backup-tree", Program: "kopia-0.21.1", Wall: 40, CPU: 70, RSS: 400 << 20, Anon: 350 << 20, Stored: mib(4800)},
				{Row: "restore-tree", Program: "kura", Wall: 14, CPU: 24, RSS: 190 << 20, Anon: 170 << 20},
				{Row: "restore-tree", Program: "restic-0.14.0", Wall: 40, CPU: 60, RSS: 240 << 20, Anon: 220 << 20},
				{Row: "restore-tree", Program: "cp", Wall: 9, CPU: 8, RSS: 2 << 20, Anon: 1 << 20},
			},
		},
		{
			Section: "Each program at its defaults", Cores: 2, Size: 3 << 30, Programs: programs,
			Facts: []fact{{"machine", "one with <2> cores & more"}, {"command", "go run ./bench -steps dump,incompressible"}},
			Samples: []sample{
				{Row: "backup-incompressible", Program: "kura", Wall: 6, CPU: 11, RSS: 190 << 20, Anon: 210 << 20, Stored: mib(3180)},
				{Row: "backup-incompressible", Program: "restic-0.14.0", Wall: 22, CPU: 40, RSS: 170 << 20, Anon: 150 << 20, Stored: mib(3072)},
				{Row: "backup-incompressible", Program: "kopia-0.21.1", Wall: 14, CPU: 20, RSS: 170 << 20, Anon: 150 << 20, Stored: mib(3072)},
				{Row: "backup-dump", Program: "kura", Wall: 2, CPU: 4, RSS: 190 << 20, Anon: 180 << 20, Stored: mib(100)},
				{Row: "backup-dump", Program: "restic-0.14.0", Wall: 5, CPU: 9, RSS: 170 << 20, Anon: 150 << 20, Stored: mib(120)},
				{Row: "generations-dump", Program: "kura", Generation: 2, Wall: 1, CPU: 2, RSS: 190 << 20, Anon: 180 << 20, Stored: mib(4)},
				{Row: "generations-dump", Program: "kura", Generation: 3, Wall: 1.5, CPU: 2, RSS: 190 << 20, Anon: 180 << 20, Stored: mib(4)},
				{Row: "generations-dump", Program: "kura", Generation: 4, Wall: 9, CPU: 2, RSS: 190 << 20, Anon: 180 << 20, Stored: mib(10)},
				{Row: "generations-dump", Program: "restic-0.14.0", Generation: 2, Wall: 5, CPU: 9, RSS: 170 << 20, Anon: 150 << 20, Stored: mib(120)},
			},
			Stages: []stageCost{{"read", 0.1, 0.1, ""}, {"cut", 1.4, 1.5, ""}, {"sketch", 1.2, 1.2, notNoise}, {"memcpy", 0.05, 0.05, limit}},
		},
		{
			Section: "Compression with zstd at level 3", Cores: 2, Programs: programs[1:3],
			Facts: []fact{{"command", "go run ./bench -level3"}},
			Samples: []sample{
				{Row: "init", Program: "kura", Wall: 0.25, CPU: 0.5, RSS: 70 << 20, Anon: 60 << 20, Stored: mib(0)},
				{Row: "prune-tree", Program: "kura", Wall: 1, CPU: 2, RSS: 70 << 20, Anon: 60 << 20, Stored: mib(-30)},
			},
		},
	}
}

func TestChart_OfSeveralRuns_IsTheGoldenOne(t *testing.T) {
	chart := newReport(exampleRecords()).chart()
	golden(t, "chart.svg", chart)
	for d := xml.NewDecoder(strings.NewReader(string(chart))); ; {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestReport_OfSeveralRuns_IsTheGoldenOne(t *testing.T) {
	golden(t, "report.md", []byte(newReport(exampleRecords()).markdown("chart.svg")))
}
