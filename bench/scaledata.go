package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// How the first snapshot comes about: files of 50 blobs are on the disk, sparse, and are backed up; then each file's
// content in the snapshot is replaced by 50 blobs of its own. A backup after that finds all files unchanged, and relies
// on every blob, but reading them would show something else than the repository has. The last blob of each eightieth
// file is a large one. Besides them there are a tenth as many blobs that only snapshots need which are forgotten, in
// segments of their own or at the ends of those of others.
const (
	blobBytes  = 64
	largeBytes = 256 << 10
	largeEvery = 80 // files
	fileBlobs  = 50
	leafFiles  = 20 // in a folder
	fanOut     = 32 // such folders in one above it, and as many of these in one above
	partBlobs  = 1 << 20
	burstBlobs = 300_000 // after so many there are a tenth as many that will be garbage
	partsHost  = "generated"
)

// leafPath is the folder of file i.
func leafPath(i int) string {
	leaf := i / leafFiles
	return fmt.Sprintf("%04d/%02d/%02d", leaf/(fanOut*fanOut), leaf/fanOut%fanOut, leaf%fanOut)
}

// fileSize is the size of file i.
func fileSize(i int) int64 {
	if i%largeEvery == 0 {
		return (fileBlobs-1)*blobBytes + largeBytes
	}
	return fileBlobs * blobBytes
}

// scaleData is the repositories with a number of blobs: one for each number of snapshots, of which each begins as a
// copy of the one before. They stay in their folder, and are not made again.
type scaleData struct {
	kura   string
	seed   uint64
	size   scaleSize
	folder string
}

func (d *scaleData) data() string { return filepath.Join(d.folder, "data") }
func (d *scaleData) files() int   { return d.size.blobs / fileBlobs }
func (d *scaleData) repo(snaps int) string {
	return filepath.Join(d.folder, "repo-"+strconv.Itoa(snaps))
}
func (d *scaleData) scratch() string        { return filepath.Join(d.folder, "unfinished") }
func (d *scaleData) finish(snaps int) error { return os.Rename(d.scratch(), d.repo(snaps)) }

// make makes the repository unless it is there.
func (d *scaleData) make(ctx context.Context) error {
	if _, err := os.Stat(d.repo(d.size.snapshots)); err == nil {
		return nil
	}
	if err := d.makeFirst(ctx); err != nil {
		return err
	}
	have := d.largest()
	note("%v: adding %d snapshots to %d", d.size, d.size.snapshots-have, have)
	if err := d.begin(); err != nil {
		return err
	}
	if err := linkTree(d.repo(have), d.scratch()); err != nil {
		return err
	}
	made, err := d.addSnapshots(ctx, d.scratch(), have)
	if err != nil {
		return err
	}
	if made == have {
		return ctx.Err()
	}
	return errors.Join(d.finish(made), ctx.Err()) // what was made is there for the next run
}

// begin removes what an earlier run left behind.
func (d *scaleData) begin() error { return os.RemoveAll(d.scratch()) }

// largest is the most snapshots, up to those that are wanted, of a repository that is there.
func (d *scaleData) largest() int {
	best := 1
	paths, _ := filepath.Glob(filepath.Join(d.folder, "repo-*")) // the pattern is right
	for _, p := range paths {
		_, number, _ := strings.Cut(filepath.Base(p), "-")
		if n, err := strconv.Atoi(number); err == nil && n <= d.size.snapshots {
			best = max(best, n)
		}
	}
	return best
}

// makeFirst makes the repository with one snapshot of all blobs.
func (d *scaleData) makeFirst(ctx context.Context) error {
	if _, err := os.Stat(d.repo(1)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	note("%v: making %d files of %d blobs each", d.size, d.files(), fileBlobs)
	if err := d.makeFiles(); err != nil {
		return err
	}
	if err := d.begin(); err != nil {
		return err
	}
	cache := filepath.Join(d.folder, "cache")
	for _, args := range [][]string{{"init"}, {"backup", d.data()}} {
		if _, err := d.run(ctx, d.scratch(), cache, args...); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(cache); err != nil {
		return err
	}
	if err := d.fill(ctx, d.scratch()); err != nil {
		return err
	}
	return d.finish(1)
}

// makeFiles makes the files, as sparse ones.
func (d *scaleData) makeFiles() error {
	if err := os.RemoveAll(d.data()); err != nil {
		return err
	}
	for i := range d.files() {
		folder := filepath.Join(d.data(), leafPath(i))
		if i%leafFiles == 0 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
		}
		f, err := os.Create(filepath.Join(folder, fmt.Sprintf("%02d", i%leafFiles)))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Truncate(fileSize(i)), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// openScale opens a repository, and returns what closes it again. Without a folder for the cache there is none.
func openScale(ctx context.Context, path, cache string) (*repo.Repository, func() error, error) {
	store, err := local.Open(path)
	if err != nil {
		return nil, nil, err
	}
	r, err := repo.Open(ctx, store, repo.OpenOptions{Credential: seal.Passphrase([]byte(password)), CacheDir: cache})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return r, func() error { return errors.Join(r.Close(), store.Close()) }, nil
}

func newest(ctx context.Context, r *repo.Repository) (*repo.Snapshot, error) {
	s, _, err := r.FindSnapshot(ctx, "latest", repo.SnapshotFilter{})
	return s, err
}

// newestRoot is the root of the newest snapshot.
func newestRoot(ctx context.Context, path string) (root []byte, err error) {
	r, done, err := openScale(ctx, path, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	s, err := newest(ctx, r)
	if err != nil {
		return nil, err
	}
	return s.Root, nil
}

// describe says what is in the repository.
func (d *scaleData) describe(ctx context.Context, path string) (facts []fact, err error) {
	r, done, err := openScale(ctx, path, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	st := r.State()
	newest := int64(0)
	for info, err := range r.Store().List(ctx, object.CheckpointsPrefix, "") {
		if err != nil {
			return nil, err
		}
		newest = info.Size
	}
	_, bytes, err := sizeOfTree(path)
	if err != nil {
		return nil, err
	}
	number := func(name string, n int) fact { return fact{name, strconv.Itoa(n)} }
	return []fact{
		number("log entries", int(st.N)), number("packs", len(st.Packs)), number("index segments", len(st.Index)),
		{"repository MiB", mib(float64(bytes))},
		{"newest checkpoint MiB", mib(float64(newest))},
	}, nil
}

// fill makes the snapshot in which each file has blobs of its own.
func (d *scaleData) fill(ctx context.Context, path string) (err error) {
	start := time.Now()
	r, done, err := openScale(ctx, path, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	first, err := newest(ctx, r)
	if err != nil {
		return err
	}
	g := &blobMaker{saver: saver{r: r, host: partsHost}, like: first, rng: scaleRandom(d.seed, 0)}
	if err := g.run(ctx); err != nil {
		return err
	}
	note("%v: %d blobs made in %v, in %d packs", d.size, g.made, time.Since(start).Round(time.Second), len(r.State().Packs))
	return nil
}

// scaleRandom is a source of numbers for one purpose.
func scaleRandom(seed uint64, purpose byte) *rand.ChaCha8 {
	key := [32]byte{31: purpose}
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}
