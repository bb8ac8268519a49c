package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// place is where one tool works in one round.
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

// tool is a program that backs up, and how it is told to do the steps. A step is one or more calls, each the
// arguments of one.
type tool struct {
	name        string
	versionArgs []string
	options     string // what matters and is its default
	durability  string
	s3          bool // whether it can store in S3
	env         func(p place) []string

	init func(p place) [][]string
	// backup makes a snapshot of path; label is a name for it, for tools whose snapshots have one.
	backup func(p place, path, label string) [][]string
	// restore restores the snapshot into the target, which is also the working folder, under its full path.
	restore   func(p place, path, label string) [][]string
	snapshots func(p place) [][]string
	// forget removes the newest snapshot, which has the label, and frees its space.
	forget func(p place, label string) [][]string

	program, version string // filled in when the tool is found
}

// password opens every repository that is made here.
const password = "bench"

var tools = []*tool{kura, restic, borg}

func kuraArgs(p place, args ...string) [][]string {
	return [][]string{append([]string{"-r", p.repo(), "--cache-dir", p.cache()}, args...)}
}

var kura = &tool{
	name:        "kura",
	versionArgs: []string{"version"},
	options:     "compression auto (zstd), AES-256-GCM, every segment decrypted, decompressed and compared before it is written; cache on",
	durability:  "each object is fsynced before it gets its name by link(2), then its folder, before the snapshot's log entry is written; restored files are not synced",
	s3:          true,
	env:         func(place) []string { return []string{"KURA_PASSWORD=" + password} },
	init:        func(p place) [][]string { return kuraArgs(p, "init") },
	backup:      func(p place, path, _ string) [][]string { return kuraArgs(p, "backup", path) },
	restore: func(p place, path, _ string) [][]string {
		return kuraArgs(p, "restore", "latest", "--path", path, "--target", p.target())
	},
	snapshots: func(p place) [][]string { return kuraArgs(p, "snapshots") },
	forget:    func(p place, _ string) [][]string { return kuraArgs(p, "forget", "latest", "--prune") },
}

func resticArgs(p place, args ...string) [][]string {
	return [][]string{append([]string{"-r", p.repo(), "--cache-dir", p.cache()}, args...)}
}

var restic = &tool{
	name:        "restic",
	versionArgs: []string{"version"},
	options:     "repository version and compression are this release's default (from 0.14: version 2, auto, that is zstd), AES-256-CTR with Poly1305; cache on",
	durability:  "each file of the repository is fsynced before it is renamed to its name, then its folder; restored files are not synced",
	s3:          true,
	env:         func(place) []string { return []string{"RESTIC_PASSWORD=" + password} },
	init:        func(p place) [][]string { return resticArgs(p, "init") },
	backup:      func(p place, path, _ string) [][]string { return resticArgs(p, "backup", path) },
	restore: func(p place, path, _ string) [][]string {
		return resticArgs(p, "restore", "latest", "--path", path, "--target", p.target())
	},
	snapshots: func(p place) [][]string { return resticArgs(p, "snapshots") },
	forget:    func(p place, _ string) [][]string { return resticArgs(p, "forget", "latest", "--prune") },
}

var borg = &tool{
	name:        "borg",
	versionArgs: []string{"--version"},
	options:     "compression lz4, encryption repokey-blake2 (AES-256-CTR with BLAKE2b); cache on",
	durability:  "each segment file (up to 500 MiB) is fdatasynced when it is complete, then its folder, before the transaction is committed; restored files are not synced",
	env: func(p place) []string {
		return []string{"BORG_PASSPHRASE=" + password, "BORG_BASE_DIR=" + p.cache()}
	},
	init: func(p place) [][]string { return [][]string{{"init", "-e", "repokey-blake2", p.repo()}} },
	backup: func(p place, path, label string) [][]string {
		return [][]string{{"create", p.repo() + "::" + label, path}}
	},
	restore: func(p place, _, label string) [][]string {
		return [][]string{{"extract", p.repo() + "::" + label}}
	},
	snapshots: func(p place) [][]string { return [][]string{{"list", p.repo()}} },
	forget: func(p place, label string) [][]string {
		return [][]string{{"delete", p.repo() + "::" + label}, {"compact", p.repo()}}
	},
}

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
			program = t.name
		}
		path, err := exec.LookPath(program)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			if given || named {
				return nil, fmt.Errorf("%s: %w", t.name, err)
			}
			note("%s is not installed and is left out", t.name)
			continue
		}
		c := *t
		c.program = path
		cmd := exec.CommandContext(ctx, path, t.versionArgs...)
		cmd.Env = environment(&c, place{folder: work})
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", path, strings.Join(t.versionArgs, " "), err)
		}
		c.version, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
		found = append(found, &c)
	}
	return found, nil
}
