package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

type content struct {
	name string
	data []byte
}

// contents are what stages are measured with.
func contents() []content {
	random := make([]byte, stageBytes)
	_, _ = noise(1).Read(random)
	var text strings.Builder
	for i := 0; text.Len() < stageBytes; i++ {
		text.WriteString(words[mix(uint64(i), 1, 1)%uint64(len(words))] + " ")
	}
	return []content{{"noise", random}, {"text", []byte(text.String()[:stageBytes])}}
}

// BenchmarkStage measures what happens to each byte of a backup, one stage at a time.
func BenchmarkStage(b *testing.B) {
	for _, c := range contents() {
		stages, err := newStages(c.data, b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		for _, s := range stages {
			b.Run(s.name+"/"+c.name, s.benchmark)
		}
	}
}

func (s stage) benchmark(b *testing.B) {
	b.SetBytes(int64(s.bytes))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.run(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLimit measures what the machine can do at all.
func BenchmarkLimit(b *testing.B) {
	folder := b.TempDir()
	data := contents()[0].data
	memcpy := memcpy(data)
	b.Run(memcpy.name, memcpy.benchmark)
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		b.Fatal(err)
	}
	tree := filepath.Join(folder, "tree")
	const files = 1000
	many := newTiny(&options{tiny: files, seed: 1}, folder).(*manyMaker)
	many.root = tree
	if _, err := many.make(b.Context()); err != nil {
		b.Fatal(err)
	}
	copies := 0
	for _, c := range []struct {
		name  string
		bytes int
		args  func() []string
	}{
		{"cat", len(data), func() []string { return []string{"cat", file} }},
		{"cp", len(data), func() []string { return []string{"cp", "-a", file, file + ".copy"} }},
		{"cp-1000-files", 0, func() []string { copies++; return []string{"cp", "-a", tree, fmt.Sprint(tree, copies)} }},
		{"find-1000-files", 0, func() []string { return []string{"find", tree, "-printf", `%y %m %U %G %s %T@ %C@ %i %n %p\n`} }},
	} {
		run := func() error {
			args := c.args()
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Stdout = io.Discard
			return cmd.Run()
		}
		b.Run(c.name, stage{c.name, limit, c.bytes, run}.benchmark)
	}
}

func TestStages_OfAnyContent_Work(t *testing.T) {
	for _, c := range contents() {
		stages, err := newStages(c.data[:3<<20], t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stages {
			if err := s.run(); err != nil {
				t.Errorf("%s of %s: %v", s.name, c.name, err)
			}
		}
	}
}

func TestMeasureStage_OnSeveralCores_CountsTheBytesOfAll(t *testing.T) {
	const cores = 3
	var same []stage
	var runs atomic.Int64
	for range cores {
		same = append(same, stage{"sleep", limit, 1 << 20, func() error { runs.Add(1); time.Sleep(time.Millisecond); return nil }})
	}
	start := time.Now()
	cost, err := measureStage(t.Context(), same)
	if err != nil {
		t.Fatal(err)
	}
	measured := runs.Load() - cores // the first of each is not counted
	most := float64(cores*time.Since(start)) / float64(measured<<20)
	if cost.Name != "sleep" || cost.Aside != limit || cost.Wall <= 0 || cost.Wall > most {
		t.Errorf("%+v; a byte took %v at most", cost, most)
	}
	broken := errors.New("broken")
	same[1].run = func() error { return broken }
	if _, err := measureStage(t.Context(), same); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}
