package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
)

// dataset is something that the programs back up.
type dataset struct {
	name      string // part of the names of its steps
	title     string // in the table
	unchanged bool   // is also backed up once more as it is
	// make puts the data set into the folder, or finds it, and returns its absolute path.
	make     func(ctx context.Context, o *options, folder string) (string, error)
	describe func(o *options) string
}

var datasets = []*dataset{
	{
		name: "files", title: "10,000 files of 1 GB", unchanged: true,
		make: makeFiles,
		describe: func(o *options) string {
			return fmt.Sprintf("%d files of %d bytes on average, half of it incompressible, with seed %d", manyFiles, manyAverage, o.seed)
		},
	},
	{
		name: "tree", title: "tree", unchanged: true,
		make:     func(_ context.Context, o *options, _ string) (string, error) { return o.tree, nil },
		describe: func(o *options) string { return o.tree + " of this machine, in place" },
	},
	{
		name: "incompressible", title: "incompressible file",
		make: makeIncompressible,
		describe: func(o *options) string {
			return fmt.Sprintf("one file of %s from ChaCha8 with seed %d", o.size, o.seed)
		},
	},
}

// manyFiles is how many files the data set files has, and of how many bytes on average.
const (
	manyFiles   = 10_000
	manyAverage = 100_000
)

// makeFiles writes many files of random sizes, half of each incompressible, the same for the same seed.
func makeFiles(ctx context.Context, o *options, folder string) (string, error) {
	root := filepath.Join(folder, "files")
	rng := rand.New(rand.NewPCG(o.seed, 0))
	buf := make([]byte, 2*manyAverage)
	for i := range manyFiles {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		dir := filepath.Join(root, fmt.Sprintf("%02d", i%10), fmt.Sprintf("%02d", i/10%10))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		part := buf[:1+rng.IntN(len(buf)-1)]
		for k := range part {
			part[k] = byte(rng.Uint64())
		}
		copy(part[len(part)/2:], bytes.Repeat([]byte("what compresses well; "), len(part)/44))
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d", i)), part, 0o644); err != nil {
			return "", err
		}
	}
	return root, nil
}

// source is a data set that is there.
type source struct {
	*dataset
	path   string
	stride uint64 // of its files one in so many is compared by content
	was    fingerprint
}

// makeSources makes the data sets that the steps use.
func makeSources(ctx context.Context, o *options, steps []*step, work string) (map[*dataset]*source, error) {
	sources := make(map[*dataset]*source)
	for _, s := range steps {
		if s.data == nil || sources[s.data] != nil {
			continue
		}
		folder := filepath.Join(work, "data")
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, err
		}
		note("data set %s: %s", s.data.name, s.data.describe(o))
		path, err := s.data.make(ctx, o, folder)
		if err != nil {
			return nil, fmt.Errorf("data set %s: %w", s.data.name, err)
		}
		size, err := fingerprintOf(ctx, path, 0)
		if err != nil {
			return nil, fmt.Errorf("data set %s: %w", s.data.name, err)
		}
		src := &source{dataset: s.data, path: path, stride: strideFor(size.files, size.bytes)}
		if src.was, err = fingerprintOf(ctx, path, src.stride); err != nil {
			return nil, fmt.Errorf("data set %s: %w", s.data.name, err)
		}
		sources[s.data] = src
	}
	return sources, nil
}

// checkSpace warns when a round may not fit: its repositories and restores are kept until it ends.
func checkSpace(work string, tools []*tool, steps []*step, sources map[*dataset]*source) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(work, &disk); err != nil {
		return fmt.Errorf("%s: %w", work, err)
	}
	var need int64
	for _, s := range steps {
		if s.data != nil && (s.stores || s.restores) {
			need += sources[s.data].was.bytes * int64(len(tools))
		}
	}
	if free := int64(disk.Bavail) * int64(disk.Bsize); free < need {
		note("%s has %s MiB free; without compression a round needs up to %s MiB", work, mib(float64(free)), mib(float64(need)))
	}
	return nil
}

// makeIncompressible writes a file that no program can make smaller, the same one for the same seed.
func makeIncompressible(ctx context.Context, o *options, folder string) (string, error) {
	path := filepath.Join(folder, "incompressible.bin")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var seed [32]byte
	for i := range 8 {
		seed[i] = byte(o.seed >> (8 * i))
	}
	stream := rand.NewChaCha8(seed)
	buf := make([]byte, 1<<20)
	for left := int64(o.size); left > 0; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		part := buf[:min(left, int64(len(buf)))]
		_, _ = stream.Read(part) // never fails
		if _, err := f.Write(part); err != nil {
			return "", err
		}
		left -= int64(len(part))
	}
	return path, f.Close()
}
