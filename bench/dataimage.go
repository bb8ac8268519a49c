package main

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// imageMaker makes the image of an ext4 file system with files of the machine's tree. The generations of its three
// series follow one another: each changes the image as the one before left it.
type imageMaker struct {
	o      *options
	base   string   // of the folders
	made   int      // how often
	folder string   // of the files that are in it, and what else is needed to change it
	path   string   // of the image
	files  []string // paths in the image, and below the folder
	filled int64    // percent of the image that they take
}

func newImage(o *options, folder string) maker {
	return &imageMaker{o: o, base: filepath.Join(folder, "image"), path: filepath.Join(folder, "image.ext4"), filled: imageFilled}
}

const (
	pageSize     = 16 << 10 // of a database in it
	imageFilled  = 70       // percent of the image that files take, if there are enough
	imageRewrite = 3        // percent of the files that are rewritten in a generation
)

func (m *imageMaker) describe() string {
	return fmt.Sprintf("an ext4 file system of %s, %d %% full of files of %s, made by mkfs.ext4 -d with seed %d, the rest holes. "+
		"Files rewritten: %d %% of them are removed and written anew with debugfs, with up to 64 bytes changed in each MiB. "+
		"Pages touched: of its pages of 16 KiB that are not all zero, as a database writes them: 8 bytes at both ends, and one to three rows of 20 to 120 bytes",
		m.o.image, m.filled, m.o.tree, m.o.seed, imageRewrite)
}

func (m *imageMaker) make(ctx context.Context) (string, error) {
	if m.made++; m.folder != "" { // of the round before: nothing is removed, as settle says
		if err := hollow(m.folder); err != nil {
			return "", err
		}
	}
	m.folder = filepath.Join(m.base, fmt.Sprint(m.made))
	root := filepath.Join(m.folder, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	if err := m.gather(ctx, root); err != nil {
		return "", err
	}
	f, err := os.Create(m.path)
	if err != nil {
		return "", err
	}
	if err := f.Truncate(int64(m.o.image)); err != nil {
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	const id = "6b757261-0000-4000-8000-000000000001"
	return m.path, execute(ctx, "/sbin/mkfs.ext4", "-q", "-F", "-U", id, "-E", "hash_seed="+id+",lazy_itable_init=0", "-d", root, m.path)
}

// gather copies files of the tree, chosen at random, until the image will be as full as it should.
func (m *imageMaker) gather(ctx context.Context, root string) error {
	m.files = nil
	size := int64(m.o.image)
	want := size * imageFilled / 100
	left := want
	for turn := range 4 { // a quarter of the tree in each
		err := filepath.WalkDir(m.o.tree, func(path string, d fs.DirEntry, err error) error {
			if err != nil || ctx.Err() != nil || !d.Type().IsRegular() || left <= 0 {
				return firstOf(err, ctx.Err(), stopIf(left <= 0))
			}
			info, err := d.Info()
			if err != nil || m.hash(path, 0)%4 != uint64(turn) || info.Size() > left {
				return err
			}
			// Names of its own need no quotes for debugfs.
			dir, name := fmt.Sprintf("%03d", len(m.files)/200), fmt.Sprintf("%06d", len(m.files))
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				return err
			}
			m.files = append(m.files, "/"+dir+"/"+name)
			left -= (info.Size() + 4095) &^ 4095
			return copyFile(path, filepath.Join(root, dir, name))
		})
		if err != nil {
			return err
		}
	}
	m.filled = ((want-left)*100 + size/2) / size
	return nil
}

func firstOf(errs ...error) error {
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}

// stopIf ends a walk.
func stopIf(yes bool) error {
	if yes {
		return fs.SkipAll
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

func (m *imageMaker) hash(name string, n int) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d %s", m.o.seed, n, name)
	return mix(h.Sum64(), 0, 0)
}

func (m *imageMaker) close() error { return nil }

// rewriteFiles removes files in the image and writes them anew, with some changes.
func rewriteFiles(ctx context.Context, of maker, n int) error {
	m := of.(*imageMaker)
	var commands strings.Builder
	want := 0
	for _, name := range m.files {
		h := m.hash(name, n)
		if h%100 >= imageRewrite {
			continue
		}
		host := filepath.Join(m.folder, "root", name)
		if err := scatter(host, rand.New(rand.NewPCG(h, 0))); err != nil {
			return err
		}
		fmt.Fprintf(&commands, "cd %s\nrm %s\nwrite %s %s\n", filepath.Dir(name), filepath.Base(name), host, filepath.Base(name))
		want++
	}
	script := filepath.Join(m.folder, "commands")
	if err := os.WriteFile(script, []byte(commands.String()), 0o644); err != nil {
		return err
	}
	// It ends with success whatever happens.
	out, err := exec.CommandContext(ctx, "/sbin/debugfs", "-w", "-f", script, m.path).CombinedOutput()
	if written := bytes.Count(out, []byte("Allocated inode")); err != nil || written != want {
		return fmt.Errorf("debugfs wrote %d files instead of %d: %w\n%s", written, want, err, out[max(0, len(out)-4096):])
	}
	return nil
}

// scatter overwrites up to 64 bytes in each MiB of the file.
func scatter(path string, rng *rand.Rand) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for begin := int64(0); begin < info.Size(); begin += 1 << 20 {
		length := min(1<<20, info.Size()-begin)
		at := rng.Int64N(length)
		if _, err := f.WriteAt(randomBytes(rng, int(min(length-at, 1+rng.Int64N(64)))), begin+at); err != nil {
			return err
		}
	}
	return f.Close()
}

// touchPages changes some bytes in so many of a hundred pages that are in use.
func touchPages(percent int) func(ctx context.Context, of maker, n int) error {
	return func(ctx context.Context, of maker, n int) error {
		m := of.(*imageMaker)
		f, err := os.OpenFile(m.path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		rng := rand.New(rand.NewPCG(m.o.seed, uint64(n)))
		page, zeros := make([]byte, pageSize), make([]byte, pageSize)
		for at := int64(0); at+pageSize <= int64(m.o.image) && ctx.Err() == nil; at += pageSize {
			if rng.IntN(100) >= percent {
				continue
			}
			if _, err := f.ReadAt(page, at); err != nil {
				return err
			}
			if bytes.Equal(page, zeros) {
				continue
			}
			touch(page, rng)
			if _, err := f.WriteAt(page, at); err != nil {
				return err
			}
		}
		return firstOf(ctx.Err(), f.Close())
	}
}

// touch changes what a database does when it writes rows: both ends of the page, and the rows.
func touch(page []byte, rng *rand.Rand) {
	copy(page, randomBytes(rng, 8))
	copy(page[len(page)-8:], randomBytes(rng, 8))
	for range 1 + rng.IntN(3) {
		row := randomBytes(rng, 20+rng.IntN(101))
		copy(page[rng.IntN(len(page)-len(row)):], row)
	}
}
