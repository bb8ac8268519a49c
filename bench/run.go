package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is one run of the benchmark.
type bench struct {
	options *options
	work    string
	far     *farStore // nil: repositories are folders
	tools   []*tool
	steps   []*step
	sources map[*dataset]*source
	began   time.Time
	machine []fact
	record  record
}

// dataset measures all steps of the data set, in all rounds. Then the next may have the room on the disk.
func (b *bench) dataset(ctx context.Context, d *dataset) (err error) {
	var steps []*step
	for _, s := range b.steps {
		if s.data == d {
			steps = append(steps, s)
		}
	}
	if len(steps) == 0 {
		return nil
	}
	folder := filepath.Join(b.work, d.name)
	data := filepath.Join(folder, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	src := &source{dataset: d, maker: d.new(b.options, data)}
	defer func() { err = errors.Join(err, src.close()) }()
	b.sources[d] = src
	note("data set %s: %s", d.name, src.describe())
	for n := range b.options.rounds {
		if n == 0 || src.made > 0 {
			if err := src.renew(ctx); err != nil {
				return fmt.Errorf("data set %s: %w", d.name, err)
			}
		}
		if err := checkSpace(b.options, b.tools, steps, src); err != nil {
			return err
		}
		if err := b.round(ctx, src, steps, n, filepath.Join(folder, fmt.Sprintf("round-%d", n+1))); err != nil {
			return err
		}
	}
	return hollow(folder)
}

// round runs every step once with fresh repositories. All tools do a step before the next one begins, so that
// a machine that gets slower does so for all; each step and round another one begins.
func (b *bench) round(ctx context.Context, src *source, steps []*step, n int, folder string) error {
	turn := n
	for _, s := range steps {
		for g := range s.times(b.options) {
			if s.series != nil {
				if err := src.advance(ctx, s.series); err != nil {
					return fmt.Errorf("data set %s: %w", src.name, err)
				}
			}
			if err := b.all(ctx, s, src, g, n, turn, folder); err != nil {
				return err
			}
			turn++
		}
	}
	return hollow(folder)
}

// all lets all tools do the step, of a series with the generation that comes so many after the first one there. The
// turn says which of them begins.
func (b *bench) all(ctx context.Context, s *step, src *source, generation, round, turn int, folder string) error {
	label := s.name
	if s.series != nil {
		label += fmt.Sprintf("-%d", generation+2)
	}
	if s.does.readsData() {
		src.newest = label
	}
	for _, t := range inTurn(b.tools, turn) {
		j := job{
			place: place{folder: filepath.Join(folder, t.name), step: label, far: b.far},
			does:  s.does, path: src.path, file: src.file, stream: src.stream, level3: b.options.level3, label: src.newest,
		}
		m, done, err := b.step(ctx, t, j, src, round == 0)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", label, t.name, err)
		}
		if !done {
			continue
		}
		m.Row, m.Program = s.row, t.name
		if s.series != nil {
			m.Generation = generation + 2
		}
		b.record.Samples = append(b.record.Samples, m)
		note("round %d of %d: %-24s %-13s %8.3f s", round+1, b.options.rounds, label, t.name, m.Wall)
	}
	if src.name == incompressible && s.does == backUpFirst {
		b.record.Size = src.first.bytes
		if err := b.stages(ctx, src.path); err != nil {
			return err
		}
	}
	if b.options.save == "" {
		return nil
	}
	b.record.Facts = b.facts()
	return b.record.save(b.options.save)
}

// step lets the tool do the step and measures it, if it has such a step.
func (b *bench) step(ctx context.Context, t *tool, j job, src *source, check bool) (m sample, done bool, err error) {
	if b.options.coldCache {
		if err := os.RemoveAll(j.cache()); err != nil {
			return m, false, err
		}
	}
	for _, folder := range []string{j.home(), j.cache()} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return m, false, err
		}
	}
	if j.does == forgetNewest && t.newest.args != nil {
		if j.id, err = t.newestID(ctx, j); err != nil {
			return m, false, err
		}
	}
	calls := t.calls(j)
	if len(calls) == 0 {
		return m, false, nil
	}
	dir := j.home()
	if j.does == restoreNewest {
		dir = j.target()
		if err := os.Mkdir(dir, 0o755); err != nil {
			return m, false, err
		}
	}
	before, err := j.stored()
	if err != nil {
		return m, false, err
	}
	if err := b.prepare(ctx, t, j); err != nil {
		return m, false, err
	}
	if j.far != nil {
		j.far.proxy.Reset()
	}
	var u usage
	for _, args := range calls {
		c := call{program: t.path, args: args, dir: dir, env: environment(t, j.place), stderr: filepath.Join(j.folder, "stderr")}
		if j.stream && j.does.readsData() {
			c.stdin = j.path
		}
		one, err := measure(ctx, c)
		if err != nil {
			return m, false, err
		}
		u = u.then(one)
	}
	m = sample{Wall: u.wall.Seconds(), CPU: u.cpu.Seconds(), RSS: u.rss, Anon: u.anon}
	if j.far != nil {
		m.Requests, m.Chain = j.far.trips()
	}
	if j.does.stores() && !t.readsOnly {
		after, err := j.stored()
		if err != nil {
			return m, false, err
		}
		grown := after - before
		m.Stored = &grown
	}
	if j.does == restoreNewest {
		if check {
			err = verify(ctx, src, dir)
		}
		return m, true, errors.Join(err, hollow(dir))
	}
	return m, true, nil
}

// hollow frees the room of all files in the folder, but removes none, because of what settle waits for. Where it
// may not write it leaves the file as it is.
func hollow(folder string) error {
	return filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if err := os.Truncate(path, 0); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil
	})
}

// settle waits until what was removed before has no effect any more. For a minute after it is removed ext4
// without a journal does not use an inode again, and looks at each of them whenever it makes a file: `cp -a` of
// a tree was seen to take five times as long right after another tree had been removed. So the benchmark itself
// removes nothing before its end.
func settle(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	syscall.Sync()
	note("waiting %v for the file system to settle", d)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// prepare brings the machine to the state in which a step begins: nothing is left to be written, and what the
// step will read is in the page cache, or nothing is.
func (b *bench) prepare(ctx context.Context, t *tool, j job) error {
	if b.options.cold {
		syscall.Sync()
		return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
	}
	if err := warm(ctx, t.reads(j)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	syscall.Sync()
	return nil
}

// environment is all of a tool's environment, so that no setting of the user gets into the results.
func environment(t *tool, p place) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOME=" + p.home(), "TMPDIR=" + p.home()}
	if p.far != nil {
		env = append(env, p.far.server.Env()...)
	}
	return append(env, t.env(p)...)
}

// inTurn is the order in which the tools, the limits last, do a step: each turn another program is first.
func inTurn(ts []*tool, turn int) []*tool {
	limits := slices.IndexFunc(ts, func(t *tool) bool { return t.limit != nil })
	if limits < 0 {
		limits = len(ts)
	}
	return slices.Concat(rotate(ts[:limits], turn), ts[limits:])
}

// rotate is the list with another beginning for each n.
func rotate[T any](list []T, n int) []T {
	if len(list) == 0 {
		return nil
	}
	n %= len(list)
	return slices.Concat(list[n:], list[:n])
}

// detail is note for those who want to know where the time goes.
func detail(format string, args ...any) {
	if os.Getenv("BENCH_DETAIL") != "" {
		note(format, args...)
	}
}

// note tells whoever waits how far it is.
func note(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// facts say under what circumstances the results came about.
func (b *bench) facts() []fact {
	cache := "warm: what a step reads was read once before it"
	if b.options.cold {
		cache = "cold: dropped before each step"
	}
	facts := []fact{
		{"date", b.began.UTC().Format("2006-01-02 15:04 UTC") + ", took " + time.Since(b.began).Round(time.Second).String()},
		{"command", commandLine(os.Args)},
	}
	facts = append(facts, b.machine...)
	facts = append(
		facts,
		fact{"rounds", fmt.Sprintf("%d, after %v of rest; each step begins with another program", b.options.rounds, b.options.settle)},
		fact{"page cache", cache},
	)
	if b.far != nil {
		facts = append(facts, fact{"store", fmt.Sprintf("versitygw on this machine, in a folder, behind a proxy that adds %v to each request", b.options.far)})
	}
	if b.options.coldCache {
		facts = append(facts, fact{"caches of the programs", "cold: removed before each step"})
	}
	for _, d := range datasets {
		if src := b.sources[d]; src != nil {
			facts = append(facts, fact{"data set " + d.name, fmt.Sprintf("%s: %d files and links, %s MiB",
				src.describe(), src.first.files, mib(float64(src.first.bytes)))})
		}
	}
	for _, t := range b.tools {
		facts = append(
			facts,
			fact{t.name, strings.Join([]string{t.version, t.describe(b.options.level3)}, "; ")},
			fact{t.name + " durability", t.durability},
		)
	}
	return facts
}
