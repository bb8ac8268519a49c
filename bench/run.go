package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// measurement is what one tool needed for one step, once.
type measurement struct {
	usage
	stored    int64 // by how much the repository grew
	hasStored bool
	trips     trips // to a far store
}

// results are the measurements by step and tool, one for each round.
type results map[string]map[string][]measurement

// bench is one run of the benchmark.
type bench struct {
	options *options
	work    string
	far     *farStore // nil: repositories are folders
	tools   []*tool
	steps   []*step
	sources map[*dataset]*source
	results results
}

// round runs every step once with fresh repositories. All tools do a step before the next one begins, so that
// a machine that gets slower does so for all; each round another one begins.
// Nothing is removed before the end of the round, see settle.
func (b *bench) round(ctx context.Context, n int) error {
	folder := filepath.Join(b.work, fmt.Sprintf("round-%d", n+1))
	if err := settle(ctx, b.options.settle); err != nil {
		return err
	}
	for _, s := range b.steps {
		for _, t := range rotate(b.tools, n) {
			m, err := b.step(ctx, s, t, place{folder: filepath.Join(folder, t.name), step: s.name, far: b.far}, n == 0)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", s.name, t.name, err)
			}
			if b.results[s.name] == nil {
				b.results[s.name] = make(map[string][]measurement)
			}
			b.results[s.name][t.name] = append(b.results[s.name][t.name], m)
			note("round %d of %d: %-22s %-7s %8.3f s", n+1, b.options.rounds, s.name, t.name, m.wall.Seconds())
		}
	}
	return os.RemoveAll(folder)
}

// step lets the tool do the step and measures it.
func (b *bench) step(ctx context.Context, s *step, t *tool, p place, check bool) (m measurement, err error) {
	if b.options.coldCache {
		if err := os.RemoveAll(p.cache()); err != nil {
			return m, err
		}
	}
	for _, folder := range []string{p.home(), p.cache()} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return m, err
		}
	}
	dir := p.home()
	if s.restores {
		dir = p.target()
		if err := os.Mkdir(dir, 0o755); err != nil {
			return m, err
		}
	}
	var path string
	if s.data != nil {
		path = b.sources[s.data].path
	}
	before, err := p.stored()
	if err != nil {
		return m, err
	}
	if err := b.prepare(ctx, s, p, path); err != nil {
		return m, err
	}
	if p.far != nil {
		p.far.proxy.Reset()
	}
	for _, args := range s.calls(t, p, path) {
		u, err := measure(ctx, call{
			program: t.program, args: args, dir: dir, env: environment(t, p),
			stderr: filepath.Join(p.folder, "stderr"),
		})
		if err != nil {
			return m, err
		}
		m.usage = m.then(u)
	}
	if p.far != nil {
		m.trips = p.far.trips()
	}
	if s.stores {
		after, err := p.stored()
		if err != nil {
			return m, err
		}
		m.stored, m.hasStored = after-before, true
	}
	if s.restores && check {
		return m, verify(ctx, b.sources[s.data], dir)
	}
	return m, nil
}

// settle waits until what was removed before has no effect any more. For a minute after it is removed ext4
// without a journal does not use an inode again, and looks at each of them whenever it makes a file: `cp -a` of
// a tree was seen to take five times as long right after another tree had been removed.
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
func (b *bench) prepare(ctx context.Context, s *step, p place, path string) error {
	if b.options.cold {
		syscall.Sync()
		return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
	}
	if !s.readsData {
		path = p.repoFolder()
		if p.far != nil {
			path = p.far.server.Folder(bucket(p.folder))
		}
	}
	if err := warm(ctx, path); err != nil && !errors.Is(err, os.ErrNotExist) {
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
func (b *bench) facts(machine []fact, began time.Time, command string) []fact {
	cache := "warm: what a step reads was read once before it"
	if b.options.cold {
		cache = "cold: dropped before each step"
	}
	facts := []fact{
		{"date", began.UTC().Format("2006-01-02 15:04 UTC") + ", took " + time.Since(began).Round(time.Second).String()},
		{"command", command},
	}
	facts = append(facts, machine...)
	facts = append(
		facts,
		fact{"rounds", fmt.Sprintf("%d, medians; %v of rest before each", b.options.rounds, b.options.settle)},
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
				d.describe(b.options), src.was.files, mib(float64(src.was.bytes)))})
		}
	}
	for _, t := range b.tools {
		facts = append(
			facts,
			fact{t.name, strings.Join([]string{t.version, t.options}, "; ")},
			fact{t.name + " durability", t.durability},
		)
	}
	return facts
}
