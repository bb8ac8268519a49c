package durable

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/clock"
)

const (
	tempPrefix = "put-"
	tempRandom = 16 // bytes; a name is never used twice, so it never means another file

	// litterAge is how old a temporary file must be to count as litter on file
	// systems without locks. A wrong guess costs a writer a second attempt.
	litterAge = 24 * time.Hour
)

// TempName returns a fresh name for a temporary file.
func TempName(dir string) string {
	var r [tempRandom]byte
	rand.Read(r[:]) // never fails
	return path.Join(dir, tempPrefix+hex.EncodeToString(r[:]))
}

func isTempName(base string) bool {
	random, ok := strings.CutPrefix(base, tempPrefix)
	_, err := hex.DecodeString(random)
	return ok && err == nil && len(random) == 2*tempRandom
}

// Sweep removes the temporary files of dead writers from a folder and returns
// how many. It touches no other files. A missing folder has no litter.
func Sweep(ctx context.Context, fsys FS, dir string) (removed int, err error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		return 0, err
	}
	var failed []error
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		if !isTempName(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		name := path.Join(dir, e.Name())
		switch ok, err := sweepOne(fsys, name); {
		case errors.Is(err, fs.ErrNotExist): // its writer, or another sweep, was faster
		case err != nil:
			failed = append(failed, err)
		case ok:
			removed++
		}
	}
	return removed, errors.Join(failed...)
}

func sweepOne(fsys FS, name string) (removed bool, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close() // not before the name is gone: the lock tells the writer
	switch err := f.TryLock(); {
	case errors.Is(err, ErrLocked):
		return false, nil
	case errors.Is(err, errors.ErrUnsupported):
		if old, err := outlived(fsys, f); err != nil || !old {
			return false, err
		}
	case err != nil:
		return false, err
	}
	return true, fsys.Unlink(name)
}

// outlived says whether a file is too old to have a living writer.
func outlived(fsys FS, f File) (bool, error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	now := clock.Now()
	if far, ok := fsys.(Far); ok {
		if now, err = far.Now(); err != nil {
			return false, err
		}
	}
	return now.Sub(info.ModTime()) >= litterAge, nil
}
