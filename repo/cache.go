package repo

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/kura-backup/kura/internal/folderlock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/caches"
	"github.com/kura-backup/kura/repo/log"
)

// cache is the folder in which a client keeps what makes it fast. All of it can be removed at any
// time, which costs time, and makes the client forget what the log looked like.
type cache struct {
	dir       string
	throwAway bool
	seenAt    string // the file that setSeen writes
	unusable  error  // why the folder that was asked for can only be read, or not be trusted; nil otherwise
	release   func() // says that it is no longer in use
}

func openCache(root string, repoID [16]byte) (*cache, error) {
	if root == "" {
		return throwAwayCache()
	}
	dir := filepath.Join(root, hex.EncodeToString(repoID[:]))
	seenAt := filepath.Join(dir, "seen")
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = caches.Private(dir)
	}
	if err == nil {
		err = tryWriting(dir)
	}
	switch {
	case err == nil:
		return &cache{dir: dir, seenAt: seenAt, release: folderlock.Hold(dir)}, nil
	case !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.ENOSPC):
		return nil, fmt.Errorf("repo: cache: %w; choose another folder with --cache-dir, or --no-cache", err)
	}
	// It can still tell what the log looked like.
	c, terr := throwAwayCache()
	if terr != nil {
		return nil, errors.Join(fmt.Errorf("repo: cache: %w", err), terr)
	}
	c.seenAt, c.unusable = seenAt, err
	return c, nil
}

func throwAwayCache() (*cache, error) {
	dir, release, err := caches.Temporary()
	if err != nil {
		return nil, fmt.Errorf("repo: cache: %w", err)
	}
	return &cache{dir: dir, throwAway: true, seenAt: filepath.Join(dir, "seen"), release: release}, nil
}

func tryWriting(dir string) error {
	f, err := os.CreateTemp(dir, "seen-")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func (c *cache) close() error {
	defer c.release()
	if c.throwAway {
		return os.RemoveAll(c.dir)
	}
	return nil
}

func (c *cache) indexDir() string { return filepath.Join(c.dir, "index") }
func (c *cache) treesDir() string { return filepath.Join(c.dir, "trees") }
func (c *cache) basesDir() string { return filepath.Join(c.dir, "bases") }
func (c *cache) seenPath() string { return c.seenAt }

// seen returns what setSeen noted last, or zero.
func (c *cache) seen() (log.Mark, error) {
	b, err := os.ReadFile(c.seenPath())
	if errors.Is(err, fs.ErrNotExist) || err != nil && c.unusable != nil {
		return log.Mark{}, nil
	}
	if err != nil {
		return log.Mark{}, fmt.Errorf("repo: cache: %w", err)
	}
	return parseSeen(string(b)), nil
}

// parseSeen is the inverse of formatSeen. Text that was torn by a power failure, or in which a bit has
// flipped, is as good as none: it must not look like a repository that was rolled back.
func parseSeen(text string) (m log.Mark) {
	var hash string
	var sum uint32
	if _, err := fmt.Sscanf(text, "%d %64s %8x\n", &m.N, &hash, &sum); err != nil {
		return log.Mark{}
	}
	raw, err := hex.DecodeString(hash)
	if err != nil || len(raw) != len(m.Hash) {
		return log.Mark{}
	}
	m.Hash = object.Hash(raw)
	if text != formatSeen(m) {
		return log.Mark{}
	}
	return m
}

func formatSeen(m log.Mark) string {
	mark := fmt.Sprintf("%d %v", m.N, m.Hash)
	return fmt.Sprintf("%s %08x\n", mark, crc32.Checksum([]byte(mark), castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// setSeen notes a mark, unless a later one is noted. Of several processes that do so at once the last one
// wins, also with an older mark: less is noticed then, nothing wrongly.
func (c *cache) setSeen(m log.Mark) error {
	if c.unusable != nil {
		return nil
	}
	old, err := c.seen()
	if err != nil || old.N >= m.N {
		return err // what was noted was verified when the log was opened, or by another process
	}
	f, err := os.CreateTemp(c.dir, "seen-")
	if errors.Is(err, fs.ErrNotExist) { // somebody removed the cache meanwhile
		if err = os.MkdirAll(c.dir, 0o700); err == nil {
			f, err = os.CreateTemp(c.dir, "seen-")
		}
	}
	if err != nil {
		return fmt.Errorf("repo: cache: %w", err)
	}
	_, werr := f.WriteString(formatSeen(m))
	if err := errors.Join(werr, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), c.seenPath())
}
