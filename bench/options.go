package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// options are the command line.
type options struct {
	rounds    int
	tree      string
	size      byteSize
	seed      uint64
	work      string
	out       string
	cold      bool
	far       time.Duration
	coldCache bool
	settle    time.Duration
	blobs     int // not 0: the benchmark of many blobs, and nothing else
	steps     []string
	tools     []string          // empty: kura and the peers that are found
	programs  map[string]string // by the name of the tool, where a flag says so
}

func parseOptions(args []string) (*options, error) {
	o := &options{size: 1 << 30, programs: map[string]string{"kura": "bin/kura"}}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 3, "how often each step is measured; medians are reported")
	f.StringVar(&o.tree, "tree", "/usr", "`folder` that is backed up, in place, as the data set tree")
	f.Var(&o.size, "size", "`size` of the data set incompressible, as in 512MiB")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the data that is generated")
	f.StringVar(&o.work, "work", "/var/tmp", "`folder` in which a folder for all data is made, and removed at the end")
	f.StringVar(&o.out, "out", "", "also write the results to this Markdown `file`")
	f.BoolVar(&o.cold, "cold", false, "drop the page cache before each step (needs root); otherwise what a step reads is read once before")
	f.DurationVar(&o.far, "far", 0, "put repositories into an S3 server behind a proxy that adds this `time` to each request; 0: into folders")
	f.BoolVar(&o.coldCache, "cold-cache", false, "remove the programs' own caches before each step")
	f.IntVar(&o.blobs, "blobs", 0, "instead of all else, measure kura alone in a generated repository of so many blobs, such as 5000000")
	f.DurationVar(&o.settle, "settle", 65*time.Second, "rest before each round, for file systems that are slow after many files were removed")
	for _, t := range tools {
		f.Func(t.name, "`path` of "+t.name+" (default: "+defaultProgram(o, t.name)+")", func(s string) error {
			o.programs[t.name] = s
			return nil
		})
	}
	f.Func("steps", "only these steps, and those they need: a `list` of "+strings.Join(stepNames(newSteps(datasets)), ","), list(&o.steps))
	f.Func("tools", "only these programs: a `list` of "+strings.Join(toolNames(tools), ","), list(&o.tools))
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.rounds < 1 {
		return nil, errors.New("-rounds: at least one round is needed")
	}
	if o.size < 1 {
		return nil, errors.New("-size: the file needs at least one byte")
	}
	// Paths are handed to programs that run in other folders, and a tree's own path may be a link.
	var err error
	if o.tree, err = filepath.Abs(o.tree); err == nil {
		o.tree, err = filepath.EvalSymlinks(o.tree)
	}
	if err != nil {
		return nil, fmt.Errorf("-tree: %w", err)
	}
	if o.work, err = filepath.Abs(o.work); err == nil {
		o.work, err = filepath.EvalSymlinks(o.work)
	}
	if err != nil {
		return nil, fmt.Errorf("-work: %w", err)
	}
	if within(o.work, o.tree) {
		return nil, fmt.Errorf("-work: %s is in the tree %s, which would grow while it is backed up", o.work, o.tree)
	}
	return o, nil
}

func defaultProgram(o *options, name string) string {
	if p, ok := o.programs[name]; ok {
		return p
	}
	return "on PATH"
}

// list parses a list with commas into dst.
func list(dst *[]string) func(string) error {
	return func(s string) error {
		for _, word := range strings.Split(s, ",") {
			if word = strings.TrimSpace(word); word != "" {
				*dst = append(*dst, word)
			}
		}
		return nil
	}
}

// within says whether path is folder or lies below it; both are clean.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// byteSize is a number of bytes that is written with a binary unit.
type byteSize int64

var units = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"B", 1}}

// Set parses a size such as 64MiB, 64M or 67108864.
func (b *byteSize) Set(s string) error {
	number, unit := s, int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			number, unit = n, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return fmt.Errorf("%q is no size such as 512MiB", s)
	}
	*b = byteSize(n * unit)
	return nil
}

// String writes the size with the largest unit that divides it.
func (b byteSize) String() string {
	suffix, unit := "B", int64(1)
	for _, u := range units {
		if u.bytes > unit && b != 0 && int64(b)%u.bytes == 0 {
			suffix, unit = u.suffix, u.bytes
		}
	}
	return fmt.Sprintf("%d%s", int64(b)/unit, suffix)
}
