package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// rowsOf are the lines of a dump's rows, without what ends them, by their ids.
func rowsOf(t *testing.T, dump []byte) map[string]string {
	t.Helper()
	rows := make(map[string]string)
	last := ""
	for s := bufio.NewScanner(bytes.NewReader(dump)); s.Scan(); {
		line := s.Text()
		if !strings.HasPrefix(line, "(") {
			continue
		}
		id, _, _ := strings.Cut(line[1:], ",")
		if len(id) < len(last) || len(id) == len(last) && id <= last {
			t.Fatalf("row %s comes after %s", id, last)
		}
		rows[id], last = strings.TrimRight(line, ",;"), id
	}
	return rows
}

func dumpOf(t *testing.T, write func(w *bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDumpRows_NextGeneration_HasOnePercentUpdatedAndOneInserted(t *testing.T) {
	d := &dumpRows{seed: 7, rows: 20_000}
	before := rowsOf(t, dumpOf(t, func(w *bytes.Buffer) error { return d.writeDump(t.Context(), w, 0) }))
	if len(before) < 19_500 || len(before) > 20_500 {
		t.Errorf("the first generation has %d rows", len(before))
	}
	for n := 1; n <= 3; n++ {
		after := rowsOf(t, dumpOf(t, func(w *bytes.Buffer) error { return d.writeDump(t.Context(), w, n) }))
		changes := rowsOf(t, dumpOf(t, func(w *bytes.Buffer) error { return d.writeChanges(t.Context(), w, n) }))
		updated, inserted := 0, 0
		for id, row := range after {
			was, there := before[id]
			switch {
			case !there:
				inserted++
			case was != row:
				updated++
			default:
				if _, told := changes[id]; told {
					t.Fatalf("generation %d: row %s is the same, but is among the changes", n, id)
				}
				continue
			}
			if changes[id] != row {
				t.Fatalf("generation %d: the change of row %s is %q, want %q", n, id, changes[id], row)
			}
		}
		if len(after)-inserted != len(before) {
			t.Errorf("generation %d: rows are gone", n)
		}
		for what, got := range map[string]int{"updated": updated, "inserted": inserted} {
			if got < 120 || got > 280 {
				t.Errorf("generation %d: %d of %d rows %s", n, got, len(before), what)
			}
		}
		before = after
	}
}

// The generator stands in for mariadb-dump: what it writes has to be what that writes.
func TestDumpMaker_WithMariaDB_WritesWhatTheGeneratorWrites(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	for _, program := range mariadbPrograms {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("MariaDB is not installed")
		}
	}
	folder, err := os.MkdirTemp("", "bench") // the path of a socket may not be long
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	m := newDump(&options{seed: 3, dump: 4 << 20, mariadb: true}, folder).(*dumpMaker)
	defer func() {
		if err := m.close(); err != nil {
			t.Error(err)
		}
	}()
	for n := range 3 {
		if n == 0 {
			_, err = m.make(t.Context())
		} else {
			err = nextDump(t.Context(), m, n)
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(m.path)
		if err != nil {
			t.Fatal(err)
		}
		want := dumpOf(t, func(w *bytes.Buffer) error { return m.rows.writeDump(t.Context(), w, n) })
		// Versions differ in the lines before the table.
		_, got, _ = bytes.Cut(got, []byte("LOCK TABLES"))
		_, want, _ = bytes.Cut(want, []byte("LOCK TABLES"))
		if !bytes.Equal(got, want) {
			t.Fatalf("generation %d: %d bytes differ from %d of the generator", n, len(got), len(want))
		}
	}
}

func TestChangeTree_Twice_ChangesAFewOtherFiles(t *testing.T) {
	folder := t.TempDir()
	from := filepath.Join(folder, "from")
	many := &manyMaker{root: from, files: 2000, perFolder: 100, content: func(rng *rand.Rand, dst []byte) []byte {
		return append(dst, randomBytes(rng, rng.IntN(50))...)
	}}
	if _, err := many.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := newTree(&options{tree: from, seed: 5}, folder)
	path, err := m.make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	differ := func() (names []string) {
		t.Helper()
		err := filepath.WalkDir(from, func(name string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, _ := filepath.Rel(from, name)
			a, errA := os.ReadFile(name)
			b, errB := os.ReadFile(filepath.Join(path, rel))
			if !bytes.Equal(a, b) {
				names = append(names, rel)
			}
			return errors.Join(errA, errB)
		})
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if changed := differ(); len(changed) != 0 {
		t.Fatalf("the copy differs in %v", changed)
	}
	last := 0
	for n := 1; n <= 2; n++ {
		if err := changeTree(t.Context(), m, n); err != nil {
			t.Fatal(err)
		}
		changed := len(differ())
		if changed < last+5 || changed > last+50 {
			t.Errorf("after %d generations %d of 2000 files differ, before it were %d", n, changed, last)
		}
		last = changed
	}
}

func TestTouchPages_OfAnImage_ChangesPagesInUseByAFewBytes(t *testing.T) {
	const pages = 400
	m := &imageMaker{o: &options{image: pages * pageSize, seed: 9}, path: filepath.Join(t.TempDir(), "image")}
	before := make([]byte, pages*pageSize)
	_, _ = noise(1).Read(before[:pages/2*pageSize]) // the rest is not in use
	if err := os.WriteFile(m.path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := touchPages(25)(t.Context(), m, 1); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(m.path)
	if err != nil {
		t.Fatal(err)
	}
	touched := 0
	for at := 0; at < len(before); at += pageSize {
		differ := 0
		for i := range pageSize {
			if before[at+i] != after[at+i] {
				differ++
			}
		}
		if differ > 0 {
			touched++
		}
		if differ > 16+3*120 || differ > 0 && at >= len(before)/2 {
			t.Errorf("page %d differs in %d bytes", at/pageSize, differ)
		}
	}
	if touched < pages/2/8 || touched > pages/2/2 {
		t.Errorf("%d of %d pages in use were touched", touched, pages/2)
	}
}

func TestImageMaker_FilesRewritten_ChangesTheImageAndKeepsItSound(t *testing.T) {
	for _, program := range []string{"/sbin/mkfs.ext4", "/sbin/debugfs", "/sbin/e2fsck"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	folder := t.TempDir()
	from := filepath.Join(folder, "from")
	many := &manyMaker{root: from, files: 500, perFolder: 100, content: func(rng *rand.Rand, dst []byte) []byte {
		return append(dst, randomBytes(rng, rng.IntN(40_000))...)
	}}
	if _, err := many.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := newImage(&options{tree: from, seed: 5, image: 16 << 20}, folder)
	path, err := m.make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last, err := fingerprintOf(t.Context(), path, 1)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 2; n++ {
		if err := rewriteFiles(t.Context(), m, n); err != nil {
			t.Fatal(err)
		}
		now, err := fingerprintOf(t.Context(), path, 1)
		if err != nil {
			t.Fatal(err)
		}
		if now == last {
			t.Errorf("generation %d is the same image", n)
		}
		last = now
		if err := execute(context.Background(), "/sbin/e2fsck", "-f", "-n", path); err != nil {
			t.Errorf("generation %d: %v", n, err)
		}
	}
}

func TestImageMaker_MadeAgain_RemovesNothing(t *testing.T) {
	if _, err := exec.LookPath("/sbin/mkfs.ext4"); err != nil {
		t.Skip("/sbin/mkfs.ext4 is not installed")
	}
	folder := t.TempDir()
	from := filepath.Join(folder, "from")
	many := &manyMaker{root: from, files: 100, perFolder: 100, content: func(rng *rand.Rand, dst []byte) []byte {
		return append(dst, randomBytes(rng, 20_000)...)
	}}
	if _, err := many.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := newImage(&options{tree: from, seed: 5, image: 16 << 20}, folder)
	count := func() (files int, bytes int64) {
		t.Helper()
		files, bytes, err := sizeOfTree(filepath.Join(folder, "image"))
		if err != nil {
			t.Fatal(err)
		}
		return files, bytes
	}
	for n := 1; n <= 2; n++ {
		if _, err := m.make(t.Context()); err != nil {
			t.Fatal(err)
		}
		if files, bytes := count(); files != n*many.files || bytes != int64(many.files)*20_000 {
			t.Errorf("round %d: there are %d files of %d bytes", n, files, bytes)
		}
	}
	if !strings.Contains(m.describe(), " 12 % full") { // the tree has no more
		t.Error(m.describe())
	}
}
