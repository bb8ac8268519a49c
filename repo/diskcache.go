package repo

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kura-backup/kura/internal/clock"
)

// diskCache keeps files in a folder of bounded size: the ones that were used last. Errors cost time only. It is safe
// for concurrent use, by several processes, too.
type diskCache struct {
	dir   string
	limit int64

	mu   sync.Mutex
	size int64               // about; -1: the files were not looked at yet
	used map[string]struct{} // files that were used since the cache was opened
}

func newDiskCache(dir string, limit int64) diskCache {
	return diskCache{dir: dir, limit: limit, size: -1, used: map[string]struct{}{}}
}

func (c *diskCache) file(name string) string { return filepath.Join(c.dir, name) }

// read returns part of a file, all of it from the offset on if length is negative, or nil.
func (c *diskCache) read(name string, offset, length int64) []byte {
	f, err := os.Open(c.file(name))
	if err != nil {
		return nil
	}
	defer f.Close()
	if length < 0 {
		info, err := f.Stat()
		if err != nil || info.Size() < offset || info.Size()-offset > c.limit {
			return nil
		}
		length = info.Size() - offset
	}
	b := make([]byte, length)
	if _, err := f.ReadAt(b, offset); err != nil {
		return nil
	}
	c.touch(name)
	return b
}

// touch makes a file one that was used last.
func (c *diskCache) touch(name string) {
	c.mu.Lock()
	_, done := c.used[name]
	c.used[name] = struct{}{}
	c.mu.Unlock()
	if !done {
		now := clock.Now()
		_ = os.Chtimes(c.file(name), now, now)
	}
}

// has reports whether there is a file, which is then one that was used last.
func (c *diskCache) has(name string) bool {
	if _, err := os.Lstat(c.file(name)); err != nil {
		return false
	}
	c.touch(name)
	return true
}

// keep writes a file. The error is for those who want to know whether to go on trying.
func (c *diskCache) keep(name string, b []byte) error {
	if err := c.write(name, b); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used[name] = struct{}{}
	if c.size >= 0 {
		c.size += int64(len(b))
	}
	if c.size < 0 || c.size > c.limit {
		c.size = c.tidy()
	}
	return nil
}

func (c *diskCache) write(name string, b []byte) (err error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(c.dir, tempFile)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), c.file(name))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// tempFile begins the names of files that are being written, and of those whose writer died.
const tempFile = "new-"

// tidy removes the files that were not used for longest, until a quarter of the room is free, and returns
// what is left.
func (c *diskCache) tidy() (size int64) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return 0
	}
	var files []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if strings.HasPrefix(info.Name(), tempFile) && clock.Since(info.ModTime()) > time.Hour {
			_ = os.Remove(filepath.Join(c.dir, info.Name()))
			continue
		}
		files = append(files, info)
		size += info.Size()
	}
	if size <= c.limit {
		return size
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range files {
		if size <= c.limit*3/4 {
			break
		}
		if os.Remove(filepath.Join(c.dir, info.Name())) == nil {
			size -= info.Size()
		}
	}
	return size
}

// remove forgets a file.
func (c *diskCache) remove(name string) { _ = os.Remove(c.file(name)) }
