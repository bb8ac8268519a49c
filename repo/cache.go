package repo

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
)

// cache is the folder in which a client keeps what makes it fast. All of it can be removed at any
// time, which costs time, and makes the client forget what the log looked like.
type cache struct {
	dir       string
	throwAway bool
}

func openCache(root string, repoID [16]byte) (*cache, error) {
	if root == "" {
		dir, err := os.MkdirTemp("", "kura-cache-")
		if err != nil {
			return nil, fmt.Errorf("repo: cache: %w", err)
		}
		return &cache{dir: dir, throwAway: true}, nil
	}
	dir := filepath.Join(root, hex.EncodeToString(repoID[:]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("repo: cache: %w; choose another folder with --cache-dir, or --no-cache", err)
	}
	return &cache{dir: dir}, nil
}

func (c *cache) close() error {
	if c.throwAway {
		return os.RemoveAll(c.dir)
	}
	return nil
}

func (c *cache) indexDir() string { return filepath.Join(c.dir, "index") }
func (c *cache) seenPath() string { return filepath.Join(c.dir, "seen") }

// seen returns what setSeen noted last, or zero.
func (c *cache) seen() (log.Mark, error) {
	b, err := os.ReadFile(c.seenPath())
	if errors.Is(err, fs.ErrNotExist) {
		return log.Mark{}, nil
	}
	if err != nil {
		return log.Mark{}, fmt.Errorf("repo: cache: %w", err)
	}
	var m log.Mark
	var hash string
	if n, err := fmt.Sscanf(string(b), "%d %64s\n", &m.N, &hash); err != nil || n != 2 {
		return log.Mark{}, nil // torn by a power failure: as if it had been removed
	}
	raw, err := hex.DecodeString(hash)
	if err != nil || len(raw) != len(m.Hash) {
		return log.Mark{}, nil
	}
	m.Hash = object.Hash(raw)
	return m, nil
}

// setSeen notes a mark. Of several processes the last one wins, also with an older mark: less is
// noticed then, nothing wrongly.
func (c *cache) setSeen(m log.Mark) error {
	old, err := c.seen()
	if err != nil || old == m {
		return err
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
	_, werr := fmt.Fprintf(f, "%d %v\n", m.N, m.Hash)
	if err := errors.Join(werr, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), c.seenPath())
}
