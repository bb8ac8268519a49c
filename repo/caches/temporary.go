package caches

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/kura-backup/kura/internal/clock"
)

const temporaryPrefix = "kura-cache-"

// Temporary makes a folder for one run of a client that has no other, in the system's folder for temporary files, and
// holds it until it is released; removing it is up to the caller. Before that it removes those of clients that were killed: a nightly run that ends
// for want of memory would fill the disk in the end.
func Temporary() (path string, release func(), err error) {
	root := os.TempDir()
	sweep(root)
	if path, err = os.MkdirTemp(root, temporaryPrefix); err != nil {
		return "", nil, err
	}
	return path, Hold(path), nil
}

// sweep removes this user's temporary folders that nobody holds. One that is younger than a day stays: it may
// be about to be held. What can not be removed does not matter.
func sweep(root string) {
	entries, _ := os.ReadDir(root)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), temporaryPrefix) || !e.IsDir() {
			continue
		}
		info, err := e.Info()
		if err != nil || !isOurs(info) || clock.Since(info.ModTime()) < unlocked {
			continue
		}
		path := filepath.Join(root, e.Name())
		if release, err := lock(path); err == nil {
			_ = os.RemoveAll(path)
			release()
		}
	}
}
