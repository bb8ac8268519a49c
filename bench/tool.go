package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// place is where one tool works in one round with one data set: each data set has a repository of its own, so that
// a step needs the same whether it is measured alone or with all others.
type place struct {
	folder string
	step   string // that is run there
	far    *farStore
}

func (p place) repoFolder() string { return filepath.Join(p.folder, "repo") }

// repo is the repository as the tool is told.
func (p place) repo() string {
	if p.far != nil {
		return p.far.location(p.folder)
	}
	return p.repoFolder()
}

// stored is the size of the repository.
func (p place) stored() (int64, error) {
	if p.far != nil {
		return p.far.stored(p.folder)
	}
	return storedBytes(p.repoFolder())
}

func (p place) home() string   { return filepath.Join(p.folder, "home") }  // HOME, TMPDIR
func (p place) cache() string  { return filepath.Join(p.folder, "cache") } // the tool's cache
func (p place) target() string { return filepath.Join(p.folder, p.step) }  // what the step restores into

// job is one step for one tool.
type job struct {
	place
	does   action
	path   string // of the data set
	file   bool   // the data set is a single file
	stream bool   // which is not backed up as such, but through standard input
	level3 bool   // compression is zstd at level 3 instead of the tool's default
	label  string // of the snapshot that a backup makes, or else of the newest
	id     string // of the newest snapshot, for tools that can only be told so
}

// name is what a stream is called in its snapshot.
func (j job) name() string { return filepath.Base(j.path) }

// tool is a program that backs up, and how it is told to do the steps. A step is one or more calls, each the
// arguments of one; none if the tool has no such step.
type tool struct {
	name        string
	binary      string // if it is not the name
	versionArgs []string
	options     string // what matters and is its default
	level3      string // what is different with zstd at level 3
	durability  string
	s3          bool // whether it can store in S3
	env         func(p place) []string

	init      func(j job) [][]string
	backup    func(j job) [][]string
	restore   func(j job) [][]string // into the target, which is also the working folder, under the full path
	check     func(j job) [][]string // reads all data
	snapshots func(j job) [][]string
	forget    func(j job) [][]string // the newest snapshot, and frees its space
	// newest finds the id of the newest snapshot in the output of the call, if the tool needs it to forget one.
	newest struct {
		args []string
		id   func(output []byte) (string, error)
	}

	readsOnly bool                   // it stores nothing
	limit     func(j job) [][]string // of what is no peer but shows what the machine can do: all its steps

	path, version string // filled in when the tool is found
}

// calls are what the tool is told to do.
func (t *tool) calls(j job) [][]string {
	do := t.limit
	if do == nil {
		do = map[action]func(job) [][]string{
			initialise: t.init, backUpFirst: t.backup, backUpAgain: t.backup, backUpNext: t.backup, restoreNewest: t.restore,
			checkAll: t.check, listSnapshots: t.snapshots, forgetNewest: t.forget,
		}[j.does]
	}
	return do(j)
}

// reads is what is in the page cache before the step: the data set, or the repository. A limit has none: also what it
// writes in place of a restore it takes from the data set.
func (t *tool) reads(j job) string {
	switch {
	case j.does.readsData() || t.limit != nil:
		return j.path
	case j.far != nil:
		return j.far.server.Folder(bucket(j.folder))
	}
	return j.repoFolder()
}

// is says whether the tool is the program, in whatever version.
func (t *tool) is(program *tool) bool {
	return t.name == program.name || strings.HasPrefix(t.name, program.name+"-")
}

// describe says with which options the tool is run.
func (t *tool) describe(level3 bool) string {
	if level3 && t.level3 != "" {
		return t.options + "; here " + t.level3
	}
	return t.options
}

// password opens every repository that is made here.
const password = "bench"

// tools are kura, its peers, and after them the limits.
var tools = []*tool{kura, restic, borg, kopia, rustic, plakar, cpLimit, catLimit, findLimit, rsyncLimit}

func toolNames(ts []*tool) []string {
	var names []string
	for _, t := range ts {
		names = append(names, t.name)
	}
	return names
}

// chooseTools finds the programs that are asked for, and asks them for their versions.
func chooseTools(ctx context.Context, o *options, work string) ([]*tool, error) {
	for _, name := range o.tools {
		if !slices.Contains(toolNames(tools), name) {
			return nil, fmt.Errorf("-tools: there is no %q; there are %s", name, strings.Join(toolNames(tools), ", "))
		}
	}
	var found []*tool
	for _, t := range tools {
		named := slices.Contains(o.tools, t.name)
		if len(o.tools) > 0 && !named {
			continue
		}
		program, given := o.programs[t.name]
		if !given {
			program = or(t.binary, t.name)
		}
		for _, program := range append([]string{program}, o.others[t.name]...) {
			c, err := t.at(ctx, program, work)
			switch {
			case err == nil:
				found = append(found, c)
			case given || named || !errors.Is(err, exec.ErrNotFound):
				return nil, fmt.Errorf("%s: %w", t.name, err)
			default:
				note("%s is not installed and is left out", t.name)
			}
		}
	}
	for i, t := range found {
		if slices.Contains(toolNames(found[:i]), t.name) {
			return nil, fmt.Errorf("%s is %s, which another program is, too", t.path, t.name)
		}
	}
	return found, nil
}

// at is the tool as the program.
func (t *tool) at(ctx context.Context, program, work string) (*tool, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, err
	}
	c := *t
	c.path = path
	cmd := exec.CommandContext(ctx, path, t.versionArgs...)
	cmd.Env = environment(&c, place{folder: work})
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", path, strings.Join(t.versionArgs, " "), err)
	}
	c.version, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	if c.program().Kind == peer {
		c.name += "-" + number(c.version) // there may be several
	}
	return &c, nil
}

// newestID asks the tool for the id of its newest snapshot.
func (t *tool) newestID(ctx context.Context, j job) (string, error) {
	cmd := exec.CommandContext(ctx, t.path, t.newest.args...)
	cmd.Env = environment(t, j.place)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return t.newest.id(out)
}

// number is the first word of a version that has a digit and a dot.
func number(version string) string {
	for _, word := range strings.Fields(version) {
		if strings.Contains(word, ".") && strings.ContainsAny(word, "0123456789") && !strings.Contains(word, "/") {
			return strings.TrimPrefix(word, "v")
		}
	}
	return version
}
