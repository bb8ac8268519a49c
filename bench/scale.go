package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The benchmark of growth: what each command needs when there are many blobs, many snapshots, or both.
//
// The repositories are real ones, made through sessions and commits. Only what their files hold is not: nearly all
// blobs are of 64 random bytes, so that millions of them take hundreds of megabytes. See scaledata.go and
// scalechain.go.

// scaleSize is a repository to be measured.
type scaleSize struct{ blobs, snapshots int }

// parseScaleSize parses 5Mx1k and 5000000x1000.
func parseScaleSize(s string) (size scaleSize, err error) {
	blobs, snapshots, ok := strings.Cut(s, "x")
	if !ok {
		return size, fmt.Errorf("%q is no size such as 5Mx1000: blobs, and snapshots", s)
	}
	if size.blobs, err = parseCount(blobs); err == nil {
		size.snapshots, err = parseCount(snapshots)
	}
	return size, err
}

// scaleSizes parses a list of sizes into dst.
func scaleSizes(dst *[]scaleSize) func(string) error {
	return func(s string) error {
		var words []string
		if err := list(&words)(s); err != nil {
			return err
		}
		for _, w := range words {
			size, err := parseScaleSize(w)
			if err != nil {
				return err
			}
			*dst = append(*dst, size)
		}
		return nil
	}
}

func parseCount(s string) (int, error) {
	number, unit := s, 1
	if n, ok := strings.CutSuffix(s, "k"); ok {
		number, unit = n, 1000
	} else if n, ok := strings.CutSuffix(s, "M"); ok {
		number, unit = n, 1_000_000
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > 1_000_000_000 {
		return 0, fmt.Errorf("%q is no number such as 1000, 10k or 5M", s)
	}
	return n * unit, nil
}

// String writes the size so that it can be parsed.
func (s scaleSize) String() string { return shortCount(s.blobs) + "x" + shortCount(s.snapshots) }

func shortCount(n int) string {
	switch {
	case n%1_000_000 == 0:
		return strconv.Itoa(n/1_000_000) + "M"
	case n%1000 == 0:
		return strconv.Itoa(n/1000) + "k"
	}
	return strconv.Itoa(n)
}

// benchScale measures kura alone in repositories of several sizes, and prints one table.
func benchScale(ctx context.Context, o *options) (err error) {
	kura, err := filepath.Abs(o.programs["kura"])
	if err != nil {
		return err
	}
	root, err := filepath.Abs(o.keep) // programs run in other folders
	if err != nil {
		return err
	}
	if o.keep == "" {
		if root, err = os.MkdirTemp(o.work, "kura-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	machine := describeMachine(root)
	var results []scaleResult
	for _, size := range o.scale {
		d := &scaleData{kura: kura, seed: o.seed, size: size, folder: filepath.Join(root, strconv.Itoa(size.blobs))}
		if err := d.make(ctx); err != nil {
			return fmt.Errorf("%v: %w", size, err)
		}
		r, err := measureScale(ctx, d)
		if err != nil {
			return fmt.Errorf("%v: %w", size, err)
		}
		results = append(results, *r)
	}
	for _, f := range machine {
		fmt.Printf("%s: %s\n", f.name, f.value)
	}
	fmt.Printf("command: %s\n\n", commandLine(os.Args))
	fmt.Print(scaleTable(results).markdown())
	return nil
}

// scaleStep is a run of kura.
type scaleStep struct {
	name string
	args []string
	cold bool // whether the cache is removed before
	same bool // whether the newest snapshot must be the same as before: otherwise the numbers say nothing
}

func scaleSteps(d *scaleData) []scaleStep {
	folder := "latest:" + filepath.Join(d.data(), leafPath(0))
	file := filepath.Join(leafPath(0), "00") // the end of one path, so that all are looked at, and little is printed
	backup := []string{"backup", d.data()}
	forget := []string{"forget", "--unsafe-allow-remove-all", "--host", partsHost}
	for h := 0; h < min(chainHosts, d.size.snapshots); h += 2 {
		forget = append(forget, "--host", chainHost(h))
	}
	return []scaleStep{
		{name: "open (cat config)", args: []string{"cat", "config"}},
		{name: "snapshots", args: []string{"snapshots"}},
		{name: "find a folder (ls), cold cache", args: []string{"ls", folder}, cold: true},
		{name: "find a folder (ls)", args: []string{"ls", folder}},
		{name: "find a name in the newest snapshot", args: []string{"find", "--snapshot", "latest", file}},
		{name: "find a name in all snapshots", args: []string{"find", file}},
		{name: "unchanged backup", args: backup, same: true},
		{name: "check", args: []string{"check"}},
		{name: "forget about half", args: forget},
		{name: "prune --dry-run", args: []string{"prune", "--dry-run"}},
		{name: "prune", args: []string{"prune"}},
		{name: "prune, nothing to do", args: []string{"prune"}},
		{name: "unchanged backup after it", args: backup, same: true},
		{name: "check after it", args: []string{"check"}},
	}
}

// scaleResult is what came out for one size.
type scaleResult struct {
	size  scaleSize
	facts []fact // of the repository before the first step
	steps []string
	usage map[string]usage
}

// measureScale runs the steps in a copy of the repository, which stays as it was made.
func measureScale(ctx context.Context, d *scaleData) (_ *scaleResult, err error) {
	work, err := os.MkdirTemp(d.folder, "run-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	repository, cache := filepath.Join(work, "repo"), filepath.Join(work, "cache")
	if err := linkTree(d.repo(d.size.snapshots), repository); err != nil {
		return nil, err
	}
	r := &scaleResult{size: d.size, usage: map[string]usage{}}
	if r.facts, err = d.describe(ctx, repository); err != nil {
		return nil, err
	}
	root, err := newestRoot(ctx, repository)
	if err != nil {
		return nil, err
	}
	for _, s := range scaleSteps(d) {
		if s.cold {
			if err := os.RemoveAll(cache); err != nil {
				return nil, err
			}
		}
		u, err := d.run(ctx, repository, cache, s.args...)
		if err != nil {
			return nil, err
		}
		note("%v: %s: %.1fs wall, %.1fs CPU, %d MiB", d.size, s.name, u.wall.Seconds(), u.cpu.Seconds(), u.anon>>20)
		r.steps, r.usage[s.name] = append(r.steps, s.name), u
		if s.same {
			now, err := newestRoot(ctx, repository)
			if err != nil {
				return nil, err
			}
			if !slices.Equal(now, root) {
				return nil, errors.New("the backup did not find everything unchanged: its numbers say nothing")
			}
		}
		if s.cold {
			_, size, err := sizeOfTree(cache)
			if err != nil {
				return nil, err
			}
			r.facts = append(r.facts, fact{"cache MiB", mib(float64(size))})
		}
	}
	return r, nil
}

// run runs kura in a repository.
func (d *scaleData) run(ctx context.Context, repository, cache string, args ...string) (usage, error) {
	return measure(ctx, call{
		program: d.kura, args: append([]string{"-r", repository, "--cache-dir", cache}, args...), dir: d.folder,
		env:    []string{"KURA_PASSWORD=" + password, "HOME=" + d.folder, "PATH=" + os.Getenv("PATH")},
		stderr: filepath.Join(d.folder, "stderr"),
	})
}

// linkTree makes a copy of a repository in which each object is a second name of the same file: objects are never
// changed.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		return os.Link(path, filepath.Join(to, rel))
	})
}

// sizeOfTree counts the files below a folder and their bytes.
func sizeOfTree(folder string) (files int, bytes int64, err error) {
	err = filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			files, bytes = files+1, bytes+info.Size()
		}
		return err
	})
	return files, bytes, err
}
