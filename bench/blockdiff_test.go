package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func readImage(t *testing.T, m *pagedImage) []byte {
	t.Helper()
	b, err := os.ReadFile(m.path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPagedImage_Generations_AreAsDescribed(t *testing.T) {
	const size = 8 << 20
	dir := t.TempDir()
	m := newPagedImage(filepath.Join(dir, "a"), size, 1)
	if err := m.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := readImage(t, m)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(first); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	left := float64(packed.Len()) / size
	t.Logf("gzip leaves %.1f %%", 100*left)
	if left < 0.34 || left > 0.40 {
		t.Errorf("gzip leaves %.3f", left)
	}
	used := m.used
	for range 3 {
		written, err := m.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		second := readImage(t, m)
		changed := int64(0)
		for at := 0; at < size; at += pageSize {
			if !bytes.Equal(first[at:at+pageSize], second[at:at+pageSize]) {
				changed++
			}
		}
		if changed != written || written < used*22/100 || written > m.pages*28/100 || len(second) != size {
			t.Errorf("%d pages differ, %d were written, of %d in use", changed, written, used)
		}
		first, used = second, m.used
	}

	again := newPagedImage(filepath.Join(dir, "b"), size, 1)
	if err := again.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := again.next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(readImage(t, again), first) {
		t.Error("another image from the same seed")
	}
}

func TestStandIn_ChainOfDumps_MergesToTheLastGeneration(t *testing.T) {
	m := newPagedImage(filepath.Join(t.TempDir(), "a"), 4<<20, 1)
	if err := m.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(t.TempDir(), "restored")
	var digests []byte
	var sizes []int
	for gen := range 3 {
		if gen > 0 {
			if _, err := m.next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		var patch, now bytes.Buffer
		var old *bufio.Reader
		if gen > 0 {
			old = bufio.NewReader(bytes.NewReader(digests))
		}
		if err := dumpBlocks(bytes.NewReader(readImage(t, m)), &patch, old, &now); err != nil {
			t.Fatal(err)
		}
		digests = now.Bytes()
		sizes = append(sizes, patch.Len())
		if err := standInMerge(restored, &patch); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(restored)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, readImage(t, m)) {
			t.Errorf("generation %d is another", gen)
		}
	}
	if want := 4 + int(m.pages)*(pageSize+8); sizes[0] != want || sizes[1] > want/3 || len(digests) != 4+int(m.pages)*16 {
		t.Errorf("%d, %d digests", sizes, len(digests))
	}
}

func TestFixedChunks_SameAgain_TakesOnlyNames(t *testing.T) {
	m := newPagedImage(filepath.Join(t.TempDir(), "a"), 4<<20, 1)
	if err := m.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := newFixedChunks(64 << 10)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.add(m.path); err != nil {
			t.Fatal(err)
		}
	}
	if added := c.stored[1] - c.stored[0]; added != 4<<20/(64<<10)*32 {
		t.Errorf("%d bytes for the same again", added)
	}
}

func TestRivals_ResticOfAFlag_IsThatOne(t *testing.T) {
	folder := t.TempDir()
	program := func(name, version string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho "+version+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	o := &options{programs: map[string]string{"kura": program("k", "kura 1.0"), "restic": program("r", "restic 99.9.9")}}
	all, err := rivals(t.Context(), o, folder)
	if err != nil {
		t.Fatal(err)
	}
	if last := all[len(all)-1]; last.name != "restic" || last.version != "restic 99.9.9" {
		t.Errorf("%s is %q", last.name, last.version)
	}
	o.programs["restic"] = filepath.Join(folder, "missing")
	if _, err := rivals(t.Context(), o, folder); err == nil {
		t.Error("a restic that is not there was left out in silence")
	}
}

func TestRefused_FailuresOfARun_AreOnlyThoseOfTheBlock(t *testing.T) {
	d := &diffRun{work: t.TempDir()}
	for _, c := range []struct{ failure, restore, want string }{
		{"read /dev/loop0: input/output error", "exit 1", "the run fails, nothing is saved"},
		{"cat: Input/output error", "exit 1", "the run fails, nothing is saved"},
		{"input/output error", `echo > "$TO/image"`, "the run fails, but what it has saved can be restored like a whole one"},
		{"no such command", "exit 1", ""},
	} {
		r := &rival{folder: d.work, restore: c.restore, env: []string{"PATH=" + os.Getenv("PATH")}}
		got, err := d.refused(t.Context(), r, 3, errors.New(c.failure))
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s, then %s: %q, %v", c.failure, c.restore, got, err)
		}
	}
}

func TestParseOptions_Blockdiff_HasItsSizes(t *testing.T) {
	o, err := parseOptions([]string{"-blockdiff", "-blockdiff-size", "64MiB", "-blockdiff-generations", "3"})
	if err != nil || !o.blockdiff || o.diffSize != 64<<20 || o.diffGenerations != 3 {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := parseOptions([]string{"-blockdiff-generations", "1"}); err == nil {
		t.Error("one generation is enough")
	}
}
