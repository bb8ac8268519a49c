package main

import (
	"context"
	"fmt"
	"syscall"
)

// dataset is something that the programs back up.
type dataset struct {
	name      string // part of the names of its steps
	title     string // in the table
	file      bool   // is a single file
	stream    bool   // which is backed up through standard input
	unchanged bool   // is also backed up once more as it is
	checked   bool   // its repository is checked, with all data read
	listed    bool   // its snapshots are listed, and the newest is forgotten
	grows     bool   // what matters are its generations, of which the newest is restored
	onDemand  bool   // is left out unless its steps are named
	series    []*series
	new       func(o *options, folder string) maker
}

// series are generations of a data set that come about in the same way.
type series struct {
	name, title string
	count       func(o *options) int
	// next makes the next generation of the data set, the nth after the first.
	next func(ctx context.Context, m maker, n int) error
}

// maker makes a data set. It is closed when it is no longer needed.
type maker interface {
	// make makes the first generation, or makes it anew, and returns its path, always the same one.
	make(ctx context.Context) (path string, err error)
	describe() string
	close() error
}

// incompressible is the data set of which the stages are measured, too.
const incompressible = "incompressible"

// datasets in the order in which they are measured. The generations of a data set are made while all programs wait.
var datasets = []*dataset{
	{
		name: "tree", title: "tree", unchanged: true, checked: true, listed: true, new: newTree,
		series: []*series{{name: "changed", title: "1 % of files changed", count: once, next: changeTree}},
	},
	{name: incompressible, title: "incompressible file", file: true, checked: true, new: newIncompressible},
	{name: "tiny", title: "tiny files", unchanged: true, new: newTiny},
	{
		name: "dump", title: "dump through stdin", file: true, stream: true, grows: true, new: newDump,
		series: []*series{{
			name: "generations", title: "each further generation", next: nextDump,
			count: func(o *options) int { return o.dumpGenerations - 1 },
		}},
	},
	{
		name: "image", title: "image", file: true, grows: true, new: newImage,
		series: []*series{
			{name: "rewritten", title: "files in it rewritten", count: imageGenerations, next: rewriteFiles},
			{name: "touched5", title: "5 % of pages touched", count: imageGenerations, next: touchPages(5)},
			{name: "touched25", title: "25 % of pages touched", count: imageGenerations, next: touchPages(25)},
		},
	},
	{name: "files", title: "10,000 files, 1 GB in all", unchanged: true, listed: true, onDemand: true, new: newFiles},
}

func once(*options) int               { return 1 }
func imageGenerations(o *options) int { return o.imageGenerations - 1 }

// source is a data set that is there.
type source struct {
	*dataset
	maker
	path string
	made int // generations after the first

	newest string // label of the snapshot that was made last

	// Of its files one in stride is compared by content.
	stride uint64
	was    *fingerprint // nil: it has changed since
	first  fingerprint  // when it was made
}

// renew makes the first generation.
func (s *source) renew(ctx context.Context) (err error) {
	if s.path, err = s.make(ctx); err != nil {
		return err
	}
	if s.first, err = fingerprintOf(ctx, s.path, 0); err != nil {
		return err
	}
	s.stride, s.was, s.made = strideFor(s.first.files, s.first.bytes), nil, 0
	return nil
}

// advance makes the next generation.
func (s *source) advance(ctx context.Context, by *series) error {
	s.made++
	s.was = nil
	return by.next(ctx, s.maker, s.made)
}

// fingerprint is that of the data set as it is now.
func (s *source) fingerprint(ctx context.Context) (fingerprint, error) {
	if s.was == nil {
		f, err := fingerprintOf(ctx, s.path, s.stride)
		if err != nil {
			return f, err
		}
		s.was = &f
	}
	return *s.was, nil
}

// checkSpace warns when a round of the data set may not fit: its repositories are kept until it ends, a restore only
// until the next one.
func checkSpace(o *options, tools []*tool, steps []*step, src *source) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(o.work, &disk); err != nil {
		return fmt.Errorf("%s: %w", o.work, err)
	}
	need := src.first.bytes * int64(len(tools)+1)
	for _, s := range steps {
		if s.series != nil && s.data.file {
			need += src.first.bytes / 2 * int64(len(tools)*s.times(o))
		}
	}
	if free := int64(disk.Bavail) * int64(disk.Bsize); free < need {
		note("%s has %s MiB free; without compression the data set %s needs up to about %s MiB", o.work, mib(float64(free)), src.name, mib(float64(need)))
	}
	return nil
}
