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
	scale     []scaleSize // not empty: the benchmark of growth, and nothing else
	keep      string      // where its repositories stay
	blockdiff bool        // the comparison with blockdiff, and nothing else
	diffSize  byteSize    // of its image
	level3    bool
	save      string
	report    []string // with -report: the files; otherwise nil
	steps     []string
	tools     []string            // empty: kura and the peers that are found
	programs  map[string]string   // by the name of the tool, where a flag says so
	others    map[string][]string // further versions of them

	// Of the data sets.
	tiny             int
	dump, image      byteSize
	dumpGenerations  int
	mariadb          bool
	imageGenerations int
	diffGenerations  int
}

func parseOptions(args []string) (*options, error) {
	o := &options{
		size: 3 << 30, dump: 650 << 20, image: 4 << 30, diffSize: 2 << 30,
		programs: map[string]string{}, others: map[string][]string{},
	}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 3, "how often each step is measured; medians are reported")
	f.StringVar(&o.tree, "tree", "/usr", "`folder` of which a copy is the data set tree, and some files are in the image")
	f.Var(&o.size, "size", "`size` of the data set incompressible, as in 512MiB")
	f.IntVar(&o.tiny, "tiny", 300_000, "`number` of files of the data set tiny")
	f.Var(&o.dump, "dump", "about the `size` of the data set dump")
	f.IntVar(&o.dumpGenerations, "dump-generations", 15, "how many generations of the dump are backed up, with the first")
	f.BoolVar(&o.mariadb, "mariadb", true, "let MariaDB make the dump if it is installed; otherwise the same bytes are generated, which is faster")
	f.Var(&o.image, "image", "`size` of the file system of the data set image")
	f.IntVar(&o.imageGenerations, "image-generations", 2, "how many generations of the image are backed up for each of the three ways of changing it, with the first")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the data that is generated")
	f.StringVar(&o.work, "work", "/var/tmp", "`folder` in which a folder for all data is made, and removed at the end")
	f.BoolVar(&o.level3, "level3", false, "all programs that can compress with zstd do so at level 3, instead of their defaults")
	f.StringVar(&o.out, "out", "", "also write the results to this Markdown `file`, and a chart beside it, as .svg")
	f.StringVar(&o.save, "save", "", "also keep what was measured in this `file`, after each step, for -report")
	report := f.Bool("report", false, "measure nothing: write the results of the files that -save made, which are the arguments")
	f.BoolVar(&o.cold, "cold", false, "drop the page cache before each step (needs root); otherwise what a step reads is read once before")
	f.DurationVar(&o.far, "far", 0, "put repositories into an S3 server behind a proxy that adds this `time` to each request; 0: into folders")
	f.BoolVar(&o.coldCache, "cold-cache", false, "remove the programs' own caches before each step")
	f.Func("scale", "instead of all else, measure kura alone in generated repositories: a `list` of blobs and snapshots, such as 1Mx100,1Mx10k,5Mx1k", scaleSizes(&o.scale))
	f.StringVar(&o.keep, "scale-keep", "", "`folder` in which the repositories of -scale are made, and stay for the next run; empty: below -work, removed at the end")
	f.BoolVar(&o.blockdiff, "blockdiff", false, "instead of all else, compare kura, blockdiff and restic: generations of an image of database pages")
	f.Var(&o.diffSize, "blockdiff-size", "`size` of that image")
	f.IntVar(&o.diffGenerations, "blockdiff-generations", 18, "how many generations of it are backed up")
	f.DurationVar(&o.settle, "settle", 65*time.Second, "rest before the first step, for file systems that are slow after many files were removed")
	for _, t := range tools {
		f.Func(t.name, "`path` of "+t.name+" (default: "+defaultProgram(t)+"); given again, of another version", func(s string) error {
			if _, given := o.programs[t.name]; given {
				o.others[t.name] = append(o.others[t.name], s)
			} else {
				o.programs[t.name] = s
			}
			return nil
		})
	}
	f.Func("steps", "only these steps, and those they need: a `list` of data sets, or of "+strings.Join(stepNames(newSteps(datasets)), ","), list(&o.steps))
	f.Func("tools", "only these programs: a `list` of "+strings.Join(toolNames(tools), ","), list(&o.tools))
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if _, given := o.programs[kura.name]; !given {
		o.programs[kura.name] = defaultProgram(kura)
	}
	if *report {
		o.report = f.Args()
		return o, nil
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.rounds < 1 {
		return nil, errors.New("-rounds: at least one round is needed")
	}
	if o.size < 1 || o.tiny < 1 || o.dump < 1 || o.image < 1 {
		return nil, errors.New("-size, -tiny, -dump, -image: less than one is too little")
	}
	if o.diffSize < 1<<20 || o.diffGenerations < 2 {
		return nil, errors.New("-blockdiff-size, -blockdiff-generations: at least 1MiB and two are needed")
	}
	if o.dumpGenerations > maxDumpGenerations {
		return nil, fmt.Errorf("-dump-generations: at most %d", maxDumpGenerations)
	}
	if o.dumpGenerations < 2 || o.imageGenerations < 2 {
		return nil, errors.New("-dump-generations, -image-generations: a second generation is needed")
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

// section is the title of the part of the results in which runs with these options stand.
func (o *options) section() string {
	title := "Each program at its defaults"
	if o.level3 {
		title = "Compression with zstd at level 3"
	}
	if o.far > 0 {
		title += fmt.Sprintf(", in a store %v away", o.far)
	}
	if o.cold {
		title += ", with a cold page cache"
	}
	if o.coldCache {
		title += ", without caches of its own"
	}
	return title
}

func defaultProgram(t *tool) string {
	if t.name == kura.name {
		return "bin/kura"
	}
	return or(t.binary, t.name) + " on PATH"
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
