package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/zeebo/blake3"
)

// fingerprint says whether two trees, or files, are the same: how many files and symbolic links they
// hold, their bytes, and a BLAKE3 over the sorted paths, sizes, link targets and the contents of a sample.
type fingerprint struct {
	files, bytes int64
	digest       [32]byte
}

func (f fingerprint) String() string {
	return fmt.Sprintf("%d files of %d bytes, digest %x", f.files, f.bytes, f.digest[:8])
}

// sampleBytes is about how much content of a tree is compared.
const sampleBytes = 512 << 20

// strideFor says that of so many files one in how many is compared by content. Few files are compared in full.
func strideFor(files, bytes int64) uint64 {
	if files < 100 {
		return 1
	}
	return uint64(1 + bytes/sampleBytes)
}

// fingerprintOf looks at root and all below it, and reads one in stride files; none with stride 0.
//
// It walks without collecting: what a child's ru_maxrss says can not be less than the memory of the process
// that started it, so this one has to stay small.
func fingerprintOf(ctx context.Context, root string, stride uint64) (fingerprint, error) {
	var f fingerprint
	h := blake3.New()
	buf := make([]byte, 1<<20)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if !d.Type().IsRegular() && d.Type() != fs.ModeSymlink {
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f.files++
		if d.Type() == fs.ModeSymlink {
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			hashField(h, name)
			hashField(h, target)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f.bytes += info.Size()
		hashField(h, name)
		var size [8]byte
		binary.LittleEndian.PutUint64(size[:], uint64(info.Size()))
		h.Write(size[:])
		if !sampled(name, stride) {
			return nil
		}
		return readFile(ctx, path, buf, func(b []byte) { h.Write(b) })
	})
	h.Sum(f.digest[:0])
	return f, err
}

// hashField hashes the length of s and s.
func hashField(h *blake3.Hasher, s string) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.WriteString(s)
}

// sampled chooses one in stride names, the same ones each time.
func sampled(name string, stride uint64) bool {
	if stride == 0 {
		return false
	}
	h := fnv.New64a()
	io.WriteString(h, name)
	return h.Sum64()%stride == 0
}

// readFile hands the file's bytes to use, in parts as large as buf.
func readFile(ctx context.Context, path string, buf []byte, use func([]byte)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.Read(buf)
		use(buf[:n])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// verify compares what was restored to the folder with the source.
func verify(ctx context.Context, src *source, folder string) error {
	want, err := src.fingerprint(ctx)
	if err != nil {
		return err
	}
	restored, err := restoredTo(folder, src)
	if err != nil {
		return err
	}
	got, err := fingerprintOf(ctx, restored, src.stride)
	if err != nil {
		return fmt.Errorf("the restored files: %w", err)
	}
	if got == want {
		return nil
	}
	now, err := fingerprintOf(ctx, src.path, src.stride)
	if err != nil {
		return err
	}
	if now != want {
		return fmt.Errorf("%s changed while it was measured: it had %v and now has %v", src.path, want, now)
	}
	return fmt.Errorf("the restore is wrong: it has %v and the source %v", got, want)
}

// restoredTo is where in the folder the data set is: under its full path, or, as some programs do it, in the
// folder itself. A stream is the only file, whatever program calls its folder.
func restoredTo(folder string, src *source) (string, error) {
	path := filepath.Join(folder, src.path)
	if _, err := os.Lstat(path); err == nil {
		return path, nil
	}
	if !src.file {
		return folder, nil
	}
	var found []string
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found = append(found, path)
		}
		return err
	})
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("the restore made %d files instead of one", len(found))
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// warm reads root and all below it once, so that it is in the page cache as far as that reaches.
func warm(ctx context.Context, root string) error {
	buf := make([]byte, 1<<20)
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		return readFile(ctx, path, buf, func([]byte) {})
	})
}

// storedBytes is the sum of the sizes of the files in a folder.
func storedBytes(folder string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}
