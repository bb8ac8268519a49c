package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/zeebo/blake3"
)

// diffResult is what came out for one rival.
type diffResult struct {
	rival    *rival
	stored   []int64 // after each generation
	backups  []usage
	restores map[int]usage // by generation
	read     map[int]int64 // bytes, to restore a generation; absent if not known
	troubles []trouble
}

// added is how many bytes a generation has added, the first being 1.
func (r *diffResult) added(gen int) int64 {
	if gen == 1 {
		return r.stored[0]
	}
	return r.stored[gen-1] - r.stored[gen-2]
}

// later is the mean of all generations behind the first.
func (r *diffResult) later() float64 {
	n := len(r.stored)
	return float64(r.stored[n-1]-r.stored[0]) / float64(max(n-1, 1))
}

// laterTime is the median time of a backup of one of them, in seconds.
func (r *diffResult) laterTime() float64 {
	var all []float64
	for _, u := range r.backups[1:] {
		all = append(all, u.wall.Seconds())
	}
	return median(all)
}

// diffRun is the comparison with blockdiff.
type diffRun struct {
	o       *options
	work    string
	image   *pagedImage
	sums    []string // of the generations
	written []int64  // pages, of each generation
	results []*diffResult
	fixed   []*fixedChunks
}

// benchBlockdiff backs up generations of an image of database pages with kura, blockdiff and restic, restores some of them, and sees what becomes of
// each when something goes wrong.
func benchBlockdiff(ctx context.Context, o *options) (err error) {
	work, err := os.MkdirTemp(o.work, "kura-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	machine := describeMachine(work)
	if err := settle(ctx, o.settle); err != nil {
		return err
	}
	d := &diffRun{o: o, work: work, image: newPagedImage(filepath.Join(work, "image"), int64(o.diffSize), o.seed)}
	for _, size := range []int{16 << 10, 64 << 10, 1 << 20} {
		f, err := newFixedChunks(size)
		if err != nil {
			return err
		}
		d.fixed = append(d.fixed, f)
	}
	all, err := rivals(ctx, o, work)
	if err != nil {
		return err
	}
	for _, r := range all {
		d.results = append(d.results, &diffResult{rival: r, restores: map[int]usage{}, read: map[int]int64{}})
		if r.init != "" {
			if _, err := r.run(ctx, r.init, 0, "", ""); err != nil {
				return err
			}
		}
	}
	for gen := 1; gen <= o.diffGenerations; gen++ {
		if err := d.generation(ctx, gen); err != nil {
			return err
		}
	}
	for _, gen := range d.restored() {
		for _, r := range d.results {
			if err := d.restore(ctx, r, gen); err != nil {
				return err
			}
		}
	}
	if err := d.trouble(ctx); err != nil {
		return err
	}
	return d.write(machine)
}

// restored are the generations that are restored: the first, one in the middle, the last.
func (d *diffRun) restored() []int {
	n := d.o.diffGenerations
	return slices.Compact([]int{1, (n + 1) / 2, n})
}

// generation makes a generation and lets all back it up.
func (d *diffRun) generation(ctx context.Context, gen int) (err error) {
	written := d.image.used
	if gen == 1 {
		err = d.image.make(ctx)
	} else {
		written, err = d.image.next(ctx)
	}
	if err != nil {
		return err
	}
	sum, err := sumOf(d.image.path)
	if err != nil {
		return err
	}
	d.sums, d.written = append(d.sums, sum), append(d.written, written)
	for _, f := range d.fixed {
		if err := f.add(d.image.path); err != nil {
			return err
		}
	}
	for _, r := range d.results {
		syscall.Sync() // not all of them do, and nobody has to write what another one left
		u, err := r.rival.run(ctx, r.rival.backup, gen, d.image.path, "")
		if err != nil {
			return err
		}
		stored, err := storedBytes(r.rival.repo())
		if err != nil {
			return err
		}
		if err := r.rival.note(gen); err != nil {
			return err
		}
		r.stored, r.backups = append(r.stored, stored), append(r.backups, u)
		note("generation %d of %d, %s: %.1f s, %s MiB more", gen, d.o.diffGenerations, r.rival.name, u.wall.Seconds(), mib(float64(r.added(gen))))
	}
	return nil
}

// restore restores a generation, with a cold page cache where that is allowed, and compares it.
func (d *diffRun) restore(ctx context.Context, r *diffResult, gen int) error {
	cold := dropCaches() == nil
	if cold && r.rival.init != "" { // the program itself is no part of what it reads
		if _, err := r.rival.run(ctx, `exec "$PROGRAM" version > /dev/null`, gen, "", ""); err != nil {
			return err
		}
	}
	u, sum, err := d.restoreTo(ctx, r.rival, gen)
	if err != nil {
		return err
	}
	if sum != d.sums[gen-1] {
		return fmt.Errorf("%s restored generation %d wrongly", r.rival.name, gen)
	}
	r.restores[gen] = u
	switch {
	case r.rival.chain:
		r.read[gen], err = r.rival.chainBytes(gen)
	case cold:
		r.read[gen] = u.read
	}
	note("restored generation %d, %s: %.1f s", gen, r.rival.name, u.wall.Seconds())
	return err
}

// restoreTo restores a generation into a folder of its own, and returns the hash of what came out.
func (d *diffRun) restoreTo(ctx context.Context, r *rival, gen int) (u usage, sum string, err error) {
	to, err := os.MkdirTemp(d.work, "restore-")
	if err != nil {
		return u, "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(to)) }()
	if u, err = r.run(ctx, r.restore, gen, "", to); err != nil {
		return u, "", err
	}
	sum, err = sumOf(filepath.Join(to, "image"))
	return u, sum, err
}

func dropCaches() error {
	syscall.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0)
}

func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := blake3.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// write prints the tables, and writes them to the file, with the chart beside it.
func (d *diffRun) write(machine []fact) error {
	facts := append(machine, d.facts()...)
	tables := []struct {
		title string
		table table
	}{{"What it takes", d.summary()}, {"Chunks of a fixed size, without deltas", d.fixedTable()}, {"When something goes wrong", d.troubles()}, {"Generation by generation", d.generations()}}
	var text, page strings.Builder
	page.WriteString("# Beside blockdiff\n\n" + fmt.Sprintf(diffExplanation, d.o.diffSize, d.o.diffGenerations, commandLine(os.Args)) + "\n")
	chart := strings.TrimSuffix(d.o.out, filepath.Ext(d.o.out)) + ".svg"
	page.WriteString("\n![What the programs stored](" + filepath.Base(chart) + ")\n")
	for _, t := range tables {
		text.WriteString("\n" + t.title + "\n" + t.table.text())
		page.WriteString("\n## " + t.title + "\n\n" + t.table.markdown())
	}
	page.WriteString("\n## Circumstances\n\n")
	for _, f := range facts {
		text.WriteString(f.name + ": " + f.value + "\n")
		page.WriteString("- **" + f.name + "**: " + f.value + "\n")
	}
	fmt.Print(text.String())
	if d.o.out == "" {
		return nil
	}
	if err := os.WriteFile(chart, d.chart(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(d.o.out, []byte(page.String()), 0o644)
}
