package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
)

// MkdirAll makes a folder and those above it where they are missing, and makes
// all of their names durable, also of those that were there: whoever made them
// may not have come so far.
func MkdirAll(fsys FS, name string, perm fs.FileMode) error {
	syncDir := func(dir string) error { return syncIfCan(fsys, dir) }
	return mkdirAll(fsys, name, perm, syncDir, func(string) bool { return false })
}

// syncIfCan syncs a folder, and is content with file systems that do not do that.
func syncIfCan(fsys FS, dir string) error {
	if err := fsys.SyncDir(dir); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// mkdirAll stops going up at the first folder that is known to be durable.
func mkdirAll(fsys FS, name string, perm fs.FileMode, syncDir func(string) error, known func(string) bool) error {
	if name == "." || known(name) {
		return nil
	}
	parent := path.Dir(name)
	if err := mkdirAll(fsys, parent, perm, syncDir, known); err != nil {
		return err
	}
	if err := fsys.Mkdir(name, perm); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		switch info, err := fsys.Stat(name); {
		case err != nil:
			return err
		case !info.IsDir():
			return fmt.Errorf("durable: %s is in the way: not a folder", name)
		}
	}
	return syncDir(parent)
}

// folders remembers which folders are durable with all those above them. It is
// safe for concurrent use.
type folders struct {
	mu   sync.Mutex
	made map[string]bool
}

func (f *folders) known(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made[name]
}

func (f *folders) add(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.made == nil {
		f.made = make(map[string]bool)
	}
	for ; name != "."; name = path.Dir(name) {
		f.made[name] = true
	}
}

// forget drops everything: somebody removes folders under us.
func (f *folders) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.made)
}
